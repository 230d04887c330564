package sim_test

import (
	"math"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/timing"
)

// Chosen by us.
const (
	calibrationTrials = 10_000
	calibrationBins   = 10
	// calibrationMost is the 99.9th percentile of chi-square with as many degrees of freedom as there
	// are bins.
	calibrationMost = 29.59
)

// calibration compares stated probabilities with what happened.
type calibration struct {
	n, crossed [calibrationBins]int
	expected   [calibrationBins]float64 // sum of the probabilities
	variance   [calibrationBins]float64
}

func (c *calibration) add(p float64, crossed bool) {
	i := min(int(p*calibrationBins), calibrationBins-1)
	c.n[i]++
	c.expected[i] += p
	c.variance[i] += p * (1 - p)
	if crossed {
		c.crossed[i]++
	}
}

// chiSquare adds up the squares of the deviations, each in units of its standard deviation. An event
// that was said to be certain, or impossible, counts with the variance of one in a thousand.
func (c *calibration) chiSquare(t *testing.T) (sum float64) {
	for i := range c.n {
		d := float64(c.crossed[i]) - c.expected[i]
		v := max(c.variance[i], float64(c.n[i])*1e-3)
		if c.n[i] == 0 {
			continue
		}
		sum += d * d / v
		t.Logf("%.1f to %.1f: %5d trials, stated %.4f, observed %.4f (%+.1f sigma)", float64(i)/calibrationBins, float64(i+1)/calibrationBins,
			c.n[i], c.expected[i]/float64(c.n[i]), float64(c.crossed[i])/float64(c.n[i]), d/math.Sqrt(v))
	}
	return sum
}

// wrong is a configuration with clocks that are up to 50 ms apart and compared by an exchange
// whose bound is as wide as the window.
func wrong() sim.Config {
	ab, ba := 30*ms, 10*ms
	cfg := sim.Config{Scenario: pair("linux", "linux"), Trials: calibrationTrials, Seed: 11, Timeout: time.Second, Plan: &sim.Plan{ClockError: 25 * ms, Exchange: 20 * ms}}
	cfg.Scenario.Link = lab.Link{AB: &ab, BA: &ba, Jitter: 4 * ms}
	cfg.Scenario.A.Clock = 7 * ms // what is wrong from the beginning is measured as well
	cfg.A = sim.Side{SendError: timing.Uncertainty{Sigma: 3 * ms}, Access: 3 * ms}
	cfg.B = sim.Side{SendError: timing.Uncertainty{Sigma: 4 * ms}, Late: ms / 2}
	return cfg
}

// TestCalibration: of all trials in which the planner says p, a share of p crosses. A planner that
// does not know the bound of the offset, or the error of sending, or the delays, is found out.
func TestCalibration(t *testing.T) {
	for _, skew := range []time.Duration{0, 12 * ms} {
		var honest, boundless, careless, symmetric calibration
		cfg := wrong()
		cfg.Skew = skew
		apart := time.Duration(0)
		cfg.Record = func(r *sim.Trial) {
			regime, ok := r.Regime()
			crossed := ok && regime == timing.Crossed
			honest.add(r.Probability, crossed)
			m := r.Planned
			aim := m.Aim() + skew
			m.B.Clock.Bound = 0
			boundless.add(m.Probability(aim), crossed)
			m = r.Planned
			m.A.Sigma, m.B.Sigma = 0, 0
			careless.add(m.Probability(aim), crossed)
			m.Path = timing.Path{AB: 20 * ms, BA: 20 * ms}
			symmetric.add(m.Probability(aim), crossed)
			apart = max(apart, (r.Planned.B.Clock.Offset).Abs())
		}
		if _, err := sim.Run(t.Context(), &cfg); err != nil {
			t.Fatal(err)
		}
		if apart < 50*ms {
			t.Errorf("the clocks were never more than %v apart", apart)
		}
		t.Logf("skew %v off the aim", skew)
		if x := honest.chiSquare(t); x > calibrationMost {
			t.Errorf("the stated probabilities are wrong: chi-square %.1f", x)
		}
		for name, c := range map[string]*calibration{"the bound of the offset": &boundless, "the error of sending": &careless, "that the path is asymmetric": &symmetric} {
			t.Log("without " + name)
			if x := c.chiSquare(t); x <= 2*calibrationMost {
				t.Errorf("a planner that does not know %s passes: chi-square %.1f", name, x)
			}
		}
	}
}

// TestCalibrationTwoClocks: the peers do not compare their clocks, and each knows by how much its
// own may be wrong.
func TestCalibrationTwoClocks(t *testing.T) {
	var honest, sum calibration
	for i := range 10 { // the probability is the same in all trials of a run
		cfg := wrong()
		cfg.Trials, cfg.Seed = calibrationTrials/10, uint64(i)
		cfg.Plan = &sim.Plan{ClockError: time.Duration(2+4*i) * ms}
		cfg.Scenario.A.Clock = 0
		cfg.Record = func(r *sim.Trial) {
			regime, ok := r.Regime()
			crossed := ok && regime == timing.Crossed
			honest.add(r.Probability, crossed)
			m := r.Planned // one uniform error in place of two
			m.A.Clock.Bound, m.B.Clock.Bound = 0, m.A.Clock.Bound+m.B.Clock.Bound
			sum.add(m.Probability(m.Aim()), crossed)
		}
		if _, err := sim.Run(t.Context(), &cfg); err != nil {
			t.Fatal(err)
		}
	}
	if x := honest.chiSquare(t); x > calibrationMost {
		t.Errorf("the stated probabilities are wrong: chi-square %.1f", x)
	}
	t.Log("with one bound for both clocks")
	if x := sum.chiSquare(t); x <= calibrationMost {
		t.Errorf("a planner that adds the bounds passes: chi-square %.1f", x)
	}
}

// TestWindow: on a path of 30 ms one way and 10 ms the other the SYNs cross from -10 ms to
// 30 ms, to the microsecond, and the planner aims at the middle.
func TestWindow(t *testing.T) {
	ab, ba := 30*ms, 10*ms
	const us = time.Microsecond
	at := func(skew time.Duration, change func(*sim.Config)) sim.Trial {
		cfg := sim.Config{Scenario: pair("linux-rst", "linux-rst"), Skew: skew, Timeout: time.Second, Trials: 1}
		cfg.Scenario.Link = lab.Link{AB: &ab, BA: &ba}
		if change != nil {
			change(&cfg)
		}
		return one(t, cfg)
	}
	for _, tt := range []struct {
		skew   time.Duration
		regime timing.Regime
	}{
		{-10*ms - us, timing.BEarly}, {-10 * ms, timing.BEarly}, {-10*ms + us, timing.Crossed}, {10 * ms, timing.Crossed},
		{30*ms - us, timing.Crossed}, {30 * ms, timing.AEarly}, {30*ms + us, timing.AEarly},
	} {
		r := at(tt.skew, func(c *sim.Config) { c.A.Engine, c.B.Engine = sim.Connect, sim.Connect })
		regime, ok := r.Regime()
		want := sim.Refused
		if tt.regime == timing.Crossed {
			want = sim.Established
		}
		if !ok || regime != tt.regime || r.Outcome() != want {
			t.Errorf("skew %v: %v, %v; want %v, %v", tt.skew, regime, r.Outcome(), tt.regime, want)
		}
	}
	// The planner knows the clocks and the ways to the NATs exactly.
	r := at(0, func(c *sim.Config) {
		c.Plan = &sim.Plan{}
		c.A.Access, c.B.Access, c.B.Late = 4*ms, ms, 2*ms
	})
	if r.Meeting.Skew != 10*ms || r.Meeting.Margin != 20*ms || r.Planned.Aim() != 10*ms || r.Probability != 1 {
		t.Errorf("%v, skew %v; the planner aims at %v with %v", r.Meeting, r.Meeting.Skew, r.Planned.Aim(), r.Probability)
	}
	// The same with clocks that are wrong and known.
	r = at(0, func(c *sim.Config) {
		c.Scenario.A.Clock, c.Scenario.B.Clock = 50*ms, -20*ms
		c.Plan = &sim.Plan{Exchange: 1} // a nanosecond each way
	})
	if d := (r.Meeting.Skew - 10*ms).Abs(); d > us {
		t.Errorf("with an exchange: skew %v", r.Meeting.Skew)
	}
}

// TestClock: a host whose clock is ahead sends too early, by as much.
func TestClock(t *testing.T) {
	for _, tt := range []struct{ a, b, skew, want time.Duration }{
		{0, 0, ms, ms}, {5 * ms, 0, 0, 5 * ms}, {0, 5 * ms, 0, -5 * ms}, {-3 * ms, 4 * ms, 10 * ms, 3 * ms},
	} {
		cfg := sim.Config{Scenario: pair("linux", "linux"), Skew: tt.skew}
		cfg.Scenario.A.Clock, cfg.Scenario.B.Clock = tt.a, tt.b
		if r := one(t, cfg); r.Skew != tt.want || r.Meeting.Skew != tt.want || r.Sent != [2]time.Duration{-tt.a, tt.skew - tt.b} {
			t.Errorf("%+v: skew %v, at the NATs %v, sent %v", tt, r.Skew, r.Meeting.Skew, r.Sent)
		}
	}
}

// TestLate: timers that are late by a fixed time and by one that varies.
func TestLate(t *testing.T) {
	cfg := sim.Config{Scenario: pair("linux", "linux"), Trials: 400}
	cfg.A.Late, cfg.A.SendError = 500*time.Microsecond, timing.Uncertainty{Bound: 200 * time.Microsecond}
	lo, hi := time.Hour, -time.Hour
	list, _ := run(t, cfg)
	for _, r := range list {
		lo, hi = min(lo, r.Sent[0]), max(hi, r.Sent[0])
		if r.Sent[1] != 0 || r.Skew != -r.Sent[0] {
			t.Fatalf("%+v", r)
		}
	}
	if lo < 300*time.Microsecond || hi > 700*time.Microsecond || hi-lo < 350*time.Microsecond {
		t.Errorf("late by %v to %v", lo, hi)
	}
}
