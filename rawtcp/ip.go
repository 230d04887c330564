package rawtcp

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
)

// Lengths and numbers given by RFC 791, RFC 8200 and the IANA registries.
const (
	ipv4MinHeader = 20
	ipv6Header    = 40

	protoICMP   = 1
	protoTCP    = 6
	protoICMPv6 = 58

	// IPv6 extension headers (RFC 8200 section 4). The first three begin with
	// the next header's number and their own length in 8-byte units beyond
	// the first eight bytes.
	extHopByHop = 0
	extRouting  = 43
	extDestOpts = 60
	extFragment = 44

	fragOffsetMask = 0x1fff // IPv4, with the fragment offset in 8-byte units
	moreFragments  = 0x2000
	dontFragment   = 0x4000

	frag6OffsetMask = 0xfff8
	frag6More       = 0x0001
)

// ipPacket is where things are in an IP packet.
type ipPacket struct {
	src, dst netip.Addr
	proto    uint8 // of what is at off
	ttl, tos uint8
	v6, df   bool
	first    bool // the first of several fragments: the rest of the data is elsewhere
	id       uint16
	off      int // where the header of proto begins
	end      int // where the packet ends on the wire, beyond len(b) if a capture cut it
}

// parseIP finds the transport header of the IP packet that b begins with.
// other is the error for what cannot hold the transport that the caller looks
// for. With quoted, b is what an ICMP error quotes: the packet may be cut
// anywhere, and its length fields are not believed, because the sender's
// path may have rewritten them.
func parseIP(p *ipPacket, b []byte, other error, quoted bool) error {
	if len(b) == 0 {
		return fmt.Errorf("rawtcp: %w: no bytes at all", ErrTruncated)
	}
	switch b[0] >> 4 {
	case 4:
		return parseIPv4(p, b, other, quoted)
	case 6:
		return parseIPv6(p, b, other, quoted)
	}
	return fmt.Errorf("rawtcp: %w: IP version %d", other, b[0]>>4)
}

func parseIPv4(p *ipPacket, b []byte, other error, quoted bool) error {
	if len(b) < ipv4MinHeader {
		return errHeaderCut("IPv4", ipv4MinHeader, len(b))
	}
	header := int(b[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 || quoted {
		// A capture of a segmentation-offloaded packet over 64 KiB has 0 here
		// (Linux, BIG TCP: iph_set_totlen); it ends where the capture does.
		total = len(b)
	}
	switch {
	case header < ipv4MinHeader:
		return fmt.Errorf("rawtcp: %w: IPv4 header length %d at byte 0, at least %d", ErrMalformed, header, ipv4MinHeader)
	case header > total && !quoted:
		return fmt.Errorf("rawtcp: %w: IPv4 total length %d at byte 2, header length %d", ErrMalformed, total, header)
	case header > len(b):
		return errHeaderCut("IPv4", header, len(b))
	}
	frag := binary.BigEndian.Uint16(b[6:])
	if frag&fragOffsetMask != 0 {
		return fmt.Errorf("rawtcp: %w: IPv4 fragment at offset %d", other, int(frag&fragOffsetMask)*8)
	}
	p.v6 = false
	p.src = netip.AddrFrom4([4]byte(b[12:16]))
	p.dst = netip.AddrFrom4([4]byte(b[16:20]))
	p.proto, p.ttl, p.tos = b[9], b[8], b[1]
	p.id = binary.BigEndian.Uint16(b[4:])
	p.df = frag&dontFragment != 0
	p.first = frag&moreFragments != 0
	p.off, p.end = header, total
	return nil
}

func parseIPv6(p *ipPacket, b []byte, other error, quoted bool) error {
	if len(b) < ipv6Header {
		return errHeaderCut("IPv6", ipv6Header, len(b))
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	p.end = ipv6Header + length
	switch {
	case quoted:
		p.end = math.MaxInt // it ends where the quote does
	case length == 0:
		p.end = len(b) // a jumbogram (RFC 2675), or as in parseIPv4
	}
	p.v6, p.df, p.first, p.id = true, false, false, 0
	p.src = netip.AddrFrom16([16]byte(b[8:24]))
	p.dst = netip.AddrFrom16([16]byte(b[24:40]))
	p.tos = b[0]<<4 | b[1]>>4
	p.ttl = b[7]
	p.proto, p.off = b[6], ipv6Header
	if p.proto == protoTCP || p.proto == protoICMPv6 {
		return nil
	}
	return skipExtensions(p, b, other)
}

// skipExtensions follows the chain of IPv6 extension headers, in whatever
// order they come (RFC 8200 section 4.1: "must accept and attempt to process
// extension headers in any order"). Every header has 8 bytes or more, so the
// packet's length bounds the loop.
func skipExtensions(p *ipPacket, b []byte, other error) error {
	for {
		switch p.proto {
		case extHopByHop, extRouting, extDestOpts, extFragment:
		default:
			return nil
		}
		if p.off+8 > p.end {
			return fmt.Errorf("rawtcp: %w: IPv6 extension header %d at byte %d passes the end of the packet at %d", ErrMalformed, p.proto, p.off, p.end)
		}
		if p.off+8 > len(b) {
			return errHeaderCut("IPv6 extension", p.off+8, len(b))
		}
		ext := b[p.off:]
		length := 8 + int(ext[1])*8
		switch p.proto {
		case extFragment:
			length = 8
			frag := binary.BigEndian.Uint16(ext[2:])
			if frag&frag6OffsetMask != 0 {
				return fmt.Errorf("rawtcp: %w: IPv6 fragment at offset %d", other, frag&frag6OffsetMask)
			}
			p.first = p.first || frag&frag6More != 0
		case extRouting:
			// With segments left the packet is still on its way: the address in
			// its header is not the one that the TCP checksum covers (RFC 8200
			// section 8.1), so it belongs to no flow that can be told from here.
			if left := ext[3]; left != 0 {
				return fmt.Errorf("rawtcp: %w: IPv6 routing header at byte %d has %d segments left", other, p.off, left)
			}
		}
		if p.off+length > p.end {
			return fmt.Errorf("rawtcp: %w: IPv6 extension header %d at byte %d of %d bytes passes the end of the packet at %d", ErrMalformed, p.proto, p.off, length, p.end)
		}
		p.proto = ext[0]
		p.off += length
	}
}

// pseudoSum begins a transport checksum with the pseudo-header (RFC 9293
// section 3.1, RFC 8200 section 8.1).
func pseudoSum(src, dst netip.Addr, proto uint8, length int) uint64 {
	sum := uint64(proto) + uint64(length)
	if src.Is4() {
		s, d := src.As4(), dst.As4()
		return sum + uint64(binary.BigEndian.Uint32(s[:])) + uint64(binary.BigEndian.Uint32(d[:]))
	}
	s, d := src.As16(), dst.As16()
	return checksumAdd(checksumAdd(sum, s[:]), d[:])
}

// isMapped reports an IPv4-mapped address in an IPv6 header. The form is for
// inside a host (RFC 4291 section 2.5.5.2); on the wire it would let one flow
// have two names.
func isMapped(p *ipPacket) bool { return p.v6 && (p.src.Is4In6() || p.dst.Is4In6()) }

func errMapped(p *ipPacket) error {
	return fmt.Errorf("rawtcp: %w: IPv4-mapped address in an IPv6 header, %v to %v", ErrMalformed, p.src, p.dst)
}

func errHeaderCut(what string, want, have int) error {
	return fmt.Errorf("rawtcp: %w: the %s header ends at byte %d, %d bytes are here", ErrTruncated, what, want, have)
}
