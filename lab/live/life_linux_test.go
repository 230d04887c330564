package live

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
)

// traces is what a lab must not leave in this process.
func traces(t testing.TB) (fds, goroutines int, namespaces []string) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	nets, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range nets {
		// A thread that has just ended has no link any more.
		if ns, err := os.Readlink(path); err == nil && !slices.Contains(namespaces, ns) {
			namespaces = append(namespaces, ns)
		}
	}
	return len(list), runtime.NumGoroutine(), namespaces
}

func mappings(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(text, []byte("socket:["))
}

func TestManyBuildsLeaveNothing(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	builds := 50
	if testing.Short() {
		builds = 10
	}
	kinds := []string{"eim+cgn", "model:linux"}
	for _, k := range kernelKinds() {
		kinds = append(kinds, k.Name)
	}
	procsBefore := runtime.GOMAXPROCS(0)
	var fds, goroutines int
	var ns []string
	for i := range builds {
		if i == 1 { // the first one may open what the runtime keeps, its poller for one
			fds, goroutines, ns = traces(t)
		}
		s := both(kinds[i%len(kinds)], time.Duration(i%2)*time.Millisecond)
		if s.A.NAT == lab.NATFirewall {
			s.Family = lab.IP6
		}
		if s.B.NAT == "eim+cgn" {
			s.B.Subscribers, s.B.CrossTraffic = 2, 100
		}
		l, err := Build(t.Context(), &s, nil)
		if err != nil {
			t.Fatalf("build %d: %v", i, err)
		}
		l.Events()
		for range 2 { // a second Close does nothing
			if err := l.Close(); err != nil {
				t.Fatalf("close %d: %v", i, err)
			}
		}
		if err := l.ResetCount(); !errors.Is(err, os.ErrClosed) {
			t.Fatalf("ResetCount of a closed lab: %v", err)
		}
		if err := l.A.Start(exec.Command("true")); !errors.Is(err, os.ErrClosed) {
			t.Fatalf("Start in a closed lab: %v", err)
		}
		l.Events()
		l.Counters()
	}
	await(t, "every descriptor, goroutine and thread of the labs to go", func() bool {
		f, g, n := traces(t)
		return f <= fds && g <= goroutines && len(n) <= len(ns)
	})
	if n := mappings(t); n != 0 {
		t.Errorf("%d rings are still mapped", n)
	}
	if n := runtime.GOMAXPROCS(0); n != procsBefore {
		t.Errorf("GOMAXPROCS is %d, was %d", n, procsBefore)
	}
}

func TestBuildStopsWithItsContext(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := both(lab.NATLinux, time.Millisecond)
	// Warm up, see above.
	l, err := Build(t.Context(), &s, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fds, goroutines, _ := traces(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Build(ctx, &s, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// At some later point too.
	for d := time.Millisecond; d < 20*time.Millisecond; d += 2 * time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		l, err := Build(ctx, &s, nil)
		cancel()
		if err == nil {
			err = l.Close()
		} else if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		}
		if err != nil {
			t.Error(err)
		}
	}
	await(t, "every trace of unfinished labs to go", func() bool {
		f, g, _ := traces(t)
		return f <= fds && g <= goroutines
	})
}

func TestBuildRefusesABadScenario(t *testing.T) {
	s := both("cone", 0)
	if _, err := Build(t.Context(), &s, nil); !errors.Is(err, lab.ErrScenario) {
		t.Errorf("got %v", err)
	}
}

func TestHostRunsCommands(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := mustBuild(t, both(lab.NATLinux, 0))
	namespace := func(h *Host) string {
		var out string
		err := h.Do(func() error {
			ns, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
			out = ns
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if namespace(l.A) == namespace(l.B) {
		t.Error("both hosts are in one namespace")
	}
	for _, h := range []*Host{l.A, l.B} {
		cmd := exec.Command("readlink", "/proc/self/ns/net")
		var out strings.Builder
		cmd.Stdout = &out
		if err := h.Run(cmd); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(out.String()); got != namespace(h) {
			t.Errorf("the command ran in %s, Do runs in %s", got, namespace(h))
		}
	}
	if err := l.A.Run(exec.Command("/nonexistent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
	var ee *exec.ExitError
	if err := l.A.Run(exec.Command("false")); !errors.As(err, &ee) || ee.ExitCode() != 1 {
		t.Errorf("a program that fails: %v", err)
	}
}

// Close ends what was started in the lab and not waited for.
func TestCloseEndsProcesses(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := mustBuild(t, both(lab.NATLinux, time.Millisecond))
	var cmds []*exec.Cmd
	for _, h := range []*Host{l.A, l.B} {
		cmds = append(cmds, helper(t, h, "wait"))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range cmds {
		err := cmd.Wait()
		if st, ok := cmd.ProcessState.Sys().(interface{ Signaled() bool }); !ok || !st.Signaled() {
			t.Errorf("it ended with %v", err)
		}
	}
}

// helperLab is the program of TestKilledLabLeavesNothing: it names a process in its
// lab and waits.
func helperLab() {
	s := both(lab.NATLinux, time.Millisecond)
	l, err := Build(context.Background(), &s, nil)
	if err != nil {
		fail(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=wait")
	in, err := cmd.StdinPipe()
	if err != nil {
		fail(err)
	}
	defer in.Close()
	if err := l.A.Start(cmd); err != nil {
		fail(err)
	}
	fmt.Println(cmd.Process.Pid)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestKilledLabLeavesNothing(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=lab")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, err2 := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || err2 != nil {
		_ = cmd.Process.Kill()
		t.Fatalf("the helper said %q: %v", line, errors.Join(err, err2))
	}
	inside, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, "the process in the lab to end", func() bool {
		// A zombie, which waits for its new parent, has no namespace any more.
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		return err != nil
	})
	all, err := filepath.Glob("/proc/[0-9]*/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if ns, err := os.Readlink(path); err == nil && ns == inside {
			t.Errorf("%s is still in the lab", path)
		}
	}
}

// Each line that Enter prints opens a shell where it says. From inside the lab's own
// user namespace only those without -U can be tried; the others were tried by hand.
func TestEnter(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	if _, err := exec.LookPath("nsenter"); err != nil {
		t.Skip("nsenter(1) is not installed: apt-get install util-linux")
	}
	l := mustBuild(t, both(lab.NATLinux, time.Millisecond))
	entries := l.Enter()
	if len(entries) != 7 {
		t.Fatalf("%d entries: %v", len(entries), entries)
	}
	for i, e := range entries {
		nd := l.net.nodes[i]
		if e.Name != nd.name {
			t.Errorf("entry %d is %s, want %s", i, e.Name, nd.name)
		}
		var st unix.Stat_t
		if err := unix.Fstat(nd.ns.Fd(), &st); err != nil {
			t.Fatal(err)
		}
		line := strings.Replace(e.Line, "-U --preserve-credentials ", "", 1)
		out, err := exec.Command("sh", "-c", "echo 'readlink /proc/self/ns/net' | "+line).CombinedOutput()
		if want := fmt.Sprintf("net:[%d]\n", st.Ino); err != nil || string(out) != want {
			t.Errorf("%s: %q, %v; want %q", line, out, err, want)
		}
	}
}

// Every method may be called by several goroutines at once, while packets pass.
func TestConcurrentUse(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := mustBuild(t, site("eim", "model:none", time.Millisecond))
	a, b := tcpPair(t, l)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for _, f := range []func(){
		func() { l.Events() },
		func() { l.Transits() },
		func() { l.Meetings() },
		func() { l.Counters() },
		func() { l.Notes() },
		func() { l.Enter() },
		func() { l.NATs() },
		func() { _ = l.ResetCount() },
		func() { _ = l.SetFaults(nil) },
		func() { _ = l.A.Do(func() error { return nil }) },
	} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f()
				}
			}
		})
	}
	sent, came := bulk(t, a, b, 4<<20)
	close(stop)
	wg.Wait()
	for i := range sent {
		if !bytes.Equal(sent[i], came[i]) {
			t.Errorf("direction %d arrived changed", i)
		}
	}
	a.Close()
	b.Close()
	// Close from several goroutines, while the lab is asked.
	for range 3 {
		wg.Go(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { l.Events(); l.Counters(); l.Transits(); l.NATs() })
		wg.Go(func() { _, _ = l.Observe(t.Context(), l.A, portA) })
	}
	wg.Wait()
}

func TestErrorsSayWhatIsMissing(t *testing.T) {
	err := explain(fmt.Errorf("nat-a: %w", unix.EPERM))
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") || !strings.Contains(err.Error(), "unshare -Urn") {
		t.Errorf("got %v", err)
	}
	for _, e := range []error{unix.EOPNOTSUPP, unix.EAFNOSUPPORT} {
		if err := explain(e); !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, e) {
			t.Errorf("got %v", err)
		}
	}
	if err := explain(unix.ENOENT); err != unix.ENOENT {
		t.Errorf("got %v", err)
	}
}
