package sim

import (
	"math"
	"slices"
	"time"

	"github.com/synpunch/synpunch/timing"
)

// Share is how many of how many trials.
type Share struct{ Count, Of int }

// Value is the share, 0 to 1; of nothing it is 0.
func (s Share) Value() float64 {
	if s.Of == 0 {
		return 0
	}
	return float64(s.Count) / float64(s.Of)
}

// Interval is the Wilson score interval of the share with a confidence of 95 %
// (E. B. Wilson, 1927); of nothing it is 0 to 1.
func (s Share) Interval() (lo, hi float64) {
	if s.Of == 0 {
		return 0, 1
	}
	const z = 1.959963984540054 // of the normal distribution, 97.5 %
	n, p := float64(s.Of), s.Value()
	middle := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	lo, hi = max(0, middle-half), min(1, middle+half)
	if s.Count == 0 { // digits are lost here
		lo = 0
	}
	if s.Count == s.Of {
		hi = 1
	}
	return lo, hi
}

// Quantiles are of the N values of a sample. Each but the outermost is the
// smallest value that at least this share of the sample does not exceed.
type Quantiles struct {
	N                            int
	Min, P10, P50, P90, P99, Max time.Duration
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

// Result is what a run gave.
type Result struct {
	Trials int // done: Config.Trials, or less when the run was interrupted
	Flows  int // that they had, all together: what follows counts flows; one each unless a site has several subscribers

	Connected    Share // both ends established
	Crossed      Share // the SYNs crossed between the NATs
	Simultaneous Share // both ends established by a simultaneous open
	AEarly       int   // A's SYN reached NAT B before B's left
	BEarly       int   // the mirror image
	Unmet        int   // a SYN never reached the other NAT

	A, B EndResult

	Established Quantiles // of connected flows: when the later end was established, after Epoch
	Margin      Quantiles // of flows in which both SYNs arrived; negative: missed by that much
	Packets     int64     // that hosts sent, in all trials
	Stated      float64   // with Config.Plan: the mean of Trial.Probability, to compare with Crossed; else 0
}

// EndResult sums up one end.
type EndResult struct {
	Outcomes      map[Outcome]int // every outcome has its key
	Simultaneous  int
	SYNs          int64 // of all trials together, as are the following
	Retransmitted int64
	Resends       int64
	RSTs, ICMPs   int64
}

// tally adds trials up.
type tally struct {
	Result
	established, margin []time.Duration
	stated              float64 // sum
}

func newTally() *tally {
	t := new(tally)
	for _, e := range []*EndResult{&t.A, &t.B} {
		e.Outcomes = map[Outcome]int{}
		for _, o := range Outcomes() {
			e.Outcomes[o] = 0
		}
	}
	return t
}

func (t *tally) add(r *Trial) {
	t.Trials++
	t.Packets += int64(r.Packets)
	t.stated += r.Probability
	for f := range r.Flows() {
		t.flow(f)
	}
}

func (t *tally) flow(f *Flow) {
	t.Flows++
	if f.Outcome() == Established {
		t.Connected.Count++
		t.established = append(t.established, f.Established())
		if f.Simultaneous() {
			t.Simultaneous.Count++
		}
	}
	if regime, ok := f.Regime(); !ok {
		t.Unmet++
	} else {
		t.margin = append(t.margin, f.Meeting.Margin)
		switch regime {
		case timing.Crossed:
			t.Crossed.Count++
		case timing.AEarly:
			t.AEarly++
		case timing.BEarly:
			t.BEarly++
		}
	}
	t.A.add(&f.A)
	t.B.add(&f.B)
}

func (e *EndResult) add(r *End) {
	e.Outcomes[r.Outcome]++
	if r.Simultaneous {
		e.Simultaneous++
	}
	e.SYNs += int64(r.SYNs)
	e.Retransmitted += int64(r.Retransmitted)
	e.Resends += int64(r.Resends)
	e.RSTs += int64(r.RSTs)
	e.ICMPs += int64(r.ICMPs)
}

// result is the sum.
func (t *tally) result() *Result {
	r := t.Result
	r.Connected.Of, r.Crossed.Of, r.Simultaneous.Of = r.Flows, r.Flows, r.Flows
	r.Stated = t.stated / float64(max(r.Trials, 1))
	r.Established, r.Margin = quantiles(t.established), quantiles(t.margin)
	return &r
}
