package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/rawtcp"
)

// observer is the third party: it sees from where a SYN comes, and answers nothing,
// because its kernel has no address.
type observer struct {
	network string // "ip4" or "ip6"
	addr    netip.Addr

	mu   sync.Mutex
	ring ring
	next uint16                    // its port of the next observation
	seen map[uint16]netip.AddrPort // by its port, until asked for
}

// Chosen by us.
const (
	observerSlots = 256
	firstObserved = 1024 // ports of the observer: each observation has one of its own
	observeWait   = time.Second
	observePoll   = 200 * time.Microsecond // how often the observer's ring is looked into
)

func (o *observer) init(v6 bool) {
	o.ring.fd = -1
	o.next, o.seen = firstObserved, map[uint16]netip.AddrPort{}
	o.network, o.addr = "ip4", observer4.Addr().Next()
	if v6 {
		o.network, o.addr = "ip6", observer6.Addr().Next()
	}
}

func (o *observer) open() (setup []func() error, err error) {
	fd, err := packetSocket(unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	o.ring.fd = fd
	return []func() error{func() error {
		return o.ring.setup(fd, ringConfig{cooked: true, frame: laneSlot, slots: observerSlots, filter: laneFilter()})
	}}, nil
}

// bind takes what comes in by any interface.
func (o *observer) bind() error { return bindPacket(o.ring.fd, unix.ETH_P_ALL, 0) }

func (o *observer) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ring.close()
}

// observe sends a SYN from the host's port and says where the observer sees it come
// from.
func (o *observer) observe(ctx context.Context, h *Host, port uint16) (netip.AddrPort, error) {
	o.mu.Lock()
	mine := o.next
	if o.next++; o.next == 0 {
		o.next = firstObserved
	}
	delete(o.seen, mine)
	o.mu.Unlock()
	syn := rawtcp.Segment{Src: netip.AddrPortFrom(h.Addr, port), Dst: netip.AddrPortFrom(o.addr, mine), Flags: rawtcp.SYN,
		Seq: rawtcp.Seq(rand.Uint32()), Window: 64240, DF: true}
	b, err := syn.Append(nil)
	if err != nil {
		return netip.AddrPort{}, err
	}
	err = h.do(func() error {
		c, err := rawtcp.Open(o.network, nil)
		if err != nil {
			return err
		}
		return errors.Join(c.Send(b), c.Close())
	})
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("send a SYN to the observer: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, observeWait, os.ErrDeadlineExceeded)
	defer cancel()
	tick := time.NewTicker(observePoll)
	defer tick.Stop()
	for {
		if seen, ok := o.take(mine); ok {
			return seen, nil
		}
		select {
		case <-ctx.Done():
			return netip.AddrPort{}, fmt.Errorf("the observer has not seen the SYN from %v: %w", syn.Src, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// take returns what came to one of the observer's ports, once.
func (o *observer) take(port uint16) (netip.AddrPort, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ring.mem == nil {
		return netip.AddrPort{}, false
	}
	for s := (slot{}); o.ring.head(&s); o.ring.release() {
		if src, dst, flags, ok := endpoints(s.data); ok && flags&(tcpSYN|tcpACK) == tcpSYN {
			o.seen[dst.Port()] = src
		}
	}
	seen, ok := o.seen[port]
	delete(o.seen, port)
	return seen, ok
}
