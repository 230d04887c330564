package sweep

import (
	"slices"
	"time"

	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/timing"
)

// Summarize sums up rows of a sweep, in whatever order they are. Rows of another
// sweep are an error (ErrConfig).
func Summarize(cfg *Config, rows []Row) (*Summary, error) {
	checked, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	t := newTally(newPlan(checked))
	for i := range rows {
		if err := t.check(&rows[i]); err != nil {
			return nil, err
		}
		t.add(&rows[i])
	}
	return t.summary(), nil
}

// tally adds rows up.
type tally struct {
	plan     *plan
	arms     map[string]int
	cells    []Cell
	samples  []samples // of each cell
	pairs    *pairs
	overhead []time.Duration
	done     int
}

// samples are the values of a cell.
type samples struct {
	time, margin, sendError, skewError []time.Duration
	pCross                             float64 // sum
	stated                             int     // how many
}

func newTally(p *plan) *tally {
	t := &tally{plan: p, arms: map[string]int{}, pairs: newPairs(p)}
	for _, point := range p.grid {
		for i := range p.Arms {
			t.arms[p.Arms[i].Name] = i
			s := p.situation(task{point: point.N, arm: i})
			t.cells = append(t.cells, Cell{Point: point, Arm: p.Arms[i].Name, Theory: s.theory()})
		}
	}
	t.samples = make([]samples, len(t.cells))
	return t
}

// check says whether a row can be one of this sweep.
func (t *tally) check(r *Row) error {
	if r.Point < 0 || r.Point >= len(t.plan.grid) || r.Trial < 0 || r.Trial >= t.plan.Trials {
		return errForeign(r)
	}
	arm, ok := t.arms[r.Arm]
	if !ok || r.Seed != t.plan.seedOf(task{point: r.Point, trial: r.Trial, arm: arm}) {
		return errForeign(r)
	}
	return nil
}

func (t *tally) add(r *Row) {
	arm := t.arms[r.Arm]
	i := r.Point*len(t.plan.Arms) + arm
	t.done++
	t.cells[i].add(r)
	t.samples[i].add(r)
	t.pairs.add(arm, r)
	if r.OverheadNS != nil {
		t.overhead = append(t.overhead, time.Duration(*r.OverheadNS))
	}
}

func (c *Cell) add(r *Row) {
	c.Trials++
	for _, s := range []struct {
		share *Share
		hit   bool
	}{
		{&c.Established, r.Outcome == Established},
		{&c.Refused, r.Outcome == string(punch.Refused)},
		{&c.Unreachable, r.Outcome == string(punch.Unreachable)},
		{&c.Timeout, r.Outcome == string(punch.Timeout)},
		{&c.Failed, r.Outcome == Failed},
		{&c.Crossed, r.Regime == timing.Crossed.String()},
		{&c.AEarly, r.Regime == timing.AEarly.String()},
		{&c.BEarly, r.Regime == timing.BEarly.String()},
		{&c.Unmet, r.Regime == ""},
		{&c.Simultaneous, r.Simultaneous},
	} {
		s.share.add(s.hit)
	}
}

func (s *samples) add(r *Row) {
	put := func(to *[]time.Duration, v *int64) {
		if v != nil {
			*to = append(*to, time.Duration(*v))
		}
	}
	put(&s.time, r.EstablishedNS)
	put(&s.margin, r.MarginNS)
	put(&s.sendError, r.SendErrorANS)
	put(&s.sendError, r.SendErrorBNS)
	if r.SkewMeasuredNS != nil {
		s.skewError = append(s.skewError, time.Duration(*r.SkewMeasuredNS-r.SkewOrderedNS))
	}
	if r.PCross != nil {
		s.pCross += *r.PCross
		s.stated++
	}
}

// summary is the sum.
func (t *tally) summary() *Summary {
	sum := &Summary{Config: *t.plan.Config, Done: t.done, Of: t.plan.Len(), Cells: slices.Clone(t.cells), Overhead: quantiles(t.overhead)}
	for i := range sum.Cells {
		c, s := &sum.Cells[i], &t.samples[i]
		c.Time, c.Margin, c.SendError, c.SkewError = quantiles(s.time), quantiles(s.margin), quantiles(s.sendError), quantiles(s.skewError)
		if s.stated > 0 {
			mean := s.pCross / float64(s.stated)
			c.Theory.PCross = &mean
		}
	}
	sum.Paired = t.pairs.differences()
	return sum
}

// quantiles sorts the values.
func quantiles(v []time.Duration) Quantiles {
	if len(v) == 0 {
		return Quantiles{}
	}
	slices.Sort(v)
	at := func(p int) time.Duration { return v[(len(v)*p+99)/100-1] }
	return Quantiles{len(v), v[0], at(10), at(50), at(90), at(99), v[len(v)-1]}
}
