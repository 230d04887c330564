package handoff

import (
	"errors"

	"golang.org/x/sys/unix"
)

// notConnected reports whether a CloseWrite failed because the peer has reset
// the connection, which the other direction tells as well.
func notConnected(err error) bool { return errors.Is(err, unix.ENOTCONN) }
