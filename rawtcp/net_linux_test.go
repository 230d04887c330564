package rawtcp_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/socket"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/rawtcp"
)

// What the namespace tests wait for comes within microseconds; this bounds a
// failure.
const patience = 10 * time.Second

// wire is a veth pair in the test's namespace. The near end has addresses and
// the far end has none, so what is sent to hosts behind it only passes by.
type wire struct {
	near, far            netlink.Link
	local4, local6       netip.Addr // of the near end
	remote4, remote6     netip.Addr // reached through the far end
	linkLocal6, remote6L netip.Addr
}

func newWire(tb testing.TB) *wire {
	tb.Helper()
	w := &wire{
		local4: netip.MustParseAddr("10.9.0.1"), remote4: netip.MustParseAddr("10.9.0.2"),
		local6: netip.MustParseAddr("2001:db8:9::1"), remote6: netip.MustParseAddr("2001:db8:9::2"),
		linkLocal6: netip.MustParseAddr("fe80::9:1"), remote6L: netip.MustParseAddr("fe80::9:2"),
	}
	check := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	links, routes := make(chan netlink.LinkUpdate), make(chan netlink.RouteUpdate)
	done := make(chan struct{})
	check(netlink.LinkSubscribe(links, done))
	check(netlink.RouteSubscribe(routes, done))
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "near"
	check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far"}))
	var err error
	w.near, err = netlink.LinkByName("near")
	check(err)
	w.far, err = netlink.LinkByName("far")
	check(err)
	check(netlink.LinkSetUp(w.near))
	check(netlink.LinkSetUp(w.far))
	for _, a := range []struct{ local, remote netip.Addr }{{w.local4, w.remote4}, {w.local6, w.remote6}, {w.linkLocal6, w.remote6L}} {
		ones := 24
		flags := 0
		if a.local.Is6() {
			ones, flags = 64, unix.IFA_F_NODAD
		}
		check(netlink.AddrAdd(w.near, &netlink.Addr{IPNet: &net.IPNet{IP: a.local.AsSlice(), Mask: net.CIDRMask(ones, a.local.BitLen())}, Flags: flags}))
		check(netlink.NeighSet(&netlink.Neigh{LinkIndex: w.near.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.remote.AsSlice(), HardwareAddr: w.far.Attrs().HardwareAddr}))
	}

	// The kernel finishes both behind our back, and drops what comes earlier: a
	// device gets its queue from the link watch (dev_activate), an IPv6 address
	// its local route from a work queue, even without duplicate detection.
	up, local := map[string]bool{}, map[string]bool{}
	timeout := time.After(patience)
	for !up["near"] || !up["far"] || !local[w.local6.String()] || !local[w.linkLocal6.String()] {
		select {
		case c := <-links:
			up[c.Link.Attrs().Name] = c.Link.Attrs().OperState == netlink.OperUp
		case r := <-routes:
			if r.Type == unix.RTM_NEWROUTE && r.Route.Type == unix.RTN_LOCAL && r.Dst != nil {
				local[r.Dst.IP.String()] = true
			}
		case <-timeout:
			tb.Fatalf("the veth pair is not ready: up %v, local %v", up, local)
		}
	}
	close(done)
	go func() {
		for range links { // until the subscription has told its last
		}
	}()
	go func() {
		for range routes {
		}
	}()
	return w
}

// local and remote are the ends of one family.
func (w *wire) ends(v6 bool) (local, remote netip.Addr) {
	if v6 {
		return w.local6, w.remote6
	}
	return w.local4, w.remote4
}

// tap reads the IP packets that a filter lets in from one device; own
// outgoing packets are left out.
type tap struct {
	sock *socket.Conn
	buf  [2048]byte
}

func newTap(tb testing.TB, device string, filter []bpf.RawInstruction) *tap {
	tb.Helper()
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		tb.Fatal(err)
	}
	// Protocol 0: nothing is received before filter and bind.
	sock, err := socket.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0, "tap", nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { sock.Close() })
	if err := sock.SetBPF(filter); err != nil {
		tb.Fatal(err)
	}
	if err := sock.SetReadBuffer(200 << 10); err != nil {
		tb.Fatal(err)
	}
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
	if err := sock.Bind(&unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		tb.Fatal(err)
	}
	return &tap{sock: sock}
}

// next returns the next packet, valid until the following call.
func (p *tap) next(tb testing.TB) []byte {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		n, from, err := p.sock.Recvfrom(ctx, p.buf[:], 0)
		if err != nil {
			tb.Fatalf("waiting for a packet: %v", err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
			return p.buf[:n]
		}
	}
}

func (p *tap) segment(tb testing.TB) rawtcp.Segment {
	tb.Helper()
	s, err := rawtcp.Parse(p.next(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func mustFilter(tb testing.TB, local, remote netip.AddrPort) []bpf.RawInstruction {
	tb.Helper()
	f, err := rawtcp.FlowFilter(local, remote)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func mustOpen(tb testing.TB, v6 bool, cfg *rawtcp.Config) *rawtcp.Conn {
	tb.Helper()
	network := "ip4"
	if v6 {
		network = "ip6"
	}
	c, err := rawtcp.Open(network, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// silentListener holds a local port: the kernel answers nothing that comes for
// it, because a filter drops everything before TCP sees it.
func silentListener(tb testing.TB, addr netip.Addr) netip.AddrPort {
	tb.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		if cerr := rc.Control(func(fd uintptr) {
			drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := lc.Listen(context.Background(), "tcp", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}
