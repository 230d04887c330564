package capture

import (
	"slices"
	"time"
)

// FollowConfig sets what a Follower keeps and when it speaks. Nil works, and so
// does each zero field.
type FollowConfig struct {
	Analyze AnalyzeConfig // MaxFlows: 0 = 4,096 here
	// Settle is how long after the packet that decides a handshake is waited for
	// what explains it; 0 = 200 ms.
	Settle time.Duration
	// Timeout is how long a SYN may go unanswered before that is told; 0 = 3 s.
	Timeout time.Duration
}

// Chosen by us.
const (
	followFlows   = 4096
	followSettle  = 200 * time.Millisecond
	followTimeout = 3 * time.Second
	followRecent  = 64 // handshakes told that later ones are compared with
)

// Follower tells of each handshake once it is decided, as packets come: when
// both SYNs were acknowledged, when it was refused, or when nothing answered
// for some time. One that opens after it was told as failed is told again. It is
// not safe for concurrent use.
//
// Flows whose opening was not seen are never told. Memory is bounded: what was
// told keeps no packets, and MaxFlows bounds the flows.
type Follower struct {
	z       *Analyzer
	c       FollowConfig
	pending []waiting
	recent  []*Timeline
	told    int
}

// waiting is a flow that is not decided yet, or may still change.
type waiting struct {
	t *tuple
	f *flow
}

// NewFollower makes a Follower.
func NewFollower(cfg *FollowConfig) *Follower {
	w := &Follower{}
	if cfg != nil {
		w.c = *cfg
	}
	if w.c.Analyze.MaxFlows <= 0 {
		w.c.Analyze.MaxFlows = followFlows
	}
	if w.c.Settle <= 0 {
		w.c.Settle = followSettle
	}
	if w.c.Timeout <= 0 {
		w.c.Timeout = followTimeout
	}
	w.z = NewAnalyzer(&w.c.Analyze)
	w.z.began = func(t *tuple, f *flow) { w.pending = append(w.pending, waiting{t, f}) }
	return w
}

// Add takes one packet. It does not keep p.Data.
func (w *Follower) Add(p *Packet) { w.z.Add(p) }

// Told is the number of handshakes that were told so far.
func (w *Follower) Told() int { return w.told }

// Decided returns the handshakes that were decided until now, in the order in
// which they began.
func (w *Follower) Decided(now time.Time) []*Timeline {
	var list []*Timeline
	keep := w.pending[:0]
	for _, p := range w.pending {
		f := p.f
		switch {
		case f.gone || !f.opening():
			if !f.gone && now.Sub(f.first) < w.c.Timeout {
				keep = append(keep, p)
			}
			continue
		case w.due(f, now):
			list = append(list, w.tell(p, now))
		}
		if f.isOpen && f.tell == toldOpen || now.Sub(f.last) > idleLimit {
			f.records, f.remarks = nil, nil
			continue
		}
		keep = append(keep, p)
	}
	clear(w.pending[len(keep):])
	w.pending = keep
	slices.SortStableFunc(list, func(x, y *Timeline) int { return x.Start.Compare(y.Start) })
	return list
}

// What was told of a flow.
const (
	toldNothing = iota
	toldFailed
	toldOpen
)

// opening reports whether something of the opening was seen.
func (f *flow) opening() bool {
	return f.side[0].bare || f.side[1].bare || f.side[0].synAck || f.side[1].synAck
}

// due reports whether there is something to tell of a flow.
func (w *Follower) due(f *flow, now time.Time) bool {
	switch {
	case f.isOpen:
		return f.tell != toldOpen && now.Sub(f.established) >= w.c.Settle
	case f.tell != toldNothing:
		return false
	case f.answer.verdict != "" || f.dropped[0] || f.dropped[1]:
		return now.Sub(f.last) >= w.c.Settle
	}
	return now.Sub(f.first) >= w.c.Timeout
}

// tell judges a flow, with what other flows say of it.
func (w *Follower) tell(p waiting, now time.Time) *Timeline {
	p.f.tell = toldFailed
	if p.f.isOpen {
		p.f.tell = toldOpen
	}
	w.told++
	tl := w.z.timeline(p.t, p.f, now)
	if tl.Verdict != Ordinary {
		others := slices.Clone(w.recent)
		for _, o := range w.pending {
			if o.f != p.f && o.f.opening() && !o.f.gone && sharesAddresses(o.t, p.t) && len(others) < 2*followRecent {
				others = append(others, w.z.timeline(o.t, o.f, now))
			}
		}
		link(append(others, tl))
	}
	w.recent = append(w.recent, tl)
	if len(w.recent) > followRecent {
		w.recent = slices.Delete(w.recent, 0, 1)
	}
	return tl
}

func sharesAddresses(t, o *tuple) bool {
	return t.end[0].Addr() == o.end[0].Addr() && t.end[1].Addr() == o.end[1].Addr() ||
		t.end[0].Addr() == o.end[1].Addr() && t.end[1].Addr() == o.end[0].Addr()
}

// Finish returns the handshakes that were not told yet, the undecided ones
// included, and the counts of all. The Follower must not be used any more.
func (w *Follower) Finish(now time.Time) ([]*Timeline, Summary) {
	var list []*Timeline
	for _, p := range w.pending {
		if f := p.f; !f.gone && f.opening() && (f.tell == toldNothing || f.isOpen && f.tell != toldOpen) {
			list = append(list, w.tell(p, now))
		}
	}
	_, sum := w.z.Finish(now)
	return list, sum
}
