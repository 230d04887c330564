package rawtcp_test

import (
	"context"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// BenchmarkBlast is one SYN of a fan to the far end of a veth pair on each path.
func BenchmarkBlast(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	s := newSink(b)
	for _, path := range []rawtcp.Path{rawtcp.PathPacket, rawtcp.PathRaw, rawtcp.PathXDP} {
		b.Run(path.String(), func(b *testing.B) {
			blast := mustBlast(b, s.fan(b, false), &rawtcp.BlastConfig{Path: path, Rate: rawtcp.Unpaced})
			before := s.received(b)
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime(b)
			sent, err := blast.Send(context.Background(), 0, uint64(b.N))
			b.StopTimer()
			cpu = cpuTime(b) - cpu
			if got := s.received(b) - before; err != nil || sent != uint64(b.N) || got < sent {
				b.Fatalf("sent %d of %d, %d arrived: %v", sent, b.N, got, err)
			}
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(sent), "cpu-ns/SYN")
		})
	}
}

// BenchmarkBlastPaced is what a second of sending at a rate takes of the processor, and
// how far from the rate it was.
func BenchmarkBlastPaced(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	s := newSink(b)
	for _, rate := range []int{100, 10_000, 150_000} {
		b.Run(strconv.Itoa(rate), func(b *testing.B) {
			blast := mustBlast(b, s.fan(b, false), &rawtcp.BlastConfig{Path: rawtcp.PathPacket, Rate: rate})
			want := uint64(rate) * uint64(b.N)
			b.ResetTimer()
			cpu := cpuTime(b)
			if sent, err := blast.Send(context.Background(), 0, want); sent != want || err != nil {
				b.Fatalf("sent %d of %d: %v", sent, want, err)
			}
			cpu = cpuTime(b) - cpu
			b.StopTimer()
			b.ReportMetric(cpu.Seconds()/b.Elapsed().Seconds(), "CPUs")
			b.ReportMetric(float64(want)/b.Elapsed().Seconds()/float64(rate), "of-the-rate")
		})
	}
}

// BenchmarkFanSYN is what a SYN of a fan costs without sending it.
func BenchmarkFanSYN(b *testing.B) {
	s := &sink{local4: netip.MustParseAddr("10.9.0.1"), remote4: netip.MustParseAddr("10.9.0.2")}
	f := s.fan(b, false)
	now := time.Now()
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		f.SYN(now, i)
		i++
	}
}

// cpuTime is what this process has used, the kernel's work for it included.
func cpuTime(tb testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
