package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/synpunch/synpunch/internal/doctor"
	"github.com/synpunch/synpunch/punch"
)

// The manual (docs/cli.md and docs/man/) is made from the command tree by this
// test, so that the command itself need not carry what writes it.
//
//go:generate go test -run ^TestManual$ . -manual
var writeManual = flag.Bool("manual", false, "write the manual again instead of comparing it")

const docs = "../../docs"

// exitStatus is the part of the manual that every command shares.
var exitStatus = []struct {
	code int
	text string
}{
	{exitDone, "done; the result is on standard output"},
	{exitFailed, "the attempt failed"},
	{exitUsage, "the command line is wrong"},
	{exitMissing, "a capability or a kernel feature is missing; synpunch doctor names it and the command that grants it"},
}

func TestManual(t *testing.T) {
	pages := map[string][]byte{}
	var cli bytes.Buffer
	fmt.Fprint(&cli, "# The command line\n\n"+
		"This page and the man pages in [man/](man) are made from the command tree by `go generate ./cmd/synpunch`.\n")
	for _, cmd := range commands(newRootCommand()) {
		writeMarkdown(&cli, cmd)
		var page bytes.Buffer
		writeMan(&page, cmd)
		pages[filepath.Join(docs, "man", pageName(cmd)+".1")] = page.Bytes()
	}
	writeMarkdownEnd(&cli)
	pages[filepath.Join(docs, "cli.md")] = cli.Bytes()

	old, err := filepath.Glob(filepath.Join(docs, "man", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range old {
		if _, ok := pages[path]; ok {
			continue
		}
		if !*writeManual {
			t.Errorf("%s is of no command; run 'go generate ./cmd/synpunch'", path)
		} else if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
	for path, want := range pages {
		if *writeManual {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v; run 'go generate ./cmd/synpunch'", err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the command tree says; run 'go generate ./cmd/synpunch'", path)
		}
	}
}

// commands is the tree below cmd, itself first, without what cobra adds.
func commands(cmd *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "completion" && c.Name() != "help" {
			list = append(list, commands(c)...)
		}
	}
	return list
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// eachFlag calls fn with each flag of cmd that people see: its name with
// dashes and value, and its usage with the default.
func eachFlag(cmd *cobra.Command, fn func(name, value, usage string)) {
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if !slices.Contains([]string{"", "0", "0s", "-1", "false", "[]"}, f.DefValue) && !strings.Contains(usage, "default") {
			usage += " (default " + f.DefValue + ")"
		}
		fn(name, value, usage)
	})
}

func description(cmd *cobra.Command) string {
	if cmd.Long != "" {
		return cmd.Long
	}
	return cmd.Short + "."
}

// useLine is how the command is called.
func useLine(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " COMMAND [flags]"
	}
	return cmd.UseLine()
}

func writeMarkdown(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintf(w, "\n## %s\n\n%s.\n\nUsage: `%s`\n", cmd.CommandPath(), cmd.Short, useLine(cmd))
	if cmd.Long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(cmd.Long))
	}
	fmt.Fprint(w, "\n| flag | meaning |\n|---|---|\n")
	cell := strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace
	eachFlag(cmd, func(name, value, usage string) {
		fmt.Fprintf(w, "| `%s` | %s |\n", strings.TrimSpace(name+" "+value), cell(usage))
	})
	if cmd.Example != "" {
		fmt.Fprintf(w, "\n```\n%s\n```\n", unindent(cmd.Example))
	}
}

// writeMarkdownEnd writes what holds for the whole command.
func writeMarkdownEnd(w io.Writer) {
	fmt.Fprint(w, "\n## Exit status\n\n| code | meaning |\n|---|---|\n")
	for _, e := range exitStatus {
		fmt.Fprintf(w, "| %d | %s |\n", e.code, e.text)
	}
	fmt.Fprint(w, "\n`synpunch punch ... -- CMD` ends with the exit code of CMD.\n"+
		"\n## Shell completion\n\n"+
		"`synpunch completion bash` (or `zsh`, `fish`, `powershell`) prints the script; `synpunch completion bash --help` says where to put it.\n"+
		"Values of `--engine`, `--strategy` and the kinds of NAT are completed too.\n"+
		"\n```\nsource <(synpunch completion bash)\n```\n")
}

// unindent removes the indentation that cobra's help wants.
func unindent(s string) string {
	lines := strings.Split(strings.Trim(s, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}

// roff writes text so that troff shows it as it stands (groff_char(7)).
func roff(s string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// writeMan writes one man page (man-pages(7)), without a date: it changes when
// the command does.
func writeMan(w io.Writer, cmd *cobra.Command) {
	name := pageName(cmd)
	fmt.Fprintf(w, ".\\\" Made from the command tree: go generate ./cmd/synpunch\n.TH %s 1 \"\" synpunch \"synpunch manual\"\n", strings.ToUpper(roff(name)))
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n", roff(name), roff(cmd.Short))
	fmt.Fprintf(w, ".SH SYNOPSIS\n.nf\n%s\n.fi\n.SH DESCRIPTION\n", roff(useLine(cmd)))
	for i, par := range strings.Split(strings.TrimSpace(description(cmd)), "\n\n") {
		if i > 0 {
			fmt.Fprint(w, ".PP\n")
		}
		if strings.HasPrefix(par, " ") {
			fmt.Fprintf(w, ".nf\n%s\n.fi\n", roff(par))
		} else {
			fmt.Fprintf(w, "%s\n", roff(par))
		}
	}
	if sub := commands(cmd)[1:]; len(sub) > 0 {
		fmt.Fprint(w, ".SH COMMANDS\n")
		for _, c := range sub {
			fmt.Fprintf(w, ".TP\n\\fB%s\\fR\n%s\n", roff(c.CommandPath()), roff(c.Short))
		}
	}
	fmt.Fprint(w, ".SH OPTIONS\n")
	eachFlag(cmd, func(name, value, usage string) {
		fmt.Fprintf(w, ".TP\n\\fB%s\\fR", roff(name))
		if value != "" {
			fmt.Fprintf(w, " \\fI%s\\fR", roff(value))
		}
		fmt.Fprintf(w, "\n%s\n", roff(usage))
	})
	if cmd.Example != "" {
		fmt.Fprintf(w, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(unindent(cmd.Example)))
	}
	fmt.Fprint(w, ".SH EXIT STATUS\n")
	for _, e := range exitStatus {
		fmt.Fprintf(w, ".TP\n\\fB%d\\fR\n%s\n", e.code, roff(e.text))
	}
	var also []string
	for _, c := range commands(cmd.Root()) {
		if c != cmd {
			also = append(also, fmt.Sprintf("\\fB%s\\fR(1)", roff(pageName(c))))
		}
	}
	fmt.Fprintf(w, ".SH SEE ALSO\n%s\n", strings.Join(also, ",\n"))
}

// TestDocumentedCommands: each synpunch line in a fenced block of the
// documentation, and each example of the help, is one that the command takes.
func TestDocumentedCommands(t *testing.T) {
	n := 0
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/*/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for i, block := range strings.Split("\n"+string(text), "\n```") {
				if i%2 == 1 {
					_, lines, _ := strings.Cut(block, "\n")
					n += checkCommands(t, name, lines)
				}
			}
		}
	}
	if n < 5 {
		t.Errorf("found %d command lines in the documentation: were they looked for in the right place?", n)
	}
	for _, cmd := range commands(newRootCommand()) {
		if checkCommands(t, "the help of "+cmd.CommandPath(), cmd.Example) == 0 {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
	}
}

// checkCommands parses the synpunch lines of text and returns their number.
func checkCommands(t *testing.T, where, text string) (n int) {
	t.Helper()
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		args := synpunchLine(line)
		if args == nil {
			continue
		}
		n++
		if err := parseOnly(args); err != nil {
			t.Errorf("%s: %q: %v", where, strings.TrimSpace(line), err)
		}
	}
	return n
}

// parseOnly finds the command that args call and parses its flags.
func parseOnly(args []string) error {
	root := newRootCommand()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

var prompt = regexp.MustCompile(`^\w*\$ `)

// synpunchLine is what a shell would give to synpunch for the line; nil when
// the line calls something else. It knows quotes, comments and redirections.
func synpunchLine(line string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	inWord := false
	end := func() {
		if inWord {
			words = append(words, word.String())
			word.Reset()
			inWord = false
		}
	}
	line = prompt.ReplaceAllString(strings.TrimSpace(line), "")
	// Help texts explain an example behind a gap.
	line, _, _ = strings.Cut(line, "   ")
scan:
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case strings.ContainsRune("|<>;&)", c) || (c == '#' && !inWord):
			break scan
		case c == ' ' || c == '\t':
			end()
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	end()
	for len(words) > 0 && (words[0] == "sudo" || strings.Contains(words[0], "=")) {
		words = words[1:]
	}
	switch {
	case len(words) > 0 && (words[0] == "synpunch" || words[0] == "./synpunch"):
		return words[1:]
	case len(words) > 2 && words[0] == "go" && words[1] == "run" && words[2] == "./cmd/synpunch":
		return words[3:]
	}
	return nil
}

func TestSynpunchLine(t *testing.T) {
	for line, want := range map[string][]string{
		"b$ synpunch demo":                           {"demo"},
		"  synpunch demo":                            {"demo"},
		"$ go run ./cmd/synpunch demo # and look":    {"demo"},
		`synpunch punch --remote '[::1]:2' < file`:   {"punch", "--remote", "[::1]:2"},
		"sudo ./synpunch doctor | head":              {"doctor"},
		"A=1 synpunch analyze a.pcap":                {"analyze", "a.pcap"},
		"go test ./...":                              nil,
		"synpunch: the design":                       nil,
		`synpunch punch --at "$(date +%s%N)" --json`: {"punch", "--at", "$(date +%s%N)", "--json"},
	} {
		if got := synpunchLine(line); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
	if err := parseOnly([]string{"--no-such-flag"}); err == nil {
		t.Error("a flag that does not exist passed")
	}
}

// TestDocumentedFields: each JSON field of the report and of the demo's object
// stands in its page.
func TestDocumentedFields(t *testing.T) {
	for page, v := range map[string]any{
		"report.md": punch.Report{},
		"demo.md":   demoResult{},
		"doctor.md": doctor.Result{},
	} {
		text, err := os.ReadFile(filepath.Join(docs, page))
		if err != nil {
			t.Fatal(err)
		}
		checkFields(t, page, string(text), reflect.TypeOf(v), map[reflect.Type]bool{})
	}
}

// checkFields looks for `name`, or for the end of a path, such as `flow.name`.
func checkFields(t *testing.T, page, text string, typ reflect.Type, seen map[reflect.Type]bool) {
	t.Helper()
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	// The report has a page of its own; types of other modules write themselves.
	if typ.Kind() != reflect.Struct || !strings.HasPrefix(typ.PkgPath(), "github.com/synpunch/") && typ.PkgPath() != "main" ||
		seen[typ] || (page != "report.md" && typ == reflect.TypeFor[punch.Report]()) {
		return
	}
	seen[typ] = true
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" && f.Anonymous {
			checkFields(t, page, text, f.Type, seen)
			continue
		}
		if name == "" {
			t.Errorf("%v.%s has no JSON name", typ, f.Name)
		} else if !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, "."+name+"`") && !strings.Contains(text, "`"+name+".") {
			t.Errorf("%s does not name %q (%v.%s)", page, name, typ, f.Name)
		}
		checkFields(t, page, text, f.Type, seen)
	}
}
