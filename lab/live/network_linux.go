package live

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/lab"
)

// network is a Lab's namespaces and what watches them.
type network struct {
	nodes    []*node
	visible  []int // indices of nodes, in the order of the way from A to B
	lanes    [2]*lane
	link     *link // nil: a plain wire
	boxes    []*box
	observer observer

	mu       sync.Mutex
	closed   bool
	children map[*exec.Cmd]struct{} // that run
	running  sync.WaitGroup         // of children
}

// node is one network namespace.
type node struct {
	name  string
	ns    *netns.NS
	index map[string]int // of its interfaces, by name
}

func build(ctx context.Context, s *lab.Scenario, cfg *Config) (_ *Lab, err error) {
	p, err := newPlan(s)
	if err != nil {
		return nil, err
	}
	n := &network{children: map[*exec.Cmd]struct{}{}}
	n.observer.init(p.v6)
	defer func() {
		if err != nil {
			n.close()
			err = explain(fmt.Errorf("lab/live: %w", err))
		}
	}()
	if err := n.addNodes(ctx, p); err != nil {
		return nil, err
	}
	n.lanes = [2]*lane{{ring: ring{fd: -1}}, {ring: ring{fd: -1}}}
	if p.link >= 0 {
		n.link = newLink(&s.Link, cfg.Records)
	}
	for i := range p.boxes {
		if p.boxes[i].Kernel != "" {
			continue
		}
		b, err := newBox(p, &p.boxes[i], cfg.Seed+uint64(i))
		if err != nil {
			return nil, err
		}
		n.boxes = append(n.boxes, b)
	}
	watched := make(chan error, 1)
	go func() { watched <- n.watch(p, cfg) }() // waits for the kernel most of the time
	err = n.addCables(ctx, p)
	if err == nil {
		err = n.each(ctx, func(i int) error { return n.configure(p, i) })
	}
	if err == nil {
		wait, cancel := context.WithTimeout(ctx, carrierWait)
		defer cancel()
		err = n.each(wait, func(i int) error { return awaitCarrier(wait, &p.nodes[i]) })
	}
	if err = errors.Join(err, <-watched); err != nil {
		return nil, err
	}
	if err := n.bind(p); err != nil {
		return nil, err
	}
	for _, b := range n.boxes {
		b.start(!cfg.NoRealtime)
	}
	if n.link != nil {
		n.link.setFaults(s.Link.Faults)
		n.link.start(!cfg.NoRealtime)
	}
	l := &Lab{net: n}
	for i, to := range []**Host{&l.A, &l.B} {
		for j, h := range p.hosts[i] {
			host := &Host{Name: h.name, Addr: h.addr, Public: h.public, Iface: hostPort, MTU: mtu, net: n, at: n.nodes[h.node], chain: h.chain, pool: h.pool}
			if j == 0 {
				*to = host
			} else {
				l.More = append(l.More, host)
			}
		}
	}
	return l, nil
}

const (
	mtu        = 1500 // of every cable, that of Ethernet
	firstIndex = 100  // of an interface's numbers that we choose
)

// explain adds what to do to an error for lack of permission.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w; the lab needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW: run it as root or under 'unshare -Urn'", err)
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
	}
	return err
}

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

// watch opens the sockets of link, lanes, model NATs and the observer.
func (n *network) watch(p *plan, cfg *Config) error {
	var setups []func() error
	in := func(node int, open func() ([]func() error, error)) error {
		nd := n.nodes[node]
		err := nd.ns.Do(func() error {
			setup, err := open()
			setups = append(setups, setup...)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", nd.name, err)
		}
		return nil
	}
	err := in(natA, func() ([]func() error, error) { return n.lanes[0].open(LaneNATA, cfg.Records) })
	if err == nil {
		err = in(natB, func() ([]func() error, error) { return n.lanes[1].open(LaneNATB, cfg.Records) })
	}
	if err == nil && n.link != nil {
		err = in(p.link, n.link.open)
	}
	if err == nil {
		err = in(observerNode, n.observer.open)
	}
	for _, b := range n.boxes {
		if err == nil {
			err = in(b.node, b.open)
		}
	}
	if err != nil {
		return err
	}
	return atOnce(setups)
}

// atOnce runs every function on a goroutine of its own.
func atOnce(list []func() error) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, f := range list {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// bind joins every packet socket to its interface.
func (n *network) bind(p *plan) error {
	for i, at := range []int{natA, natB} {
		if err := bindPacket(n.lanes[i].ring.fd, unix.ETH_P_ALL, n.nodes[at].index[wanPort]); err != nil {
			return err
		}
	}
	for _, b := range n.boxes {
		if err := b.bind(n.nodes[b.node].index); err != nil {
			return err
		}
	}
	if err := n.observer.bind(); err != nil {
		return err
	}
	if n.link == nil {
		return nil
	}
	index := n.nodes[p.link].index
	return n.link.bind(index[linkPortA], index[linkPortB])
}

func (n *network) events() []LinkEvent {
	var fates = map[string][]Fate{} // of what the link carried, by direction and identity
	for _, t := range n.transits() {
		id := string(t.Direction) + identity(t.Head)
		fates[id] = append(fates[id], t.Fate)
	}
	var list []LinkEvent
	for i, l := range n.lanes {
		for _, e := range l.events() {
			id := string([...]lab.Direction{lab.AB, lab.BA}[i]) + identity(e.Data)
			if f := fates[id]; e.Dir == capture.DirOut && len(f) > 0 {
				e.Fate, fates[id] = f[0], f[1:]
			}
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b LinkEvent) int { return a.Time.Compare(b.Time) })
	return list
}

func (n *network) transits() []Transit {
	if n.link == nil {
		return nil
	}
	return n.link.transits()
}

func (n *network) counters() (ab, ba Counters) {
	if n.link == nil {
		return
	}
	return n.link.counters()
}

func (n *network) counts() map[string]NATCounters {
	list := map[string]NATCounters{}
	for _, b := range n.boxes {
		c, lost := b.counters()
		list[b.name] = NATCounters{c, lost}
	}
	return list
}

func (n *network) observe(ctx context.Context, h *Host, port uint16) (netip.AddrPort, error) {
	return n.observer.observe(ctx, h, port)
}

func (n *network) setFaults(faults []lab.Fault) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return errClosed
	case n.link == nil && len(faults) > 0:
		return errors.New("lab/live: a plain wire takes no faults: build the lab with a delay or a fault")
	}
	for _, l := range n.lanes {
		l.reset()
	}
	if n.link != nil {
		n.link.setFaults(faults)
	}
	return nil
}

func (n *network) resetCount() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	for _, l := range n.lanes {
		l.reset()
	}
	if n.link != nil {
		n.link.reset()
	}
	return nil
}

func (n *network) notes() []string {
	var list []string
	if n.link != nil {
		list = n.link.notes()
	}
	for _, b := range n.boxes {
		list = append(list, b.notes...)
	}
	slices.Sort(list)
	return slices.Compact(list) // every thread says the same
}

func (n *network) enter() []Entry {
	shell := "nsenter -t %d"
	if inUserNamespace() {
		shell += " -U --preserve-credentials"
	}
	shell += " --net=/proc/%[1]d/fd/%[2]d sh"
	var list []Entry
	for _, i := range n.visible {
		nd := n.nodes[i]
		list = append(list, Entry{nd.name, fmt.Sprintf(shell, os.Getpid(), nd.ns.Fd())})
	}
	return list
}

// inUserNamespace reports whether this process is in another user namespace than
// the first, in which every id stands for itself (user_namespaces(7)).
func inUserNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(text)), " ") != "0 0 4294967295"
}

var errClosed = fmt.Errorf("lab/live: %w", os.ErrClosed)

func (n *network) close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	for cmd := range n.children {
		// It may have ended just now.
		_ = cmd.Process.Kill()
	}
	n.mu.Unlock()
	n.running.Wait()
	var errs []error
	var closers []func() error
	if n.link != nil {
		errs = append(errs, n.link.end())
		closers = n.link.closers()
	}
	for _, b := range n.boxes {
		errs = append(errs, b.end())
		closers = append(closers, b.closers()...)
	}
	closers = append(closers, n.observer.close)
	for _, l := range n.lanes {
		if l != nil {
			closers = append(closers, l.close)
		}
	}
	for _, nd := range n.nodes {
		closers = append(closers, nd.ns.Close)
	}
	// Each packet socket waits for an RCU grace period: one for all.
	errs = append(errs, atOnce(closers))
	return errors.Join(errs...)
}

func (h *Host) do(fn func() error) error { return h.at.ns.Do(fn) }

func (h *Host) start(cmd *exec.Cmd) error {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	n.running.Add(1)
	err := h.at.ns.Start(cmd, func() {
		n.mu.Lock()
		delete(n.children, cmd)
		n.mu.Unlock()
		n.running.Done()
	})
	if err != nil {
		n.running.Done()
		return fmt.Errorf("start %s in host %s: %w", cmd.Path, h.Name, err)
	}
	n.children[cmd] = struct{}{}
	return nil
}
