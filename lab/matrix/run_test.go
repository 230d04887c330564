package matrix_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/synpunch/synpunch/lab/matrix"
	"github.com/synpunch/synpunch/lab/sim"
)

func parse(t testing.TB, text string) []matrix.Kind {
	t.Helper()
	list, err := matrix.ParseKinds(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func newSim(t testing.TB, cfg *matrix.SimConfig) matrix.World {
	t.Helper()
	w, err := matrix.NewSim(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func run(t testing.TB, w matrix.World, cfg *matrix.Config) *matrix.Table {
	t.Helper()
	table, err := matrix.Run(t.Context(), w, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func asJSON(t testing.TB, table *matrix.Table) string {
	t.Helper()
	var b bytes.Buffer
	if err := table.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestSame: the workers do not change the table, nor do the other kinds a pair's
// cell; another seed does.
func TestSame(t *testing.T) {
	w := newSim(t, &matrix.SimConfig{LearnPort: true})
	cfg := matrix.Config{Kinds: parse(t, "linux,sequential,random,random,filtering=eif"), Attempts: 30, Seed: 7, Workers: 1}
	one := run(t, w, &cfg)
	cfg.Workers = 8
	eight := run(t, w, &cfg)
	if diff := cmp.Diff(asJSON(t, one), asJSON(t, eight)); diff != "" {
		t.Error(diff)
	}
	fewer := run(t, w, &matrix.Config{Kinds: cfg.Kinds[1:3], Attempts: 30, Seed: 7})
	for i := range 2 {
		for j := range 2 {
			part, whole := fewer.At(i, j), one.At(i+1, j+1)
			if diff := cmp.Diff(part, whole, cmp.AllowUnexported(matrix.Cell{})); diff != "" {
				t.Errorf("%s x %s among fewer kinds: %s", part.A.Name, part.B.Name, diff)
			}
		}
	}
}

// scripted is a world whose tries end as its script says, one after the other.
type scripted struct {
	script []string
	next   atomic.Int64
	batch  int
	fail   error
	closed atomic.Int64
}

func (s *scripted) Setup() matrix.Setup { return matrix.Setup{World: "scripted", Threshold: 0.99} }
func (s *scripted) Batch() int          { return s.batch }
func (s *scripted) Close() error        { s.closed.Add(1); return nil }
func (s *scripted) Open(context.Context, *matrix.Pair) (matrix.Bench, error) {
	return s, nil
}

func (s *scripted) Try(ctx context.Context, n int, _ uint64, report func(matrix.Try)) error {
	for range n {
		i := int(s.next.Add(1)) - 1
		if i >= len(s.script) {
			return s.fail
		}
		report(matrix.Try{Outcome: s.script[i], Established: time.Duration(i+1) * time.Millisecond})
	}
	return nil
}

const yes, refused, timeout = "established", "refused", "timeout"

// TestTries: an attempt ends with its first try that connects, or with its last.
func TestTries(t *testing.T) {
	w := &scripted{batch: 4, script: []string{
		yes, refused, timeout, refused, // the first try of four
		yes, timeout, refused, // the second of three
		timeout, refused, // the third of two
		yes, // the next batch, of one
	}}
	table := run(t, w, &matrix.Config{Kinds: parse(t, "linux"), Attempts: 5})
	c := table.At(0, 0)
	if c.Attempts != 5 || !cmp.Equal(c.ByTry, []int{2, 1, 0}) || !cmp.Equal(c.Outcomes, map[string]int{yes: 3, timeout: 1, refused: 1}) {
		t.Errorf("%+v", c)
	}
	if s := c.Connected(); s != (sim.Share{Count: 3, Of: 5}) {
		t.Errorf("%+v", s)
	}
	if d, ok := c.Median(); !ok || d != 5*time.Millisecond {
		t.Errorf("median %v, %v", d, ok)
	}
	if w.closed.Load() != 1 {
		t.Errorf("closed %d times", w.closed.Load())
	}
}

// TestInterrupted: a batch that was not finished does not count, and what was done
// is kept.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &scripted{batch: 2, script: []string{yes, timeout, timeout, timeout, yes}, fail: context.Canceled}
	done := 0
	table, err := matrix.Run(ctx, w, &matrix.Config{Kinds: parse(t, "linux,eim"), Attempts: 10, Workers: 1, Progress: func(n, of int) {
		done = n
		if of != 40 {
			t.Errorf("%d of %d", n, of)
		}
		cancel()
	}})
	if !errors.Is(err, context.Canceled) || table == nil {
		t.Fatalf("%v, %v", table, err)
	}
	if table.Done() != 2 || done != 2 || table.At(0, 0).Connected() != (sim.Share{Count: 1, Of: 2}) {
		t.Errorf("%d done, %d told, %+v", table.Done(), done, table.At(0, 0))
	}
	var b bytes.Buffer
	if err := table.WriteText(&b); err != nil || !strings.Contains(b.String(), "Interrupted: 2 of 40 attempts were made.") {
		t.Errorf("%v: %s", err, b.String())
	}
	if v := table.Verdict(table.At(1, 1)); v != matrix.Unknown {
		t.Errorf("a cell without attempts: %s", v)
	}
}

// TestFailure names the pair.
func TestFailure(t *testing.T) {
	broken := errors.New("no such luck")
	w := &scripted{batch: 1, fail: broken}
	table, err := matrix.Run(t.Context(), w, &matrix.Config{Kinds: parse(t, "linux"), Attempts: 1})
	if table != nil || !errors.Is(err, broken) || !strings.Contains(err.Error(), "linux x linux") {
		t.Errorf("%v, %v", table, err)
	}
	for _, cfg := range []matrix.Config{{Attempts: -1}, {Tries: -1}, {Workers: -1}} {
		if _, err := matrix.Run(t.Context(), w, &cfg); !errors.Is(err, matrix.ErrConfig) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if _, err := matrix.NewSim(&matrix.SimConfig{Timeout: -1}); !errors.Is(err, sim.ErrConfig) {
		t.Error(err)
	}
	if _, err := matrix.NewSim(&matrix.SimConfig{Engines: [2]sim.Engine{"magic"}}); !errors.Is(err, sim.ErrConfig) {
		t.Error(err)
	}
	if _, err := matrix.NewLive(&matrix.LiveConfig{Parallel: -1}); !errors.Is(err, matrix.ErrConfig) {
		t.Error(err)
	}
}

// TestData reads the CSV and the JSON back.
func TestData(t *testing.T) {
	table := run(t, newSim(t, nil), &matrix.Config{Kinds: parse(t, "linux,random"), Attempts: 20, Seed: 3})
	var b bytes.Buffer
	if err := table.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 5 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	cell := map[string]string{}
	for i, name := range rows[0] {
		cell[name] = rows[1][i]
	}
	for name, want := range map[string]string{"world": "sim", "a": "linux", "b": "linux", "class_a": "predictable", "filter_b": "address and port",
		"engine_a": "repair", "strategy_b": "cross", "attempts": "20", "connected": "20", "share": "1.000000", "high": "1.000000",
		"verdict": "YES", "first_try": "20", "median_ns": "40000000", "late": "0"} {
		if cell[name] != want {
			t.Errorf("%s: %q, want %q", name, cell[name], want)
		}
	}
	var j struct {
		Format  string
		Version int
		Kinds   []matrix.Kind
		Groups  []struct {
			A, B     matrix.Class
			Filter   *matrix.Filter
			Textbook matrix.Verdict
			Verdict  matrix.Verdict
			MedianNS *int64 `json:"median_ns"`
		}
		Cells []struct {
			A, B      string
			Connected struct {
				Count            int
				Share, Low, High float64
			}
			Verdict  matrix.Verdict
			Outcomes map[string]int
			MedianNS *int64 `json:"median_ns"`
		}
	}
	if err := json.Unmarshal([]byte(asJSON(t, table)), &j); err != nil {
		t.Fatal(err)
	}
	if j.Format != matrix.Format || j.Version != matrix.Version || len(j.Kinds) != 2 || len(j.Cells) != 4 {
		t.Errorf("%+v", j)
	}
	if c := j.Cells[0]; c.A != "linux" || c.Connected.Count != 20 || c.Connected.Low > 0.9 || c.Verdict != matrix.Yes || c.MedianNS == nil || *c.MedianNS != 40e6 {
		t.Errorf("%+v", c)
	}
	if c := j.Cells[3]; c.Verdict != matrix.No || c.MedianNS != nil || c.Outcomes[timeout] != 20 {
		t.Errorf("%+v", c)
	}
	if g := j.Groups[0]; g.Filter != nil || g.Textbook != matrix.Yes || g.Verdict != matrix.Yes {
		t.Errorf("%+v", g)
	}
}

// failing is a writer that takes a little.
type failing struct{ left int }

var errFull = errors.New("full")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// TestText fits 80 columns, with whatever kinds, and hands on what the writer says.
func TestText(t *testing.T) {
	w := newSim(t, &matrix.SimConfig{Timeout: time.Second})
	for kinds, want := range map[string]string{
		"linux,random":                   "linux   100.0     0.0",
		"kernel":                         " 8 linux-random      0.0    0.0",
		"all":                            "14 linux          # # # #",
		"linux,filtering=apdf,linux-rst": "linux-rst",
	} {
		table := run(t, w, &matrix.Config{Kinds: parse(t, kinds), Attempts: 1, Tries: 1})
		var b bytes.Buffer
		if err := table.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: no %q in\n%s", kinds, want, b.String())
		}
		for line := range strings.Lines(b.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
				t.Errorf("%s: %d columns: %s", kinds, n, line)
			}
		}
		for _, write := range []func(*matrix.Table, *failing) error{
			func(t *matrix.Table, f *failing) error { return t.WriteText(f) },
			func(t *matrix.Table, f *failing) error { return t.WriteCSV(f) },
			func(t *matrix.Table, f *failing) error { return t.WriteJSON(f) },
		} {
			if err := write(table, &failing{40}); !errors.Is(err, errFull) {
				t.Error(err)
			}
		}
	}
}
