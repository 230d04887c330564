package timing

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

// anyPath has a round trip that is not negative, seen through clocks that may be apart.
func anyPath(t *rapid.T) Path {
	p := Path{span(0, time.Hour).Draw(t, "ab"), span(0, time.Hour).Draw(t, "ba")}
	e := span(-time.Hour, time.Hour).Draw(t, "clocks apart")
	return Path{p.AB + e, p.BA - e}
}

// anySkew lies in the window, near its edges or anywhere.
func anySkew(t *rapid.T, p Path) time.Duration {
	lo, hi := p.Window()
	switch rapid.IntRange(0, 3).Draw(t, "where") {
	case 0:
		return span(lo, hi).Draw(t, "skew inside")
	case 1:
		return lo + span(-2, 2).Draw(t, "skew at the low edge")
	case 2:
		return hi + span(-2, 2).Draw(t, "skew at the high edge")
	}
	return span(-4*time.Hour, 4*time.Hour).Draw(t, "skew")
}

// The rule of the design, in its own words: does each SYN reach the other NAT
// after that one's own SYN has passed?
func crossesByTheWire(p Path, a, b time.Time) bool {
	atNATB, atNATA := a.Add(p.AB), b.Add(p.BA)
	return atNATB.After(b) && atNATA.After(a)
}

func TestRegimeIsWhatTheWireDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPath(t)
		skew := anySkew(t, p)
		want := crossesByTheWire(p, epoch, epoch.Add(skew))
		if got := p.Regime(skew); (got == Crossed) != want {
			t.Errorf("%v at skew %v: %v, but crossing is %v", p, skew, got, want)
		}
	})
}

func TestMirror(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPath(t)
		skew := anySkew(t, p)
		u := Uncertainty{span(0, time.Hour).Draw(t, "sigma"), span(0, time.Hour).Draw(t, "bound")}
		r := p.Reverse()
		want := map[Regime]Regime{Crossed: Crossed, AEarly: BEarly, BEarly: AEarly}[p.Regime(skew)]
		// Without any delay, skew 0 is both too early and too late; AEarly by decree.
		if p.AB+p.BA == 0 && skew == p.AB {
			want = AEarly
		}
		if got := r.Regime(-skew); got != want {
			t.Errorf("regime %v, mirrored %v, want %v", p.Regime(skew), got, want)
		}
		if got := r.Margin(-skew); got != p.Margin(skew) {
			t.Errorf("margin %v, mirrored %v", p.Margin(skew), got)
		}
		if got := r.Aim(); got != -p.Aim() {
			t.Errorf("aim %v, mirrored %v", p.Aim(), got)
		}
		lo, hi := p.Window()
		if rlo, rhi := r.Window(); rlo != -hi || rhi != -lo {
			t.Errorf("window (%v, %v), mirrored (%v, %v)", lo, hi, rlo, rhi)
		}
		if got, want := r.CrossProbability(-skew, u), p.CrossProbability(skew, u); math.Abs(got-want) > 1e-9 {
			t.Errorf("probability %v, mirrored %v", want, got)
		}
	})
}

func TestMarginSignIsRegime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPath(t)
		skew := anySkew(t, p)
		if m, r := p.Margin(skew), p.Regime(skew); (m > 0) != (r == Crossed) {
			t.Errorf("margin %v in regime %v", m, r)
		}
	})
}

// The margin is the largest shift of either SYN, later or earlier, that changes nothing.
func TestMarginIsWhatCanBeLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPath(t)
		skew := anySkew(t, p)
		m := p.Margin(skew)
		if m <= 0 {
			return
		}
		for _, d := range []time.Duration{m - 1, 1 - m} {
			if r := p.Regime(skew + d); r != Crossed {
				t.Errorf("margin %v, but a shift by %v gives %v", m, d, r)
			}
		}
		if p.Regime(skew+m) == Crossed && p.Regime(skew-m) == Crossed {
			t.Errorf("margin %v, but a shift by it does no harm", m)
		}
	})
}

func TestAimMaximisesMargin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPath(t)
		best := p.Margin(p.Aim())
		if other := p.Margin(anySkew(t, p)); other > best {
			t.Errorf("margin %v at the aim, %v elsewhere", best, other)
		}
		if half := (p.AB + p.BA) / 2; best != half {
			t.Errorf("margin %v at the aim, want half of the round trip %v", best, half)
		}
	})
}

func TestInstantsHaveTheAimAsSkew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPath(t)
		a, b := p.Instants(epoch)
		if got := b.Sub(a); got != p.Aim() {
			t.Errorf("skew %v, aim %v", got, p.Aim())
		}
		if off := abs(epoch.Sub(a) - b.Sub(epoch)); off > 1 {
			t.Errorf("the instants %v and %v are not around %v", a, b, epoch)
		}
	})
}

// Clocks that are apart move the delays and the skew alike: nothing changes.
func TestClockOffsetCancels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPath(t)
		skew := anySkew(t, p)
		e := span(-time.Hour, time.Hour).Draw(t, "clocks apart")
		q := Path{p.AB + e, p.BA - e}
		if p.Regime(skew) != q.Regime(skew+e) || p.Margin(skew) != q.Margin(skew+e) {
			t.Errorf("%v at %v: %v, %v; clocks %v apart: %v, %v", p, skew,
				p.Regime(skew), p.Margin(skew), e, q.Regime(skew+e), q.Margin(skew+e))
		}
	})
}

func TestProbabilityFallsWithUncertainty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Path{span(1, time.Second).Draw(t, "ab"), span(1, time.Second).Draw(t, "ba")}
		lo, hi := p.Window()
		skew := span(lo+1, hi-1).Draw(t, "skew")
		u := Uncertainty{span(0, time.Second).Draw(t, "sigma"), span(0, time.Second).Draw(t, "bound")}
		more := u
		if rapid.Bool().Draw(t, "more sigma") {
			more.Sigma += span(0, time.Second).Draw(t, "by")
		} else {
			more.Bound += span(0, time.Second).Draw(t, "by")
		}
		was, is := p.CrossProbability(skew, u), p.CrossProbability(skew, more)
		if is > was+1e-9 {
			t.Errorf("%v at %v: %v with %v, but %v with %v", p, skew, was, u, is, more)
		}
		if was < 0 || was > 1 {
			t.Errorf("probability %v", was)
		}
	})
}

// The slow oracle: throw the dice.
func TestProbabilityIsMonteCarlo(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	const trials = 40_000
	for range 60 {
		p := Path{time.Duration(rng.Int64N(int64(50 * ms))), time.Duration(rng.Int64N(int64(50 * ms)))}
		skew := time.Duration(rng.NormFloat64() * float64(30*ms))
		u := Uncertainty{Sigma: time.Duration(rng.Int64N(int64(20 * ms))), Bound: time.Duration(rng.Int64N(int64(20 * ms)))}
		switch rng.IntN(4) {
		case 0:
			u.Sigma = 0
		case 1:
			u.Bound = 0
		}
		hits := 0
		for range trials {
			x := float64(skew) + rng.NormFloat64()*float64(u.Sigma) + (2*rng.Float64()-1)*float64(u.Bound)
			if p.Regime(time.Duration(x)) == Crossed {
				hits++
			}
		}
		got, want := p.CrossProbability(skew, u), float64(hits)/trials
		// Six standard deviations of the oracle: once in 10^7 runs of this test.
		if tol := 6*math.Sqrt(got*(1-got)/trials) + 1e-4; math.Abs(got-want) > tol {
			t.Errorf("%v at %v ± %v: %v, the dice say %v ± %v", p, skew, u, got, want, tol)
		}
	}
}

// The closed form at its seams, where digits are lost.
func TestProbabilityIsSmooth(t *testing.T) {
	p := Path{10 * ms, 10 * ms}
	for _, sigma := range []time.Duration{1, 1000, ms, 10 * ms, time.Hour} {
		exact := p.CrossProbability(3*ms, Uncertainty{Sigma: sigma})
		for _, ratio := range []float64{0, 1e-6, 0.9e-4, 1.1e-4, 1e-3} {
			u := Uncertainty{Sigma: sigma, Bound: time.Duration(ratio * float64(sigma))}
			if got := p.CrossProbability(3*ms, u); math.Abs(got-exact) > 1e-6 {
				t.Errorf("%v: %v, without the bound %v", u, got, exact)
			}
		}
	}
	for _, bound := range []time.Duration{1000, ms, 10 * ms, time.Hour} {
		exact := p.CrossProbability(3*ms, Uncertainty{Bound: bound})
		if got := p.CrossProbability(3*ms, Uncertainty{Sigma: 1, Bound: bound}); math.Abs(got-exact) > 1e-3 {
			t.Errorf("bound %v with a sigma of 1 ns: %v, without %v", bound, got, exact)
		}
	}
}

func TestKnownGeometry(t *testing.T) {
	p := Path{AB: 30 * ms, BA: 10 * ms}
	for _, tt := range []struct {
		skew   time.Duration
		regime Regime
		margin time.Duration
	}{
		{10 * ms, Crossed, 20 * ms}, // the aim
		{0, Crossed, 10 * ms},
		{30*ms - 1, Crossed, 1},
		{30 * ms, AEarly, 0},
		{50 * ms, AEarly, -20 * ms},
		{-10*ms + 1, Crossed, 1},
		{-10 * ms, BEarly, 0},
		{-11 * ms, BEarly, -ms},
	} {
		if r, m := p.Regime(tt.skew), p.Margin(tt.skew); r != tt.regime || m != tt.margin {
			t.Errorf("skew %v: %v, %v; want %v, %v", tt.skew, r, m, tt.regime, tt.margin)
		}
	}
	if got := p.Aim(); got != 10*ms {
		t.Errorf("aim %v", got)
	}
	for _, tt := range []struct {
		skew time.Duration
		u    Uncertainty
		want float64
	}{
		{10 * ms, Uncertainty{}, 1},
		{30 * ms, Uncertainty{}, 0},
		{10 * ms, Uncertainty{Bound: 40 * ms}, 0.5},
		{30 * ms, Uncertainty{Bound: ms}, 0.5},
		{10 * ms, Uncertainty{Sigma: 20 * ms}, 0.682689}, // one deviation
		{10 * ms, Uncertainty{Sigma: 10 * ms}, 0.954500}, // two
		{30 * ms, Uncertainty{Sigma: ms}, 0.5},
	} {
		if got := p.CrossProbability(tt.skew, tt.u); math.Abs(got-tt.want) > 1e-5 {
			t.Errorf("skew %v, %v: %v, want %v", tt.skew, tt.u, got, tt.want)
		}
	}
	if got := (Path{}).CrossProbability(0, Uncertainty{Sigma: 1}); got != 0 {
		t.Errorf("a path without delay crosses with probability %v", got)
	}
}

func TestUncertaintyPlus(t *testing.T) {
	got := Uncertainty{3 * ms, ms}.Plus(Uncertainty{4 * ms, 2 * ms})
	if want := (Uncertainty{5 * ms, 3 * ms}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestRegimeText(t *testing.T) {
	for r, want := range map[Regime]string{Crossed: `"crossed"`, AEarly: `"a-early"`, BEarly: `"b-early"`} {
		b, err := json.Marshal(r)
		if err != nil || string(b) != want {
			t.Errorf("%s, %v; want %s", b, err, want)
		}
		var back Regime
		if err := json.Unmarshal(b, &back); err != nil || back != r {
			t.Errorf("%s read back as %v, %v", b, back, err)
		}
	}
	var r Regime
	if err := json.Unmarshal([]byte(`"early"`), &r); err == nil {
		t.Error("an unknown regime was accepted")
	}
	if _, err := json.Marshal(Regime(7)); err == nil {
		t.Error("an unknown regime was written")
	}
}
