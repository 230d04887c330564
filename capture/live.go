package capture

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/net/bpf"
)

var _ io.Closer = (*Live)(nil)

// Mode says what a live capture is for.
type Mode uint8

// Modes. One socket cannot do both well: a program that must answer at once and
// also keep a record opens two.
const (
	// ModeEvidence loses nothing and costs little: the kernel fills blocks of a
	// TPACKET_V3 ring, and a packet is seen when its block is full or Latency has
	// passed. Its timestamp is exact all the same.
	ModeEvidence Mode = iota
	// ModeReact shows a packet within a microsecond to a thread that spins on
	// Poll: a TPACKET_V2 ring of small frames.
	ModeReact
)

// String returns "evidence" or "react".
func (m Mode) String() string {
	switch m {
	case ModeEvidence:
		return "evidence"
	case ModeReact:
		return "react"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Config tells Open what to capture and how. The zero value, and nil, capture
// every IP packet whole.
type Config struct {
	// Mode; zero is ModeEvidence.
	Mode Mode
	// Filter is a classic BPF program (golang.org/x/net/bpf) that sees a packet
	// from its IP header on; rawtcp.FlowFilter makes one. The kernel runs it
	// before the socket is bound, so no other packet is ever queued. Nil takes every
	// IPv4 and IPv6 packet.
	Filter []bpf.RawInstruction
	// FilterText is Filter in words, for Interfaces and the files made from it.
	FilterText string
	// Snaplen is how many bytes of a packet to keep, from the IP header on. Zero
	// keeps all, but under ModeReact 1,968 bytes, which fits a ring frame of 2 KiB.
	// Segments that the kernel has not yet cut up, or has put together, are up to
	// 64 KiB long (GSO, GRO); Packet.Len tells.
	Snaplen int
	// BufferBytes is the size of the ring; zero is 16 MiB, or 2 MiB under ModeReact.
	// What comes while it is full is lost, and counted. Below 1 MiB the blocks of
	// ModeEvidence get small too, and longer packets are cut to a block.
	BufferBytes int
	// Latency bounds how long a packet waits before Next or Wait sees it, under
	// ModeEvidence: in a block that is not full, and for others to come, so that a
	// high rate does not wake the reader for each block. Zero is 20 ms; less than 2 ms
	// is 2 ms.
	Latency time.Duration
	// Cooked puts a Linux cooked header, version 2, before each packet: Link is
	// LinkLinuxSLL2 then. It carries the interface's number, and makes a file of
	// several interfaces that tcpdump reads. Snaplen does not count it.
	Cooked bool
	// InboundOnly leaves out what this host sends (PACKET_IGNORE_OUTGOING, Linux
	// 4.20). On the loopback device each packet is then seen once.
	InboundOnly bool
}

// Live captures IP packets from the network interfaces of this host.
//
// It sees what the host receives before any firewall does, and what it sends
// after: PACKET_OUTGOING packets, as Direction tells. On the loopback device
// each packet is therefore seen twice, DirOut and then DirIn. What was sent with
// PACKET_QDISC_BYPASS or AF_XDP is not seen.
//
// Packet.Time is the kernel's (CLOCK_REALTIME, ns). For a received packet it is
// when the driver gave it to the network stack (netif_receive_skb, or netif_rx on
// veth, in the sender's context), before receive packet steering. For a sent
// packet it is when it left the queueing discipline for the driver
// (dev_queue_xmit_nit), the last point where the kernel itself looks; the
// adapter's own delay comes after it. In the first few milliseconds after the
// first such socket of a machine was opened the kernel may stamp a packet only
// as it enters the ring, which can be some 20 µs later.
//
// A packet that the host sends often has no transport checksum yet, because the
// adapter is to fill it in (CHECKSUM_PARTIAL); through veth and loopback it is
// received like that too. Live computes the TCP checksum of such a packet, when
// all of it was captured, so that other programs do not call it wrong.
//
// Next, Poll and Wait are for one goroutine at a time; the other methods may be
// called at any time, Close in particular while Next waits.
type Live struct {
	rx *ring
}

// Open starts to capture on an interface, or on all of them when iface is "". It
// belongs to the network namespace of the calling thread, for ever.
//
// It needs CAP_NET_RAW in the user namespace that owns the network namespace;
// the error says so (EPERM). A missing interface gives ENODEV, one that is down
// ENETDOWN. On other systems than Linux the error matches errors.ErrUnsupported.
func Open(iface string, cfg *Config) (*Live, error) {
	var c Config
	if cfg != nil {
		c = *cfg
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("capture: open: %w", err)
	}
	rx, err := openRing(iface, &c)
	if err != nil {
		return nil, err
	}
	return &Live{rx: rx}, nil
}

// Chosen by us.
const (
	evidenceBuffer = 16 << 20              // 100 ms of a million SYNs a second
	reactBuffer    = 2 << 20               // a thousand frames, of one flow
	defaultLatency = 20 * time.Millisecond // at most 100 wake-ups a second
	maxLatency     = 10 * time.Second      // beyond it the capture would look dead
	minBuffer      = 64 << 10              // less is no ring
	maxBuffer      = 1 << 30               // more is a mistake
)

// check fills in the defaults.
func (c *Config) check() error {
	if c.Mode > ModeReact {
		return fmt.Errorf("there is no %v", c.Mode)
	}
	if c.Snaplen < 0 || c.Snaplen > maxSnaplen {
		return fmt.Errorf("a snapshot length of %d is not in 0 to %d", c.Snaplen, maxSnaplen)
	}
	if c.BufferBytes == 0 {
		c.BufferBytes = evidenceBuffer
		if c.Mode == ModeReact {
			c.BufferBytes = reactBuffer
		}
	}
	if c.BufferBytes < minBuffer || c.BufferBytes > maxBuffer {
		return fmt.Errorf("a buffer of %d bytes is not in %d to %d", c.BufferBytes, minBuffer, maxBuffer)
	}
	if c.Latency == 0 {
		c.Latency = defaultLatency
	}
	if c.Latency < 0 || c.Latency > maxLatency {
		return fmt.Errorf("a latency of %v is not in 0 to %v", c.Latency, maxLatency)
	}
	return nil
}

// Next returns the next packet and waits for one if need be. Its Data are valid
// until the next call of Next or Poll. It returns the error of ctx, wrapped, when
// that ends first, and net.ErrClosed, wrapped, after Close. ENETDOWN says
// that the interface went down: call Next again to go on when it comes up.
func (l *Live) Next(ctx context.Context) (Packet, error) {
	p := l.rx.poll() // the common case, without the cost of watching ctx
	if p == nil {
		var err error
		if p, err = l.rx.next(ctx); err != nil {
			return Packet{}, err
		}
	}
	return *p, nil
}

// Poll returns a packet if there is one. It makes no system call and no
// allocation: a thread may spin on it. Its Data are valid until the next call of
// Next or Poll. After Close there is never one.
func (l *Live) Poll() (Packet, bool) {
	if p := l.rx.poll(); p != nil {
		return *p, true
	}
	return Packet{}, false
}

// Wait waits until Poll has a packet to return, which it answers with true, or
// until the instant; the zero Time is never. It sleeps in ppoll(2) on the
// calling thread, not in the Go scheduler. It returns net.ErrClosed, wrapped,
// when the capture is closed, and the errors of Next.
func (l *Live) Wait(until time.Time) (bool, error) {
	return l.rx.wait(until)
}

// Interfaces returns the interfaces packets came from: the one that was opened, or
// all that were seen so far. Packet.Interface is the index.
func (l *Live) Interfaces() []Interface {
	return l.rx.interfaces()
}

// Stats returns how many packets passed the filter since Open, and how many of
// these were lost because the ring was full. After Close it returns the last
// counts.
func (l *Live) Stats() (received, dropped uint64, err error) {
	return l.rx.stats()
}

// Close ends the capture and wakes a Next or Wait under way. Data of the last
// packet stay valid. Closing again is no error.
func (l *Live) Close() error {
	return l.rx.close()
}
