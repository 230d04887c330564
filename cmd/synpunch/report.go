package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/lab/page"
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
		Short: "Make one HTML page of a sweep",
		Long: `Make a page of what 'synpunch sweep -o DIR' left: the question, the scenario,
tables with confidence intervals, figures, the ladders of some trials, and the
commands, versions and seed that make it again. A sweep that is not complete, or
still being made, gives a page of what is there.

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

func runReport(cmd *cobra.Command, f *reportFlags, dir string) error {
	if f.json && f.output == "-" {
		return usagef("--json and -o - both want standard output: give -o a file")
	}
	s, err := page.Read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usagef("%s is not there: make it with 'synpunch sweep -o %s', or give another directory", dir, dir)
	case errors.Is(err, page.ErrNotSweep):
		return usagef("%w; want the directory of 'synpunch sweep -o DIR'", err)
	case err != nil:
		return err
	}
	defer s.Close()
	name := f.output
	if name == "" {
		name = filepath.Join(dir, "report.html")
	}
	var b bytes.Buffer
	err = s.Write(&b, &page.Config{Title: f.title, Trials: f.trials, Command: f.command(dir)})
	if errors.Is(err, page.ErrTrial) {
		return exitWith(exitUsage, err)
	}
	if err == nil {
		err = cmd.Context().Err()
	}
	if err != nil {
		return err
	}
	if name == "-" {
		_, err = cmd.OutOrStdout().Write(b.Bytes())
	} else {
		err = replaceFile(name, b.Bytes())
	}
	if err == nil && name != "-" {
		err = f.tell(cmd, s, name, b.Len())
	}
	if err != nil {
		return err
	}
	if len(s.Damage) == 0 {
		return nil
	}
	for _, d := range s.Damage {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s, %s: left out\n", filepath.Join(dir, "trials.jsonl"), d)
	}
	return exitWith(exitFailed, nil)
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

// tell says what was made.
func (f *reportFlags) tell(cmd *cobra.Command, s *page.Sweep, name string, size int) error {
	if !f.json {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %d trials, %d kB\n", name, len(s.Rows), (size+999)/1000)
		return err
	}
	r := reportResult{Format: "synpunch/report-page", Version: 1, File: name, Bytes: size, Trials: len(s.Rows), Damage: []reportDamage{}}
	for _, d := range s.Damage {
		r.Damage = append(r.Damage, reportDamage{d.Line, d.Err.Error()})
	}
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(&r)
}

// replaceFile writes a file at once: who reads it sees the old or the new one. What is
// not an ordinary file, such as a pipe, is written to.
func replaceFile(name string, text []byte) error {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	mode := fs.FileMode(0o666) // less what the umask takes
	old, err := os.Stat(name)
	if err == nil {
		if !old.Mode().IsRegular() {
			return os.WriteFile(name, text, mode)
		}
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
