package sim_test

import (
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab/sim"
)

// BenchmarkTrials runs plain attempts on all processors: trials a second, and
// allocations for each trial.
func BenchmarkTrials(b *testing.B) {
	for _, bb := range []struct {
		name   string
		engine sim.Engine
		kind   string
		skew   time.Duration
		change func(*sim.Config)
	}{
		{"repair/linux", sim.Repair, "linux", 0, nil},
		{"park/linux", sim.Park, "linux", 0, nil},
		{"connect/linux", sim.Connect, "linux", 0, nil},
		{"repair/eim", sim.Repair, "eim", 0, nil},
		{"repair/cgn", sim.Repair, "cgn", 0, nil},
		{"repair/missed", sim.Repair, "linux-rst", 30 * ms, nil},
		{"repair/prime", sim.Repair, "linux", 0, func(c *sim.Config) { c.A.Strategy, c.B.Strategy = sim.Prime, sim.Prime }},
		{"repair/nested", sim.Repair, "eim+cgn", 0, nil},
		{"repair/two-flows", sim.Repair, "linux", 0, func(c *sim.Config) { c.Scenario.A.Subscribers = 2 }},
		{"repair/predicted", sim.Repair, "sequential", 0, func(c *sim.Config) { c.A.Observations, c.B.Observations = 2, 2 }},
		{"repair/cross-traffic", sim.Repair, "linux", 0, func(c *sim.Config) { c.Scenario.A.CrossTraffic = 100 }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			cfg := sim.Config{Scenario: pair(bb.kind, bb.kind), Skew: bb.skew, Trials: b.N}
			cfg.A, cfg.B = engines(bb.engine, bb.engine)
			if bb.change != nil {
				bb.change(&cfg)
			}
			b.ReportAllocs()
			b.ResetTimer()
			res, err := sim.Run(b.Context(), &cfg)
			if err != nil || res.Connected.Value() < 0.99 {
				b.Fatalf("%+v, %v", res, err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "trials/s")
		})
	}
}
