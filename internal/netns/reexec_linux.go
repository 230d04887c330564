package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Isolated prepares cmd to start in a fresh network namespace in which it has
// every capability: as root directly, otherwise inside a new user namespace
// where the caller's account appears as root (user_namespaces(7)). The child
// gets SIGKILL when the parent's thread dies.
func Isolated(cmd *exec.Cmd) {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if !hasSysAdmin() {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		// A program with file capabilities runs undumpable, and then only root may
		// write its children's uid_map (proc(5), user_namespaces(7)).
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
}

// StartError explains an error of starting a command that Isolated prepared.
func StartError(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (%w)", ErrNoUserNamespace, err)
	}
	return err
}

// childGrace is how long a child may go on after RunIsolated's context ended,
// before it gets SIGKILL; chosen by us.
const childGrace = 5 * time.Second

// RunIsolated runs this program again with args (without the program's name) in
// namespaces of its own, as Isolated describes, and returns its exit code; 128 plus the
// signal's number when a signal ended it, as a shell says it. Standard input,
// output and error are passed on, the network of the child is empty but for lo, and
// InIsolation tells the child that it is one. The child dies with this process.
//
// SIGTERM, SIGHUP and SIGINT are forwarded; SIGINT is not when the terminal has sent
// it to the child already, because both are in its foreground process group. When
// ctx ends the child gets SIGTERM, and SIGKILL five seconds later.
//
// The error is about starting the child: ErrNoUserNamespace is wrapped where the
// system forbids the namespaces.
func RunIsolated(ctx context.Context, args []string) (code int, err error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), isolatedEnv+"="+strconv.Itoa(os.Getpid()))
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = childGrace
	Isolated(cmd)

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	// PR_SET_PDEATHSIG follows the thread that starts the child (prctl(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return -1, fmt.Errorf("start %s in namespaces of its own: %w", os.Args[0], StartError(err))
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			if s != unix.SIGINT || !inForeground() {
				// It may have ended just now: Wait tells.
				_ = cmd.Process.Signal(s)
			}
		case err := <-done:
			st := cmd.ProcessState
			if st == nil {
				return -1, fmt.Errorf("wait for %s: %w", os.Args[0], err)
			}
			if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
				return 128 + int(ws.Signal()), nil
			}
			return st.ExitCode(), nil
		}
	}
}

// inForeground reports whether this process belongs to the foreground process
// group of its terminal.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

func parent() string { return strconv.Itoa(os.Getppid()) }

// LoopbackUp sets lo up in the calling thread's network namespace.
func LoopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// hasSysAdmin reports whether the process holds CAP_SYS_ADMIN and CAP_NET_ADMIN.
func hasSysAdmin() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	need := uint32(1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN)
	return data[0].Effective&need == need
}
