package rawtcp

import (
	"errors"
	"net/netip"
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
