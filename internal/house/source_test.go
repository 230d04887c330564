package house

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// module is the module's path; the packages below are named without it.
const module = "github.com/synpunch/synpunch"

// root is the top of the repository as seen from this package.
const root = "../.."

// file is one text file of the repository.
type file struct {
	Name string // from the top of the repository, with slashes
	Text []byte
	// The rest is for Go files of the main module.
	Fset *token.FileSet
	Syn  *ast.File
}

// isGo says whether f is a Go file of the main module.
func (f *file) isGo() bool { return f.Syn != nil }

// isTest says whether f is compiled into tests only.
func (f *file) isTest() bool { return strings.HasSuffix(f.Name, "_test.go") }

// pkg is the directory of f, which names its package in this module.
func (f *file) pkg() string { return path.Dir(f.Name) }

// at prints a position in f.
func (f *file) at(pos token.Pos) string { return f.Fset.Position(pos).String() }

// imports calls fn with each path that f imports.
func (f *file) imports(fn func(path string, pos token.Pos)) {
	for _, spec := range f.Syn.Imports {
		fn(strings.Trim(spec.Path.Value, "\"`"), spec.Pos())
	}
}

// sources reads and parses the repository once. It uses go/parser and never
// `go list`, because a test that only runs a program stays green from the test
// cache, and because every build tag must be read.
var sources = sync.OnceValues(func() ([]*file, error) {
	var files []*file
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == ".git" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another test's temporary file
		}
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil // captures and programs
		}
		f := &file{Name: rel, Text: text}
		if strings.HasSuffix(rel, ".go") && !strings.HasPrefix(rel, "tools/") && !strings.Contains(rel, "testdata/") {
			f.Fset = token.NewFileSet()
			f.Syn, err = parser.ParseFile(f.Fset, rel, text, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return err
			}
		}
		files = append(files, f)
		return nil
	})
	return files, err
})

// each calls fn with every text file, in one subtest-free run.
func each(t *testing.T, fn func(f *file)) {
	t.Helper()
	files, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("read %d files only: is the repository elsewhere?", len(files))
	}
	for _, f := range files {
		fn(f)
	}
}

// eachGo calls fn with every Go file of the main module.
func eachGo(t *testing.T, fn func(f *file)) {
	t.Helper()
	each(t, func(f *file) {
		if f.isGo() {
			fn(f)
		}
	})
}
