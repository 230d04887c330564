package sweep

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
)

// keeper writes the captures that a Config asks for.
type keeper struct {
	dir    string // "": none
	policy string
}

// wants reports whether the packets of a trial are kept.
func (k *keeper) wants(r *Row) bool {
	if k.dir == "" {
		return false
	}
	switch k.policy {
	case CaptureNone:
		return false
	case CaptureAll:
		return true
	case CaptureFailed:
		return r.Outcome != Established
	}
	n, err := strconv.Atoi(k.policy)
	return err == nil && r.Trial < n
}

// write makes the capture of a trial, if it is wanted, and notes its name in the row.
func (k *keeper) write(r *Row, fill func(io.Writer) error) error {
	if !k.wants(r) {
		return nil
	}
	name := path.Join(CapturesName, fmt.Sprintf("%06d.pcapng", r.N))
	file, err := os.Create(filepath.Join(k.dir, filepath.FromSlash(name)))
	if err != nil {
		return fmt.Errorf("capture of trial %d: %w", r.N, err)
	}
	if err := errors.Join(fill(file), file.Close()); err != nil {
		return fmt.Errorf("capture of trial %d: %w", r.N, err)
	}
	r.Capture = name
	return nil
}
