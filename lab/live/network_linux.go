package live

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/lab"
)

// network is a Lab's namespaces and what watches them.
type network struct {
	nodes    []*node
	visible  []int // indices of nodes, without the link
	lanes    [2]*lane
	taps     []*lane // of the hosts, with Config.Hosts
	link     *link   // nil: a plain wire
	boxes    []*box
	observer observer
	kernels  []int // indices of nodes: NATs of this kernel

	mu       sync.Mutex
	seed     uint64 // of the next model NAT
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
	p, err := newPlan(s, cfg.Link)
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
		n.link = newLink(&s.Link, cfg.Records, cfg.Seed)
	}
	n.seed = cfg.Seed + uint64(len(p.boxes))
	for i := range p.boxes {
		if k := p.boxes[i].Kernel; k != "" {
			if k != lab.NATNone {
				n.kernels = append(n.kernels, p.boxes[i].node)
			}
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
		n.link.start(!cfg.NoRealtime)
	}
	l := &Lab{net: n}
	for i, to := range []**Host{&l.A, &l.B} {
		for j, h := range p.hosts[i] {
			host := &Host{Name: h.name, Addr: h.addr, Public: h.public, Iface: hostPort, MTU: mtu, Clock: h.clock, net: n, at: n.nodes[h.node], chain: h.chain, pool: h.pool}
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

func (n *network) recordsHosts() bool { return len(n.taps) > 0 }

func (n *network) hostEvents() []LinkEvent {
	var list []LinkEvent
	for _, l := range n.taps {
		list = append(list, l.events()...)
	}
	slices.SortStableFunc(list, func(a, b LinkEvent) int { return a.Time.Compare(b.Time) })
	return list
}

func (n *network) setLink(spec *lab.Link) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return errClosed
	case n.link == nil && !spec.Plain():
		return errors.New("lab/live: a plain wire takes neither delay nor faults: build the lab with a link (Config.Link)")
	}
	n.resetLanes()
	if n.link != nil {
		n.link.set(spec)
	}
	return nil
}

// resetLanes forgets what all lanes have seen.
func (n *network) resetLanes() {
	for _, l := range n.lanes {
		l.reset()
	}
	for _, l := range n.taps {
		l.reset()
	}
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
	n.resetLanes()
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
	n.resetLanes()
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
	for _, l := range append(n.lanes[:], n.taps...) {
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
