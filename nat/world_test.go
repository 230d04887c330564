package nat

import (
	"net/netip"
	"testing"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// The addresses of the tests.
var (
	hostA   = netip.MustParseAddrPort("10.0.0.2:5000")
	hostB   = netip.MustParseAddrPort("10.0.0.3:5000")
	remote1 = netip.MustParseAddrPort("203.0.113.1:443")
	remote2 = netip.MustParseAddrPort("203.0.113.1:444")
	remote3 = netip.MustParseAddrPort("203.0.113.9:443")
	public  = netip.MustParseAddr("198.51.100.1")
	public2 = netip.MustParseAddr("198.51.100.2")
	gateway = netip.MustParseAddr("10.0.0.1")
	host6   = netip.MustParseAddrPort("[2001:db8::2]:5000")
	remote6 = netip.MustParseAddrPort("[2001:db8:1::1]:443")
)

// world is a NAT with a clock, for tests.
type world struct {
	t   testing.TB
	nat *NAT
	now time.Time
}

func newWorld(t testing.TB, b Behaviour, addrs ...netip.Addr) *world {
	t.Helper()
	if len(addrs) == 0 {
		addrs = []netip.Addr{public}
	}
	n, err := New(b, &Config{Public: addrs, Gateway: []netip.Addr{gateway}, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, nat: n, now: time.Unix(1e9, 0)}
}

func preset(t testing.TB, name string) Behaviour {
	t.Helper()
	b, err := Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *world) wait(d time.Duration) { w.now = w.now.Add(d) }

func (w *world) check(out []Packet) []Packet {
	w.t.Helper()
	for _, p := range out {
		if err := rawtcp.VerifyChecksums(p.Data); err != nil {
			w.t.Fatalf("the NAT sent % x: %v", p.Data, err)
		}
	}
	return out
}

func bytesOf(t testing.TB, s rawtcp.Segment) []byte {
	t.Helper()
	b, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func segment(from, to netip.AddrPort, f rawtcp.Flags) rawtcp.Segment {
	return rawtcp.Segment{Src: from, Dst: to, Flags: f, Seq: 100, Window: 1000}
}

// out and in send a segment; the packets that come of it are checked.
func (w *world) out(s rawtcp.Segment) []Packet {
	w.t.Helper()
	return w.check(w.nat.Outbound(w.now, bytesOf(w.t, s), nil))
}

func (w *world) in(s rawtcp.Segment) []Packet {
	w.t.Helper()
	return w.check(w.nat.Inbound(w.now, bytesOf(w.t, s), nil))
}

// one wants one TCP segment to a side.
func (w *world) one(out []Packet, to Side) rawtcp.Segment {
	w.t.Helper()
	if len(out) != 1 || out[0].To != to {
		w.t.Fatalf("%d packets came out (%v), want one to the %v", len(out), w.nat.LastDrop(), to)
	}
	s, err := rawtcp.Parse(out[0].Data)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// icmp wants one ICMP error to a side.
func (w *world) icmp(out []Packet, to Side) rawtcp.ICMPError {
	w.t.Helper()
	if len(out) != 1 || out[0].To != to {
		w.t.Fatalf("%d packets came out (%v), want one to the %v", len(out), w.nat.LastDrop(), to)
	}
	e, err := rawtcp.ParseICMP(out[0].Data)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// none wants nothing to come out, for a reason.
func (w *world) none(out []Packet, why Reason) {
	w.t.Helper()
	if len(out) != 0 || w.nat.LastDrop() != why {
		w.t.Fatalf("%d packets came out (%v), want none: %v", len(out), w.nat.LastDrop(), why)
	}
}

// syn sends a SYN from inside and returns the external endpoint.
func (w *world) syn(from, to netip.AddrPort) netip.AddrPort {
	w.t.Helper()
	return w.one(w.out(segment(from, to, rawtcp.SYN)), Outside).Src
}

// establish opens a flow from inside by an ordinary handshake.
func (w *world) establish(from, to netip.AddrPort) netip.AddrPort {
	w.t.Helper()
	ext := w.syn(from, to)
	sa := segment(to, ext, rawtcp.SYN|rawtcp.ACK)
	sa.Seq, sa.Ack = 500, 101
	got := w.one(w.in(sa), Inside)
	if got.Dst != from {
		w.t.Fatalf("SYN-ACK for %v, want %v", got.Dst, from)
	}
	a := segment(from, to, rawtcp.ACK)
	a.Seq, a.Ack = 101, got.Seq+1
	w.one(w.out(a), Outside)
	return ext
}
