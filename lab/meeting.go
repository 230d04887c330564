package lab

import (
	"fmt"
	"time"
)

// Passage is one SYN's way between the NATs.
type Passage struct {
	Left    time.Time // when it passed the NAT of its own side
	Arrived time.Time // when it reached the NAT of the other side; zero: it never did
}

// Meeting says how two SYNs passed each other, from what was seen at the NATs
// and not from what was planned.
type Meeting struct {
	A, B    Passage
	Crossed bool          // both arrived, and each had left its NAT before the other arrived there
	Skew    time.Duration // B.Left - A.Left
	// Margin is how much more skew, in the direction that is nearer to the edge,
	// would have lost the crossing; negative: by how much it was missed. It is
	// meaningful only when both SYNs arrived.
	Margin time.Duration
	// Time and Place are where the two were side by side, if each moved evenly: Place
	// is the share of the way from NAT A to NAT B, 0 to 1. They are meaningful only
	// when Crossed.
	Time  time.Time
	Place float64
}

// Meet works out how two SYNs passed each other. A SYN that never arrived, lost or
// ended by its TTL, crosses nothing.
func Meet(a, b Passage) Meeting {
	m := Meeting{A: a, B: b, Skew: b.Left.Sub(a.Left)}
	if a.Arrived.IsZero() || b.Arrived.IsZero() {
		return m
	}
	m.Margin = min(a.Arrived.Sub(b.Left), b.Arrived.Sub(a.Left))
	m.Crossed = m.Margin > 0
	if !m.Crossed {
		return m
	}
	// A is at (t - a.Left)/ab of the way, B at 1 - (t - b.Left)/ba: equal when
	// (t - a.Left)/ab + (t - b.Left)/ba = 1.
	ab, ba := float64(a.Arrived.Sub(a.Left)), float64(b.Arrived.Sub(b.Left))
	if ab > 0 && ba > 0 {
		t := (1 + float64(m.Skew)/ba) / (1/ab + 1/ba) // since a.Left
		m.Time = a.Left.Add(time.Duration(t))
		m.Place = t / ab
	}
	return m
}

// String is a sentence: "crossed at 0.50 of the way from A to B, margin 20ms".
func (m Meeting) String() string {
	switch {
	case m.Crossed:
		return fmt.Sprintf("crossed at %.2f of the way from A to B, margin %v", m.Place, m.Margin)
	case m.A.Arrived.IsZero() && m.B.Arrived.IsZero():
		return "neither SYN arrived"
	case m.A.Arrived.IsZero():
		return "A's SYN never arrived"
	case m.B.Arrived.IsZero():
		return "B's SYN never arrived"
	case m.Skew > 0:
		return fmt.Sprintf("A's SYN arrived %v before B's left", -m.Margin)
	}
	return fmt.Sprintf("B's SYN arrived %v before A's left", -m.Margin)
}
