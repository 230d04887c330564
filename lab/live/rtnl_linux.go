package live

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addPort sets an interface up with its address and its only neighbour.
func addPort(h *netlink.Handle, l netlink.Link, pt *port) error {
	if pt.addr.IsValid() {
		a := &netlink.Addr{IPNet: ipNet(pt.addr), Flags: unix.IFA_F_NODAD}
		if err := h.AddrAdd(l, a); err != nil {
			return fmt.Errorf("add address %v: %w", pt.addr, err)
		}
	}
	if pt.whole {
		if err := wholeFrames(pt.name); err != nil {
			return err
		}
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if !pt.addr.IsValid() {
		return nil
	}
	n := &netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: pt.peer.AsSlice(), HardwareAddr: pt.via}
	if err := h.NeighSet(n); err != nil {
		return fmt.Errorf("add neighbour %v: %w", pt.peer, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
