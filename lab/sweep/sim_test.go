package sweep

import (
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
)

const ms = int64(time.Millisecond)

// flagship is the sweep over the skew that shows the window: 20 ms each way, NATs
// that answer.
func flagship(engines ...sim.Engine) *Config {
	c := &Config{World: Sim, Axes: []Grid{{Skew, -25 * ms, 25 * ms, ms}}, Trials: 5, Seed: 1}
	for _, e := range engines {
		side := Side{NAT: lab.NATLinuxRST, Engine: string(e)}
		c.Arms = append(c.Arms, Arm{Name: string(e), A: side, B: side, DelayAB: 20 * time.Millisecond, DelayBA: 20 * time.Millisecond})
	}
	return c
}

// TestWindow: connect() lives inside the window that theory gives and nowhere
// else, repair everywhere.
func TestWindow(t *testing.T) {
	sum, err := Run(t.Context(), flagship(sim.Connect, sim.Repair), nil)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Done != 51*2*5 || sum.Of != sum.Done {
		t.Errorf("%d of %d trials", sum.Done, sum.Of)
	}
	for _, c := range sum.Cells {
		inside := time.Duration(c.X).Abs() < 20*time.Millisecond
		if want := inside || c.Arm == "repair"; c.Established != (Share{map[bool]int{true: 5}[want], 5}) {
			t.Errorf("%s at %v: %d of %d", c.Arm, time.Duration(c.X), c.Established.Count, c.Established.Of)
		}
		if inside != (c.Crossed.Count == 5) || inside != (c.Theory.Regime == "crossed") || *c.Theory.PCross != map[bool]float64{true: 1}[inside] {
			t.Errorf("%s at %v: crossed %d, theory %+v", c.Arm, time.Duration(c.X), c.Crossed.Count, c.Theory)
		}
		if got := c.SkewError; got.N != 5 || got.Min != 0 || got.Max != 0 {
			t.Errorf("%s at %v: measured minus ordered %+v", c.Arm, time.Duration(c.X), got)
		}
	}
}
