package sweep

import (
	"time"

	"github.com/synpunch/synpunch/timing"
)

// pCross is the probability of crossing that package timing states from what is
// known before the trial: delays, jitter, and how wrong clocks and timers may be.
// It is nil live, where nobody knows how wrong the timers are.
func (s *situation) pCross(world string) *float64 {
	if world != Sim {
		return nil
	}
	half := s.arm.Jitter / 2
	late := timing.Uncertainty{Bound: half}
	m := timing.Appointment{
		A: s.arm.party(&s.arm.A), B: s.arm.party(&s.arm.B),
		Path: timing.Path{AB: s.path.AB + half, BA: s.path.BA + half},
		AB:   late, BA: late,
	}
	p := m.Probability(s.skew)
	return &p
}

func (a *Arm) party(s *Side) timing.Party {
	return timing.Party{Clock: timing.Offset{Bound: a.ClockError}, Sigma: s.sendError()}
}

// instants are when A's and B's SYNs are due, by the true time: that is how far
// the clocks are from the time on which both agreed.
func (s *situation) instants(at time.Time) [2]time.Time {
	return [2]time.Time{at.Add(-s.clock[0]), at.Add(s.skew - s.clock[1])}
}
