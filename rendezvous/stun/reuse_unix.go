//go:build unix

package stun

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// reuse shares the local port with other sockets of this user. SO_REUSEADDR lets a
// punch bind it while this connection is open or in TIME-WAIT, SO_REUSEPORT is
// what BSD wants instead, and Linux for two UDP sockets.
func reuse(_, _ string, c syscall.RawConn) error {
	var errs []error
	err := c.Control(func(fd uintptr) {
		for _, opt := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			errs = append(errs, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, opt, 1))
		}
	})
	return errors.Join(append(errs, err)...)
}

// explain names what an error of the system means here.
func explain(err error) error {
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("%w, or the local address is not of this host: %w", ErrTimeWait, err)
	}
	return err
}
