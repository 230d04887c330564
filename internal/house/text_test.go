package house

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

// strangers are words that show where a file was written, or from which store
// a module came. Each is in two parts so that this file passes its own test.
var strangers = []string{
	"/wo" + "rk/", "/ro" + "ot/", "/Us" + "ers/",
	"GOPR" + "OXY=", "GONO" + "SUMDB", "GOFLAGS=-mod" + "=mod", "proxy.gol" + "ang.org",
}

func TestNoStrangers(t *testing.T) {
	each(t, func(f *file) {
		for n, line := range strings.Split(string(f.Text), "\n") {
			for _, s := range strangers {
				if strings.Contains(line, s) {
					t.Errorf("%s:%d: %q does not belong in the repository", f.Name, n+1, s)
				}
			}
		}
	})
}

// TestTextFiles: no trailing space, no carriage return, one newline at the end.
func TestTextFiles(t *testing.T) {
	each(t, func(f *file) {
		switch path.Ext(f.Name) {
		case ".md", ".yaml", ".yml", ".mod":
		default:
			if f.Name != ".ci/run" {
				return
			}
		}
		text := string(f.Text)
		if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") {
			t.Errorf("%s: must end in one newline", f.Name)
		}
		for n, line := range strings.Split(text, "\n") {
			if strings.TrimRight(line, " \t\r") != line {
				t.Errorf("%s:%d: space at the end of the line", f.Name, n+1)
			}
		}
	})
}

func TestChangelogOpensWithUnreleased(t *testing.T) {
	each(t, func(f *file) {
		if f.Name != "CHANGELOG.md" {
			return
		}
		headings := regexp.MustCompile(`(?m)^## (.*)$`).FindStringSubmatch(string(f.Text))
		if headings == nil || headings[1] != "Unreleased" {
			t.Errorf("CHANGELOG.md: the first section must be Unreleased, it is %q", headings)
		}
	})
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

// TestLinks: a link to a file of the repository leads to one.
func TestLinks(t *testing.T) {
	names := map[string]bool{}
	each(t, func(f *file) {
		for name := f.Name; name != "."; name = path.Dir(name) {
			names[name] = true
		}
	})
	each(t, func(f *file) {
		if path.Ext(f.Name) != ".md" {
			return
		}
		for _, m := range link.FindAllStringSubmatch(string(f.Text), -1) {
			to := m[1]
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			if !names[path.Join(path.Dir(f.Name), to)] {
				t.Errorf("%s: the link to %s leads nowhere", f.Name, to)
			}
		}
	})
}

// TestReadmeExample: the Go code of the README is compiled, as the example of
// package punch.
func TestReadmeExample(t *testing.T) {
	var readme, example string
	each(t, func(f *file) {
		switch f.Name {
		case "README.md":
			_, rest, _ := strings.Cut(string(f.Text), "```go\n")
			readme, _, _ = strings.Cut(rest, "```")
		case "punch/example_test.go":
			if parts := strings.Split(string(f.Text), "// README\n"); len(parts) == 3 {
				example = parts[1]
			}
		}
	})
	if readme == "" || strings.Join(strings.Fields(readme), " ") != strings.Join(strings.Fields(example), " ") {
		t.Errorf("the Go code of README.md is not that of punch/example_test.go:\n%s\n%s", readme, example)
	}
}

var benchmarkArg = regexp.MustCompile(`-bench (\w+).* \./([\w/]+)`)

// TestBenchmarksExist: each command of docs/benchmarks.md runs a benchmark.
func TestBenchmarksExist(t *testing.T) {
	var lines []string
	functions := map[string]string{} // package -> text of its tests
	each(t, func(f *file) {
		switch {
		case f.Name == "docs/benchmarks.md":
			lines = strings.Split(string(f.Text), "\n")
		case f.isGo() && f.isTest():
			functions[f.pkg()] += string(f.Text)
		}
	})
	for _, line := range lines {
		if m := benchmarkArg.FindStringSubmatch(line); m != nil && !regexp.MustCompile(`(?m)^func Benchmark\w*`+m[1]).MatchString(functions[m[2]]) {
			t.Errorf("docs/benchmarks.md: %s has no benchmark %s", m[2], m[1])
		}
	}
}
