package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

var (
	testA     = netip.MustParseAddrPort("192.0.2.1:4000")
	testB     = netip.MustParseAddrPort("198.51.100.2:5000")
	testEpoch = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	testSYN   = rawtcp.Options{MSS: 1460, SACKPermitted: true, HasTimestamps: true, TSVal: 1, HasWScale: true, WScale: 7}
)

// shot is one packet of a scripted capture; what is not set is a default.
type shot struct {
	at       time.Duration
	from     string // "a" or "b"
	flags    rawtcp.Flags
	seq, ack uint32
	n        int
	opt      rawtcp.Options
	ttl      uint8
	id       uint16
	dir      Direction
	iface    int
	icmp     uint8 // code of a 'destination unreachable' about a segment with seq, sent to the end opposite from
	a, b     netip.AddrPort
}

func (s shot) segment() rawtcp.Segment {
	src, dst := testA, testB
	if s.a.IsValid() {
		src = s.a
	}
	if s.b.IsValid() {
		dst = s.b
	}
	if s.from == EndB {
		src, dst = dst, src
	}
	return rawtcp.Segment{
		Src: src, Dst: dst, TTL: s.ttl, ID: s.id, Seq: rawtcp.Seq(s.seq), Ack: rawtcp.Seq(s.ack),
		Flags: s.flags, Window: 64240, Options: s.opt, Payload: make([]byte, s.n),
	}
}

func (s shot) packet(t testing.TB) Packet {
	t.Helper()
	seg := s.segment()
	p := Packet{Time: testEpoch.Add(s.at), Link: LinkRaw, Dir: s.dir, Interface: s.iface}
	var err error
	if s.icmp == 0 {
		p.Data, err = seg.Append(nil)
	} else {
		seg.Src, seg.Dst = seg.Dst, seg.Src // quotes what the other end sent
		p.Data, err = icmpUnreachable(netip.MustParseAddr("203.0.113.9"), s.icmp, &seg)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.Len = len(p.Data)
	return p
}

// icmpUnreachable makes the ICMP error that a router answers the segment with.
func icmpUnreachable(router netip.Addr, code uint8, quoted *rawtcp.Segment) ([]byte, error) {
	inner, err := quoted.Append(nil)
	if err != nil {
		return nil, err
	}
	body := append([]byte{3, code, 0, 0, 0, 0, 0, 0}, inner[:28]...)
	sum := 0
	for i := 0; i < len(body); i += 2 {
		sum += int(body[i])<<8 | int(body[i+1])
	}
	sum = sum&0xffff + sum>>16
	sum = ^(sum + sum>>16)
	body[2], body[3] = byte(sum>>8), byte(sum)
	src, dst := router.As4(), quoted.Src.Addr().As4()
	ip := []byte{0x45, 0, 0, byte(20 + len(body)), 0, 0, 0, 0, 64, 1, 0, 0}
	return append(append(append(ip, src[:]...), dst[:]...), body...), nil
}

// feed is a source of packets for Analyze.
func feed(packets []Packet) func() (Packet, error) {
	return func() (Packet, error) {
		if len(packets) == 0 {
			return Packet{}, io.EOF
		}
		p := packets[0]
		packets = packets[1:]
		return p, nil
	}
}

func analyze(t testing.TB, cfg *AnalyzeConfig, shots ...shot) []*Timeline {
	t.Helper()
	var packets []Packet
	for _, s := range shots {
		packets = append(packets, s.packet(t))
	}
	tls, _, err := Analyze(feed(packets), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tls
}

const (
	syn    = rawtcp.SYN
	synAck = rawtcp.SYN | rawtcp.ACK
	ack    = rawtcp.ACK
	psh    = rawtcp.PSH | rawtcp.ACK
	rst    = rawtcp.RST
	rstAck = rawtcp.RST | rawtcp.ACK
	fin    = rawtcp.FIN | rawtcp.ACK
	ms     = time.Millisecond
)

// The openings of RFC 9293, by the figures of section 3.5, and the ways in
// which an opening fails. Times put the capture point at a, 10 ms each way.
var openings = []struct {
	name  string
	shots []shot
	want  []Verdict // of each incarnation
	notes []string  // words that the details or events must have
}{
	{"figure 6: ordinary", []shot{
		{at: 0, from: "a", flags: syn, seq: 100, opt: testSYN},
		{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101, opt: testSYN},
		{at: 20 * ms, from: "a", flags: ack, seq: 101, ack: 301},
		{at: 21 * ms, from: "a", flags: psh, seq: 101, ack: 301, n: 10},
	}, []Verdict{Ordinary}, nil},
	{"figure 7: simultaneous", []shot{
		{at: 0, from: "a", flags: syn, seq: 100, opt: testSYN},
		{at: 8 * ms, from: "b", flags: syn, seq: 300, opt: testSYN},
		{at: 8 * ms, from: "a", flags: synAck, seq: 100, ack: 301, opt: testSYN},
		{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101, opt: testSYN},
		{at: 21 * ms, from: "a", flags: ack, seq: 101, ack: 301},
		{at: 40 * ms, from: "b", flags: ack, seq: 301, ack: 101},
	}, []Verdict{Simultaneous}, []string{"margin 8.000 ms"}},
	{"figure 7 with bare ACKs in place of SYN-ACKs", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 8 * ms, from: "b", flags: syn, seq: 300},
		{at: 8 * ms, from: "a", flags: ack, seq: 101, ack: 301},
		{at: 20 * ms, from: "b", flags: ack, seq: 301, ack: 101},
	}, []Verdict{Simultaneous}, nil},
	{"figure 7 from one end's view: b's SYN found a waiting, a's was lost", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 30 * ms, from: "b", flags: syn, seq: 300},
		{at: 30 * ms, from: "a", flags: synAck, seq: 100, ack: 301},
		{at: 50 * ms, from: "b", flags: ack, seq: 301, ack: 101},
	}, []Verdict{Simultaneous}, []string{"at a only", "a's came to b 10.000 ms"}},
	{"figure 8 at b: an old duplicate SYN arrives first", []shot{
		{at: 0, from: "a", flags: syn, seq: 90},
		{at: 1 * ms, from: "b", flags: synAck, seq: 300, ack: 91},
		{at: 21 * ms, from: "a", flags: rst, seq: 91},
		{at: 22 * ms, from: "a", flags: syn, seq: 100},
		{at: 23 * ms, from: "b", flags: synAck, seq: 400, ack: 101},
		{at: 43 * ms, from: "a", flags: ack, seq: 101, ack: 401},
	}, []Verdict{Aborted, Ordinary}, nil},
	{"figure 8 at a: the answer to another SYN", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 5 * ms, from: "b", flags: synAck, seq: 300, ack: 91},
		{at: 5 * ms, from: "a", flags: rst, seq: 91},
		{at: 20 * ms, from: "b", flags: synAck, seq: 400, ack: 101},
		{at: 20 * ms, from: "a", flags: ack, seq: 101, ack: 401},
	}, []Verdict{Ordinary}, []string{"answers another SYN", "rejects the answer"}},
	{"figure 8 between: both SYNs, the old one second", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 1 * ms, from: "a", flags: syn, seq: 90},
		{at: 10 * ms, from: "b", flags: synAck, seq: 300, ack: 91},
		{at: 20 * ms, from: "a", flags: rst, seq: 91},
		{at: 30 * ms, from: "b", flags: synAck, seq: 400, ack: 101},
		{at: 40 * ms, from: "a", flags: ack, seq: 101, ack: 401},
	}, []Verdict{Ordinary, Aborted}, nil},
	{"figure 9: b holds a connection that a forgot", []shot{
		{at: 0, from: "a", flags: syn, seq: 400},
		{at: 20 * ms, from: "b", flags: ack, seq: 300, ack: 100},
		{at: 20 * ms, from: "a", flags: rst, seq: 100},
		{at: 1000 * ms, from: "a", flags: syn, seq: 400},
		{at: 1020 * ms, from: "b", flags: synAck, seq: 700, ack: 401},
		{at: 1020 * ms, from: "a", flags: ack, seq: 401, ack: 701},
	}, []Verdict{Ordinary}, []string{"older connection", "figure 9"}},
	{"figure 9 with the old connection in the capture", []shot{
		{at: 0, from: "a", flags: syn, seq: 99},
		{at: 20 * ms, from: "b", flags: synAck, seq: 299, ack: 100},
		{at: 20 * ms, from: "a", flags: ack, seq: 100, ack: 300},
		{at: 100 * ms, from: "a", flags: syn, seq: 400},
		{at: 120 * ms, from: "b", flags: ack, seq: 300, ack: 100},
		{at: 120 * ms, from: "a", flags: rst, seq: 100},
		{at: 1100 * ms, from: "a", flags: syn, seq: 400},
		{at: 1120 * ms, from: "b", flags: synAck, seq: 700, ack: 401},
		{at: 1120 * ms, from: "a", flags: ack, seq: 401, ack: 701},
	}, []Verdict{Ordinary, Ordinary}, []string{"figure 9"}},
	{"figure 10: data of a connection that a forgot", []shot{
		{at: 0, from: "b", flags: psh, seq: 300, ack: 100, n: 10},
		{at: 0, from: "a", flags: rst, seq: 100},
	}, []Verdict{Incomplete}, nil},
	{"figure 11: an old duplicate SYN between two listeners", []shot{
		{at: 0, from: "a", flags: syn, seq: 90},
		{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 91},
		{at: 20 * ms, from: "a", flags: rst, seq: 91},
	}, []Verdict{Aborted}, []string{"no socket waited"}},
	{"refused by a closed port", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 20 * ms, from: "b", flags: rstAck, seq: 0, ack: 101},
	}, []Verdict{Refused}, []string{"RST after 20.000 ms"}},
	{"refused with a RST of a made-up sequence number", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 20 * ms, from: "b", flags: rstAck, seq: 0xdeadbeef, ack: 101},
	}, []Verdict{Refused}, nil},
	{"both ends refused: the window was missed", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 20 * ms, from: "b", flags: rstAck, seq: 0, ack: 101},
		{at: 40 * ms, from: "b", flags: syn, seq: 300},
		{at: 40 * ms, from: "a", flags: rstAck, seq: 0, ack: 301},
	}, []Verdict{Refused}, nil},
	{"a blind RST is no answer", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 10 * ms, from: "b", flags: rst, seq: 5},
		{at: 1100 * ms, from: "a", flags: syn, seq: 100},
		{at: 1200 * ms, from: "a", flags: syn, seq: 100},
	}, []Verdict{TimedOut}, nil},
	{"refused, then open: same ISN, tried again", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 20 * ms, from: "b", flags: rstAck, seq: 0, ack: 101},
		{at: 20 * ms, from: "a", flags: syn, seq: 100, id: 7},
		{at: 40 * ms, from: "b", flags: synAck, seq: 300, ack: 101},
		{at: 40 * ms, from: "a", flags: ack, seq: 101, ack: 301},
	}, []Verdict{Ordinary}, []string{"after 1 RST"}},
	{"refused, then open: new ISN", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 20 * ms, from: "b", flags: rstAck, seq: 0, ack: 101},
		{at: 20 * ms, from: "a", flags: syn, seq: 5000},
		{at: 40 * ms, from: "b", flags: synAck, seq: 300, ack: 5001},
		{at: 40 * ms, from: "a", flags: ack, seq: 5001, ack: 301},
	}, []Verdict{Refused, Ordinary}, nil},
	{"answered by ICMP", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 20 * ms, from: "b", icmp: 13, seq: 100},
	}, []Verdict{ByICMP}, []string{"203.0.113.9", "20.000 ms"}},
	{"ICMP, then open", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 2 * ms, from: "b", icmp: 1, seq: 100},
		{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101},
		{at: 20 * ms, from: "a", flags: ack, seq: 101, ack: 301},
	}, []Verdict{Ordinary}, []string{"after 1 ICMP error"}},
	{"nobody answers", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 1000 * ms, from: "a", flags: syn, seq: 100},
		{at: 3000 * ms, from: "a", flags: syn, seq: 100},
	}, []Verdict{TimedOut}, []string{"nothing answered 3 SYNs of a for 3000.000 ms"}},
	{"both SYNs dropped by NATs", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 40 * ms, from: "b", flags: syn, seq: 300},
		{at: 1000 * ms, from: "a", flags: syn, seq: 100},
		{at: 1040 * ms, from: "b", flags: syn, seq: 300},
	}, []Verdict{TimedOut}, []string{"both ends sent SYNs"}},
	{"the SYN-ACK is never acknowledged", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101},
		{at: 1020 * ms, from: "b", flags: synAck, seq: 300, ack: 101},
	}, []Verdict{TimedOut}, []string{"never acknowledged"}},
	{"the capture ends too early", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
	}, []Verdict{Incomplete}, []string{"capture ends"}},
	{"the capture starts with data", []shot{
		{at: 0, from: "a", flags: psh, seq: 1000, ack: 300, n: 10},
		{at: 20 * ms, from: "b", flags: ack, seq: 300, ack: 1010},
	}, []Verdict{Incomplete}, []string{"starts after the opening"}},
	{"the capture starts with the SYN-ACK", []shot{
		{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101},
		{at: 20 * ms, from: "a", flags: ack, seq: 101, ack: 301},
	}, []Verdict{Incomplete}, []string{"starts after the first SYN"}},
	{"closed, and opened again", []shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101},
		{at: 20 * ms, from: "a", flags: ack, seq: 101, ack: 301},
		{at: 30 * ms, from: "a", flags: fin, seq: 101, ack: 301},
		{at: 50 * ms, from: "b", flags: fin, seq: 301, ack: 102},
		{at: 50 * ms, from: "a", flags: ack, seq: 102, ack: 302},
		{at: 500 * ms, from: "b", flags: syn, seq: 9000},
		{at: 501 * ms, from: "a", flags: synAck, seq: 8000, ack: 9001},
		{at: 520 * ms, from: "b", flags: ack, seq: 9001, ack: 8001},
	}, []Verdict{Ordinary, Ordinary}, nil},
}

func TestVerdicts(t *testing.T) {
	for _, tt := range openings {
		t.Run(tt.name, func(t *testing.T) {
			tls := analyze(t, nil, tt.shots...)
			var got []Verdict
			var words strings.Builder
			for _, tl := range tls {
				got = append(got, tl.Verdict)
				fmt.Fprintln(&words, tl.Detail)
				for _, e := range tl.Events {
					fmt.Fprintln(&words, e.Note)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s\n%s", diff, words.String())
			}
			for _, note := range tt.notes {
				if !strings.Contains(words.String(), note) {
					t.Errorf("nothing says %q:\n%s", note, words.String())
				}
			}
			for _, tl := range tls {
				if open := tl.Verdict == Ordinary || tl.Verdict == Simultaneous; open && !tl.Established {
					t.Errorf("%s but not established", tl.Verdict)
				}
			}
		})
	}
}

// The packets of one end alone show how the opening went, and so do the
// packets with the ends exchanged.
func TestOneDirection(t *testing.T) {
	simultaneous, ordinary := openings[1].shots, openings[0].shots
	for _, tt := range []struct {
		name  string
		shots []shot
		keep  string
		want  Verdict
		local string
	}{
		{"simultaneous, a's packets", simultaneous, "a", Simultaneous, ""},
		{"simultaneous, b's packets", simultaneous, "b", Simultaneous, ""},
		{"ordinary, a's packets", ordinary, "a", Ordinary, ""},
		{"ordinary, b's packets", append(slices.Clone(ordinary), shot{at: 41 * ms, from: "b", flags: ack, seq: 301, ack: 111}), "b", Ordinary, ""},
		{"one end saw a SYN, a's packets", openings[3].shots, "a", Incomplete, ""},
		{"one end saw a SYN, b's packets", openings[3].shots, "b", Ordinary, ""},
	} {
		var shots []shot
		for _, s := range tt.shots {
			if s.from == tt.keep {
				shots = append(shots, s)
			}
		}
		tls := analyze(t, nil, shots...)
		if len(tls) != 1 || tls[0].Verdict != tt.want {
			t.Errorf("%s: %v (%s), want %s", tt.name, tls[0].Verdict, tls[0].Detail, tt.want)
			continue
		}
		if tl := tls[0]; tl.Verdict != Incomplete && !tl.OneWay {
			t.Errorf("%s: not said to be one way", tt.name)
		}
	}
	for _, tt := range openings {
		swapped := slices.Clone(tt.shots)
		for i := range swapped {
			swapped[i].from = map[string]string{"a": "b", "b": "a"}[swapped[i].from]
		}
		var want, got []Verdict
		for _, tl := range analyze(t, nil, tt.shots...) {
			want = append(want, tl.Verdict)
		}
		for _, tl := range analyze(t, nil, swapped...) {
			got = append(got, tl.Verdict)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s with the ends exchanged (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestTimelineFields(t *testing.T) {
	tl := analyze(t, &AnalyzeConfig{Where: "here", Reference: testEpoch.Add(-5 * ms)},
		shot{at: 0, from: "a", flags: syn, seq: 100, opt: testSYN, dir: DirOut},
		shot{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101, dir: DirIn,
			opt: rawtcp.Options{MSS: 1400, SACKPermitted: true, HasTimestamps: true, TSVal: 9, TSEcr: 1, HasWScale: true, WScale: 10}},
		shot{at: 20 * ms, from: "a", flags: ack, seq: 101, ack: 301, dir: DirOut},
		shot{at: 30 * ms, from: "a", flags: psh, seq: 101, ack: 301, n: 100, dir: DirOut},
		shot{at: 30 * ms, from: "b", flags: psh, seq: 301, ack: 101, n: 50, dir: DirIn},
		shot{at: 50 * ms, from: "b", flags: fin, seq: 351, ack: 201, dir: DirIn},
		shot{at: 51 * ms, from: "a", flags: fin, seq: 201, ack: 352, dir: DirOut},
		shot{at: 71 * ms, from: "b", flags: ack, seq: 352, ack: 202, dir: DirIn},
	)[0]
	ten, seven := uint8(10), uint8(7)
	want := Timeline{
		Flow: Flow{testA, testB}, Incarnation: 1, Verdict: Ordinary, Detail: "a opened, b answered",
		Reference: testEpoch.Add(-5 * ms), Start: testEpoch, End: testEpoch.Add(71 * ms),
		Established: true, EstablishedAt: 25 * ms, RoundTrip: 20*ms + 1, // an answer in the same instant counts as 1 ns
		A:             Side{ISN: 100, ISNKnown: true, Local: true, Packets: 4, SYNs: 1, FIN: true, MSS: 1460, WScale: &seven, SACK: true, Timestamps: true, Sent: 100, Acked: 100},
		B:             Side{ISN: 300, ISNKnown: true, Packets: 4, SYNACKs: 1, FIN: true, MSS: 1400, WScale: &ten, SACK: true, Timestamps: true, Sent: 50, Acked: 50},
		WindowScaling: true, SACK: true, Timestamps: true, Closed: ClosedFIN, whole: true, begun: true, toB: 10 * ms,
	}
	got := *tl
	events := got.Events
	got.Events, got.order, got.number = nil, 0, 0
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Timeline{}, Side{}), cmp.Comparer(func(x, y links) bool { return x == y }), cmp.Comparer(func(x, y netip.AddrPort) bool { return x == y })); diff != "" {
		t.Errorf("timeline (-want +got):\n%s", diff)
	}
	if len(events) != 8 {
		t.Fatalf("%d events", len(events))
	}
	e := events[1]
	wantEvent := Event{
		Time: testEpoch.Add(20 * ms), At: 25 * ms, Where: "here", From: "b", Dir: DirIn, Src: testB, Dst: testA, TTL: 64,
		Flags: synAck, Seq: 300, Ack: 101, RelAck: 1, Window: 64240,
		Options: "mss 1400, sack, ts, wscale 10", TSVal: 9, TSEcr: 1,
	}
	e.end, e.opening = 0, false
	if e != wantEvent {
		t.Errorf("event\n got %+v\nwant %+v", e, wantEvent)
	}
	if e := events[4]; e.RelSeq != 1 || e.RelAck != 1 || e.Len != 50 {
		t.Errorf("data event %+v", e)
	}
}

// A is whom the configuration says, by endpoint or by address.
func TestTimelineEnds(t *testing.T) {
	for _, a := range []netip.AddrPort{testB, netip.AddrPortFrom(testB.Addr(), 0)} {
		tl := analyze(t, &AnalyzeConfig{A: a}, openings[0].shots...)[0]
		if tl.Flow != (Flow{testB, testA}) || tl.A.SYNACKs != 1 || tl.Events[0].From != EndB {
			t.Errorf("with A %v the flow is %v", a, tl.Flow)
		}
	}
}

// transfer is a flow with data, its true counts, and shots that tell it.
type transfer struct {
	shots     []shot
	bytes     [2]int64
	repeats   [2]int
	reordered [2]int
	isn       [2]uint32
	next      [2]uint32 // relative
	clock     time.Duration
	ts        [2]uint32
}

func (x *transfer) emit(side int, flags rawtcp.Flags, rel uint32, n int) {
	x.clock += 10 * time.Microsecond
	x.ts[side]++
	o := rawtcp.Options{HasTimestamps: true, TSVal: x.ts[side], TSEcr: x.ts[1-side]}
	s := shot{at: x.clock, from: []string{"a", "b"}[side], flags: flags, seq: x.isn[side] + rel, n: n, opt: o}
	if flags&ack != 0 {
		s.ack = x.isn[1-side] + x.next[1-side]
	}
	x.shots = append(x.shots, s)
}

// Data are counted in sequence space and retransmissions by what is sent for
// the second time, whatever the sizes, the order and the wraps.
func TestDataCounts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x := &transfer{isn: [2]uint32{rapid.Uint32().Draw(rt, "isn a"), rapid.Uint32().Draw(rt, "isn b")}}
		x.emit(0, syn, 0, 0)
		x.next[0] = 1
		x.emit(1, synAck, 0, 0)
		x.next[1] = 1
		x.emit(0, ack, 1, 0)
		steps := rapid.IntRange(1, 60).Draw(rt, "steps")
		for range steps {
			side := rapid.IntRange(0, 1).Draw(rt, "side")
			n := rapid.IntRange(2, 60000).Draw(rt, "n")
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0: // the other end acknowledges
				x.emit(1-side, ack, x.next[1-side], 0)
			case 1: // the last bytes once more
				if x.bytes[side] < 2 {
					continue
				}
				n = int(min(int64(n), x.bytes[side]))
				x.emit(side, psh, x.next[side]-uint32(n), n)
				x.repeats[side]++
			case 2: // two segments, overtaking
				from := x.next[side]
				x.next[side] += 2 * uint32(n)
				x.bytes[side] += 2 * int64(n)
				x.emit(side, psh, from+uint32(n), n)
				last := &x.shots[len(x.shots)-1]
				x.ts[side]--
				x.emit(side, psh, from, n)
				x.shots[len(x.shots)-1].opt.TSVal = last.opt.TSVal
				x.reordered[side]++
			default:
				from := x.next[side]
				x.next[side] += uint32(n)
				x.bytes[side] += int64(n)
				x.emit(side, psh, from, n)
			}
		}
		for side := range 2 {
			x.emit(side, fin, x.next[side], 0)
			x.next[side]++
		}
		x.emit(0, ack, x.next[0], 0)
		x.emit(1, ack, x.next[1], 0)
		tls := analyze(t, nil, x.shots...)
		if len(tls) != 1 {
			rt.Fatalf("%d timelines", len(tls))
		}
		tl := tls[0]
		for i, s := range []Side{tl.A, tl.B} {
			if s.Sent != x.bytes[i] || s.Acked != x.bytes[i] || s.Missed != 0 {
				rt.Errorf("side %d: sent %d, acked %d, missed %d, want %d", i, s.Sent, s.Acked, s.Missed, x.bytes[i])
			}
			if s.Retransmissions != x.repeats[i] || s.Reordered != x.reordered[i] {
				rt.Errorf("side %d: %d retransmissions, %d reordered, want %d and %d", i, s.Retransmissions, s.Reordered, x.repeats[i], x.reordered[i])
			}
		}
		if tl.DataRetransmissions != x.repeats[0]+x.repeats[1] || tl.Closed != ClosedFIN || tl.Verdict != Ordinary {
			rt.Errorf("%d data retransmissions, closed %q, %s", tl.DataRetransmissions, tl.Closed, tl.Verdict)
		}
	})
}

// Eight gigabytes in frames of 64 KiB: the numbers wrap twice.
func TestDataWraps(t *testing.T) {
	x := &transfer{isn: [2]uint32{1 << 31, 7}}
	x.emit(0, syn, 0, 0)
	x.next[0] = 1
	x.emit(1, synAck, 0, 0)
	x.next[1] = 1
	x.emit(0, ack, 1, 0)
	z := NewAnalyzer(nil)
	for _, s := range x.shots {
		p := s.packet(t)
		z.Add(&p)
	}
	const frame, frames int64 = 60000, 144000
	data := shot{from: "a", flags: psh, n: int(frame), ack: 8}.packet(t)
	answer := shot{from: "b", flags: ack, seq: 8}.packet(t)
	put := func(b []byte, v uint32) { b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v) }
	seq := x.isn[0] + 1
	for i := range frames {
		data.Time = testEpoch.Add(time.Second + time.Duration(i)*50*time.Microsecond)
		put(data.Data[24:], seq)
		z.Add(&data)
		seq += uint32(frame)
		answer.Time = data.Time.Add(20 * time.Microsecond)
		put(answer.Data[28:], seq)
		z.Add(&answer)
	}
	tls, _ := z.Finish(time.Time{})
	if tl := tls[0]; tl.A.Sent != frame*frames || tl.A.Acked != frame*frames || tl.Retransmissions != 0 {
		t.Errorf("sent %d, acked %d, %d retransmissions, want %d and none", tl.A.Sent, tl.A.Acked, tl.Retransmissions, frame*frames)
	}
	if n := len(tls[0].Events); n > 3+keptData {
		t.Errorf("%d events kept", n)
	}
}

func open(shots ...shot) []shot {
	return append([]shot{
		{at: 0, from: "a", flags: syn, seq: 100},
		{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 101},
		{at: 20 * ms, from: "a", flags: ack, seq: 101, ack: 301},
	}, shots...)
}

func TestDataOddities(t *testing.T) {
	t.Run("keep-alives are no retransmissions", func(t *testing.T) {
		tl := analyze(t, nil, open(
			shot{at: 30 * ms, from: "a", flags: psh, seq: 101, ack: 301, n: 10},
			shot{at: 50 * ms, from: "b", flags: ack, seq: 301, ack: 111},
			shot{at: 7000 * ms, from: "a", flags: ack, seq: 110, ack: 301},
			shot{at: 7020 * ms, from: "b", flags: ack, seq: 301, ack: 111},
			shot{at: 14000 * ms, from: "a", flags: ack, seq: 110, ack: 301, n: 1},
		)...)[0]
		if tl.A.KeepAlives != 2 || tl.Retransmissions != 0 || tl.A.Sent != 10 {
			t.Errorf("%d keep-alives, %d retransmissions, %d bytes", tl.A.KeepAlives, tl.Retransmissions, tl.A.Sent)
		}
	})
	t.Run("one lost byte is a retransmission", func(t *testing.T) {
		tl := analyze(t, nil, open(
			shot{at: 30 * ms, from: "a", flags: psh, seq: 101, ack: 301, n: 1},
			shot{at: 230 * ms, from: "a", flags: psh, seq: 101, ack: 301, n: 1},
		)...)[0]
		if tl.A.KeepAlives != 0 || tl.DataRetransmissions != 1 {
			t.Errorf("%d keep-alives, %d retransmissions", tl.A.KeepAlives, tl.DataRetransmissions)
		}
	})
	t.Run("lost before the capture point", func(t *testing.T) {
		tl := analyze(t, nil, open(
			shot{at: 30 * ms, from: "b", flags: psh, seq: 311, ack: 101, n: 10},
			shot{at: 260 * ms, from: "b", flags: psh, seq: 301, ack: 101, n: 10},
		)...)[0]
		if tl.DataRetransmissions != 1 || tl.B.Reordered != 0 || tl.B.Sent != 20 {
			t.Errorf("%d retransmissions, %d reordered, %d bytes", tl.DataRetransmissions, tl.B.Reordered, tl.B.Sent)
		}
	})
	t.Run("overtaken", func(t *testing.T) {
		tl := analyze(t, nil, open(
			shot{at: 30 * ms, from: "b", flags: psh, seq: 311, ack: 101, n: 10},
			shot{at: 31 * ms, from: "b", flags: psh, seq: 301, ack: 101, n: 10},
		)...)[0]
		if tl.DataRetransmissions != 0 || tl.B.Reordered != 1 {
			t.Errorf("%d retransmissions, %d reordered", tl.DataRetransmissions, tl.B.Reordered)
		}
	})
	t.Run("acknowledged but never seen", func(t *testing.T) {
		tl := analyze(t, nil, open(
			shot{at: 30 * ms, from: "a", flags: psh, seq: 101, ack: 301, n: 10},
			shot{at: 50 * ms, from: "b", flags: ack, seq: 301, ack: 1111},
			shot{at: 51 * ms, from: "a", flags: psh, seq: 1111, ack: 301, n: 10},
		)...)[0]
		if tl.A.Missed != 1000 || tl.A.Sent != 1020 || tl.Retransmissions != 0 {
			t.Errorf("missed %d, sent %d, %d retransmissions", tl.A.Missed, tl.A.Sent, tl.Retransmissions)
		}
	})
	t.Run("data in the SYN", func(t *testing.T) {
		tl := analyze(t, nil,
			shot{at: 0, from: "a", flags: syn, seq: 100, n: 20},
			shot{at: 20 * ms, from: "b", flags: synAck, seq: 300, ack: 121},
			shot{at: 20 * ms, from: "a", flags: ack, seq: 121, ack: 301},
		)[0]
		if tl.Verdict != Ordinary || tl.A.Acked != 20 || tl.Retransmissions != 0 {
			t.Errorf("%s, %d bytes, %d retransmissions", tl.Verdict, tl.A.Acked, tl.Retransmissions)
		}
	})
	t.Run("reset after it was open", func(t *testing.T) {
		tl := analyze(t, nil, open(shot{at: 30 * ms, from: "b", flags: rst, seq: 301})...)[0]
		if tl.Verdict != Ordinary || tl.Closed != ClosedResetB || tl.RSTs != 1 {
			t.Errorf("%s, closed %q, %d RSTs", tl.Verdict, tl.Closed, tl.RSTs)
		}
	})
	t.Run("a segment far outside the window changes nothing", func(t *testing.T) {
		tl := analyze(t, nil, open(
			shot{at: 30 * ms, from: "a", flags: psh, seq: 101 + 1<<31 - 100, ack: 301, n: 10},
			shot{at: 31 * ms, from: "a", flags: psh, seq: 101, ack: 301, n: 10},
		)...)[0]
		if tl.A.Sent != 10 {
			t.Errorf("sent %d", tl.A.Sent)
		}
	})
}

// On a router every packet passes two interfaces, and a copied packet is no
// retransmission.
func TestSecondSights(t *testing.T) {
	t.Run("two interfaces", func(t *testing.T) {
		var shots []shot
		for _, s := range open(shot{at: 30 * ms, from: "a", flags: psh, seq: 101, ack: 301, n: 10}) {
			s.iface, s.dir, s.ttl = 1, DirIn, 64
			if s.from == EndB {
				s.iface = 2
			}
			again := s
			again.at += 20 * time.Microsecond
			again.iface, again.dir, again.ttl = 3-s.iface, DirOut, 63
			shots = append(shots, s, again)
		}
		tl := analyze(t, nil, shots...)[0]
		if tl.Verdict != Ordinary || tl.Retransmissions != 0 || tl.A.Packets != 3 || tl.A.Duplicates != 3 || tl.A.Local || tl.B.Local {
			t.Errorf("%s, %d retransmissions, %d packets of a, %d duplicates, local %v %v",
				tl.Verdict, tl.Retransmissions, tl.A.Packets, tl.A.Duplicates, tl.A.Local, tl.B.Local)
		}
	})
	t.Run("copied by the network", func(t *testing.T) {
		tl := analyze(t, nil,
			shot{at: 0, from: "a", flags: syn, seq: 100, id: 5},
			shot{at: 8 * ms, from: "a", flags: syn, seq: 100, id: 5},
			shot{at: 30 * ms, from: "a", flags: syn, seq: 100, id: 6},
		)[0]
		if tl.A.SYNs != 2 || tl.A.Duplicates != 1 || tl.Retransmissions != 1 {
			t.Errorf("%d SYNs, %d duplicates, %d retransmissions", tl.A.SYNs, tl.A.Duplicates, tl.Retransmissions)
		}
	})
	t.Run("a route that changes", func(t *testing.T) {
		var shots []shot
		for i := range 10 {
			s := shot{at: time.Duration(30+i) * ms, from: "a", flags: psh, seq: 101 + 10*uint32(i), ack: 301, n: 10, iface: i % 2}
			shots = append(shots, s)
		}
		tl := analyze(t, nil, open(shots...)...)[0]
		if tl.A.Sent != 100 || tl.A.Duplicates != 0 {
			t.Errorf("sent %d, %d duplicates", tl.A.Sent, tl.A.Duplicates)
		}
	})
}

func TestBothSidesOfNAT(t *testing.T) {
	var shots []shot
	public := netip.MustParseAddrPort("203.0.113.1:61000")
	for _, s := range openings[1].shots {
		out := s
		out.a = public
		out.at += 30 * time.Microsecond
		shots = append(shots, s, out)
	}
	tls := analyze(t, nil, shots...)
	if len(tls) != 2 || tls[1].SameAs != 1 || tls[0].SameAs != 0 {
		t.Fatalf("%d timelines", len(tls))
	}
}

// Whatever the snap length, the verdict holds as long as the fixed header is
// there, and options are those that are whole.
func TestSnapLengths(t *testing.T) {
	v6 := [2]netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:4000"), netip.MustParseAddrPort("[2001:db8::2]:5000")}
	for _, ends := range [][2]netip.AddrPort{{testA, testB}, v6} {
		header := 20
		if ends[0].Addr().Is6() {
			header = 40
		}
		for snap := header; snap <= header+42; snap++ {
			var packets []Packet
			for _, s := range openings[1].shots {
				s.a, s.b = ends[0], ends[1]
				p := s.packet(t)
				p.Data = p.Data[:min(snap, len(p.Data))]
				packets = append(packets, p)
			}
			tls, sum, err := Analyze(feed(packets), nil)
			if err != nil {
				t.Fatal(err)
			}
			if snap < header+20 {
				if sum.Cut != int64(len(packets)) || len(tls) != 0 {
					t.Errorf("snap %d: %d cut, %d timelines", snap, sum.Cut, len(tls))
				}
				continue
			}
			tl := tls[0]
			if tl.Verdict != Simultaneous || sum.TCP != int64(len(packets)) {
				t.Fatalf("snap %d: %s", snap, tl.Verdict)
			}
			// In Linux' order: MSS 4 bytes, SACK-permitted and timestamps 12, window scale 4.
			opts := snap - header - 20
			if (tl.A.MSS == 1460) != (opts >= 4) || tl.A.SACK != (opts >= 6) || tl.A.Timestamps != (opts >= 16) || (tl.A.WScale != nil) != (opts >= 20) {
				t.Errorf("snap %d, %d bytes of options: %+v", snap, opts, tl.A)
			}
			if tl.A.WScale != nil && *tl.A.WScale != 7 {
				t.Errorf("snap %d: window shift %d made up", snap, *tl.A.WScale)
			}
		}
	}
}

// A million SYNs to nowhere: the answered flow is kept, memory is not eaten.
func TestManyFlows(t *testing.T) {
	const max = 1000
	z := NewAnalyzer(&AnalyzeConfig{MaxFlows: max})
	winner := open()
	for _, s := range winner {
		p := s.packet(t)
		z.Add(&p)
	}
	var before, after runtime.MemStats
	rng := rand.New(rand.NewPCG(1, 2))
	p := shot{from: "a", flags: syn, seq: 1, opt: testSYN}.packet(t)
	n := 300000
	if testing.Short() {
		n = 30000
	}
	for i := range n {
		if i == 10000 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		r := rng.Uint64()
		p.Time = testEpoch.Add(time.Duration(i) * time.Microsecond)
		p.Data[20], p.Data[21], p.Data[22], p.Data[23] = byte(r), byte(r>>8), byte(r>>16), byte(r>>24)
		z.Add(&p)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2<<20 {
		t.Errorf("%d bytes more than after 10,000 flows", grown)
	}
	tls, sum := z.Finish(time.Time{})
	if len(tls) != max || sum.Flows != sum.Evicted+max {
		t.Errorf("%d timelines, %d flows, %d evicted", len(tls), sum.Flows, sum.Evicted)
	}
	total := 0
	for _, n := range sum.Verdicts {
		total += n
	}
	if total != sum.Flows {
		t.Errorf("%d verdicts on %d flows", total, sum.Flows)
	}
	if tls[0].Verdict != Ordinary {
		t.Errorf("the answered flow was evicted")
	}
}

// Retries with ever new ISNs on one 4-tuple, and endless retransmissions, stay
// within bounds too.
func TestBoundedTuple(t *testing.T) {
	const max = 50
	z := NewAnalyzer(&AnalyzeConfig{MaxFlows: max, MaxEvents: 16})
	for i := range 20000 {
		p := shot{at: time.Duration(i) * ms, from: "a", flags: syn, seq: uint32(i * 10000)}.packet(t)
		z.Add(&p)
	}
	for i := range 20000 {
		p := shot{at: time.Duration(20000+i) * ms, from: "a", flags: syn, seq: 5, id: uint16(i + 1)}.packet(t)
		z.Add(&p)
	}
	tls, sum := z.Finish(time.Time{})
	if len(tls) > max || sum.Flows != 20001 {
		t.Errorf("%d timelines of %d flows", len(tls), sum.Flows)
	}
	last := tls[len(tls)-1]
	if last.A.SYNs != 20000 || len(last.Events) != 16 || last.Omitted != 20000-16 {
		t.Errorf("%d SYNs, %d events, %d omitted", last.A.SYNs, len(last.Events), last.Omitted)
	}
}

func TestSummary(t *testing.T) {
	arp := Packet{Time: testEpoch, Link: LinkEthernet, Data: append(make([]byte, 12), 8, 6, 0, 0)}
	good := shot{at: ms, from: "a", flags: syn, seq: 1}.packet(t)
	udp := shot{from: "a", flags: syn}.packet(t)
	udp.Data[9] = 17
	fragment := shot{from: "a", flags: syn}.packet(t)
	fragment.Data[7] = 9
	short := shot{from: "a", flags: syn}.packet(t)
	short.Data = short.Data[:33]
	broken := shot{from: "a", flags: syn}.packet(t)
	broken.Data[32] = 0x40 // data offset 16 bytes
	stray := shot{from: "b", icmp: 13, seq: 1, a: netip.MustParseAddrPort("192.0.2.77:1")}.packet(t)
	_, sum, err := Analyze(feed([]Packet{good, arp, udp, fragment, short, broken, stray}), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Summary{
		Packets: 7, TCP: 1, ICMP: 1, ICMPUnmatched: 1, Other: 2, Fragments: 1, Malformed: 1, Cut: 1, BackInTime: 6, Flows: 1,
		Verdicts: map[Verdict]int{Incomplete: 1}, First: testEpoch.Add(ms), Last: testEpoch.Add(ms),
	}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(sum.Describe()); n != 5 {
		t.Errorf("%d lines: %q", n, sum.Describe())
	}
}

// What was read before an error is returned with it.
func TestAnalyzeError(t *testing.T) {
	boom := errors.New("boom")
	next := feed([]Packet{openings[0].shots[0].packet(t)})
	tls, _, err := Analyze(func() (Packet, error) {
		p, err := next()
		if err != nil {
			err = boom
		}
		return p, err
	}, nil)
	if !errors.Is(err, boom) || len(tls) != 1 {
		t.Errorf("%d timelines, %v", len(tls), err)
	}
}

func TestKeep(t *testing.T) {
	other := shot{from: "a", flags: syn, a: netip.MustParseAddrPort("192.0.2.9:9")}.packet(t)
	_, sum, _ := Analyze(feed([]Packet{other, other, openings[0].shots[0].packet(t)}), &AnalyzeConfig{
		Keep: func(x, y netip.AddrPort) bool { return x == testA || y == testA },
	})
	if sum.Flows != 1 || sum.Filtered != 2 {
		t.Errorf("%d flows, %d filtered", sum.Flows, sum.Filtered)
	}
}

// FuzzAnalyze: whatever the packets, no panic, no more flows and events than
// allowed, and the counts agree.
func FuzzAnalyze(f *testing.F) {
	for _, tt := range openings {
		var b bytes.Buffer
		for _, s := range tt.shots {
			p := s.packet(f)
			b.WriteByte(byte(len(p.Data)))
			b.WriteByte(byte(s.at / ms))
			b.Write(p.Data)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var packets []Packet
		at := testEpoch
		for len(data) > 2 && len(packets) < 200 {
			n, step := int(data[0]), data[1]
			data = data[2:]
			n = min(n, len(data))
			at = at.Add(time.Duration(int8(step)) * ms)
			p := Packet{Time: at, Data: data[:n], Len: n + int(step), Link: LinkRaw, Dir: Direction(step % 3), Interface: int(step / 64)}
			if step == 255 {
				p.Time = time.Time{}
			}
			packets = append(packets, p)
			data = data[n:]
		}
		checkAnalysis(t, packets)
	})
}

// FuzzAnalyzeScript is FuzzAnalyze with packets that fit together better: all
// of one or two flows, with few sequence numbers, so that the states of a flow
// are reached.
func FuzzAnalyzeScript(f *testing.F) {
	f.Add([]byte{0, 2, 0, 0, 1, 0, 1, 2, 1, 0, 9, 0, 0, 0x12, 0, 1, 1, 0})
	f.Add([]byte{0, 2, 0, 0, 1, 0, 1, 0x14, 0, 1, 1, 0})
	f.Add([]byte{0, 2, 0, 0, 1, 0, 1, 0x12, 0, 1, 1, 0, 0, 0x10, 1, 1, 1, 0, 0, 0x18, 1, 1, 1, 200, 1, 0x11, 1, 5, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var packets []Packet
		at := time.Duration(0)
		for ; len(data) >= 6 && len(packets) < 100; data = data[6:] {
			at += time.Duration(data[4]) * 5 * ms
			s := shot{
				at: at, from: []string{"a", "b"}[data[0]&1], flags: rawtcp.Flags(data[1]),
				seq: uint32(data[2]) - 2, ack: uint32(data[3]) - 2, n: int(data[5]), id: uint16(data[0] >> 4), iface: int(data[0] >> 1 & 1),
			}
			if s.seq > 200 { // around the wrap, and far away
				s.seq <<= 24
			}
			if data[0]&8 != 0 {
				s.icmp = 1 + data[5]%13
			}
			if data[0]&4 != 0 {
				s.opt = testSYN
				s.opt.TSVal = uint32(data[4])
			}
			packets = append(packets, s.packet(t))
		}
		checkAnalysis(t, packets)
	})
}

// checkAnalysis analyses packets and holds what is true of every analysis.
func checkAnalysis(t *testing.T, packets []Packet) {
	for _, all := range []bool{false, true} {
		cfg := &AnalyzeConfig{MaxFlows: 5, MaxEvents: 10, AllPackets: all}
		tls, sum, err := Analyze(feed(packets), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if len(tls) > 5 || sum.Flows != len(tls)+sum.Evicted || sum.Packets != int64(len(packets)) {
			t.Fatalf("%d timelines, %+v", len(tls), sum)
		}
		for _, tl := range tls {
			if len(tl.Events) > 10+keptData+keptRetransmissions+keptClosing {
				t.Fatalf("%d events", len(tl.Events))
			}
			if tl.Verdict == "" || tl.Established && tl.Verdict != Ordinary && tl.Verdict != Simultaneous && tl.Verdict != Incomplete {
				t.Fatalf("verdict %q, established %v", tl.Verdict, tl.Established)
			}
			if tl.A.Sent < 0 || tl.B.Sent < 0 || tl.A.Acked > tl.A.Sent || tl.B.Acked > tl.B.Sent {
				t.Fatalf("sent %d acked %d; sent %d acked %d", tl.A.Sent, tl.A.Acked, tl.B.Sent, tl.B.Acked)
			}
			for _, width := range []int{60, 80, 130} {
				if err := WriteLadder(io.Discard, tl, &LadderConfig{Width: width, ASCII: width == 80}); err != nil {
					t.Fatal(err)
				}
			}
		}
		joined, _, _ := Join(tls, tls, nil)
		for _, j := range joined {
			if err := j.WriteLadder(io.Discard, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}
