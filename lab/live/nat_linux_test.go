package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/rawtcp"
)

// knock sends a SYN from a port of host h to an endpoint and returns what the
// NAT or host there answered, seen at the public side of the NAT before it. Whether
// there was no answer is told by a second SYN to the provider behind the NAT, which always
// answers, and later: the link keeps the order.
func knock(t *testing.T, l *Lab, h *Host, port uint16, to netip.AddrPort) []seen {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	defer func() {
		cancel()
		<-ended
	}()
	lane, provider := LaneNATB, l.net.nodes[ispB]
	if h == l.B {
		lane, provider = LaneNATA, l.net.nodes[ispA]
	}
	from := func(s *seen, ap netip.AddrPort) bool { return s.icmp == nil && s.seg.Src == ap }
	public := netip.AddrPortFrom(h.Public, port)
	go func() {
		defer close(ended)
		if c, err := dial(ctx, h, port, to); err == nil {
			c.Close()
		}
	}()
	await(t, "the SYN at the other NAT", func() bool {
		return len(read(t, l, func(s *seen) bool {
			return s.Where == lane && s.Dir == capture.DirIn && from(s, public) && s.seg.Dst == to
		})) > 0
	})
	if c, err := dial(ctx, h, 0, netip.AddrPortFrom(provider.addr(), 9)); !errors.Is(err, unix.ECONNREFUSED) {
		if c != nil {
			c.Close()
		}
		t.Fatalf("the provider's router did not refuse: %v", err)
	}
	return read(t, l, func(s *seen) bool {
		if s.Where != lane || s.Dir != capture.DirOut {
			return false
		}
		if s.icmp != nil {
			return s.icmp.Src == public && s.icmp.Dst == to
		}
		return s.seg.Dst == public && s.seg.Src == to
	})
}

// addr is the address of a provider's port to its customer.
func (n *node) addr() netip.Addr {
	var a netip.Addr
	err := n.ns.Do(func() error {
		ifi, err := net.InterfaceByName(custPort)
		if err != nil {
			return err
		}
		list, err := ifi.Addrs()
		if err != nil {
			return err
		}
		for _, x := range list {
			p, err := netip.ParsePrefix(x.String())
			if err != nil {
				return err
			}
			if !p.Addr().IsLinkLocalUnicast() {
				a = p.Addr()
			}
		}
		return nil
	})
	if err != nil {
		return netip.Addr{}
	}
	return a
}

// answer is what a NAT or the host behind it makes of a SYN.
type answer string

const (
	nothing   answer = "nothing"
	natRST    answer = "RST by the NAT"
	hostRST   answer = "RST by the host"
	natICMP   answer = "ICMP admin prohibited by the NAT"
	something answer = "something else"
)

// who names the answer. A packet of the NAT's own leaves with its full TTL, one from the
// host with one less.
func who(list []seen) answer {
	if len(list) == 0 {
		return nothing
	}
	s := list[0]
	switch {
	case len(list) > 1:
	case s.icmp != nil && s.icmp.Type == 3 && s.icmp.Code == admin:
		return natICMP
	case s.icmp == nil && s.seg.Flags&rawtcp.RST != 0 && s.seg.TTL == 64:
		return natRST
	case s.icmp == nil && s.seg.Flags&rawtcp.RST != 0 && s.seg.TTL == 63:
		return hostRST
	}
	return something
}

func TestUnsolicitedSYN(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, test := range []struct {
		kind, family string
		want         answer
	}{
		{lab.NATLinux, lab.IP4, nothing},
		{lab.NATLinuxRST, lab.IP4, natRST},
		{lab.NATLinuxICMP, lab.IP4, natICMP},
		{lab.NATLinuxRandom, lab.IP4, nothing},
		{lab.NATLinuxEIM, lab.IP4, hostRST},
		{lab.NATLinuxAPDF, lab.IP4, nothing},
		{lab.NATNone, lab.IP4, hostRST},
		{lab.NATNone, lab.IP6, hostRST},
		{lab.NATFirewall, lab.IP4, nothing},
		{lab.NATFirewall, lab.IP6, nothing},
	} {
		t.Run(test.kind+"-"+test.family, func(t *testing.T) {
			l := mustBuild(t, lab.Scenario{Family: test.family, A: lab.Site{NAT: lab.NATNone}, B: lab.Site{NAT: test.kind}, Link: lab.Link{Delay: time.Millisecond}})
			if got := who(knock(t, l, l.A, portA, netip.AddrPortFrom(l.B.Public, portB))); got != test.want {
				logEvents(t, l)
				t.Errorf("answer: %s, want %s", got, test.want)
			}
		})
	}
}

// A mapping that B has made to one port of A: what do other ports of A meet?
func TestFilteringOfAnotherRemote(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, test := range []struct {
		kind string
		want answer
	}{
		{lab.NATLinux, nothing},
		{lab.NATLinuxRST, natRST},
		{lab.NATLinuxICMP, natICMP},
		{lab.NATLinuxEIM, hostRST},
		{lab.NATLinuxAPDF, nothing},
		{lab.NATNone, hostRST},
		{lab.NATFirewall, nothing},
	} {
		t.Run(test.kind, func(t *testing.T) {
			l := mustBuild(t, lab.Scenario{A: lab.Site{NAT: lab.NATFirewall}, B: lab.Site{NAT: test.kind}, Link: lab.Link{Delay: time.Millisecond}})
			// A's firewall says nothing to B's SYN, so B's mapping stays.
			knock(t, l, l.B, portB, netip.AddrPortFrom(l.A.Public, portA))
			if got := who(knock(t, l, l.A, portA+1, netip.AddrPortFrom(l.B.Public, portB))); got != test.want {
				logEvents(t, l)
				t.Errorf("answer: %s, want %s", got, test.want)
			}
		})
	}
}

// The external port, and whether one endpoint keeps it towards another remote.
func TestMappingAndAllocation(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, k := range kernelKinds() {
		t.Run(k.Name, func(t *testing.T) {
			l := mustBuild(t, lab.Scenario{A: lab.Site{NAT: k.Name}, B: lab.Site{NAT: lab.NATFirewall}, Link: lab.Link{Delay: time.Millisecond}})
			external := map[uint16]int{}
			for i := range uint16(8) {
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_, _ = dial(ctx, l.A, portA, netip.AddrPortFrom(l.B.Public, portB+i))
				}()
				await(t, "the SYN behind NAT A", func() bool {
					out := read(t, l, func(s *seen) bool {
						return s.Where == LaneNATA && s.Dir == capture.DirOut && s.icmp == nil && s.seg.Dst.Port() == portB+i
					})
					if len(out) == 0 {
						return false
					}
					if out[0].seg.Src.Addr() != l.A.Public {
						t.Errorf("from %v, want the public address %v", out[0].seg.Src, l.A.Public)
					}
					external[out[0].seg.Src.Port()]++
					return true
				})
				cancel()
				<-ended
			}
			if k.Name == lab.NATLinuxRandom {
				// Eight of 64,512 ports at random are all the same with probability 64,512^-7.
				if len(external) == 1 {
					t.Errorf("the random NAT took port %v every time", external)
				}
			} else if external[portA] != 8 {
				t.Errorf("local port %d became %v", portA, external)
			}
		})
	}
}

// A SYN with a low TTL ends where the package comment says, and the ICMP error
// comes home through the NAT.
func TestLowTTLEndsBetweenTheNATs(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, family := range []string{lab.IP4, lab.IP6} {
		kind, words := lab.NATLinux, "ttl exceeded"
		if family == lab.IP6 {
			kind, words = lab.NATFirewall, "hop limit exceeded"
		}
		l := mustBuild(t, lab.Scenario{Family: family, A: lab.Site{NAT: kind}, B: lab.Site{NAT: kind}, Link: lab.Link{Delay: time.Millisecond}})
		for ttl, node := range map[uint8]int{2: ispA, 3: ispB, 4: natB} {
			t.Run(fmt.Sprint(family, "-", ttl), func(t *testing.T) {
				if err := l.ResetCount(); err != nil {
					t.Fatal(err)
				}
				s := rawtcp.Segment{Src: netip.AddrPortFrom(l.A.Addr, portA+uint16(ttl)), Dst: netip.AddrPortFrom(l.B.Public, portB), TTL: ttl, Flags: rawtcp.SYN, Window: 1000}
				sendRaw(t, l.A, family, s)
				// What comes late from the subtest before is not meant.
				ours := func(ap netip.AddrPort) bool { return ap.Port() == portA+uint16(ttl) }
				var got []seen
				if node == natB {
					// There it is dropped, or ends as before, if it is for a host behind.
					await(t, "the SYN at NAT B", func() bool {
						return len(read(t, l, func(s *seen) bool { return s.Where == LaneNATB && s.icmp == nil && ours(s.seg.Src) && s.seg.TTL == 1 })) == 1
					})
					return
				}
				await(t, "the ICMP error at NAT A", func() bool {
					got = read(t, l, func(s *seen) bool { return s.Where == LaneNATA && s.icmp != nil && ours(s.icmp.Src) })
					return len(got) > 0
				})
				if want := netip.AddrPortFrom(l.A.Public, s.Src.Port()); got[0].icmp.Src != want || got[0].icmp.What() != words {
					t.Errorf("%v of %v, want %s of %v", got[0].icmp, got[0].icmp.Src, words, want)
				}
				wantTransits := 0
				if node == ispB {
					wantTransits = 1
				}
				syns := 0
				for _, tr := range l.Transits() {
					if seg, err := rawtcp.Parse(tr.Head); err == nil && tr.Direction == lab.AB && ours(seg.Src) {
						syns++
					}
				}
				if syns != wantTransits {
					t.Errorf("%d packets crossed the link from A to B, want %d", syns, wantTransits)
				}
			})
		}
	}
}

func sendRaw(t testing.TB, h *Host, network string, segs ...rawtcp.Segment) {
	t.Helper()
	err := h.Do(func() error {
		c, err := rawtcp.Open(network, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		for _, s := range segs {
			b, err := s.Append(nil)
			if err != nil {
				return err
			}
			if err := c.Send(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
