package netns_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/internal/testenv"
)

// programEnv makes the test binary a program that calls RunIsolated first, as
// the command does, and then does what its argument says.
const programEnv = "SYNPUNCH_NETNS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) == "" {
		os.Exit(m.Run())
	}
	if !netns.InIsolation() {
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGUSR1)
		defer stop()
		code, err := netns.RunIsolated(ctx, os.Args[1:])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			if errors.Is(err, netns.ErrNoUserNamespace) {
				code = 77
			}
		}
		os.Exit(code)
	}
	os.Exit(inside())
}

func inside() int {
	switch os.Args[1] {
	case "exit":
		n, _ := strconv.Atoi(os.Args[2])
		return n
	case "echo":
		_, _ = io.Copy(os.Stdout, os.Stdin)
		fmt.Fprint(os.Stderr, "and stderr")
	case "describe":
		ns, _ := os.Readlink("/proc/self/ns/net")
		ifs, _ := net.Interfaces()
		up := 0
		for _, i := range ifs {
			if i.Flags&net.FlagUp != 0 {
				up++
			}
		}
		_, err := netns.New()
		fmt.Println(ns, os.Getuid(), up, err)
	case "nested": // its own child is isolated again
		cmd := exec.Command("/proc/self/exe", "describe")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return 1
		}
		return inside2()
	case "signal":
		c := make(chan os.Signal, 1)
		signal.Notify(c, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
		fmt.Println(os.Getpid())
		s := <-c
		fmt.Println(s)
	case "die":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
	return 0
}

func inside2() int {
	ns, _ := os.Readlink("/proc/self/ns/net")
	fmt.Println(ns)
	return 0
}

func program(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), programEnv+"=1")
	return cmd
}

// run runs the program and skips the test where the system forbids the
// namespaces.
func run(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := program(args...)
	var out, err strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &err
	_ = cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal("the program did not start")
	}
	if cmd.ProcessState.ExitCode() == 77 {
		testenv.Skip(t, err.String())
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

func TestRunIsolatedPassesTheExitCode(t *testing.T) {
	for _, want := range []int{0, 1, 3, 42} {
		if _, stderr, code := run(t, "", "exit", strconv.Itoa(want)); code != want || stderr != "" {
			t.Errorf("exit code %d, want %d; %s", code, want, stderr)
		}
	}
	if _, _, code := run(t, "", "die"); code != 128+int(unix.SIGKILL) {
		t.Errorf("killed: exit code %d", code)
	}
}

func TestRunIsolatedPassesStandardStreams(t *testing.T) {
	out, stderr, code := run(t, "some words", "echo")
	if out != "some words" || stderr != "and stderr" || code != 0 {
		t.Errorf("%q, %q, %d", out, stderr, code)
	}
}

func TestRunIsolatedGivesANetworkOfItsOwn(t *testing.T) {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	out, stderr, _ := run(t, "", "describe")
	f := strings.SplitN(strings.TrimSpace(out), " ", 4)
	if len(f) != 4 || f[0] == here || f[1] != "0" || f[2] != "0" || f[3] != "<nil>" {
		t.Errorf("inside it is %q (here %s); %s", out, here, stderr)
	}
}

// The mark that a process is isolated does not reach its children.
func TestIsolationIsNotInherited(t *testing.T) {
	out, stderr, code := run(t, "", "nested")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(lines) != 2 || strings.HasPrefix(lines[0], lines[1]) {
		t.Errorf("%q, exit code %d; %s", out, code, stderr)
	}
	if netns.InIsolation() {
		t.Error("this test says it was started by RunIsolated")
	}
}

func TestRunIsolatedForwardsSignals(t *testing.T) {
	for sig, want := range map[syscall.Signal]syscall.Signal{
		unix.SIGTERM: unix.SIGTERM,
		unix.SIGHUP:  unix.SIGHUP,
		unix.SIGINT:  unix.SIGINT,
		unix.SIGUSR1: unix.SIGTERM, // ends the context, see TestMain
	} {
		t.Run(sig.String(), func(t *testing.T) {
			run(t, "", "exit", "0") // skips where need be
			cmd := program("signal")
			// Without a terminal SIGINT comes from the parent only.
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(out)
			if _, err := r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			got, err := r.ReadString('\n')
			if err != nil || got != want.String()+"\n" {
				t.Errorf("inside it was %q, %v", got, err)
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestIsolatedChildDiesWithItsParent(t *testing.T) {
	run(t, "", "exit", "0")
	cmd := program("signal")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, err2 := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || err2 != nil {
		t.Fatalf("%q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// The pipe ends with the last process that holds it.
	if _, err := io.Copy(io.Discard, out); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	for late := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil {
			return // gone, or a zombie
		}
		if time.Now().After(late) {
			t.Fatal("the child lives on")
		}
	}
}

func TestStartErrorNamesTheFix(t *testing.T) {
	err := netns.StartError(&os.PathError{Op: "fork/exec", Path: "/proc/self/exe", Err: unix.EPERM})
	if !errors.Is(err, netns.ErrNoUserNamespace) || !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "apparmor_restrict_unprivileged_userns") {
		t.Errorf("got %v", err)
	}
	if err := netns.StartError(unix.ENOENT); errors.Is(err, netns.ErrNoUserNamespace) {
		t.Errorf("got %v", err)
	}
}
