package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// behaviourOf makes a behaviour of numbers: a preset and some knobs.
func behaviourOf(number func(n int) int) Behaviour {
	b := presets[number(len(presets))].Behaviour
	for range number(8) {
		k := knobs[number(len(knobs))]
		list := valuesOf(k)
		changed := b
		if changed.Set(k.Name, list[number(len(list))]) == nil && changed.Validate() == nil {
			b = changed
		}
	}
	return b
}

// valuesOf lists values of a knob: all words, some numbers.
func valuesOf(k Knob) []string {
	switch k.Values {
	case "NUMBER":
		return []string{"0", "1", "2", "3", "7", "600", "2000", "-1"}
	case "DURATION":
		return []string{"0s", "1ms", "1s", "10s", "3m"}
	case "FIRST-LAST":
		return []string{"1024-65535", "5000-5007", "1-10", "4999-5030", "7-7"}
	case "keep, close, close after DURATION":
		return []string{"keep", "close", "close after 2s"}
	}
	if k.Name == "strip-options" {
		return append([]string{"none", "mss+timestamps", "sack+fastopen+mptcp+unknown"}, optionWords...)
	}
	return strings.Split(k.Values, ", ")
}

// chain is NATs behind each other, the host's first, and who owns their external endpoints, as
// far as the packets have told.
type chain struct {
	nats   []*NAT
	owners []map[endpoints]netip.AddrPort // of each NAT: the inside endpoint
	now    time.Time
	seen   []Packet // that left the chain
}

// endpoints is an external 5-tuple: the external endpoint and the remote one.
type endpoints struct{ out, remote netip.AddrPort }

// newChain makes one to three NATs; the outermost has the public addresses.
func newChain(list []Behaviour, seed uint64) (*chain, error) {
	c := &chain{now: time.Unix(1e9, 0)}
	for i, b := range list {
		cfg := Config{Public: []netip.Addr{public, public2}, Gateway: []netip.Addr{gateway, gateway6Fuzz}, Seed: seed}
		if i < len(list)-1 {
			cfg.Public = []netip.Addr{netip.AddrFrom4([4]byte{100, 64, byte(i), 1}), netip.AddrFrom4([4]byte{100, 64, byte(i), 2})}
		}
		n, err := New(b, &cfg)
		if err != nil {
			return nil, err
		}
		c.nats, c.owners = append(c.nats, n), append(c.owners, map[endpoints]netip.AddrPort{})
	}
	return c, nil
}

var gateway6Fuzz = netip.MustParseAddr("2001:db8::1")

// send gives a packet to the chain from a side and follows what comes of it.
func (c *chain) send(side Side, data []byte) error {
	at := 0
	if side == Outside {
		at = len(c.nats) - 1
	}
	return c.give(at, side, data, 0)
}

func (c *chain) give(at int, side Side, data []byte, depth int) error {
	if depth > 20 {
		return errors.New("a packet goes round in circles")
	}
	n := c.nats[at]
	before, _ := rawtcp.Parse(data)
	before.Payload = nil
	var out []Packet
	if side == Inside {
		out = n.Outbound(c.now, data, nil)
	} else {
		out = n.Inbound(c.now, data, nil)
	}
	if err := c.inspect(at, side, &before, out); err != nil {
		return fmt.Errorf("NAT %d of %d, from the %v: %w", at+1, len(c.nats), side, err)
	}
	return c.forward(at, out, depth)
}

// forward hands on what left a NAT.
func (c *chain) forward(at int, out []Packet, depth int) error {
	for _, p := range out {
		next := at + 1
		if p.To == Inside {
			next = at - 1
		}
		if next < 0 || next == len(c.nats) {
			if len(c.seen) < 256 {
				c.seen = append(c.seen, p)
			}
			continue
		}
		if err := c.give(next, 1-p.To, append([]byte(nil), p.Data...), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// tick lets every NAT send what it held back.
func (c *chain) tick() error {
	for i, n := range c.nats {
		out := n.Tick(c.now, nil)
		if err := c.inspect(i, Outside, &rawtcp.Segment{}, out); err != nil {
			return err
		}
		if err := c.forward(i, out, 0); err != nil {
			return err
		}
	}
	return nil
}

// reset starts all over, as a simulation does before each trial.
func (c *chain) reset(seed uint64) {
	for i, n := range c.nats {
		n.Reset(seed)
		clear(c.owners[i])
	}
	c.seen = nil
}

// inspect checks what a NAT made of a segment that came from a side.
func (c *chain) inspect(at int, side Side, before *rawtcp.Segment, out []Packet) error {
	n := c.nats[at]
	for _, p := range out {
		if err := rawtcp.VerifyChecksums(p.Data); err != nil {
			return fmt.Errorf("to the %v % x: %w", p.To, p.Data, err)
		}
		if err := verifyQuote(p.Data); err != nil {
			return fmt.Errorf("to the %v % x: %w", p.To, p.Data, err)
		}
		after, err := rawtcp.Parse(p.Data)
		if err != nil || !before.Src.IsValid() || side == p.To {
			continue // an ICMP error, or the NAT's own, or turned
		}
		in, t := before.Src, endpoints{after.Src, after.Dst}
		if side == Outside {
			in, t = after.Dst, endpoints{before.Dst, before.Src}
		}
		if owner, known := c.owners[at][t]; known && owner != in && n.has(owner, t) {
			return fmt.Errorf("%v and %v have one 5-tuple, %v and %v", owner, in, t.out, t.remote)
		}
		c.owners[at][t] = in
	}
	return n.sound()
}

// has reports whether a flow of the inside endpoint on the 5-tuple is alive.
func (n *NAT) has(in netip.AddrPort, t endpoints) bool {
	for _, f := range n.expiry {
		if f.in.addrPort() == in && f.out.addrPort() == t.out && f.remote.addrPort() == t.remote {
			return true
		}
	}
	return false
}

// verifyQuote checks the checksums of a segment that an ICMP error quotes whole.
func verifyQuote(b []byte) error {
	off, proto := header4, b[9]
	if b[0]>>4 == 6 {
		off, proto = header6, b[6]
	}
	if proto != protoICMP && proto != protoICMP6 || len(b) < off+icmpQuote {
		return nil
	}
	err := rawtcp.VerifyChecksums(b[off+icmpQuote:])
	if errors.Is(err, rawtcp.ErrChecksum) {
		return fmt.Errorf("quoted: %w", err)
	}
	return nil
}

// traffic sends random packets through one to three NATs and checks them and what comes out.
func traffic(packets int, number func(n int) int) error {
	list := make([]Behaviour, 1+max(0, number(5)-2))
	var names []string
	for i := range list {
		list[i] = behaviourOf(number)
		names = append(names, list[i].String())
	}
	err := trafficThrough(list, packets, number)
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(names, " + "), err)
	}
	return nil
}

func trafficThrough(list []Behaviour, packets int, number func(n int) int) error {
	c, err := newChain(list, uint64(number(100)))
	if err != nil {
		return err
	}
	for range packets {
		c.now = c.now.Add([]time.Duration{0, 0, time.Millisecond, time.Second, 10 * time.Second, 5 * time.Minute, -time.Second}[number(7)])
		switch kind := number(48); {
		case kind == 0:
			c.reset(uint64(number(100)))
		case kind <= 4:
			err = c.tick()
		case kind <= 13 && len(c.seen) > 0: // an ICMP error, or an echo of what came out
			p := c.seen[number(len(c.seen))]
			data := append([]byte(nil), p.Data...)
			if kind <= 10 {
				data = randomICMP(data, number)
			}
			err = c.send(p.To, data)
		default:
			data := randomSegment(c.nats[len(c.nats)-1], number)
			if number(40) == 0 && len(data) > 0 {
				data[number(len(data))] ^= uint8(number(256))
			}
			err = c.send(Side(number(2)), data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// randomICMP is an error about a packet that its receiver, or a router on the way to it, sends back.
func randomICMP(about []byte, number func(n int) int) []byte {
	from := netip.MustParseAddr("192.0.2.77")
	if about[0]>>4 == 6 {
		from = netip.MustParseAddr("2001:db8:77::1")
	} else if number(2) == 0 {
		from = netip.AddrFrom4([4]byte(about[16:20]))
	}
	quote := []int{number(12), 20 + number(60), len(about)}[number(3)]
	return icmpAbout(from, about, uint8([]int{3, 11, 12, 4, 5}[number(5)]), uint8(number(3)), quote, uint8(64>>number(7)))
}

// icmpAbout is an ICMP error about a packet, of type and code as in RFC 792, that quotes some
// bytes behind the IP header.
func icmpAbout(from netip.Addr, about []byte, typ, code uint8, quote int, ttl uint8) []byte {
	if from.Is6() {
		return icmp6About(from, about, map[uint8]uint8{3: 1, 4: 2, 5: 137, 11: 3, 12: 4}[typ], code, quote, ttl)
	}
	about = about[:min(len(about), header4+quote)]
	b := make([]byte, header4+icmpQuote+len(about))
	b[0], b[8], b[9], b[20], b[21] = 0x45, ttl, protoICMP, typ, code
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:16], from.AsSlice())
	copy(b[16:20], about[12:16])
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b[:header4])))
	copy(b[header4+icmpQuote:], about)
	p := view{b: b, off: header4}
	p.sealICMP()
	return b
}

func icmp6About(from netip.Addr, about []byte, typ, code uint8, quote int, ttl uint8) []byte {
	about = about[:min(len(about), header6+quote)]
	b := make([]byte, header6+icmpQuote+len(about))
	b[0], b[6], b[7], b[header6], b[header6+1] = 6<<4, protoICMP6, ttl, typ, code
	binary.BigEndian.PutUint16(b[4:], uint16(icmpQuote+len(about)))
	copy(b[8:24], from.AsSlice())
	copy(b[24:40], about[8:24])
	copy(b[header6+icmpQuote:], about)
	p := view{b: b, off: header6, v6: true}
	p.sealICMP()
	return b
}

// randomSegment is one of a few hosts to a few others, often of a flow that the outermost NAT has.
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
		s.Src, s.Dst = host6, remote6
		if number(2) == 0 {
			s.Src, s.Dst = remote6, host6
		}
	}
	if s.Src.Addr().Is4() != s.Dst.Addr().Is4() {
		s.Dst = netip.AddrPortFrom(public, 1)
		s.Src = remote1
	}
	s.Seq, s.Ack = rawtcp.Seq(number(1000)), rawtcp.Seq(number(1000))
	s.TTL = uint8([]int{64, 64, 64, 64, 3, 2, 1}[number(7)])
	s.Payload = make([]byte, number(20))
	if number(4) == 0 {
		b, err := s.Append(nil)
		if err != nil {
			return nil
		}
		return withOptions(b, number)
	}
	if s.Flags&rawtcp.SYN != 0 {
		s.Options = rawtcp.Options{MSS: uint16(number(3000)), SACKPermitted: number(2) == 0, HasWScale: number(2) == 0, WScale: uint8(number(15))}
	} else if number(3) == 0 {
		s.Options.NSACK = uint8(1 + number(3))
		for i := range s.Options.NSACK {
			s.Options.SACK[i] = rawtcp.SACKBlock{Left: rawtcp.Seq(number(1000)), Right: rawtcp.Seq(number(1000))}
		}
	}
	s.Options.HasTimestamps = number(2) == 0
	s.Options.TSVal, s.Options.TSEcr = uint32(number(1000)), uint32(number(1000))
	b, err := s.Append(nil)
	if err != nil {
		return nil
	}
	return b
}

// withOptions puts options of any kind and length, impossible ones too, into a segment that has none.
func withOptions(b []byte, number func(n int) int) []byte {
	off := header4
	if b[0]>>4 == 6 {
		off = header6
	}
	words := 1 + number(10)
	opts := make([]byte, 4*words)
	for i := 0; i+1 < len(opts); {
		opts[i] = uint8([]int{1, 1, 2, 3, 4, 5, 5, 8, 30, 34, 77, 253, 254, 0}[number(14)])
		if opts[i] == optNOP {
			i++
			continue
		}
		opts[i+1] = uint8([]int{number(12), 4, 10, number(40)}[number(4)])
		for j := i + 2; j < min(len(opts), i+int(opts[i+1])); j++ {
			opts[j] = uint8(number(256))
		}
		if opts[i] == 254 && i+3 < len(opts) && number(2) == 0 {
			opts[i+2], opts[i+3] = 0xf9, 0x89 // RFC 6994's identifier of Fast Open, RFC 7413
		}
		i += max(2, int(opts[i+1]))
	}
	tcp := append(append(append([]byte(nil), b[off:off+headerTCP]...), opts...), b[off+headerTCP:]...)
	tcp[12] = uint8(5+words) << 4
	out := append(append([]byte(nil), b[:off]...), tcp...)
	tcp = out[off:]
	var pseudo uint64
	if off == header4 {
		binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
		clear(out[10:12])
		binary.BigEndian.PutUint16(out[10:], ^fold(sum(0, out[:header4])))
		pseudo = sum(0, out[12:20])
	} else {
		binary.BigEndian.PutUint16(out[4:], uint16(len(tcp)))
		pseudo = sum(0, out[8:40])
	}
	clear(tcp[tcpChecksum : tcpChecksum+2])
	binary.BigEndian.PutUint16(tcp[tcpChecksum:], ^fold(sum(pseudo+protoTCP+uint64(len(tcp)), tcp)))
	return out
}
