package rawtcp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCandidatesConfig(t *testing.T) {
	many := make([]uint16, MaxCandidates+1)
	for i := range many {
		many[i] = uint16(1000 + i)
	}
	noPort := netip.AddrPortFrom(endpointB.Addr(), 0)
	for _, tc := range []struct {
		name string
		edit func(*CandidatesConfig)
		want string // in the error; "" for none
	}{
		{"one", func(c *CandidatesConfig) {}, ""},
		{"several", func(c *CandidatesConfig) { c.RemotePorts = []uint16{1, 2} }, ""},
		{"the most", func(c *CandidatesConfig) { c.Remote, c.RemotePorts = noPort, many[1:] }, ""},
		{"none", func(c *CandidatesConfig) { c.Remote = noPort }, "no remote port"},
		{"too many", func(c *CandidatesConfig) { c.RemotePorts = many[1:] }, "65 remote ports, at most 64"},
		{"twice", func(c *CandidatesConfig) { c.RemotePorts = []uint16{1, 1} }, "port 1 is listed twice"},
		{"Remote's again", func(c *CandidatesConfig) { c.RemotePorts = []uint16{endpointB.Port()} }, "listed twice"},
		{"port 0", func(c *CandidatesConfig) { c.RemotePorts = []uint16{1, 0} }, "remote endpoint"},
		{"no address", func(c *CandidatesConfig) { c.Remote, c.RemotePorts = netip.AddrPort{}, []uint16{1} }, "remote endpoint"},
		{"window", func(c *CandidatesConfig) { c.Window = 1 }, "window 1"},
		{"early", func(c *CandidatesConfig) { c.Early = true }, "early"},
		{"ISN", func(c *CandidatesConfig) { c.ISN = 0 }, "ISN 0"},
		{"numbers", func(c *CandidatesConfig) { c.Numbers = func(netip.AddrPort) (Seq, uint32) { return 0, 0 } }, "ISN 0"},
	} {
		cfg := CandidatesConfig{HandshakeConfig: HandshakeConfig{Local: endpointA, Remote: endpointB, ISN: 1}}
		tc.edit(&cfg)
		c, err := NewCandidates(cfg)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "rawtcp: ")):
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		case err != nil && c != nil:
			t.Errorf("%s: Candidates with an error", tc.name)
		}
	}
}

// TestCandidatesShareRetries: with many wrong ports behind a NAT that answers RST,
// the SYNs stay few.
func TestCandidatesShareRetries(t *testing.T) {
	for _, tc := range []struct{ ports, retries, each int }{{1, 0, 64}, {2, 0, 32}, {63, 0, 4}, {63, 2, 2}, {3, -1, 0}, {4, 100, 25}} {
		var ports []uint16
		for i := range tc.ports {
			ports = append(ports, uint16(1+i))
		}
		c, err := NewCandidates(CandidatesConfig{
			HandshakeConfig: HandshakeConfig{Local: endpointA, Remote: netip.AddrPortFrom(endpointB.Addr(), 0), ISN: 1, Retries: tc.retries},
			RemotePorts:     ports,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.flows[0].hs.cfg.Retries; got != tc.each {
			t.Errorf("%+v: %d for each", tc, got)
		}
	}
}

// testCandidates is end A with ports 1, 2 and 3 of B, started.
func testCandidates(t *testing.T, edit func(*CandidatesConfig)) (*Candidates, []Segment) {
	t.Helper()
	cfg := CandidatesConfig{
		HandshakeConfig: HandshakeConfig{Local: endpointA, Remote: netip.AddrPortFrom(endpointB.Addr(), 1), ISN: 1000, TSBase: 50},
		RemotePorts:     []uint16{2, 3}, LearnPort: true,
	}
	if edit != nil {
		edit(&cfg)
	}
	c, err := NewCandidates(cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := c.SYNs(nil)
	out := c.Start(testEpoch, nil)
	if len(out) != len(want) || c.State() != SynSent {
		t.Fatalf("Start sent %d segments, SYNs has %d; %v", len(out), len(want), c.State())
	}
	for i := range out {
		if out[i].String() != want[i].String() {
			t.Errorf("sent %v, SYNs has %v", &out[i], &want[i])
		}
	}
	return c, out
}

// fromPort is a segment of the peer's.
func fromPort(port uint16, f Flags, seq, ack Seq) *Segment {
	return &Segment{Src: netip.AddrPortFrom(endpointB.Addr(), port), Dst: endpointA, Flags: f, Seq: seq, Ack: ack, Window: 64240}
}

// TestCandidatesLearn: a SYN from a port that is not listed is answered with one
// SYN-ACK and no SYN, and the peer's ACK completes an ordinary open.
func TestCandidatesLearn(t *testing.T) {
	c, _ := testCandidates(t, nil)
	now := testEpoch.Add(30 * time.Millisecond)
	out := c.Receive(now, fromPort(777, SYN, 5000, 0), nil)
	if len(out) != 1 || out[0].Flags != SYN|ACK || out[0].Ack != 5001 || out[0].Dst.Port() != 777 || c.State() != SynReceived {
		t.Fatalf("sent %v; %v", out, c.State())
	}
	listed, learned := c.Ports()
	if !slices.Equal(listed, []uint16{1, 2, 3}) || !slices.Equal(learned, []uint16{777}) {
		t.Errorf("ports %v and %v", listed, learned)
	}
	isn := out[0].Seq
	if again := c.Receive(now, fromPort(777, SYN, 5000, 0), nil); len(again) != 1 || again[0].Seq != isn {
		t.Errorf("the SYN again: sent %v", again)
	}
	out = c.Receive(now, fromPort(777, ACK, 5001, isn+1), out[:0])
	remote, isLearned := c.Remote()
	if c.State() != Established || !c.Ready() || c.Simultaneous() || remote.Port() != 777 || !isLearned {
		t.Fatalf("%v, simultaneous %v, %v learned %v", c.State(), c.Simultaneous(), remote, isLearned)
	}
	if tr := c.Transfer(now); tr.Remote != remote || tr.ISN != isn || tr.RcvNxt != 5001 || tr.Simultaneous {
		t.Errorf("%+v", tr)
	}
	if n := c.Counters(); n.SYNs != 3 || n.SYNACKs != 2 {
		t.Errorf("%+v", n)
	}
	if _, ok := c.Deadline(); ok {
		t.Error("a deadline in ESTABLISHED")
	}
	// What losers get now is silence.
	for _, s := range []*Segment{fromPort(1, SYN, 9, 0), fromPort(2, SYN|ACK, 9, 1), fromPort(888, SYN, 9, 0), fromPort(1, RST, 9, 0)} {
		if out = c.Receive(now, s, out[:0]); len(out) != 0 || c.State() != Established {
			t.Errorf("after %v: sent %v, %v", s, out, c.State())
		}
	}
}

// TestCandidatesIgnore: what does not make a candidate.
func TestCandidatesIgnore(t *testing.T) {
	c, _ := testCandidates(t, nil)
	other := fromPort(777, SYN, 1, 0)
	other.Src = netip.AddrPortFrom(endpointB.Addr().Next(), 777)
	wrong := fromPort(777, SYN, 1, 0)
	wrong.Dst = netip.AddrPortFrom(endpointA.Addr(), 1)
	for _, s := range []*Segment{
		other, wrong, fromPort(777, SYN|ACK, 1, 1001), fromPort(777, ACK, 1, 1001), fromPort(777, RST, 1, 0), fromPort(777, SYN|FIN, 1, 0), fromPort(0, SYN, 1, 0),
	} {
		if out := c.Receive(testEpoch, s, nil); len(out) != 0 || c.State() != SynSent {
			t.Errorf("%v: sent %v, %v", s, out, c.State())
		}
	}
	if n := c.Counters(); n.Dropped != 7 {
		t.Errorf("%+v", n)
	}
	strict, _ := testCandidates(t, func(cfg *CandidatesConfig) { cfg.LearnPort = false })
	if out := strict.Receive(testEpoch, fromPort(777, SYN, 1, 0), nil); len(out) != 0 {
		t.Errorf("without LearnPort: sent %v", out)
	}
	// A flood of SYNs takes no more memory than it may, and the listed ports still win.
	for port := range uint16(1000) {
		c.Receive(testEpoch, fromPort(2000+port, SYN, 1, 0), nil)
	}
	if _, learned := c.Ports(); len(learned) != MaxCandidates {
		t.Errorf("%d ports learned", len(learned))
	}
	if c.Receive(testEpoch, fromPort(1, SYN|ACK, 7, 1001), nil); c.State() != Established {
		t.Errorf("%v after a flood", c.State())
	}
}

// TestCandidatesLeader: of two ends that know both of two flows to work, the one with
// the larger window takes the first, and the other waits for its ACK.
func TestCandidatesLeader(t *testing.T) {
	for _, tc := range []struct {
		window int // the peer's, relative to ours
		leads  bool
	}{{-2, true}, {-1, true}, {1, true}, {0, false}, {2, false}} {
		c, syns := testCandidates(t, nil)
		s := fromPort(2, SYN|ACK, 7000, syns[1].Seq+1)
		s.Window = uint16(int(c.window) + tc.window)
		out := c.Receive(testEpoch, s, nil)
		if tc.leads {
			if c.State() != Established || len(out) != 1 || out[0].Flags != ACK {
				t.Errorf("window %+d: %v, sent %v", tc.window, c.State(), out)
			}
			continue
		}
		if c.State() != SynReceived || len(out) != 1 || out[0].Flags != SYN|ACK || out[0].Ack != 7001 {
			t.Fatalf("window %+d: %v, sent %v", tc.window, c.State(), out)
		}
		if out = c.Receive(testEpoch, s, out[:0]); len(out) != 0 {
			t.Errorf("window %+d: the same again: sent %v", tc.window, out)
		}
		if c.Receive(testEpoch, fromPort(2, ACK, 7001, syns[1].Seq+1), nil); c.State() != Established {
			t.Errorf("window %+d: %v after the ACK", tc.window, c.State())
		}
	}
}

// TestCandidatesEnd: how an attempt without a winner ends.
func TestCandidatesEnd(t *testing.T) {
	c, _ := testCandidates(t, nil)
	out := c.Receive(testEpoch, fromPort(2, SYN, 7, 0), nil)
	out = c.Tick(testEpoch.Add(time.Hour), out[:0])
	if c.State() != Failed || !errors.Is(c.Err(), ErrTimeout) || len(out) != 1 || out[0].Flags != RST || out[0].Dst.Port() != 2 {
		t.Errorf("time is up: %v (%v), sent %v", c.State(), c.Err(), out)
	}

	c, _ = testCandidates(t, nil)
	c.Receive(testEpoch, fromPort(2, SYN, 7, 0), nil)
	out = c.Abort(testEpoch, out[:0])
	if c.State() != Closed || !errors.Is(c.Err(), ErrAborted) || len(out) != 1 || out[0].Dst.Port() != 2 {
		t.Errorf("aborted: %v (%v), sent %v", c.State(), c.Err(), out)
	}
	if out = c.Start(testEpoch, out[:0]); len(out) != 0 {
		t.Errorf("Start after Abort sent %v", out)
	}

	c, syns := testCandidates(t, func(cfg *CandidatesConfig) { cfg.OnReset, cfg.OnICMP = PolicyFail, PolicyFail })
	for i, syn := range syns[:2] {
		c.Receive(testEpoch, fromPort(syn.Dst.Port(), RST|ACK, 0, syn.Seq+1), nil)
		if c.State() != SynSent {
			t.Errorf("%v after %d of 3 were refused", c.State(), i+1)
		}
	}
	c.ReceiveICMP(testEpoch, &ICMPError{Type: icmpUnreachable, Code: 1, Src: endpointA, Dst: syns[2].Dst, Seq: syns[2].Seq}, nil)
	if c.State() != Failed || !errors.Is(c.Err(), ErrUnreachable) {
		t.Errorf("all refused: %v (%v)", c.State(), c.Err())
	}
	if n := c.Counters(); n.RSTs != 2 || n.ICMPs != 1 {
		t.Errorf("%+v", n)
	}

	c, _ = testCandidates(t, nil)
	c.Receive(testEpoch, fromPort(1, SYN|ACK, 7, 1001), nil)
	c.Receive(testEpoch, fromPort(1, RST, 8, 0), nil)
	if c.State() != Failed || !errors.Is(c.Err(), ErrPeerClosed) {
		t.Errorf("the winner was reset: %v (%v)", c.State(), c.Err())
	}
}

// TestCandidatesStockPeers: the right one of several ports, or a learned one, leads to a
// kernel with one connect(), old and new, and its data arrives. A kernel whose window looks
// like that of Candidates which lead is waited for until it answers our second SYN-ACK.
func TestCandidatesStockPeers(t *testing.T) {
	for _, before2024 := range []bool{false, true} {
		for _, learn := range []bool{false, true} {
			for _, window := range []uint16{64240, 65533} {
				for skew := -60 * time.Millisecond; skew <= 60*time.Millisecond; skew += 10 * time.Millisecond {
					ports := []uint16{6000, 5000, 7000}
					if learn {
						ports = ports[:1]
					}
					if err := meetStock(ports, learn, skew, stockConfig{Before2024: before2024, Window: window}); err != nil {
						t.Fatalf("before 2024 %v, learn %v, window %d, skew %v: %v", before2024, learn, window, skew, err)
					}
				}
			}
		}
	}
}

// meetStock lets Candidates behind a NAT with an open filter meet a stock peer, whose NAT
// gives it port 5000.
func meetStock(ports []uint16, learn bool, skew time.Duration, cfg stockConfig) error {
	payload := scriptData(0, 3000)
	c, err := candidatesAt(0, 1000, ports, learn)
	if err != nil {
		return err
	}
	cfg.Local, cfg.Remote, cfg.ISN, cfg.Send = endpointB, endpointA, 77, payload
	peer := newStockTCP(cfg)
	n := &flowNet{
		ends: [2]end{c, peer}, local: [2]netip.AddrPort{endpointA, endpointB},
		nats:  [2]*portNAT{{base: endpointA.Port(), one: true, open: true}, {base: 5000, one: true}},
		start: [2]time.Duration{max(-skew, 0), max(skew, 0)}, delay: 20 * time.Millisecond, trace: new(strings.Builder),
	}
	n.run(time.Minute)
	remote, learned := c.Remote()
	if c.State() != Established || remote.Port() != 5000 || learned != learn || !peer.delivered() || !bytes.Equal(c.Transfer(n.now).Data, payload) {
		return fmt.Errorf("%v (%v) with %v, %v\n%s", c.State(), c.Err(), remote, peer, n.trace)
	}
	if limit := skew.Abs() + 2*time.Second; n.up > limit {
		return fmt.Errorf("established after %v\n%s", n.up, n.trace)
	}
	return nil
}

// TestCandidatesResetNATs lets two ends with eight ports each, seven of them wrong, meet
// through NATs that answer unasked SYNs with a reset, inside the window of crossing
// and outside.
func TestCandidatesResetNATs(t *testing.T) {
	wrong := []uint16{101, 102, 103, 104, 105, 106, 107}
	var worst time.Duration
	most := 0
	for skew := -150 * time.Millisecond; skew <= 150*time.Millisecond; skew += time.Millisecond {
		nat := func(port uint16) *portNAT { return &portNAT{base: port, one: true, resets: true} }
		n := &flowNet{
			local: [2]netip.AddrPort{endpointA, endpointB}, nats: [2]*portNAT{nat(5000), nat(6000)},
			start: [2]time.Duration{max(-skew, 0), max(skew, 0)}, delay: 20 * time.Millisecond, trace: new(strings.Builder),
		}
		a, err := candidatesAt(0, 1000, append(wrong[:3:3], 6000, 104, 105, 106, 107), false)
		if err != nil {
			t.Fatal(err)
		}
		b, err := candidatesAt(1, Seq(900_000+skew/time.Microsecond), append(wrong[:6:6], 5000, 107), true)
		if err != nil {
			t.Fatal(err)
		}
		n.ends = [2]end{a, b}
		n.run(time.Minute)
		if a.State() != Established || b.State() != Established {
			t.Fatalf("skew %v: %v and %v\n%s", skew, a.Err(), b.Err(), n.trace)
		}
		most = max(most, a.Counters().Resends, b.Counters().Resends)
		worst = max(worst, n.up-skew.Abs())
	}
	if most > DefaultRetries {
		t.Errorf("%d SYNs sent again", most)
	}
	t.Logf("established %v after the later SYN at the latest, %d SYNs sent again at most", worst, most)
}

// TestCandidatesAllocations: Reset and a whole crossing of four flows take no memory.
func TestCandidatesAllocations(t *testing.T) {
	a, b := new(Candidates), new(Candidates)
	buf := make([]Segment, 96)
	ports := []uint16{1, 2, 3, 4}
	allocs := testing.AllocsPerRun(100, func() { crossCandidates(t, a, b, ports, buf) })
	if allocs != 0 || a.State() != Established || b.State() != Established {
		t.Errorf("%v allocations, %v and %v", allocs, a.State(), b.State())
	}
}

// crossCandidates opens a connection between two ends whose flows all cross, port 1
// with port 1 and so on.
func crossCandidates(tb testing.TB, a, b *Candidates, ports []uint16, buf []Segment) {
	cfg := CandidatesConfig{HandshakeConfig: HandshakeConfig{Local: endpointA, Remote: netip.AddrPortFrom(endpointB.Addr(), 0), ISN: 1000}, RemotePorts: ports}
	if err := a.Reset(cfg); err != nil {
		tb.Fatal(err)
	}
	cfg.Local, cfg.Remote, cfg.ISN = endpointB, netip.AddrPortFrom(endpointA.Addr(), 0), 9000
	if err := b.Reset(cfg); err != nil {
		tb.Fatal(err)
	}
	now, third := testEpoch, len(buf)/3
	fromA, fromB, next := a.Start(now, buf[0:0:third]), b.Start(now, buf[third:third:2*third]), buf[2*third:2*third]
	translate := func(s *Segment, to netip.AddrPort) *Segment {
		s.Src, s.Dst = netip.AddrPortFrom(s.Src.Addr(), s.Dst.Port()), to
		return s
	}
	for len(fromA)+len(fromB) > 0 {
		now = now.Add(20 * time.Millisecond)
		next = next[:0]
		for i := range fromB {
			next = a.Receive(now, translate(&fromB[i], endpointA), next)
		}
		fromB = fromB[:0]
		for i := range fromA {
			fromB = b.Receive(now, translate(&fromA[i], endpointB), fromB)
		}
		fromA, next = next, fromA
	}
	if a.State() != Established || b.State() != Established {
		tb.Fatalf("%v and %v", a.State(), b.State())
	}
}

// BenchmarkCandidates is two machines and a whole crossing of 1, 8 and 64 flows.
func BenchmarkCandidates(b *testing.B) {
	for name, n := range map[string]int{"1": 1, "8": 8, "64": 64} {
		ports := make([]uint16, n)
		for i := range ports {
			ports[i] = uint16(1 + i)
		}
		buf := make([]Segment, 3*(n+8))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			x, y := new(Candidates), new(Candidates)
			for b.Loop() {
				crossCandidates(b, x, y, ports, buf)
			}
		})
	}
}
