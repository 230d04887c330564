package timing

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Errors of SleepUntil. The concrete errors are *PastError and *StepError.
var (
	// ErrPast says that the instant had passed before the call.
	ErrPast = errors.New("the instant has passed")
	// ErrClockStep says that somebody set the wall clock while the thread slept.
	ErrClockStep = errors.New("the wall clock was set while waiting")
	// ErrWrongThread says that a Thread was used from another thread than the one
	// that opened it.
	ErrWrongThread = errors.New("a timing.Thread belongs to the goroutine that opened it")
)

// PastError is ErrPast with how long ago the instant was.
type PastError struct{ By time.Duration }

func (e *PastError) Error() string { return fmt.Sprintf("%v, %v ago", ErrPast, e.By) }

// Is makes errors.Is(err, ErrPast) true.
func (e *PastError) Is(target error) bool { return target == ErrPast }

// StepError is ErrClockStep with how far the clock was set: positive when it
// went forward. A resume from suspend looks the same.
type StepError struct{ Step time.Duration }

func (e *StepError) Error() string { return fmt.Sprintf("%v, by %v", ErrClockStep, e.Step) }

// Is makes errors.Is(err, ErrClockStep) true.
func (e *StepError) Is(target error) bool { return target == ErrClockStep }

// Chosen by us.
const (
	// defaultSpin: a thread wakes from clock_nanosleep 50 to 120 µs late in the
	// median and the tail of an idle machine ends below 0.5 ms.
	defaultSpin = 500 * time.Microsecond
	// armed is how long before the instant the long sleep, which can be
	// cancelled, gives way to the exact one, during which the thread keeps its
	// place in the Go scheduler. In a program whose goroutines keep every processor
	// busy it has to get one first, which takes up to 10 ms and more, and loses it
	// again after 10 to 20 ms; of 3, 10, 12, 15, 18, 20, 22, 25 and 30 ms this one had
	// the best 99th percentile there (5 ms; 18 ms had the better 90th, 0.1 ms).
	armed = 15 * time.Millisecond
	// stepNoise is the smallest change between the wall clock and the monotonic
	// clock that counts as a step. Slewing moves both alike (clock_gettime(2)), so
	// that only the error of reading the pair has to stay below: tens of
	// nanoseconds here, a few microseconds with a slow clocksource.
	stepNoise = 10 * time.Microsecond
)

// Config prepares a Thread. Nil and the zero value ask for nothing that needs a
// privilege.
type Config struct {
	// CPUs pins the thread to these processors; empty leaves it free.
	CPUs []int
	// Realtime asks for SCHED_FIFO, the lowest priority, which needs CAP_SYS_NICE
	// or an RLIMIT_RTPRIO of at least 1. Without the permission the thread works
	// all the same and Notes says so.
	Realtime bool
	// Spin is how long before the instant the thread wakes to watch the clock;
	// 0 means 500 µs. More costs processor time and covers later wake-ups.
	Spin time.Duration
}

// Thread is an operating system thread prepared to return from its sleep at an
// exact instant. All methods but Notes, and Close after Leave, must be called from
// the goroutine that opened it.
type Thread struct {
	spin time.Duration
	base time.Time // zero of the thread's monotonic clock
	// clocks reads both clocks at one instant, the monotonic one since base.
	clocks func() (wall time.Time, mono time.Duration)
	notes  []string
	sys    threadSys
}

// OpenThread locks the calling goroutine to its thread (runtime.LockOSThread)
// and prepares that thread: timer slack of 1 ns, the processors and the policy
// that cfg asks for, and the permission to keep the processors out of deep sleep
// in the last moments. What is not allowed is not an error: see Notes. An error
// means that cfg asks for the impossible, such as a processor that is not there.
// Close undoes everything.
//
// A process started from this goroutine (os/exec) inherits the processors but
// not SCHED_FIFO.
func OpenThread(cfg *Config) (*Thread, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	if cfg.Spin < 0 {
		return nil, fmt.Errorf("negative spin time %v", cfg.Spin)
	}
	t := &Thread{spin: cfg.Spin, base: time.Now()}
	t.clocks = t.readClocks
	if t.spin == 0 {
		t.spin = defaultSpin
	}
	runtime.LockOSThread()
	if err := t.open(cfg); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Notes says what was asked for and could not be had, and how to allow it: one
// sentence each.
func (t *Thread) Notes() []string { return t.notes }

// Realtime reports whether the thread runs under SCHED_FIFO now.
func (t *Thread) Realtime() bool { return t.realtimeOn() }

// SleepUntil returns at the instant at of the wall clock, no earlier (within the
// tens of nanoseconds of reading the clock), and as little later as the machine allows: a microsecond in the median and tens of
// microseconds in the worst case on an idle machine, or on a busy one with
// Realtime. A monotonic reading in at is ignored.
//
// It sleeps until 15 ms before the instant, then to the timer's accuracy until
// Spin before it, and then watches the clock. The first part can be interrupted:
// by ctx, whose error is returned, and by a step of the wall clock, which returns
// a *StepError at once, so that the caller can decide what the instant means now.
// A step in the second part is noticed at its end, ctx is not asked again.
//
// In the last 15 ms the goroutine holds one of the program's GOMAXPROCS places.
// In a program whose other goroutines keep all places busy it may get none
// in time and be late by milliseconds; one place more (runtime.GOMAXPROCS) cures
// that when SCHED_FIFO is allowed.
//
// When the instant has passed already it returns at once with a *PastError; the
// caller may send all the same. When the thread wakes too late it returns nil:
// only the stamp of the packet says how late it really was.
func (t *Thread) SleepUntil(ctx context.Context, at time.Time) error {
	if err := t.owner(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	at = at.Round(0)
	zero := t.wallZero()
	due := at.Sub(zero) // Sub saturates: due may be anything up to the limits of a Duration
	if now := t.mono(); due < now {
		return &PastError{By: zero.Add(now).Sub(at)}
	}
	for due-t.mono() > armed {
		if err := t.sleepLong(ctx, due-armed); err != nil {
			return err
		}
		if err := t.stepSince(zero); err != nil {
			return err
		}
	}
	if err := t.sleepExact(due - t.spin); err != nil {
		return err
	}
	if err := t.stepSince(zero); err != nil {
		return err
	}
	for t.mono() < due {
		// Watching the clock. Yielding here (sched_yield) would give a busy
		// machine's other threads a whole time slice: see BenchmarkWakeError.
	}
	return nil
}

// DropRealtime gives SCHED_FIFO back, and lets the processors sleep deeply
// again, so that what the thread does after the send cannot starve the machine.
func (t *Thread) DropRealtime() error {
	if err := t.owner(); err != nil {
		return err
	}
	return t.dropRealtime()
}

// Leave is the part of Close that belongs to the thread, a few microseconds: it
// restores the thread's policy, processors and timer slack and unlocks the
// goroutine from it. Close, which gives the descriptors back, may then be called
// from any goroutine. A second Leave does nothing.
func (t *Thread) Leave() error {
	if t.sys.left {
		return nil
	}
	if err := t.owner(); err != nil {
		return err
	}
	t.sys.left = true
	err := t.leave()
	runtime.UnlockOSThread()
	return err
}

// Close undoes everything that OpenThread did. It takes up to 200 µs where
// processors must be told that they may sleep again. A second Close does nothing.
func (t *Thread) Close() error {
	if t.sys.closed {
		return nil
	}
	err := t.Leave()
	if !t.sys.left { // not this goroutine's
		return err
	}
	t.sys.closed = true
	t.free()
	return err
}

// mono is the monotonic clock since base.
func (t *Thread) mono() time.Duration { return time.Since(t.base) }

// stepSince returns a *StepError if the wall clock was set since wallZero was zero.
func (t *Thread) stepSince(zero time.Time) error {
	if step := t.wallZero().Sub(zero); step > stepNoise || step < -stepNoise {
		return &StepError{Step: step}
	}
	return nil
}

// wallZero is the wall clock's reading when the monotonic clock was at base.
// Whatever delays the second reading of a pair makes the result earlier, so the
// latest of a few is the best.
func (t *Thread) wallZero() time.Time {
	var zero time.Time
	for range 8 {
		wall, mono := t.clocks()
		if z := wall.Add(-mono); z.After(zero) {
			zero = z
		}
	}
	return zero
}

// readClocks is clocks on a real machine: time.Now reads the wall clock first and
// the monotonic clock right after it.
func (t *Thread) readClocks() (wall time.Time, mono time.Duration) {
	now := time.Now()
	return now.Round(0), now.Sub(t.base)
}
