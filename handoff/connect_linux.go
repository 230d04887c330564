package handoff

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

func (c *Connect) prepare() error {
	fd, err := newSocket(c.remote.Addr(), unix.SOCK_NONBLOCK)
	if err != nil {
		return err
	}
	c.pending = pending{fd: fd}
	if err := c.setUp(); err != nil {
		closeFD(&c.fd)
		return err
	}
	return nil
}

func (c *Connect) setUp() error {
	if err := shareable(c.fd); err != nil {
		return err
	}
	if err := bindToDevice(c.fd, c.cfg.Interface); err != nil {
		return err
	}
	if err := limitMSS(c.fd, c.cfg.MSS); err != nil {
		return err
	}
	if c.cfg.TTL != 0 {
		if err := setTTL(c.fd, c.remote.Addr(), int(c.cfg.TTL)); err != nil {
			return err
		}
	}
	if err := bind(c.fd, c.local); err != nil {
		return err
	}
	var err error
	c.local, err = localAddr(c.fd)
	return err
}

func (c *Connect) start() error {
	if c.fd < 0 {
		return ErrClosed
	}
	if c.err != nil {
		closeFD(&c.fd)
		if err := c.prepare(); err != nil {
			return err
		}
	} else if c.started {
		return unix.EALREADY
	}
	err := connect(c.fd, c.remote)
	c.started = true
	if err != nil {
		c.err = err
		return err
	}
	if c.cfg.TTL != 0 {
		// connect has sent the SYN by now; ip_select_ttl reads the option anew for each packet.
		return setTTL(c.fd, c.remote.Addr(), -1)
	}
	return nil
}

// connect starts a handshake; EINPROGRESS is nil.
func connect(fd int, remote netip.AddrPort) error {
	sa, err := sockaddr(remote)
	if err != nil {
		return err
	}
	err = unix.Connect(fd, sa)
	switch {
	case err == nil || errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EINTR):
		return nil
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("connect: %w: this flow exists already or is in TIME-WAIT: wait 60 s or take another local port", err)
	}
	return os.NewSyscallError("connect", err)
}

// setTTL sets the TTL or hop limit of the packets to come; -1 is the default.
func setTTL(fd int, family netip.Addr, ttl int) error {
	if family.Is4() {
		if ttl < 0 {
			// ip(7) documents 1 to 255; do_ip_setsockopt takes -1 as the default.
			return setInt(fd, "IP_TTL", unix.SOL_IP, unix.IP_TTL, -1)
		}
		return setInt(fd, "IP_TTL", unix.SOL_IP, unix.IP_TTL, ttl)
	}
	return setInt(fd, "IPV6_UNICAST_HOPS", unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, ttl)
}

// Given by tcp(7) and do_tcp_setsockopt: what TCP_MAXSEG takes, bytes.
const (
	minMaxSeg = 88
	maxMaxSeg = 32767
)

// limitMSS sets TCP_MAXSEG; 0 leaves it as it is.
func limitMSS(fd int, mss uint16) error {
	if mss == 0 {
		return nil
	}
	return setInt(fd, "TCP_MAXSEG", unix.SOL_TCP, unix.TCP_MAXSEG, min(max(int(mss), minMaxSeg), maxMaxSeg))
}
