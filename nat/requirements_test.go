package nat_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/rawtcp"
)

// What a NAT must do for the crossing of SYNs, as experiments: the tables of docs/requirements.md.
// The link takes 20 ms each way, so SYNs cross when B sends less than 20 ms after A. In each row
// all attempts connect with the engines named and none with the others.
func TestRequirements(t *testing.T) {
	const (
		inside  = 10 * time.Millisecond
		outside = 50 * time.Millisecond // A's SYN is at NAT B 30 ms before B's
	)
	engines := map[string]sim.Side{
		"connect-old": {Engine: sim.ConnectOld}, "connect": {Engine: sim.Connect}, "connect-again": {Engine: sim.Connect, Retries: 64},
		"park": {Engine: sim.Park}, "repair": {},
	}
	const all, resending = "connect-old connect connect-again park repair", "connect-again park repair"
	for _, test := range []struct {
		a, b     string
		skew     time.Duration
		connects string
	}{
		// Nobody answers an unsolicited SYN: the reference.
		{"eim", "eim", 0, all},
		{"eim", "eim", inside, all},
		{"eim", "eim", outside, all},
		// First requirement broken: an RST for a SYN that is part of no mapping.
		{"rst-happy", "rst-happy", inside, all},
		{"rst-happy", "rst-happy", outside, resending},
		{"eim", "rst-happy", inside, all},
		{"eim", "rst-happy", outside, resending},
		{"rst-happy", "eim", outside, all}, // the NAT that the early SYN meets is silent
		{"linux-rst", "linux-rst", inside, all},
		{"linux-rst", "linux-rst", outside, resending},
		// The same with an ICMP error.
		{"linux-icmp", "linux-icmp", inside, all},
		{"linux-icmp", "linux-icmp", outside, resending},
		{"six-seconds", "six-seconds", outside, all},
		// Second requirement broken: the SYN that crosses our own is not let in.
		{"strict", "eim", inside, all},
		{"strict", "eim", outside, all},
		{"eim", "strict", outside, all},
		{"strict", "strict", 0, ""},
		{"strict", "strict", inside, ""},
		{"strict", "strict", outside, ""},
		// One broken on each side.
		{"strict", "rst-happy", inside, all},
		{"strict", "rst-happy", outside, resending},
	} {
		for name, side := range engines {
			r, err := sim.Run(context.Background(), &sim.Config{
				Scenario: lab.Scenario{A: lab.Site{NAT: test.a}, B: lab.Site{NAT: test.b}, Link: lab.Link{Delay: 20 * time.Millisecond}},
				A:        side, B: side, Skew: test.skew, Trials: 50, Seed: 1,
			})
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			if slices.Contains(strings.Fields(test.connects), name) {
				want = r.Trials
			}
			if r.Connected.Count != want {
				t.Errorf("%s and %s, skew %v, %s: %d of %d connected, want %d", test.a, test.b, test.skew, name, r.Connected.Count, r.Trials, want)
			}
		}
	}
}

// The seed's section on carrier-grade NATs: two subscribers with the same local port share a public
// endpoint; the remote endpoint tells their flows apart.
func TestOverloadedPort(t *testing.T) {
	subscribers := [2]netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:4321"), netip.MustParseAddrPort("10.0.0.3:4321")}
	for _, text := range []string{"eim,collision=overload", "eim,overloading=true", "eim,collision=overload,max-mappings=64,syn-rate=16,hold-down=2m", "linux"} {
		for name, peers := range map[string][2]netip.AddrPort{
			"other address": {netip.MustParseAddrPort("203.0.113.1:443"), netip.MustParseAddrPort("203.0.113.2:443")},
			"other port":    {netip.MustParseAddrPort("203.0.113.1:443"), netip.MustParseAddrPort("203.0.113.1:444")},
			"the same":      {netip.MustParseAddrPort("203.0.113.1:443"), netip.MustParseAddrPort("203.0.113.1:443")},
		} {
			n, err := nat.New(behaviour(t, text), &nat.Config{Public: []netip.Addr{natPublic}, Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			f := twoFlows{t: t, now: time.Unix(1e9, 0)}
			var public [2]netip.AddrPort
			for i, s := range subscribers { // both SYNs are out before anything comes back
				public[i] = f.pass(n.Outbound, rawtcp.Segment{Src: s, Dst: peers[i], Flags: rawtcp.SYN, Seq: 1000}).Src
			}
			if shared := public[0] == public[1]; shared != (name != "the same") {
				t.Fatalf("%s, %s: %v and %v", text, name, public[0], public[1])
			}
			const mine, theirs = rawtcp.Seq(1000), rawtcp.Seq(5000)
			for _, step := range []struct{ in, out rawtcp.Segment }{
				{rawtcp.Segment{Flags: rawtcp.SYN, Seq: theirs}, rawtcp.Segment{Flags: rawtcp.SYN | rawtcp.ACK, Seq: mine, Ack: theirs + 1}},
				{rawtcp.Segment{Flags: rawtcp.SYN | rawtcp.ACK, Seq: theirs, Ack: mine + 1}, rawtcp.Segment{Flags: rawtcp.ACK, Seq: mine + 1, Ack: theirs + 1}},
				{rawtcp.Segment{Flags: rawtcp.ACK, Seq: theirs + 1, Ack: mine + 1, Payload: []byte("b")}, rawtcp.Segment{Flags: rawtcp.ACK, Seq: mine + 1, Ack: theirs + 2, Payload: []byte("a")}},
			} {
				for i, s := range subscribers {
					step.in.Src, step.in.Dst, step.out.Src, step.out.Dst = peers[i], public[i], s, peers[i]
					if got := f.pass(n.Inbound, step.in); got.Dst != s || got.Src != peers[i] {
						t.Errorf("%s, %s: %v of flow %d reached %v, want %v", text, name, &step.in, i, got.Dst, s)
					}
					if got := f.pass(n.Outbound, step.out); got.Src != public[i] {
						t.Errorf("%s, %s: flow %d left as %v, before as %v", text, name, i, got.Src, public[i])
					}
				}
			}
		}
	}
}

// However many subscribers use one port, no two flows have the same 5-tuple.
func TestOverloadedPortOfMany(t *testing.T) {
	for _, text := range []string{"eim,collision=overload", "eim,overloading=true", "cgn,block-size=64", "linux", "pf"} {
		n, err := nat.New(behaviour(t, text), &nat.Config{Public: []netip.Addr{natPublic}, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		f, taken, shared := twoFlows{t: t, now: time.Unix(1e9, 0)}, map[[2]netip.AddrPort]bool{}, map[netip.AddrPort]map[netip.Addr]bool{}
		for i := range byte(200) {
			for j := range byte(5) {
				s := rawtcp.Segment{Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, i}), 4321), Dst: netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, (i + j) % 50}), 443), Flags: rawtcp.SYN}
				got := f.pass(n.Outbound, s)
				if tuple := [2]netip.AddrPort{got.Src, got.Dst}; taken[tuple] {
					t.Fatalf("%s: two flows from %v to %v", text, got.Src, got.Dst)
				} else {
					taken[tuple] = true
				}
				if shared[got.Src] == nil {
					shared[got.Src] = map[netip.Addr]bool{}
				}
				shared[got.Src][s.Src.Addr()] = true
			}
		}
		most := 0
		for _, hosts := range shared {
			most = max(most, len(hosts))
		}
		// Blocks are one subscriber's own; the others share.
		if private := strings.HasPrefix(text, "cgn"); private != (most == 1) {
			t.Errorf("%s: %d subscribers share an endpoint", text, most)
		}
	}
}

// twoFlows hands segments to a NAT and wants each to pass.
type twoFlows struct {
	t   *testing.T
	now time.Time
}

func (f *twoFlows) pass(through func(time.Time, []byte, []nat.Packet) []nat.Packet, s rawtcp.Segment) rawtcp.Segment {
	f.t.Helper()
	s.Window = 1000
	b, err := s.Append(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	out := through(f.now, b, nil)
	if len(out) != 1 {
		f.t.Fatalf("%v: %d packets came out", &s, len(out))
	}
	got, err := rawtcp.Parse(out[0].Data)
	if err != nil {
		f.t.Fatal(err)
	}
	return got
}
