package rawtcp_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/rawtcp"
)

// sink is a veth pair whose far end, in a namespace of its own, counts what comes. It
// is for another station on the Ethernet, so that the far kernel does no more with it.
type sink struct {
	far                              *netns.NS
	mac                              net.HardwareAddr // of that station
	local4, remote4, local6, remote6 netip.Addr
}

func newSink(tb testing.TB) *sink {
	tb.Helper()
	s := newPair(tb)
	s.mac = net.HardwareAddr{2, 0, 0, 0, 9, 2}
	near, err := netlink.LinkByName("near")
	if err != nil {
		tb.Fatal(err)
	}
	for _, remote := range []netip.Addr{s.remote4, s.remote6} {
		if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: near.Attrs().Index, State: netlink.NUD_PERMANENT, IP: remote.AsSlice(), HardwareAddr: s.mac}); err != nil {
			tb.Fatal(err)
		}
	}
	return s
}

// newPair is a veth pair between this namespace and another, where the remote addresses are.
func newPair(tb testing.TB) *sink {
	tb.Helper()
	s := &sink{
		local4: netip.MustParseAddr("10.9.0.1"), remote4: netip.MustParseAddr("10.9.0.2"),
		local6: netip.MustParseAddr("2001:db8:9::1"), remote6: netip.MustParseAddr("2001:db8:9::2"),
	}
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	var err error
	s.far, err = netns.New()
	must(err)
	tb.Cleanup(func() { s.far.Close() })
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "near"
	must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "far", PeerNamespace: netlink.NsFd(s.far.Fd())}))
	addresses := func(name string, addrs ...netip.Addr) error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			ones, flags := 24, 0
			if a.Is6() {
				ones, flags = 64, unix.IFA_F_NODAD
			}
			if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(ones, a.BitLen())}, Flags: flags}); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(link)
	}
	must(s.far.Do(func() error {
		link, err := netlink.LinkByName("far")
		if err != nil {
			return err
		}
		s.mac = link.Attrs().HardwareAddr
		return addresses("far", s.remote4, s.remote6)
	}))
	updates, done := make(chan netlink.LinkUpdate), make(chan struct{})
	must(netlink.LinkSubscribe(updates, done))
	must(addresses("near", s.local4, s.local6))
	// A device gets its queue from the link watch (dev_activate), and drops what comes earlier.
	timeout := time.After(patience)
	for up := false; !up; {
		select {
		case u := <-updates:
			up = u.Link.Attrs().Name == "near" && u.Link.Attrs().OperState == netlink.OperUp
		case <-timeout:
			tb.Fatal("the veth pair does not come up")
		}
	}
	close(done)
	go func() {
		for range updates { // until the subscription has told its last
		}
	}()
	return s
}

// received is how many packets the far end has got.
func (s *sink) received(tb testing.TB) (n uint64) {
	tb.Helper()
	err := s.far.Do(func() error {
		link, err := netlink.LinkByName("far")
		if err == nil {
			n = link.Attrs().Statistics.RxPackets
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// fan is a fan of 129,024 flows, two full sweeps, to a host behind the far end.
func (s *sink) fan(tb testing.TB, v6 bool) *rawtcp.Fan {
	tb.Helper()
	local, remote := s.local4, s.remote4
	if v6 {
		local, remote = s.local6, s.remote6
	}
	f, err := rawtcp.NewFan(rawtcp.FanConfig{
		HandshakeConfig: rawtcp.HandshakeConfig{Local: netip.AddrPortFrom(local, 0), Remote: netip.AddrPortFrom(remote, 0), WScale: 7, TSBase: 1000},
		LocalPorts:      []rawtcp.PortRange{{Lo: 40000, Hi: 40001}}, RemotePorts: []rawtcp.PortRange{{Lo: 1024, Hi: 65535}},
		Numbers: rawtcp.NewISNGenerator([16]byte{1}), Start: time.Now(), Order: [16]byte{2},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return f
}
