//go:build !linux

package capture

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// ring stands for the packet sockets of Linux.
type ring struct{}

func openRing(string, *Config) (*ring, error) { return nil, errNoPacketSockets() }

func (*ring) next(context.Context) (*Packet, error) { return nil, errNoPacketSockets() }
func (*ring) poll() *Packet                         { return nil }
func (*ring) wait(time.Time) (bool, error)          { return false, errNoPacketSockets() }
func (*ring) interfaces() []Interface               { return nil }
func (*ring) stats() (uint64, uint64, error)        { return 0, 0, errNoPacketSockets() }
func (*ring) close() error                          { return nil }

func errNoPacketSockets() error {
	return fmt.Errorf("capture: live capture needs the packet sockets of Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
