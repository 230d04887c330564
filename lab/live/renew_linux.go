package live

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// renewSettle is how long packets that have left the link may take to the end of their
// way, chosen by us: some ten times as long as on an idle machine.
const renewSettle = 500 * time.Microsecond

func (n *network) renew() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	if n.link != nil {
		n.link.clear()
		time.Sleep(renewSettle)
		n.link.clear() // answers
	}
	for _, b := range n.boxes {
		b.renew(n.seed)
		n.seed++
	}
	var jobs []func() error
	for _, i := range n.kernels {
		nd := n.nodes[i]
		jobs = append(jobs, func() error {
			if err := nd.ns.Do(flushConntrack); err != nil {
				return fmt.Errorf("%s: %w", nd.name, err)
			}
			return nil
		})
	}
	if err := atOnce(jobs); err != nil {
		return err
	}
	n.resetLanes()
	if n.link != nil {
		n.link.reset()
	}
	return nil
}

// flushConntrack empties the connection tracking of the namespace of the calling thread.
func flushConntrack() error {
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open nfnetlink: %w", err)
	}
	defer h.Close()
	if err := h.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		return fmt.Errorf("empty the table of connections: %w", errors.Join(err, noConntrack(err)))
	}
	return nil
}

// noConntrack adds what EOPNOTSUPP means here.
func noConntrack(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("this kernel has no CONFIG_NF_CT_NETLINK: %w", errors.ErrUnsupported)
	}
	return nil
}

// renew makes the NAT as it was built, with another seed. Its cross traffic goes on.
func (x *box) renew(seed uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.nat.Reset(seed)
}
