package page

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/synpunch/synpunch/lab/sweep"
)

// ErrNotSweep says that a directory does not hold a sweep.
var ErrNotSweep = errors.New("no sweep is there")

// ErrTrial says that a trial was asked for which is not there.
var ErrTrial = errors.New("no such trial")

// Sweep is what the directory of a sweep holds.
type Sweep struct {
	Name     string // of the directory, for people
	Manifest *sweep.Manifest
	Rows     []sweep.Row // those that could be read
	Summary  *sweep.Summary
	Damage   []Damage // lines that could not
	files    fs.FS
	root     *os.Root // nil: the files are the caller's
}

var _ io.Closer = (*Sweep)(nil)

// Damage is a line of trials.jsonl that is left out.
type Damage struct {
	Line int // from 1
	Err  error
}

func (d Damage) String() string { return fmt.Sprintf("line %d: %v", d.Line, d.Err) }

// Read reads the directory of a sweep, complete or not; the caller closes it. Links that lead out of the
// directory are not followed. An error that wraps ErrNotSweep says that there is none.
func Read(dir string) (*Sweep, error) {
	root, err := openDir(dir, ErrNotSweep)
	if err != nil {
		return nil, err
	}
	s, err := ReadFS(root.FS(), dir)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	s.root = root
	return s, nil
}

// openDir opens a directory; something else is the error not.
func openDir(dir string, not error) (*os.Root, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory: %w", dir, not)
	}
	if err != nil {
		return nil, fmt.Errorf("read a directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read a directory: %w", err)
	}
	return root, nil
}

// Close lets go of the directory.
func (s *Sweep) Close() error {
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}

// ReadFS reads a sweep from files, called name.
func ReadFS(files fs.FS, name string) (*Sweep, error) {
	s := &Sweep{Name: name, files: files}
	text, err := fs.ReadFile(files, sweep.ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no %s: %w", name, sweep.ManifestName, ErrNotSweep)
	}
	if err != nil {
		return nil, fmt.Errorf("read a sweep: %w", err)
	}
	s.Manifest = new(sweep.Manifest)
	if err := json.Unmarshal(text, s.Manifest); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", name, sweep.ManifestName, err)
	}
	if m := s.Manifest; m.Format != sweep.Format || m.Version != sweep.Version {
		return nil, fmt.Errorf("%s: %s says format %q, version %d; this program reads %q, version %d: %w",
			name, sweep.ManifestName, m.Format, m.Version, sweep.Format, sweep.Version, ErrNotSweep)
	}
	if err := s.readRows(); err != nil {
		return nil, err
	}
	return s, nil
}

// readRows reads the trials. A row that is damaged, that is not of this sweep or that is
// there twice is told and left out. A last line without its end does not count, as in
// sweep.Read: the sweep is still being made, or was stopped there.
func (s *Sweep) readRows() error {
	cfg := &s.Manifest.Config
	empty, err := sweep.Summarize(cfg, nil)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", s.Name, sweep.ManifestName, err)
	}
	s.Summary = empty
	file, err := s.files.Open(sweep.TrialsName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read a sweep: %w", err)
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 1<<16)
	lineOf := map[int64]int{}
	lines := []int{} // of s.Rows
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("read %s: %w", sweep.TrialsName, err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			var row sweep.Row
			if bad := json.Unmarshal(line, &row); bad != nil && err == io.EOF {
				break // a trial that is being written
			} else if bad != nil {
				s.Damage = append(s.Damage, Damage{n, bad})
			} else if before, twice := lineOf[row.N]; twice {
				s.Damage = append(s.Damage, Damage{n, fmt.Errorf("trial %d is in line %d already", row.N, before)})
			} else {
				lineOf[row.N] = n
				s.Rows, lines = append(s.Rows, row), append(lines, n)
			}
		}
		if err == io.EOF {
			break
		}
	}
	return s.sumUp(lines)
}

// sumUp sums the rows up. If one of them is of another sweep, all are looked at one by
// one.
func (s *Sweep) sumUp(lines []int) error {
	cfg := &s.Manifest.Config
	sum, err := sweep.Summarize(cfg, s.Rows)
	if err == nil {
		s.Summary = sum
		return nil
	}
	var good []sweep.Row
	for i := range s.Rows {
		if _, err := sweep.Summarize(cfg, s.Rows[i:i+1]); err != nil {
			s.Damage = append(s.Damage, Damage{lines[i], err})
		} else {
			good = append(good, s.Rows[i])
		}
	}
	s.Rows = good
	if s.Summary, err = sweep.Summarize(cfg, good); err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	return nil
}
