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
	sigma, bound := math.Abs(float64(u.Sigma)), math.Abs(float64(u.Bound))
	if sigma == 0 && bound == 0 {
		if p.Regime(skew) == Crossed {
			return 1
		}
		return 0
	}
	x := float64(skew)
	pr := sumCDF(float64(hi)-x, sigma, bound) - sumCDF(float64(lo)-x, sigma, bound)
	return min(max(pr, 0), 1)
}

// sumCDF is P(N + U <= y) for N normal with deviation sigma and U uniform in
// [-bound, bound], at least one of them not zero. With G the integral of the
// normal distribution function, it is sigma/(2 bound) times
// G((y+bound)/sigma) - G((y-bound)/sigma).
func sumCDF(y, sigma, bound float64) float64 {
	switch {
	case sigma == 0:
		return min(max((y+bound)/(2*bound), 0), 1)
	// Below this ratio the differences of G lose more digits than leaving the
	// uniform part out does (both about 1e-10).
	case bound < 1e-4*sigma:
		return normalCDF(y / sigma)
	// Nothing is left of a normal distribution beyond 40 deviations.
	case y-bound > 40*sigma:
		return 1
	case y+bound < -40*sigma:
		return 0
	}
	return sigma / (2 * bound) * (normalIntegral((y+bound)/sigma) - normalIntegral((y-bound)/sigma))
}

// normalCDF is the standard normal distribution function.
func normalCDF(t float64) float64 { return math.Erfc(-t/math.Sqrt2) / 2 }

// normalIntegral is the integral of normalCDF from minus infinity to t.
func normalIntegral(t float64) float64 {
	return t*normalCDF(t) + math.Exp(-t*t/2)/math.Sqrt(2*math.Pi)
}
