package live

import "encoding/binary"

// packet is what the link has to know of a frame.
type packet struct {
	ip      int  // offset of the IP header
	tcp     bool // with its whole fixed header, not a later fragment
	icmp    bool // for IPv6 errors only: neighbour discovery is the cable's own affair
	notable bool // opens or ends a flow, or is ICMP
}

// Given by the specifications.
const (
	etherLen    = 14
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
	protoICMP   = 1
	protoTCP    = 6
	protoICMPv6 = 58
	tcpFlags    = 13   // offset in the TCP header, RFC 9293 section 3.1
	tcpChecksum = 16   // likewise
	tcpNotable  = 0x07 // FIN, SYN, RST
	tcpSYN      = 0x02
	tcpACK      = 0x10
	icmpv6Info  = 128 // ICMPv6 types from here on are no errors, RFC 4443 section 2.1
)

// classify looks into an Ethernet frame.
func classify(f []byte) packet {
	p := packet{ip: etherLen}
	if len(f) < etherLen {
		return packet{ip: len(f)}
	}
	proto, body, ok := payload(f[etherLen:], binary.BigEndian.Uint16(f[etherLen-2:]))
	switch {
	case !ok:
	case proto == protoTCP && len(body) >= 20:
		p.tcp = true
		p.notable = body[tcpFlags]&tcpNotable != 0
	case proto == protoICMP, proto == protoICMPv6 && len(body) > 0 && body[0] < icmpv6Info:
		p.icmp, p.notable = true, true
	}
	return p
}

// payload finds what an IP packet carries. IPv6 extension headers are not
// followed: no host of the lab sends them with TCP.
func payload(b []byte, ether uint16) (proto byte, body []byte, ok bool) {
	switch {
	case ether == etherIPv4 && len(b) >= 20:
		n := int(b[0]&0xf) * 4
		if n < 20 || len(b) < n || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return 0, nil, false
		}
		return b[9], b[n:], true
	case ether == etherIPv6 && len(b) >= 40:
		return b[6], b[40:], true
	}
	return 0, nil, false
}
