package handoff

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// ConnectConfig is the configuration of a Connect.
type ConnectConfig struct {
	// TTL of the SYN that Start sends (IPv6: hop limit); what the kernel sends
	// later has its default again. 0 means the default.
	TTL uint8
	// MSS limits the MSS option of the SYN and the segments we send
	// (TCP_MAXSEG), bytes. 0 means what the route allows.
	MSS uint16
	// Interface binds the socket to an interface (SO_BINDTODEVICE). Empty means
	// what the routing table says.
	Interface string
}

// Connect is a kernel socket prepared for a connect call at an exact instant:
// made, bound and set up, so that Start is one system call.
//
// It can be bound while a Guard is open on the same endpoint, and while other
// connections of this package use it, as long as the flows differ. A RST or an
// ICMP error ends it at once, with the errno; the next Start on the same value
// begins anew with the same endpoints.
//
// It is for one goroutine at a time.
type Connect struct {
	local, remote netip.AddrPort
	cfg           ConnectConfig
	pending
}

// PrepareConnect makes the socket. The local endpoint may have port 0 and the
// unspecified address: the kernel then chooses, see LocalAddr.
func PrepareConnect(local, remote netip.AddrPort, cfg *ConnectConfig) (*Connect, error) {
	c := &Connect{local: local, remote: remote, pending: pending{fd: -1}}
	if cfg != nil {
		c.cfg = *cfg
	}
	err := checkFlow(local, remote, anyLocal)
	if err == nil {
		err = c.prepare()
	}
	if err != nil {
		return nil, fmt.Errorf("handoff: prepare to connect %v to %v: %w", local, remote, err)
	}
	return c, nil
}

// Start calls connect. EINPROGRESS is success. After a failed attempt Start
// makes a new socket for the same flow first. EADDRNOTAVAIL means that this very
// flow exists already or is in TIME-WAIT.
func (c *Connect) Start() error {
	if err := c.start(); err != nil {
		return fmt.Errorf("handoff: connect %v to %v: %w", c.local, c.remote, err)
	}
	return nil
}

// LocalAddr is the local endpoint.
func (c *Connect) LocalAddr() netip.AddrPort { return c.local }

// Poll reports without waiting whether the flow is established. The error
// keeps the errno that ended the attempt: ECONNREFUSED for a RST, EHOSTUNREACH and
// others for ICMP errors, ETIMEDOUT when the kernel gave up.
func (c *Connect) Poll() (done bool, err error) { return c.poll() }

// Wait waits until the flow is established, fails (as Poll says), or ctx ends.
func (c *Connect) Wait(ctx context.Context) error { return c.wait(ctx) }

// Conn gives the established socket to the caller; c is then closed.
func (c *Connect) Conn() (*net.TCPConn, error) { return c.conn() }

// Close gives the attempt up. In SYN-SENT it sends nothing; if the peer knows
// the flow already it is told by a RST. It does nothing after Conn.
func (c *Connect) Close() error { return c.abort() }
