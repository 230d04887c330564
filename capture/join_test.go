package capture

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

// captured makes packets of what a point saw, with the addresses as they are
// there, analyses them, and so goes the whole way from bytes to timelines.
func captured(t testing.TB, events []Event, a, b netip.AddrPort, cfg *AnalyzeConfig) []*Timeline {
	t.Helper()
	var packets []Packet
	for i, e := range events {
		s := shot{from: e.From, flags: e.Flags, seq: e.Seq, ack: e.Ack, n: e.Len, a: a, b: b, id: uint16(i + 1), dir: e.Dir}
		s.opt.HasTimestamps, s.opt.TSVal, s.opt.TSEcr = e.TSVal != 0, e.TSVal, e.TSEcr
		p := s.packet(t)
		p.Time = e.Time
		packets = append(packets, p)
	}
	tls, _, err := Analyze(feed(packets), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tls
}

var (
	insideA = netip.MustParseAddrPort("10.0.1.2:4000")
	publicA = netip.MustParseAddrPort("203.0.113.1:61000")
	insideB = netip.MustParseAddrPort("10.0.2.2:5000")
	publicB = netip.MustParseAddrPort("203.0.113.2:62000")
)

// Two captures with clocks far apart and addresses rewritten in between: the
// offset is within the bound, the bound is no more than half a round trip, and
// the crossing is exact.
func TestJoin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt)
		offset := time.Duration(rapid.Int64Range(int64(-time.Hour), int64(time.Hour)).Draw(rt, "clock of b"))
		knowsDir := rapid.Bool().Draw(rt, "direction known")
		atA, atB := w.run(hostA), w.run(hostB)
		for i := range atB {
			atB[i].Time = atB[i].Time.Add(offset)
		}
		if !knowsDir {
			for i := range atA {
				atA[i].Dir = DirUnknown
			}
			for i := range atB {
				atB[i].Dir = DirUnknown
			}
		}
		first := captured(t, atA, insideA, publicB, nil)
		second := captured(t, atB, publicA, insideB, nil)
		joined, onlyA, onlyB := Join(first, second, nil)
		if len(joined) != 1 || len(onlyA)+len(onlyB) != 0 {
			rt.Fatalf("%d joined, %d and %d not", len(joined), len(onlyA), len(onlyB))
		}
		j := joined[0]
		if j.OffsetFrom != OffsetPackets || (j.Offset-offset).Abs() > j.Bound+1 {
			rt.Errorf("offset %v ± %v (%s), true %v", j.Offset, j.Bound, j.OffsetFrom, offset)
		}
		if rtt := w.ab + w.ba + w.turnA + w.turnB; j.Bound > rtt/2+1 {
			rt.Errorf("bound %v of a round trip of %v", j.Bound, rtt)
		}
		if j.FlowA.A != insideA || j.FlowB.B != insideB {
			rt.Errorf("flows %v and %v", j.FlowA, j.FlowB)
		}
		truth := w.truth()
		if j.Crossing == nil || j.Crossing.SpareA != truth.SpareA || j.Crossing.SpareB != truth.SpareB || j.Crossing.Regime != truth.Regime {
			rt.Errorf("crossing %+v, want %+v", j.Crossing, truth)
		}
		if want := truth.Regime == RegimeCrossed; j.Simultaneous && j.Verdict != Simultaneous || want && !j.Simultaneous {
			rt.Errorf("verdict %s, simultaneous %v, %s", j.Verdict, j.Simultaneous, truth.Regime)
		}
		// A packet never arrives before it left.
		if !slices.IsSortedFunc(j.Events, func(x, y Event) int { return x.Time.Compare(y.Time) }) {
			rt.Error("events out of order")
		}
		lostA, lostB := 0, 0
		switch truth.Regime {
		case RegimeAEarly:
			lostA = 1
		case RegimeBEarly:
			lostB = 1
		}
		if j.LostAB != lostA || j.LostBA != lostB {
			rt.Errorf("%d and %d lost, want %d and %d", j.LostAB, j.LostBA, lostA, lostB)
		}
		// The other way round the ends change names, and nothing else.
		back, _, _ := Join(second, first, nil)
		if k := back[0]; k.Crossing.SpareA != truth.SpareB || k.Crossing.SpareB != truth.SpareA || k.FlowA.A != insideB {
			rt.Errorf("exchanged: %+v, %v", k.Crossing, k.FlowA)
		}
		var page bytes.Buffer
		if err := j.WriteLadder(&page, nil); err != nil {
			rt.Fatal(err)
		}
	})
}

// On trusted clocks the delays come out as they were, asymmetric.
func TestJoinTrusted(t *testing.T) {
	w := &world{ab: 30 * ms, ba: 10 * ms, skew: 5 * ms, ts: true}
	first := captured(t, w.run(hostA), insideA, publicB, nil)
	second := captured(t, w.run(hostB), publicA, insideB, nil)
	joined, _, _ := Join(first, second, &JoinConfig{TrustClocks: true, Reference: testEpoch.Add(-ms)})
	j := joined[0]
	if j.DelayAB != 30*ms || j.DelayBA != 10*ms || j.Offset != 0 || j.OffsetFrom != OffsetTrusted {
		t.Errorf("delays %v %v, offset %v (%s)", j.DelayAB, j.DelayBA, j.Offset, j.OffsetFrom)
	}
	// a's SYN is 30 ms under way, b's 10 ms from 5 ms on: t/30 + (t-5)/10 = 1.
	if met := j.Crossing.Met.Sub(testEpoch); met != 11250*time.Microsecond {
		t.Errorf("met at %v", met)
	}
	if j.Events[0].At != ms {
		t.Errorf("first event at %v", j.Events[0].At)
	}
	var page bytes.Buffer
	if err := j.WriteLadder(&page, nil); err != nil {
		t.Fatal(err)
	}
	golden(t, "joined.txt", page.String())
	checkPage(t, page.String(), LadderConfig{Width: 80})
}

// Flows are matched by their sequence numbers, one to one, and what has no
// partner is returned.
func TestJoinMatches(t *testing.T) {
	var first, second []*Timeline
	for i := range 20 {
		w := &world{ab: 5 * ms, ba: 5 * ms, skew: ms, ts: true}
		atA, atB := w.run(hostA), w.run(hostB)
		for _, events := range [][]Event{atA, atB} {
			for k := range events {
				e := &events[k]
				e.Seq += uint32(i) << 20
				if e.Flags&rawtcp.ACK != 0 {
					e.Ack += uint32(i) << 20
				}
			}
		}
		if i != 3 {
			first = append(first, captured(t, atA, insideA, publicB, nil)...)
		}
		if i != 5 {
			second = append(second, captured(t, atB, publicA, insideB, nil)...)
		}
	}
	slices.Reverse(second)
	joined, onlyA, onlyB := Join(first, second, nil)
	if len(joined) != 18 || len(onlyA) != 1 || len(onlyB) != 1 {
		t.Fatalf("%d joined, %d and %d not", len(joined), len(onlyA), len(onlyB))
	}
	for _, j := range joined {
		if j.A.A.ISN != j.B.A.ISN && j.A.A.ISN != j.B.B.ISN {
			t.Errorf("%v joined with %v", j.A.A.ISN, j.B.A.ISN)
		}
	}
}

// Where one direction is all there is, the offset comes from another flow, or
// is not known.
func TestJoinOneWay(t *testing.T) {
	const offset = 3 * time.Second
	w := &world{ab: 10 * ms, ba: 10 * ms, skew: ms, ts: true}
	syns := func(at sightAt, shift time.Duration) []Event {
		e := w.run(at)[:1]
		if at == hostB {
			e = w.run(at)
			e = e[slices.IndexFunc(e, func(e Event) bool { return e.From == EndA }):][:1]
		}
		e = slices.Clone(e)
		e[0].Seq, e[0].Time = 7777, e[0].Time.Add(shift)
		return e
	}
	lone1 := captured(t, syns(hostA, 0), insideA, publicB, nil)
	lone2 := captured(t, syns(hostB, offset), publicA, insideB, nil)
	joined, _, _ := Join(lone1, lone2, nil)
	if j := joined[0]; j.OffsetFrom != OffsetOneWay || !strings.Contains(j.OffsetWords(), "not known") {
		t.Errorf("%s: %s", j.OffsetFrom, j.OffsetWords())
	}
	atB := w.run(hostB)
	for i := range atB {
		atB[i].Time = atB[i].Time.Add(offset)
	}
	full1 := append(lone1, captured(t, w.run(hostA), insideA, publicB, nil)...)
	full2 := append(lone2, captured(t, atB, publicA, insideB, nil)...)
	joined, _, _ = Join(full1, full2, nil)
	if j := joined[0]; j.OffsetFrom != OffsetFlows || (j.Offset-offset).Abs() > j.Bound {
		t.Errorf("%s: offset %v ± %v", j.OffsetFrom, j.Offset, j.Bound)
	}
}

func TestMatchCopies(t *testing.T) {
	list := func(times ...time.Duration) []Event {
		var events []Event
		for _, at := range times {
			events = append(events, Event{Time: testEpoch.Add(at), From: EndA, Flags: syn, Seq: 1})
		}
		return events
	}
	marker := func(events []Event, at time.Duration) []Event {
		return append(events, Event{Time: testEpoch.Add(at), From: EndA, Flags: ack, Seq: 2})
	}
	for _, tt := range []struct {
		name     string
		dep, arr []Event
		causal   bool
		want     []time.Duration // departures that arrived, in order
	}{
		{"as many", list(0, 100*ms), list(10*ms, 110*ms), true, []time.Duration{0, 100 * ms}},
		{"first lost", list(0, 100*ms), list(110 * ms), true, []time.Duration{100 * ms}},
		{"last lost", list(0, 100*ms), list(10 * ms), true, []time.Duration{0}},
		{"first lost, clocks unknown", list(0, 100*ms), list(5110 * ms), false, []time.Duration{100 * ms}},
		{"last lost, another packet tells the delay", marker(list(0, 100*ms), 200*ms), marker(list(5010*ms), 5210*ms), false, []time.Duration{0, 200 * ms}},
		{"sent again before the first arrived", marker(list(0, 4*ms, 8*ms), 20*ms), marker(list(14*ms, 18*ms), 30*ms), true, []time.Duration{4 * ms, 8 * ms, 20 * ms}},
		{"copied on the way", list(0), list(10*ms, 11*ms), true, []time.Duration{0}},
	} {
		var got []time.Duration
		for _, p := range matchEvents(pointers(tt.dep), pointers(tt.arr), EndA, tt.causal) {
			got = append(got, p[0].Time.Sub(testEpoch))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Each timeline lists some of the data only, and not the same: what one lists
// and the other does not is no loss. What is missing of the opening is one.
func TestJoinPartial(t *testing.T) {
	w := &world{ab: 10 * ms, ba: 10 * ms, skew: 3 * ms, ts: true}
	atA, atB := w.run(hostA), w.run(hostB)
	lost := atA[0] // a SYN that a NAT dropped, and its RST, which b did not send
	lost.Time, lost.TSVal = lost.Time.Add(-50*ms), 9
	reset := Event{Time: lost.Time.Add(20 * ms), From: EndB, Flags: rstAck, Ack: lost.Seq + 1, Dir: DirIn}
	atA = append([]Event{lost, reset}, atA...)
	for i := range 30 {
		e := Event{From: EndA, Flags: psh, Seq: 1001 + uint32(i)*100, Ack: 2001, Len: 100, TSVal: 50, TSEcr: 50, Dir: DirOut}
		e.Time = testEpoch.Add(100*ms + time.Duration(i)*ms)
		atA = append(atA, e)
		e.Time, e.Dir = e.Time.Add(10*ms), DirIn
		if i%2 == 0 && i < 28 { // joined in pairs by receive offload
			e.Len = 200
		} else if i < 28 {
			continue
		}
		atB = append(atB, e)
	}
	for _, cfg := range []*AnalyzeConfig{nil, {AllPackets: true}} {
		joined, _, _ := Join(captured(t, atA, insideA, publicB, cfg), captured(t, atB, publicA, insideB, cfg), nil)
		j := joined[0]
		if j.LostAB != 1 || j.LostBA != 0 {
			t.Errorf("%d and %d lost", j.LostAB, j.LostBA)
		}
		var page bytes.Buffer
		if err := j.WriteLadder(&page, nil); err != nil {
			t.Fatal(err)
		}
		text := page.String()
		if n := strings.Count(text, "not seen at"); n != 1 || !strings.Contains(text, "not sent by b") {
			t.Errorf("%d packets are said to be lost:\n%s", n, text)
		}
		listed := 0
		for _, e := range j.Events {
			if e.Len > 0 {
				listed++
			}
		}
		if cfg == nil && listed > 2*keptData || cfg != nil && listed != 30+16 {
			t.Errorf("%d data packets listed", listed)
		}
	}
}
