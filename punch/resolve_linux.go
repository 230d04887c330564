package punch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Resolve validates the plan, fills in the defaults, and asks the system for
// what is left open: the local address and the interface by the route to
// Remote, a free local port. Do calls it; call it first to know the endpoint.
// Complaints about the plan wrap ErrPlan.
func (p Plan) Resolve() (Plan, error) {
	if err := p.Validate(); err != nil {
		return p, err
	}
	p = p.withDefaults()
	if p.mss == 0 { // not yet resolved
		p.bound = p.Interface
	}
	route, err := findRoute(&p)
	if err != nil {
		return p, err
	}
	local := p.Local.Addr()
	if !local.IsValid() || local.IsUnspecified() {
		local = route.src
	} else if err := onThisHost(local); err != nil {
		return p, err
	}
	if p.Interface == "" {
		p.Interface = route.iface
	}
	if p.MSS == 0 {
		p.mss = route.mss()
	} else {
		p.mss = p.MSS
	}
	port := p.Local.Port()
	if port == 0 {
		if port, err = freePorts(local, p.FanOut.LocalPorts); err != nil {
			return p, err
		}
	}
	p.Local = netip.AddrPortFrom(local, port)
	if err := p.resolveFan(); err != nil {
		return p, err
	}
	if p.Local == p.Remote {
		return p, planErr("remote %v is the local endpoint itself", p.Remote)
	}
	return p, nil
}

// route is what the kernel would do with a packet to the remote address.
type route struct {
	src   netip.Addr
	iface string
	mtu   int
}

// mss is the largest segment that fits the route's MTU, without options (RFC 9293 section 3.7.1).
func (r route) mss() uint16 {
	headers := 40
	if r.src.Is6() {
		headers = 60
	}
	return uint16(min(max(r.mtu-headers, 536), 65535-headers))
}

func findRoute(p *Plan) (route, error) {
	remote := p.Remote.Addr()
	opts := &netlink.RouteGetOptions{Oif: p.Interface}
	if local := p.Local.Addr(); local.IsValid() && !local.IsUnspecified() {
		opts.SrcAddr = local.AsSlice()
	}
	if p.Interface != "" {
		if _, err := net.InterfaceByName(p.Interface); err != nil {
			return route{}, planErr("interface %s: %w", p.Interface, err)
		}
	}
	routes, err := netlink.RouteGetWithOptions(remote.AsSlice(), opts)
	switch {
	case errors.Is(err, unix.EINVAL) && opts.SrcAddr != nil:
		return route{}, onThisHost(p.Local.Addr())
	case err != nil:
		return route{}, fmt.Errorf("punch: no route to %v: %w; see 'ip route get %v'", remote, err, remote)
	case len(routes) == 0:
		return route{}, fmt.Errorf("punch: no route to %v; see 'ip route get %v'", remote, remote)
	}
	found := routes[0]
	if found.Type == unix.RTN_BROADCAST {
		return route{}, planErr("remote %v: not the address of one host, but the broadcast address of a network here", remote)
	}
	link, err := net.InterfaceByIndex(found.LinkIndex)
	if err != nil {
		return route{}, fmt.Errorf("punch: interface of the route to %v: %w", remote, err)
	}
	src, _ := netip.AddrFromSlice(found.Src)
	r := route{src: src.Unmap(), iface: link.Name, mtu: link.MTU}
	if found.MTU > 0 {
		r.mtu = found.MTU
	}
	return r, nil
}

// onThisHost complains about a local address that no interface has.
func onThisHost(local netip.Addr) error {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("punch: list this host's addresses: %w", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if n.IP.Equal(net.IP(local.AsSlice())) || (n.IP.IsLoopback() && n.Contains(net.IP(local.AsSlice()))) {
				return nil
			}
		}
	}
	return planErr("local %v is not an address of this host; leave the address out (:PORT) to take the one of the route", local)
}

// freePort asks the kernel for an unused port of the address.
func freePort(local netip.Addr) (uint16, error) {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0)))
	if err != nil {
		return 0, fmt.Errorf("punch: pick a free local port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port(), nil
}
