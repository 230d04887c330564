package timing

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func anyParty(t *rapid.T, name string) Party {
	return Party{
		Clock:  Offset{span(-time.Hour, time.Hour).Draw(t, name+"'s clock"), span(0, 100*ms).Draw(t, name+"'s bound")},
		Access: span(0, time.Second).Draw(t, name+"'s access"),
		Sigma:  span(0, 100*ms).Draw(t, name+"'s sigma"),
	}
}

func anyAppointment(t *rapid.T) Appointment {
	delay := span(0, 100*ms)
	return Appointment{
		A: anyParty(t, "A"), B: anyParty(t, "B"),
		Path: Path{span(1, time.Second).Draw(t, "ab"), span(1, time.Second).Draw(t, "ba")},
		AB:   Uncertainty{delay.Draw(t, "sigma of ab"), delay.Draw(t, "bound of ab")},
		BA:   Uncertainty{delay.Draw(t, "sigma of ba"), delay.Draw(t, "bound of ba")},
	}
}

// A host that sends when its clock shows its instant lets its SYN pass the NAT when it should,
// if its clock is as it is thought to be.
func TestAppointmentIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyAppointment(t)
		a, b := m.Instants(epoch)
		passed := func(shows time.Time, p Party) time.Time { return shows.Add(-p.Clock.Offset + p.Access) }
		x, y := passed(a, m.A), passed(b, m.B)
		if skew := y.Sub(x); skew != m.Path.Aim() || skew != m.Aim() {
			t.Errorf("skew %v, aim %v", skew, m.Path.Aim())
		}
		if off := abs(epoch.Sub(x) - y.Sub(epoch)); off > 1 {
			t.Errorf("%v and %v are not around %v", x, y, epoch)
		}
	})
}

// The middle of the window is the best aim where the two delays are known equally well, and
// no error helps there.
func TestAppointmentProbability(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyAppointment(t)
		m.BA = m.AB
		best := m.Probability(m.Aim())
		if best < 0 || best > 1 {
			t.Fatalf("probability %v", best)
		}
		if p := m.Probability(m.Aim() + span(-2*time.Second, 2*time.Second).Draw(t, "off the aim")); p > best+1e-6 {
			t.Errorf("%v at the aim, %v elsewhere", best, p)
		}
		worse := m
		more := span(0, 100*ms).Draw(t, "more")
		switch rapid.IntRange(0, 4).Draw(t, "of") {
		case 0:
			worse.A.Clock.Bound += more
		case 1:
			worse.B.Sigma += more
		case 2:
			worse.AB.Bound += more
		case 3:
			worse.BA.Sigma += more
		case 4:
			worse.Path.AB, worse.Path.BA = m.Path.AB-min(more, m.Path.AB-1), m.Path.BA-min(more, m.Path.BA-1)
		}
		if p := worse.Probability(worse.Aim()); p > best+1e-6 {
			t.Errorf("%+v: %v, with larger errors or a shorter path %v", m, best, p)
		}
		mirror := Appointment{A: m.B, B: m.A, Path: m.Path.Reverse(), AB: m.BA, BA: m.AB}
		skew := span(-time.Second, time.Second).Draw(t, "skew")
		if p, q := m.Probability(skew), mirror.Probability(-skew); math.Abs(p-q) > 1e-9 {
			t.Errorf("%v, mirrored %v", p, q)
		}
	})
}

// With one clock and delays that are known it is Path.CrossProbability.
func TestAppointmentIsPath(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyAppointment(t)
		m.AB, m.BA, m.A.Clock, m.A.Sigma = Uncertainty{}, Uncertainty{}, Offset{}, 0
		skew := span(-2*time.Second, 2*time.Second).Draw(t, "skew")
		want := m.Path.CrossProbability(skew, Uncertainty{Sigma: m.B.Sigma, Bound: m.B.Clock.Bound})
		if got := m.Probability(skew); math.Abs(got-want) > 1e-6 {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// The slow oracle throws the dice: clocks, timers and delays, and the rule of the wire.
func TestAppointmentIsMonteCarlo(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	upTo := func(d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }
	zero := func(d time.Duration) time.Duration { return d * time.Duration(rng.IntN(3)/2) } // two times of three
	const trials = 40_000
	for range 60 {
		m := Appointment{
			A: Party{Clock: Offset{upTo(time.Hour), zero(upTo(20 * ms))}, Sigma: upTo(10 * ms), Access: upTo(5 * ms)},
			B: Party{Clock: Offset{-upTo(time.Hour), upTo(20 * ms)}, Sigma: zero(upTo(10 * ms)), Access: upTo(5 * ms)},
			// No delay is so uncertain that it could be negative.
			Path: Path{5*ms + upTo(50*ms), 5*ms + upTo(50*ms)},
			AB:   Uncertainty{Bound: upTo(5 * ms)}, BA: Uncertainty{Sigma: upTo(ms), Bound: zero(upTo(ms))},
		}
		off := time.Duration(rng.NormFloat64() * float64(20*ms))
		a, b := m.Instants(epoch)
		b = b.Add(off)
		draw := func(u Uncertainty) time.Duration {
			return time.Duration(rng.NormFloat64()*float64(u.Sigma) + (2*rng.Float64()-1)*float64(u.Bound))
		}
		passes := func(at time.Time, p Party) time.Time {
			return at.Add(-p.Clock.Offset - draw(Uncertainty{Bound: p.Clock.Bound}) + p.Access + draw(Uncertainty{Sigma: p.Sigma}))
		}
		hits := 0
		for range trials {
			true := Path{m.Path.AB + draw(m.AB), m.Path.BA + draw(m.BA)}
			if crossesByTheWire(true, passes(a, m.A), passes(b, m.B)) {
				hits++
			}
		}
		got, want := m.Probability(m.Aim()+off), float64(hits)/trials
		if tol := 6*math.Sqrt(got*(1-got)/trials) + 1e-4; math.Abs(got-want) > tol {
			t.Errorf("%+v, off the aim by %v: %v, the dice say %v ± %v", m, off, got, want, tol)
		}
	}
}

// The distribution of a sum against its convolution, step by step: slow, and without a
// closed form.
func TestSpreadIsConvolution(t *testing.T) {
	for _, s := range []struct {
		sigma  float64
		bounds []float64
	}{
		{0, []float64{1}}, {0, []float64{1, 1}}, {0, []float64{3, 1, 0.5}}, {0, []float64{1, 0.05, 0.05}},
		{1, nil}, {0.3, []float64{1}}, {1, []float64{0.3, 0.2}}, {0.05, []float64{1, 0.7}}, {0.2, []float64{1, 1, 1}},
		{1, []float64{0.02, 0.011, 0.015}}, {1, []float64{0.005, 0.02}}, {1, []float64{3e-4}}, {0.1, []float64{1, 0.3, 0.4}},
	} {
		e := newSpread(s.sigma, s.bounds...)
		for _, y := range []float64{-5, -2.2, -1.4, -1, -0.77, -0.3, -0.01, 0, 0.1, 0.9, 1.3, 2.5, 5} {
			want := convolved(y, s.sigma, s.bounds)
			if got := e.below(y); math.Abs(got-want) > 1e-4 {
				t.Errorf("%+v at %v: %v, want %v", s, y, got, want)
			}
		}
	}
}

const convolutionSteps = 60 // for each error

// convolved is P(sum <= y) by the rule of the midpoint over each uniform error in turn.
func convolved(y, sigma float64, bounds []float64) float64 {
	if len(bounds) == 0 {
		if sigma == 0 {
			if y >= 0 {
				return 1
			}
			return 0
		}
		return math.Erfc(-y/sigma/math.Sqrt2) / 2
	}
	if len(bounds) == 1 && sigma == 0 {
		return min(max((y+bounds[0])/(2*bounds[0]), 0), 1)
	}
	steps, sum := convolutionSteps, 0.
	b := bounds[len(bounds)-1]
	for i := range steps {
		sum += convolved(y-b+2*b*(float64(i)+0.5)/float64(steps), sigma, bounds[:len(bounds)-1])
	}
	return sum / float64(steps)
}

// Nothing jumps where the closed form gives way to another.
func TestSpreadHasNoSeams(t *testing.T) {
	for _, s := range []struct{ sigma, b float64 }{{1, narrowForNormal}, {1, narrowestNormal}} {
		for _, more := range [][]float64{nil, {0.4}, {0.4, 0.2}} {
			under, over := newSpread(s.sigma, append(more, s.b*0.999)...), newSpread(s.sigma, append(more, s.b*1.001)...)
			for y := -3.; y < 3; y += 0.1 {
				if d := math.Abs(under.below(y) - over.below(y)); d > 1e-6 {
					t.Errorf("%+v, %v at %v: a jump of %v", s, more, y, d)
				}
			}
		}
	}
	under, over := newSpread(0, 1, narrowForUniform*0.999), newSpread(0, 1, narrowForUniform*1.001)
	for y := -1.1; y < 1.1; y += 0.01 {
		if d := math.Abs(under.below(y) - over.below(y)); d > 1e-6 {
			t.Errorf("uniform at %v: a jump of %v", y, d)
		}
	}
}
