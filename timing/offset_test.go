package timing

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func span(lo, hi time.Duration) *rapid.Generator[time.Duration] {
	return rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(int64(lo), int64(hi)).Draw(t, "ns"))
	})
}

func abs(d time.Duration) time.Duration { return max(d, -d) }

// exchange is four timestamps of a request and its answer over p by a remote
// clock that is off by offset.
func exchange(p Path, offset, serve time.Duration) (t1, t2, t3, t4 time.Time) {
	t1 = epoch
	t2 = t1.Add(p.AB + offset)
	t3 = t2.Add(serve)
	t4 = t3.Add(p.BA - offset)
	return t1, t2, t3, t4
}

func TestFromExchangeBoundsTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Path{span(0, time.Minute).Draw(t, "ab"), span(0, time.Minute).Draw(t, "ba")}
		truth := span(-100*24*time.Hour, 100*24*time.Hour).Draw(t, "offset")
		serve := span(0, time.Second).Draw(t, "serve")
		o, err := FromExchange(exchange(p, truth, serve))
		if err != nil {
			t.Fatal(err)
		}
		if abs(o.Offset-truth) > o.Bound {
			t.Errorf("truth %v outside %v", truth, o)
		}
		if want := (p.AB + p.BA + 1) / 2; o.Bound != want {
			t.Errorf("bound %v, want half of the round trip %v", o.Bound, want)
		}
	})
}

// Two peers that measured their offset over the path itself, and send at the
// same instant of it, are in the middle of the window whatever its asymmetry.
func TestExchangeOverThePathAimsByItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Path{span(0, time.Minute).Draw(t, "ab"), span(0, time.Minute).Draw(t, "ba")}
		truth := span(-time.Hour, time.Hour).Draw(t, "offset")
		o, err := FromExchange(exchange(p, truth, 0))
		if err != nil {
			t.Fatal(err)
		}
		a := epoch                           // A's clock
		b := o.ToRemote(a)                   // B's clock, as A believes
		skew := b.Add(-truth).Sub(a)         // in truth
		if d := abs(skew - p.Aim()); d > 1 { // a nanosecond of rounding
			t.Errorf("skew %v, aim %v", skew, p.Aim())
		}
	})
}

func TestFromExchangeRefuses(t *testing.T) {
	at := func(d time.Duration) time.Time { return epoch.Add(d) }
	for name, ts := range map[string][4]time.Time{
		"answered before it was asked":  {at(10), at(0), at(0), at(0)},
		"remote clock ran backwards":    {at(0), at(10), at(5), at(20)},
		"longer inside than altogether": {at(0), at(0), at(30), at(20)},
	} {
		if o, err := FromExchange(ts[0], ts[1], ts[2], ts[3]); !errors.Is(err, ErrExchange) {
			t.Errorf("%s: %v, %v", name, o, err)
		}
	}
}

func TestOffsetConversions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		day := 24 * time.Hour
		o := Offset{span(-day, day).Draw(t, "o"), span(0, day).Draw(t, "bound")}
		p := Offset{span(-day, day).Draw(t, "p"), span(0, day).Draw(t, "pbound")}
		at := epoch.Add(span(-day, day).Draw(t, "at"))
		if got := o.ToLocal(o.ToRemote(at)); !got.Equal(at) {
			t.Errorf("there and back: %v, want %v", got, at)
		}
		if got, want := o.Inverse().ToRemote(at), o.ToLocal(at); !got.Equal(want) {
			t.Errorf("inverse: %v, want %v", got, want)
		}
		if got, want := o.Then(p).ToRemote(at), p.ToRemote(o.ToRemote(at)); !got.Equal(want) {
			t.Errorf("chain: %v, want %v", got, want)
		}
	})
}

func TestIntersect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		truth := span(-time.Hour, time.Hour).Draw(t, "truth")
		measure := func(name string) Offset {
			b := span(0, time.Second).Draw(t, name+"-bound")
			return Offset{truth + span(-b, b).Draw(t, name), b}
		}
		o, p := measure("o"), measure("p")
		q, err := o.Intersect(p)
		if err != nil {
			t.Fatal(err)
		}
		if abs(q.Offset-truth) > q.Bound {
			t.Errorf("%v and %v gave %v, which misses %v", o, p, q, truth)
		}
		if q.Bound > min(o.Bound, p.Bound) {
			t.Errorf("%v and %v gave the wider %v", o, p, q)
		}
		far := Offset{p.Offset + p.Bound + o.Bound + 2*abs(o.Offset-p.Offset) + 1, 0}
		if _, err := o.Intersect(far); !errors.Is(err, ErrExchange) {
			t.Errorf("%v and %v overlap: %v", o, far, err)
		}
	})
}

func TestOffsetString(t *testing.T) {
	for want, o := range map[string]Offset{
		"+0s ±0s":       {},
		"+1.2ms ±300µs": {1200 * time.Microsecond, 300 * time.Microsecond},
		"-40ns ±1ms":    {-40, time.Millisecond},
	} {
		if got := o.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
