package timing

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestThreadBelongsToItsGoroutine(t *testing.T) {
	th := openThread(t, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		for what, err := range map[string]error{
			"SleepUntil":   th.SleepUntil(context.Background(), time.Now().Add(time.Second)),
			"DropRealtime": th.DropRealtime(),
			"Leave":        th.Leave(),
			"Close":        th.Close(),
		} {
			if !errors.Is(err, ErrWrongThread) {
				t.Errorf("%s from elsewhere: %v", what, err)
			}
		}
	})
	wg.Wait()
}

// threadState is what OpenThread changes.
type threadState struct {
	Policy, Nice, Priority, Slack int
	Slice                         uint64 // ns; 0 before Linux 6.12 and for SCHED_FIFO
	CPUs                          []int
}

func readThread(t *testing.T) threadState {
	t.Helper()
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return threadState{int(attr.Policy), int(attr.Nice), int(attr.Priority), slack, attr.Runtime, cpuList(&set)}
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestThreadSetsAndRestores(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, fds := readThread(t), countFDs(t)
	cpu := before.CPUs[len(before.CPUs)-1]

	th, err := OpenThread(&Config{CPUs: []int{cpu}, Realtime: true})
	if err != nil {
		t.Fatal(err)
	}
	defer th.Close()
	for _, n := range th.Notes() {
		t.Log(n)
	}
	slice := before.Slice
	if slice > 0 {
		slice = uint64(shortSlice)
	}
	want := threadState{Policy: unix.SCHED_FIFO, Priority: 1, Slack: 1, CPUs: []int{cpu}}
	if th.Realtime() {
		// Newer kernels show 0 for a real-time thread, which has no slack in any case.
		if got := readThread(t); got.Slack == 0 {
			want.Slack = 0
		}
	} else {
		want.Policy, want.Priority, want.Nice, want.Slice = before.Policy, before.Priority, before.Nice, slice
	}
	if diff := cmp.Diff(want, readThread(t)); diff != "" {
		t.Errorf("while open (-want +got):\n%s", diff)
	}
	if err := th.SleepUntil(t.Context(), time.Now().Add(time.Millisecond)); err != nil && !errors.Is(err, ErrPast) {
		t.Error(err)
	}
	if err := th.DropRealtime(); err != nil {
		t.Error(err)
	}
	if th.Realtime() {
		t.Error("Realtime after DropRealtime")
	}
	want.Slack = 1
	want.Policy, want.Priority, want.Nice, want.Slice = before.Policy, before.Priority, before.Nice, slice
	if diff := cmp.Diff(want, readThread(t)); diff != "" {
		t.Errorf("after DropRealtime (-want +got):\n%s", diff)
	}
	if err := th.Close(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, readThread(t)); diff != "" {
		t.Errorf("after Close (-want +got):\n%s", diff)
	}
	if got := countFDs(t); got > fds {
		t.Errorf("%d descriptors after Close, %d before", got, fds)
	}
}

// A thread that has SCHED_FIFO by RLIMIT_RTPRIO may not clear reset-on-fork, and
// must get rid of SCHED_FIFO all the same.
func TestDropRealtimeWithoutCapability(t *testing.T) {
	th := openThread(t, &Config{Realtime: true})
	if !th.Realtime() {
		t.Skip(strings.Join(th.Notes(), "; "))
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have, less [2]unix.CapUserData
	if err := unix.Capget(&hdr, &have[0]); err != nil {
		t.Fatal(err)
	}
	less = have
	less[unix.CAP_SYS_NICE/32].Effective &^= 1 << (unix.CAP_SYS_NICE % 32)
	// Capabilities belong to the thread, which is locked.
	if err := unix.Capset(&hdr, &less[0]); err != nil {
		t.Fatal(err)
	}
	err := th.DropRealtime()
	if e := unix.Capset(&hdr, &have[0]); e != nil {
		t.Fatal(e)
	}
	if err != nil {
		t.Error(err)
	}
	if got := readThread(t).Policy; got != unix.SCHED_NORMAL {
		t.Errorf("policy %d afterwards", got)
	}
}

// What a real-time thread starts must not be real time: it would starve the machine.
func TestChildIsNotRealtime(t *testing.T) {
	th := openThread(t, &Config{Realtime: true})
	if !th.Realtime() {
		t.Skip(strings.Join(th.Notes(), "; "))
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	attr, err := unix.SchedGetAttr(cmd.Process.Pid, 0) // a zombie answers as well
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if attr.Policy != unix.SCHED_NORMAL {
		t.Errorf("the child has policy %d", attr.Policy)
	}
}

func TestOpenThreadRefusesProcessors(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, fds := readThread(t), countFDs(t)
	for _, cpu := range []int{-1, 1023, 1 << 20} {
		th, err := OpenThread(&Config{CPUs: []int{cpu}, Realtime: true})
		if err == nil {
			th.Close()
			t.Errorf("processor %d was accepted", cpu)
			continue
		}
		t.Log(err)
	}
	if diff := cmp.Diff(before, readThread(t)); diff != "" {
		t.Errorf("refused, but the thread changed (-before +after):\n%s", diff)
	}
	if got := countFDs(t); got > fds {
		t.Errorf("%d descriptors after refusals, %d before", got, fds)
	}
}

// A wake-up for a context that ended after its sleep must not reach a descriptor
// that has become another file since.
func TestWakeupAfterClose(t *testing.T) {
	th := openThread(t, nil)
	w := th.sys.wake
	if err := th.Close(); err != nil {
		t.Fatal(err)
	}
	w.signal()
	if w.fd != -1 {
		t.Errorf("descriptor %d is still known", w.fd)
	}
}
