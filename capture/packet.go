package capture

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

var (
	_ fmt.Stringer             = LinkType(0)
	_ encoding.TextMarshaler   = LinkType(0)
	_ encoding.TextUnmarshaler = (*LinkType)(nil)
	_ fmt.Stringer             = Direction(0)
	_ encoding.TextMarshaler   = Direction(0)
	_ encoding.TextUnmarshaler = (*Direction)(nil)
)

// Errors of Packet.IP.
var (
	// ErrNotIP says that the frame carries another protocol, or that its link
	// type is not one that IP can be found in.
	ErrNotIP = errors.New("not an IP packet")
	// ErrShort says that the data ends inside the link header, before the first
	// byte of IP. It also matches ErrNotIP.
	ErrShort = fmt.Errorf("%w: the data ends inside the link header", ErrNotIP)
)

// LinkType says what the data of a packet begin with. The numbers are the
// LINKTYPE_ values of pcap files (https://www.tcpdump.org/linktypes.html).
type LinkType uint16

// Link types that Packet.IP understands. The values 12 and 14, which DLT_RAW has
// on various systems and which some old files therefore carry, are read as
// LinkRaw.
const (
	LinkNull      LinkType = 0   // BSD loopback, family in the byte order of the capturing host
	LinkEthernet  LinkType = 1   // Ethernet, with or without VLAN tags
	LinkRaw       LinkType = 101 // from the IP header on, version from its first nibble
	LinkLoop      LinkType = 108 // OpenBSD loopback, family in network byte order
	LinkLinuxSLL  LinkType = 113 // Linux cooked capture, version 1
	LinkIPv4      LinkType = 228 // from the IPv4 header on
	LinkIPv6      LinkType = 229 // from the IPv6 header on
	LinkLinuxSLL2 LinkType = 276 // Linux cooked capture, version 2
)

const (
	linkRawBSD     LinkType = 12 // DLT_RAW on most systems
	linkRawOpenBSD LinkType = 14 // DLT_RAW on OpenBSD
)

var linkNames = map[LinkType]string{
	LinkNull:      "null",
	LinkEthernet:  "ethernet",
	LinkRaw:       "raw",
	LinkLoop:      "loop",
	LinkLinuxSLL:  "linux-sll",
	LinkIPv4:      "ipv4",
	LinkIPv6:      "ipv6",
	LinkLinuxSLL2: "linux-sll2",
}

const linkPrefix = "linktype-" // what the name of another link type begins with

// String names the link type: "ethernet", "raw", "linux-sll2"; "linktype-N" for
// one that this package does not interpret.
func (l LinkType) String() string {
	if s, ok := linkNames[l]; ok {
		return s
	}
	return linkPrefix + strconv.Itoa(int(l))
}

// MarshalText returns the name that String gives.
func (l LinkType) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText accepts what MarshalText makes.
func (l *LinkType) UnmarshalText(b []byte) error {
	for k, v := range linkNames {
		if v == string(b) {
			*l = k
			return nil
		}
	}
	if n, ok := strings.CutPrefix(string(b), linkPrefix); ok {
		v, err := strconv.ParseUint(n, 10, 16)
		if err == nil {
			*l = LinkType(v)
			return nil
		}
	}
	return fmt.Errorf("capture: %q is not a link type", b)
}

// Direction says whether a packet came to the capturing host or left it.
type Direction uint8

// Directions. A capture on another machine's path knows none.
const (
	DirUnknown Direction = iota
	DirIn                // received by the capturing host
	DirOut               // sent by the capturing host
)

// String returns "in", "out" or "unknown".
func (d Direction) String() string {
	switch d {
	case DirIn:
		return "in"
	case DirOut:
		return "out"
	default:
		return "unknown"
	}
}

// MarshalText returns the name that String gives.
func (d Direction) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText accepts what MarshalText makes, and the empty text as
// DirUnknown.
func (d *Direction) UnmarshalText(b []byte) error {
	switch string(b) {
	case "in":
		*d = DirIn
	case "out":
		*d = DirOut
	case "unknown", "":
		*d = DirUnknown
	default:
		return fmt.Errorf("capture: %q is not a direction (in, out, unknown)", b)
	}
	return nil
}

// Interface describes where packets of a capture were taken. A Packet names
// its interface by the index into the list that its source keeps.
type Interface struct {
	Name        string   // as the system calls it: "eth0"; may be empty in files
	Description string   // words for people; may be empty
	Filter      string   // the capture filter as text; may be empty
	OS          string   // system the interface belongs to; may be empty
	Link        LinkType // what the data of its packets begin with
	Snaplen     int      // most bytes kept of a packet; 0 = all
}

// Packet is one captured frame.
type Packet struct {
	Time      time.Time // when it passed the capture point, CLOCK_REALTIME; zero when the file does not say
	Data      []byte    // from the link header on; may be shorter than Len
	Len       int       // bytes on the wire, from the link header on
	Link      LinkType  // what Data begins with
	Interface int       // index into the Interfaces of the source
	Dir       Direction // in or out, where the source knows
	Comment   string    // the packet's comments, joined with newlines
}

// IP returns the part of the packet from the IP header on. It skips Ethernet
// and its VLAN tags (802.1Q and 802.1ad, stacked), PPPoE sessions, BSD loopback
// and Linux cooked headers. The slice aliases Data, may be snapped short, and may
// end in the padding of the link. The version nibble agrees with the link's
// protocol number.
//
// The error matches ErrNotIP, and ErrShort when the data ends before the IP
// header begins. IP allocates only to make an error.
func (p *Packet) IP() ([]byte, error) {
	b := p.Data
	switch p.Link {
	case LinkEthernet:
		if len(b) < ethernetLen {
			return nil, p.short()
		}
		return p.payload(binary.BigEndian.Uint16(b[ethernetLen-2:]), b[ethernetLen:])
	case LinkRaw, linkRawBSD, linkRawOpenBSD:
		return p.version(b, 0)
	case LinkIPv4:
		return p.version(b, 4)
	case LinkIPv6:
		return p.version(b, 6)
	case LinkNull, LinkLoop:
		if len(b) < 4 {
			return nil, p.short()
		}
		v := familyVersion(binary.LittleEndian.Uint32(b))
		if v == 0 {
			v = familyVersion(binary.BigEndian.Uint32(b))
		}
		if v == 0 {
			return nil, fmt.Errorf("%w: address family % x of a loopback header", ErrNotIP, b[:4])
		}
		return p.version(b[4:], v)
	case LinkLinuxSLL:
		if len(b) < sllLen {
			return nil, p.short()
		}
		return p.payload(binary.BigEndian.Uint16(b[14:]), b[sllLen:])
	case LinkLinuxSLL2:
		if len(b) < sll2Len {
			return nil, p.short()
		}
		return p.payload(binary.BigEndian.Uint16(b), b[sll2Len:])
	default:
		return nil, fmt.Errorf("%w: link type %v is not supported", ErrNotIP, p.Link)
	}
}

// Given by the specifications.
const (
	ethernetLen = 14
	sllLen      = 16 // LINKTYPE_LINUX_SLL: packet type, ARPHRD, address length, address, protocol
	sll2Len     = 20 // LINKTYPE_LINUX_SLL2: protocol, reserved, ifindex, ARPHRD, packet type, address length, address
	sllOutgoing = 4  // packet type of both: sent by us (PACKET_OUTGOING)

	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherVLAN  = 0x8100 // 802.1Q
	etherQinQ  = 0x88a8 // 802.1ad
	etherQinQ1 = 0x9100 // 802.1ad before it had a number
	etherPPPoE = 0x8864 // RFC 2516, session stage

	pppIPv4 = 0x0021 // RFC 1332
	pppIPv6 = 0x0057 // RFC 5072
)

// payload follows the EtherType proto, whose data b begins with.
func (p *Packet) payload(proto uint16, b []byte) ([]byte, error) {
	for {
		switch proto {
		case etherIPv4:
			return p.version(b, 4)
		case etherIPv6:
			return p.version(b, 6)
		case etherVLAN, etherQinQ, etherQinQ1:
			if len(b) < 4 {
				return nil, p.short()
			}
			proto, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		case etherPPPoE:
			if len(b) < 8 { // version and type, code, session, length; then the PPP protocol
				return nil, p.short()
			}
			switch ppp := binary.BigEndian.Uint16(b[6:]); ppp {
			case pppIPv4:
				return p.version(b[8:], 4)
			case pppIPv6:
				return p.version(b[8:], 6)
			default:
				return nil, fmt.Errorf("%w: PPP protocol %#04x", ErrNotIP, ppp)
			}
		default:
			return nil, fmt.Errorf("%w: EtherType %#04x", ErrNotIP, proto)
		}
	}
}

// version checks that b is an IP packet of the version; 0 stands for either.
func (p *Packet) version(b []byte, want byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, p.short()
	}
	v := b[0] >> 4
	if v != 4 && v != 6 || want != 0 && v != want {
		return nil, fmt.Errorf("%w: version nibble %d", ErrNotIP, v)
	}
	return b, nil
}

func (p *Packet) short() error {
	return fmt.Errorf("%w (%v, %d bytes)", ErrShort, p.Link, len(p.Data))
}

// familyVersion maps the address families that systems write into a loopback
// header to the IP version, 0 for others.
func familyVersion(family uint32) byte {
	switch family {
	case 2:
		return 4
	case 10, // Linux
		23,         // Windows
		24, 28, 30: // NetBSD and OpenBSD, FreeBSD, Darwin
		return 6
	}
	return 0
}
