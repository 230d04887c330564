package timing

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// shortSlice is the shortest time slice that the kernel takes (sched_setattr(2),
// runtime of SCHED_OTHER, Linux 6.12; older ones ignore it). A thread that has it
// preempts one that computes when it wakes (PREEMPT_SHORT), and one that yields
// gets the processor back this soon, not after 3 ms.
const shortSlice = 100 * time.Microsecond

// policy is how the kernel schedules the thread.
type policy uint8

const (
	asBefore policy = iota
	shortSliced
	fifo
)

// schedule gives the thread SCHED_FIFO or, where that is not wanted or not
// allowed, a short slice.
func (t *Thread) schedule(realtime bool) {
	old, err := unix.SchedGetAttr(0, 0)
	if err != nil { // a sandbox: nothing is changed, so there is nothing to restore
		if realtime {
			t.note("SCHED_FIFO cannot be had: sched_getattr: %v", err)
		}
		return
	}
	t.sys.sched = *old
	if realtime {
		t.realtime()
	}
	if t.sys.policy == asBefore {
		t.shorten()
	}
}

func (t *Thread) realtime() {
	attr := unix.SchedAttr{
		Size:   unix.SizeofSchedAttr,
		Policy: unix.SCHED_FIFO,
		// What the thread forks must not be real time as well.
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
		Priority: 1,
	}
	err := unix.SchedSetAttr(0, &attr, 0)
	switch {
	case err == nil:
		t.sys.policy = fifo
	case errors.Is(err, unix.EPERM):
		t.note("SCHED_FIFO is not allowed (sched_setattr: %v), so a busy machine delays the send by milliseconds; it needs CAP_SYS_NICE: sudo setcap cap_sys_nice+ep PATH, or an RLIMIT_RTPRIO of 1: LimitRTPRIO=1 (systemd), --ulimit rtprio=1 (containers)", err)
	default:
		t.note("SCHED_FIFO cannot be had: sched_setattr: %v", err)
	}
}

// shorten gives the thread a short slice. Where the kernel refuses, the thread
// stays as it is: that costs punctuality on a busy machine only.
func (t *Thread) shorten() {
	if s := &t.sys; s.sched.Policy == unix.SCHED_NORMAL {
		attr := s.sched
		attr.Runtime = uint64(shortSlice)
		if t.set(&attr) == nil {
			s.policy = shortSliced
		}
	}
}

// set is sched_setattr for this thread.
func (t *Thread) set(attr *unix.SchedAttr) error {
	err := unix.SchedSetAttr(0, attr, 0)
	if t.sys.policy == fifo && errors.Is(err, unix.EPERM) {
		// sched(7): without CAP_SYS_NICE (we had SCHED_FIFO by RLIMIT_RTPRIO) the
		// reset-on-fork flag cannot be cleared. Under SCHED_OTHER it is harmless.
		keep := *attr
		keep.Flags |= unix.SCHED_FLAG_RESET_ON_FORK
		err = unix.SchedSetAttr(0, &keep, 0)
	}
	return err
}

func (t *Thread) realtimeOn() bool { return t.sys.policy == fifo }

// dropRealtime goes from SCHED_FIFO to a short slice.
func (t *Thread) dropRealtime() error {
	t.stayAwake(false)
	if !t.realtimeOn() {
		return nil
	}
	if err := t.unschedule(); err != nil {
		return err
	}
	// The kernel sets the slack of a thread that leaves SCHED_FIFO to the default
	// (seen on 6.18: __setscheduler_params in kernel/sched/syscalls.c).
	if t.sys.slack > 0 {
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set the thread's timer slack again: prctl: %w", err)
		}
	}
	t.shorten()
	return nil
}

// unschedule restores what the thread had before.
func (t *Thread) unschedule() error {
	if t.sys.policy == asBefore {
		return nil
	}
	if err := t.set(&t.sys.sched); err != nil {
		return fmt.Errorf("restore the thread's scheduling policy: sched_setattr: %w", err)
	}
	t.sys.policy = asBefore
	return nil
}
