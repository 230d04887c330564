//go:build !linux

package rawtcp

import (
	"errors"
	"fmt"
	"runtime"
)

// conn cannot be made outside Linux: open says so.
type conn struct{}

func open(string, *Config) (*Conn, error) { return nil, errNoRawSockets }

func (conn) send([]byte) error { return errNoRawSockets }

func (conn) warm([]byte) error { return errNoRawSockets }

func (conn) close() error { return nil }

var errNoRawSockets = fmt.Errorf("rawtcp: raw IP sockets as on Linux are not there on %s: %w", runtime.GOOS, errors.ErrUnsupported)
