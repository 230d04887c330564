package nat

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

func at(a netip.AddrPort, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), port) }

// ports maps n endpoints with ports from first on and returns the external ports.
func (w *world) ports(first uint16, n int) []uint16 {
	w.t.Helper()
	var list []uint16
	for i := range n {
		list = append(list, w.syn(at(hostA, first+uint16(i)), remote1).Port())
	}
	return list
}

func TestAllocation(t *testing.T) {
	quiet := Behaviour{Unsolicited: UnsolicitedDrop}
	with := func(change func(*Behaviour)) Behaviour { return like(quiet, change) }
	for _, test := range []struct {
		name string
		b    Behaviour
		from uint16
		want []uint16
	}{
		{"preserving", quiet, 5000, []uint16{5000, 5001, 5002}},
		{"preserving well-known", with(func(b *Behaviour) { b.WellKnown = true }), 80, []uint16{80, 81}},
		{"offset", with(func(b *Behaviour) { b.Allocation, b.Offset = Offset, 1000 }), 5000, []uint16{6000, 6001}},
		{"offset down, wrapping", with(func(b *Behaviour) { b.Allocation, b.Offset = Offset, -1000 }), 2023, []uint16{65535, 1024}},
		{"sequential", with(func(b *Behaviour) { b.Allocation, b.Start = Sequential, 7000 }), 5000, []uint16{7000, 7001, 7002}},
		{"sequential by two", with(func(b *Behaviour) { b.Allocation, b.Start, b.Delta = Sequential, 7000, 2 }), 5000, []uint16{7000, 7002, 7004}},
		{"sequential down", with(func(b *Behaviour) { b.Allocation, b.Start, b.Delta = Sequential, 7000, -3 }), 5000, []uint16{7000, 6997, 6994}},
		{"sequential wraps", with(func(b *Behaviour) { b.Allocation, b.Start, b.Ports = Sequential, 7001, PortRange{7000, 7002} }), 5000, []uint16{7001, 7002, 7000}},
		{"sequential keeps parity", with(func(b *Behaviour) { b.Allocation, b.Start, b.Parity = Sequential, 7000, ParityKeep }), 5001, []uint16{7001, 7002, 7003}},
		{"even ports only", with(func(b *Behaviour) { b.Allocation, b.Start, b.Parity = Sequential, 7001, ParityEven }), 5000, []uint16{7002, 7004, 7006}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := newWorld(t, test.b).ports(test.from, len(test.want)); !equal(got, test.want) {
				t.Errorf("ports %v, want %v", got, test.want)
			}
		})
	}
}

func equal(a, b []uint16) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestCollision(t *testing.T) {
	for _, test := range []struct {
		c    Collision
		want func(second, third uint16) bool
	}{
		{CollisionNext, func(second, third uint16) bool { return second == 5001 && third == 5002 }},
		{CollisionRandom, func(second, third uint16) bool { return second != 5000 && third != 5000 && second != third }},
		{CollisionOverload, func(second, third uint16) bool { return second == 5000 && third != 5000 }},
		{CollisionFirst, func(second, third uint16) bool { return second == 1024 && third == 1025 }},
	} {
		w := newWorld(t, Behaviour{Collision: test.c, Filtering: APDF, Unsolicited: UnsolicitedDrop})
		w.syn(hostA, remote1)
		second, third := w.syn(hostB, remote2).Port(), w.syn(netip.MustParseAddrPort("10.0.0.4:5000"), remote1).Port()
		if !test.want(second, third) {
			t.Errorf("%v: ports %d and %d", test.c, second, third)
		}
	}
}

func TestCounters(t *testing.T) {
	b := Behaviour{Mapping: APDM, Filtering: APDF, Allocation: Sequential, Unsolicited: UnsolicitedDrop}
	for _, c := range []Counter{CounterGlobal, CounterHost, CounterDestination} {
		b.Counter = c
		w := newWorld(t, b)
		first := w.syn(hostA, remote1).Port()
		w.syn(hostB, remote1)
		w.syn(hostA, remote3)
		between := map[Counter]uint16{CounterGlobal: 3, CounterHost: 2, CounterDestination: 1}[c]
		if got := w.syn(hostA, remote2).Port(); got != first+between {
			t.Errorf("%v: %d after %d, want %d more", c, got, first, between)
		}
	}
}

func TestClock(t *testing.T) {
	w := newWorld(t, Behaviour{Allocation: Clock, ClockRate: 10, Start: 2000, Unsolicited: UnsolicitedDrop})
	w.syn(hostA, remote1)
	w.wait(2500 * time.Millisecond)
	if got := w.syn(hostB, remote1).Port(); got != 2025 {
		t.Errorf("port %d after 2.5 s, want 2025", got)
	}
}

func TestBlocksArePrivate(t *testing.T) {
	w := newWorld(t, Behaviour{Allocation: Block, BlockSize: 4, Blocks: 2, BlockOrder: OrderSequential, Ports: PortRange{4000, 4015}, Unsolicited: UnsolicitedDrop})
	if got := w.ports(5000, 5); !equal(got, []uint16{4000, 4001, 4002, 4003, 4004}) {
		t.Errorf("ports %v", got)
	}
	if got := w.syn(hostB, remote1).Port(); got != 4008 {
		t.Errorf("the other host's first port is %d, want 4008", got)
	}
	w.ports(6000, 3)
	w.none(w.out(segment(at(hostA, 7000), remote1, rawtcp.SYN)), NoPort)
}

// The seed's CGN section: two subscribers, the same port, one public endpoint.
func TestOverloadingKeepsFlowsApart(t *testing.T) {
	w := newWorld(t, Behaviour{Filtering: APDF, Collision: CollisionOverload, Unsolicited: UnsolicitedDrop})
	a, b := w.syn(hostA, remote1), w.syn(hostB, remote2)
	if a != b {
		t.Fatalf("%v and %v", a, b)
	}
	for remote, host := range map[netip.AddrPort]netip.AddrPort{remote1: hostA, remote2: hostB} {
		s := segment(remote, a, rawtcp.SYN)
		if got := w.one(w.in(s), Inside); got.Dst != host {
			t.Errorf("from %v to %v, want %v", remote, got.Dst, host)
		}
	}
	if c := w.syn(hostB, remote1); c == a {
		t.Errorf("two flows on one 5-tuple: %v", c)
	}
}

func TestPooling(t *testing.T) {
	w := newWorld(t, Behaviour{Unsolicited: UnsolicitedDrop}, public, public2)
	a := w.syn(hostA, remote1).Addr()
	if b := w.syn(hostB, remote1).Addr(); a == b {
		t.Error("two hosts got one of two addresses")
	}
	for i := range uint16(20) {
		if got := w.syn(at(hostA, 6000+i), remote1).Addr(); got != a {
			t.Fatalf("paired, and yet %v after %v", got, a)
		}
	}
	w = newWorld(t, Behaviour{Pooling: Arbitrary, Unsolicited: UnsolicitedDrop}, public, public2)
	seen := map[netip.Addr]bool{}
	for i := range uint16(20) {
		seen[w.syn(at(hostA, 6000+i), remote1).Addr()] = true
	}
	if len(seen) != 2 {
		t.Errorf("arbitrary, and yet only %v", seen)
	}
}

func TestUnsolicitedSYN(t *testing.T) {
	to := netip.AddrPortFrom(public, 5000)
	for _, test := range []struct {
		u    Unsolicited
		icmp string
	}{{UnsolicitedPort, "port unreachable"}, {UnsolicitedHost, "host unreachable"}, {UnsolicitedAdmin, "admin prohibited"}} {
		w := newWorld(t, Behaviour{Unsolicited: test.u})
		e := w.icmp(w.in(segment(remote1, to, rawtcp.SYN)), Outside)
		if e.What() != test.icmp || e.From != public || e.Src != remote1 || e.Dst != to {
			t.Errorf("%v: %v about %v to %v", test.u, e, e.Src, e.Dst)
		}
	}
	w := newWorld(t, Behaviour{Unsolicited: UnsolicitedRST})
	if s := w.one(w.in(segment(remote1, to, rawtcp.SYN)), Outside); s.Flags != rawtcp.RST|rawtcp.ACK || s.Ack != 101 || s.Src != to || s.Dst != remote1 {
		t.Errorf("answer %v", &s)
	}
	w.none(w.in(segment(remote1, to, rawtcp.ACK)), NoMapping)

	w = newWorld(t, Behaviour{Filtering: APDF, Unsolicited: UnsolicitedBlacklist, Blacklist: time.Minute})
	ext := w.syn(hostA, remote1)
	w.none(w.in(segment(remote1, at(to, 99), rawtcp.SYN)), NoMapping)
	w.none(w.in(segment(remote1, ext, rawtcp.SYN)), Blacklisted)
	w.wait(time.Minute)
	w.one(w.in(segment(remote1, ext, rawtcp.SYN)), Inside)
}

// TestAnswerDelay: the answer is that without the delay, as many as there are packets, and
// the host's own SYN does not stop it.
func TestAnswerDelay(t *testing.T) {
	to, d := netip.AddrPortFrom(public, 5000), 3*time.Millisecond
	for _, u := range []Unsolicited{UnsolicitedRST, UnsolicitedPort, UnsolicitedHost, UnsolicitedAdmin} {
		at := newWorld(t, Behaviour{Filtering: APDF, Unsolicited: u, UnsolicitedAny: true})
		w := newWorld(t, Behaviour{Filtering: APDF, Unsolicited: u, UnsolicitedAny: true, AnswerDelay: d})
		for _, s := range []rawtcp.Segment{segment(remote1, to, rawtcp.SYN), segment(remote1, to, rawtcp.SYN), segment(remote2, to, rawtcp.ACK)} {
			want := at.in(s)
			w.none(w.in(s), NoMapping)
			w.syn(hostA, remote1)
			if due, ok := w.nat.Deadline(); !ok || due != w.now.Add(d) {
				t.Fatalf("%v: due at %v, %v", u, due, ok)
			}
			w.wait(d - 1)
			if out := w.nat.Tick(w.now, nil); len(out) != 0 {
				t.Fatalf("%v: too early: %v", u, out)
			}
			w.wait(1)
			if got := w.nat.Tick(w.now, nil); len(want) != 1 || len(got) != 1 || got[0].To != Outside || !bytes.Equal(got[0].Data, want[0].Data) {
				t.Fatalf("%v: %v, without the delay %v", u, got, want)
			}
			w.nat.Reset(1)
		}
		if _, ok := w.nat.Deadline(); ok {
			t.Errorf("%v: something is still due", u)
		}
	}
	w := newWorld(t, Behaviour{Unsolicited: UnsolicitedRST, UnsolicitedAny: true, AnswerDelay: d})
	w.none(w.in(segment(remote1, to, rawtcp.RST)), NoMapping)
	if _, ok := w.nat.Deadline(); ok {
		t.Error("an RST gets an RST")
	}
}

// TestEffective: what is zero is named, and a NAT does the same.
func TestEffective(t *testing.T) {
	got := Behaviour{}.Effective()
	if want := (Behaviour{UnsolicitedWait: 6 * time.Second, Blacklist: time.Minute, Delta: 1, BlockSize: 512, Blocks: 1, ClockRate: 1, Ports: PortRange{1024, 65535}}); got != want {
		t.Errorf("%+v", got)
	}
	if got.Effective() != got {
		t.Error("a second time changes something")
	}
	if b := (Behaviour{Delta: -2, BlockSize: 8, Ports: PortRange{5, 6}}).Effective(); b.Delta != -2 || b.BlockSize != 8 || b.Ports != (PortRange{5, 6}) {
		t.Errorf("%+v", b)
	}
}

func TestSixSeconds(t *testing.T) {
	to := netip.AddrPortFrom(public, 5000)
	w := newWorld(t, preset(t, "six-seconds"))
	w.none(w.in(segment(remote1, to, rawtcp.SYN)), NoMapping)
	due, ok := w.nat.Deadline()
	if !ok || due.Sub(w.now) != 6*time.Second {
		t.Fatalf("deadline %v, %v", due, ok)
	}
	if out := w.nat.Tick(due.Add(-1), nil); len(out) != 0 {
		t.Error("too early")
	}
	if e := w.icmp(w.check(w.nat.Tick(due, nil)), Outside); e.What() != "port unreachable" || e.Src != remote1 {
		t.Errorf("%v", e)
	}
	if _, ok := w.nat.Deadline(); ok {
		t.Error("a deadline is left")
	}
	// REQ-4a: an outbound SYN meanwhile.
	w.in(segment(remote1, to, rawtcp.SYN))
	w.syn(hostA, remote1)
	if _, ok := w.nat.Deadline(); ok {
		t.Error("the outbound SYN did not cancel the error")
	}
}

func TestCrossingKnobs(t *testing.T) {
	cross := func(b Behaviour) (*world, netip.AddrPort, []Packet) {
		b.Filtering, b.Unsolicited = APDF, UnsolicitedDrop
		w := newWorld(t, b)
		ext := w.syn(hostA, remote1)
		return w, ext, w.in(segment(remote1, ext, rawtcp.SYN))
	}
	w, _, out := cross(Behaviour{InboundSYN: InboundSYNDrop})
	w.none(out, CrossingSYN)
	w, ext, out := cross(Behaviour{InboundSYN: InboundSYNReset})
	if s := w.one(out, Outside); s.Flags&rawtcp.RST == 0 || s.Src != ext {
		t.Errorf("answer %v", &s)
	}
	synack := segment(hostA, remote1, rawtcp.SYN|rawtcp.ACK)
	w, ext, out = cross(Behaviour{})
	w.one(out, Inside)
	if s := w.one(w.out(synack), Outside); s.Src != ext {
		t.Errorf("SYN-ACK from %v, want %v", s.Src, ext)
	}
	w, _, _ = cross(Behaviour{OutboundSYNACK: SYNACKDrop})
	w.none(w.out(synack), CrossingSYNACK)
	w, ext, _ = cross(Behaviour{OutboundSYNACK: SYNACKNew})
	s := w.one(w.out(synack), Outside)
	if s.Src == ext {
		t.Errorf("SYN-ACK from the same %v", ext)
	}
	if again := w.one(w.out(synack), Outside); again.Src != s.Src {
		t.Errorf("its repetition from %v, want %v", again.Src, s.Src)
	}
}

func TestReactions(t *testing.T) {
	rst := func(w *world, ext netip.AddrPort) { w.in(segment(remote1, ext, rawtcp.RST)) }
	ttl := func(w *world, ext netip.AddrPort) {
		b := icmpAboutSegment(t, w, ext, 11)
		w.check(w.nat.Inbound(w.now, b, nil))
	}
	host := func(w *world, ext netip.AddrPort) {
		w.check(w.nat.Inbound(w.now, icmpAboutSegment(t, w, ext, 3), nil))
	}
	for _, test := range []struct {
		name  string
		b     Behaviour
		event func(*world, netip.AddrPort)
		at    time.Duration // when it is looked
		alive bool
	}{
		{"rst kept", Behaviour{}, rst, time.Minute, true},
		{"rst kept until the closing time", Behaviour{}, rst, 4 * time.Minute, false},
		{"rst closes", Behaviour{RSTIn: Reaction{Close: true}}, rst, 0, false},
		{"rst closes later", Behaviour{RSTIn: Reaction{true, 10 * time.Second}}, rst, 9 * time.Second, true},
		{"rst closes later", Behaviour{RSTIn: Reaction{true, 10 * time.Second}}, rst, 10 * time.Second, false},
		{"icmp kept", Behaviour{}, host, 0, true},
		{"icmp closes", Behaviour{ICMPIn: Reaction{Close: true}}, host, 0, false},
		{"icmp closes, not ttl exceeded", Behaviour{ICMPIn: Reaction{Close: true}}, ttl, 0, true},
		{"ttl exceeded closes", Behaviour{TTLExceeded: Reaction{Close: true}}, ttl, 0, false},
	} {
		test.b.Filtering, test.b.Unsolicited = APDF, UnsolicitedDrop
		w := newWorld(t, test.b)
		ext := w.syn(hostA, remote1)
		test.event(w, ext)
		w.wait(test.at)
		if got := len(w.in(segment(remote1, ext, rawtcp.SYN|rawtcp.ACK))) == 1; got != test.alive {
			t.Errorf("%s: alive %v", test.name, got)
		}
	}
}

// icmpAboutSegment is an ICMP error of a router outside about a SYN of the flow of ext.
func icmpAboutSegment(t testing.TB, w *world, ext netip.AddrPort, typ uint8) []byte {
	t.Helper()
	syn := bytesOf(t, segment(ext, remote1, rawtcp.SYN))
	b := make([]byte, 28+len(syn))
	b[0], b[3], b[8], b[9] = 0x45, uint8(len(b)), 64, protoICMP
	copy(b[12:16], []byte{192, 0, 2, 77})
	copy(b[16:20], syn[12:16])
	c := ^fold(sum(0, b[:20]))
	b[10], b[11] = uint8(c>>8), uint8(c)
	b[20] = typ
	copy(b[28:], syn)
	p := view{b: b, off: 20}
	p.sealICMP()
	return b
}

func TestICMPIsTranslated(t *testing.T) {
	w := newWorld(t, preset(t, "rewriting"))
	out := w.out(segment(hostA, remote1, rawtcp.SYN))
	s := w.one(out, Outside)
	about := append([]byte(nil), out[0].Data...)
	b := icmpAboutSegment(t, w, s.Src, 11)
	copy(b[28:], about)
	p := view{b: b, off: 20}
	p.sealICMP()
	e := w.icmp(w.check(w.nat.Inbound(w.now, b, nil)), Inside)
	if e.Src != hostA || e.Dst != remote1 || e.Seq != 100 || e.From.String() != "192.0.2.77" {
		t.Errorf("%v about %v to %v, seq %d", e, e.Src, e.Dst, e.Seq)
	}
	if err := rawtcp.VerifyChecksums(b[28:]); err != nil { // changed in place; one hop was taken off about before
		t.Errorf("the quoted segment: %v", err)
	}
	w = newWorld(t, like(preset(t, "eim"), func(b *Behaviour) { b.DropICMP = true }))
	ext := w.syn(hostA, remote1)
	w.none(w.nat.Inbound(w.now, icmpAboutSegment(t, w, ext, 3), nil), NotTranslated)
}

func TestTimers(t *testing.T) {
	for _, test := range []struct {
		establish bool
		life      time.Duration
	}{{false, 4 * time.Minute}, {true, 2*time.Hour + 4*time.Minute}} {
		w := newWorld(t, preset(t, "eim"))
		ext := netip.AddrPort{}
		if test.establish {
			ext = w.establish(hostA, remote1)
		} else {
			ext = w.syn(hostA, remote1)
		}
		w.wait(test.life - 1)
		w.one(w.in(segment(remote1, ext, rawtcp.ACK)), Inside) // and lives on
		w.wait(test.life - 1)
		w.one(w.in(segment(remote1, ext, rawtcp.ACK)), Inside)
		w.wait(test.life)
		w.none(w.in(segment(remote1, ext, rawtcp.ACK)), NoMapping)
		if c := w.nat.Counters(); c.Flows != 0 || c.Mappings != 0 || c.FlowsMade != 1 {
			t.Errorf("%+v", c)
		}
	}
}

func TestHoldDown(t *testing.T) {
	w := newWorld(t, Behaviour{Collision: CollisionNext, HoldDown: 2 * time.Minute, Transitory: time.Second, Unsolicited: UnsolicitedDrop})
	w.syn(hostA, remote1)
	w.wait(time.Second)
	if got := w.syn(hostB, remote1).Port(); got != 5001 {
		t.Errorf("port %d during the hold-down", got)
	}
	w.wait(2 * time.Minute)
	if got := w.syn(hostB, remote1).Port(); got != 5000 {
		t.Errorf("port %d after it", got)
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t, Behaviour{MaxMappings: 2, Full: FullICMP, Unsolicited: UnsolicitedDrop})
	w.ports(5000, 2)
	e := w.icmp(w.out(segment(at(hostA, 6000), remote1, rawtcp.SYN)), Inside)
	if e.What() != "host unreachable" || e.From != gateway || e.Src != at(hostA, 6000) {
		t.Errorf("%v about %v", e, e.Src)
	}
	w.syn(hostB, remote1)

	w = newWorld(t, Behaviour{SYNRate: 4, Unsolicited: UnsolicitedDrop})
	w.ports(5000, 4)
	w.none(w.out(segment(at(hostA, 6000), remote1, rawtcp.SYN)), OverQuota)
	w.wait(250 * time.Millisecond)
	w.syn(at(hostA, 6000), remote1)
	w.none(w.out(segment(at(hostA, 6001), remote1, rawtcp.SYN)), OverQuota)

	w = newWorld(t, Behaviour{MaxFlows: 1, Unsolicited: UnsolicitedDrop})
	w.syn(hostA, remote1)
	w.none(w.out(segment(hostA, remote2, rawtcp.SYN)), OverQuota)
}

func TestHairpinning(t *testing.T) {
	for _, test := range []struct {
		h    Hairpinning
		from func(ext netip.AddrPort) netip.AddrPort
	}{
		{HairpinExternal, func(ext netip.AddrPort) netip.AddrPort { return ext }},
		{HairpinInternal, func(netip.AddrPort) netip.AddrPort { return hostA }},
	} {
		w := newWorld(t, Behaviour{Hairpinning: test.h, Collision: CollisionNext, Unsolicited: UnsolicitedRST})
		extB := w.syn(hostB, remote1)
		extA := w.syn(hostA, remote2)
		s := w.one(w.out(segment(hostA, extB, rawtcp.SYN)), Inside)
		if s.Dst != hostB || s.Src != test.from(extA) || s.TTL != 63 {
			t.Errorf("%v: %v", test.h, &s)
		}
		if test.h == HairpinExternal {
			if s := w.one(w.out(segment(hostB, extA, rawtcp.SYN|rawtcp.ACK)), Inside); s.Src != extB || s.Dst != hostA {
				t.Errorf("the way back: %v", &s)
			}
		}
		// Nobody there: the answer comes home.
		if s := w.one(w.out(segment(hostA, netip.AddrPortFrom(public, 9), rawtcp.SYN)), Inside); s.Flags&rawtcp.RST == 0 || s.Dst != hostA {
			t.Errorf("%v: answer %v", test.h, &s)
		}
	}
	w := newWorld(t, Behaviour{Hairpinning: HairpinNone})
	w.none(w.out(segment(hostA, netip.AddrPortFrom(public, 9), rawtcp.SYN)), NotHairpinned)
	w = newWorld(t, preset(t, "linux"))
	if s := w.one(w.out(segment(hostA, netip.AddrPortFrom(public, 9), rawtcp.SYN)), Inside); s.Flags&rawtcp.RST == 0 {
		t.Errorf("%v", &s)
	}
}

func TestRewriting(t *testing.T) {
	w := newWorld(t, preset(t, "rewriting"))
	syn := segment(hostA, remote1, rawtcp.SYN)
	syn.Options = rawtcp.Options{MSS: 1460, SACKPermitted: true, HasTimestamps: true, TSVal: 1000}
	s := w.one(w.out(syn), Outside)
	if s.Seq == 100 || s.Options.TSVal == 1000 {
		t.Fatalf("nothing was rewritten: %v", &s)
	}
	if again := w.one(w.out(syn), Outside); again.Seq != s.Seq || again.Options != s.Options {
		t.Errorf("the repetition differs: %v", &again)
	}
	a := segment(remote1, s.Src, rawtcp.ACK)
	a.Ack = s.Seq.Add(1)
	a.Options = rawtcp.Options{HasTimestamps: true, TSVal: 5, TSEcr: s.Options.TSVal, NSACK: 1}
	a.Options.SACK[0] = rawtcp.SACKBlock{Left: s.Seq.Add(11), Right: s.Seq.Add(21)}
	got := w.one(w.in(a), Inside)
	if got.Ack != 101 || got.Options.TSEcr != 1000 || got.Options.TSVal != 5 || got.Options.SACK[0] != (rawtcp.SACKBlock{Left: 111, Right: 121}) {
		t.Errorf("came in as %v", &got)
	}
	left := like(preset(t, "rewriting"), func(b *Behaviour) { b.RewriteSACK = SACKLeft })
	w = newWorld(t, left)
	s = w.one(w.out(syn), Outside)
	a.Dst, a.Ack, a.Options.SACK[0].Left = s.Src, s.Seq.Add(1), 7
	if got := w.one(w.in(a), Inside); got.Options.SACK[0].Left != 7 {
		t.Errorf("SACK left: %v", &got)
	}
}

func TestMSSAndOptions(t *testing.T) {
	w := newWorld(t, Behaviour{MSSClamp: 1300, StripOptions: OptSACK | OptTimestamps, Unsolicited: UnsolicitedDrop})
	syn := segment(hostA, remote1, rawtcp.SYN)
	syn.Options = rawtcp.Options{MSS: 1460, SACKPermitted: true, HasTimestamps: true, TSVal: 1000, HasWScale: true, WScale: 7}
	s := w.one(w.out(syn), Outside)
	if s.Options != (rawtcp.Options{MSS: 1300, HasWScale: true, WScale: 7}) {
		t.Errorf("options %+v", s.Options)
	}
	syn.Options.MSS = 500
	if s := w.one(w.out(syn), Outside); s.Options.MSS != 500 {
		t.Errorf("MSS %d", s.Options.MSS)
	}
}

func TestTTL(t *testing.T) {
	w := newWorld(t, preset(t, "eim"))
	s := segment(hostA, remote1, rawtcp.SYN)
	s.TTL = 1
	if e := w.icmp(w.out(s), Inside); e.What() != "ttl exceeded" || e.From != gateway || e.Src != hostA {
		t.Errorf("%v about %v", e, e.Src)
	}
	if w.nat.Counters().FlowsMade != 0 {
		t.Error("a SYN that ends here made a mapping")
	}
	w = newWorld(t, like(preset(t, "eim"), func(b *Behaviour) { b.Hop = HopBridge }))
	if got := w.one(w.out(s), Outside); got.TTL != 1 {
		t.Errorf("TTL %d", got.TTL)
	}
}

func TestIPv6IsAFirewall(t *testing.T) {
	for _, name := range []string{"eim", "linux", "firewall", "cgn"} {
		w := newWorld(t, preset(t, name))
		w.none(w.in(segment(remote6, host6, rawtcp.SYN)), NoMapping)
		if s := w.one(w.out(segment(host6, remote6, rawtcp.SYN)), Outside); s.Src != host6 || s.TTL != 63 {
			t.Errorf("%s: %v", name, &s)
		}
		if s := w.one(w.in(segment(remote6, host6, rawtcp.SYN)), Inside); s.Dst != host6 {
			t.Errorf("%s: %v", name, &s)
		}
		s := segment(host6, remote6, rawtcp.ACK)
		s.TTL = 1
		e := w.icmp(w.out(s), Inside)
		if e.What() != "hop limit exceeded" || e.Src != host6 {
			t.Errorf("%s: %v about %v", name, e, e.Src)
		}
	}
}

// NAT444: a home NAT behind a carrier's, composed by the caller.
func TestNestedNATs(t *testing.T) {
	home := newWorld(t, preset(t, "linux"), netip.MustParseAddr("100.64.0.5"))
	cgn := newWorld(t, preset(t, "cgn"))
	out := home.out(segment(hostA, remote1, rawtcp.SYN))
	out = cgn.check(cgn.nat.Outbound(cgn.now, out[0].Data, nil))
	s := cgn.one(out, Outside)
	if s.Src.Addr() != public || s.TTL != 62 {
		t.Fatalf("%v", &s)
	}
	in := cgn.in(segment(remote1, s.Src, rawtcp.SYN))
	in = home.check(home.nat.Inbound(home.now, in[0].Data, nil))
	if s := home.one(in, Inside); s.Dst != hostA || s.Src != remote1 {
		t.Errorf("%v", &s)
	}
}

func TestGarbageIsDropped(t *testing.T) {
	w := newWorld(t, preset(t, "eim"))
	good := bytesOf(t, segment(hostA, remote1, rawtcp.SYN))
	change := func(f func(b []byte)) []byte {
		b := append([]byte(nil), good...)
		f(b)
		return b
	}
	seal := func(b []byte) {
		b[10], b[11] = 0, 0
		c := ^fold(sum(0, b[:20]))
		b[10], b[11] = uint8(c>>8), uint8(c)
	}
	for _, test := range []struct {
		b    []byte
		want Reason
	}{
		{nil, Malformed}, {good[:19], Malformed}, {good[:39], Malformed}, {[]byte{0x75}, Malformed},
		{change(func(b []byte) { b[21]++ }), BadChecksum}, {change(func(b []byte) { b[13]++ }), BadChecksum},
		{change(func(b []byte) { b[6] = 0x20; seal(b) }), Fragment}, {change(func(b []byte) { b[7] = 9; seal(b) }), Fragment},
		{change(func(b []byte) { b[9] = 17; seal(b) }), OtherProtocol},
		{bytesOf(t, segment(hostA, remote1, rawtcp.ACK)), NoConnection},
	} {
		w.none(w.nat.Outbound(w.now, test.b, nil), test.want)
	}
	w.none(w.in(segment(remote1, remote3, rawtcp.SYN)), NotOurs)
}

func TestResetIsNew(t *testing.T) {
	for _, name := range []string{"random", "cgn", "linux", "rewriting"} {
		w := newWorld(t, preset(t, name), public, public2)
		run := func() (list []netip.AddrPort) {
			for i := range uint16(10) {
				list = append(list, w.syn(at(hostA, 5000+i), remote1), w.syn(at(hostB, 5000+i), remote1))
			}
			return list
		}
		first := run()
		w.nat.Reset(7)
		if got := w.nat.Counters(); got != (Counters{}) {
			t.Errorf("%s: %+v", name, got)
		}
		for i, e := range run() {
			if e != first[i] {
				t.Fatalf("%s: mapping %d is %v, before %v", name, i, e, first[i])
			}
		}
	}
}
