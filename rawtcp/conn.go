package rawtcp

import "net/netip"

// Config is how a Conn sends. The zero value, and nil, send as the routing table
// says.
type Config struct {
	// Interface is the device that packets leave through (SO_BINDTODEVICE);
	// link-local IPv6 destinations need it. Empty means as the routes say.
	Interface string
	// Local is the address whose routes are used. It matters on a host with
	// source-based routing rules: the kernel looks up an IPv4 route before it
	// reads the packet (for IPv6 it tries what each rule would make the source).
	// Packets keep the source that is written in them. The zero Addr means none.
	Local netip.Addr
	// Mark is set on every packet (SO_MARK, for rules and routes by fwmark).
	// 0 means none.
	Mark uint32
	// SendBuffer is the socket's send buffer in bytes (SO_SNDBUF, and
	// SO_SNDBUFFORCE where allowed). 0 means the system's default.
	SendBuffer int
}

// Conn sends whole IP packets of one family through a raw socket (IPPROTO_RAW;
// raw(7), ipv6(7)). Unlike packets from a packet socket they pass the host's own
// netfilter, so a stateful firewall or NAT on this host sees the flow begin.
//
// A Conn receives nothing. Its methods may be called from several goroutines.
//
// # What the kernel changes
//
// IPv4 (raw(7) on IP_HDRINCL; raw_send_hdrinc): the total length and the header
// checksum are always filled in, which changes nothing in what Segment.Append
// makes; a source address 0.0.0.0 becomes the outgoing interface's; an ID of 0
// is replaced by one of the kernel's unless DF is set, in which case it stays
// 0 (ip_select_ident_segs). Packets longer than the device's MTU are refused with
// EMSGSIZE, not fragmented. IPv6 (rawv6_send_hdrinc): nothing. The TCP header is
// never touched; a NAT on this host rewrites it as it rewrites any packet.
//
// # The local kernel's RST
//
// The kernel does not know a flow whose SYN went out here, and answers the
// peer's SYN-ACK with RST unless something holds the local port: the guard of
// package handoff does that.
type Conn struct{ conn }

// Open opens a raw socket for "ip4" or "ip6". It needs CAP_NET_RAW in the user
// namespace that owns the network namespace; without it the error wraps EPERM
// and says how to grant it. Outside Linux the error wraps
// errors.ErrUnsupported.
func Open(network string, cfg *Config) (*Conn, error) { return open(network, cfg) }

// Send sends one IP packet, as Segment.Append makes it, to the destination in
// its header. It does not allocate and returns when the packet has passed the
// network stack up to the device (on a veth pair or loopback: up to the
// receiver's queue); only if the send buffer is full does it wait.
//
// The error keeps the kernel's errno: EPERM is this host's own netfilter
// dropping the packet, ENETUNREACH and EHOSTUNREACH a missing route, EMSGSIZE a
// packet above the device's MTU. A packet that is no IP packet of the Conn's
// family is ErrMalformed, and after Close it is net.ErrClosed.
func (c *Conn) Send(pkt []byte) error { return c.send(pkt) }

// Warm goes the way of Send up to the lookup of the route and sends nothing
// (MSG_PROBE; raw_send_hdrinc in net/ipv4/raw.c), so that a Send soon after finds
// code and data in the processor's caches. It takes a microsecond or two.
func (c *Conn) Warm(pkt []byte) error { return c.warm(pkt) }

// Close closes the socket. A second Close does nothing.
func (c *Conn) Close() error { return c.close() }
