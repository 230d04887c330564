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
	// Unpaced as BlastConfig.Rate means as fast as the machine sends.
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
	// Interface is the device; empty = that of the route to the peer, or Conn.Interface.
	Interface string
	// NextHop is the Ethernet address to send to; nil = that of the route's gateway, or of the peer, asked
	// from the kernel, which may have to ask the network first.
	NextHop net.HardwareAddr
	// Conn is how PathRaw sends, and how the others make the kernel find NextHop.
	Conn Config
}

// Blast sends the SYNs of a Fan very fast (Linux). It makes a packet once and
// writes into copies of it what differs: ports, sequence number, timestamp and, in the
// way of RFC 1624, the checksum. Sending a SYN allocates nothing.
//
// The pace is that of a clock, not of pauses: what a late timer delays is made up
// for, as far as Burst allows, so that the average is Rate. Between batches it
// sleeps and never spins.
//
// PathPacket and PathXDP bypass the host's own netfilter: a stateful firewall on this host
// has not seen the flow, so what the peer answers is new to it. A Fan therefore
// begins its answer on a flow with the SYN: sent through a Conn, the answer shows it to the firewall.
//
// Its methods are not for several goroutines at once.
type Blast struct{ blast }

// OpenBlast opens what is needed to send the SYNs of fan. It needs CAP_NET_RAW; without
// it the error wraps EPERM. If the kernel does not know the Ethernet address of the
// next hop, the first SYN goes out to make it ask, and OpenBlast waits for the
// answer until ctx ends, 3 s at most. Outside Linux the error wraps errors.ErrUnsupported.
func OpenBlast(ctx context.Context, fan *Fan, cfg *BlastConfig) (*Blast, error) {
	return openBlast(ctx, fan, cfg)
}

// Path returns how the packets leave.
func (b *Blast) Path() Path { return b.way }

// Send sends n SYNs at the rate, from number first on (Fan.SYN), and returns how many left.
// It stops within a batch when ctx ends, with the error of ctx, and when the
// kernel refuses, with its errno; a device whose queue is full is waited for, a
// second at most.
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
