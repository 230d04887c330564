package nat

import (
	"encoding/binary"
	"net/netip"

	"github.com/synpunch/synpunch/rawtcp"
)

// unreachableCode is why a packet does not get there, in words: the codes of
// ICMP (RFC 792, RFC 1812) and ICMPv6 (RFC 4443) differ.
type unreachableCode struct{ v4, v6 uint8 }

var (
	hostUnreachable = unreachableCode{1, 3}
	portUnreachable = unreachableCode{3, 4}
	adminProhibited = unreachableCode{13, 1}
)

// Given by RFC 792 and RFC 4443.
const (
	icmpUnreachable, icmp6Unreachable   = 3, 1
	icmpTimeExceeded, icmp6TimeExceeded = 11, 3
)

const (
	ownTTL     = 64   // chosen by us, as Linux does
	ownTOS     = 0xc0 // of ICMP errors: internetwork control, RFC 1812 section 4.3.2.5
	icmpMost   = 576  // RFC 1812 section 4.3.2.3
	icmp6Most  = 1280 // RFC 4443 section 2.4
	waitingCap = 4096 // chosen by us: unsolicited packets that wait for their answer
)

// reset answers a segment that came from side with an RST (RFC 9293 section 3.10.7.1).
func (n *NAT) reset(p *view, side Side, list []Packet) []Packet {
	s := rawtcp.Segment{Src: p.dst.addrPort(), Dst: p.src.addrPort(), TTL: ownTTL, DF: !p.v6, Flags: rawtcp.RST}
	if p.flags&rawtcp.ACK != 0 {
		s.Seq = rawtcp.Seq(p.ack)
	} else {
		s.Flags |= rawtcp.ACK
		s.Ack = rawtcp.Seq(p.end())
	}
	b, err := s.Append(n.alloc(rawtcp.MaxHeader)[:0])
	if err != nil { // port 0 and the like: nobody to answer
		return list
	}
	return n.own(b, side, list)
}

// unreachable answers a packet that came from side with ICMP destination unreachable.
func (n *NAT) unreachable(p *view, side Side, code unreachableCode, list []Packet) []Packet {
	if p.v6 {
		return n.icmpError(p.b, side, icmp6Unreachable, code.v6, list)
	}
	return n.icmpError(p.b, side, icmpUnreachable, code.v4, list)
}

// expired answers a packet whose TTL ends here (RFC 1812 section 5.3.1).
func (n *NAT) expired(p *view, side Side, list []Packet) []Packet {
	n.drop(Expired)
	if p.v6 {
		return n.icmpError(p.b, side, icmp6TimeExceeded, 0, list)
	}
	return n.icmpError(p.b, side, icmpTimeExceeded, 0, list)
}

// full answers a segment from inside for which there is no mapping to be had.
func (n *NAT) full(p *view, list []Packet) []Packet {
	if n.b.Full == FullICMP {
		return n.unreachable(p, Inside, hostUnreachable, list)
	}
	return list
}

// icmpError makes an error about the packet that came from side.
func (n *NAT) icmpError(about []byte, side Side, typ, code uint8, list []Packet) []Packet {
	v6 := about[0]>>4 == 6
	from := n.router(side, v6)
	var b []byte
	if !v6 {
		about = about[:min(len(about), icmpMost-header4-icmpQuote)]
		b = n.alloc(header4 + icmpQuote + len(about))[:header4+icmpQuote+len(about)]
		clear(b[:header4+icmpQuote])
		b[0], b[1] = 0x45, ownTOS
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[8], b[9] = ownTTL, protoICMP
		copy(b[12:16], about[16:20])
		copy(b[16:20], about[12:16])
		if from.IsValid() {
			a := from.As4()
			copy(b[12:16], a[:])
		}
		binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b[:header4])))
	} else {
		about = about[:min(len(about), icmp6Most-header6-icmpQuote)]
		b = n.alloc(header6 + icmpQuote + len(about))[:header6+icmpQuote+len(about)]
		clear(b[:header6+icmpQuote])
		b[0] = 6 << 4
		binary.BigEndian.PutUint16(b[4:], uint16(icmpQuote+len(about)))
		b[6], b[7] = protoICMP6, ownTTL
		copy(b[8:24], about[24:40])
		copy(b[24:40], about[8:24])
		if from.IsValid() {
			a := from.As16()
			copy(b[8:24], a[:])
		}
	}
	p := view{b: b, off: len(b) - icmpQuote - len(about), v6: v6}
	msg := b[p.off:]
	msg[0], msg[1] = typ, code
	copy(msg[icmpQuote:], about)
	p.sealICMP()
	return n.own(b, side, list)
}

// router is the NAT's own address on a side, if it has one.
func (n *NAT) router(side Side, v6 bool) netip.Addr {
	switch {
	case side == Inside && v6:
		return n.gateway6
	case side == Inside:
		return n.gateway4
	case v6:
		return n.outer6
	}
	return n.outer4
}

// own sends a packet of the NAT's own. To the outside may be a way back in.
func (n *NAT) own(b []byte, to Side, list []Packet) []Packet {
	n.counters.Answered++
	if to == Inside || n.turned {
		return append(list, Packet{b, Inside})
	}
	var p view
	if n.b.Hairpinning == HairpinExternal && n.b.Translation != None && p.parse(b) == Passed && n.isPublic(p.dst.ip) {
		why := n.last
		if p.icmp {
			list = n.icmpIn(&p, list)
		} else {
			list = n.inbound(&p, list)
		}
		n.last = why
		return list
	}
	return append(list, Packet{b, Outside})
}

// waiting is an unsolicited packet that gets its answer when it is due. A NAT has one
// delay for all of them, so those that came first are due first.
type waiting struct {
	due         int64
	out, remote endpoint
	pkt         []byte
	turned      bool
}

// later keeps a SYN for its ICMP error (RFC 5382 REQ-4).
func (n *NAT) later(p *view) {
	for i := range n.waiting {
		if w := &n.waiting[i]; w.out == p.dst && w.remote == p.src {
			return // one error is enough, at the time of the first
		}
	}
	n.keep(p, n.wait)
}

// keep keeps a packet for its answer in the time d.
func (n *NAT) keep(p *view, d int64) {
	if len(n.waiting) >= waitingCap {
		return
	}
	b := n.alloc(len(p.b))[:len(p.b)]
	copy(b, p.b)
	n.waiting = append(n.waiting, waiting{n.now + d, p.dst, p.src, b, n.turned})
}

// forget drops the SYN that was kept, as an outbound one has answered it (RFC
// 5382 REQ-4a). An answer that is only late stays.
func (n *NAT) forget(out, remote endpoint) {
	if n.b.Unsolicited != UnsolicitedWait {
		return
	}
	for i := range n.waiting {
		if w := &n.waiting[i]; w.out == out && w.remote == remote {
			n.waiting = append(n.waiting[:i], n.waiting[i+1:]...)
			return
		}
	}
}

// overdue sends the answers whose time has come.
func (n *NAT) overdue(list []Packet) []Packet {
	for len(n.waiting) > 0 && n.waiting[0].due <= n.now {
		w := n.waiting[0]
		n.waiting = append(n.waiting[:0], n.waiting[1:]...)
		var p view
		if p.parse(w.pkt) != Passed {
			continue // it was parsed before
		}
		n.turned = w.turned
		if n.b.Unsolicited == UnsolicitedWait {
			list = n.unreachable(&p, Outside, portUnreachable, list)
		} else {
			list = n.respond(&p, list)
		}
		n.turned = false
	}
	return list
}
