package nat

import (
	"encoding/binary"
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

// behaviourOf makes a behaviour of numbers: a preset and some knobs.
func behaviourOf(number func(n int) int) Behaviour {
	b := presets[number(len(presets))].Behaviour
	for range number(5) {
		k := knobs[number(len(knobs))]
		changed := b
		var text string
		switch k.Values {
		case "true, false":
			text = []string{"true", "false"}[number(2)]
		case "NUMBER":
			text = []string{"1", "2", "3", "7", "600", "2000", "-1"}[number(7)]
		case "DURATION":
			text = []string{"0s", "1s", "10s", "3m"}[number(4)]
		case "FIRST-LAST":
			text = []string{"1024-65535", "5000-5007", "1-10", "4999-5030"}[number(4)]
		case "keep, close, close after DURATION":
			text = []string{"keep", "close", "close after 2s"}[number(3)]
		default:
			text = pick(k.Values, number)
		}
		if changed.Set(k.Name, text) == nil && changed.Validate() == nil {
			b = changed
		}
	}
	return b
}

func pick(values string, number func(int) int) string {
	var list []string
	for len(values) > 0 {
		i := 0
		for i < len(values) && values[i] != ',' {
			i++
		}
		list = append(list, values[:i])
		values = values[min(i+2, len(values)):]
	}
	return list[number(len(list))]
}

// traffic sends random packets through a NAT and checks it and what comes out.
func traffic(b Behaviour, packets int, number func(n int) int) error {
	n, err := New(b, &Config{Public: []netip.Addr{public, public2}, Gateway: []netip.Addr{gateway}, Seed: uint64(number(100))})
	if err != nil {
		return err
	}
	now := time.Unix(1e9, 0)
	var seen []Packet
	for range packets {
		now = now.Add([]time.Duration{0, time.Millisecond, time.Second, 10 * time.Second, 5 * time.Minute}[number(5)])
		var out []Packet
		switch kind := number(12); {
		case kind == 0:
			out = n.Tick(now, nil)
		case kind <= 2 && len(seen) > 0: // an ICMP error, or an echo of what came out
			p := seen[number(len(seen))]
			data := append([]byte(nil), p.Data...)
			if kind == 1 && data[0]>>4 == 4 {
				data = icmpAboutBytes(data, uint8([]int{3, 11, 12, 4, 5}[number(5)]), number(60))
			}
			if p.To == Outside {
				out = n.Inbound(now, data, nil)
			} else {
				out = n.Outbound(now, data, nil)
			}
		default:
			data := randomSegment(n, number)
			if number(40) == 0 && len(data) > 0 {
				data[number(len(data))] ^= uint8(number(256))
			}
			if number(2) == 0 {
				out = n.Outbound(now, data, nil)
			} else {
				out = n.Inbound(now, data, nil)
			}
		}
		for _, p := range out {
			if err := rawtcp.VerifyChecksums(p.Data); err != nil {
				return fmt.Errorf("to the %v % x: %w", p.To, p.Data, err)
			}
		}
		seen = append(seen, out...)
		if err := n.sound(); err != nil {
			return err
		}
	}
	return nil
}

func icmpAboutBytes(about []byte, typ uint8, quote int) []byte {
	about = about[:min(len(about), 20+quote)]
	b := make([]byte, 28+len(about))
	b[0], b[8], b[9], b[20] = 0x45, 60, protoICMP, typ
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:16], []byte{192, 0, 2, 77})
	copy(b[16:20], about[12:16])
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b[:20])))
	copy(b[28:], about)
	p := view{b: b, off: 20}
	p.sealICMP()
	return b
}

func randomSegment(n *NAT, number func(n int) int) []byte {
	inside := []netip.AddrPort{hostA, hostB, at(hostA, 5001), at(hostB, 443)}[number(4)]
	outside := []netip.AddrPort{remote1, remote2, remote3}[number(3)]
	ext := netip.AddrPortFrom([]netip.Addr{public, public2}[number(2)], uint16([]int{5000, 5001, 443, 6000}[number(4)]))
	for _, f := range n.expiry { // often one that is there
		if number(2) == 0 {
			ext, outside = f.out.addrPort(), f.remote.addrPort()
			break
		}
	}
	s := segment(inside, outside, rawtcp.Flags([]int{2, 2, 2, 0x12, 0x10, 0x18, 0x11, 4, 0x14, number(256)}[number(10)]))
	switch number(6) {
	case 0:
		s.Dst = ext
	case 1, 2:
		s.Src, s.Dst = outside, ext
	case 3:
		if number(2) == 0 {
			s.Src, s.Dst = host6, remote6
		} else {
			s.Src, s.Dst = remote6, host6
		}
	}
	if s.Src.Addr().Is4() != s.Dst.Addr().Is4() {
		s.Dst = netip.AddrPortFrom(public, 1)
		s.Src = remote1
	}
	s.Seq, s.Ack = rawtcp.Seq(number(1000)), rawtcp.Seq(number(1000))
	s.TTL = uint8([]int{64, 64, 64, 2, 1}[number(5)])
	s.Payload = make([]byte, number(20))
	if s.Flags&rawtcp.SYN != 0 {
		s.Options = rawtcp.Options{MSS: uint16(number(3000)), SACKPermitted: number(2) == 0, HasWScale: number(2) == 0, WScale: uint8(number(15))}
	} else if number(3) == 0 {
		s.Options.NSACK = 1
	}
	s.Options.HasTimestamps = number(2) == 0
	b, err := s.Append(nil)
	if err != nil {
		return nil
	}
	return b
}

func TestAnyBehaviourAnyTraffic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
		b := behaviourOf(number)
		if err := traffic(b, 60, number); err != nil {
			t.Fatalf("%v: %v", b, err)
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
		b := behaviourOf(number)
		if err := traffic(b, min(len(data)/8, 100), number); err != nil {
			t.Fatalf("%v: %v", b, err)
		}
		// What is left is taken for packets as they are.
		n, err := New(b, &Config{Public: []netip.Addr{public, public2}})
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
