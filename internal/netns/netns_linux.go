package netns

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// NS is a network namespace, held by a descriptor: it goes away with the last
// descriptor, process or thread in it, so nothing stays behind after a crash.
type NS struct{ f *os.File }

// New makes a network namespace. It needs CAP_SYS_ADMIN in the user namespace
// of the caller (unshare(2)); see RunIsolated for how an ordinary account gets it.
func New() (*NS, error) {
	var ns *NS
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare a network namespace (needs CAP_SYS_ADMIN): %w", err)
		}
		var err error
		ns, err = Current()
		return err
	})
	return ns, err
}

// Current returns the network namespace of the calling thread.
func Current() (*NS, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		return nil, fmt.Errorf("open the thread's network namespace: %w", err)
	}
	return &NS{f: f}, nil
}

// Fd is the descriptor of the namespace, valid until Close.
func (n *NS) Fd() int { return int(n.f.Fd()) }

// Do runs fn on an operating system thread of its own inside the namespace.
// The thread ends with fn: a thread that changed its namespace is never given
// back to the Go scheduler. Goroutines that fn starts are outside.
func (n *NS) Do(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(n.Fd(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns to a network namespace: %w", err)
		}
		return fn()
	})
}

// Start starts cmd inside the namespace. The child gets SIGKILL when the thread
// that started it dies (PR_SET_PDEATHSIG), so Start keeps that thread until
// the child has ended: call cmd.Wait as usual. ended, if not nil, is called once a
// child that did start has ended, whether or not anybody waits for it.
func (n *NS) Start(cmd *exec.Cmd, ended func()) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error, 2)
	go func() {
		// After the child was started there is nobody to hear of errors, and Do has none.
		started <- n.Do(func() error {
			err := cmd.Start()
			started <- err
			if err != nil {
				return err
			}
			if ended != nil {
				defer ended()
			}
			// WNOWAIT leaves the child for cmd.Wait to reap. ECHILD: that was quicker.
			for {
				err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
				if err != unix.EINTR {
					return nil
				}
			}
		})
	}()
	return <-started
}

// Close gives the descriptor back.
func (n *NS) Close() error { return n.f.Close() }

// onThread runs fn on a locked thread that is never unlocked, so that the Go
// runtime ends the thread instead of reusing it. The process's first thread is not
// taken: it cannot end, and /proc/self/net would show its namespace for ever.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			err := onThread(fn) // on another one, as this one is taken meanwhile
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}
