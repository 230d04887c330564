package live

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/punch"
)

// fast is a trial as a sweep makes them.
func fast(engine punch.Engine) Trial {
	side := Side{Engine: engine}
	return Trial{LeadTime: 40 * time.Millisecond, Abort: true, Timeout: time.Second, A: side, B: side}
}

// threads is how many this process has.
func threads(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestManyFastTrials makes trials one after the other in one lab, on the same ports: every one connects, and nothing
// is left behind. With SYNPUNCH_TRIALS=N it makes so many and says how long they took.
func TestManyFastTrials(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	n, _ := strconv.Atoi(os.Getenv("SYNPUNCH_TRIALS"))
	if n == 0 {
		n = 60
	}
	s := both(lab.NATLinuxRST, 2*time.Millisecond)
	s.B.NAT = "cgn-quota" // whose 64 mappings are soon used up
	l, err := Build(t.Context(), &s, &Config{Hosts: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	arms := []Trial{fast(punch.Repair), fast(punch.Park), fast(punch.Connect)}
	arms = append(arms, fast(punch.Connect))
	arms[3].A.Stock, arms[3].B.Stock = true, true
	took := make([][]time.Duration, len(arms))
	late := make([][]time.Duration, len(arms))
	established := make([]int, len(arms))
	var fds, goroutines, tasks int
	for i := range n + len(arms) {
		if i == len(arms) { // the first ones may open what the runtime keeps
			fds, goroutines, _ = traces(t)
			tasks = threads(t)
		}
		arm := i % len(arms)
		begin := time.Now()
		r, err := arms[arm].Run(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		if r.Connected(0) {
			established[arm]++
		}
		for _, e := range []*SideResult{&r.A, &r.B} {
			if e.Report == nil || e.Report.SendErrorNS == nil {
				t.Fatalf("trial %d: no report: %v", i, e.Err)
			}
			late[arm] = append(late[arm], time.Duration(*e.Report.SendErrorNS))
		}
		if err := l.Renew(); err != nil {
			t.Fatal(err)
		}
		took[arm] = append(took[arm], time.Since(begin))
	}
	for i, name := range []string{"repair", "park", "connect", "stock"} {
		slices.Sort(took[i])
		slices.Sort(late[i])
		t.Logf("%s: %d of %d connected; a trial took %v, send error %v", name, established[i], len(took[i]), spread(took[i]), spread(late[i]))
	}
	if established[0] != len(took[0]) || established[1] != len(took[1]) {
		t.Errorf("repair connected in %d, park in %d of %d trials", established[0], established[1], len(took[0]))
	}
	awaitTraces(t, fds, goroutines, tasks)
}

// spread is 50, 90 and 99 % of sorted values.
func spread(v []time.Duration) string {
	var list []string
	for _, p := range []int{50, 90, 99} {
		list = append(list, fmt.Sprint(v[(len(v)*p+99)/100-1].Round(100*time.Nanosecond)))
	}
	return strings.Join(list, " ")
}

// awaitTraces fails if fds, goroutines or threads do not come back to what they were.
func awaitTraces(t *testing.T, fds, goroutines, tasks int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		f, g, _ := traces(t)
		n := threads(t)
		// The runtime keeps idle threads for later, a few more or less.
		if f <= fds && g <= goroutines && n <= tasks+runtime.GOMAXPROCS(0) {
			t.Logf("%d descriptors, %d goroutines, %d threads; before %d, %d, %d", f, g, n, fds, goroutines, tasks)
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d descriptors, %d goroutines, %d threads; before %d, %d, %d", f, g, n, fds, goroutines, tasks)
			return
		}
		runtime.Gosched()
	}
}
