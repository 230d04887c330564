package handoff

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/rawtcp"
)

// catchLimit is how long Park waits for the SYN on the loopback device; it is
// there when connect returns, unless something between drops it.
const catchLimit = 500 * time.Millisecond

const (
	ipv6Header = 40 // RFC 8200 section 3, bytes

	// The routing header that keeps an IPv6 SYN on this host, see holdBack6.
	routingHeader = 43 // its next header value, RFC 8200 section 4.4
	segmentType   = 4  // routing type "segment routing header", RFC 8754 section 2
	segmentHeader = 8 + 2*16
)

func (p *Parked) prepare() error {
	if p.remote.Addr().IsLoopback() || isLocal(p.remote.Addr()) {
		return fmt.Errorf("remote address %v is this host's own: its SYN cannot be held back", p.remote.Addr())
	}
	if err := checkLoopback(p.local.Addr().Is4()); err != nil {
		return err
	}
	if p.cfg.MSS == 0 {
		mss, err := routeMSS(p.local.Addr(), p.remote.Addr(), p.cfg.Interface)
		if err != nil {
			return err
		}
		p.cfg.MSS = mss
	}
	var err error
	if p.capture, err = openLoopback(p.local, p.remote); err != nil {
		return err
	}
	if err := p.renew(); err != nil {
		closeFD(&p.capture)
		return err
	}
	return nil
}

// renew makes a fresh socket, bound and held back.
func (p *Parked) renew() error {
	if err := p.abort(); err != nil {
		return err
	}
	fd, err := newSocket(p.remote.Addr(), unix.SOCK_NONBLOCK)
	if err != nil {
		return err
	}
	p.pending = pending{fd: fd}
	if err := p.setUp(); err != nil {
		closeFD(&p.fd)
		return err
	}
	return nil
}

func (p *Parked) setUp() error {
	if err := shareable(p.fd); err != nil {
		return err
	}
	if err := plainFlowLabel(p.fd, p.local.Addr()); err != nil {
		return err
	}
	if err := limitMSS(p.fd, p.cfg.MSS); err != nil { // or the SYN would carry the loopback device's, 65,495
		return err
	}
	if err := holdBack(p.fd, p.remote.Addr()); err != nil {
		return err
	}
	return bind(p.fd, p.local)
}

func (p *Parked) park(ctx context.Context) error {
	if p.capture < 0 || p.given {
		return ErrClosed
	}
	if p.started || p.fd < 0 {
		if err := p.renew(); err != nil {
			return err
		}
	}
	var buf [256]byte
	for { // a retransmission of an earlier socket's SYN
		if _, _, err := unix.Recvfrom(p.capture, buf[:], unix.MSG_DONTWAIT); err != nil {
			break
		}
	}
	p.started = true
	if err := connect(p.fd, p.remote); err != nil {
		p.err = err
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
			return fmt.Errorf("%w: is the loopback device up? 'ip link set lo up'", err)
		}
		return err
	}
	if !p.remote.Addr().Is4() {
		// As holdBack does for IPv4: what comes in elsewhere, an ICMP error about a
		// copy among it, does not find the socket before Release (inet6_match).
		if err := unix.BindToDevice(p.fd, "lo"); err != nil {
			return os.NewSyscallError("setsockopt SO_BINDTODEVICE", err)
		}
	}
	n, err := p.catch(ctx, buf[:])
	if err != nil {
		return err
	}
	return p.read(buf[:n])
}

// catch waits for the SYN on the loopback device.
func (p *Parked) catch(ctx context.Context, buf []byte) (int, error) {
	n, _, err := unix.Recvfrom(p.capture, buf, unix.MSG_DONTWAIT)
	if err == nil {
		return n, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, catchLimit,
		errors.New("the kernel's SYN did not come to the loopback device: does a firewall rule for outgoing packets drop it?"))
	defer cancel()
	wake, werr := wakeFD(ctx)
	if werr != nil {
		return 0, werr
	}
	defer wake.close()
	for errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		fds := [2]unix.PollFd{{Fd: int32(p.capture), Events: unix.POLLIN}, {Fd: int32(wake.fd), Events: unix.POLLIN}}
		if _, perr := unix.Poll(fds[:], -1); perr != nil && !errors.Is(perr, unix.EINTR) {
			return 0, os.NewSyscallError("poll", perr)
		}
		if fds[1].Revents != 0 {
			return 0, context.Cause(ctx)
		}
		n, _, err = unix.Recvfrom(p.capture, buf, unix.MSG_DONTWAIT)
	}
	return n, os.NewSyscallError("recvfrom", err)
}

// read makes the segment that goes on the wire from the packet seen on lo.
func (p *Parked) read(pkt []byte) error {
	if !p.remote.Addr().Is4() {
		pkt = withoutRouting(pkt, p.remote.Addr())
	}
	syn, err := rawtcp.Parse(pkt)
	switch {
	case err != nil:
		return fmt.Errorf("the kernel's SYN: %w", err)
	case syn.Src != p.local || syn.Dst != p.remote || syn.Flags&(rawtcp.SYN|rawtcp.ACK) != rawtcp.SYN || syn.PayloadLen != 0:
		return fmt.Errorf("not the SYN that was expected: %v", &syn)
	case syn.Options.FastOpen || syn.Options.MPTCP || syn.Options.Other:
		return fmt.Errorf("the kernel's SYN has options that a copy cannot carry: %v", &syn)
	}
	p.syn = syn
	p.syn.Payload = nil // it would alias the buffer
	return nil
}

func (p *Parked) release() error {
	if p.fd < 0 {
		return ErrClosed
	}
	err := letGo(p.fd, p.remote.Addr(), p.cfg.Interface)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: needs CAP_NET_RAW: 'setcap cap_net_raw+ep PROGRAM', or run as root", err)
	}
	return err
}

// holdBack makes the SYN of the coming connect end on the loopback device.
func holdBack(fd int, remote netip.Addr) error {
	if remote.Is4() {
		// ip_route_output_key takes a destination without a route through the
		// bound device for on-link there; the SYN comes back in through lo and is
		// dropped as a martian (__mkroute_input: our own source address).
		return bindToDevice(fd, "lo")
	}
	return holdBack6(fd, remote)
}

// holdBack6 is holdBack for IPv6, whose route lookup is strict about the bound
// device (ENETUNREACH through lo). A segment routing header with ::1 as the
// first hop makes the kernel route the SYN to lo (fl6_update_dst), where
// ipv6_srh_rcv drops it silently, as net.ipv6.conf.lo.seg6_enabled is 0. The
// TCP header in it, checksum and options and all, is meant for the last hop.
func holdBack6(fd int, remote netip.Addr) error {
	h := make([]byte, 0, segmentHeader)
	h = append(h,
		0,                 // next header, filled in by the kernel
		segmentHeader/8-1, // length in units of 8 bytes, without the first
		segmentType,
		1,    // segments left: we are before the first hop
		1,    // last entry of the list
		0,    // flags
		0, 0, // tag
	)
	h = append(h, remote.AsSlice()...) // the list is in reverse: the last hop is first
	h = append(h, netip.IPv6Loopback().AsSlice()...)
	if err := unix.SetsockoptString(fd, unix.SOL_IPV6, unix.IPV6_RTHDR, string(h)); err != nil {
		return fmt.Errorf("set the IPv6 routing header that keeps the SYN on this host (needs a kernel with segment routing, 4.10 or newer): %w", err)
	}
	return nil
}

// letGo undoes holdBack. Both ways reset the socket's cached route (sk_dst_reset).
func letGo(fd int, remote netip.Addr, iface string) error {
	if remote.Is4() {
		return os.NewSyscallError("setsockopt SO_BINDTODEVICE", unix.BindToDevice(fd, iface))
	}
	// Clearing the header alone leaves its length in icsk_ext_hdr_len, and every
	// segment 40 bytes short. An option set that is there but holds no header
	// makes it 0 (ipv6_update_options), so first that one.
	if err := unix.SetsockoptString(fd, unix.SOL_IPV6, unix.IPV6_2292PKTOPTIONS, emptyOptions); err != nil {
		return os.NewSyscallError("setsockopt IPV6_2292PKTOPTIONS", err)
	}
	if err := unix.SetsockoptString(fd, unix.SOL_IPV6, unix.IPV6_RTHDR, ""); err != nil {
		return os.NewSyscallError("setsockopt IPV6_RTHDR", err)
	}
	return os.NewSyscallError("setsockopt SO_BINDTODEVICE", unix.BindToDevice(fd, iface))
}

// emptyOptions is a control message that makes an option set without headers:
// an IPV6_PKTINFO that says nothing.
var emptyOptions = string(unix.PktInfo6(&unix.Inet6Pktinfo{}))

// withoutRouting takes the routing header out of a packet and puts the final
// destination into the IPv6 header. It works in place. A packet of another
// shape comes back as it is, for the parser to complain about.
func withoutRouting(pkt []byte, dst netip.Addr) []byte {
	if len(pkt) < ipv6Header+segmentHeader || pkt[6] != routingHeader || int(pkt[ipv6Header+1]+1)*8 != segmentHeader {
		return pkt
	}
	pkt[6] = pkt[ipv6Header] // next header
	payload := binary.BigEndian.Uint16(pkt[4:])
	binary.BigEndian.PutUint16(pkt[4:], payload-segmentHeader)
	a := dst.As16()
	copy(pkt[24:ipv6Header], a[:])
	return append(pkt[:ipv6Header], pkt[ipv6Header+segmentHeader:]...)
}

// checkLoopback makes sure that the SYN goes no further than lo: two unusual
// settings of a router would make the kernel send it on.
func checkLoopback(v4 bool) error {
	on := func(name string) bool {
		b, err := os.ReadFile("/proc/sys/net/" + name)
		return err == nil && strings.TrimSpace(string(b)) != "0"
	}
	switch {
	case v4 && on("ipv4/conf/lo/forwarding") && (on("ipv4/conf/lo/accept_local") || on("ipv4/conf/all/accept_local")):
		// fib_validate_source lets our own source address pass.
		return errors.New("accept_local is on for lo and packets are forwarded, so the SYN cannot be held back there: 'sysctl -w net.ipv4.conf.all.accept_local=0 net.ipv4.conf.lo.accept_local=0'")
	case !v4 && on("ipv6/conf/lo/seg6_enabled") && on("ipv6/conf/all/seg6_enabled"):
		// ipv6_srh_rcv wants both. A kernel without the settings refuses the header itself.
		return errors.New("segment routing is on for lo, so the IPv6 SYN cannot be held back there: 'sysctl -w net.ipv6.conf.lo.seg6_enabled=0'")
	}
	return nil
}

// openLoopback opens a packet socket that sees the flow's SYN on lo.
func openLoopback(local, remote netip.AddrPort) (int, error) {
	proto := uint16(unix.ETH_P_IPV6)
	if local.Addr().Is4() {
		proto = unix.ETH_P_IP
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return -1, fmt.Errorf("find the loopback device: %w", err)
	}
	// Protocol 0 receives nothing until bind, so that the filter comes first.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			return -1, fmt.Errorf("packet socket: %w: needs CAP_NET_RAW: 'setcap cap_net_raw+ep PROGRAM', or run as root", err)
		}
		return -1, os.NewSyscallError("packet socket", err)
	}
	prog, err := bpf.Assemble(synFilter(local, remote))
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("assemble the filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(prog))
	for i, ins := range prog {
		filter[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("attach the filter: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: hostToNet(proto), Ifindex: lo.Index}); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind the packet socket", err)
	}
	return fd, nil
}

func hostToNet(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// synFilter lets in what has the flow's source address and both ports; data
// begins at the IP header.
func synFilter(local, remote netip.AddrPort) []bpf.Instruction {
	type check struct{ off, size, want uint32 }
	var checks []check
	words := func(off uint32, a netip.Addr) {
		for b := a.AsSlice(); len(b) > 0; b, off = b[4:], off+4 {
			checks = append(checks, check{off, 4, binary.BigEndian.Uint32(b)})
		}
	}
	tcp := uint32(20) // the kernel's SYN has no IPv4 options
	if local.Addr().Is4() {
		checks = append(checks, check{9, 1, unix.IPPROTO_TCP})
		words(12, local.Addr())
		words(16, remote.Addr())
	} else {
		checks = append(checks, check{6, 1, routingHeader}, check{ipv6Header, 1, unix.IPPROTO_TCP})
		words(8, local.Addr())
		tcp = ipv6Header + segmentHeader
	}
	checks = append(checks, check{tcp, 4, uint32(local.Port())<<16 | uint32(remote.Port())})
	var prog []bpf.Instruction
	for i, c := range checks {
		skip := uint8(2*(len(checks)-1-i) + 1)
		prog = append(prog, bpf.LoadAbsolute{Off: c.off, Size: int(c.size)}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: c.want, SkipFalse: skip})
	}
	return append(prog, bpf.RetConstant{Val: 0xffff}, bpf.RetConstant{Val: 0})
}

// routeMSS is the largest segment that fits the route, in bytes.
func routeMSS(local, remote netip.Addr, iface string) (uint16, error) {
	family := unix.AF_INET6
	if local.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := bindToDevice(fd, iface); err != nil {
		return 0, err
	}
	if err := bind(fd, netip.AddrPortFrom(local, 0)); err != nil {
		return 0, err
	}
	sa, err := sockaddr(netip.AddrPortFrom(remote, 9)) // discard; connect on UDP sends nothing
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, sa); err != nil {
		return 0, fmt.Errorf("route to %v: %w", remote, err)
	}
	return connectedMSS(fd, remote)
}

// connectedMSS is the MTU of a connected socket's route less the fixed headers
// (RFC 9293 section 3.7.1), which is what the kernel itself puts in a SYN
// (ipv4_default_advmss).
func connectedMSS(fd int, remote netip.Addr) (uint16, error) {
	level, opt, headers := unix.SOL_IPV6, unix.IPV6_MTU, 60
	if remote.Is4() {
		level, opt, headers = unix.SOL_IP, unix.IP_MTU, 40
	}
	mtu, err := unix.GetsockoptInt(fd, level, opt)
	if err != nil {
		return 0, fmt.Errorf("MTU of the route to %v: %w", remote, err)
	}
	return uint16(min(max(mtu-headers, minMaxSeg), 65535-headers)), nil
}

// isLocal reports whether an interface of this host has the address.
func isLocal(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, have := range addrs {
		if n, ok := have.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && ip.Unmap() == a.WithZone("") {
				return true
			}
		}
	}
	return false
}
