package handoff

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

func openGuard(local netip.AddrPort, cfg *GuardConfig) (*Guard, error) {
	fd, err := newSocket(local.Addr(), 0)
	if err != nil {
		return nil, err
	}
	g := &Guard{fd: fd}
	if err := g.listen(local, cfg); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func (g *Guard) listen(local netip.AddrPort, cfg *GuardConfig) error {
	if err := attachDrop(g.fd); err != nil {
		return err
	}
	if err := bindToDevice(g.fd, cfg.Interface); err != nil {
		return err
	}
	// Connections in TIME-WAIT that had the option too leave the port free.
	if err := setInt(g.fd, "SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := bind(g.fd, local); err != nil {
		return err
	}
	if err := unix.Listen(g.fd, 1); err != nil {
		return inUse("listen", err, local)
	}
	var err error
	if g.local, err = localAddr(g.fd); err != nil {
		return err
	}
	// SO_REUSEPORT comes only now: bind has found out that nobody else listens
	// here, and from now on our own sockets can be bound (inet_csk_bind_conflict
	// reads the option of both sockets at that time).
	return setInt(g.fd, "SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}
