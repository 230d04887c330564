package timing

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// burnEnv in the environment makes the test binary a load: it counts for a
// bounded time, or until its parent is gone.
const (
	burnEnv  = "SYNPUNCH_TEST_BURN"
	burnTime = 2 * time.Minute
)

func TestMain(m *testing.M) {
	if os.Getenv(burnEnv) != "" {
		burn()
		return
	}
	os.Exit(m.Run())
}

func burn() {
	parent := os.Getppid()
	for end := time.Now().Add(burnTime); time.Now().Before(end) && os.Getppid() == parent; {
		for range 1_000_000 {
			// The load.
		}
	}
}

// load keeps every processor busy in one of several ways until the returned
// function is called.
var loads = []struct {
	name  string
	start func(b *testing.B) (stop func())
}{
	{"idle", func(*testing.B) func() { return func() {} }},
	{"busy", burnProcesses},
	{"busygo", burnGoroutines},
}

// burnProcesses is how other programs keep a machine busy.
func burnProcesses(b *testing.B) func() {
	var cmds []*exec.Cmd
	for range runtime.NumCPU() {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), burnEnv+"=1")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	return func() {
		for _, cmd := range cmds {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
}

// burnGoroutines is how a program keeps itself from being on time.
func burnGoroutines(*testing.B) func() {
	var stop atomic.Bool
	end := time.Now().Add(burnTime)
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for !stop.Load() && time.Now().Before(end) {
				for range 1_000_000 {
					// The load.
				}
			}
		}()
	}
	return func() { stop.Store(true) }
}

// rounds is how many measurements a benchmark takes: N with -benchtime=Nx, else
// enough for a 99th percentile.
func rounds() int {
	if f := flag.Lookup("test.benchtime"); f != nil {
		if n, ok := strings.CutSuffix(f.Value.String(), "x"); ok {
			if n, err := strconv.Atoi(n); err == nil {
				return n
			}
		}
	}
	return 300
}

// quantile of values, which it sorts.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[int(q*float64(len(d)-1)+0.5)]
}

// reportErrors makes one sub-benchmark of measurements that were taken side by
// side with those of the other arms. Errors count by their size; base, if there
// is one, is what the ratios compare with.
func reportErrors(b *testing.B, name string, errs, base []time.Duration) {
	size := func(in []time.Duration) []time.Duration {
		out := make([]time.Duration, len(in))
		for i, d := range in {
			out[i] = abs(d)
		}
		return out
	}
	e, c := size(errs), size(base)
	b.Run(name, func(b *testing.B) {
		for b.Loop() {
			// The work is done.
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(len(e)), "n")
		b.ReportMetric(float64(quantile(e, 0.5)), "p50-ns")
		b.ReportMetric(float64(quantile(e, 0.9)), "p90-ns")
		b.ReportMetric(float64(quantile(e, 0.99)), "p99-ns")
		if len(c) > 0 {
			b.ReportMetric(float64(quantile(c, 0.5))/float64(max(1, quantile(e, 0.5))), "x-p50")
			b.ReportMetric(float64(quantile(c, 0.99))/float64(max(1, quantile(e, 0.99))), "x-p99")
		}
	})
}

// ahead is a delay that exercises the whole of SleepUntil and falls on no tick.
func ahead() time.Duration { return armed + time.Duration((1+3*rand.Float64())*1e6) }

// BenchmarkWakeError measures how late a sleeper returns: time.Sleep, a Thread,
// and a Thread with SCHED_FIFO, in turn, on an idle machine, beside programs that
// keep every processor busy, and in a program that does so itself.
func BenchmarkWakeError(b *testing.B) {
	arms := []struct {
		name  string
		sleep func() (late time.Duration)
	}{
		{"sleep", func() time.Duration {
			at := time.Now().Add(ahead())
			time.Sleep(time.Until(at))
			return time.Since(at)
		}},
		{"thread", func() time.Duration { return threadSleep(b, nil) }},
		{"rt", func() time.Duration { return threadSleep(b, &Config{Realtime: true}) }},
	}
	for _, load := range loads {
		late := make([][]time.Duration, len(arms))
		stop := load.start(b)
		for range rounds() {
			for i, arm := range arms {
				late[i] = append(late[i], arm.sleep())
			}
		}
		stop()
		for i, arm := range arms {
			var base []time.Duration
			if i > 0 {
				base = late[0]
			}
			reportErrors(b, load.name+"/"+arm.name, late[i], base)
		}
	}
}

// threadSleep sleeps on a Thread of its own, as one attempt does.
func threadSleep(b *testing.B, cfg *Config) (late time.Duration) {
	th, err := OpenThread(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer th.Close()
	at := time.Now().Add(ahead())
	// A thread that came too late to sleep counts as that late.
	if err := th.SleepUntil(context.Background(), at); err != nil && !errors.Is(err, ErrPast) {
		b.Fatal(err)
	}
	return time.Since(at)
}
