package sweep

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/timing"
)

// rowsOf makes a sweep and returns its rows.
func rowsOf(t *testing.T, c *Config, opt Options) []Row {
	t.Helper()
	rows := append([]Row(nil), opt.Done...)
	opt.Record = func(r *Row) error { rows = append(rows, *r); return nil }
	if _, err := Run(t.Context(), c, &opt); err != nil {
		t.Fatal(err)
	}
	return rows
}

// rough is a sweep in which everything is drawn.
func rough() *Config {
	c := flagship("connect", "repair")
	c.Axes = []Grid{{Skew, -24 * ms, 24 * ms, 8 * ms}, {ClockError, 0, 20 * ms, 10 * ms}}
	c.Trials = 4
	late := time.Millisecond
	for i := range c.Arms {
		a := &c.Arms[i]
		a.Jitter, a.Loss = 4*time.Millisecond, 0.1
		a.A.SendError, a.B.SendError = &late, &late
	}
	return c
}

// TestWorkersDoNotMatter: rows are the same however many make them.
func TestWorkersDoNotMatter(t *testing.T) {
	one := rowsOf(t, rough(), Options{Workers: 1})
	many := rowsOf(t, rough(), Options{Workers: 7})
	if diff := cmp.Diff(one, many); diff != "" {
		t.Error(diff)
	}
	if len(one) != 7*3*2*4 {
		t.Errorf("%d rows", len(one))
	}
	for i, r := range one {
		if r.N != int64(i) {
			t.Fatalf("row %d has number %d", i, r.N)
		}
	}
}

// TestResume: a sweep that was stopped after any trial gives the same rows and the
// same summary.
func TestResume(t *testing.T) {
	whole := rowsOf(t, rough(), Options{})
	want, err := Summarize(rough(), whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, stop := range []int{0, 1, 17, len(whole) - 1, len(whole)} {
		ctx, cancel := context.WithCancel(t.Context())
		var rows []Row
		if stop == 0 {
			cancel()
		}
		sum, err := Run(ctx, rough(), &Options{Record: func(r *Row) error {
			if rows = append(rows, *r); len(rows) == stop {
				cancel()
			}
			return nil
		}})
		cancel()
		if sum == nil || sum.Done != len(rows) || len(rows) < stop || sum.Of != len(whole) {
			t.Fatalf("stopped after %d: %d rows, %+v, %v", stop, len(rows), sum, err)
		}
		if len(rows) < len(whole) && !errors.Is(err, context.Canceled) {
			t.Errorf("stopped after %d: %v", stop, err)
		}
		rows = rowsOf(t, rough(), Options{Done: rows})
		if diff := cmp.Diff(whole, rows); diff != "" {
			t.Fatalf("stopped after %d: %s", stop, diff)
		}
		got, err := Summarize(rough(), rows)
		if diff := cmp.Diff(want, got, cmpopts.EquateApprox(1e-12, 0), cmpopts.IgnoreUnexported(Summary{})); err != nil || diff != "" {
			t.Errorf("stopped after %d: %v, %s", stop, err, diff)
		}
	}
}

// TestForeignRows: rows of another sweep are refused.
func TestForeignRows(t *testing.T) {
	rows := rowsOf(t, rough(), Options{})
	other := rough()
	other.Seed++
	if _, err := Run(t.Context(), other, &Options{Done: rows[:3]}); !errors.Is(err, ErrConfig) {
		t.Errorf("another seed: %v", err)
	}
	fewer := rough()
	fewer.Trials = 1
	if _, err := Run(t.Context(), fewer, &Options{Done: rows}); !errors.Is(err, ErrConfig) {
		t.Errorf("too many rows: %v", err)
	}
	if _, err := Summarize(other, rows); !errors.Is(err, ErrConfig) {
		t.Errorf("summarized: %v", err)
	}
	if sum, err := Summarize(rough(), rows[5:9]); err != nil || sum.Done != 4 {
		t.Errorf("some rows: %v, %+v", err, sum)
	}
}

// TestRecordEnds: who cannot keep a row ends the sweep.
func TestRecordEnds(t *testing.T) {
	full := errors.New("the disk is full")
	n := 0
	sum, err := Run(t.Context(), rough(), &Options{Record: func(*Row) error { n++; return full }})
	if sum != nil || !errors.Is(err, full) || n != 1 {
		t.Errorf("%+v, %v, %d rows", sum, err, n)
	}
}

// TestCalibration: of 10,000 trials with clocks wrong by up to 50 ms, timers by a
// millisecond and a link that jitters, as many cross as was stated beforehand.
func TestCalibration(t *testing.T) {
	c := flagship("connect")
	c.Axes = []Grid{{Skew, -60 * ms, 60 * ms, 5 * ms}, {ClockError, 0, 50 * ms, 10 * ms}}
	c.Trials = 67
	late := time.Millisecond
	a := &c.Arms[0]
	a.Jitter, a.A.SendError, a.B.SendError = 8*time.Millisecond, &late, &late
	const bins = 10
	var stated, variance [bins]float64
	var crossed, of [bins]int
	rows := rowsOf(t, c, Options{})
	for _, r := range rows {
		k := min(int(*r.PCross*bins), bins-1)
		stated[k] += *r.PCross
		variance[k] += *r.PCross * (1 - *r.PCross)
		of[k]++
		if r.Regime == timing.Crossed.String() {
			crossed[k]++
		}
	}
	for k := range of {
		t.Logf("%d trials: %.1f stated, %d crossed", of[k], stated[k], crossed[k])
		if d := float64(crossed[k]) - stated[k]; d*d > 9*variance[k]+1 { // three standard deviations
			t.Errorf("bin %d of %d trials: %.1f stated, %d crossed", k, of[k], stated[k], crossed[k])
		}
	}
	if len(rows) < 10_000 {
		t.Errorf("%d trials", len(rows))
	}
}

// TestCaptures: which trials leave a file, and that it is one with four lanes.
func TestCaptures(t *testing.T) {
	for _, tt := range []struct {
		policy string
		want   func(*Row) bool
	}{
		{CaptureNone, func(*Row) bool { return false }},
		{CaptureAll, func(*Row) bool { return true }},
		{CaptureFailed, func(r *Row) bool { return r.Outcome != Established }},
		{"2", func(r *Row) bool { return r.Trial < 2 }},
	} {
		c := flagship("connect", "repair")
		c.Axes, c.Trials, c.Captures = []Grid{{Skew, -30 * ms, 30 * ms, 30 * ms}}, 3, tt.policy
		dir := t.TempDir()
		j, err := Create(dir, &Manifest{Config: *c})
		if err != nil {
			t.Fatal(err)
		}
		files := 0
		for _, r := range rowsOf(t, c, Options{Dir: dir}) {
			if tt.want(&r) != (r.Capture != "") {
				t.Errorf("%s: trial %d, %s: capture %q", tt.policy, r.Trial, r.Outcome, r.Capture)
			}
			if r.Capture == "" {
				continue
			}
			files++
			lanes := lanesOf(t, filepath.Join(dir, r.Capture))
			if len(lanes) != 4 {
				t.Errorf("%s: packets at %d interfaces", r.Capture, len(lanes))
			}
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		list, err := os.ReadDir(filepath.Join(dir, CapturesName))
		if err != nil || len(list) != files {
			t.Errorf("%s: %d files, want %d: %v", tt.policy, len(list), files, err)
		}
	}
}

// lanesOf counts the packets of each interface of a file.
func lanesOf(t *testing.T, name string) map[int]int {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := capture.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	lanes := map[int]int{}
	for {
		p, err := r.Next()
		if err != nil {
			return lanes
		}
		lanes[p.Interface]++
	}
}
