package sweep

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Names in the directory of a sweep.
const (
	ManifestName = "sweep.json"   // a Manifest
	TrialsName   = "trials.jsonl" // a Row a line, in the order made
	CapturesName = "captures"     // a directory of pcapng files
)

// Format and Version of a Manifest. Version grows when a field or a column changes its
// meaning or goes away; new ones do not change it.
const (
	Format  = "synpunch/sweep"
	Version = 1
)

// ErrExists says that a directory holds a sweep already.
var ErrExists = errors.New("a sweep is there already")

// Manifest says what a directory of trials is about, and how to make them again.
type Manifest struct {
	Format   string    `json:"format"`  // Format
	Version  int       `json:"version"` // Version
	Command  []string  `json:"command"` // the command line; empty: a program called Run
	Started  time.Time `json:"started"`
	Synpunch string    `json:"synpunch"` // its version
	Go       string    `json:"go"`
	OS       string    `json:"os"`
	Arch     string    `json:"arch"`
	Kernel   string    `json:"kernel"` // release; "" where nobody knows
	CPUs     int       `json:"cpus"`
	Config   Config    `json:"config"`
}

// Journal is the directory of a sweep that is being made. A trial is in the file when Add has
// returned, so that nothing is lost, however the process ends.
type Journal struct {
	dir  string
	file *os.File
}

// Create makes the directory, where it is missing, and writes the manifest. It
// is ErrExists if the directory holds a sweep. Zero fields of the manifest that
// describe this machine and program are filled in.
func Create(dir string, m *Manifest) (*Journal, error) {
	m.fill()
	if err := os.MkdirAll(filepath.Join(dir, CapturesName), 0o777); err != nil {
		return nil, fmt.Errorf("make the directory of a sweep: %w", err)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", ManifestName, err)
	}
	file, err := os.OpenFile(filepath.Join(dir, ManifestName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrExists)
	}
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", ManifestName, err)
	}
	_, err = file.Write(append(text, '\n'))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("write %s: %w", ManifestName, err)
	}
	return open(dir, 0)
}

// Resume opens the directory of a sweep that was stopped, and returns the rows that
// are there. A last line that was not written to its end is cut off.
func Resume(dir string) (*Journal, *Manifest, []Row, error) {
	m, rows, end, err := read(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	j, err := open(dir, end)
	return j, m, rows, err
}

// Read reads the directory of a sweep, whether or not it is complete or still
// being made. A last line that is not at its end does not count.
func Read(dir string) (*Manifest, []Row, error) {
	m, rows, _, err := read(dir)
	return m, rows, err
}

func open(dir string, end int64) (*Journal, error) {
	file, err := os.OpenFile(filepath.Join(dir, TrialsName), os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", TrialsName, err)
	}
	if err := file.Truncate(end); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", TrialsName, err), file.Close())
	}
	if _, err := file.Seek(end, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", TrialsName, err), file.Close())
	}
	return &Journal{dir: dir, file: file}, nil
}

// Dir is the directory.
func (j *Journal) Dir() string { return j.dir }

// Add appends a row.
func (j *Journal) Add(r *Row) error {
	line, err := json.Marshal(r)
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", TrialsName, err)
	}
	return nil
}

// Close closes the directory.
func (j *Journal) Close() error { return j.file.Close() }

// read returns manifest and rows, and where the last whole row ends.
func read(dir string) (*Manifest, []Row, int64, error) {
	text, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, nil, 0, fmt.Errorf("read the directory of a sweep: %w", err)
	}
	m := new(Manifest)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, nil, 0, fmt.Errorf("%s: %w", ManifestName, err)
	}
	if m.Format != Format || m.Version != Version {
		return nil, nil, 0, fmt.Errorf("%s: format %q version %d: want %q version %d", ManifestName, m.Format, m.Version, Format, Version)
	}
	file, err := os.Open(filepath.Join(dir, TrialsName))
	if errors.Is(err, os.ErrNotExist) {
		return m, nil, 0, nil
	}
	if err != nil {
		return nil, nil, 0, fmt.Errorf("read the directory of a sweep: %w", err)
	}
	defer file.Close()
	rows, end, err := readRows(file)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("%s: %w", TrialsName, err)
	}
	return m, rows, end, nil
}

// readRows reads whole lines, and says where the last of them ends.
func readRows(r io.Reader) (rows []Row, end int64, err error) {
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadBytes('\n')
		if err == io.EOF {
			return rows, end, nil
		}
		if err != nil {
			return nil, 0, err
		}
		var row Row
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", len(rows)+1, err)
		}
		rows = append(rows, row)
		end += int64(len(line))
	}
}
