//go:build !linux

package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
)

func unsupported(what string) error {
	return fmt.Errorf("punch: %s needs Linux, this is %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}

// Resolve validates the plan; asking the system for the rest needs Linux.
func (p Plan) Resolve() (Plan, error) {
	if err := p.Validate(); err != nil {
		return p, err
	}
	return p.withDefaults(), unsupported("finding the route")
}

// Do needs Linux: the error wraps errors.ErrUnsupported.
func Do(context.Context, Plan) (*net.TCPConn, *Attempt, error) {
	return nil, nil, unsupported("a punch")
}

// Recording needs Linux.
type Recording struct{}

// Record needs Linux: the error wraps errors.ErrUnsupported.
func Record(Plan, string) (*Recording, error) { return nil, unsupported("capturing") }

// Close does nothing.
func (r *Recording) Close() error { return nil }
