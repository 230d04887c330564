package rawtcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

const (
	tcpMinHeader = 20 // RFC 9293 section 3.1
	defaultTTL   = 64 // RFC 1700, and what Linux sends (net.ipv4.ip_default_ttl)
)

// Append appends the segment to b as a whole IP packet, with the IPv4 header
// checksum and the TCP checksum filled in, and returns the longer slice. It
// allocates only if b's capacity does not suffice; MaxHeader plus the payload
// always does.
//
// The segment is written as it stands, sensible or not: any flags, any window,
// data on a SYN. What the wire format cannot hold is an error that wraps
// ErrMalformed, and b is returned as it was: addresses of two families or
// missing, a packet over 65,535 bytes, options over 40 bytes, a window shift
// above 14.
func (s *Segment) Append(b []byte) ([]byte, error) {
	src, dst := s.Src.Addr(), s.Dst.Addr()
	v4 := src.Is4()
	if v4 != dst.Is4() || !v4 && !(isV6(src) && isV6(dst)) {
		return b, fmt.Errorf("rawtcp: append: %w: source %v and destination %v: want two IPv4 or two IPv6 addresses, not IPv4-mapped ones (netip.Addr.Unmap)", ErrMalformed, src, dst)
	}
	optLen := s.Options.wireLen()
	if optLen > maxOptions || s.Options.WScale > maxWScale && s.Options.HasWScale || int(s.Options.NSACK) > len(s.Options.SACK) {
		return b, s.Options.check()
	}
	ipLen := ipv4MinHeader
	tcpLen := tcpMinHeader + optLen + len(s.Payload)
	onWire := ipLen + tcpLen
	if !v4 {
		ipLen = ipv6Header
		onWire = tcpLen // the IPv6 length does not count the IPv6 header
	}
	if onWire > 0xffff {
		return b, fmt.Errorf("rawtcp: append: %w: %d bytes of payload make a packet over 65,535 bytes", ErrMalformed, len(s.Payload))
	}

	start := len(b)
	b = slices.Grow(b, ipLen+tcpLen)[:start+ipLen+tcpLen]
	pkt := b[start:]
	var sum uint64
	if v4 {
		sum = s.putIPv4(pkt)
	} else {
		sum = s.putIPv6(pkt)
	}

	tcp := pkt[ipLen:]
	_ = tcp[tcpMinHeader-1]
	ports := uint32(s.Src.Port())<<16 | uint32(s.Dst.Port())
	binary.BigEndian.PutUint32(tcp[0:], ports)
	binary.BigEndian.PutUint32(tcp[4:], uint32(s.Seq))
	binary.BigEndian.PutUint32(tcp[8:], uint32(s.Ack))
	binary.BigEndian.PutUint32(tcp[12:], uint32(tcpMinHeader+optLen)<<26|uint32(s.Flags)<<16|uint32(s.Window))
	binary.BigEndian.PutUint32(tcp[16:], uint32(s.Urgent)) // the checksum's place is 0 while it is computed
	if optLen > 0 {
		s.Options.put(tcp[tcpMinHeader : tcpMinHeader+optLen])
	}
	copy(tcp[tcpMinHeader+optLen:], s.Payload)
	binary.BigEndian.PutUint16(tcp[16:], checksumFold(checksumAdd(sum+protoTCP+uint64(tcpLen), tcp)))
	return b, nil
}

// MaxHeader is the most that Append writes besides the payload, in bytes: an
// IPv6 header, a TCP header and 40 bytes of options.
const MaxHeader = ipv6Header + tcpMinHeader + maxOptions

func isV6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() }

// putIPv4 writes the IP header and returns the sum of the two addresses.
func (s *Segment) putIPv4(pkt []byte) uint64 {
	_ = pkt[ipv4MinHeader-1]
	src, dst := s.Src.Addr().As4(), s.Dst.Addr().As4()
	var flags uint32
	if s.DF {
		flags = dontFragment
	}
	// The header as five words; its checksum is the sum of them.
	w0 := 0x45<<24 | uint32(s.TOS)<<16 | uint32(len(pkt))
	w1 := uint32(s.ID)<<16 | flags
	w2 := uint32(s.hops())<<24 | protoTCP<<16
	w3 := binary.BigEndian.Uint32(src[:])
	w4 := binary.BigEndian.Uint32(dst[:])
	addrs := uint64(w3) + uint64(w4)
	w2 |= uint32(checksumFold(uint64(w0) + uint64(w1) + uint64(w2) + addrs))
	binary.BigEndian.PutUint32(pkt[0:], w0)
	binary.BigEndian.PutUint32(pkt[4:], w1)
	binary.BigEndian.PutUint32(pkt[8:], w2)
	binary.BigEndian.PutUint32(pkt[12:], w3)
	binary.BigEndian.PutUint32(pkt[16:], w4)
	return addrs
}

// putIPv6 writes the IP header, with flow label 0, and returns the sum of the
// two addresses, small enough to add a few words to it.
func (s *Segment) putIPv6(pkt []byte) uint64 {
	_ = pkt[ipv6Header-1]
	binary.BigEndian.PutUint32(pkt[0:], 6<<28|uint32(s.TOS)<<20)
	binary.BigEndian.PutUint32(pkt[4:], uint32(len(pkt)-ipv6Header)<<16|protoTCP<<8|uint32(s.hops()))
	src, dst := s.Src.Addr().As16(), s.Dst.Addr().As16()
	copy(pkt[8:24], src[:])
	copy(pkt[24:40], dst[:])
	sum := checksumAdd(0, pkt[8:40])
	return sum>>32 + sum&0xffffffff
}

func (s *Segment) hops() uint8 {
	if s.TTL == 0 {
		return defaultTTL
	}
	return s.TTL
}
