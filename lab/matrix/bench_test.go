package matrix_test

import (
	"testing"

	"github.com/synpunch/synpunch/lab/matrix"
)

// BenchmarkMatrix simulates every preset against each other with as many attempts as
// b.N asks for, but one for each pair at least: attempts a second. A million:
//
//	go test ./lab/matrix -run '^$' -bench Matrix -benchtime 1000000x
func BenchmarkMatrix(b *testing.B) {
	w := newSim(b, &matrix.SimConfig{LearnPort: true})
	kinds := matrix.All()
	pairs := len(kinds) * len(kinds)
	b.ReportAllocs()
	table := run(b, w, &matrix.Config{Kinds: kinds, Attempts: (b.N + pairs - 1) / pairs, Seed: 1})
	b.ReportMetric(float64(table.Done())/b.Elapsed().Seconds(), "attempts/s")
	b.ReportMetric(float64(table.Done()), "attempts")
}
