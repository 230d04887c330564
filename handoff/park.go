package handoff

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/synpunch/synpunch/rawtcp"
)

// ParkConfig is the configuration of a Parked.
type ParkConfig struct {
	// MSS of the SYN, bytes. 0 means what fits the route to the peer.
	MSS uint16
	// Interface is the one the socket is bound to after Release. Empty means any.
	Interface string
}

// Parked is a kernel socket in SYN-SENT whose SYN went no further than the
// loopback device. Copies of that SYN, sent by the caller through a raw socket
// when and with the TTL it likes, are as good as the kernel's own: when the peer
// answers, the kernel does the rest.
//
// The order of things: PreparePark, at leisure; Park, which makes the kernel
// socket and reads its SYN; Release, from which on the peer's segments reach the
// socket; the copies; Poll or Wait; Conn.
//
// Facts to know:
//
//   - A copy must keep the sequence number and TSval of SYN: the kernel answers
//     a SYN-ACK that confirms anything else with RST.
//   - Between Park and Release the peer's segments find no socket: keep a Guard open.
//   - The kernel retransmits its SYN by itself 1 s after Park (RFC 6298), on the
//     loopback device before Release and to the peer after it; Release itself
//     sends nothing. It also takes the time from Park to the peer's answer
//     for a round trip. So call Park just before the instant.
//   - A RST or an ICMP error ends the socket at once, with the errno. Park may
//     then be called again on the same value.
//
// It needs CAP_NET_RAW: for the packet socket that sees the SYN, and to unbind
// a socket from a device. It is for one goroutine at a time.
type Parked struct {
	local, remote netip.AddrPort
	cfg           ParkConfig
	capture       int // packet socket on lo
	syn           rawtcp.Segment
	pending
}

// PreparePark opens what Park needs. The kernel waits some milliseconds for
// other processors when a packet socket is made, so do it well before the instant.
func PreparePark(local, remote netip.AddrPort, cfg *ParkConfig) (*Parked, error) {
	p := &Parked{local: local, remote: remote, capture: -1, pending: pending{fd: -1}}
	if cfg != nil {
		p.cfg = *cfg
	}
	err := checkFlow(local, remote, !anyLocal)
	if err == nil {
		err = p.prepare()
	}
	if err != nil {
		return nil, fmt.Errorf("handoff: prepare to park %v to %v: %w", local, remote, err)
	}
	return p, nil
}

// Park is PreparePark and the method Park in one.
func Park(ctx context.Context, local, remote netip.AddrPort, cfg *ParkConfig) (*Parked, error) {
	p, err := PreparePark(local, remote, cfg)
	if err != nil {
		return nil, err
	}
	if err := p.Park(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Park makes the kernel socket, calls connect and reads the SYN. A socket of an
// earlier call is given up first, as by Close, so that Park can be called again
// for the same flow, with a new ISN, after an error has ended the socket.
func (p *Parked) Park(ctx context.Context) error {
	if err := p.park(ctx); err != nil {
		return fmt.Errorf("handoff: park %v to %v: %w", p.local, p.remote, err)
	}
	return nil
}

// SYN is the kernel's SYN: with its ISN, TSval, window, MSS and other options,
// and the TTL and TOS that the kernel would send it with.
func (p *Parked) SYN() rawtcp.Segment { return p.syn }

// Release lets the socket receive from any interface, or from the one in the
// configuration. It sends nothing.
func (p *Parked) Release() error {
	if err := p.release(); err != nil {
		return fmt.Errorf("handoff: release %v to %v from the loopback device: %w", p.local, p.remote, err)
	}
	return nil
}

// Poll reports without waiting whether the flow is established. The error
// keeps the errno that ended it: ECONNREFUSED for a RST, EHOSTUNREACH and others
// for ICMP errors, ETIMEDOUT when the kernel gave up.
func (p *Parked) Poll() (done bool, err error) { return p.poll() }

// Wait waits until the flow is established, fails (as Poll says), or ctx ends.
func (p *Parked) Wait(ctx context.Context) error { return p.wait(ctx) }

// Conn gives the established socket to the caller. What is left of p is a packet
// socket, which takes the kernel some milliseconds to close: call Close when
// there is time, in another goroutine for example.
func (p *Parked) Conn() (*net.TCPConn, error) { return p.conn() }

// Close gives the flow up. In SYN-SENT it sends nothing; if the peer knows the
// flow already it is told by a RST. After Conn it leaves the connection alone.
func (p *Parked) Close() error {
	err := p.abort()
	if cerr := closeFD(&p.capture); err == nil {
		err = cerr
	}
	return err
}
