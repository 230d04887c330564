package handoff

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	if err := deafen(g.fd, local.Addr()); err != nil {
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

// deafen makes a listening socket drop every segment in silence.
func deafen(fd int, local netip.Addr) error {
	err := attachDrop(fd)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	if kerr := wantMD5(fd, local); kerr != nil {
		return fmt.Errorf("%w: needs CAP_NET_ADMIN on this kernel: 'setcap cap_net_admin,cap_net_raw+ep PROGRAM'; without it, TCP MD5 keys would do: %w", err, kerr)
	}
	return nil
}

// Given by include/uapi/linux/tcp.h: struct tcp_md5sig.
const (
	md5Size       = 216
	md5FlagsAt    = 128 // after a struct sockaddr_storage
	md5KeyLenAt   = 130
	md5KeyAt      = 136
	md5KeyLen     = 16
	md5FlagPrefix = 1 // TCP_MD5SIG_FLAG_PREFIX; the prefix length itself stays 0: every peer
)

// wantMD5 makes a socket drop segments without a valid MD5 signature
// (tcp_inbound_hash), which needs no capability but CONFIG_TCP_MD5SIG. Some kernels
// log what is dropped, at a limited rate.
func wantMD5(fd int, local netip.Addr) error {
	b := make([]byte, md5Size)
	family := uint16(unix.AF_INET6)
	if local.Is4() {
		family = unix.AF_INET
	}
	binary.NativeEndian.PutUint16(b, family)
	b[md5FlagsAt] = md5FlagPrefix
	binary.NativeEndian.PutUint16(b[md5KeyLenAt:], md5KeyLen)
	copy(b[md5KeyAt:], "nobody knows me!") // md5KeyLen bytes; secrecy does not matter, nothing is ever accepted
	if err := unix.SetsockoptString(fd, unix.SOL_TCP, unix.TCP_MD5SIG_EXT, string(b)); err != nil {
		return fmt.Errorf("set TCP_MD5SIG_EXT: %w", err)
	}
	return nil
}
