package rawtcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"github.com/mdlayher/socket"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

type conn struct {
	sock *socket.Conn
	raw  syscall.RawConn
	v6   bool

	// socket.Conn.Sendto allocates a closure and a channel a call. This closure
	// is made once, and its arguments and result are the fields below.
	mu     sync.Mutex
	sendto func(fd uintptr) bool
	pkt    []byte
	flags  int
	sa4    unix.SockaddrInet4
	sa6    unix.SockaddrInet6
	err    error
}

func open(network string, cfg *Config) (*Conn, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	c := &Conn{}
	family := unix.AF_INET
	switch network {
	case "ip4":
	case "ip6":
		family, c.v6 = unix.AF_INET6, true
	default:
		return nil, fmt.Errorf("rawtcp: open %q: the network is \"ip4\" or \"ip6\"", network)
	}
	if cfg.Local.IsValid() && cfg.Local.Is4() == c.v6 {
		return nil, fmt.Errorf("rawtcp: open %s: local address %v is of the other family", network, cfg.Local)
	}
	// raw(7): "A protocol of IPPROTO_RAW implies enabled IP_HDRINCL and is able
	// to send any IP protocol"; inet6_create does the same for IPv6.
	sock, err := socket.Socket(family, unix.SOCK_RAW, unix.IPPROTO_RAW, "rawtcp", nil)
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("rawtcp: open a raw %s socket: %w: it needs CAP_NET_RAW; grant it with: setcap cap_net_raw,cap_net_admin+ep %s", network, err, executable())
		}
		return nil, fmt.Errorf("rawtcp: open a raw %s socket: %w", network, err)
	}
	if err := c.setUp(sock, cfg); err != nil {
		sock.Close()
		return nil, fmt.Errorf("rawtcp: open a raw %s socket: %w", network, err)
	}
	return c, nil
}

// dropAll keeps packets of IP protocol 255 out of a receive buffer that nobody
// reads.
var dropAll = []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K}}

func (c *conn) setUp(sock *socket.Conn, cfg *Config) error {
	if err := sock.SetBPF(dropAll); err != nil {
		return fmt.Errorf("drop filter: %w", err)
	}
	if cfg.Interface != "" {
		if err := sock.SetsockoptString(unix.SOL_SOCKET, unix.SO_BINDTODEVICE, cfg.Interface); err != nil {
			return fmt.Errorf("interface %s: %w", cfg.Interface, err)
		}
	}
	if cfg.Mark != 0 {
		if err := sock.SetsockoptInt(unix.SOL_SOCKET, unix.SO_MARK, int(cfg.Mark)); err != nil {
			return fmt.Errorf("mark %#x: %w", cfg.Mark, err)
		}
	}
	if cfg.SendBuffer != 0 {
		if err := sock.SetWriteBuffer(cfg.SendBuffer); err != nil {
			return fmt.Errorf("send buffer of %d bytes: %w", cfg.SendBuffer, err)
		}
	}
	if cfg.Local.IsValid() {
		if err := sock.Bind(sockaddr(cfg.Local, cfg.Interface)); err != nil {
			return fmt.Errorf("local address %v: %w", cfg.Local, err)
		}
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		return err
	}
	c.sock, c.raw = sock, raw
	var to unix.Sockaddr = &c.sa4
	if c.v6 {
		to = &c.sa6
	}
	c.sendto = func(fd uintptr) bool {
		for {
			c.err = unix.Sendto(int(fd), c.pkt, c.flags, to)
			if c.err != unix.EINTR {
				return c.err != unix.EAGAIN // false: wait until it is writable
			}
		}
	}
	return nil
}

func sockaddr(a netip.Addr, ifname string) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	sa := &unix.SockaddrInet6{Addr: a.As16()}
	if a.IsLinkLocalUnicast() {
		if z := a.Zone(); z != "" {
			ifname = z
		}
		if ifi, err := net.InterfaceByName(ifname); err == nil {
			sa.ZoneId = uint32(ifi.Index)
		}
	}
	return sa
}

// msgProbe is MSG_PROBE of include/linux/socket.h, "Do not send. Only probe path".
const msgProbe = 0x10

func (c *conn) send(pkt []byte) error { return c.transmit(pkt, 0) }

func (c *conn) warm(pkt []byte) error { return c.transmit(pkt, msgProbe) }

func (c *conn) transmit(pkt []byte, flags int) error {
	if len(pkt) < ipv4MinHeader || c.v6 && len(pkt) < ipv6Header || pkt[0]>>4 == 6 != c.v6 {
		return c.malformed(pkt)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.v6 {
		c.sa6.Addr = [16]byte(pkt[24:40])
	} else {
		c.sa4.Addr = [4]byte(pkt[16:20])
	}
	c.pkt, c.flags = pkt, flags
	err := c.raw.Write(c.sendto)
	c.pkt = nil
	switch {
	case err != nil:
		// The poller's own word. There are no deadlines here, so it is this.
		return c.sendError(pkt, net.ErrClosed)
	case c.err != nil:
		return c.sendError(pkt, os.NewSyscallError("sendto", c.err))
	}
	return nil
}

func (c *conn) malformed(pkt []byte) error {
	family := "IPv4"
	if c.v6 {
		family = "IPv6"
	}
	return fmt.Errorf("rawtcp: send: %w: %d bytes, not an %s packet", ErrMalformed, len(pkt), family)
}

func (c *conn) sendError(pkt []byte, err error) error {
	var to netip.Addr
	if c.v6 {
		to = netip.AddrFrom16([16]byte(pkt[24:40]))
	} else {
		to = netip.AddrFrom4([4]byte(pkt[16:20]))
	}
	if errors.Is(err, unix.EPERM) {
		// nf_hook_slow: NF_DROP is EPERM to the sender.
		return fmt.Errorf("rawtcp: send to %v: %w: this host's own packet filter dropped it (nft list ruleset)", to, err)
	}
	return fmt.Errorf("rawtcp: send to %v: %w", to, err)
}

// dup returns a descriptor of the same socket that blocks.
func (c *conn) dup() (int, error) {
	fd := -1
	var err error
	if cerr := c.raw.Control(func(s uintptr) { fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return -1, cerr
	}
	if err != nil {
		return -1, os.NewSyscallError("dup", err)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("fcntl", err)
	}
	return fd, nil
}

func (c *conn) close() error {
	if err := c.sock.Close(); err != nil {
		return fmt.Errorf("rawtcp: close: %w", err)
	}
	return nil
}

// executable is the program to give capabilities to.
func executable() string {
	if path, err := os.Executable(); err == nil {
		return path
	}
	return "FILE"
}
