package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"

	"github.com/synpunch/synpunch/punch"
)

// inside makes the attempt of one end in this process.
func (t *Trial) inside(ctx context.Context, e *end) SideResult {
	if e.Stock {
		return t.stock(ctx, e)
	}
	plan := punch.Plan{Local: e.local, Remote: e.aim, At: e.at, Engine: e.Engine, Strategy: e.Strategy, Timeout: t.Timeout, TTL: e.primeTTL()}
	if e.Side.Plan != nil {
		e.Side.Plan(&plan)
	}
	raiseProcs(endProcs)
	defer lowerProcs(endProcs)
	res := SideResult{}
	if t.Capture {
		res.Capture = filepath.Join(t.Dir, e.name+".pcapng")
	}
	var conn *net.TCPConn
	var attempt *punch.Attempt
	var rec *punch.Recording
	res.Err = e.host.Do(func() (err error) {
		if plan, err = plan.Resolve(); err != nil {
			return err
		}
		if res.Capture != "" {
			if rec, err = punch.Record(plan, res.Capture); err != nil {
				return err
			}
		}
		conn, attempt, err = punch.Do(ctx, plan)
		return err
	})
	t.finish(ctx, e, conn, &res)
	if rec != nil {
		res.Err = errors.Join(res.Err, rec.Close())
	}
	if attempt != nil {
		res.Report = attempt.Report()
	}
	if res.Err != nil {
		res.Exit, res.Err = 1, fmt.Errorf("%s: %w", e.name, res.Err)
	}
	return res
}

// finish lets the connection of an end, if it has one, do what it is for. One that is to be
// aborted waits for the other attempt: an end that is gone answers nothing that the
// other still has to ask.
func (t *Trial) finish(ctx context.Context, e *end, conn *net.TCPConn, res *SideResult) {
	if t.Abort {
		e.over()
	}
	switch {
	case res.Err != nil:
	case t.Abort:
		res.Err = abort(conn)
	default:
		res.Bytes, res.Err = converse(ctx, conn, e.name, e.other(), t.Bytes)
	}
}

// converse sends n bytes of one end's stream and takes the other's, to the end of
// both.
func converse(ctx context.Context, conn *net.TCPConn, name, other string, n int64) (int64, error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	sink := newVerifier(other, n)
	var sent error
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, sent = io.Copy(conn, io.LimitReader(stream(name), n)); sent == nil {
			sent = conn.CloseWrite()
		}
	})
	_, err := io.Copy(sink, conn)
	wg.Wait()
	if err = errors.Join(err, sent); err != nil {
		return 0, err
	}
	return sink.verified()
}
