package handoff

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/synpunch/synpunch/rawtcp"
)

// RepairConfig is the configuration of a Repair.
type RepairConfig struct {
	// Interface binds the socket to an interface (SO_BINDTODEVICE). Empty means
	// what the routing table says.
	Interface string

	// AnyPort lets Install continue a flow to any port of the remote address, for
	// a peer whose port is known only when it answers. The port that PrepareRepair
	// is given is then one that is likely, or any but 0: what is done in advance is
	// done with it.
	AnyPort bool
}

// Repair makes a kernel socket that continues a flow which was opened without
// the kernel (TCP_REPAIR, tcp(7)). PrepareRepair does what can be done before
// the instant, Install the rest in some microseconds.
//
// Until Install has succeeded nothing that happens to a Repair sends a packet,
// neither Close nor the end of the process.
//
// It is for one goroutine at a time.
type Repair struct {
	local, remote netip.AddrPort
	cfg           RepairConfig
	raw           *rawtcp.Conn // for acknowledgments in Install
	repairSocket
}

// PrepareRepair makes and binds the socket and, with Warm, goes once through
// what Install will do.
//
// It needs CAP_NET_ADMIN and CAP_NET_RAW in the user namespace that owns the
// network namespace; without them the error is EPERM and names the remedy. The socket can be bound
// whoever else uses the local port. EADDRNOTAVAIL means that a socket of this very
// flow exists. If it is in TIME-WAIT and had timestamps the kernel ends it instead
// (tcp_twsk_unique): that the new flow's numbers are ahead of the old one's, so that
// no old segment fits in, is then the caller's care.
func PrepareRepair(local, remote netip.AddrPort, cfg *RepairConfig) (*Repair, error) {
	r := &Repair{local: local, remote: remote}
	if cfg != nil {
		r.cfg = *cfg
	}
	err := checkFlow(local, remote, !anyLocal)
	if err == nil {
		err = r.prepare()
	}
	if err != nil {
		return nil, fmt.Errorf("handoff: prepare %v to %v for repair: %w", local, remote, err)
	}
	return r, nil
}

// Warm takes the socket through Install with made-up numbers and back again,
// without a packet, so that code, routes and data are in the processor's caches;
// it takes some tens of microseconds. What arrives for the flow meanwhile is dropped as
// by a Guard. PrepareRepair has called it once. Call it again shortly before
// Install is due if the time between is long: Install is several times slower cold.
func (r *Repair) Warm() error {
	if err := r.warm(); err != nil {
		return fmt.Errorf("handoff: warm up %v to %v for repair: %w", r.local, r.remote, err)
	}
	return nil
}

// Install makes the socket continue the flow t and gives it to the caller. It has
// what net.Dial would have set: TCP_NODELAY and keep-alive after 15 s. What is
// left of r is a raw socket, for Close.
//
// While the socket enters the kernel's table a filter drops whatever arrives for
// it, so that no segment meets a half-made socket. For what is dropped there is
// late, which may be nil: asked with a sequence number, it returns the payload
// that a packet socket has seen from that number on, as far as it is without a
// hole. Install puts it in the receive queue, acknowledges it, takes the filter
// away and asks again until nothing is missing: no byte is lost, none comes
// twice, and no retransmission is needed. late is called from the calling
// goroutine, a few times, and must not miss what has been captured before the
// call. It may return what the socket has got by itself. It should send nothing:
// acknowledgments of two speakers with two clocks would let timestamps run back.
//
// If the flow can be handed off before the peer has acknowledged our SYN (the
// machine's option Early), t may come from SYN-RECEIVED: the kernel's first
// segment is the acknowledgment then. That is safe only if the peer has our SYN
// or will get it, since the kernel will not send it again.
//
// What Linux cannot be told, and what follows: the peer's latest timestamp (until
// its next segment our TSecr is 0, which means unknown), and the round trip time
// (if all of the first segments we send are lost, that is noticed after 1 s).
// A FIN that was dropped comes again after the peer's retransmission timeout.
//
// If Install fails the flow is lost to this socket: close r, which sends
// nothing, and tell the peer (rawtcp.Handshake.Abort). EADDRNOTAVAIL means that a
// socket of this very flow has come up since PrepareRepair.
func (r *Repair) Install(t rawtcp.Transfer, late func(rcvNxt rawtcp.Seq) []byte) (*net.TCPConn, error) {
	err := r.checkTransfer(&t)
	var c *net.TCPConn
	if err == nil {
		r.aim(t.Remote)
		c, err = r.install(&t, late)
	}
	if err != nil {
		return nil, fmt.Errorf("handoff: install %v to %v: %w", r.local, r.remote, err)
	}
	return c, nil
}

// aim makes the socket one for remote. The net package has taken the remote address from
// the socket when it was prepared, and it takes longer than all of Install to do so again. Its
// documentation says not to modify what RemoteAddr returns, because all who asked share it:
// nobody has asked yet.
func (r *Repair) aim(remote netip.AddrPort) {
	if remote == r.remote {
		return
	}
	r.remote = remote
	if a, ok := r.conn.RemoteAddr().(*net.TCPAddr); ok {
		a.Port = int(remote.Port())
	}
}

// Close gives the socket up without a packet. After Install it leaves the
// connection alone.
func (r *Repair) Close() error {
	var err error
	if r.conn != nil {
		err = r.conn.Close() // in repair mode: tcp_close sends nothing
		r.conn = nil
	}
	if r.raw != nil {
		err = errors.Join(err, r.raw.Close())
		r.raw = nil
	}
	return err
}

// ProbeRepair reports whether this process may use TCP_REPAIR here and the
// kernel has all of it that Install needs. If not, the error says why, with the
// errno: EPERM names the capability.
func ProbeRepair() (bool, error) {
	if err := probeRepair(); err != nil {
		return false, fmt.Errorf("handoff: TCP_REPAIR: %w", err)
	}
	return true, nil
}

// checkTransfer complains about a flow that a socket for local and remote cannot
// continue.
func (r *Repair) checkTransfer(t *rawtcp.Transfer) error {
	switch {
	case r.conn == nil:
		return ErrClosed
	case t.Local != r.local || t.Remote != r.remote && !(r.cfg.AnyPort && t.Remote.Addr() == r.remote.Addr() && t.Remote.Port() != 0):
		return fmt.Errorf("the transfer is of another flow, %v to %v", t.Local, t.Remote)
	case t.SndNxt == 0:
		// tcp_v4_connect takes a write_seq of 0 for 'choose one'.
		return fmt.Errorf("the next sequence number is 0, which the kernel takes for unset: choose another ISN than %d", t.ISN)
	case t.SndWScale > 14 || t.RcvWScale > 14:
		return fmt.Errorf("window shifts %d and %d: at most 14 (RFC 7323 section 2.3)", t.SndWScale, t.RcvWScale)
	}
	return nil
}
