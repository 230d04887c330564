package handoff

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// closeGrace is how long Join waits for a blocked write to out once it has to
// end. Chosen by us: a pipe or terminal that takes nothing for longer is stuck.
const closeGrace = time.Second

// Join copies in to the connection and the connection to out, as nc does, until
// both directions have ended. The end of in ends our direction only (FIN), and the
// peer's FIN only its own: out then has it all, and if out has a CloseWrite
// method it is called. It returns the payload bytes that were copied, and closes
// conn in the end, whatever happened.
//
// An error while sending, of in or of the connection, ends our direction, and
// what the peer has sent is still received. An error while receiving ends both,
// a reset by the peer or a closed out, and so does the end of ctx.
//
// Join does not close in. If it has to end while a read of in blocks, it
// interrupts that by in's SetReadDeadline where there is one (a net.Conn, or a
// file that the runtime polls). Otherwise the goroutine that reads stays until in
// delivers something, which is lost, and sent does not count that direction.
//
// Between two sockets, and from a pipe or a regular file, Linux moves the
// data without copying it through this process (splice, sendfile).
func Join(ctx context.Context, conn *net.TCPConn, in io.Reader, out io.Writer) (sent, received int64, err error) {
	defer conn.Close()
	type result struct {
		n   int64
		err error
	}
	up, down := make(chan result, 1), make(chan result, 1)
	go func() {
		n, err := io.Copy(conn, in)
		if cerr := conn.CloseWrite(); err == nil && !notConnected(cerr) {
			err = cerr
		}
		up <- result{n, err}
	}()
	go func() {
		n, err := io.Copy(out, conn)
		if half, ok := out.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		}
		down <- result{n, err}
	}()

	for upDone, downDone := false, false; !upDone || !downDone; {
		select {
		case r := <-up:
			upDone, sent = true, r.n
			if r.err != nil && err == nil {
				err = fmt.Errorf("handoff: send: %w", r.err)
			}
			continue
		case r := <-down:
			downDone, received = true, r.n
			if r.err == nil {
				continue
			}
			if err == nil {
				err = fmt.Errorf("handoff: receive: %w", r.err)
			}
		case <-ctx.Done():
			if err == nil {
				err = context.Cause(ctx)
			}
		}
		// Both have to end.
		conn.Close()
		if !downDone {
			select { // it blocks only in out
			case r := <-down:
				received = r.n
			case <-time.After(closeGrace):
			}
		}
		if d, ok := in.(interface{ SetReadDeadline(time.Time) error }); !upDone && ok && d.SetReadDeadline(time.Unix(1, 0)) == nil {
			sent = (<-up).n
			_ = d.SetReadDeadline(time.Time{}) // what could be set can be cleared
		}
		return sent, received, err
	}
	return sent, received, err
}
