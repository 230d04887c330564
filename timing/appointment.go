package timing

import (
	"math"
	"time"
)

// Party is what is known beforehand of one of the two hosts that let their SYNs
// cross.
type Party struct {
	// Clock is the host's clock against the clock in which the two agree, a third one or
	// that of one of them: the host's minus that one. The error is taken to be anywhere within the
	// bound, uniformly. Zero: the host's clock is the one in which they agree.
	Clock Offset `json:"clock"`
	// Access is the delay from the host to the public side of its NAT, outwards.
	Access time.Duration `json:"access_ns"`
	// Sigma is the standard deviation of the instant at which the SYN passes the NAT: the
	// error of sending and of Access, taken to be normal.
	Sigma time.Duration `json:"sigma_ns"`
}

// Appointment turns what two hosts know into two instants of sending, each in its
// host's own clock, and into the probability that the SYNs cross. It has no clock
// and no state.
//
//	m := timing.Appointment{
//		B:    timing.Party{Clock: offset, Sigma: 50 * time.Microsecond}, // A's clock counts
//		Path: timing.Path{AB: 30 * time.Millisecond, BA: 10 * time.Millisecond},
//	}
//	a, b := m.Instants(noon) // what A's clock and what B's clock will show
//	p := m.Probability(m.Path.Aim())
type Appointment struct {
	A    Party `json:"a"`
	B    Party `json:"b"`
	Path Path  `json:"path"` // between the NATs
	// AB and BA are the errors of the two delays of Path. Of a packet that takes up to
	// j longer, drawn uniformly, the delay is j/2 longer in the mean with a Bound of j/2.
	AB Uncertainty `json:"ab_error"`
	BA Uncertainty `json:"ba_error"`
}

// Aim is the skew that is best known to cross, the middle of the window: that of
// Path.
func (m Appointment) Aim() time.Duration { return m.Path.Aim() }

// Instants are what the hosts' own clocks show when they are to send, so that the
// SYNs pass their NATs with the skew of Aim, around mid of the clock in which the two agree.
// For another skew add its difference from Aim to b.
func (m Appointment) Instants(mid time.Time) (a, b time.Time) {
	a, b = m.Path.Instants(mid.Round(0))
	return m.A.Clock.ToRemote(a.Add(-m.A.Access)), m.B.Clock.ToRemote(b.Add(-m.B.Access))
}

// Probability is the probability in [0, 1] that the SYNs cross when the skew is meant to
// be skew. It is as good as the figures: the errors are taken to be
// independent, those of the delays of each other too, and the round trip between the NATs
// never to be less than nothing. Losses are not in it.
func (m Appointment) Probability(skew time.Duration) float64 {
	if m.Path.AB+m.Path.BA <= 0 {
		return 0
	}
	// B's SYN is too late by the errors of the skew and of AB together, or too early by those of the
	// skew and of BA: never both, as the window is never empty.
	late := m.miss(m.AB, m.Path.AB-skew)
	early := m.miss(m.BA, skew+m.Path.BA)
	return min(max(1-late-early, 0), 1)
}

// miss is the probability that the error of the skew and that of a delay use up the
// margin to one edge of the window.
func (m *Appointment) miss(delay Uncertainty, margin time.Duration) float64 {
	sigma := math.Hypot(math.Hypot(float64(m.A.Sigma), float64(m.B.Sigma)), float64(delay.Sigma))
	e := newSpread(sigma, float64(m.A.Clock.Bound), float64(m.B.Clock.Bound), float64(delay.Bound))
	switch {
	case !e.certain():
		return e.below(-float64(margin))
	case margin > 0:
		return 0
	}
	return 1
}
