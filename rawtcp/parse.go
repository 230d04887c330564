package rawtcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Parse reads the TCP segment in the IP packet that b begins with; b may be
// longer, as a short packet is on Ethernet. It does not allocate, and the
// result's Payload is a part of b.
//
// IPv4 options and the IPv6 extension headers hop-by-hop, routing (with no
// segments left), destination options and fragment (the first) are skipped.
// The headers must be whole; the payload may be cut off, PayloadLen says how
// long it was. Checksums are not looked at, because a host's own packets are
// captured before the network card fills them in: see VerifyChecksums.
//
// Errors wrap ErrTruncated, ErrNotTCP or ErrMalformed with the place.
func Parse(b []byte) (Segment, error) {
	var s Segment
	err := ParseInto(&s, b)
	return s, err
}

// ParseInto is Parse into a Segment of the caller's; everything in it is
// overwritten. If only the TCP options are broken the error is ErrMalformed
// and the rest of the segment is filled in; with any other error s is zero.
func ParseInto(s *Segment, b []byte) error {
	*s = Segment{}
	var ip ipPacket
	if err := parseIP(&ip, b, ErrNotTCP, false); err != nil {
		return err
	}
	if ip.proto != protoTCP {
		return fmt.Errorf("rawtcp: %w: IP protocol %d", ErrNotTCP, ip.proto)
	}
	header, err := tcpHeaderLen(&ip, b)
	if err != nil {
		return err
	}
	if isMapped(&ip) {
		return errMapped(&ip)
	}

	tcp := b[ip.off : ip.off+header]
	_ = tcp[tcpMinHeader-1]
	ports := binary.BigEndian.Uint32(tcp)
	s.Src = netip.AddrPortFrom(ip.src, uint16(ports>>16))
	s.Dst = netip.AddrPortFrom(ip.dst, uint16(ports))
	s.TTL, s.TOS, s.ID, s.DF = ip.ttl, ip.tos, ip.id, ip.df
	s.Seq = Seq(binary.BigEndian.Uint32(tcp[4:]))
	s.Ack = Seq(binary.BigEndian.Uint32(tcp[8:]))
	s.Flags = Flags(tcp[13])
	s.Window = binary.BigEndian.Uint16(tcp[14:])
	s.Urgent = binary.BigEndian.Uint16(tcp[18:])
	data := ip.off + header
	s.PayloadLen = ip.end - data
	s.Payload = b[data:min(ip.end, len(b)):min(ip.end, len(b))]
	if header == tcpMinHeader {
		return nil
	}
	return s.Options.parse(tcp[tcpMinHeader:], ip.off+tcpMinHeader)
}

// tcpHeaderLen checks that the TCP header lies within the packet and within b.
func tcpHeaderLen(ip *ipPacket, b []byte) (int, error) {
	if ip.end-ip.off < tcpMinHeader {
		return 0, fmt.Errorf("rawtcp: %w: the IP packet ends at byte %d, the TCP header begins at %d and takes %d or more", ErrMalformed, ip.end, ip.off, tcpMinHeader)
	}
	if len(b)-ip.off < tcpMinHeader {
		return 0, errHeaderCut("TCP", ip.off+tcpMinHeader, len(b))
	}
	header := int(b[ip.off+12]>>4) * 4
	if header < tcpMinHeader || header > ip.end-ip.off {
		return 0, fmt.Errorf("rawtcp: %w: TCP data offset %d bytes at byte %d, the packet has %d to %d", ErrMalformed, header, ip.off+12, tcpMinHeader, ip.end-ip.off)
	}
	if header > len(b)-ip.off {
		return 0, errHeaderCut("TCP", ip.off+header, len(b))
	}
	return header, nil
}

// VerifyChecksums checks the IPv4 header checksum and the TCP, ICMP or ICMPv6
// checksum of the packet that b begins with. The error wraps ErrChecksum and
// names the checksum, what it is and what it should be. A packet that is not
// all there, cut by a capture or split into fragments, is ErrTruncated; what
// Parse and ParseICMP cannot read is as they say.
//
// A host's own packets, captured before they reach the network card, often have
// an unfinished checksum: only those that came from the wire can be checked.
func VerifyChecksums(b []byte) error {
	var ip ipPacket
	if err := parseIP(&ip, b, ErrNotTCP, false); err != nil {
		return err
	}
	if !ip.v6 {
		header := b[:b[0]&0x0f*4]
		if sum := checksumFold(checksumAdd(0, header)); sum != 0 {
			return errChecksum("IPv4 header", header, 10)
		}
	}
	if ip.first {
		return fmt.Errorf("rawtcp: %w: the first of several fragments", ErrTruncated)
	}
	if ip.end > len(b) {
		return fmt.Errorf("rawtcp: %w: the packet has %d bytes, %d are here", ErrTruncated, ip.end, len(b))
	}
	data := b[ip.off:ip.end]
	switch {
	case ip.proto == protoTCP:
		if _, err := tcpHeaderLen(&ip, b); err != nil {
			return err
		}
		sum := pseudoSum(ip.src, ip.dst, protoTCP, len(data))
		if checksumFold(checksumAdd(sum, data)) != 0 {
			return errChecksumOver("TCP", sum, data, 16)
		}
	case ip.proto == protoICMP && !ip.v6 || ip.proto == protoICMPv6 && ip.v6:
		if len(data) < icmpHeader {
			return fmt.Errorf("rawtcp: %w: %d bytes of ICMP", ErrMalformed, len(data))
		}
		name, sum := "ICMP", uint64(0)
		if ip.v6 {
			name, sum = "ICMPv6", pseudoSum(ip.src, ip.dst, protoICMPv6, len(data))
		}
		if checksumFold(checksumAdd(sum, data)) != 0 {
			return errChecksumOver(name, sum, data, 2)
		}
	default:
		return fmt.Errorf("rawtcp: %w: IP protocol %d", ErrNotTCP, ip.proto)
	}
	return nil
}

func errChecksum(what string, data []byte, at int) error {
	return errChecksumOver(what, 0, data, at)
}

// errChecksumOver says what the checksum at data[at:] is and should be.
func errChecksumOver(what string, sum uint64, data []byte, at int) error {
	have := binary.BigEndian.Uint16(data[at:])
	// Adding the complement of a word takes it out of the sum (RFC 1624).
	want := checksumFold(checksumAdd(checksumAdd(sum, data), []byte{^data[at], ^data[at+1]}))
	return fmt.Errorf("rawtcp: %w: %s checksum is %#04x, should be %#04x", ErrChecksum, what, have, want)
}
