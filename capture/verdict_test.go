package capture

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

// world is a path between two hosts on which both send a SYN: a at 0, b at the
// skew. What reaches a host before its own SYN has left is dropped in silence.
type world struct {
	ab, ba       time.Duration // one-way delays between the hosts
	skew         time.Duration
	turnA, turnB time.Duration // of the hosts, until they answer
	ts           bool
}

// sightAt is where a capture point is: the shares of the way from a, in the
// direction away from a and in the direction to a.
type sightAt struct {
	out, in float64
	dir     bool // the capture knows the direction: the point is a host
	clock   time.Duration
}

var (
	hostA = sightAt{dir: true}
	hostB = sightAt{out: 1, in: 1, dir: true}
)

// run lets the handshake happen and returns what the point saw.
func (w *world) run(at sightAt) []Event {
	type sent struct {
		when time.Duration // it left its host
		e    Event
	}
	var list []sent
	const isnA, isnB = 1000, 2000
	emit := func(when time.Duration, from string, flags rawtcp.Flags, tsval, tsecr uint32) {
		e := Event{From: from, Flags: flags, TTL: 64}
		e.Seq, e.Ack = isnA, isnB+1
		if from == EndB {
			e.Seq, e.Ack = isnB, isnA+1
		}
		if flags&rawtcp.SYN == 0 {
			e.Seq++
		}
		if flags&rawtcp.ACK == 0 {
			e.Ack = 0
		}
		if w.ts {
			e.TSVal, e.TSEcr = tsval, tsecr
		}
		list = append(list, sent{when, e})
	}
	emit(0, EndA, rawtcp.SYN, 1, 0)
	emit(w.skew, EndB, rawtcp.SYN, 1, 0)
	ackA, ackB := rawtcp.SYN|rawtcp.ACK, rawtcp.SYN|rawtcp.ACK
	atB, atA := w.ab, w.skew+w.ba // the SYNs arrive
	switch {
	case atB <= w.skew: // a early: only a answers a SYN, b answers the SYN-ACK
		emit(atA+w.turnA, EndA, ackA, 2, 1)
		emit(atA+w.turnA+w.ab+w.turnB, EndB, rawtcp.ACK, 2, 2)
	case atA <= 0: // b early
		emit(atB+w.turnB, EndB, ackB, 2, 1)
		emit(atB+w.turnB+w.ba+w.turnA, EndA, rawtcp.ACK, 2, 2)
	default:
		emit(atA+w.turnA, EndA, ackA, 2, 1)
		emit(atB+w.turnB, EndB, ackB, 2, 1)
	}
	var events []Event
	for _, s := range list {
		e := s.e
		if e.From == EndA {
			e.Time = testEpoch.Add(s.when + time.Duration(at.out*float64(w.ab)) + at.clock)
		} else {
			e.Time = testEpoch.Add(s.when + time.Duration((1-at.in)*float64(w.ba)) + at.clock)
		}
		if at.dir {
			e.Dir = DirIn
			if (e.From == EndA) == (at.out == 0) {
				e.Dir = DirOut
			}
		}
		// A SYN that is dropped by the host does not come to it.
		if !(e.bareSYN() && (e.From == EndA && at == hostB && atB <= w.skew || e.From == EndB && at == hostA && atA <= 0)) {
			events = append(events, e)
		}
	}
	slices.SortStableFunc(events, func(x, y Event) int { return cmp.Compare(x.Time.UnixNano(), y.Time.UnixNano()) })
	return events
}

func drawWorld(t *rapid.T) *world {
	delay := rapid.Int64Range(int64(5*time.Microsecond), int64(200*ms))
	turn := rapid.Int64Range(0, int64(80*time.Microsecond))
	w := &world{
		ab: time.Duration(delay.Draw(t, "ab")), ba: time.Duration(delay.Draw(t, "ba")),
		turnA: time.Duration(turn.Draw(t, "turn a")), turnB: time.Duration(turn.Draw(t, "turn b")),
		ts: rapid.Bool().Draw(t, "timestamps"),
	}
	w.skew = time.Duration(rapid.Int64Range(int64(-2*w.ba), int64(2*w.ab)).Draw(t, "skew"))
	return w
}

// truth is the regime and the spares of the hosts.
func (w *world) truth() Crossing {
	c := Crossing{SpareA: w.skew + w.ba, SpareB: w.ab - w.skew}
	c.conclude(testEpoch)
	return c
}

// One point anywhere on the path, an asymmetric one, tells the crossing of the
// hosts to within the stated error and the turnaround of the hosts.
func TestCrossingFromOne(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		at := rapid.SampledFrom([]sightAt{hostA, hostB, {
			out: rapid.Float64Range(0.01, 0.99).Draw(rt, "out"), in: rapid.Float64Range(0.01, 0.99).Draw(rt, "in"),
		}}).Draw(rt, "point")
		events := w.run(at)
		truth := w.truth()
		got, ok := CrossingFromOne(events)
		seesBoth := !(at == hostA && truth.Regime == RegimeBEarly || at == hostB && truth.Regime == RegimeAEarly)
		if ok != seesBoth {
			rt.Fatalf("known %v, both SYNs seen %v", ok, seesBoth)
		}
		if !ok {
			return
		}
		limit := got.Error + max(w.turnA, w.turnB) + 1
		if d := (got.SpareA - truth.SpareA).Abs(); d > limit {
			rt.Errorf("spare of a %v, true %v", got.SpareA, truth.SpareA)
		}
		if d := (got.SpareB - truth.SpareB).Abs(); d > limit {
			rt.Errorf("spare of b %v, true %v", got.SpareB, truth.SpareB)
		}
		if got.Regime != truth.Regime && truth.Margin.Abs() > limit {
			rt.Errorf("regime %s, true %s, margin %v", got.Regime, truth.Regime, truth.Margin)
		}
		if got.Error > 500*time.Microsecond {
			rt.Errorf("error %v on a path without jitter", got.Error)
		}
	})
}

// Two points on clocks that have nothing to do with each other are exact.
func TestCrossingFromTwo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		a, b := hostA, hostB
		b.clock = time.Duration(rapid.Int64Range(int64(-time.Hour), int64(time.Hour)).Draw(rt, "clock of b"))
		atA := w.run(a)
		atB := w.run(hostB)
		for i := range atB {
			atB[i].Time = atB[i].Time.Add(b.clock)
		}
		truth := w.truth()
		got, ok := CrossingFromTwo(atA, atB)
		if !ok {
			rt.Fatal("not known")
		}
		if got.Regime != truth.Regime || got.SpareA != truth.SpareA || got.SpareB != truth.SpareB || got.Margin != truth.Margin {
			rt.Errorf("got %+v, want %+v", got, truth)
		}
		if got.Error > 2*time.Microsecond {
			rt.Errorf("error %v", got.Error)
		}
		if got.Regime != RegimeCrossed || b.clock != 0 {
			return
		}
		// They met where each had travelled its share.
		part := float64(got.Met.Sub(testEpoch)) / float64(w.ab)
		other := float64(got.Met.Sub(testEpoch)-w.skew) / float64(w.ba)
		if sum := part + other; sum < 0.999 || sum > 1.001 {
			rt.Errorf("met at %v: %v and %v of the ways", got.Met, part, other)
		}
	})
}

// With several SYNs the pair counts that was answered.
func TestCrossingRetries(t *testing.T) {
	// a's first SYN is lost; the second crosses b's.
	events := func(at sightAt) []Event {
		w := &world{ab: 10 * ms, ba: 10 * ms, skew: 3 * ms, ts: true}
		list := w.run(at)
		early := list[slices.IndexFunc(list, func(e Event) bool { return e.From == EndA && e.bareSYN() })]
		early.Time, early.TSVal = early.Time.Add(-time.Second), 77
		if at == hostA {
			list = append([]Event{early}, list...)
		}
		return list
	}
	one, ok := CrossingFromOne(events(hostA))
	two, ok2 := CrossingFromTwo(events(hostA), events(hostB))
	if !ok || !ok2 {
		t.Fatal("not known")
	}
	for _, c := range []Crossing{one, two} {
		if c.Regime != RegimeCrossed || c.Margin != 7*ms {
			t.Errorf("%+v", c)
		}
	}
}

func TestCrossingWords(t *testing.T) {
	for _, tt := range []struct {
		a, b time.Duration
		want string
	}{
		{7 * ms, 13 * ms, "the SYNs crossed, margin 7.000 ms ± 0.050 ms: a's SYN left nat-a that long before b's came there"},
		{13 * ms, 7 * ms, "the SYNs crossed, margin 7.000 ms ± 0.050 ms: b's SYN left nat-b that long before a's came there"},
		{30 * ms, -10 * ms, "the SYNs did not cross: a's came to nat-b 10.000 ms ± 0.050 ms before b's own had left"},
		{-10 * ms, 30 * ms, "the SYNs did not cross: b's came to nat-a 10.000 ms ± 0.050 ms before a's own had left"},
	} {
		c := Crossing{SpareA: tt.a, SpareB: tt.b, Error: 50 * time.Microsecond}
		c.conclude(testEpoch)
		if got := c.Words(LaneNATA, LaneNATB); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

func TestVerdictWords(t *testing.T) {
	for _, v := range Verdicts() {
		if w := v.Words(); w == "" || strings.Contains(w, "_") {
			t.Errorf("%s: %q", v, w)
		}
	}
}
