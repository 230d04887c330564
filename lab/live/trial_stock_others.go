//go:build !linux

package live

import (
	"net"

	"github.com/synpunch/synpunch/punch"
)

func (n *network) recordsHosts() bool { return false }

func abort(*net.TCPConn) error { return unsupported() }

func stockOutcome(error) punch.Outcome { return punch.Failed }

func kernelRelease() string { return "unknown" }
