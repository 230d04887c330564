package handoff

import (
	"context"
	"fmt"
	"net"
)

// ServeUnix waits on a Unix stream socket at path and passes the connection to
// the first process that takes it there: one byte of data, 'S', with the
// descriptor beside it (SCM_RIGHTS, unix(7)). A process that connects and goes without
// reading has taken nothing. Then ServeUnix closes conn. On an error conn stays open and as
// it was. The path is removed in either case.
//
// The socket file has mode 0600 from the start. A socket file on which nobody
// listens, left by a process that was killed, is replaced; any other file at path
// is an error. ready, if not nil, is called once the socket can be connected to.
func ServeUnix(ctx context.Context, conn *net.TCPConn, path string, ready func()) error {
	if err := serveUnix(ctx, conn, path, ready); err != nil {
		return fmt.Errorf("handoff: pass the connection at %s: %w", path, err)
	}
	return nil
}

// ReceiveUnix is the other side of ServeUnix: it connects to path and returns the
// connection that is passed there.
func ReceiveUnix(ctx context.Context, path string) (*net.TCPConn, error) {
	c, err := receiveUnix(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("handoff: receive a connection at %s: %w", path, err)
	}
	return c, nil
}
