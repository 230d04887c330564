package handoff

import (
	"fmt"
	"net/netip"
)

// GuardConfig is the configuration of a Guard.
type GuardConfig struct {
	// Interface limits the guard to segments that arrive on this interface
	// (SO_BINDTODEVICE). Empty means any.
	Interface string
}

// Guard keeps the kernel silent on one local endpoint: while it is open, no
// segment that arrives there for a flow without a socket of its own is answered,
// neither SYN nor SYN-ACK nor data, where otherwise the kernel's RST would end
// the punch. Packet sockets still see the segments.
//
// It is a listening socket that drops all it gets before TCP looks at it, by a
// classic BPF filter of one instruction (tcp_v4_rcv: tcp_filter), or, without
// CAP_NET_ADMIN on kernels that want it for a filter on a TCP socket (commit
// 5d39580f68e6, 2026), by a TCP MD5 key for every peer (RFC 2385), which no segment
// is signed with. So it needs no capability and no firewall rule, and it is gone
// with the process, also after SIGKILL. A connected socket on the same local port
// wins over it, and what arrives for that socket is not dropped: close the guard
// after the handoff, not before.
//
// The other sockets of this package can be bound to the guard's endpoint while
// it is open. Sockets of other programs cannot.
type Guard struct {
	fd    int
	local netip.AddrPort
}

// OpenGuard opens a guard on a local endpoint. Port 0 picks a free one, see
// LocalAddr; the unspecified address guards the port on every address of its
// family.
//
// If the port is taken the error is EADDRINUSE and says how to find out by
// whom: another listening socket, or a connection that was made without
// SO_REUSEADDR. Connections of this package that are open or in TIME-WAIT do not
// keep a guard from the port.
func OpenGuard(local netip.AddrPort, cfg *GuardConfig) (*Guard, error) {
	if cfg == nil {
		cfg = &GuardConfig{}
	}
	if err := checkLocal(local); err != nil {
		return nil, fmt.Errorf("handoff: guard: %w", err)
	}
	g, err := openGuard(local, cfg)
	if err != nil {
		return nil, fmt.Errorf("handoff: guard %v: %w", local, err)
	}
	return g, nil
}

// LocalAddr is the guarded endpoint, with the port that was picked.
func (g *Guard) LocalAddr() netip.AddrPort { return g.local }

// Close ends the guard. It sends nothing.
func (g *Guard) Close() error { return closeFD(&g.fd) }
