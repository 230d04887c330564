package timing

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const dmaLatencyPath = "/dev/cpu_dma_latency"

// Given by the specification: PM_QOS_CPU_LATENCY_DEFAULT_VALUE in
// include/linux/pm_qos.h, 2,000 s in microseconds, which asks for nothing.
const dmaLatencyAny = 2_000_000_000

type threadSys struct {
	left   bool // by Leave
	closed bool
	tid    int
	// epoch is the monotonic clock of the kernel at Thread.base.
	epoch time.Duration

	slack  int            // before us, in ns; 0 when not changed
	sched  unix.SchedAttr // before us
	policy policy         // what the thread has instead
	cpus   unix.CPUSet    // before us
	pinned bool

	latency *os.File // /dev/cpu_dma_latency, nil where not allowed
	awake   bool     // 0 was written to it

	timer int // timerfd that reports a step of the wall clock, or -1
	wake  *wakeup
}

// wakeup is an eventfd that a context's AfterFunc writes to, perhaps long after
// the sleep has ended.
type wakeup struct {
	mu sync.Mutex
	fd int // -1 after close
}

func (w *wakeup) signal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd >= 0 {
		one := [8]byte{1} // a nonzero 64 bit number in either byte order
		unix.Write(w.fd, one[:])
	}
}

func (w *wakeup) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd >= 0 {
		unix.Close(w.fd)
		w.fd = -1
	}
}

func (t *Thread) open(cfg *Config) error {
	s := &t.sys
	s.tid = unix.Gettid()
	s.timer = -1
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return fmt.Errorf("clock_gettime(CLOCK_MONOTONIC): %w", err)
	}
	s.epoch = time.Duration(ts.Nano()) - t.mono()

	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	s.wake = &wakeup{fd: fd}
	if s.timer, err = stepTimer(); err != nil {
		t.note("a step of the wall clock is noticed at the end of the sleep only: %v", err)
	}

	// prctl(2): "The timer slack is used by the kernel to group timer expirations";
	// threads start with 50 µs.
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil {
		t.note("timer slack unknown: %v", err)
	} else if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		t.note("timer slack stays at %d ns: %v", slack, err)
	} else {
		s.slack = slack
	}
	if len(cfg.CPUs) > 0 {
		if err := t.pin(cfg.CPUs); err != nil {
			return err
		}
	}
	t.schedule(cfg.Realtime)
	// The PM QoS request lasts as long as the file is open
	// (Documentation/power/pm_qos_interface.rst); it asks for nothing until a value is written.
	if s.latency, err = os.OpenFile(dmaLatencyPath, os.O_WRONLY, 0); err != nil {
		s.latency = nil
		t.note("processors may sleep deeply before the instant (some tens of µs in the worst case): %v; to allow it: sudo chmod 0666 %s, or run as root", err, dmaLatencyPath)
	}
	return nil
}

func (t *Thread) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

func (t *Thread) pin(cpus []int) error {
	s := &t.sys
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
		if c < 0 || !set.IsSet(c) {
			return fmt.Errorf("there is no processor %d", c)
		}
	}
	if err := unix.SchedGetaffinity(0, &s.cpus); err != nil {
		return fmt.Errorf("sched_getaffinity: %w", err)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		// sched_setaffinity(2), EINVAL: no bit is a processor that exists and that
		// the cpuset allows.
		return fmt.Errorf("pin the thread to processors %v (allowed are %v): %w", cpus, cpuList(&s.cpus), err)
	}
	s.pinned = true
	return nil
}

func cpuList(set *unix.CPUSet) []int {
	var cpus []int
	for c := range int(unsafe.Sizeof(*set)) * 8 {
		if set.IsSet(c) {
			cpus = append(cpus, c)
		}
	}
	return cpus
}

func (t *Thread) owner() error {
	if tid := unix.Gettid(); tid != t.sys.tid {
		return fmt.Errorf("%w: opened on thread %d, used on %d", ErrWrongThread, t.sys.tid, tid)
	}
	return nil
}

// stepTimer makes a timer that becomes readable when somebody sets the wall
// clock. timerfd_create(2): with TFD_TIMER_CANCEL_ON_SET read fails "with the
// error ECANCELED if the real-time clock undergoes a discontinuous change".
func stepTimer() (int, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("timerfd_create: %w", err)
	}
	return fd, nil
}

// armStepTimer sets the timer to a day that does not come.
func armStepTimer(fd int) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(math.MaxInt32 * int64(time.Second))}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil); err != nil && !errors.Is(err, unix.ECANCELED) {
		return fmt.Errorf("timerfd_settime: %w", err)
	}
	return nil
}

// sleepLong sleeps until the monotonic instant, the end of ctx (whose error it
// returns) or a step of the wall clock (nil: the caller compares the clocks).
func (t *Thread) sleepLong(ctx context.Context, until time.Duration) error {
	s := &t.sys
	fds := []unix.PollFd{{Fd: int32(s.wake.fd), Events: unix.POLLIN}}
	if s.timer >= 0 {
		if err := armStepTimer(s.timer); err != nil {
			return err
		}
		fds = append(fds, unix.PollFd{Fd: int32(s.timer), Events: unix.POLLIN})
	}
	stop := context.AfterFunc(ctx, s.wake.signal)
	defer stop()
	for {
		left := until - t.mono()
		if left <= 0 {
			return nil
		}
		ts := unix.NsecToTimespec(int64(left))
		_, err := unix.Ppoll(fds, &ts, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("ppoll: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(fds) > 1 && fds[1].Revents != 0 {
			return nil
		}
		if fds[0].Revents != 0 {
			// A late signal of an earlier sleep's context.
			var b [8]byte
			unix.Read(s.wake.fd, b[:])
		}
	}
}

// sleepExact sleeps until the monotonic instant as exactly as the kernel's
// timers allow. It first asks for processors that do not sleep deeply.
//
// The raw system call keeps the Go scheduler's processor (its P) for this
// goroutine. An ordinary one gives it away after 20 µs, and when other goroutines
// keep all of them busy the thread, awake in time and with SCHED_FIFO, waits for
// one: 6 ms in one of ten cases on two processors. A garbage collection still
// gets through: its signal ends the sleep (EINTR) and t.mono yields.
func (t *Thread) sleepExact(until time.Duration) error {
	t.stayAwake(true)
	ts := unix.NsecToTimespec(int64(t.sys.epoch + until))
	for t.mono() < until {
		_, _, errno := unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC,
			unix.TIMER_ABSTIME, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return fmt.Errorf("clock_nanosleep: %w", errno)
		}
	}
	return nil
}

// stayAwake asks the kernel to keep the processors where they wake at once, or
// takes the request back. Failure costs some microseconds only.
func (t *Thread) stayAwake(on bool) {
	s := &t.sys
	if s.latency == nil || s.awake == on {
		return
	}
	us := int32(dmaLatencyAny)
	if on {
		us = 0
	}
	if _, err := s.latency.Write((*[4]byte)(unsafe.Pointer(&us))[:]); err == nil {
		s.awake = on
	}
}

// leave restores what belongs to the thread.
func (t *Thread) leave() error {
	s := &t.sys
	err := t.unschedule()
	if s.pinned {
		if e := unix.SchedSetaffinity(0, &s.cpus); e != nil {
			err = errors.Join(err, fmt.Errorf("restore the thread's processors: sched_setaffinity: %w", e))
		}
	}
	if s.slack > 0 {
		if e := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(s.slack), 0, 0, 0); e != nil {
			err = errors.Join(err, fmt.Errorf("restore the thread's timer slack: prctl: %w", e))
		}
	}
	return err
}

// free gives the descriptors back.
func (t *Thread) free() {
	s := &t.sys
	if s.latency != nil {
		// It withdraws the request, and wakes every idle processor to tell it
		// (cpu_latency_qos_apply): up to 200 µs.
		s.latency.Close()
	}
	if s.wake != nil {
		s.wake.close()
	}
	if s.timer >= 0 {
		unix.Close(s.timer)
	}
}
