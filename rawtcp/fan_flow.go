package rawtcp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// PortRange is the ports from Lo to Hi, both included.
type PortRange struct{ Lo, Hi uint16 }

// portList is a list of ports that is not written out.
type portList struct {
	ranges []PortRange
	before []int // how many ports are in the ranges before each
	n      int
	has    [1 << 16 / 64]uint64
}

func newPortList(ranges []PortRange) (portList, error) {
	l := portList{ranges: slices.Clone(ranges)}
	for _, r := range ranges {
		if r.Lo == 0 || r.Hi < r.Lo {
			return l, fmt.Errorf("%d to %d: want a first port of 1 or more and a last one not before it", r.Lo, r.Hi)
		}
		l.before = append(l.before, l.n)
		l.n += int(r.Hi) - int(r.Lo) + 1
		for port := int(r.Lo); port <= int(r.Hi); port++ {
			if l.contains(uint16(port)) {
				return l, fmt.Errorf("port %d is listed twice", port)
			}
			l.has[port/64] |= 1 << (port % 64)
		}
	}
	if l.n == 0 {
		return l, errors.New("none")
	}
	return l, nil
}

// at returns the i-th port.
func (l *portList) at(i int) uint16 {
	if len(l.ranges) == 1 {
		return l.ranges[0].Lo + uint16(i)
	}
	k, found := slices.BinarySearch(l.before, i)
	if !found {
		k--
	}
	return l.ranges[k].Lo + uint16(i-l.before[k])
}

func (l *portList) contains(port uint16) bool { return l.has[port/64]&(1<<(port%64)) != 0 }

// flow returns the ports of the i-th flow.
func (f *Fan) flow(i uint64) (local, remote uint16) {
	if n := f.Len(); i >= n {
		i %= n
	}
	if f.order != nil {
		i = f.order.At(i)
	}
	// Fewer than 2^32 flows: there are fewer than 2^16 ports at each end.
	inner := uint32(f.local.n)
	if f.cfg.Mirror {
		inner = uint32(f.remote.n)
	}
	a, b := int(uint32(i)%inner), int(uint32(i)/inner)
	if f.cfg.Mirror {
		a, b = b, a
	}
	return f.local.at(a), f.remote.at(b)
}

func (f *Fan) ends(local, remote uint16) (l, r netip.AddrPort) {
	return netip.AddrPortFrom(f.cfg.Local.Addr(), local), netip.AddrPortFrom(f.cfg.Remote.Addr(), remote)
}

// isn is Numbers.ISN of the flow at Start, with what all flows have in common done
// beforehand.
func (f *Fan) isn(local, remote uint16) Seq { return isnOf(f.m, f.addrs.flow(local, remote, 'i')) }

// tsval is the timestamp of a SYN that goes out at now.
func (f *Fan) tsval(now time.Time) uint32 {
	return f.cfg.TSBase + uint32(max(now.Sub(f.cfg.Start), 0)/time.Millisecond)
}

// open makes h a Handshake of one flow whose SYN went out at Start.
func (f *Fan) open(h *Handshake, local, remote uint16) error {
	cfg := f.cfg.HandshakeConfig
	cfg.Local, cfg.Remote = f.ends(local, remote)
	cfg.ISN = f.isn(local, remote)
	if err := h.Reset(cfg); err != nil {
		return err
	}
	f.discard = h.Start(f.cfg.Start, f.discard[:0])
	h.n.SYNs = 0 // the caller sent it
	return nil
}
