package lab_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/lab"
)

var t0 = time.Unix(1_700_000_000, 0)

// passage is a SYN that leaves at ms and takes delay ms; a delay of 0 never
// arrives.
func passage(at, delay float64) lab.Passage {
	p := lab.Passage{Left: t0.Add(time.Duration(at * 1e6))}
	if delay > 0 {
		p.Arrived = p.Left.Add(time.Duration(delay * 1e6))
	}
	return p
}

func TestMeet(t *testing.T) {
	for _, test := range []struct {
		name    string
		a, b    lab.Passage
		crossed bool
		margin  time.Duration
		place   float64
		at      time.Duration // after t0
		words   string
	}{
		{"middle", passage(0, 20), passage(0, 20), true, *ms(20), 0.5, *ms(10), "crossed at 0.50 of the way from A to B, margin 20ms"},
		{"B late", passage(0, 20), passage(10, 20), true, *ms(10), 0.75, *ms(15), "crossed at 0.75 of the way from A to B, margin 10ms"},
		{"A late", passage(10, 20), passage(0, 20), true, *ms(10), 0.25, *ms(15), "crossed at 0.25 of the way from A to B, margin 10ms"},
		{"asymmetric", passage(0, 30), passage(0, 10), true, *ms(10), 0.25, 7500 * time.Microsecond, "crossed at 0.25 of the way from A to B, margin 10ms"},
		{"on the edge", passage(0, 20), passage(20, 20), false, 0, 0, 0, "A's SYN arrived 0s before B's left"},
		{"A early", passage(0, 20), passage(30, 20), false, *ms(-10), 0, 0, "A's SYN arrived 10ms before B's left"},
		{"B early", passage(45, 20), passage(0, 20), false, *ms(-25), 0, 0, "B's SYN arrived 25ms before A's left"},
		{"A lost", passage(0, 0), passage(0, 20), false, 0, 0, 0, "A's SYN never arrived"},
		{"B lost", passage(0, 20), passage(0, 0), false, 0, 0, 0, "B's SYN never arrived"},
		{"both lost", passage(0, 0), passage(0, 0), false, 0, 0, 0, "neither SYN arrived"},
	} {
		m := lab.Meet(test.a, test.b)
		if m.Crossed != test.crossed || m.Margin != test.margin || m.String() != test.words {
			t.Errorf("%s: %+v, %q", test.name, m, m.String())
		}
		if test.crossed && (m.Place != test.place || m.Time.Sub(t0) != test.at) {
			t.Errorf("%s: place %v at %v", test.name, m.Place, m.Time.Sub(t0))
		}
		if m.Skew != test.b.Left.Sub(test.a.Left) {
			t.Errorf("%s: skew %v", test.name, m.Skew)
		}
	}
}

// The geometry: crossed if and only if -ba < skew < ab, the meeting lies on the
// way and between the departures and the arrivals, and the two sides see it alike.
func TestMeetProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := func(name string, lo, hi int) time.Duration {
			return time.Duration(rapid.IntRange(lo, hi).Draw(t, name)) * time.Microsecond
		}
		ab, ba, skew := us("ab", 1, 100_000), us("ba", 1, 100_000), us("skew", -200_000, 200_000)
		a := lab.Passage{Left: t0, Arrived: t0.Add(ab)}
		b := lab.Passage{Left: t0.Add(skew), Arrived: t0.Add(skew + ba)}
		m := lab.Meet(a, b)
		if want := -ba < skew && skew < ab; m.Crossed != want {
			t.Fatalf("crossed %v, want %v", m.Crossed, want)
		}
		if m.Margin != min(ab-skew, ba+skew) {
			t.Fatalf("margin %v", m.Margin)
		}
		n := lab.Meet(b, a)
		if n.Crossed != m.Crossed || n.Margin != m.Margin || n.Skew != -m.Skew {
			t.Fatalf("seen from B: %+v, from A: %+v", n, m)
		}
		if !m.Crossed {
			return
		}
		const tiny = 1e-3 // nanosecond rounding over a microsecond of way
		if m.Place < -tiny || m.Place > 1+tiny || m.Place+n.Place < 1-tiny || m.Place+n.Place > 1+tiny {
			t.Fatalf("places %v and %v", m.Place, n.Place)
		}
		if m.Time.Before(a.Left) || m.Time.Before(b.Left) || m.Time.After(a.Arrived) || m.Time.After(b.Arrived) {
			t.Fatalf("met at %v", m.Time.Sub(t0))
		}
	})
}
