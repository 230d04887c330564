package handoff

import (
	"fmt"
	"net/netip"
	"sync"
)

// MaxGuards is how many ports Guards takes: every port there is but 0.
const MaxGuards = 65535

// Guards is a Guard on each of many local ports, for a fan-out from many source
// ports. A fan-out to many remote ports from one local port needs one Guard only:
// what counts is the local port.
//
// Each port costs a descriptor, some 6 KiB of kernel memory and some ten microseconds
// (docs/engines.md has the measurement). The limit on open files is raised as far as
// it must be while Guards of the process are open (RLIMIT_NOFILE, getrlimit(2)).
type Guards struct {
	list  []Guard
	files files
}

// OpenGuards opens a guard on each of n local ports: n ports in a row from local's
// on, or, with port 0, free ones, see Ports. It opens all or none.
//
// An error names the port, as OpenGuard's does. If n descriptors are more than the
// hard limit of open files allows, and the process may not raise that
// (CAP_SYS_RESOURCE), the error is EMFILE and says how to get more.
func OpenGuards(local netip.AddrPort, n int, cfg *GuardConfig) (*Guards, error) {
	if cfg == nil {
		cfg = &GuardConfig{}
	}
	if err := checkLocal(local); err != nil {
		return nil, fmt.Errorf("handoff: guards: %w", err)
	}
	if n < 1 || n > MaxGuards || int(local.Port())+n-1 > MaxGuards {
		return nil, fmt.Errorf("handoff: guards: %d ports from %d on: want 1 to %d, and none above 65535", n, local.Port(), MaxGuards)
	}
	g := &Guards{list: make([]Guard, 0, n)}
	if err := g.open(local, n, cfg); err != nil {
		g.Close()
		return nil, fmt.Errorf("handoff: guards: %w", err)
	}
	return g, nil
}

// opening lets one at a time count descriptors and take them.
var opening sync.Mutex

func (g *Guards) open(local netip.AddrPort, n int, cfg *GuardConfig) error {
	opening.Lock()
	defer opening.Unlock()
	if err := g.files.raise(n); err != nil {
		return err
	}
	for i := range n {
		at := local
		if port := local.Port(); port != 0 {
			at = netip.AddrPortFrom(local.Addr(), port+uint16(i))
		}
		one, err := openGuard(at, cfg)
		if err != nil {
			return fmt.Errorf("guard %v, number %d of %d: %w", at, i+1, n, err)
		}
		g.list = append(g.list, *one)
	}
	return nil
}

// Ports lists the guarded ports in the order in which they were opened.
func (g *Guards) Ports() []uint16 {
	ports := make([]uint16, len(g.list))
	for i := range g.list {
		ports[i] = g.list[i].local.Port()
	}
	return ports
}

// Close ends the guards. It sends nothing. A second Close does nothing.
func (g *Guards) Close() error {
	var err error
	for i := range g.list {
		if cerr := g.list[i].Close(); err == nil {
			err = cerr
		}
	}
	g.list = nil
	if ferr := g.files.giveBack(); err == nil {
		err = ferr
	}
	return err
}
