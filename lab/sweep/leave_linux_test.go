package sweep

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab/sim"
)

// traces is what a process has open: descriptors, threads, goroutines, network
// namespaces, and processes of its own.
type traces struct{ fds, threads, goroutines, namespaces, children int }

// moreThreads is how many threads the runtime may add for its own reasons.
const moreThreads = 4

func tracesOf(t *testing.T) traces {
	t.Helper()
	runtime.GC()
	list := func(name string) []os.DirEntry {
		all, err := os.ReadDir(name)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	s := traces{threads: len(list("/proc/self/task")), goroutines: runtime.NumGoroutine()}
	namespaces := map[string]bool{}
	see := func(link string) bool {
		to, err := os.Readlink(link)
		if err == nil && strings.HasPrefix(to, "net:") {
			namespaces[to] = true
		}
		return err == nil
	}
	for _, fd := range list("/proc/self/fd") {
		if see("/proc/self/fd/" + fd.Name()) { // not that of the list itself
			s.fds++
		}
	}
	for _, thread := range list("/proc/self/task") {
		see("/proc/self/task/" + thread.Name() + "/ns/net")
	}
	s.namespaces = len(namespaces)
	for _, p := range list("/proc") {
		text, err := os.ReadFile("/proc/" + p.Name() + "/stat")
		if err != nil {
			continue
		}
		if _, rest, found := strings.Cut(string(text), ") "); found {
			if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
				s.children++
			}
		}
	}
	return s
}

// TestLiveLeavesNothing makes a sweep through labs that change, with stock attempts among them, and looks at
// what is left. With SYNPUNCH_TRIALS=N it makes so many trials, and says how long they took.
func TestLiveLeavesNothing(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	c := flagship(sim.Connect, sim.Repair, sim.Park, sim.Connect)
	c.World, c.Timeout = Live, time.Second
	c.Arms[3].Name, c.Arms[3].A.Timer, c.Arms[3].B.Timer = "stock", TimerSleep, TimerSleep
	c.Arms[2].A.NAT = "model:eim"
	for i := range c.Arms {
		c.Arms[i].DelayAB, c.Arms[i].DelayBA = 2*time.Millisecond, 2*time.Millisecond
	}
	c.Axes = []Grid{{Skew, -3 * ms, 3 * ms, 3 * ms}}
	c.Trials = 1
	if _, err := Run(t.Context(), c, nil); err != nil { // the first may open what the runtime keeps
		t.Fatal(err)
	}
	before := tracesOf(t)
	c.Trials = 2
	if n, err := strconv.Atoi(os.Getenv("SYNPUNCH_TRIALS")); err == nil {
		c.Trials = n / 12
	}
	sum, err := Run(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	after := tracesOf(t)
	t.Logf("%d trials, overhead %+v; before %+v, after %+v", sum.Done, sum.Overhead, before, after)
	if after.threads > before.threads+moreThreads {
		t.Errorf("%d threads before, %d after", before.threads, after.threads)
	}
	after.threads = before.threads
	if after != before || after.namespaces != 1 || after.children != 0 {
		t.Errorf("before %+v, after %+v", before, after)
	}
}
