//go:build !linux

package live

import (
	"net"
	"os/exec"
	"time"

	"github.com/synpunch/synpunch/punch"
)

func (n *network) recordsHosts() bool { return false }

func abort(*net.TCPConn) error { return unsupported() }

func stockOutcome(error) punch.Outcome { return punch.Failed }

func ownGroup(*exec.Cmd) {}

func pause(time.Duration) {}

func kernelRelease() string { return "unknown" }
