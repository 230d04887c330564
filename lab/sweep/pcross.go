package sweep

import "github.com/synpunch/synpunch/timing"

// pCross is the probability of crossing that follows from what is known before the
// trial: delays, jitter, and how wrong clocks and timers may be. Live it is not
// known how wrong the timers are.
func (s *situation) pCross() *float64 {
	u := timing.Uncertainty{}
	for _, side := range []*Side{&s.arm.A, &s.arm.B} {
		u = u.Plus(timing.Uncertainty{Sigma: side.sendError(), Bound: s.arm.ClockError})
	}
	p := s.path.CrossProbability(s.skew, u)
	return &p
}
