package live

import (
	"context"
	"errors"
	"os/exec"

	"github.com/synpunch/synpunch/lab"
)

type network struct{}

type node struct{}

var errNotYet = errors.New("lab/live: not built yet")

func build(context.Context, *lab.Scenario, *Config) (*Lab, error) { return nil, errNotYet }

func (n *network) events() []LinkEvent         { return nil }
func (n *network) transits() []Transit         { return nil }
func (n *network) counters() (ab, ba Counters) { return }
func (n *network) setFaults([]lab.Fault) error { return errNotYet }
func (n *network) resetCount() error           { return errNotYet }
func (n *network) notes() []string             { return nil }
func (n *network) enter() []Entry              { return nil }
func (n *network) close() error                { return nil }
func (h *Host) do(func() error) error          { return errNotYet }
func (h *Host) start(*exec.Cmd) error          { return errNotYet }
