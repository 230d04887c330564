package capture

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

// complaint is a capture that shows a class, and what the words must name: the
// times of the packets that prove it, among others.
type complaint struct {
	class Class
	name  string
	found func(t *testing.T) []Finding
	words []string
	sure  Confidence
}

// fromShots is the diagnosis of the last timeline of a scripted capture.
func fromShots(shots ...shot) func(t *testing.T) []Finding {
	return func(t *testing.T) []Finding {
		tls := analyze(t, nil, shots...)
		return checkFindings(t, tls[len(tls)-1].Diagnosis(), tls[len(tls)-1].Events, len(tls))
	}
}

// fromForeign is the diagnosis of a recorded flow.
func fromForeign(file string, flow int) func(t *testing.T) []Finding {
	return func(t *testing.T) []Finding {
		tls, _ := foreign(t, file, nil)
		return checkFindings(t, tls[flow].Diagnosis(), tls[flow].Events, len(tls))
	}
}

// fromLanes is the diagnosis of what four lanes saw.
func fromLanes(trips ...trip) func(t *testing.T) []Finding {
	return func(t *testing.T) []Finding {
		four := []string{LaneA, LaneNATA, LaneNATB, LaneB}
		l := &Ladder{Lanes: four, Reference: testEpoch, Events: seen(four, trips...)}
		if c, ok := CrossingFromTwo(at(l.Events, LaneNATA), at(l.Events, LaneNATB)); ok {
			l.Crossing = &c
		}
		return checkFindings(t, l.Diagnosis(), l.Events, 0)
	}
}

// fromTwo is the diagnosis of two recorded captures.
func fromTwo(a, b string) func(t *testing.T) []Finding {
	return func(t *testing.T) []Finding {
		first, _ := foreign(t, a, nil)
		second, _ := foreign(t, b, nil)
		joined, _, _ := Join(first, second, nil)
		return checkFindings(t, joined[0].Diagnosis(), joined[0].Events, 0)
	}
}

// checkFindings holds what every Finding keeps.
func checkFindings(t testing.TB, list []Finding, events []Event, flows int) []Finding {
	t.Helper()
	for _, f := range list {
		if !slices.Contains(Classes(), f.Class) || f.Words == "" || f.Events == nil {
			t.Errorf("%+v", f)
		}
		if !slices.Contains([]Confidence{Certain, Probable, Possible}, f.Confidence) || f.Confidence != Certain && f.Confirm == "" {
			t.Errorf("%s is %s, and what would confirm it is %q", f.Class, f.Confidence, f.Confirm)
		}
		for _, i := range f.Events {
			if i < 0 || i >= len(events) {
				t.Errorf("%s: event %d of %d", f.Class, i, len(events))
			}
		}
		for _, n := range f.Flows {
			if n < 1 || n > flows {
				t.Errorf("%s: flow %d of %d", f.Class, n, flows)
			}
		}
	}
	return list
}

var (
	otherPortB = netip.AddrPortFrom(testB.Addr(), 5017)
	otherPortA = netip.AddrPortFrom(testA.Addr(), 4100)
	rstOfB     = Event{From: EndB, Flags: rstAck, Ack: 11, RelAck: 1}
)

func complaints() []complaint {
	us := time.Microsecond
	stamped := func(v, echo uint32) rawtcp.Options {
		o := testSYN
		o.TSVal, o.TSEcr = v, echo
		return o
	}
	return []complaint{
		{ClassOrdinary, "ordinary, recorded", fromForeign("ordinary-any-sll2", 0), []string{"SYN (at 0.000)", "SYN-ACK (at +20.248)", "ACK (at +20.287)"}, Certain},
		{ClassSimultaneous, "crossed, from one host", fromForeign("crossed-a", 0), []string{"the SYNs crossed, margin 6.298 ms"}, Certain},
		{ClassSimultaneous, "crossed, from both", fromTwo("crossed-a", "crossed-b"), []string{"margin 6.367 ms"}, Certain},
		{ClassSimultaneous, "crossed, four lanes", fromLanes(trip{at: 0, from: LaneA, e: synOf(EndA, "")}, trip{at: 5 * us, from: LaneB, e: synOf(EndB, "")},
			trip{at: 20*ms + 100*us, from: LaneA, e: synAckA}, trip{at: 20*ms + 100*us, from: LaneB, e: synAckB}), []string{"SYN left nat-b that long before a's came there"}, Certain},
		{ClassWindowMissed, "a early, from one host", fromForeign("a-early-a", 0), []string{"missed by 49.973 ms", "opened all the same"}, Probable},
		{ClassWindowMissed, "a early, from both", fromTwo("a-early-a", "a-early-b"), []string{"missed by 49.890 ms", "not let in"}, Certain},
		{ClassWindowMissed, "a early, four lanes", fromLanes(trip{at: 0, from: LaneA, e: synOf(EndA, ""), last: LaneNATB}, trip{at: 30 * ms, from: LaneB, e: synOf(EndB, "")},
			trip{at: 51 * ms, from: LaneA, e: synAckA}), []string{"missed by 10.000 ms", "came to nat-b", "(nat-b +20.040)"}, Certain},
		{ClassNATReset, "recorded at b's router", fromForeign("missed-nat-b", 0), []string{"RST (at +0.053)", "b's NAT answered 49.619 ms before its mapping existed", "SYN (at +49.672)"}, Probable},
		{ClassWindowMissed, "b early, recorded", fromForeign("b-early-b", 0), []string{"the window was missed by 39.104 ms"}, Probable},
		{ClassNATReset, "four lanes, before the mapping", fromLanes(trip{at: 0, from: LaneA, e: synOf(EndA, ""), last: LaneNATB},
			trip{at: 20*ms + 340*us, from: LaneNATB, e: rstOfB}, trip{at: 20*ms + 600*us, from: LaneB, e: synOf(EndB, "")}),
			[]string{"nat-b answered a's SYN (nat-b +20.040) with RST after 0.300 ms, 0.300 ms before its mapping existed", "+20.640"}, Certain},
		{ClassNATReset, "four lanes, no mapping at all", fromLanes(trip{at: 0, from: LaneA, e: synOf(EndA, ""), last: LaneNATB}, trip{at: 20*ms + 340*us, from: LaneNATB, e: rstOfB}),
			[]string{"no SYN of b had made a mapping"}, Certain},
		{ClassNATReset, "four lanes, with a mapping", fromLanes(trip{at: 0, from: LaneB, e: synOf(EndB, ""), last: LaneNATB}, trip{at: 0, from: LaneA, e: synOf(EndA, ""), last: LaneNATB},
			trip{at: 20*ms + 340*us, from: LaneNATB, e: rstOfB}), []string{"although b's own SYN had passed there before (nat-b +0.040)"}, Certain},
		{ClassNATReset, "one point, the SYN came later", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100}, shot{at: 20 * ms, from: "b", flags: rstAck, seq: 0, ack: 101}, shot{at: 20*ms + 300*us, from: "b", flags: syn, seq: 300}),
			[]string{"SYN (at 0.000)", "RST (at +20.000)", "answered 0.300 ms before its mapping existed", "SYN (at +20.300)", "seen from one point"}, Probable},
		{ClassNATReset, "one point, the SYN came later and in another flow", func(t *testing.T) []Finding {
			tls := analyze(t, nil,
				shot{at: 0, from: "a", flags: syn, seq: 100}, shot{at: 20 * ms, from: "b", flags: rstAck, seq: 0, ack: 101},
				shot{at: 25 * ms, from: "a", flags: syn, seq: 900}, shot{at: 27 * ms, from: "b", flags: syn, seq: 300})
			return checkFindings(t, tls[0].Diagnosis(), tls[0].Events, len(tls))
		}, []string{"RST (at +20.000)", "7.000 ms before its mapping existed", "flow 2"}, Probable},
		{ClassNATReset, "one point, another TTL", fromShots(
			shot{at: 0, from: "b", flags: syn, seq: 7, ttl: 58, b: netip.MustParseAddrPort("198.51.100.2:99")},
			shot{at: 1, from: "a", flags: synAck, seq: 70, ack: 8, b: netip.MustParseAddrPort("198.51.100.2:99")},
			shot{at: 20 * ms, from: "b", flags: ack, seq: 8, ack: 71, ttl: 58, b: netip.MustParseAddrPort("198.51.100.2:99")},
			shot{at: 50 * ms, from: "a", flags: syn, seq: 100}, shot{at: 70 * ms, from: "b", flags: rstAck, seq: 0, ack: 101, ttl: 61, id: 77}),
			[]string{"RST (at +20.000)", "probably by a NAT or firewall on the way", "its TTL is 61, that of b's own packets 58 in other flows", "3 hops nearer", "IP ID 77"}, Probable},
		{ClassNobodyListens, "one point, the host's TTL", fromShots(
			shot{at: 0, from: "b", flags: syn, seq: 7, ttl: 58, b: netip.MustParseAddrPort("198.51.100.2:99")},
			shot{at: 50 * ms, from: "a", flags: syn, seq: 100}, shot{at: 70 * ms, from: "b", flags: rstAck, seq: 0, ack: 101, ttl: 58}),
			[]string{"SYN (at 0.000)", "RST (at +20.000)", "probably by the host itself", "TTL is 58"}, Probable},
		{ClassNobodyListens, "at the host", fromShots(
			shot{at: 0, from: "b", flags: syn, seq: 100, dir: DirIn, ttl: 58}, shot{at: 20 * us, from: "a", flags: rstAck, seq: 0, ack: 101, dir: DirOut, ttl: 64}),
			[]string{"by this host itself", "RST (at +0.020)"}, Certain},
		{ClassNobodyListens, "four lanes", fromLanes(trip{at: 0, from: LaneA, e: synOf(EndA, "")}, trip{at: 21 * ms, from: LaneB, e: rstOfB}), []string{"b's host answered a's SYN with RST (b +21.000)"}, Certain},
		{ClassNobodyListens, "both refused", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100}, shot{at: 20 * ms, from: "b", flags: rstAck, seq: 0, ack: 101},
			shot{at: 40 * ms, from: "b", flags: syn, seq: 300}, shot{at: 41 * ms, from: "a", flags: rstAck, seq: 0, ack: 301}),
			[]string{"RST (at +41.000)", "own SYN had been refused before (+20.000)"}, Probable},
		{ClassReset, "recorded", fromForeign("refused", 0), []string{"SYN (at 0.000)", "RST (at +20.231)", "TTL 62 (2 hops away", "no other packet"}, Possible},
		{ClassICMP, "recorded, a filter", fromForeign("icmp", 0), []string{"SYN (at 0.000)", "admin prohibited from 203.0.113.2 (at +20.189)", "a filter forbids it"}, Certain},
		{ClassICMP, "recorded, no such host", fromForeign("unanswered", 0), []string{"host unreachable from 10.0.1.1", "no host answers"}, Certain},
		{ClassUnanswered, "recorded", fromForeign("unanswered", 1), []string{"SYN (at 0.000)", "5 retransmissions, the last at +5102.482"}, Certain},
		{ClassSYNLost, "recorded", fromForeign("losses", 0), []string{"2 times, 0.000 to +1015.295"}, Probable},
		{ClassSYNDropped, "four lanes, a filtering NAT", fromLanes(trip{at: 0, from: LaneA, e: synOf(EndA, ""), last: LaneNATB}), []string{"SYN (0.000)", "nat-b dropped it", "(+20.040)"}, Certain},
		{ClassSYNDropped, "four lanes, at its own NAT", fromLanes(trip{at: 0, from: LaneA, e: synOf(EndA, ""), last: LaneA}), []string{"nat-a did not send it on"}, Certain},
		{ClassSYNDropped, "four lanes, between", fromLanes(trip{at: 0, from: LaneA, e: synOf(EndA, ""), last: LaneNATA}), []string{"lost between nat-a (+0.040) and nat-b"}, Certain},
		{ClassUnheard, "between the ends", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100}, shot{at: 40 * ms, from: "b", flags: syn, seq: 300},
			shot{at: 1000 * ms, from: "a", flags: syn, seq: 100}, shot{at: 1040 * ms, from: "b", flags: syn, seq: 300}), []string{"a's first at 0.000", "b's first at +40.000"}, Possible},
		{ClassUnheard, "at a host with a firewall", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100, dir: DirOut, ttl: 64}, shot{at: 40 * ms, from: "b", flags: syn, seq: 300, dir: DirIn, ttl: 60},
			shot{at: 1000 * ms, from: "a", flags: syn, seq: 100, dir: DirOut, ttl: 64}), []string{"a is this host", "b's first at +40.000"}, Probable},
		{ClassSYNACKDropped, "one point", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100}, shot{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101},
			shot{at: 1000 * ms, from: "a", flags: syn, seq: 100}, shot{at: 1020 * ms, from: "b", flags: synAck, seq: 300, ack: 101}),
			[]string{"SYN-ACK (at +20.000)", "retransmission until +1020.000", "went on sending SYNs"}, Probable},
		{ClassSYNACKDropped, "four lanes", fromLanes(trip{at: 0, from: LaneA, e: synOf(EndA, "")}, trip{at: 21 * ms, from: LaneB, e: synAckB, last: LaneNATA}),
			[]string{"SYN-ACK (+21.000)", "nat-a dropped it", "(+41.040)"}, Certain},
		{ClassACKDropped, "four lanes", fromLanes(trip{at: 0, from: LaneA, e: synOf(EndA, "")}, trip{at: 21 * ms, from: LaneB, e: synAckB}, trip{at: 42 * ms, from: LaneA, e: ackA, last: LaneNATB}),
			[]string{"ACK (+42.000)", "nat-b dropped it"}, Certain},
		{ClassACKDropped, "recorded", fromForeign("losses", 0), []string{"SYN-ACK 2 times"}, Probable},
		{ClassWrongPort, "it came from another port", fromShots(
			shot{at: 40 * ms, from: "b", flags: syn, seq: 300, b: otherPortB}, shot{at: 0, from: "a", flags: syn, seq: 100}, shot{at: 1100 * ms, from: "a", flags: syn, seq: 100}),
			[]string{"from port 5017, and a aimed at 5000", "flow 1", "b's NAT is not what was predicted"}, Probable},
		{ClassWrongPort, "it went to another port", fromShots(
			shot{at: 40 * ms, from: "b", flags: syn, seq: 300, a: otherPortA}, shot{at: 41 * ms, from: "a", flags: syn, seq: 100}, shot{at: 1100 * ms, from: "a", flags: syn, seq: 100}),
			[]string{"to port 4100, and a's SYN left from 4000", "a's NAT"}, Probable},
		{ClassHalfOpen, "recorded", fromForeign("halfopen", 1), []string{"ACK (at +20.224)", "RST (at +20.251) ended it"}, Certain},
		{ClassHalfOpen, "nobody ends it", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 400}, shot{at: 20 * ms, from: "b", flags: ack, seq: 300, ack: 100}, shot{at: 1100 * ms, from: "a", flags: syn, seq: 400}),
			[]string{"ACK (at +20.000)", "no RST of a ended it"}, Certain},
		{ClassChallenged, "a RST outside of the window", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100}, shot{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101}, shot{at: 21 * ms, from: "a", flags: ack, seq: 101, ack: 301},
			shot{at: 30 * ms, from: "a", flags: ack, seq: 101, ack: 901}, shot{at: 50 * ms, from: "b", flags: ack, seq: 301, ack: 101}),
			[]string{"b's kernel challenged a's ACK (at +30.000)", "acknowledges 601", "ACK (at +50.000)"}, Probable},
		{ClassAborted, "recorded", fromForeign("aborted", 0), []string{"SYN-ACK (at +20.313)", "RST (at +20.335)"}, Probable},
		{ClassOldDuplicate, "figure 8", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100}, shot{at: 5 * ms, from: "b", flags: synAck, seq: 300, ack: 91}, shot{at: 5 * ms, from: "a", flags: rst, seq: 91},
			shot{at: 20 * ms, from: "b", flags: synAck, seq: 400, ack: 101}, shot{at: 20 * ms, from: "a", flags: ack, seq: 101, ack: 401}), []string{"SYN-ACK (at +5.000)"}, Certain},
		{ClassRewritten, "both sides of a firewall", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100, opt: stamped(4242, 0), iface: 0}, shot{at: 30 * us, from: "a", flags: syn, seq: 777, opt: stamped(4242, 0), iface: 1}),
			[]string{"flow 1", "777", "100"}, Probable},
		{ClassRewritten, "the answer acknowledges another number", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100}, shot{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 778}, shot{at: 1100 * ms, from: "a", flags: syn, seq: 100}),
			[]string{"SYN-ACK (at +20.000)", "off by 677"}, Possible},
		{ClassRewritten, "two captures", func(t *testing.T) []Finding {
			first := analyze(t, nil, shot{at: 0, from: "a", flags: syn, seq: 100, opt: stamped(4242, 0)})
			second := analyze(t, nil, shot{at: 7 * ms, from: "a", flags: syn, seq: 777, opt: stamped(4242, 0)})
			joined, _, only := Join(first, second, nil)
			if len(joined) != 0 || len(only) != 1 {
				t.Fatalf("%d joined", len(joined))
			}
			return checkFindings(t, only[0].Diagnosis(), only[0].Events, 1)
		}, []string{"the other capture", "777", "100"}, Probable},
		{ClassTimestamps, "a clock that ran back", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100, opt: stamped(5000, 0)}, shot{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101, opt: stamped(9, 5000)},
			shot{at: 21 * ms, from: "a", flags: ack, seq: 101, ack: 301, opt: rawtcp.Options{HasTimestamps: true, TSVal: 40, TSEcr: 9}}),
			[]string{"from 5000 (at 0.000) to 40 (at +21.000)", "PAWS"}, Certain},
		{ClassTimestamps, "an echo of nothing", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100, opt: stamped(5000, 0)}, shot{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101, opt: stamped(9, 31337)}),
			[]string{"SYN-ACK (at +20.000)", "31337", "5000"}, Probable},
		{ClassTimestamps, "behind the flow before", fromShots(
			shot{at: 0, from: "a", flags: syn, seq: 100, opt: stamped(5000, 0)}, shot{at: 20 * ms, from: "b", flags: rstAck, seq: 0, ack: 101},
			shot{at: 40 * ms, from: "a", flags: syn, seq: 9100, opt: stamped(17, 0)}, shot{at: 1100 * ms, from: "a", flags: syn, seq: 9100, opt: stamped(1100, 0)}),
			[]string{"4983 less", "flow 1"}, Possible},
		{ClassOneWay, "recorded", fromForeign("oneway", 0), []string{"one end only"}, Certain},
		{ClassIncomplete, "the capture ends", fromShots(shot{at: 0, from: "a", flags: syn, seq: 100}), []string{"ends"}, Certain},
	}
}

// Each class has a capture that shows it, and the words name the evidence.
func TestDiagnosis(t *testing.T) {
	covered := make(map[Class]bool)
	for _, c := range complaints() {
		t.Run(string(c.class)+"/"+c.name, func(t *testing.T) {
			list := c.found(t)
			var all []string
			hit := false
			for _, f := range list {
				all = append(all, fmt.Sprintf("%s %v: %s", f.Class, f.Events, f))
				if f.Class != c.class || hit {
					continue
				}
				ok := f.Confidence == c.sure
				for _, words := range c.words {
					ok = ok && strings.Contains(f.String(), words)
				}
				if len(f.Events) == 0 && c.class != ClassOneWay && c.class != ClassIncomplete {
					t.Errorf("no packet proves it: %s", f)
				}
				hit = ok
			}
			if !hit {
				t.Errorf("want %s, %s, with %q, got\n%s", c.sure, c.class, c.words, strings.Join(all, "\n"))
			}
		})
		covered[c.class] = true
	}
	for _, class := range Classes() {
		if !covered[class] {
			t.Errorf("no capture shows %s", class)
		}
	}
}

// docs/analyze.md has a row for each class, and one row only.
func TestDiagnosisDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "analyze.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range Classes() {
		row := "| `" + string(class) + "` |"
		n := 0
		for line := range strings.Lines(string(page)) {
			if rest, ok := strings.CutPrefix(line, row); ok && strings.Count(rest, "|") == 2 {
				n++
			}
		}
		if n != 1 {
			t.Errorf("docs/analyze.md has %d rows for the class %q", n, class)
		}
	}
}

// Whatever the packets, a flow has a diagnosis that points at packets it has.
func TestDiagnosisRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var packets []Packet
		at := time.Duration(0)
		for range rapid.IntRange(1, 14).Draw(t, "packets") {
			at += rapid.SampledFrom([]time.Duration{1, ms, 20 * ms, time.Second}).Draw(t, "gap")
			s := shot{
				at: at, from: rapid.SampledFrom([]string{EndA, EndB}).Draw(t, "from"),
				flags: rapid.SampledFrom([]rawtcp.Flags{syn, synAck, ack, psh, rst, rstAck, fin}).Draw(t, "flags"),
				seq:   rapid.Uint32Range(99, 103).Draw(t, "seq"), ack: rapid.Uint32Range(99, 103).Draw(t, "ack"),
				n:   rapid.IntRange(0, 2).Draw(t, "n"),
				ttl: rapid.SampledFrom([]uint8{3, 58, 64}).Draw(t, "ttl"),
				dir: rapid.SampledFrom([]Direction{DirUnknown, DirIn, DirOut}).Draw(t, "dir"),
			}
			if rapid.IntRange(0, 7).Draw(t, "icmp") == 0 {
				s.icmp = 1
			}
			if rapid.Bool().Draw(t, "other port") {
				s.b = otherPortB
			}
			p := shotPacket(s)
			packets = append(packets, p)
		}
		tls, _, err := Analyze(feed(packets), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, tl := range tls {
			list := tl.Diagnosis()
			if len(list) == 0 {
				t.Fatalf("nothing to say about %s %s", tl.Verdict, tl.Detail)
			}
			for _, f := range list {
				for _, i := range f.Events {
					if i < 0 || i >= len(tl.Events) {
						t.Fatalf("%s: event %d of %d", f.Class, i, len(tl.Events))
					}
				}
			}
			again := tl.Diagnosis()
			if fmt.Sprint(list) != fmt.Sprint(again) {
				t.Fatal("asked twice, it differs")
			}
		}
	})
}

// shotPacket is shot.packet where there is no testing.TB.
func shotPacket(s shot) Packet {
	var tb packetErrors
	return s.packet(&tb)
}

// packetErrors panics where a test would fail.
type packetErrors struct{ testing.TB }

func (*packetErrors) Helper()           {}
func (*packetErrors) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
