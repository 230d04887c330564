package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// pending is a kernel socket on its way from SYN-SENT to ESTABLISHED.
type pending struct {
	fd      int
	started bool  // connect() was called
	given   bool  // conn gave the socket away
	err     error // what ended it; SO_ERROR gives an error once only
}

// poll reports whether the socket is established; the error is the errno that
// ended it. Only a started socket is ever done.
func (p *pending) poll() (bool, error) {
	if p.fd < 0 {
		return false, ErrClosed
	}
	if p.err != nil || !p.started {
		return false, p.err
	}
	// tcp_poll: POLLOUT stays clear in SYN-SENT and SYN-RECEIVED.
	fds := [1]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds[:], 0)
	if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
		return false, nil
	}
	if err != nil {
		return false, os.NewSyscallError("poll", err)
	}
	return p.outcome()
}

// outcome is called when poll(2) has something to say.
//
// What poll(2) says is no proof: of a socket that an ICMP error was ending on another processor
// it has returned while SO_ERROR was still 0, and the error came later. So the state decides. TCP_INFO takes
// the socket's lock: after CLOSE, SO_ERROR asked again says why.
func (p *pending) outcome() (bool, error) {
	for range 2 {
		errno, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return false, os.NewSyscallError("getsockopt", err)
		}
		if errno != 0 {
			p.err = fmt.Errorf("handoff: connect: %w", unix.Errno(errno))
			return false, p.err
		}
		info, err := unix.GetsockoptTCPInfo(p.fd, unix.SOL_TCP, unix.TCP_INFO)
		if err != nil {
			return false, os.NewSyscallError("getsockopt TCP_INFO", err)
		}
		switch info.State {
		case unix.BPF_TCP_SYN_SENT, unix.BPF_TCP_SYN_RECV:
			return false, nil
		case unix.BPF_TCP_CLOSE:
		default:
			return true, nil
		}
	}
	p.err = fmt.Errorf("handoff: connect: closed without a reason: %w", unix.ECONNABORTED)
	return false, p.err
}

// wait blocks until poll is done or fails.
func (p *pending) wait(ctx context.Context) error {
	if done, err := p.poll(); done || err != nil {
		return err
	}
	if !p.started {
		return errors.New("handoff: wait for a socket that was not started")
	}
	wake, err := wakeFD(ctx)
	if err != nil {
		return err
	}
	defer wake.close()
	for {
		fds := [2]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}, {Fd: int32(wake.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds[:], -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return os.NewSyscallError("poll", err)
		}
		if fds[0].Revents != 0 {
			if done, err := p.outcome(); done || err != nil {
				return err
			}
		}
		if fds[1].Revents != 0 {
			return context.Cause(ctx)
		}
	}
}

// conn gives the established socket away.
func (p *pending) conn() (*net.TCPConn, error) {
	done, err := p.poll()
	if err != nil {
		return nil, err
	}
	if !done {
		return nil, errors.New("handoff: the socket is not established yet")
	}
	fd := p.fd
	p.fd, p.given = -1, true
	return tcpConn(fd)
}

// abort closes the socket. SO_LINGER of 0 makes it the ABORT call of RFC 9293
// section 3.10.5: nothing is sent in SYN-SENT, and a RST where the peer knows
// the flow already, so that it does not wait for nobody.
func (p *pending) abort() error {
	if p.fd >= 0 && p.started {
		// A failure leaves an ordinary close.
		_ = unix.SetsockoptLinger(p.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	return closeFD(&p.fd)
}

// wakeup is a descriptor that becomes readable when a context ends.
type wakeup struct {
	fd   int
	stop func() bool
	done chan struct{}
}

func wakeFD(ctx context.Context) (*wakeup, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	w := &wakeup{fd: fd, done: make(chan struct{})}
	w.stop = context.AfterFunc(ctx, func() {
		defer close(w.done)
		_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // cannot fail: the counter is 0
	})
	return w, nil
}

func (w *wakeup) close() {
	if !w.stop() {
		<-w.done // the function runs or ran: it must not write to a reused descriptor
	}
	unix.Close(w.fd)
}
