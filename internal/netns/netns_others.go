//go:build !linux

package netns

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
)

func unsupported() error {
	return fmt.Errorf("network namespaces need Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// NS is a network namespace; there are none on this system.
type NS struct{}

// New returns an error that matches errors.ErrUnsupported.
func New() (*NS, error) { return nil, unsupported() }

// Current returns an error that matches errors.ErrUnsupported.
func Current() (*NS, error) { return nil, unsupported() }

// Fd returns -1.
func (n *NS) Fd() int { return -1 }

// Do returns an error that matches errors.ErrUnsupported.
func (n *NS) Do(func() error) error { return unsupported() }

// Start returns an error that matches errors.ErrUnsupported.
func (n *NS) Start(*exec.Cmd, func()) error { return unsupported() }

// Close does nothing.
func (n *NS) Close() error { return nil }

// LoopbackUp returns an error that matches errors.ErrUnsupported.
func LoopbackUp() error { return unsupported() }

// RunIsolated returns an error that matches errors.ErrUnsupported.
func RunIsolated(context.Context, []string) (int, error) { return -1, unsupported() }

func parent() string { return "never" }
