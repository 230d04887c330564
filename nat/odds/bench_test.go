package odds

import (
	"testing"
	"time"

	"github.com/synpunch/synpunch/nat"
)

func behaviour(tb testing.TB, text string) nat.Behaviour {
	tb.Helper()
	b, err := nat.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func compute(tb testing.TB, a, b string, cfg Config) *Odds {
	tb.Helper()
	cfg.A, cfg.B = behaviour(tb, a), behaviour(tb, b)
	o, err := Compute(&cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return o
}

// twoSweeps is the experiment of the project: two sweeps over all ports from each side.
func twoSweeps(tb testing.TB) *Odds {
	return compute(tb, "linux-random", "linux-random", Config{Budget: 2 * usualPorts, Rate: 150_000, Delay: 20 * time.Millisecond})
}

func BenchmarkCompute(b *testing.B) {
	for b.Loop() {
		twoSweeps(b)
	}
}

func BenchmarkDraw(b *testing.B) {
	o := twoSweeps(b)
	seed := uint64(0)
	for b.Loop() {
		o.Draw(o.Best(), 2*usualPorts, seed)
		seed++
	}
}

// One attempt: 64,512 SYNs from each side through two model NATs.
func BenchmarkPackets(b *testing.B) {
	o := twoSweeps(b)
	w, err := o.NewPackets()
	if err != nil {
		b.Fatal(err)
	}
	seed := uint64(0)
	for b.Loop() {
		if _, err := w.Run(b.Context(), o.Best(), usualPorts, seed); err != nil {
			b.Fatal(err)
		}
		seed++
	}
}
