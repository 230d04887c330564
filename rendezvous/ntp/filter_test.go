package ntp_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rendezvous/ntp"
	"github.com/synpunch/synpunch/timing"
)

// TestFilterHoldsTheTruth: with any delays, asymmetry and drift within the
// tolerance the true offset is within the bound, which is no larger than that
// of any one sample.
func TestFilterHoldsTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const tolerance = 100
		drift := rapid.Float64Range(-tolerance, tolerance).Draw(t, "ppm") / 1e6
		begin := rapid.Int64Range(-1e12, 1e12).Draw(t, "offset")
		base := time.Unix(1767225600, 0)
		offset := func(at time.Duration) time.Duration { return time.Duration(begin) + time.Duration(drift*float64(at)) }
		var samples []ntp.Sample
		var now time.Duration
		for range rapid.IntRange(1, 10).Draw(t, "samples") {
			now += time.Duration(rapid.Int64Range(0, 5e9).Draw(t, "pause"))
			there := time.Duration(rapid.Int64Range(0, 3e8).Draw(t, "there"))
			inside := time.Duration(rapid.Int64Range(0, 1e6).Draw(t, "inside"))
			back := time.Duration(rapid.Int64Range(0, 3e8).Draw(t, "back"))
			t1 := now
			t2 := t1 + there + offset(t1+there)
			t3 := t1 + there + inside + offset(t1+there+inside)
			now += there + inside + back
			o, err := timing.FromExchange(base.Add(t1), base.Add(t2), base.Add(t3), base.Add(now))
			if errors.Is(err, timing.ErrExchange) {
				continue // drift made the exchange take less than no time
			}
			// What FromExchange cannot know: the drift while the packet was on its way.
			o.Bound += time.Duration(float64(there+inside+back)*tolerance/1e6) + 2
			samples = append(samples, ntp.Sample{At: base.Add(now), Offset: o, Delay: there + back})
		}
		if len(samples) == 0 {
			return
		}
		got, best, err := ntp.Filter(samples, base.Add(now), tolerance)
		if err != nil {
			t.Fatal(err)
		}
		if d := (offset(now) - got.Offset).Abs(); d > got.Bound+2 {
			t.Fatalf("%v from the truth, bound %v", d, got.Bound)
		}
		for i, s := range samples {
			alone := ntp.Age(s.Offset, base.Add(now).Sub(s.At), tolerance)
			if got.Bound > alone.Bound+1 {
				t.Fatalf("bound %v, sample %d alone has %v", got.Bound, i, alone.Bound)
			}
			if b := ntp.Age(samples[best].Offset, base.Add(now).Sub(samples[best].At), tolerance); alone.Bound < b.Bound {
				t.Fatalf("sample %d is better than %d", i, best)
			}
		}
	})
}

func TestFilterSeesAStep(t *testing.T) {
	at := time.Unix(1767225600, 0)
	samples := []ntp.Sample{
		{At: at, Offset: timing.Offset{Offset: 0, Bound: time.Millisecond}},
		{At: at.Add(time.Second), Offset: timing.Offset{Offset: time.Second, Bound: time.Millisecond}},
	}
	if o, _, err := ntp.Filter(samples, at.Add(time.Second), 100); !errors.Is(err, ntp.ErrClockSet) || !errors.Is(err, timing.ErrExchange) {
		t.Errorf("%v, %v", o, err)
	}
	if _, _, err := ntp.Filter(nil, at, 100); err == nil {
		t.Error("an offset out of nothing")
	}
}

func TestAgree(t *testing.T) {
	ms := func(o, b int) timing.Offset {
		return timing.Offset{Offset: time.Duration(o) * time.Millisecond, Bound: time.Duration(b) * time.Millisecond}
	}
	for name, c := range map[string]struct {
		list []timing.Offset
		want timing.Offset
		in   []bool
		ok   bool
	}{
		"one":            {[]timing.Offset{ms(5, 2)}, ms(5, 2), []bool{true}, true},
		"two that agree": {[]timing.Offset{ms(0, 4), ms(6, 4)}, ms(3, 1), []bool{true, true}, true},
		"two that don't": {[]timing.Offset{ms(0, 1), ms(6, 2)}, ms(0, 1), []bool{true, false}, false},
		"one is wrong":   {[]timing.Offset{ms(0, 4), ms(100, 1), ms(6, 4)}, ms(3, 1), []bool{true, false, true}, true},
		"they touch":     {[]timing.Offset{ms(0, 1), ms(2, 1)}, ms(1, 0), []bool{true, true}, true},
		"none":           {nil, ms(0, 0), []bool{}, false},
	} {
		got, in, ok := ntp.Agree(c.list)
		if got != c.want || ok != c.ok || len(in) != len(c.in) {
			t.Errorf("%s: %v %v %v", name, got, in, ok)
			continue
		}
		for i := range in {
			if in[i] != c.in[i] {
				t.Errorf("%s: %v, want %v", name, in, c.in)
			}
		}
	}
}

// TestAgreeHoldsTheTruth: while most are right the truth is in the answer.
func TestAgreeHoldsTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		right := rapid.IntRange(1, 5).Draw(t, "right")
		wrong := rapid.IntRange(0, right-1).Draw(t, "wrong")
		truth := time.Duration(rapid.Int64Range(-1e9, 1e9).Draw(t, "truth"))
		var list []timing.Offset
		for range right {
			b := time.Duration(rapid.Int64Range(0, 1e8).Draw(t, "bound"))
			list = append(list, timing.Offset{Offset: truth + time.Duration(rapid.Int64Range(-int64(b), int64(b)).Draw(t, "error")), Bound: b})
		}
		for range wrong {
			list = append(list, timing.Offset{Offset: truth + 10*time.Second, Bound: time.Second})
		}
		o, _, ok := ntp.Agree(list)
		if !ok || (o.Offset-truth).Abs() > o.Bound {
			t.Fatalf("%v, %v of %v, truth %v", o, ok, list, truth)
		}
	})
}
