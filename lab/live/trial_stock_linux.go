package live

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/punch"
)

// abort ends a connection without a word: what closes a socket in repair mode sends
// nothing (tcp_close).
func abort(conn *net.TCPConn) error {
	raw, err := conn.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_ON)
		})
		err = errors.Join(err, cerr)
	}
	if err != nil {
		err = fmt.Errorf("abort the connection: TCP_REPAIR: %w", err)
	}
	return errors.Join(err, conn.Close())
}

// stockOutcome sorts what Dial says, as package punch does for its engine connect.
func stockOutcome(err error) punch.Outcome {
	var timeout net.Error
	switch {
	case err == nil:
		return punch.Established
	case errors.As(err, &timeout) && timeout.Timeout(): // the Dialer's, or ETIMEDOUT
		return punch.Timeout
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET):
		return punch.Refused
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTDOWN),
		errors.Is(err, unix.ENONET), errors.Is(err, unix.ENOPROTOOPT), errors.Is(err, unix.EOPNOTSUPP):
		return punch.Unreachable
	}
	return punch.Failed
}

// ownGroup keeps the signals of the terminal from a process: Ctrl-C is for this one, which then ends
// what it has started.
func ownGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// pause waits for a time to some 50 microseconds, which the runtime's timers do not.
func pause(d time.Duration) {
	left := unix.NsecToTimespec(int64(d))
	for unix.Nanosleep(&left, &left) == unix.EINTR {
	}
}

// kernelRelease is what uname -r prints.
func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
