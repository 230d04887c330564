package timing

import (
	"fmt"
	"math"
	"time"
)

// Regime says which SYN came too early to cross the other, if any.
type Regime int

// The three regimes of a pair of SYNs.
const (
	// Crossed: each SYN reaches the other NAT after that NAT's own SYN has left.
	Crossed Regime = iota
	// AEarly: A's SYN reaches NAT B before B's SYN has made a mapping there.
	AEarly
	// BEarly is the mirror image.
	BEarly
)

var regimeNames = [...]string{Crossed: "crossed", AEarly: "a-early", BEarly: "b-early"}

// String is "crossed", "a-early" or "b-early".
func (r Regime) String() string {
	if r < 0 || int(r) >= len(regimeNames) {
		return fmt.Sprintf("regime(%d)", int(r))
	}
	return regimeNames[r]
}

// MarshalText gives the words of String.
func (r Regime) MarshalText() ([]byte, error) {
	if r < 0 || int(r) >= len(regimeNames) {
		return nil, fmt.Errorf("no such regime: %d", int(r))
	}
	return []byte(r.String()), nil
}

// UnmarshalText takes the words of String.
func (r *Regime) UnmarshalText(b []byte) error {
	for i, name := range regimeNames {
		if string(b) == name {
			*r = Regime(i)
			return nil
		}
	}
	return fmt.Errorf("no such regime: %q (want crossed, a-early or b-early)", b)
}

// Path is the network between two NATs. A's SYN passes NAT A at some instant and
// reaches NAT B after AB; B's passes NAT B and reaches NAT A after BA.
//
// Every method speaks of the skew: the instant B's SYN passes NAT B minus the
// instant A's SYN passes NAT A.
//
// When the delays and the skew come from the same pair of clocks, the offset
// between these clocks changes nothing: it lengthens AB and the skew and
// shortens BA by the same amount. AB or BA may therefore be negative; their sum,
// the round trip between the NATs, may not.
type Path struct {
	AB time.Duration `json:"ab_ns"`
	BA time.Duration `json:"ba_ns"`
}

// Reverse is the same path with the two sides exchanged.
func (p Path) Reverse() Path { return Path{AB: p.BA, BA: p.AB} }

// Window is the open interval of skews at which the SYNs cross: (-BA, AB).
func (p Path) Window() (lo, hi time.Duration) { return -p.BA, p.AB }

// Regime says what a skew leads to. A skew on the edge of the window is early:
// the SYN and the mapping come at the same instant. On a path without any delay
// nothing can cross, and skew 0 counts as AEarly.
func (p Path) Regime(skew time.Duration) Regime {
	switch {
	case skew >= p.AB:
		return AEarly
	case skew <= -p.BA:
		return BEarly
	}
	return Crossed
}

// Margin is the distance from a skew to the nearest edge of the window: how much
// later, or earlier, one SYN could have left before the crossing was lost. It is
// positive in the window, zero on the edge and negative outside.
func (p Path) Margin(skew time.Duration) time.Duration {
	lo, hi := p.Window()
	return min(hi-skew, skew-lo)
}

// Aim is the skew with the largest margin, the middle of the window: half of a
// round trip on either side.
func (p Path) Aim() time.Duration { return (p.AB - p.BA) / 2 }

// Instants are the instants at which the two SYNs should pass their NATs so that
// the skew is Aim and the two instants lie around mid. Subtract each host's
// delay to its own NAT to get the instant of sending.
func (p Path) Instants(mid time.Time) (a, b time.Time) {
	aim := p.Aim()
	a = mid.Add(-aim / 2)
	return a, a.Add(aim)
}

// Uncertainty is the error of a skew that is not known exactly: the sum of a
// normally distributed part (the jitter of both senders and of the way to their
// NATs) and one anywhere within a bound, uniformly (the offset of the clocks).
type Uncertainty struct {
	Sigma time.Duration `json:"sigma_ns"` // standard deviation of the normal part
	Bound time.Duration `json:"bound_ns"` // half width of the uniform part
}

// Plus adds an independent uncertainty: variances add, and so do bounds (which
// is a little pessimistic).
func (u Uncertainty) Plus(v Uncertainty) Uncertainty {
	return Uncertainty{
		Sigma: time.Duration(math.Round(math.Hypot(float64(u.Sigma), float64(v.Sigma)))),
		Bound: u.Bound + v.Bound,
	}
}

// CrossProbability is the probability in [0, 1] that the SYNs cross when the
// skew is meant to be skew and is uncertain by u (signs are ignored). An error of
// AB and BA themselves moves the edges of the window against the skew, and is
// counted by adding it to u.
func (p Path) CrossProbability(skew time.Duration, u Uncertainty) float64 {
	lo, hi := p.Window()
	if lo >= hi {
		return 0
	}
	e := newSpread(float64(u.Sigma), float64(u.Bound))
	if e.certain() {
		if p.Regime(skew) == Crossed {
			return 1
		}
		return 0
	}
	// The window is open, but no edge has a probability of its own.
	x := float64(skew)
	return max(e.below(float64(hi)-x)-e.below(float64(lo)-x), 0)
}
