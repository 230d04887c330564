package timing

import (
	"strings"
	"testing"
	"time"
)

// BenchmarkMachine measures what the machine takes away from everybody: gaps between
// the clock readings of a thread with SCHED_FIFO that does nothing else. No program
// can do better (interrupts, a hypervisor that runs other guests). An iteration
// watches for 50 ms and then rests, so that the kernel does not throttle the
// thread (sched_rt_runtime_us). lost is the share of time in gaps of that length.
func BenchmarkMachine(b *testing.B) {
	th, err := OpenThread(&Config{Realtime: true})
	if err != nil {
		b.Fatal(err)
	}
	defer th.Close()
	if !th.Realtime() {
		b.Skip(strings.Join(th.Notes(), "; "))
	}
	limits := []struct {
		name string
		gap  time.Duration
	}{{"25us", 25 * time.Microsecond}, {"150us", 150 * time.Microsecond}, {"2ms", 2 * time.Millisecond}}
	var watched, longest time.Duration
	count, lost := make([]int, len(limits)), make([]time.Duration, len(limits))
	for b.Loop() {
		begin := time.Now()
		for last := begin; last.Sub(begin) < 50*time.Millisecond; {
			now := time.Now()
			gap := now.Sub(last)
			for i, l := range limits {
				if gap > l.gap {
					count[i]++
					lost[i] += gap
				}
			}
			longest = max(longest, gap)
			last = now
		}
		watched += time.Since(begin)
		time.Sleep(10 * time.Millisecond)
	}
	b.ReportMetric(0, "ns/op")
	for i, l := range limits {
		b.ReportMetric(float64(count[i])/watched.Seconds(), "gaps-over-"+l.name+"/s")
		b.ReportMetric(float64(lost[i])/float64(watched), "lost-over-"+l.name)
	}
	b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
}
