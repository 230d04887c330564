package handoff

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// newSocket makes a TCP socket of the address's family; flags is 0 or
// SOCK_NONBLOCK.
func newSocket(addr netip.Addr, flags int) (int, error) {
	family := unix.AF_INET6
	if addr.Is4() {
		family = unix.AF_INET
	}
	// IPPROTO_TCP is named because 0 may become MPTCP (mptcpize), which has no TCP_REPAIR.
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, unix.IPPROTO_TCP)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if family == unix.AF_INET6 {
		if err := setInt(fd, "IPV6_V6ONLY", unix.SOL_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// plainFlowLabel makes IPv6 packets carry flow label 0, as raw segments of
// package rawtcp do: a flow keeps one label for its life (RFC 6437 section 3).
func plainFlowLabel(fd int, family netip.Addr) error {
	if family.Is4() {
		return nil
	}
	return setInt(fd, "IPV6_AUTOFLOWLABEL", unix.SOL_IPV6, unix.IPV6_AUTOFLOWLABEL, 0)
}

// closeFD closes *fd once and makes it -1.
func closeFD(fd *int) error {
	if *fd < 0 {
		return nil
	}
	err := unix.Close(*fd)
	*fd = -1
	return os.NewSyscallError("close", err)
}

func setInt(fd int, name string, level, opt, value int) error {
	if err := unix.SetsockoptInt(fd, level, opt, value); err != nil {
		return fmt.Errorf("set %s to %d: %w", name, value, err)
	}
	return nil
}

// dropAll is a classic BPF program of one instruction: keep 0 bytes.
var dropAll = unix.SockFprog{Len: 1, Filter: &unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}}

// attachDrop makes the kernel drop whatever arrives for the socket before TCP
// looks at it (sk_filter_trim_cap in tcp_v4_rcv and tcp_v6_rcv).
func attachDrop(fd int) error {
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &dropAll); err != nil {
		return fmt.Errorf("attach the drop filter: %w", err)
	}
	return nil
}

func detachDrop(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
		return fmt.Errorf("detach the drop filter: %w", err)
	}
	return nil
}

// bindToDevice limits a socket to an interface; empty means that it is left as it is.
func bindToDevice(fd int, name string) error {
	if name == "" {
		return nil
	}
	if err := unix.BindToDevice(fd, name); err != nil {
		return fmt.Errorf("bind to interface %s: %w", name, err)
	}
	return nil
}

// shareable lets a socket be bound beside a guard and beside connections of
// the same local endpoint, alive or in TIME-WAIT.
func shareable(fd int) error {
	if err := setInt(fd, "SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return setInt(fd, "SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

func bind(fd int, local netip.AddrPort) error {
	sa, err := sockaddr(local)
	if err != nil {
		return err
	}
	err = unix.Bind(fd, sa)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("bind: %w: no interface of this host has the address %v", err, local.Addr())
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("bind: %w: ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE; choose a higher port", err)
	}
	return inUse("bind", err, local)
}

// inUse says what to do about a port that is taken.
func inUse(op string, err error, local netip.AddrPort) error {
	if !errors.Is(err, unix.EADDRINUSE) {
		return os.NewSyscallError(op, err)
	}
	return fmt.Errorf("%s: %w: see who has it with 'ss -tanp sport = :%d' and stop it, or take another port (0 picks a free one)", op, err, local.Port())
}

func sockaddr(ap netip.AddrPort) (unix.Sockaddr, error) {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
	if zone := ap.Addr().Zone(); zone != "" {
		if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
			sa.ZoneId = uint32(n)
			return sa, nil
		}
		ifi, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("zone of %v: %w", ap.Addr(), err)
		}
		sa.ZoneId = uint32(ifi.Index)
	}
	return sa, nil
}

func localAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			addr = addr.WithZone(strconv.Itoa(int(sa.ZoneId)))
			if ifi, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil {
				addr = addr.WithZone(ifi.Name)
			}
		}
		return netip.AddrPortFrom(addr, uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("getsockname: not an IP socket")
}

// tcpConn gives a connected socket to the net package and takes the descriptor
// over, also when it fails.
//
// net.FileConn duplicates it, registers the duplicate with the runtime's poller
// and sets what net.Dial sets. The socket is made blocking first, or os.NewFile
// would register the original with the poller too.
func tcpConn(fd int) (*net.TCPConn, error) {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, 0); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "tcp")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
