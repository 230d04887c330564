package live

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/rawtcp"
)

func buildWith(t testing.TB, s lab.Scenario, cfg *Config) *Lab {
	t.Helper()
	l, err := Build(t.Context(), &s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// fortune is what the link of a lab with this seed draws from A to B.
func fortune(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, linkStream)) }

// Jitter makes no packet faster than the delay and what was drawn for it, and lets
// none overtake another; another seed draws otherwise.
func TestJitter(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const n, delay, extra = 12, 3 * time.Millisecond, 40 * time.Millisecond
	s := lab.Scenario{A: lab.Site{NAT: lab.NATNone}, B: lab.Site{NAT: lab.NATFirewall}, Link: lab.Link{Delay: delay, Jitter: extra}}
	for seed := range uint64(2) {
		l := buildWith(t, s, &Config{Seed: seed + 1})
		draws := fortune(seed + 1)
		// One after the other, so that none waits for the one before it.
		for i := range n {
			if err := l.ResetCount(); err != nil {
				t.Fatal(err)
			}
			arrivals(t, l, 1, 1)
			want := delay + time.Duration(draws.Int64N(int64(extra)))
			if tr := l.Transits()[0]; tr.Left.Sub(tr.Entered) < want {
				t.Errorf("packet %d took %v, want %v", i, tr.Left.Sub(tr.Entered), want)
			}
		}
		if err := l.ResetCount(); err != nil {
			t.Fatal(err)
		}
		if got := arrivals(t, l, n, n); !slices.IsSorted(got) {
			t.Errorf("overtaken: %v", got)
		}
	}
}

// A link loses what was drawn, and neither more nor less.
func TestLoss(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const n, seed, loss = 60, 5, 0.3
	l := buildWith(t, lab.Scenario{A: lab.Site{NAT: lab.NATNone}, B: lab.Site{NAT: lab.NATFirewall}, Link: lab.Link{Loss: loss,
		// A packet with a fault is not drawn for.
		Faults: []lab.Fault{{Direction: lab.AB, Packet: 1, Action: lab.Duplicate}}}}, &Config{Seed: seed})
	draws, want := fortune(seed), []int{1, 1}
	for i := 2; i <= n; i++ {
		if draws.Float64() >= loss {
			want = append(want, i)
		}
	}
	if got := arrivals(t, l, n, len(want)); !slices.Equal(got, want) {
		t.Errorf("arrived %v, want %v", got, want)
	}
	lost := n + 1 - len(want)
	if ab, _ := l.Counters(); ab.TCP != n || ab.Lost != uint64(lost) || lost < n/10 || lost > n/2 {
		t.Errorf("counters %+v, %d of %d should be lost", ab, lost, n)
	}
	for _, tr := range l.Transits() {
		if (tr.Fate == Lost) != !slices.Contains(want, tr.Number) {
			t.Errorf("packet %d: %s", tr.Number, tr.Fate)
		}
	}
	if err := l.SetLink(lab.Link{Loss: 1}); err != nil {
		t.Fatal(err)
	}
	arrivals(t, l, n, 0)
	await(t, "the end of the way", func() bool { ab, _ := l.Counters(); return ab.Lost == n })
}

// The link of a lab that is up takes other delays and faults, at once and in both directions.
func TestSetLink(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := buildWith(t, both(lab.NATNone, 0), &Config{Link: true})
	way := func() (ab, ba time.Duration) {
		t.Helper()
		sendRaw(t, l.B, lab.IP4, rawtcp.Segment{Src: netip.AddrPortFrom(l.B.Addr, portB), Dst: netip.AddrPortFrom(l.A.Public, portA), Flags: rawtcp.RST})
		arrivals(t, l, 1, 1)
		var list []Transit
		await(t, "both packets on the link", func() bool {
			list = l.Transits()
			return len(list) == 2 && list[0].Fate != Waiting && list[1].Fate != Waiting
		})
		for _, tr := range list {
			took := tr.Left.Sub(tr.Entered)
			if tr.Direction == lab.AB {
				ab = took
			} else {
				ba = took
			}
		}
		return ab, ba
	}
	way()
	thirty, ten := 30*time.Millisecond, 10*time.Millisecond
	if err := l.SetLink(lab.Link{AB: &thirty, BA: &ten}); err != nil {
		t.Fatal(err)
	}
	if ab, ba := way(); ab < thirty || ba < ten {
		t.Errorf("delays %v and %v", ab, ba)
	}
	if err := l.SetLink(lab.Link{Delay: ten, Faults: []lab.Fault{{Direction: lab.AB, Packet: 1, Action: lab.Lose}}}); err != nil {
		t.Fatal(err)
	}
	if got := arrivals(t, l, 2, 1); !slices.Equal(got, []int{2}) {
		t.Errorf("arrived %v", got)
	}
	if err := l.SetLink(lab.Link{Delay: -1}); !errors.Is(err, lab.ErrScenario) {
		t.Errorf("a negative delay: %v", err)
	}
	plain := mustBuild(t, both(lab.NATNone, 0))
	if err := plain.SetLink(lab.Link{Delay: ten}); err == nil {
		t.Error("a plain wire was given a delay")
	}
	if err := plain.SetLink(lab.Link{}); err != nil {
		t.Error(err)
	}
	if err := plain.Close(); err != nil {
		t.Fatal(err)
	}
	if plain.SetLink(lab.Link{}) == nil || plain.Renew() == nil {
		t.Error("a closed lab works")
	}
}

// What was on the link and in the NATs is gone after Renew.
func TestRenew(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, kind := range []string{lab.NATLinux, "eim", "linux+model:linux", lab.NATLinuxAPDF} {
		t.Run(kind, func(t *testing.T) {
			s := lab.Scenario{A: lab.Site{NAT: kind}, B: lab.Site{NAT: lab.NATFirewall}, Link: lab.Link{Delay: time.Millisecond}}
			l := buildWith(t, s, &Config{Hosts: true})
			a, b := netip.AddrPortFrom(l.A.Addr, portA), netip.AddrPortFrom(l.B.Addr, portB)
			public := netip.AddrPortFrom(l.A.Public, portA)
			out := rawtcp.Segment{Src: a, Dst: b, Flags: rawtcp.SYN, Seq: 100, Window: 1000}
			in := rawtcp.Segment{Src: b, Dst: public, Flags: rawtcp.SYN, Seq: 200, Window: 1000}
			// passes reports whether what comes from B gets to A. The host's own RST, or a second
			// SYN of A, which gets to B in any case, is the sign that it would have.
			passes := func() bool {
				t.Helper()
				sendRaw(t, l.B, lab.IP4, in)
				await(t, "B's SYN at NAT A", func() bool {
					return len(read(t, l, func(s *seen) bool { return s.Where == LaneNATA && s.Dir == capture.DirIn })) == 1
				})
				sendRaw(t, l.A, lab.IP4, rawtcp.Segment{Src: netip.AddrPortFrom(a.Addr(), portA+1), Dst: b, Flags: rawtcp.SYN, Window: 1000})
				await(t, "another SYN at B", func() bool { return len(read(t, l, func(s *seen) bool { return s.Where == LaneNATB })) > 0 })
				return slices.ContainsFunc(l.HostEvents(), func(e LinkEvent) bool {
					seg, err := rawtcp.Parse(e.Data)
					return err == nil && e.Where == l.A.Name && e.Dir == capture.DirIn && seg.Flags == rawtcp.SYN
				})
			}
			if passes() {
				t.Fatal("nothing was open, and yet B's SYN came in")
			}
			if err := l.Renew(); err != nil {
				t.Fatal(err)
			}
			if len(l.Events()) != 0 || len(l.HostEvents()) != 0 {
				t.Error("events are left")
			}
			sendRaw(t, l.A, lab.IP4, out)
			await(t, "A's SYN at NAT B", func() bool { return len(read(t, l, func(s *seen) bool { return s.Where == LaneNATB })) > 0 })
			if err := l.ResetCount(); err != nil {
				t.Fatal(err)
			}
			if !passes() {
				t.Fatal("A's SYN opened nothing")
			}
			if err := l.Renew(); err != nil {
				t.Fatal(err)
			}
			if passes() {
				t.Error("the NAT still knows the flow")
			}
			// A packet that would be there in ten seconds.
			if err := l.SetLink(lab.Link{Delay: lab.MaxDelay}); err != nil {
				t.Fatal(err)
			}
			sendRaw(t, l.A, lab.IP4, out)
			await(t, "the packet on the link", func() bool {
				return slices.ContainsFunc(l.Transits(), func(tr Transit) bool {
					seg, err := rawtcp.Parse(tr.Head)
					return err == nil && seg.Seq == out.Seq && seg.Flags == rawtcp.SYN
				})
			})
			if err := l.Renew(); err != nil {
				t.Fatal(err)
			}
			if err := l.SetLink(lab.Link{}); err != nil {
				t.Fatal(err)
			}
			out.Src = netip.AddrPortFrom(a.Addr(), portA+2)
			sendRaw(t, l.A, lab.IP4, out)
			await(t, "the one after it", func() bool {
				return len(read(t, l, func(s *seen) bool { return s.Where == LaneNATB && s.Dir == capture.DirIn })) > 0
			})
			for _, s := range read(t, l, func(s *seen) bool { return s.Where == LaneNATB && s.Dir == capture.DirIn }) {
				if s.seg.Src.Port() != portA+2 {
					t.Errorf("an old packet: %v", &s)
				}
			}
		})
	}
}

// A refusing NAT that is slow refuses all the same, also if its own host's SYN has
// left meanwhile.
func TestAnswerDelay(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const d = 100 * time.Millisecond
	l := mustBuild(t, site("rst-happy,answer-delay=100ms", lab.NATNone, 0))
	to := netip.AddrPortFrom(l.A.Public, portA)
	sendRaw(t, l.B, lab.IP4, rawtcp.Segment{Src: netip.AddrPortFrom(l.B.Addr, portB), Dst: to, Flags: rawtcp.SYN, Seq: 7, Window: 1000})
	await(t, "the SYN", func() bool { return len(l.Events()) > 0 })
	sendRaw(t, l.A, lab.IP4, rawtcp.Segment{Src: netip.AddrPortFrom(l.A.Addr, portA), Dst: netip.AddrPortFrom(l.B.Addr, portB), Flags: rawtcp.SYN, Window: 1000})
	var list []seen
	await(t, "the RST", func() bool {
		list = read(t, l, func(s *seen) bool {
			return s.Where == LaneNATA && (s.Dir == capture.DirIn && s.seg.Flags == rawtcp.SYN || s.Dir == capture.DirOut && s.seg.Flags&rawtcp.RST != 0 && s.seg.Ack == 8)
		})
		return len(list) == 2
	})
	if took := list[1].Time.Sub(list[0].Time); took < d {
		t.Errorf("the answer came after %v", took)
	}
}
