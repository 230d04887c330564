package timing

import (
	"errors"
	"fmt"
	"time"
)

// ErrExchange says that four timestamps cannot be one exchange, or that two
// offsets contradict each other.
var ErrExchange = errors.New("contradictory timestamps")

// Offset is a remote clock against the local one, with an error bound: the true
// value of remote minus local lies in [Offset-Bound, Offset+Bound]. The zero
// value says that both clocks are one and the same.
type Offset struct {
	Offset time.Duration `json:"offset_ns"` // remote minus local
	Bound  time.Duration `json:"bound_ns"`  // never negative
}

// FromExchange computes the offset from one request and its answer as NTP does
// (RFC 5905, section 8): the request left at t1 (local clock) and came at t2
// (remote clock), the answer left at t3 (remote) and came at t4 (local). Bound
// is half of the time on the way, which holds for any asymmetry of the path.
// It returns ErrExchange when the exchange took less than no time.
//
// Taken over the very path that the SYNs will use, the error that an asymmetric
// path leaves in Offset is exactly Path.Aim: two peers that agree on an instant
// through such an offset meet in the middle of the window without knowing the
// asymmetry.
func FromExchange(t1, t2, t3, t4 time.Time) (Offset, error) {
	// Round(0) drops the monotonic readings, which only fit one host's clock.
	t1, t2, t3, t4 = t1.Round(0), t2.Round(0), t3.Round(0), t4.Round(0)
	away := t4.Sub(t1)
	inside := t3.Sub(t2)
	if away < 0 || inside < 0 || inside > away {
		return Offset{}, fmt.Errorf("%w: answered in %v, %v of it at the remote end", ErrExchange, away, inside)
	}
	there, back := t2.Sub(t1), t3.Sub(t4)
	// (there+back)/2 without overflow for clocks that are decades apart.
	mean := there/2 + back/2 + (there%2+back%2)/2
	// The odd nanosecond that the division dropped belongs to the bound.
	return Offset{Offset: mean, Bound: (away - inside + 1) / 2}, nil
}

// ToLocal converts an instant of the remote clock to the local clock; the result
// is right within Bound. A monotonic reading is dropped.
func (o Offset) ToLocal(t time.Time) time.Time { return t.Round(0).Add(-o.Offset) }

// ToRemote converts an instant of the local clock to the remote clock; the result
// is right within Bound. A monotonic reading is dropped.
func (o Offset) ToRemote(t time.Time) time.Time { return t.Round(0).Add(o.Offset) }

// Inverse is the same offset as the remote end sees it.
func (o Offset) Inverse() Offset { return Offset{Offset: -o.Offset, Bound: o.Bound} }

// Then chains two offsets: o leads from here to a server, p from that server to
// the peer. Bounds add.
func (o Offset) Then(p Offset) Offset {
	return Offset{Offset: o.Offset + p.Offset, Bound: o.Bound + p.Bound}
}

// Intersect combines two measurements of the same offset: both bounds hold, so
// the truth is where the intervals overlap (Marzullo). It returns ErrExchange
// when they do not overlap, as after a step of one clock.
func (o Offset) Intersect(p Offset) (Offset, error) {
	lo := max(o.Offset-o.Bound, p.Offset-p.Bound)
	hi := min(o.Offset+o.Bound, p.Offset+p.Bound)
	if lo > hi {
		return Offset{}, fmt.Errorf("%w: %v and %v do not overlap", ErrExchange, o, p)
	}
	half := (hi - lo + 1) / 2
	return Offset{Offset: hi - half, Bound: half}, nil
}

// String is the offset and its bound, as in "+1.2ms ±300µs".
func (o Offset) String() string {
	sign := ""
	if o.Offset >= 0 {
		sign = "+"
	}
	return fmt.Sprintf("%s%v ±%v", sign, o.Offset, o.Bound)
}
