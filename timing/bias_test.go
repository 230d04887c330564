package timing

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBiasMedian(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(span(-time.Second, time.Second), 0, 3*biasKeep).Draw(t, "measured")
		b := NewBias()
		for _, d := range all {
			b.Add(d)
		}
		last := slices.Clone(all[max(0, len(all)-biasKeep):])
		if b.N() != len(last) {
			t.Fatalf("%d measurements, want %d", b.N(), len(last))
		}
		if len(last) == 0 {
			if b.Median() != 0 || b.Spread() != 0 {
				t.Errorf("nothing measured: %v, %v", b.Median(), b.Spread())
			}
			return
		}
		slices.Sort(last)
		if got, want := b.Median(), last[(len(last)-1)/2]; got != want {
			t.Errorf("median %v, want %v", got, want)
		}
		if got := b.Spread(); got < 0 || got > 2*(last[len(last)-1]-last[0]) {
			t.Errorf("spread %v of measurements from %v to %v", got, last[0], last[len(last)-1])
		}
	})
}

func TestBiasSpreadIsASigma(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	b := NewBias()
	for i := range biasKeep {
		d := time.Duration(5000 + 1000*rng.NormFloat64())
		if i%20 == 0 {
			d += time.Millisecond // outliers must not matter
		}
		b.Add(d)
	}
	if m := b.Median(); m < 4800 || m > 5300 {
		t.Errorf("median %v, want about 5µs", m)
	}
	if s := b.Spread(); s < 800 || s > 1300 {
		t.Errorf("spread %v, want about 1µs", s)
	}
}
