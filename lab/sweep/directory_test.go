package sweep

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDirectory: what is written is read back, and a line that was not written to its
// end is cut off.
func TestDirectory(t *testing.T) {
	c := rough()
	rows := rowsOf(t, c, Options{})
	dir := filepath.Join(t.TempDir(), "new", "dir")
	j, err := Create(dir, &Manifest{Command: []string{"synpunch", "sweep"}, Config: *c})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows[:10] {
		if err := j.Add(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, &Manifest{}); !errors.Is(err, ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	trials := filepath.Join(dir, TrialsName)
	text, err := os.ReadFile(trials)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(text) {
		if cut < len(text)-700 && cut%97 != 0 {
			continue // every byte of the last lines, some of the others
		}
		if err := os.WriteFile(trials, text[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		whole := strings.Count(string(text[:cut]), "\n")
		if _, got, err := Read(dir); err != nil || cmp.Diff(rows[:whole], got, equateEmpty) != "" {
			t.Fatalf("cut after %d bytes: %d rows, want %d: %v", cut, len(got), whole, err)
		}
		j, m, got, err := Resume(dir)
		if err != nil || len(got) != whole || m.Config.Trials != c.Trials {
			t.Fatalf("cut after %d bytes: %d rows, want %d: %v", cut, len(got), whole, err)
		}
		if err := errors.Join(j.Add(&rows[whole]), j.Close()); err != nil {
			t.Fatal(err)
		}
		if _, got, err := Read(dir); err != nil || cmp.Diff(rows[:whole+1], got) != "" {
			t.Fatalf("resumed after %d bytes: %v, %s", cut, err, cmp.Diff(rows[:whole+1], got))
		}
	}
}

var equateEmpty = cmp.FilterValues(func(a, b []Row) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore())

// TestManifest: a directory says how it was made, so that the same trials can be made
// again from it.
func TestManifest(t *testing.T) {
	c, err := rough().withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	j, err := Create(dir, &Manifest{Config: *c})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	m, rows, err := Read(dir)
	if err != nil || len(rows) != 0 {
		t.Fatalf("%v, %d rows", err, len(rows))
	}
	if diff := cmp.Diff(*c, m.Config); diff != "" {
		t.Error(diff)
	}
	if m.Format != Format || m.Version != Version || m.Go == "" || m.OS == "" || m.Arch == "" || m.Synpunch == "" || m.CPUs == 0 || m.Started.IsZero() {
		t.Errorf("%+v", m)
	}
}

func TestNotADirectory(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Read(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	for name, text := range map[string]string{
		"no JSON": "{", "another format": `{"format": "else", "version": 1}`, "another version": `{"format": "synpunch/sweep", "version": 2}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, ManifestName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Read(dir); err == nil || !strings.Contains(err.Error(), ManifestName) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, _, err := Resume(dir); err == nil {
			t.Errorf("%s: resumed", name)
		}
	}
	j, err := Create(t.TempDir(), &Manifest{})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := os.WriteFile(filepath.Join(j.Dir(), TrialsName), []byte("{}\nnonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Read(j.Dir()); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("nonsense: %v", err)
	}
}
