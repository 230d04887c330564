//go:build !linux

package live

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"

	"github.com/synpunch/synpunch/lab"
)

type network struct{}

type node struct{}

func unsupported() error {
	return fmt.Errorf("lab/live: network namespaces need Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func build(context.Context, *lab.Scenario, *Config) (*Lab, error) { return nil, unsupported() }

func (n *network) events() []LinkEvent            { return nil }
func (n *network) hostEvents() []LinkEvent        { return nil }
func (n *network) setLink(*lab.Link) error        { return unsupported() }
func (n *network) renew() error                   { return unsupported() }
func (n *network) transits() []Transit            { return nil }
func (n *network) counters() (ab, ba Counters)    { return }
func (n *network) counts() map[string]NATCounters { return nil }
func (n *network) setFaults([]lab.Fault) error    { return unsupported() }
func (n *network) resetCount() error              { return unsupported() }
func (n *network) notes() []string                { return nil }
func (n *network) enter() []Entry                 { return nil }
func (n *network) observe(context.Context, *Host, uint16) (netip.AddrPort, error) {
	return netip.AddrPort{}, unsupported()
}
func (n *network) close() error       { return nil }
func (h *Host) do(func() error) error { return unsupported() }
func (h *Host) start(*exec.Cmd) error { return unsupported() }

const endProcs = 0

func raiseProcs(int) {}
func lowerProcs(int) {}
