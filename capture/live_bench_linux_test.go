package capture_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
)

// flood sends SYNs many at a time with sendmmsg(2).
type flood struct {
	fd     int
	frames [][]byte
	iovs   []unix.Iovec
	msgs   []mmsghdr
}

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

func newFlood(tb testing.TB, from, to netlink.Link) *flood {
	tb.Helper()
	const batch = 256
	i := newInjector(tb, from, to)
	f := &flood{fd: i.fd, frames: make([][]byte, batch), iovs: make([]unix.Iovec, batch), msgs: make([]mmsghdr, batch)}
	for n := range batch {
		s := syn(uint32(n), uint16(6000+n))
		b, err := s.Append(slices.Clone(i.head))
		if err != nil {
			tb.Fatal(err)
		}
		f.frames[n] = b
		f.iovs[n].Base = &b[0]
		f.iovs[n].SetLen(len(b))
		f.msgs[n].hdr.Iov = &f.iovs[n]
		f.msgs[n].hdr.SetIovlen(1)
	}
	return f
}

// send sends n SYNs, at most a batch, and returns how many it sent.
func (f *flood) send(n int) (int, error) {
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(f.fd), uintptr(unsafe.Pointer(&f.msgs[0])), uintptr(min(n, len(f.msgs))), 0, 0, 0)
	if errno == unix.EINTR || errno == unix.ENOBUFS {
		return 0, nil
	}
	if errno != 0 {
		return 0, os.NewSyscallError("sendmmsg", errno)
	}
	return int(sent), nil
}

// threadCPU is what the calling thread has used.
func threadCPU(tb testing.TB) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &r); err != nil {
		tb.Error(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// processCPU is what another process has used, without the cost of its start
// and end (clock_getcpuclockid(3); MAKE_PROCESS_CPUCLOCK of the kernel, CPUCLOCK_SCHED).
func processCPU(tb testing.TB, pid int) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		tb.Error(err)
	}
	return time.Duration(ts.Nano())
}

// captured is what one capture saw.
type captured struct {
	packets, dropped uint64
	cpu              time.Duration
	process          time.Duration // of a process, its start and end included
}

// capturer is a capture under way; stop ends it when sent packets have been
// read or lost.
type capturer func(b *testing.B) (stop func(sent uint64) captured)

// ours captures with ModeEvidence; out, if any, gets a pcapng file, of which hold
// bytes may wait.
func ours(out io.Writer, hold int) capturer {
	return func(b *testing.B) func(uint64) captured {
		l := open(b, "vb", &capture.Config{Latency: time.Second}) // as tcpdump has it
		ready, done := make(chan struct{}), make(chan captured, 1)
		var seen atomic.Uint64
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends here
			var c captured
			defer func() { done <- c }()
			var w *capture.Writer
			if out != nil {
				var err error
				if w, err = capture.NewWriter(out, l.Interfaces()...); err != nil {
					b.Error(err)
					return
				}
				w.Buffer(hold)
			}
			close(ready)
			start := threadCPU(b)
			for {
				p, ok := l.Poll()
				if !ok {
					seen.Store(c.packets)
					if _, err := l.Wait(time.Time{}); err != nil {
						if !errors.Is(err, net.ErrClosed) {
							b.Error(err)
						}
						c.cpu = threadCPU(b) - start
						return
					}
					continue
				}
				c.packets++
				if w != nil {
					if err := w.WritePacket(p); err != nil {
						b.Error(err)
						return
					}
				}
			}
		}()
		<-ready
		return func(sent uint64) captured {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for range 500 {
				<-tick.C
				_, dropped, err := l.Stats()
				if err != nil {
					b.Fatal(err)
				}
				if seen.Load()+dropped >= sent {
					break
				}
			}
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			c := <-done
			_, c.dropped, _ = l.Stats()
			return c
		}
	}
}

var tcpdumpCounts = regexp.MustCompile(`(\d+) packets? captured[\s\S]*?(\d+) packets? received by filter[\s\S]*?(\d+) packets? dropped by kernel`)

// libpcap captures with tcpdump into /dev/null with a large buffer.
func libpcap(path string) capturer {
	return func(b *testing.B) func(uint64) captured {
		finish := func(cmd *exec.Cmd, r *bufio.Reader) []uint64 {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				b.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				b.Fatal(err)
			}
			all := tcpdumpCounts.FindAllStringSubmatch(string(text), -1)
			if len(all) == 0 {
				b.Fatalf("tcpdump says %q", text)
			}
			var counts []uint64
			for _, s := range all[len(all)-1][1:] {
				n, err := strconv.ParseUint(s, 10, 64)
				if err != nil {
					b.Fatal(err)
				}
				counts = append(counts, n)
			}
			return counts
		}
		cmd, r := startTcpdump(b, path, "-i", "vb", "-w", os.DevNull, "-B", "65536")
		if cmd == nil {
			b.Skip("tcpdump does not capture here")
		}
		begin := processCPU(b, cmd.Process.Pid)
		return func(uint64) captured {
			// libpcap delivers a block after a second at the latest.
			<-time.After(1500 * time.Millisecond)
			cpu := processCPU(b, cmd.Process.Pid) - begin
			counts := finish(cmd, r)
			return captured{
				packets: counts[0], dropped: counts[2], cpu: cpu,
				process: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
			}
		}
	}
}

// busy keeps every CPU occupied until the returned function is called, as other
// programs would: by threads, not by the slots of the Go scheduler.
func busy() (stop func()) {
	slots := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(slots + runtime.NumCPU())
	var end atomic.Bool
	var wg sync.WaitGroup
	for range runtime.NumCPU() {
		wg.Go(func() {
			for !end.Load() {
			}
		})
	}
	return func() {
		end.Store(true)
		wg.Wait()
		runtime.GOMAXPROCS(slots)
	}
}

// A capture against a sender at full rate, and at 200,000 a second with both
// CPUs busy; ours, ours with a file, and libpcap's in the same run. loss is the
// share of the packets sent that the capture did not deliver; the CPU is that of
// the capturing thread or process once it captures, and for libpcap also that of
// the whole process, its start and end included. The kernel's own work for the
// ring is on the sender's account in all cases.
func BenchmarkCaptureFullRate(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	va, vb := vethPair(b)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	arms := []struct {
		name string
		c    capturer
	}{
		{"ours", ours(nil, 0)},
		{"ours-to-file", ours(null, 32<<10)},
		{"ours-to-file-flushed", ours(null, 0)},
	}
	if path, err := exec.LookPath("tcpdump"); err == nil {
		arms = append(arms, struct {
			name string
			c    capturer
		}{"libpcap", libpcap(path)})
	}
	for _, load := range []struct {
		name string
		rate float64 // a second; 0 = as many as possible
	}{{"full", 0}, {"paced-busy", 200_000}} {
		perPacket := map[string]float64{}
		for _, arm := range arms {
			b.Run(load.name+"/"+arm.name, func(b *testing.B) {
				f := newFlood(b, va, vb)
				stop := arm.c(b)
				idle := func() {}
				if load.rate > 0 {
					idle = busy()
				}
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				begin := time.Now()
				var sent uint64
				n := 0 // of this round: an iteration is 1,000 SYNs
				for b.Loop() {
					for n += 1000; n > 0; {
						k, err := f.send(n)
						if err != nil {
							b.Fatal(err)
						}
						n -= k
						sent += uint64(k)
					}
					if load.rate > 0 {
						due := begin.Add(time.Duration(float64(sent) / load.rate * 1e9))
						if d := time.Until(due); d > 0 {
							ts := unix.NsecToTimespec(int64(d))
							_ = unix.Nanosleep(&ts, nil) // cut short by a signal: the next round sends what is due
						}
					}
				}
				took := time.Since(begin)
				idle()
				c := stop(sent)
				b.ReportMetric(float64(sent)/took.Seconds(), "SYNs/s")
				b.ReportMetric(1-float64(min(c.packets, sent))/float64(sent), "loss")
				perPacket[arm.name] = float64(c.cpu.Nanoseconds()) / float64(c.packets)
				b.ReportMetric(perPacket[arm.name], "cpu-ns/packet")
				if mine := perPacket["ours"]; arm.name == "libpcap" && mine > 0 {
					process := float64(c.process.Nanoseconds()) / float64(c.packets)
					b.ReportMetric(process, "process-ns/packet")
					b.ReportMetric(mine/process, "ours/libpcap-process")
					b.ReportMetric(mine/perPacket[arm.name], "ours/libpcap")
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// How long after the kernel's stamp of a peer's frame the program has it.
func BenchmarkReact(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	va, vb := vethPair(b)
	for _, arm := range []struct {
		name  string
		mode  capture.Mode
		sleep bool
	}{
		{"react-poll", capture.ModeReact, false},
		{"react-wait", capture.ModeReact, true},
		{"evidence", capture.ModeEvidence, true},
	} {
		b.Run(arm.name, func(b *testing.B) {
			inject := newInjector(b, va, vb)
			l := open(b, "vb", &capture.Config{Mode: arm.mode, Filter: portFilter(b, 6000)})
			lags := make([]time.Duration, 0, 1<<20)
			var end atomic.Bool
			var wg sync.WaitGroup
			wg.Go(func() {
				runtime.LockOSThread() // never unlocked: the thread ends here
				for !end.Load() {
					if arm.sleep {
						if _, err := l.Wait(time.Now().Add(20 * time.Millisecond)); err != nil {
							b.Error(err)
							return
						}
					}
					for {
						p, ok := l.Poll()
						if !ok {
							break
						}
						if lag := time.Since(p.Time); len(lags) < cap(lags) {
							lags = append(lags, lag)
						}
					}
				}
			})
			gap := 50 * time.Microsecond
			if arm.sleep {
				gap = 500 * time.Microsecond // so that it has gone to sleep
			}
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			s := syn(1, 6000)
			for b.Loop() {
				if err := inject.send(s); err != nil {
					b.Fatal(err)
				}
				for start := time.Now(); time.Since(start) < gap; {
				}
			}
			end.Store(true)
			wg.Wait()
			if len(lags) == 0 {
				b.Fatal("nothing captured")
			}
			slices.Sort(lags)
			for _, p := range []int{50, 99} {
				b.ReportMetric(float64(lags[(len(lags)-1)*p/100].Nanoseconds()), fmt.Sprintf("p%d-ns", p))
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
