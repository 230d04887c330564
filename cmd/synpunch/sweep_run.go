package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
	"github.com/synpunch/synpunch/lab/sweep/draw"
	"github.com/synpunch/synpunch/lab/sweep/parquet"
)

// stdoutName is standard output as a file name.
const stdoutName = "-"

// sweepRun is a sweep that is being made.
type sweepRun struct {
	flags   *sweepFlags
	cfg     *sweep.Config
	journal *sweep.Journal // nil: nothing is kept
	rows    []sweep.Row    // for the figures; empty without a journal
	writers []sweepFile
}

// sweepFile is a file that rows go to.
type sweepFile struct {
	sweep.Writer
	name string
	file io.Closer
}

func (r *sweepRun) run(cmd *cobra.Command) error {
	done, err := r.begin(cmd.OutOrStdout())
	if err != nil {
		return exitWith(exitUsage, errors.Join(err, r.close()))
	}
	progress := newProgress(cmd.ErrOrStderr(), "trials")
	opt := &sweep.Options{Done: done, Record: r.record, Progress: progress.show, Workers: r.flags.parallel, Stock: stockProgram}
	if r.journal != nil {
		opt.Dir = r.journal.Dir()
	}
	sum, err := sweep.Run(cmd.Context(), r.cfg, opt)
	progress.clear()
	if cerr := r.close(); sum == nil || cerr != nil {
		return errors.Join(err, cerr)
	}
	if err := r.write(cmd.OutOrStdout(), sum); err != nil {
		return err
	}
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted after %d of %d trials", sum.Done, sum.Of)
		if r.journal != nil {
			err = fmt.Errorf("%w; to go on: synpunch sweep --resume %s", err, r.journal.Dir())
		}
		return exitWith(exitFailed, err)
	}
	return err
}

// begin opens what rows go to, and returns those that are there.
func (r *sweepRun) begin(stdout io.Writer) (done []sweep.Row, err error) {
	switch {
	case r.flags.resume != "":
		if r.journal, _, done, err = sweep.Resume(r.flags.resume); err != nil {
			return nil, fmt.Errorf("--resume: %w", err)
		}
	case r.flags.out != "":
		m := &sweep.Manifest{Command: r.flags.command, Config: *r.cfg}
		if r.journal, err = sweep.Create(r.flags.out, m); errors.Is(err, sweep.ErrExists) {
			return nil, fmt.Errorf("-o: %w: --resume %s goes on with it", err, r.flags.out)
		}
		if err != nil {
			return nil, fmt.Errorf("-o: %w", err)
		}
	}
	if err := r.open(stdout); err != nil {
		return nil, err
	}
	for i := range done {
		if err := r.put(&done[i]); err != nil {
			return nil, err
		}
	}
	return done, nil
}

// open opens the files for rows.
func (r *sweepRun) open(stdout io.Writer) error {
	for _, f := range []struct {
		flag, name string
		writer     func(io.Writer) (sweep.Writer, error)
	}{
		{"csv", r.flags.csv, sweep.NewCSV},
		{"jsonl", r.flags.jsonl, func(w io.Writer) (sweep.Writer, error) { return sweep.NewJSONL(w), nil }},
		{"parquet", r.flags.parquet, func(w io.Writer) (sweep.Writer, error) { return parquet.NewWriter(w), nil }},
	} {
		if f.name == "" {
			continue
		}
		to, closer := stdout, io.Closer(io.NopCloser(nil))
		if f.name != stdoutName {
			file, err := os.Create(f.name)
			if err != nil {
				return fmt.Errorf("--%s: %w", f.flag, err)
			}
			to, closer = file, file
		}
		w, err := f.writer(to)
		if err != nil {
			return errors.Join(fmt.Errorf("--%s: %w", f.flag, err), closer.Close())
		}
		r.writers = append(r.writers, sweepFile{Writer: w, name: f.name, file: closer})
	}
	return nil
}

// record takes a trial that was just made: the journal first.
func (r *sweepRun) record(row *sweep.Row) error {
	if r.journal != nil {
		if err := r.journal.Add(row); err != nil {
			return err
		}
	}
	return r.put(row)
}

func (r *sweepRun) put(row *sweep.Row) error {
	if r.journal != nil {
		r.rows = append(r.rows, *row)
	}
	for _, w := range r.writers {
		if err := w.Add(row); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// close ends the files.
func (r *sweepRun) close() error {
	var errs []error
	for _, w := range r.writers {
		if err := errors.Join(w.Close(), w.file.Close()); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w.name, err))
		}
	}
	if r.journal != nil {
		errs = append(errs, r.journal.Close())
	}
	r.writers = nil
	return errors.Join(errs...)
}

// write draws the figures and prints the summary, unless standard output has the rows.
func (r *sweepRun) write(stdout io.Writer, sum *sweep.Summary) error {
	if r.journal != nil && len(r.rows) > 0 {
		formats := []figure.Format{figure.SVG}
		if r.flags.png {
			formats = append(formats, figure.PNG)
		}
		figures := draw.Figures(sum, r.rows)
		for _, f := range formats {
			if _, err := draw.Save(r.journal.Dir(), figures, f); err != nil {
				return err
			}
		}
	}
	switch {
	case r.flags.json:
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(sum)
	case r.flags.csv == stdoutName || r.flags.jsonl == stdoutName:
		return nil
	}
	if err := sum.WriteText(stdout); err != nil || r.journal == nil {
		return err
	}
	_, err := fmt.Fprintf(stdout, "\nTrials and figures are in %s.\n", filepath.Clean(r.journal.Dir()))
	return err
}
