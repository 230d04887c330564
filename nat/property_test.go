package nat

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

// sound checks what must hold of a NAT at any time.
func (n *NAT) sound() error {
	flows, mappings := 0, map[*mapping]int{}
	for k, f := range n.byOut {
		flows++
		mappings[f.m]++
		if keyOf(f.out, f.remote) != k || f.out != f.m.out || f.in != f.m.in {
			return fmt.Errorf("flow %v stands in a wrong place", f.out.addrPort())
		}
		if f.expires <= n.now || f.due > f.expires || n.expiry[f.heap] != f {
			return fmt.Errorf("flow %v: expires %d, due %d, now %d", f.out.addrPort(), f.expires, f.due, n.now)
		}
		if n.byIn[keyOf(f.in, f.remote)] == nil {
			return fmt.Errorf("the inside %v of a flow is not found", f.in.addrPort())
		}
		if n.translation(f.in.ip) == NAPT {
			if !n.isPublic(f.out.ip) {
				return fmt.Errorf("external endpoint %v", f.out.addrPort())
			}
			if p := uint16(f.out.port); !n.b.Ports.or1024().contains(p) && !(n.b.WellKnown && p < 1024) {
				return fmt.Errorf("port %d is outside of %v", p, n.b.Ports)
			}
		}
	}
	for k, f := range n.byIn {
		if keyOf(f.in, f.remote) != k || n.byOut[keyOf(f.out, f.remote)] != f {
			return fmt.Errorf("flow of %v is half there", f.in.addrPort())
		}
	}
	if flows != len(n.expiry) || len(mappings) != n.mappings || n.counters.FlowsMade < uint64(flows) {
		return fmt.Errorf("%d flows in the table, %d in the heap; %d mappings, %d counted", flows, len(n.expiry), len(mappings), n.mappings)
	}
	if n.b.MaxFlows > 0 && flows > n.b.MaxFlows {
		return fmt.Errorf("%d flows of %d", flows, n.b.MaxFlows)
	}
	for out, m := range n.externals {
		for ; m != nil; m = m.nextOut {
			if m.out != out || mappings[m] == 0 {
				return fmt.Errorf("mapping %v: without a flow, or elsewhere", out.addrPort())
			}
			if !n.b.overloads() && n.translation(m.in.ip) == NAPT && m.nextOut != nil && m.nextOut.in != m.in {
				return fmt.Errorf("%v and %v share %v", m.in.addrPort(), m.nextOut.in.addrPort(), out.addrPort())
			}
		}
	}
	for a, h := range n.hosts {
		if n.b.MaxMappings > 0 && h.mappings > n.b.MaxMappings && n.b.Filtering != Open {
			return fmt.Errorf("%v has %d mappings of %d", a.addr(), h.mappings, n.b.MaxMappings)
		}
		if len(h.blocks) > max(n.b.Blocks, 1) {
			return fmt.Errorf("%v has %d blocks", a.addr(), len(h.blocks))
		}
	}
	return nil
}

func TestAnyBehaviourAnyTraffic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
		if err := traffic(60, number); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzNAT(f *testing.F) {
	f.Add([]byte("a seed is as good as another"))
	f.Fuzz(func(t *testing.T, data []byte) {
		number := func(n int) int {
			if len(data) == 0 {
				return 0
			}
			v := int(data[0])
			data = data[1:]
			if n > 256 && len(data) > 0 {
				v = v<<8 | int(data[0])
				data = data[1:]
			}
			return v % n
		}
		if err := traffic(min(len(data)/8, 100), number); err != nil {
			t.Fatal(err)
		}
		// What is left is taken for packets as they are.
		n, err := New(behaviourOf(number), &Config{Public: []netip.Addr{public, public2}})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range n.Inbound(time.Unix(1, 0), append([]byte(nil), data...), nil) {
			if err := rawtcp.VerifyChecksums(p.Data); err != nil {
				t.Fatal(err)
			}
		}
		n.Outbound(time.Unix(1, 0), data, nil)
	})
}
