package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/lab/page"
	"github.com/synpunch/synpunch/lab/sweep"
)

type reportFlags struct {
	output, title string
	trials        []int64
	json          bool
}

func newReportCommand() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report DIR [flags]",
		Short: "Make one HTML page of a sweep, or of one attempt",
		Long: `Make a page of what 'synpunch sweep -o DIR' left: the question, the scenario,
tables with confidence intervals, figures, the ladders of some trials, and the
commands, versions and seed that make it again. A sweep that is not complete, or
still being made, gives a page of what is there.

DIR may also hold one attempt, as 'synpunch demo --capture DIR' leaves it.

The page is one file. It loads nothing and runs nothing, opens in any browser
without a network, on a phone, in light and dark, and can be printed.

Of each arm and each kind of outcome one trial is shown, with its packets if they
were kept ('sweep --captures'). --trial shows others: N is the column n of
trials.jsonl.

Exit code 1: part of the data could not be read (the page has the rest).`,
		Example: `  synpunch report window
  synpunch report window -o report.html --trial 17 --trial 1204
  synpunch report window -o - | gzip > report.html.gz`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runReport(cmd, &f, args[0]) },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.output, "output", "o", "", "write the page to `FILE`; - is standard output (default: report.html in DIR)")
	fl.StringVar(&f.title, "title", "", "the question that the page answers (default: what was varied)")
	fl.Int64SliceVar(&f.trials, "trial", nil, "show trial `N`, instead of one of each kind; may be given more than once")
	fl.BoolVar(&f.json, "json", false, "print what was made as one JSON object (docs/report-page.md)")
	cmd.MarkFlagFilename("output", "html")
	return cmd
}

// reportResult is what report --json prints.
type reportResult struct {
	Format  string         `json:"format"`
	Version int            `json:"version"`
	File    string         `json:"file"`
	Bytes   int            `json:"bytes"`
	Trials  int            `json:"trials"`
	Damage  []reportDamage `json:"damage"`
}

type reportDamage struct {
	Line  int    `json:"line"`
	Error string `json:"error"`
}

// pager is what a page is made of.
type pager interface {
	io.Closer
	Write(io.Writer, *page.Config) error
}

func runReport(cmd *cobra.Command, f *reportFlags, dir string) error {
	if f.json && f.output == "-" {
		return usagef("--json and -o - both want standard output: give -o a file")
	}
	p, res, err := openReport(f, dir)
	if err != nil {
		return err
	}
	defer p.Close()
	res.File = f.output
	if res.File == "" {
		res.File = filepath.Join(dir, "report.html")
	}
	var b bytes.Buffer
	err = p.Write(&b, &page.Config{Title: f.title, Trials: f.trials, Command: f.command(dir)})
	if errors.Is(err, page.ErrTrial) {
		return exitWith(exitUsage, err)
	}
	if err = errors.Join(err, cmd.Context().Err()); err != nil {
		return err
	}
	res.Bytes = b.Len()
	if res.File == "-" {
		_, err = cmd.OutOrStdout().Write(b.Bytes())
	} else if err = replaceFile(res.File, b.Bytes()); err == nil {
		err = res.tell(cmd.OutOrStdout(), f.json)
	}
	if err != nil || len(res.Damage) == 0 {
		return err
	}
	for _, d := range res.Damage {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s, line %d: %s: left out\n", filepath.Join(dir, sweep.TrialsName), d.Line, d.Error)
	}
	return exitWith(exitFailed, nil)
}

// openReport reads the directory of a sweep, or of an attempt.
func openReport(f *reportFlags, dir string) (pager, *reportResult, error) {
	res := &reportResult{Format: "synpunch/report-page", Version: 1, Damage: []reportDamage{}}
	s, err := page.Read(dir)
	if err == nil {
		res.Trials = len(s.Rows)
		for _, d := range s.Damage {
			res.Damage = append(res.Damage, reportDamage{d.Line, d.Err.Error()})
		}
		return s, res, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, usagef("%s is not there: make it with 'synpunch sweep -o %s', or give another directory", dir, dir)
	}
	if !errors.Is(err, page.ErrNotSweep) {
		return nil, nil, err
	}
	a, bad := page.ReadAttempt(dir)
	if errors.Is(bad, page.ErrNotAttempt) {
		return nil, nil, usagef("%w; want the directory of 'synpunch sweep -o DIR' or 'synpunch demo --capture DIR'", err)
	}
	if bad != nil {
		return nil, nil, bad
	}
	if len(f.trials) > 0 {
		return nil, nil, errors.Join(usagef("%s holds one attempt: leave --trial away", dir), a.Close())
	}
	res.Trials = 1
	return a, res, nil
}

// tell says what was made.
func (r *reportResult) tell(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	trials := fmt.Sprintf("%d trials", r.Trials)
	if r.Trials == 1 {
		trials = "1 trial"
	}
	_, err := fmt.Fprintf(w, "%s: %s, %d kB\n", r.File, trials, (r.Bytes+999)/1000)
	return err
}

// command is the command line that makes the page again.
func (f *reportFlags) command(dir string) []string {
	words := []string{"synpunch", "report", dir}
	if f.output != "" && f.output != "-" {
		words = append(words, "-o", f.output)
	}
	for _, n := range f.trials {
		words = append(words, "--trial", fmt.Sprint(n))
	}
	if f.title != "" {
		words = append(words, "--title", f.title)
	}
	return words
}

// replaceFile writes a file at once: who reads it sees the old or the new one. What is
// not an ordinary file, such as a pipe, is written to.
func replaceFile(name string, text []byte) error {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	mode := fs.FileMode(0o666) // less what the umask takes
	old, err := os.Stat(name)
	if err == nil && !old.Mode().IsRegular() {
		return os.WriteFile(name, text, mode)
	}
	temp := fmt.Sprintf("%s.%d.tmp", name, os.Getpid())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil && old != nil {
		err = f.Chmod(old.Mode().Perm())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}
