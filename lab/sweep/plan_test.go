package sweep

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/lab"
)

// anyConfig draws a small valid configuration.
func anyConfig(t *rapid.T) *Config {
	grid := func(a Axis) Grid {
		g := Grid{Axis: a, From: rapid.Int64Range(1, 5).Draw(t, "from") * ms}
		if a == TTL {
			g.From = rapid.Int64Range(2, 5).Draw(t, "from")
		}
		g.Step = rapid.Int64Range(1, 3).Draw(t, "step")
		if a.IsTime() {
			g.Step *= ms
		}
		g.To = g.From + rapid.Int64Range(0, 9).Draw(t, "steps")*g.Step + rapid.Int64Range(0, g.Step-1).Draw(t, "rest")
		return g
	}
	c := &Config{Trials: rapid.IntRange(1, 4).Draw(t, "trials"), Seed: rapid.Uint64().Draw(t, "seed")}
	axes := rapid.SliceOfNDistinct(rapid.SampledFrom([]Axis{Skew, Delay, TTL, Jitter, ClockError}), 1, 2, rapid.ID).Draw(t, "axes")
	for _, a := range axes {
		c.Axes = append(c.Axes, grid(a))
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "arms") {
		c.Arms = append(c.Arms, Arm{Name: string(rune('a' + i)), DelayAB: 20 * time.Millisecond, DelayBA: 20 * time.Millisecond})
	}
	checked, err := c.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return checked
}

// TestPlanIsBlocks: every trial comes once, the blocks one after the other, and at
// each point of a block the arms stand together.
func TestPlanIsBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyConfig(t)
		p := newPlan(c)
		var all []task
		for task := range p.tasks() {
			all = append(all, task)
		}
		if len(all) != c.Len() {
			t.Fatalf("%d trials, want %d", len(all), c.Len())
		}
		arms, points := len(c.Arms), len(p.grid)
		seen := map[task]bool{}
		for i, x := range all {
			if x.n != int64(i) || x.trial != i/(arms*points) || x.point != all[i-i%arms].point {
				t.Fatalf("trial %d is %+v", i, x)
			}
			x.n = 0
			if seen[x] {
				t.Fatalf("%+v comes twice", x)
			}
			seen[x] = true
		}
		again := slices.Collect(newPlan(c).tasks())
		if !slices.Equal(all, again) {
			t.Fatal("the order is another one the second time")
		}
	})
}

// TestPlanIsShuffled: a machine that grows slower meets every point early and late: over many
// blocks the mean place of each point is the middle.
func TestPlanIsShuffled(t *testing.T) {
	c := flagship("connect", "repair")
	c.Trials = 400
	p := newPlan(c)
	n, block := len(p.grid), len(p.grid)*2
	place, firstArm := make([]float64, n), 0
	for x := range p.tasks() {
		place[x.point] += float64(int(x.n)%block) / float64(block-1) / 800
		if x.n%2 == 0 && x.arm == 0 {
			firstArm++
		}
	}
	for i, mean := range place {
		if mean < 0.43 || mean > 0.57 { // five standard errors of 0.289/sqrt(400)
			t.Errorf("point %d comes at %.3f of a block in the mean", i, mean)
		}
	}
	if share := float64(firstArm) / float64(n*400); share < 0.48 || share > 0.52 {
		t.Errorf("the first arm comes first in %.3f of the pairs", share)
	}
}

// TestPairsShareDraws: arms of a pair have the same clocks and noise, other pairs others.
func TestPairsShareDraws(t *testing.T) {
	c := flagship("connect", "repair")
	c.Arms[0].ClockError, c.Arms[1].ClockError = 10*time.Millisecond, 10*time.Millisecond
	p := newPlan(c)
	seen := map[[2]time.Duration]int{}
	for x := range p.tasks() {
		s := p.situation(x)
		seen[s.clock]++
		for _, v := range s.clock {
			if v.Abs() > 10*time.Millisecond {
				t.Fatalf("a clock is wrong by %v", v)
			}
		}
		if s.seed >= 1<<53 {
			t.Fatalf("seed %d has more than 53 bits", s.seed)
		}
	}
	for clock, n := range seen {
		if n != 2 {
			t.Errorf("clocks %v come %d times, want once in each arm", clock, n)
		}
	}
	if len(seen) != 51*5 {
		t.Errorf("%d different draws, want %d", len(seen), 51*5)
	}
}

// TestAxes: what each axis sets, and that delay and asymmetry do not depend on which is first.
func TestAxes(t *testing.T) {
	base := Arm{DelayAB: 30 * time.Millisecond, DelayBA: 10 * time.Millisecond}
	at := func(axis Axis, v int64) Arm {
		a := base
		a.set(axis, v)
		return a
	}
	if a := at(Delay, 50*ms); a.DelayAB != 60*time.Millisecond || a.DelayBA != 40*time.Millisecond {
		t.Errorf("delay 50ms: %v and %v", a.DelayAB, a.DelayBA)
	}
	if a := at(Asymmetry, -6*ms); a.DelayAB != 17*time.Millisecond || a.DelayBA != 23*time.Millisecond {
		t.Errorf("asymmetry -6ms: %v and %v", a.DelayAB, a.DelayBA)
	}
	if a := at(TTL, 3); a.A.TTL != 3 || a.B.TTL != 3 {
		t.Errorf("ttl 3: %+v", a)
	}
	if a := at(Jitter, ms); a.Jitter != time.Millisecond {
		t.Errorf("jitter: %+v", a)
	}
	if a := at(ClockError, ms); a.ClockError != time.Millisecond {
		t.Errorf("clock-error: %+v", a)
	}
	if a := at(RSTDelay, 0); a.RSTDelay == nil || *a.RSTDelay != 0 || a.nat(&Side{NAT: lab.NATLinuxRST}) != "linux-rst,answer-delay=0s" {
		t.Errorf("rst-delay: %+v", a)
	}
	if a := at(Skew, -ms); *a.Skew != -time.Millisecond {
		t.Errorf("skew: %+v", a)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		d, s := rng.Int64N(100)*ms, (rng.Int64N(100)-50)*ms
		x, y := base, base
		x.set(Delay, d)
		x.set(Asymmetry, s)
		y.set(Asymmetry, s)
		y.set(Delay, d)
		if x.DelayAB != y.DelayAB || x.DelayBA != y.DelayBA {
			t.Fatalf("delay %d, asymmetry %d: %v %v and %v %v", d, s, x.DelayAB, x.DelayBA, y.DelayAB, y.DelayBA)
		}
	}
}

// TestAim: without a skew the SYNs are sent for the middle of the window.
func TestAim(t *testing.T) {
	c := &Config{Axes: []Grid{{Asymmetry, -20 * ms, 20 * ms, 2 * ms}}, Trials: 2,
		Arms: []Arm{{Name: "a", DelayAB: 20 * time.Millisecond, DelayBA: 20 * time.Millisecond}}}
	sum, err := Run(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, cell := range sum.Cells {
		if cell.Margin.Min != 20*time.Millisecond || cell.Margin.Max != 20*time.Millisecond || cell.Theory.Skew != time.Duration(cell.X)/2 {
			t.Errorf("asymmetry %v: margin %+v, skew %v", time.Duration(cell.X), cell.Margin, cell.Theory.Skew)
		}
	}
}
