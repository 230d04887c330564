//go:build !linux

package timing

import (
	"context"
	"runtime"
	"time"
)

type threadSys struct{ left, closed bool }

func (t *Thread) open(cfg *Config) error {
	t.notes = append(t.notes, "exact sleep (clock_nanosleep, timer slack, SCHED_FIFO, processor pinning) is Linux; on "+runtime.GOOS+" the thread sleeps with Go's timers and spins, which a busy machine delays by milliseconds")
	return nil
}

func (t *Thread) realtimeOn() bool { return false }

func (t *Thread) owner() error { return nil }

func (t *Thread) sleepLong(ctx context.Context, until time.Duration) error {
	timer := time.NewTimer(until - t.mono())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// sleepExact leaves 2 ms for the spin: Go's timers are 0.6 ms late in the median
// here, and a system's tick may be longer.
func (t *Thread) sleepExact(until time.Duration) error {
	time.Sleep(until - t.mono() - 2*time.Millisecond)
	return nil
}

func (t *Thread) dropRealtime() error { return nil }

func (t *Thread) leave() error { return nil }

func (t *Thread) free() {}
