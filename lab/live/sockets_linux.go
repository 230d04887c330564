package live

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
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
	if cfg.Hosts {
		for _, h := range append(p.hosts[0], p.hosts[1]...) {
			l := &lane{node: h.node, ring: ring{fd: -1}}
			n.taps = append(n.taps, l)
			if err == nil {
				err = in(h.node, func() ([]func() error, error) { return l.open(h.name, cfg.Records) })
			}
		}
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
	for _, l := range n.taps {
		if err := bindPacket(l.ring.fd, unix.ETH_P_ALL, n.nodes[l.node].index[hostPort]); err != nil {
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
