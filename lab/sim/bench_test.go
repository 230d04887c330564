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
	}{
		{"repair/linux", sim.Repair, "linux", 0},
		{"connect/linux", sim.Connect, "linux", 0},
		{"repair/eim", sim.Repair, "eim", 0},
		{"repair/cgn", sim.Repair, "cgn", 0},
		{"repair/missed", sim.Repair, "linux-rst", 30 * ms},
	} {
		b.Run(bb.name, func(b *testing.B) {
			cfg := sim.Config{Scenario: pair(bb.kind, bb.kind), Skew: bb.skew, Trials: b.N}
			cfg.A, cfg.B = engines(bb.engine, bb.engine)
			b.ReportAllocs()
			b.ResetTimer()
			res, err := sim.Run(b.Context(), &cfg)
			if err != nil || res.Connected.Count != b.N {
				b.Fatalf("%+v, %v", res, err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "trials/s")
		})
	}
}
