package handoff

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func serveUnix(ctx context.Context, conn *net.TCPConn, path string, ready func()) error {
	if err := removeStale(path); err != nil {
		return err
	}
	// The mode of the socket file is that of the socket's own inode before bind
	// (unix_bind), so that there is no moment in which others may connect.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return os.NewSyscallError("fchmod", err)
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer l.Close() // removes the path
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	if ready != nil {
		ready()
	}
	for {
		peer, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		taken, err := sendConn(ctx, conn, peer.(*net.UnixConn))
		peer.Close()
		if err != nil {
			return err
		}
		if taken {
			return conn.Close()
		}
	}
}

// removeStale removes a socket file on which nobody listens.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w and is not a socket", fs.ErrExist)
	}
	// A datagram socket cannot connect to a stream socket, so the one who listens
	// there does not notice; but the kernel says whether somebody does (unix_find_bsd).
	c, err := net.Dial("unixgram", path)
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%w: another process has a socket there", unix.EADDRINUSE)
	}
	return os.Remove(path)
}

// sendConn passes a copy of conn's descriptor, in blocking mode: that is what a
// program expects of a socket that it did not make. It reports whether the peer
// has taken it: one who only looks whether somebody is there must not cost the
// connection.
func sendConn(ctx context.Context, conn *net.TCPConn, to *net.UnixConn) (taken bool, err error) {
	f, err := conn.File()
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := setBlocking(f); err != nil {
		return false, err
	}
	defer func() {
		if !taken { // the mode is shared, and conn is the caller's still
			err = errors.Join(err, unix.SetNonblock(int(f.Fd()), true))
		}
	}()
	_, _, err = to.WriteMsgUnix([]byte{'S'}, unix.UnixRights(int(f.Fd())), nil)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if read, taken, err := wasRead(to); read || err != nil {
			return taken, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// wasRead reports whether the message has left the peer's queue, and whether by
// being read. unix_release_sock sets ECONNRESET on this end before it throws
// away what nobody has read.
func wasRead(to *net.UnixConn) (gone, read bool, err error) {
	raw, err := to.SyscallConn()
	if err != nil {
		return false, false, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var waiting int
		if waiting, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err != nil || waiting > 0 {
			return
		}
		gone = true
		var b [1]byte
		_, _, rerr := unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
		read = !errors.Is(rerr, unix.ECONNRESET)
	})
	return gone, read, errors.Join(err, cerr)
}

func receiveUnix(ctx context.Context, path string) (*net.TCPConn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	data, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.(*net.UnixConn).ReadMsgUnix(data, rights) // sets MSG_CMSG_CLOEXEC
	if err != nil {
		return nil, err
	}
	msgs, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(msgs) != 1 {
		return nil, fmt.Errorf("no descriptor came: %w", err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("no descriptor came: %w", err)
	}
	f := os.NewFile(uintptr(fds[0]), "passed")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	tc, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, errors.New("the descriptor is not a TCP socket")
	}
	return tc, nil
}
