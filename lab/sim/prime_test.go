package sim_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/rawtcp"
)

// seen is a packet at a lane, in words.
type seen struct {
	at   time.Duration // after A's instant
	lane sim.Lane
	out  bool
	ttl  uint8
	text string
	seq  rawtcp.Seq
}

// watch runs one trial and returns its packets.
func watch(t testing.TB, cfg sim.Config) (sim.Trial, []seen) {
	t.Helper()
	var list []seen
	cfg.Packet = func(p sim.Packet) {
		if err := rawtcp.VerifyChecksums(p.Data); err != nil {
			t.Errorf("a packet at %v: %v", p.Lane, err)
		}
		s := seen{at: p.Time.Sub(sim.Epoch), lane: p.Lane, out: p.Out, ttl: p.Data[8]}
		if seg, err := rawtcp.Parse(p.Data); err == nil {
			s.text, s.seq = fmt.Sprintf("%v > %v %v", seg.Src, seg.Dst, seg.Flags), seg.Seq
		} else if e, err := rawtcp.ParseICMP(p.Data); err == nil {
			s.text, s.seq = e.String(), e.Seq
		} else {
			t.Error(err)
		}
		list = append(list, s)
	}
	return one(t, cfg), list
}

// find returns the packets of a lane with this text.
func find(list []seen, lane sim.Lane, out bool, text string) []seen {
	return slices.DeleteFunc(slices.Clone(list), func(s seen) bool { return s.lane != lane || s.out != out || s.text != text })
}

// TestHops: the TTL counts as in the live lab (docs/scenario.md). 2 ends at the own
// provider, 3 at the other one, 4 at the other NAT; all send an ICMP error back.
func TestHops(t *testing.T) {
	for _, tt := range []struct {
		ttl  uint8
		back time.Duration // when the error comes
		from string
	}{
		{1, 0, "10.0.1.1"},
		{2, 0, "198.51.100.1"},
		{3, 40 * ms, "192.0.2.2"},
		{4, 40 * ms, "203.0.113.2"},
	} {
		cfg := sim.Config{Scenario: pair("linux", "linux")} // a NAT without a mapping would drop it silently
		cfg.A = sim.Side{TTL: tt.ttl}
		_, list := watch(t, cfg)
		back := find(list, sim.LaneA, false, "ttl exceeded from "+tt.from)
		if len(back) == 0 || back[0].at != tt.back {
			t.Errorf("TTL %d: no error from %s after %v in %+v", tt.ttl, tt.from, tt.back, list)
		}
	}
	_, list := watch(t, sim.Config{Scenario: pair("linux", "none")})
	for _, s := range find(list, sim.LaneB, false, "198.51.100.2:40000 > 203.0.113.130:50000 SYN") {
		if s.ttl != 60 {
			t.Errorf("TTL %d at the other host, want 64 less four routers", s.ttl)
		}
	}
	cfg := sim.Config{Scenario: pair("none", "firewall"), Skew: 100 * ms}
	cfg.Scenario.Family, cfg.A.TTL = lab.IP6, 2
	if r := one(t, cfg); r.A.ICMPs == 0 {
		t.Errorf("IPv6: no error came back: %+v", r)
	}
}

// TestPrimed is TestPrimedWindow of cmd/synpunch: the window is missed, through NATs that
// refuse, and nobody is refused, because a SYN that ended between the NATs opened them.
func TestPrimed(t *testing.T) {
	for _, kind := range []string{lab.NATLinuxRST, lab.NATLinuxICMP} {
		for _, skew := range []time.Duration{30 * ms, -30 * ms, 0} {
			for _, e := range []sim.Engine{sim.Repair, sim.Park} {
				side := sim.Side{Engine: e, Strategy: sim.Prime}
				r := one(t, sim.Config{Scenario: pair(kind, kind), Skew: skew, A: side, B: side})
				if r.Outcome() != sim.Established || r.A.RSTs+r.B.RSTs+r.A.Resends+r.B.Resends != 0 || r.A.ICMPs != 1 || r.B.ICMPs != 1 {
					t.Errorf("%s, %s, skew %v: %+v", kind, e, skew, r)
				}
				if kind == lab.NATLinuxICMP && skew == 0 && !r.Meeting.Crossed {
					t.Errorf("%s: the SYNs that were meant to meet: %v", e, r.Meeting)
				}
			}
		}
	}
}

// TestPrimedConnect: the SYN of connect() has not the ISN of the priming one. Linux's
// connection tracking drops it once the peer's SYN has come in between; a NAT that does not track sequence
// numbers, or none, lets it pass. Before there is a socket a guard drops the early peer.
func TestPrimedConnect(t *testing.T) {
	for kind, want := range map[string]sim.Outcome{"linux": sim.Timeout, "linux-rst": sim.Timeout, "eim": sim.Established, "none": sim.Established} {
		side := sim.Side{Engine: sim.Connect, Strategy: sim.Prime}
		r := one(t, sim.Config{Scenario: pair(kind, kind), Skew: 30 * ms, A: side, B: side})
		if r.A.Outcome != want || r.A.RSTs+r.B.RSTs != 0 {
			t.Errorf("%s: %+v", kind, r)
		}
	}
}

// TestPrimingSYN: it leaves PrimeLead before the instant and ends at the own provider. The
// engines that can give it the sequence number of the real one do so.
func TestPrimingSYN(t *testing.T) {
	for _, e := range sim.Engines() {
		cfg := sim.Config{Scenario: pair("linux", "linux")}
		cfg.A = sim.Side{Engine: e, Strategy: sim.Prime}
		r, list := watch(t, cfg)
		syns := find(list, sim.LaneA, true, "10.0.1.2:40000 > 203.0.113.2:50000 SYN")
		if len(syns) != 2 || syns[0].at != -sim.PrimeLead || syns[0].ttl != sim.PrimeTTL || syns[1].at != 0 || syns[1].ttl != 64 || r.A.SYNs != 2 {
			t.Fatalf("%s: %+v, %+v", e, syns, r)
		}
		if same := syns[0].seq == syns[1].seq; same != (e == sim.Repair || e == sim.Park) {
			t.Errorf("%s: sequence numbers %d and %d", e, syns[0].seq, syns[1].seq)
		}
		if n := len(find(list, sim.LaneNATB, false, "198.51.100.2:40000 > 203.0.113.2:50000 SYN")); n != 1 {
			t.Errorf("%s: %d SYNs came to NAT B", e, n)
		}
		if len(find(list, sim.LaneA, false, "ttl exceeded from 198.51.100.1")) == 0 {
			t.Errorf("%s: no ICMP error in %+v", e, list)
		}
	}
}

// TestPark: what the engine does that no other does. A parked socket does not see the peer
// before the instant, it is not on the wire before it, and an answer that kills it
// brings another one, with a later sequence number, at once.
func TestPark(t *testing.T) {
	cfg := sim.Config{Scenario: pair("none", "none"), Skew: 200 * ms}
	cfg.A, cfg.B = engines(sim.Park, sim.Park)
	r, list := watch(t, cfg)
	if got := find(list, sim.LaneB, true, "203.0.113.130:50000 > 198.51.100.130:40000 RST-ACK"); len(got) > 0 {
		t.Errorf("B's kernel answered before B's instant: %+v", got)
	}
	// B's SYN comes after A's was dropped by B's guard, and A's socket answers it.
	if r.Outcome() != sim.Established || r.Established() != 260*ms || !r.A.Simultaneous || r.B.Simultaneous {
		t.Errorf("%+v", r)
	}

	cfg = sim.Config{Scenario: pair("linux-rst", "linux-rst"), Skew: 30 * ms}
	cfg.A, cfg.B = engines(sim.Park, sim.Park)
	r, list = watch(t, cfg)
	syns := find(list, sim.LaneA, true, "10.0.1.2:40000 > 203.0.113.2:50000 SYN")
	if len(syns) != 2 || syns[1].at != 40*ms || r.A.Resends != 1 || r.A.RSTs != 1 {
		t.Fatalf("%+v, %+v", r, syns)
	}
	// ISNs of Linux grow by one in 64 ns: the first socket was made before the instant.
	if d, want := syns[1].seq.Sub(syns[0].seq), int32(140*ms/64); d != want {
		t.Errorf("the second sequence number is %d after the first, want %d", d, want)
	}

	cfg.A.Retries, cfg.B.Retries = -1, -1
	if r := one(t, cfg); r.A.Outcome != sim.Refused || r.A.Resends != 0 {
		t.Errorf("without retries: %+v", r)
	}

	// The socket is parked before the instant, and its timer runs from then on.
	cfg = sim.Config{Scenario: pair("linux", "linux")}
	cfg.Scenario.Link.Faults = []lab.Fault{{Direction: lab.AB, Packet: 1, Action: lab.Lose}, {Direction: lab.BA, Packet: 1, Action: lab.Lose}}
	cfg.A, cfg.B = engines(sim.Park, sim.Park)
	if r := one(t, cfg); r.Outcome() != sim.Established || r.Established() != 940*ms {
		t.Errorf("both SYNs lost: %+v", r)
	}
}

// TestEarlyPeer: what comes before the instant. Repair keeps it and answers at the
// instant; a kernel without a socket refuses.
func TestEarlyPeer(t *testing.T) {
	for _, tt := range []struct {
		b    sim.Engine
		a    sim.Outcome
		done time.Duration
	}{
		{sim.Repair, sim.Established, 140 * ms},
		{sim.Connect, sim.Refused, 0},
		{sim.Park, sim.Established, 160 * ms},
	} {
		cfg := sim.Config{Scenario: pair("none", "none"), Skew: 100 * ms}
		cfg.A, cfg.B = engines(sim.Connect, tt.b)
		r := one(t, cfg)
		if r.A.Outcome != tt.a || tt.a == sim.Established && r.Established() != tt.done {
			t.Errorf("connect x %s: %+v", tt.b, r)
		}
	}
}
