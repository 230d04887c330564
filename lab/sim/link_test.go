package sim_test

import (
	"math"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
)

// TestLoss: each SYN is lost with the probability of the link, in either direction, whatever
// became of the other.
func TestLoss(t *testing.T) {
	const n, loss = 4000, 0.3
	cfg := sim.Config{Scenario: pair("linux", "linux"), Trials: n, Seed: 3, Timeout: 500 * ms} // no SYN comes again
	cfg.Scenario.Link.Loss = loss
	list, res := run(t, cfg)
	var lost [2]int
	both := 0
	for _, r := range list {
		a, b := r.Meeting.A.Arrived.IsZero(), r.Meeting.B.Arrived.IsZero()
		for i, gone := range []bool{a, b} {
			if gone {
				lost[i]++
			}
		}
		if a && b {
			both++
		}
	}
	// Five standard deviations; the seed is fixed.
	near := func(got int, p float64) bool {
		return math.Abs(float64(got)-n*p) < 5*math.Sqrt(n*p*(1-p))
	}
	if !near(lost[0], loss) || !near(lost[1], loss) || !near(both, loss*loss) || !near(res.Unmet, 1-(1-loss)*(1-loss)) {
		t.Errorf("lost %v, both %d, unmet %d of %d", lost, both, res.Unmet, n)
	}
	cfg.Trials, cfg.Scenario.Link.Loss = 10, 1
	if _, res := run(t, cfg); res.Unmet != 10 || res.A.Outcomes[sim.Timeout] != 10 || res.B.Outcomes[sim.Timeout] != 10 {
		t.Errorf("everything is lost: %+v", res)
	}
	// A packet with a fault is not drawn for.
	cfg.Scenario.Link.Faults = []lab.Fault{{Direction: lab.AB, Packet: 1, Action: lab.Duplicate}, {Direction: lab.BA, Packet: 1, Action: lab.Duplicate}}
	if list, _ := run(t, cfg); !list[0].Meeting.Crossed {
		t.Errorf("with faults: %v", list[0].Meeting)
	}
}

// TestJitter: a packet takes the delay and anything up to the jitter.
func TestJitter(t *testing.T) {
	const n, jitter = 4000, 8 * ms
	cfg := sim.Config{Scenario: pair("linux", "linux"), Trials: n, Seed: 4}
	cfg.Scenario.Link.Jitter = jitter
	list, _ := run(t, cfg)
	var quarters [4]int
	for _, r := range list {
		extra := r.Meeting.A.Arrived.Sub(r.Meeting.A.Left) - cfg.Scenario.Link.Delay
		if extra < 0 || extra >= jitter {
			t.Fatalf("%v longer than the delay", extra)
		}
		quarters[4*extra/jitter]++
	}
	for i, got := range quarters {
		if math.Abs(float64(got)-n/4) > 5*math.Sqrt(n*3./16) {
			t.Errorf("quarter %d: %d of %d", i, got, n)
		}
	}
}

// TestAnswerDelay: a NAT that refuses late refuses a socket in SYN-SENT, and no longer one
// that the peer's SYN has reached before.
func TestAnswerDelay(t *testing.T) {
	for delay, want := range map[time.Duration]sim.Outcome{0: sim.Refused, 9 * ms: sim.Refused, 11 * ms: sim.Established} {
		cfg := sim.Config{Scenario: pair("linux", "rst-happy,answer-delay="+delay.String()), Skew: 30 * ms, Timeout: time.Second}
		cfg.A.Engine, cfg.B.Engine = sim.Connect, sim.Connect
		if r := one(t, cfg); r.A.Outcome != want {
			t.Errorf("%v: %v, want %v", delay, r.A.Outcome, want)
		}
	}
}
