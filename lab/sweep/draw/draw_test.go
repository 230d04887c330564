package draw

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
)

const ms = int64(time.Millisecond)

// made makes a small sweep.
func made(t *testing.T, change func(*sweep.Config)) (*sweep.Summary, []sweep.Row) {
	t.Helper()
	c := &sweep.Config{Axes: []sweep.Grid{{Axis: sweep.Skew, From: -40 * ms, To: 40 * ms, Step: 4 * ms}}, Trials: 3}
	for _, e := range []string{"connect", "repair"} {
		side := sweep.Side{NAT: "linux-rst", Engine: e}
		c.Arms = append(c.Arms, sweep.Arm{Name: e, A: side, B: side, DelayAB: 30 * time.Millisecond, DelayBA: 10 * time.Millisecond})
	}
	if change != nil {
		change(c)
	}
	var rows []sweep.Row
	sum, err := sweep.Run(t.Context(), c, &sweep.Options{Record: func(r *sweep.Row) error { rows = append(rows, *r); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return sum, rows
}

// TestWindows: the window is where theory puts it, to the nanosecond, also between the
// points of the grid, and only where all arms have the same.
func TestWindows(t *testing.T) {
	sum, _ := made(t, nil)
	want := []figure.Range{{From: -10 * float64(ms), To: 30 * float64(ms), Label: windowLabel}}
	if got := Success(sum).Ranges; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	sum, _ = made(t, func(c *sweep.Config) { c.Arms[1].DelayAB = 20 * time.Millisecond })
	if got := Success(sum).Ranges; got != nil {
		t.Errorf("arms with different windows: %v", got)
	}
	sum, _ = made(t, func(c *sweep.Config) { c.Axes[0].From, c.Axes[0].To = 0, 4*ms })
	if got := Success(sum).Ranges; got != nil {
		t.Errorf("all inside: %v", got)
	}
	// A skew of 5 ms needs a delay of more than 5 ms from A to B: 15 ms in the mean.
	skew := 25 * time.Millisecond
	sum, _ = made(t, func(c *sweep.Config) {
		c.Axes[0] = sweep.Grid{Axis: sweep.Delay, From: 12 * ms, To: 20 * ms, Step: 4 * ms}
		c.Arms[0].Skew, c.Arms[1].Skew = &skew, &skew
	})
	want = []figure.Range{{From: 15 * float64(ms), To: 20 * float64(ms), Label: windowLabel}}
	if got := Success(sum).Ranges; !slices.Equal(got, want) {
		t.Errorf("over the delay: %v, want %v", got, want)
	}
}

// TestSeries: the points of a figure are the cells.
func TestSeries(t *testing.T) {
	sum, rows := made(t, nil)
	for _, c := range []*figure.Chart{Success(sum), SuccessMeasured(sum, rows)} {
		for _, s := range c.Series {
			if len(s.Points) != 21 {
				t.Errorf("%s, %s: %d points", c.Title, s.Name, len(s.Points))
			}
			for _, p := range s.Points {
				want := 1.
				if s.Name == "connect" && (p.X <= -10*float64(ms) || p.X >= 30*float64(ms)) {
					want = 0
				}
				if p.Y != want || p.Low > p.Y || p.High < p.Y {
					t.Errorf("%s, %s: %+v", c.Title, s.Name, p)
				}
			}
		}
	}
	if d := Difference(sum).Series; len(d) != 1 || len(d[0].Points) != 21 || d[0].Points[0].Y != 1 || d[0].Points[10].Y != 0 {
		t.Errorf("%+v", d)
	}
}

// TestEdges: on a map the edges are those of each row.
func TestEdges(t *testing.T) {
	sum, _ := made(t, func(c *sweep.Config) {
		c.Axes = append(c.Axes, sweep.Grid{Axis: sweep.Asymmetry, From: -20 * ms, To: 20 * ms, Step: 20 * ms})
		c.Trials = 1
	})
	m := SuccessMap(sum, 0)
	if len(m.Edges) != 2 || len(m.Edges[0].Points) != 3 || len(m.Edges[1].Points) != 3 {
		t.Fatalf("%+v", m.Edges)
	}
	for i, p := range m.Edges[0].Points {
		asymmetry := float64(-20+20*i) * float64(ms)
		low, high := -20*float64(ms)+asymmetry/2, 20*float64(ms)+asymmetry/2
		if q := m.Edges[1].Points[i]; p.X != low || q.X != high || p.Y != asymmetry || q.Y != asymmetry {
			t.Errorf("row %d: %+v and %+v, want %v and %v", i, p, q, low, high)
		}
	}
	for i, row := range m.Shares {
		for j, v := range row {
			inside := m.At[j] > m.Edges[0].Points[i].X && m.At[j] < m.Edges[1].Points[i].X
			if inside != (v == 1) || math.IsNaN(v) {
				t.Errorf("asymmetry %v, skew %v: %v", m.Rows[i], m.At[j], v)
			}
		}
	}
}

// TestFigures: every figure can be drawn, of whatever sweep, begun or not, and the
// same sweep gives the same bytes.
func TestFigures(t *testing.T) {
	for name, change := range map[string]func(*sweep.Config){
		"skew":    nil,
		"one arm": func(c *sweep.Config) { c.Arms = c.Arms[:1] },
		"point":   func(c *sweep.Config) { c.Axes[0] = sweep.Grid{Axis: sweep.Skew} },
		"ttl":     func(c *sweep.Config) { c.Axes[0] = sweep.Grid{Axis: sweep.TTL, From: 2, To: 6, Step: 1} },
		"map": func(c *sweep.Config) {
			c.Axes = append(c.Axes, sweep.Grid{Axis: sweep.ClockError, From: 0, To: 20 * ms, Step: 10 * ms})
		},
	} {
		sum, rows := made(t, change)
		empty, err := sweep.Summarize(&sum.Config, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, figures := range [][]Named{Figures(sum, rows), Figures(empty, nil)} {
			for _, f := range figures {
				var one, two bytes.Buffer
				for _, to := range []*bytes.Buffer{&one, &two} {
					if err := figure.Write(to, f.Figure, figure.SVG); err != nil {
						t.Errorf("%s, %s: %v", name, f.Name, err)
					}
				}
				if one.Len() == 0 || !bytes.Equal(one.Bytes(), two.Bytes()) {
					t.Errorf("%s, %s: %d and %d bytes", name, f.Name, one.Len(), two.Len())
				}
			}
		}
	}
	sum, rows := made(t, nil)
	dir := t.TempDir()
	paths, err := Save(dir, Figures(sum, rows)[:2], figure.PNG)
	if err != nil || !slices.Equal(paths, []string{filepath.Join(dir, "success.png"), filepath.Join(dir, "crossing.png")}) {
		t.Errorf("%v, %v", paths, err)
	}
	if _, err := Save(filepath.Join(dir, "nowhere"), Figures(sum, rows)[:1], figure.SVG); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
