package rawtcp

import (
	"context"
	"net"
	"strconv"
)

// Path is how a Blast's packets leave the host.
type Path uint8

const (
	// PathAuto is PathPacket where the device has Ethernet addresses, else PathRaw.
	PathAuto Path = iota
	// PathPacket is a packet socket (packet(7)): past the host's own routing and
	// netfilter, straight to the device.
	PathPacket
	// PathRaw is a raw socket with IPPROTO_RAW, as Conn: through both.
	PathRaw
	// PathXDP is an AF_XDP socket in copy mode: past the queueing discipline and
	// packet sockets of others too, so captures on this host do not see it.
	PathXDP
)

var pathNames = [...]string{"auto", "packet", "raw", "xdp"}

// Chosen by us.
const (
	// DefaultRate is BlastConfig.Rate where that is 0, SYNs per second: what a home
	// router with a slow processor can still map.
	DefaultRate = 10_000
	// Unpaced as a Rate means as fast as the machine sends.
	Unpaced = -1
)

// BlastConfig is how a Blast sends. The zero value, and nil, mean the defaults.
type BlastConfig struct {
	Path Path
	// Rate is how many SYNs leave per second on average; 0 = DefaultRate, Unpaced = no limit.
	Rate int
	// Burst is how many may leave at once after a pause or when the machine was
	// late; 0 = a hundredth of a second's worth, at least 1.
	Burst int
	// Interface is the device; empty = that of the route to the peer.
	Interface string
	// NextHop is the Ethernet address to send to; nil = that of the route's gateway, or of the peer, asked
	// from the kernel, which may have to ask the network first.
	NextHop net.HardwareAddr
	// Conn is how PathRaw sends, and how the others make the kernel find NextHop.
	Conn Config
}

// Blast sends the SYNs of a Fan very fast (Linux). It makes a packet once and
// writes into copies of it what differs: ports, sequence number, timestamp and, by
// RFC 1624, the checksum. Sending a SYN allocates nothing.
//
// PathPacket and PathXDP bypass the host's own netfilter: a stateful firewall on this host
// has not seen the flow, so what the peer answers is new to it. A Fan therefore
// begins its answer on a flow with the SYN: sent through a Conn, the answer shows it to the firewall.
//
// Its methods are not for several goroutines at once, except Close.
type Blast struct{ blast }

// OpenBlast opens what is needed to send the SYNs of fan. It needs CAP_NET_RAW; without
// it the error wraps EPERM. Outside Linux it wraps errors.ErrUnsupported.
func OpenBlast(fan *Fan, cfg *BlastConfig) (*Blast, error) { return openBlast(fan, cfg) }

// Path returns how the packets leave.
func (b *Blast) Path() Path { return b.way }

// Send sends the SYNs from number first on, n of them, at the rate. It returns how many left
// when ctx ends, and the error is then that of ctx, or when the device
// refuses. The next Send goes on with the same clock.
func (b *Blast) Send(ctx context.Context, first, n uint64) (sent uint64, err error) {
	return b.send(ctx, first, n)
}

// Close closes the sockets.
func (b *Blast) Close() error { return b.close() }

// String returns the path's name, as in "packet".
func (p Path) String() string {
	if int(p) < len(pathNames) {
		return pathNames[p]
	}
	return "Path(" + strconv.Itoa(int(p)) + ")"
}
