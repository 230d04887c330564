package sweep

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/synpunch/synpunch/timing"
)

// situation is one trial with everything decided.
type situation struct {
	task
	Point
	seed  uint64
	arm   Arm // with the values of the axes
	path  timing.Path
	skew  time.Duration    // as ordered
	clock [2]time.Duration // how far A's and B's clock are ahead
	noise [2]time.Duration // how late A's and B's SYNs leave, where that is simulated
}

// situation decides a trial.
func (p *plan) situation(t task) *situation {
	s := &situation{task: t, Point: p.grid[t.point], seed: p.seedOf(t), arm: p.Arms[t.arm]}
	s.arm.at(p.Axes, s.Point)
	s.decide()
	rng := rand.New(rand.NewPCG(s.seed, worldSalt))
	for i, side := range []*Side{&s.arm.A, &s.arm.B} {
		s.clock[i] = time.Duration((2*rng.Float64() - 1) * float64(s.arm.ClockError))
		s.noise[i] = time.Duration(rng.NormFloat64() * float64(side.sendError()))
	}
	return s
}

// decide finds the path and the skew of the arm.
func (s *situation) decide() {
	s.path = timing.Path{AB: s.arm.DelayAB, BA: s.arm.DelayBA}
	if s.skew = s.path.Aim(); s.arm.Skew != nil {
		s.skew = *s.arm.Skew
	}
}

// at puts the values of the axes into the arm.
func (a *Arm) at(axes []Grid, p Point) {
	for i, g := range axes {
		v := p.X
		if i == 1 {
			v = *p.Y
		}
		a.set(g.Axis, v)
	}
}

func (a *Arm) set(axis Axis, v int64) {
	d := time.Duration(v)
	switch axis {
	case Skew:
		a.Skew = &d
	case Delay:
		asymmetry := a.DelayAB - a.DelayBA
		a.DelayBA = d - asymmetry/2
		a.DelayAB = a.DelayBA + asymmetry
	case Asymmetry:
		both := a.DelayAB + a.DelayBA
		a.DelayAB = (both + d) / 2
		a.DelayBA = both - a.DelayAB
	case TTL:
		a.A.TTL, a.B.TTL = uint8(v), uint8(v)
	case Jitter:
		a.Jitter = d
	case ClockError:
		a.ClockError = d
	case RSTDelay:
		a.RSTDelay = &d
	}
}

// nat is what stands in front of a side, as lab.ParseNAT reads it. With a delay of answers it
// is the model, which alone has one.
func (a *Arm) nat(s *Side) string {
	if a.RSTDelay == nil {
		return s.NAT
	}
	return fmt.Sprintf("%s,answer-delay=%v", s.NAT, *a.RSTDelay)
}

// sendError is the standard deviation of the instant of a simulated SYN.
func (s *Side) sendError() time.Duration {
	switch {
	case s.SendError != nil:
		return *s.SendError
	case s.Timer == TimerSleep:
		return SleepError
	}
	return 0
}

// theory is what follows from the delays alone.
func (s *situation) theory() Theory {
	from, to := s.path.Window()
	return Theory{
		WindowFrom: from, WindowTo: to, Skew: s.skew,
		Regime: s.path.Regime(s.skew).String(), Margin: s.path.Margin(s.skew),
	}
}

// TheoryAt is what theory says of an arm at a point, which need not be on the grid.
// Config is a valid one.
func (c *Config) TheoryAt(arm int, at Point) Theory {
	s := situation{arm: c.Arms[arm]}
	s.arm.at(c.Axes, at)
	s.decide()
	return s.theory()
}
