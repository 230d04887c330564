package live

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/rawtcp"
)

// arrivals sends TCP segments numbered 1 to n from A to B and returns in which
// order their numbers arrived at NAT B. Nothing answers them: RSTs without a
// connection.
func arrivals(t *testing.T, l *Lab, n, want int) []int {
	t.Helper()
	var segs []rawtcp.Segment
	for i := range n {
		segs = append(segs, rawtcp.Segment{
			Src: netip.AddrPortFrom(l.A.Addr, portA), Dst: netip.AddrPortFrom(l.B.Public, portB),
			Flags: rawtcp.RST, Seq: rawtcp.Seq(i + 1),
		})
	}
	sendRaw(t, l.A, lab.IP4, segs...)
	var got []int
	await(t, fmt.Sprintf("%d packets at NAT B", want), func() bool {
		got = got[:0]
		for _, s := range read(t, l, func(s *seen) bool { return s.Where == LaneNATB && s.Dir == capture.DirIn }) {
			got = append(got, int(s.seg.Seq))
		}
		return len(got) >= want
	})
	return got
}

func TestFaultsByNumber(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := mustBuild(t, lab.Scenario{A: lab.Site{NAT: lab.NATNone}, B: lab.Site{NAT: lab.NATFirewall}, Link: lab.Link{Delay: 2 * time.Millisecond}})
	f := func(n int, a lab.Action, behind int) lab.Fault {
		return lab.Fault{Direction: lab.AB, Packet: n, Action: a, Behind: behind}
	}
	for _, test := range []struct {
		name   string
		faults []lab.Fault
		want   []int
		fates  map[int]Fate // others: delivered
	}{
		{"none", nil, []int{1, 2, 3, 4, 5}, nil},
		{"lose first", []lab.Fault{f(1, lab.Lose, 0)}, []int{2, 3, 4, 5}, map[int]Fate{1: Lost}},
		{"lose last", []lab.Fault{f(5, lab.Lose, 0)}, []int{1, 2, 3, 4}, map[int]Fate{5: Lost}},
		{"lose two", []lab.Fault{f(2, lab.Lose, 0), f(3, lab.Lose, 0)}, []int{1, 4, 5}, map[int]Fate{2: Lost, 3: Lost}},
		{"duplicate", []lab.Fault{f(3, lab.Duplicate, 0)}, []int{1, 2, 3, 3, 4, 5}, map[int]Fate{3: Duplicated}},
		{"reorder", []lab.Fault{f(2, lab.Reorder, 0)}, []int{1, 3, 2, 4, 5}, map[int]Fate{2: Reordered}},
		{"reorder far", []lab.Fault{f(1, lab.Reorder, 3)}, []int{2, 3, 4, 1, 5}, map[int]Fate{1: Reordered}},
		{"reorder two", []lab.Fault{f(1, lab.Reorder, 2), f(2, lab.Reorder, 2)}, []int{3, 1, 4, 2, 5}, map[int]Fate{1: Reordered, 2: Reordered}},
		{"nothing overtakes", []lab.Fault{f(5, lab.Reorder, 1)}, []int{1, 2, 3, 4, 5}, map[int]Fate{5: Reordered}},
		{"the other direction", []lab.Fault{{Direction: lab.BA, Packet: 1, Action: lab.Lose}}, []int{1, 2, 3, 4, 5}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := l.SetFaults(test.faults); err != nil {
				t.Fatal(err)
			}
			if got := arrivals(t, l, 5, len(test.want)); !slices.Equal(got, test.want) {
				t.Errorf("arrived %v, want %v", got, test.want)
			}
			trs := l.Transits()
			if len(trs) != 5 {
				t.Fatalf("%d transits: %+v", len(trs), trs)
			}
			for i, tr := range trs {
				want := Delivered
				if f, ok := test.fates[i+1]; ok {
					want = f
				}
				if tr.Number != i+1 || tr.Fate != want || tr.Direction != lab.AB || tr.Len != 40 || len(tr.Head) != 40 {
					t.Errorf("transit %+v, want number %d, %s", tr, i+1, want)
				}
				if tr.Left.IsZero() != (want == Lost) {
					t.Errorf("transit %d, %s, left at %v", i+1, want, tr.Left)
				}
				if late := tr.Left.Sub(tr.Entered); want == Delivered && late < 2*time.Millisecond {
					t.Errorf("transit %d took %v only", i+1, late)
				}
			}
			for i, s := range read(t, l, func(s *seen) bool { return s.Where == LaneNATA }) {
				if want := trs[i].Fate; s.Fate != want {
					t.Errorf("event %d at NAT A says %q, the link %q", i+1, s.Fate, want)
				}
			}
			ab, ba := l.Counters()
			lost := uint64(5 - len(slices.Compact(slices.Sorted(slices.Values(test.want)))))
			if ab.TCP != 5 || ab.Lost != lost || ab.Overflow != 0 || ab.Bytes != 5*54 || ba != (Counters{}) {
				t.Errorf("counters %+v %+v", ab, ba)
			}
		})
	}
}

// ResetCount arms the faults again.
func TestResetCountRearmsFaults(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := mustBuild(t, lab.Scenario{A: lab.Site{NAT: lab.NATNone}, B: lab.Site{NAT: lab.NATFirewall},
		Link: lab.Link{Faults: []lab.Fault{{Direction: lab.AB, Packet: 2, Action: lab.Lose}}}})
	for range 3 {
		if got := arrivals(t, l, 3, 2); !slices.Equal(got, []int{1, 3}) {
			t.Errorf("arrived %v", got)
		}
		if err := l.ResetCount(); err != nil {
			t.Fatal(err)
		}
		if len(l.Events()) != 0 || len(l.Transits()) != 0 {
			t.Error("ResetCount left events")
		}
		if ab, _ := l.Counters(); ab != (Counters{}) {
			t.Errorf("ResetCount left counters: %+v", ab)
		}
	}
}

// A lost SYN comes again after TCP's initial timeout, and the two ends still connect.
func TestLostSYNIsRetransmitted(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := both(lab.NATLinux, 20*time.Millisecond)
	s.Link.Faults = []lab.Fault{{Direction: lab.AB, Packet: 1, Action: lab.Lose}, {Direction: lab.BA, Packet: 1, Action: lab.Lose}}
	l := mustBuild(t, s)
	a, b, errA, errB := dialBoth(t.Context(), l)
	if errA != nil || errB != nil {
		logEvents(t, l)
		t.Fatalf("A: %v, B: %v", errA, errB)
	}
	exchange(t, a, b)
	lost := 0
	for _, s := range read(t, l, func(s *seen) bool { return s.Fate == Lost }) {
		if s.seg.Flags != rawtcp.SYN {
			t.Errorf("lost: %v", &s)
		}
		lost++
	}
	if lost != 2 {
		logEvents(t, l)
		t.Errorf("%d packets lost, want both first SYNs", lost)
	}
	if m := l.Meetings(); len(m) != 1 || m[0].B.Port() != portB {
		t.Errorf("meetings: %+v", m)
	}
}

func TestPlainWireTakesNoFaults(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := mustBuild(t, both(lab.NATNone, 0))
	if err := l.SetFaults([]lab.Fault{{Direction: lab.AB, Packet: 1, Action: lab.Lose}}); err == nil || !strings.Contains(err.Error(), "plain wire") {
		t.Errorf("got %v", err)
	}
	if err := l.SetFaults([]lab.Fault{{}}); !errors.Is(err, lab.ErrScenario) {
		t.Errorf("got %v", err)
	}
	if err := l.SetFaults(nil); err != nil {
		t.Error(err)
	}
	if got := arrivals(t, l, 3, 3); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("arrived %v", got)
	}
	if len(l.Transits()) != 0 {
		t.Error("a wire has transits")
	}
	for _, e := range l.Events() {
		if e.Fate != "" {
			t.Errorf("a wire decides on fates: %q", e.Fate)
		}
	}
}

// Asymmetric delays are kept apart, and no packet is early: the link holds it for the
// whole delay.
func TestDelaysByDirection(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	ab, ba := 30*time.Millisecond, 5*time.Millisecond
	l := mustBuild(t, lab.Scenario{A: lab.Site{NAT: lab.NATNone}, B: lab.Site{NAT: lab.NATNone}, Link: lab.Link{AB: &ab, BA: &ba}})
	knock(t, l, l.A, portA, netip.AddrPortFrom(l.B.Public, portB))
	seen := map[lab.Direction]int{}
	for _, tr := range l.Transits() {
		want := ab
		if tr.Direction == lab.BA {
			want = ba
		}
		if took := tr.Left.Sub(tr.Entered); tr.Fate == Delivered && (took < want || took > want+time.Second) {
			t.Errorf("%s took %v, want %v", tr.Direction, took, want)
		}
		seen[tr.Direction]++
	}
	if seen[lab.AB] == 0 || seen[lab.BA] == 0 {
		t.Errorf("transits: %v", seen)
	}
}

// tcpPair connects A to a listener of B.
func tcpPair(t testing.TB, l *Lab) (a, b net.Conn) {
	t.Helper()
	var ln net.Listener
	err := l.B.Do(func() (err error) {
		ln, err = net.Listen("tcp", netip.AddrPortFrom(l.B.Addr, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port()
	if a, err = dial(t.Context(), l.A, 0, netip.AddrPortFrom(l.B.Public, port)); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// bulk sends n bytes each way and returns the hashes of what was sent and what
// came.
func bulk(t testing.TB, a, b net.Conn, n int64) (sent, came [2][]byte) {
	t.Helper()
	var wg sync.WaitGroup
	var hashes [2][2]hash.Hash
	for i, way := range [][2]net.Conn{{a, b}, {b, a}} {
		out, in := sha256.New(), sha256.New()
		wg.Go(func() {
			source := io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), n)
			if _, err := io.CopyBuffer(struct{ io.Writer }{way[0]}, io.TeeReader(source, out), make([]byte, 256<<10)); err != nil {
				t.Errorf("send: %v", err)
			}
			if err := way[0].(*net.TCPConn).CloseWrite(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := io.CopyBuffer(struct{ io.Writer }{in}, struct{ io.Reader }{way[1]}, make([]byte, 256<<10)); err != nil {
				t.Errorf("receive: %v", err)
			}
		})
		hashes[i] = [2]hash.Hash{out, in}
	}
	wg.Wait()
	for i, h := range hashes {
		sent[i], came[i] = h[0].Sum(nil), h[1].Sum(nil)
	}
	return sent, came
}

// 64 MiB each way arrive unchanged, in frames with segmentation offload and
// unfinished checksums.
func TestBulkIntegrity(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, test := range []struct {
		family, natA, natB string
		delay              time.Duration
	}{
		{lab.IP4, lab.NATLinux, lab.NATLinuxEIM, 5 * time.Millisecond},
		{lab.IP6, lab.NATFirewall, lab.NATNone, 5 * time.Millisecond},
		{lab.IP4, lab.NATLinux, lab.NATNone, 0},
	} {
		t.Run(fmt.Sprint(test.natA, "-", test.family, "-", test.delay), func(t *testing.T) {
			l := mustBuild(t, lab.Scenario{Family: test.family, A: lab.Site{NAT: test.natA}, B: lab.Site{NAT: test.natB}, Link: lab.Link{Delay: test.delay}})
			a, b := tcpPair(t, l)
			defer a.Close()
			defer b.Close()
			const n = 64 << 20
			sent, came := bulk(t, a, b, n)
			for i := range sent {
				if !slices.Equal(sent[i], came[i]) {
					t.Errorf("direction %d: %x was sent and %x came", i, sent[i], came[i])
				}
			}
			if test.delay == 0 {
				return
			}
			ab, ba := l.Counters()
			for _, c := range []Counters{ab, ba} {
				if c.Bytes < n || c.Bytes/c.TCP < 4*mtu {
					t.Errorf("%d bytes in %d frames: the link takes no large ones", c.Bytes, c.TCP)
				}
			}
			t.Logf("link: %+v %+v", ab, ba)
		})
	}
}

// The records are bounded, and half of them is kept for what opens and ends
// flows.
func TestRecordsAreBounded(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := both(lab.NATNone, time.Millisecond)
	l, err := Build(t.Context(), &s, &Config{Records: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, b := tcpPair(t, l)
	bulk(t, a, b, 4<<20)
	a.Close()
	b.Close()
	fins := 0
	await(t, "both FINs on the link", func() bool {
		fins = 0
		for _, tr := range l.Transits() {
			if seg, err := rawtcp.Parse(tr.Head); err == nil && seg.Flags&rawtcp.FIN != 0 {
				fins++
			}
		}
		return fins >= 2
	})
	if n := len(l.Transits()); n > 2*64 {
		t.Errorf("%d transits", n)
	}
	ab, ba := l.Counters()
	if got := uint64(len(l.Transits())) + ab.Unrecorded + ba.Unrecorded; got != ab.TCP+ba.TCP {
		t.Errorf("%d packets recorded or counted as not, of %d", got, ab.TCP+ba.TCP)
	}
	lanes := map[string]int{}
	for _, e := range l.Events() {
		lanes[e.Where]++
	}
	if lanes[LaneNATA] == 0 || lanes[LaneNATA] > 64 || lanes[LaneNATB] == 0 || lanes[LaneNATB] > 64 {
		t.Errorf("events: %v", lanes)
	}
}
