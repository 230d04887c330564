package live

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/netns"
)

// each runs f for every node inside its namespace, all at once.
func (n *network) each(ctx context.Context, f func(i int) error) error {
	errs := make([]error, len(n.nodes))
	var wg sync.WaitGroup
	for i, nd := range n.nodes {
		wg.Go(func() {
			if errs[i] = ctx.Err(); errs[i] != nil {
				return
			}
			if err := nd.ns.Do(func() error { return f(i) }); err != nil {
				errs[i] = fmt.Errorf("%s: %w", nd.name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// addNodes makes the namespaces. Their settings come before their interfaces, which
// take what is the default at that time.
func (n *network) addNodes(ctx context.Context, p *plan) error {
	for i, np := range p.nodes {
		if i != p.link {
			n.visible = append(n.visible, i)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		ns, err := netns.New()
		if err != nil {
			return fmt.Errorf("%s: %w", np.name, err)
		}
		n.nodes = append(n.nodes, &node{name: np.name, ns: ns, index: map[string]int{}})
	}
	return n.each(ctx, func(i int) error { return sysctls(&p.nodes[i], p.v6) })
}

// sysctls sets what the namespace of the calling thread shall not take over from the
// machine (Documentation/networking/ip-sysctl.rst).
func sysctls(np *nodePlan, v6 bool) error {
	type setting struct{ key, value string }
	list := []setting{
		{"ipv4/conf/all/rp_filter", "0"}, // the larger of all and the interface's counts
		{"ipv4/conf/default/rp_filter", "0"},
	}
	if np.router {
		list = append(list,
			setting{"ipv4/ip_forward", "1"},
			setting{"ipv4/icmp_ratelimit", "0"}, // else one error a second to each host
		)
	}
	if !v6 || np.mute {
		list = append(list, setting{"ipv6/conf/default/disable_ipv6", "1"}, setting{"ipv6/conf/all/disable_ipv6", "1"})
	} else {
		list = append(list,
			setting{"ipv6/conf/default/accept_dad", "0"},
			setting{"ipv6/conf/default/dad_transmits", "0"},
			setting{"ipv6/conf/default/addr_gen_mode", "1"}, // no link-local address, so no packets of its own
			setting{"ipv6/conf/default/accept_ra", "0"},
			setting{"ipv6/conf/default/autoconf", "0"},
		)
		if np.router {
			list = append(list, setting{"ipv6/conf/all/forwarding", "1"}, setting{"ipv6/icmp/ratelimit", "0"})
		}
	}
	for _, s := range list {
		err := os.WriteFile(filepath.Join("/proc/sys/net", s.key), []byte(s.value), 0)
		if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(s.key, "ipv6/") && (!v6 || np.mute) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return fmt.Errorf("set net/%s: %w", s.key, err)
		}
	}
	return nil
}

// addCables makes every veth pair with its ends where they belong.
func (n *network) addCables(ctx context.Context, p *plan) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	defer h.Close()
	for i, c := range p.cables {
		if err := ctx.Err(); err != nil {
			return err
		}
		a, b := p.port(c.a), p.port(c.b)
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = a.name, mtu, a.mac
		// The kernel picks 2, 3 and so on for the other end. Were both numbers the same, it would take
		// the pair for an ordinary interface and report it up a second later (linkwatch_urgent_event).
		attrs.Index = firstIndex + i
		attrs.Namespace = netlink.NsFd(n.nodes[c.a[0]].ns.Fd())
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: b.name, PeerHardwareAddr: b.mac,
			PeerNamespace: netlink.NsFd(n.nodes[c.b[0]].ns.Fd())}
		if err := h.LinkAdd(veth); err != nil {
			return fmt.Errorf("make the veth pair %s %s - %s %s: %w", n.nodes[c.a[0]].name, a.name, n.nodes[c.b[0]].name, b.name, err)
		}
	}
	return nil
}

// configure sets up addresses, neighbours, routes and rules of node i. It runs
// inside the namespace.
func (n *network) configure(p *plan, i int) error {
	np, nd := &p.nodes[i], n.nodes[i]
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	for _, pt := range np.ports {
		l, err := h.LinkByName(pt.name)
		if err != nil {
			return fmt.Errorf("find interface %s: %w", pt.name, err)
		}
		nd.index[pt.name] = l.Attrs().Index
		if err := addPort(h, l, &pt); err != nil {
			return fmt.Errorf("interface %s: %w", pt.name, err)
		}
	}
	for _, r := range np.routes {
		rt := &netlink.Route{Gw: r.via.AsSlice()}
		if r.dst.IsValid() {
			rt.Dst = ipNet(r.dst)
		}
		if err := h.RouteAdd(rt); err != nil {
			return fmt.Errorf("add the route to %v via %v: %w", r.dst, r.via, err)
		}
	}
	for j := range p.boxes {
		if b := &p.boxes[j]; b.node == i && b.Kernel != "" {
			if err := install(b, p.v6, nd.index[wanPort]); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitCarrier waits until every interface of the namespace of the calling thread can
// send. The kernel tells an interface that its other end is up by a work queue (linkwatch),
// and what is sent before that is lost.
func awaitCarrier(ctx context.Context, np *nodePlan) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	defer h.Close()
	for {
		links, err := h.LinkList()
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("list interfaces: %w", err)
		}
		up := 0
		for _, l := range links {
			if l.Type() == "veth" && l.Attrs().OperState == netlink.OperUp {
				up++
			}
		}
		if up == len(np.ports) {
			return nil
		}
		timer := time.NewTimer(carrierPoll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%d of %d interfaces are up: %w", up, len(np.ports), ctx.Err())
		case <-timer.C:
		}
	}
}

// Chosen by us.
const (
	carrierPoll = 500 * time.Microsecond
	carrierWait = 30 * time.Second // then something is wrong; a machine with fifty times its load took six
)
