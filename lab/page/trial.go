package page

import (
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/synpunch/synpunch/lab/sweep"
)

// mostTrials are shown where nobody chose: a page for people. Chosen by us.
const mostTrials = 8

// trial is a chosen trial as the page shows it.
type trial struct {
	ID      string
	Title   string
	Facts   []fact
	Ladders []ladder
	Trouble string // why there is no ladder, or not all of it
	Command string // opens the packets
}

// fact is a name and a value.
type fact struct{ Name, Value string }

// choose finds the trials to show: those asked for, or one of each arm and outcome,
// with packets if there are any.
func (s *Sweep) choose(asked []int64) ([]sweep.Row, error) {
	if len(asked) > 0 {
		var list []sweep.Row
		for k, n := range asked {
			if slices.Contains(asked[:k], n) {
				continue
			}
			i := slices.IndexFunc(s.Rows, func(r sweep.Row) bool { return r.N == n })
			if i < 0 {
				return nil, fmt.Errorf("trial %d: %w in %s, which has %s", n, ErrTrial, s.Name, s.numbers())
			}
			list = append(list, s.Rows[i])
		}
		return list, nil
	}
	type kind struct{ arm, outcome string }
	place := map[kind]int{}
	var list []sweep.Row
	for _, r := range s.Rows {
		k := kind{r.Arm, r.Outcome}
		i, seen := place[k]
		switch {
		case !seen && len(list) < mostTrials:
			place[k] = len(list)
			list = append(list, r)
		case seen && list[i].Capture == "" && r.Capture != "":
			list[i] = r
		}
	}
	slices.SortStableFunc(list, func(a, b sweep.Row) int { return int(a.N - b.N) })
	return list, nil
}

// numbers says which trials there are.
func (s *Sweep) numbers() string {
	if len(s.Rows) == 0 {
		return "none"
	}
	lo, hi := s.Rows[0].N, s.Rows[0].N
	for _, r := range s.Rows {
		lo, hi = min(lo, r.N), max(hi, r.N)
	}
	return fmt.Sprintf("trials %d to %d", lo, hi)
}

// show makes a trial ready for the page.
func (s *Sweep) show(r *sweep.Row) trial {
	t := trial{ID: fmt.Sprintf("trial-%d", r.N), Title: fmt.Sprintf("Trial %s: %s, %s", count(r.N), r.Arm, r.Outcome), Facts: s.facts(r)}
	if r.Capture == "" {
		t.Trouble = "The packets of this trial were not kept."
		return t
	}
	t.Command = commandLine([]string{"synpunch", "analyze", path.Join(s.Name, r.Capture)})
	t.tell(openings(s.files, r.Capture, r.At))
	return t
}

// facts of a trial.
func (s *Sweep) facts(r *sweep.Row) []fact {
	var list []fact
	add := func(name, value string) { list = append(list, fact{name, value}) }
	axes := s.Manifest.Config.Axes
	for i, v := range []*int64{&r.X, r.Y} {
		if v != nil && i < len(axes) && axes[i].Axis != sweep.Skew { // that is told below
			add(string(axes[i].Axis), value(axes[i].Axis, *v))
		}
	}
	add("the SYNs", regimeWords(r.Regime))
	if r.MarginNS != nil {
		add("margin", known(r.MarginNS))
	}
	add("skew", exact(r.SkewOrderedNS)+" ordered, "+known(r.SkewMeasuredNS)+" measured")
	if r.Outcome == sweep.Established {
		how := "one end opened, the other answered"
		if r.Simultaneous {
			how = "simultaneous open"
		}
		add("established", known(r.EstablishedNS)+" after A's instant, "+how)
	}
	add("send error", "A "+known(r.SendErrorANS)+", B "+known(r.SendErrorBNS))
	if r.ClockANS != 0 || r.ClockBNS != 0 {
		add("clocks ahead by", "A "+exact(r.ClockANS)+", B "+exact(r.ClockBNS))
	}
	add("SYNs sent", fmt.Sprintf("A %d, B %d", r.SYNsA, r.SYNsB))
	if r.PCross != nil {
		add("stated beforehand", fmt.Sprintf("a crossing with probability %.3g", *r.PCross))
	}
	if r.Error != "" {
		add("error", r.Error)
	}
	add("A's instant", r.At.UTC().Format(time.RFC3339Nano))
	add("seed", fmt.Sprint(r.Seed))
	return list
}
