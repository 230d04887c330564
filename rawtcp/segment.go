package rawtcp

import (
	"errors"
	"net/netip"
	"strconv"
)

// What Parse, ParseInto, ParseICMP, VerifyChecksums and Append say is wrong.
// Errors wrap one of these with the place and the values found there.
var (
	// ErrTruncated: the packet was cut off before the end of what is needed.
	ErrTruncated = errors.New("packet cut short")
	// ErrNotTCP: not an IP packet, another protocol, or a fragment other than
	// the first, which has no TCP header.
	ErrNotTCP = errors.New("not a TCP segment")
	// ErrChecksum: the IPv4 header or the TCP checksum is wrong.
	ErrChecksum = errors.New("wrong checksum")
	// ErrMalformed: a length, offset or option that breaks the rules of IP or TCP.
	ErrMalformed = errors.New("malformed segment")
)

// Segment is one TCP segment together with the fields of its IP header that
// matter for a handshake.
type Segment struct {
	Src, Dst netip.AddrPort // both IPv4 or both IPv6; IPv4-mapped IPv6 addresses are refused

	TTL uint8  // IPv6: hop limit. 0 given to Append means 64
	TOS uint8  // IPv6: traffic class
	ID  uint16 // IPv4 only; on a raw socket the kernel may choose one in place of 0, see Conn
	DF  bool   // IPv4 only: do not fragment

	Seq, Ack Seq
	Flags    Flags
	Window   uint16 // as on the wire, not scaled
	Urgent   uint16

	Options Options

	// Payload is the data. Parse makes it a part of its input, so it is valid
	// as long as that is; it is shorter than PayloadLen if the capture cut it.
	Payload []byte
	// PayloadLen is the length of the data on the wire, in bytes, according to
	// the IP header. Append ignores it and counts Payload.
	PayloadLen int
}

// Len returns how much of the sequence space the segment takes: its data, one
// for SYN and one for FIN (SEG.LEN of RFC 9293 section 3.4). The data of a
// parsed segment counts with its length on the wire.
func (s *Segment) Len() uint32 {
	n := uint32(max(len(s.Payload), s.PayloadLen))
	if s.Flags&SYN != 0 {
		n++
	}
	if s.Flags&FIN != 0 {
		n++
	}
	return n
}

// End returns the sequence number that follows the segment, Seq + Len.
func (s *Segment) End() Seq { return s.Seq + Seq(s.Len()) }

// String returns the segment in one line, for logs, much as tcpdump does:
//
//	192.0.2.1:5000 > 198.51.100.2:443 SYN seq 7 win 64240 <mss 1460,sackOK> len 0 ttl 64
func (s *Segment) String() string {
	b := make([]byte, 0, 192)
	b = append(b, s.Src.String()...)
	b = append(b, " > "...)
	b = append(b, s.Dst.String()...)
	b = append(b, ' ')
	b = append(b, s.Flags.String()...)
	field := func(name string, n uint64) {
		b = append(b, name...)
		b = strconv.AppendUint(b, n, 10)
	}
	field(" seq ", uint64(s.Seq))
	if s.Flags&ACK != 0 || s.Ack != 0 {
		field(" ack ", uint64(s.Ack))
	}
	field(" win ", uint64(s.Window))
	if s.Flags&URG != 0 || s.Urgent != 0 {
		field(" urg ", uint64(s.Urgent))
	}
	if s.Options != (Options{}) {
		b = append(b, " <"...)
		b = s.Options.appendText(b)
		b = append(b, '>')
	}
	field(" len ", uint64(max(len(s.Payload), s.PayloadLen)))
	field(" ttl ", uint64(s.TTL))
	return string(b)
}
