package rawtcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// Given by RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 and the IANA registries.
const (
	icmpHeader  = 8
	quotedBytes = 8 // of TCP: ports and sequence number (RFC 792: "the first 64 bits of the original datagram's data")

	icmpUnreachable  = 3
	icmpTimeExceeded = 11
	icmpParameter    = 12

	icmpFragNeeded = 4 // code of icmpUnreachable

	icmp6Unreachable  = 1
	icmp6TooBig       = 2
	icmp6TimeExceeded = 3
	icmp6Parameter    = 4
)

// ErrNotICMP: the packet is not an ICMP or ICMPv6 error message.
var ErrNotICMP = errors.New("not an ICMP error")

// ICMPError is an ICMP (RFC 792) or ICMPv6 (RFC 4443) error message about a
// TCP segment, which it quotes.
type ICMPError struct {
	From       netip.Addr     // who sent it: a router, a firewall or the other host
	V6         bool           // ICMPv6: Type and Code are those of RFC 4443
	Type, Code uint8          // as on the wire
	Src, Dst   netip.AddrPort // of the quoted segment
	Seq        Seq            // of the quoted segment
	MTU        uint32         // bytes, of 'fragmentation needed' and 'packet too big'; otherwise 0
}

// ParseICMP reads the ICMP error in the IP packet that b begins with:
// destination unreachable, time exceeded, parameter problem, and ICMPv6's
// packet too big. Eight bytes of the quoted TCP header suffice, and the
// quoted IP header's length fields are not believed. It does not allocate.
//
// Any other ICMP message, and any other packet, is ErrNotICMP; an error about
// something else than TCP is ErrNotTCP; a packet that ends before the quoted
// sequence number is ErrTruncated if a capture cut it and ErrMalformed if it
// was sent so.
func ParseICMP(b []byte) (ICMPError, error) {
	var e ICMPError
	var ip, quoted ipPacket
	if err := parseIP(&ip, b, ErrNotICMP, false); err != nil {
		return e, err
	}
	if ip.v6 && ip.proto != protoICMPv6 || !ip.v6 && ip.proto != protoICMP {
		return e, fmt.Errorf("rawtcp: %w: IP protocol %d", ErrNotICMP, ip.proto)
	}
	if ip.end-ip.off < icmpHeader {
		return e, fmt.Errorf("rawtcp: %w: %d bytes of ICMP, at least %d", ErrMalformed, ip.end-ip.off, icmpHeader)
	}
	if len(b)-ip.off < icmpHeader {
		return e, errHeaderCut("ICMP", ip.off+icmpHeader, len(b))
	}
	msg := b[ip.off:min(ip.end, len(b))]
	e.From, e.V6, e.Type, e.Code = ip.src, ip.v6, msg[0], msg[1]
	switch {
	case !e.V6 && e.Type == icmpUnreachable && e.Code == icmpFragNeeded:
		e.MTU = uint32(binary.BigEndian.Uint16(msg[6:])) // RFC 1191 section 4
	case e.V6 && e.Type == icmp6TooBig:
		e.MTU = binary.BigEndian.Uint32(msg[4:])
	case !e.V6 && (e.Type == icmpUnreachable || e.Type == icmpTimeExceeded || e.Type == icmpParameter),
		e.V6 && (e.Type == icmp6Unreachable || e.Type == icmp6TimeExceeded || e.Type == icmp6Parameter):
	default:
		return ICMPError{}, fmt.Errorf("rawtcp: %w: ICMP type %d", ErrNotICMP, e.Type)
	}

	inner := msg[icmpHeader:]
	err := parseIP(&quoted, inner, ErrNotTCP, true)
	switch {
	case err != nil:
	case quoted.v6 != e.V6:
		err = fmt.Errorf("rawtcp: %w: an ICMP error quotes a packet of the other IP version", ErrMalformed)
	case quoted.proto != protoTCP:
		err = fmt.Errorf("rawtcp: %w: an ICMP error about IP protocol %d", ErrNotTCP, quoted.proto)
	case isMapped(&quoted):
		err = errMapped(&quoted)
	case len(inner) < quoted.off+quotedBytes:
		err = errHeaderCut("quoted TCP", quoted.off+quotedBytes, len(inner))
	}
	if err != nil {
		if errors.Is(err, ErrTruncated) && ip.end <= len(b) {
			err = fmt.Errorf("rawtcp: %w: the ICMP error quotes %d bytes, too few to tell the flow", ErrMalformed, len(inner))
		}
		return ICMPError{}, err
	}
	tcp := inner[quoted.off:]
	e.Src = netip.AddrPortFrom(quoted.src, binary.BigEndian.Uint16(tcp))
	e.Dst = netip.AddrPortFrom(quoted.dst, binary.BigEndian.Uint16(tcp[2:]))
	e.Seq = Seq(binary.BigEndian.Uint32(tcp[4:]))
	return e, nil
}

var icmpUnreachableNames = [...]string{ // RFC 792, RFC 1122 section 3.2.2.1, RFC 1812
	"network unreachable", "host unreachable", "protocol unreachable", "port unreachable",
	"fragmentation needed", "source route failed", "network unknown", "host unknown",
	"source host isolated", "network prohibited", "host prohibited",
	"network unreachable for this type of service", "host unreachable for this type of service",
	"admin prohibited", "host precedence violation", "precedence cutoff",
}

var icmp6UnreachableNames = [...]string{ // RFC 4443 section 3.1, RFC 6550, RFC 7084
	"no route", "admin prohibited", "beyond scope of source address", "host unreachable",
	"port unreachable", "source address failed policy", "route rejected",
	"error in source routing header", "headers too long",
}

// What says in words what happened, without from whom: "ttl exceeded",
// "port unreachable", "admin prohibited".
func (e ICMPError) What() string {
	name := func(names []string) string {
		if int(e.Code) < len(names) {
			return names[e.Code]
		}
		return fmt.Sprintf("unreachable, code %d", e.Code)
	}
	kind := e.Type
	if e.V6 {
		// One switch for both: ICMPv6's numbers moved out of ICMP's way.
		kind |= 0x80
	}
	switch kind {
	case icmpUnreachable:
		if e.Code == icmpFragNeeded {
			return fmt.Sprintf("fragmentation needed (MTU %d)", e.MTU)
		}
		return name(icmpUnreachableNames[:])
	case icmpTimeExceeded:
		if e.Code != 0 {
			return "reassembly time exceeded"
		}
		return "ttl exceeded"
	case icmpParameter, icmp6Parameter | 0x80:
		return fmt.Sprintf("parameter problem, code %d", e.Code)
	case icmp6Unreachable | 0x80:
		return name(icmp6UnreachableNames[:])
	case icmp6TooBig | 0x80:
		return fmt.Sprintf("packet too big (MTU %d)", e.MTU)
	case icmp6TimeExceeded | 0x80:
		if e.Code != 0 {
			return "reassembly time exceeded"
		}
		return "hop limit exceeded"
	}
	return fmt.Sprintf("ICMP type %d code %d", e.Type, e.Code)
}

// String returns What and who sent it: "ttl exceeded from 192.0.2.1".
func (e ICMPError) String() string { return e.What() + " from " + e.From.String() }

// Errno returns what connect() reports on Linux when the error reaches a socket
// in SYN-SENT and quotes its SYN: a syscall.Errno, or nil if the socket does not
// care (path MTU messages, which change the segment size, IPv4 reassembly
// timeouts, and codes that the kernel does not know). Where the system has no such number (ENONET outside
// Linux) it is ENETUNREACH.
//
// From tcp_v4_err and icmp_err_convert (net/ipv4), tcp_v6_err and
// icmpv6_err_convert (net/ipv6); a test asks the running kernel.
func (e ICMPError) Errno() error {
	if e.V6 {
		switch e.Type {
		case icmp6Unreachable:
			switch e.Code {
			case 0:
				return syscall.ENETUNREACH
			case 1, 5, 6:
				return syscall.EACCES
			case 2, 3:
				return syscall.EHOSTUNREACH
			case 4:
				return syscall.ECONNREFUSED
			}
			return syscall.EPROTO
		case icmp6TimeExceeded:
			return syscall.EHOSTUNREACH
		case icmp6Parameter:
			return syscall.EPROTO
		}
		return nil
	}
	switch e.Type {
	case icmpUnreachable:
		switch e.Code {
		case 0, 6, 9, 11:
			return syscall.ENETUNREACH
		case 1, 10, 12, 13, 14, 15:
			return syscall.EHOSTUNREACH
		case 2:
			return syscall.ENOPROTOOPT
		case 3:
			return syscall.ECONNREFUSED
		case 5:
			return syscall.EOPNOTSUPP
		case 7:
			return syscall.EHOSTDOWN
		case 8:
			return errnoNoNet
		}
	case icmpTimeExceeded:
		if e.Code == 0 {
			return syscall.EHOSTUNREACH // icmp_unreach drops ICMP_EXC_FRAGTIME
		}
	case icmpParameter:
		return syscall.EPROTO
	}
	return nil
}
