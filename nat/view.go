package nat

import (
	"encoding/binary"

	"github.com/synpunch/synpunch/rawtcp"
)

// Given by RFC 791, 792, 4443, 8200 and 9293.
const (
	header4   = 20
	header6   = 40
	headerTCP = 20

	protoICMP  = 1
	protoTCP   = 6
	protoICMP6 = 58

	tcpChecksum  = 16 // offset in the TCP header
	icmpChecksum = 2
	icmpQuote    = 8 // where the quoted packet begins
)

// view is where things are in a packet: a TCP segment or an ICMP error.
type view struct {
	b        []byte // the whole packet, nothing behind it
	off      int    // of the transport header
	v6       bool
	icmp     bool
	src, dst endpoint // ports are 0 for ICMP

	// Of TCP.
	seq, ack uint32
	flags    rawtcp.Flags
	window   uint16
	data     int // offset of the payload

}

// length is what the segment takes of the sequence space.
func (p *view) length() uint32 {
	n := uint32(len(p.b) - p.data)
	if p.flags&rawtcp.SYN != 0 {
		n++
	}
	if p.flags&rawtcp.FIN != 0 {
		n++
	}
	return n
}

func (p *view) end() uint32 { return p.seq + p.length() }

func (p *view) options() []byte { return p.b[p.off+headerTCP : p.data] }

// bareSYN reports a SYN without ACK.
func (p *view) bareSYN() bool {
	return p.flags&(rawtcp.SYN|rawtcp.ACK|rawtcp.RST) == rawtcp.SYN
}

// parse finds out what b is. It verifies every checksum: a NAT that updates a
// wrong one would make it look less wrong.
func (p *view) parse(b []byte) Reason {
	if len(b) == 0 {
		return Malformed
	}
	var proto uint8
	var pseudo uint64
	switch b[0] >> 4 {
	case 4:
		if len(b) < header4 {
			return Malformed
		}
		off, total := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:]))
		if off < header4 || total < off || total > len(b) {
			return Malformed
		}
		if fold(sum(0, b[:off])) != 0xffff {
			return BadChecksum
		}
		if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // more fragments, or an offset
			return Fragment
		}
		p.b, p.off, p.v6, proto = b[:total:total], off, false, b[9]
		p.src.ip, p.dst.ip = ip4(binary.BigEndian.Uint32(b[12:])), ip4(binary.BigEndian.Uint32(b[16:]))
		pseudo = sum(0, b[12:20])
	case 6:
		if len(b) < header6 {
			return Malformed
		}
		total := header6 + int(binary.BigEndian.Uint16(b[4:]))
		if total > len(b) {
			return Malformed
		}
		p.b, p.off, p.v6, proto = b[:total:total], header6, true, b[6]
		p.src.ip = ip{binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}
		p.dst.ip = ip{binary.BigEndian.Uint64(b[24:]), binary.BigEndian.Uint64(b[32:])}
		if p.src.is4() || p.dst.is4() {
			return Malformed // mapped addresses are for inside a host
		}
		if proto == 44 { // RFC 8200 section 4.5
			return Fragment
		}
		pseudo = sum(0, b[8:40])
	default:
		return Malformed
	}
	rest := p.b[p.off:]
	switch {
	case proto == protoTCP:
		p.icmp = false
		pseudo += uint64(proto) + uint64(len(rest))
		return p.parseTCP(rest, pseudo)
	case proto == protoICMP && !p.v6 || proto == protoICMP6 && p.v6:
		p.icmp = true
		p.src.port, p.dst.port = 0, 0
		if len(rest) < icmpQuote {
			return Malformed
		}
		if !p.v6 {
			pseudo = 0
		} else {
			pseudo += uint64(proto) + uint64(len(rest))
		}
		if fold(sum(pseudo, rest)) != 0xffff {
			return BadChecksum
		}
		return 0
	}
	return OtherProtocol
}

func (p *view) parseTCP(t []byte, pseudo uint64) Reason {
	if len(t) < headerTCP {
		return Malformed
	}
	header := int(t[12]>>4) * 4
	if header < headerTCP || header > len(t) {
		return Malformed
	}
	if fold(sum(pseudo, t)) != 0xffff {
		return BadChecksum
	}
	p.src.port = uint64(binary.BigEndian.Uint16(t))
	p.dst.port = uint64(binary.BigEndian.Uint16(t[2:]))
	p.seq, p.ack = binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:])
	p.flags = rawtcp.Flags(t[13])
	p.window = binary.BigEndian.Uint16(t[14:])
	p.data = p.off + header
	return 0
}

// ttl is the TTL or hop limit.
func (p *view) ttl() uint8 {
	if p.v6 {
		return p.b[7]
	}
	return p.b[8]
}

// quote is what an ICMP error says about a TCP segment.
type quote struct {
	off      int // of the quoted IP header in the packet
	tcp      int // of the quoted TCP header
	src, dst endpoint
	seq      uint32
	whole    bool // RFC 792's "first 64 bits of the original datagram's data" are there
}

// quoted reads the quoted segment; false if there is none.
func (p *view) quoted() (quote, bool) {
	var q quote
	b := p.b
	if !p.v6 {
		switch b[p.off] {
		case 3, 4, 11, 12: // unreachable, source quench, time exceeded, parameter problem: RFC 792
		default:
			return q, false
		}
	} else if b[p.off] < 1 || b[p.off] > 4 { // RFC 4443 section 3
		return q, false
	}
	q.off = p.off + icmpQuote
	in := b[q.off:]
	if !p.v6 {
		if len(in) < header4 || in[0]>>4 != 4 || in[0]&0x0f < 5 || in[9] != protoTCP {
			return q, false
		}
		if binary.BigEndian.Uint16(in[6:])&0x1fff != 0 { // not the first fragment
			return q, false
		}
		q.tcp = q.off + int(in[0]&0x0f)*4
		q.src.ip, q.dst.ip = ip4(binary.BigEndian.Uint32(in[12:])), ip4(binary.BigEndian.Uint32(in[16:]))
	} else {
		if len(in) < header6 || in[0]>>4 != 6 || in[6] != protoTCP {
			return q, false
		}
		q.tcp = q.off + header6
		q.src.ip = ip{binary.BigEndian.Uint64(in[8:]), binary.BigEndian.Uint64(in[16:])}
		q.dst.ip = ip{binary.BigEndian.Uint64(in[24:]), binary.BigEndian.Uint64(in[32:])}
	}
	if len(b) < q.tcp+4 { // the ports
		return q, false
	}
	q.src.port = uint64(binary.BigEndian.Uint16(b[q.tcp:]))
	q.dst.port = uint64(binary.BigEndian.Uint16(b[q.tcp+2:]))
	if len(b) >= q.tcp+8 {
		q.seq, q.whole = binary.BigEndian.Uint32(b[q.tcp+4:]), true
	}
	return q, true
}

// ttlExceeded reports an ICMP error of that type.
func (p *view) ttlExceeded() bool {
	if p.v6 {
		return p.b[p.off] == 3
	}
	return p.b[p.off] == 11
}
