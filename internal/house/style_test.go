package house

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestGofmt(t *testing.T) {
	eachGo(t, func(f *file) {
		want, err := format.Source(f.Text)
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
			return
		}
		if !bytes.Equal(want, f.Text) {
			t.Errorf("%s: gofmt would change it", f.Name)
		}
	})
}

// TestOnePackageComment: the package's answer stands in doc.go (a command's in
// main.go) and nowhere else.
func TestOnePackageComment(t *testing.T) {
	comments := map[string][]string{} // package directory -> files with a package comment
	dirs := map[string]string{}       // package directory -> package name
	eachGo(t, func(f *file) {
		if f.isTest() {
			if f.Syn.Doc != nil && strings.HasPrefix(f.Syn.Doc.Text(), "Package ") {
				t.Errorf("%s: a package comment in a test file", f.Name)
			}
			return
		}
		dirs[f.pkg()] = f.Syn.Name.Name
		if f.Syn.Doc != nil {
			comments[f.pkg()] = append(comments[f.pkg()], path.Base(f.Name))
		}
	})
	for dir, name := range dirs {
		home, begin := "doc.go", "Package "+name+" "
		if name == "main" {
			home, begin = "main.go", "Command "+path.Base(dir)+" "
		}
		if !slices.Equal(comments[dir], []string{home}) {
			t.Errorf("%s: package comments in %v, want one, in %s", dir, comments[dir], home)
			continue
		}
		eachGo(t, func(f *file) {
			if f.Name == dir+"/"+home && !strings.HasPrefix(f.Syn.Doc.Text(), begin) {
				t.Errorf("%s: the package comment must begin with %q", f.Name, begin)
			}
		})
	}
}

var (
	silencer = regexp.MustCompile(`^//\s*(nolint|lint:ignore|lint:file-ignore|#nosec)`)
	reminder = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	issue    = regexp.MustCompile(`#[0-9]+`)
)

// TestComments: no linter is silenced, and a reminder names its issue.
func TestComments(t *testing.T) {
	eachGo(t, func(f *file) {
		for _, group := range f.Syn.Comments {
			for _, c := range group.List {
				if silencer.MatchString(c.Text) {
					t.Errorf("%s: a linter is silenced", f.at(c.Pos()))
				}
				for line := range strings.SplitSeq(c.Text, "\n") {
					if reminder.MatchString(line) && !issue.MatchString(line) {
						t.Errorf("%s: a reminder without the number of its issue: %s", f.at(c.Pos()), line)
					}
				}
			}
		}
	})
}

// forbidden are the calls that a library never makes.
var forbidden = map[string]string{
	"panic":   "return an error",
	"print":   "return a value",
	"println": "return a value",

	"os.Exit":     "the command decides",
	"os.Stdout":   "take an io.Writer",
	"os.Stderr":   "take an io.Writer",
	"fmt.Print":   "take an io.Writer",
	"fmt.Printf":  "take an io.Writer",
	"fmt.Println": "take an io.Writer",
	"log.Fatal":   "return an error",
	"log.Fatalf":  "return an error",
	"log.Fatalln": "return an error",
	"log.Panic":   "return an error",
	"log.Panicf":  "return an error",
	"log.Print":   "return it in the report",
	"log.Printf":  "return it in the report",
	"log.Println": "return it in the report",
}

// TestLibrariesKeepQuiet: no panic, no exit, no printing outside commands.
func TestLibrariesKeepQuiet(t *testing.T) {
	eachGo(t, func(f *file) {
		if f.isTest() || f.Syn.Name.Name == "main" {
			return
		}
		// Those give the standard streams on to a process that they start.
		handsOn := f.pkg() == "internal/netns" || f.Name == "handoff/exec_linux.go"
		ast.Inspect(f.Syn, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok {
					if instead, bad := forbidden[id.Name]; bad {
						t.Errorf("%s: %s in a library: %s", f.at(n.Pos()), id.Name, instead)
					}
				}
			case *ast.SelectorExpr:
				if name := qualified(n); !handsOn || !strings.HasPrefix(name, "os.Std") {
					if instead, bad := forbidden[name]; bad {
						t.Errorf("%s: %s in a library: %s", f.at(n.Pos()), name, instead)
					}
				}
			}
			return true
		})
	})
}

// TestTestsDoNotSleep: a test that sleeps to wait for something is slow on a
// fast machine and wrong on a slow one. A benchmark, and what stands in a file of
// benchmarks, may sleep: time.Sleep is what we compare with.
func TestTestsDoNotSleep(t *testing.T) {
	eachGo(t, func(f *file) {
		if !f.isTest() || strings.Contains(path.Base(f.Name), "bench") {
			return
		}
		for _, decl := range f.Syn.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && benchmark(fn) {
				continue
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok && qualified(sel) == "time.Sleep" {
					t.Errorf("%s: time.Sleep in a test: wait for a signal", f.at(n.Pos()))
				}
				return true
			})
		}
	})
}

// benchmark says whether fn is one, or serves only them: it takes a *testing.B.
func benchmark(fn *ast.FuncDecl) bool {
	for _, p := range fn.Type.Params.List {
		if star, ok := p.Type.(*ast.StarExpr); ok {
			if sel, ok := star.X.(*ast.SelectorExpr); ok && qualified(sel) == "testing.B" {
				return true
			}
		}
	}
	return false
}

// qualified is "pkg.Name" for a selector of that form, else "". Local names
// that hide a package are not seen through; nobody should do that either.
func qualified(sel *ast.SelectorExpr) string {
	if id, ok := sel.X.(*ast.Ident); ok {
		return id.Name + "." + sel.Sel.Name
	}
	return ""
}

// TestExportedNamesHaveComments: whoever reads the documentation finds a
// sentence on each name. Methods that only fulfil an interface of the standard
// library need none.
func TestExportedNamesHaveComments(t *testing.T) {
	eachGo(t, func(f *file) {
		if f.isTest() || f.Syn.Name.Name == "main" {
			return
		}
		for _, decl := range f.Syn.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) && !slices.Contains(known, d.Name.Name) {
					t.Errorf("%s: %s has no comment", f.at(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				genDecl(t, f, d)
			}
		}
	})
}

var known = []string{"String", "Error", "Unwrap", "Is", "MarshalText", "UnmarshalText", "MarshalJSON", "UnmarshalJSON", "MarshalYAML", "UnmarshalYAML"}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if gen, ok := typ.(*ast.IndexExpr); ok {
		typ = gen.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

func genDecl(t *testing.T, f *file, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
				t.Errorf("%s: type %s has no comment", f.at(s.Pos()), s.Name.Name)
			}
		case *ast.ValueSpec:
			// One comment may stand over a group, or behind a name.
			if d.Doc != nil || s.Doc != nil || s.Comment != nil || (d.Tok == token.CONST && len(s.Values) == 0) {
				continue
			}
			for _, name := range s.Names {
				if name.IsExported() {
					t.Errorf("%s: %s has no comment", f.at(s.Pos()), name.Name)
				}
			}
		}
	}
}
