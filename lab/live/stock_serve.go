package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/synpunch/synpunch/punch"
)

// stockRequest asks a process for one stock attempt.
type stockRequest struct {
	Local   netip.AddrPort `json:"local"`
	Remote  netip.AddrPort `json:"remote"`
	At      int64          `json:"at_ns"` // by the clock of the machine, Unix time
	Timeout time.Duration  `json:"timeout_ns"`
}

// stockFinish says what becomes of the connection. It follows an attempt that has one.
type stockFinish struct {
	Abort bool   `json:"abort"`
	Name  string `json:"name"`  // of the own end, "a" or "b": whose stream is sent
	Other string `json:"other"` // whose stream is expected
	Bytes int64  `json:"bytes"` // of each
}

// stockReply answers either. An empty one comes first, when the process is ready.
type stockReply struct {
	Outcome punch.Outcome `json:"outcome,omitempty"` // of the attempt
	Bytes   int64         `json:"bytes,omitempty"`   // that arrived unchanged
	Error   string        `json:"error,omitempty"`
	Errno   syscall.Errno `json:"errno,omitempty"` // that Error is about; 0: none
}

// failed makes a reply of an error, or of nil.
func (r stockReply) failed(err error) stockReply {
	if err != nil {
		r.Error = err.Error()
		errors.As(err, &r.Errno)
	}
	return r
}

// err is the error of the reply, which unwraps to its errno.
func (r *stockReply) err() error {
	if r.Error == "" {
		return nil
	}
	return &stockError{r.Error, r.Errno}
}

// stockError is an error that another process had.
type stockError struct {
	text  string
	errno syscall.Errno
}

func (e *stockError) Error() string { return e.text }

func (e *stockError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}

// ServeStock makes stock attempts (Side.Stock) for a Lab with Config.Stock, one after the other: what in
// asks for, until its end, and writes to out how each ended. An attempt is time.Sleep until the
// instant and then net.Dialer with the local address bound, on whatever thread of the Go
// runtime, as in any application. Both streams are JSON, a line each; their contents
// may change with every version, so the program must be of the same one as
// the lab. The end of ctx ends an attempt after its instant.
func ServeStock(ctx context.Context, in io.Reader, out io.Writer) error {
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	if err := enc.Encode(stockReply{}); err != nil {
		return fmt.Errorf("stock attempts: %w", err)
	}
	for {
		var q stockRequest
		if err := dec.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("stock attempts: read a request: %w", err)
		}
		conn, err := q.dial(ctx)
		if werr := enc.Encode(stockReply{Outcome: stockOutcome(err)}.failed(err)); werr != nil {
			return fmt.Errorf("stock attempts: %w", werr)
		}
		if err != nil {
			continue
		}
		var f stockFinish
		if err := dec.Decode(&f); err != nil {
			return errors.Join(fmt.Errorf("stock attempts: read what to do with the connection: %w", err), conn.Close())
		}
		n, err := f.finish(ctx, conn.(*net.TCPConn))
		if err := enc.Encode(stockReply{Bytes: n}.failed(err)); err != nil {
			return fmt.Errorf("stock attempts: %w", err)
		}
	}
}

// dial makes the attempt.
func (q *stockRequest) dial(ctx context.Context) (net.Conn, error) {
	at, dialer := time.Unix(0, q.At), net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(q.Local), Timeout: q.Timeout}
	time.Sleep(time.Until(at))
	return dialer.DialContext(ctx, "tcp", q.Remote.String())
}

// finish uses the connection up.
func (f *stockFinish) finish(ctx context.Context, conn *net.TCPConn) (int64, error) {
	if f.Abort {
		return 0, abort(conn)
	}
	return converse(ctx, conn, f.Name, f.Other, f.Bytes)
}
