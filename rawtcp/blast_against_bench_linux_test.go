package rawtcp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// What BenchmarkBlastAgainst does: so many rounds, in each of which every sender is watched so
// long, after a start that is not counted.
const (
	againstRounds = 5
	againstStart  = 300 * time.Millisecond
	againstWatch  = 700 * time.Millisecond
)

// sender is one of those compared. start begins to send on one CPU; used is the
// CPU time so far, stop ends it.
type sender struct {
	name  string
	start func(tb testing.TB, s *sink, cpu int) (used func() time.Duration, stop func())
	rates []float64 // SYNs per second, one for each round
	costs []float64 // CPU nanoseconds per SYN
}

// BenchmarkBlastAgainst compares the rates of one core with those of masscan, trafgen
// and connect(), round by round, over the same veth pair. What arrives is counted at
// the far end. A program that is not installed is left out.
//
//	go test -run '^$' -bench BlastAgainst -benchtime 1x ./rawtcp
func BenchmarkBlastAgainst(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	s := newSink(b)
	senders := []*sender{
		{name: "packet", start: startBlast(rawtcp.PathPacket)},
		{name: "xdp", start: startBlast(rawtcp.PathXDP)},
		{name: "raw", start: startBlast(rawtcp.PathRaw)},
		{name: "masscan", start: startMasscan},
		{name: "trafgen", start: startTrafgen},
		{name: "connect", start: startConnect},
	}
	senders = slices.DeleteFunc(senders, func(a *sender) bool {
		_, err := exec.LookPath(a.name)
		return (a.name == "masscan" || a.name == "trafgen") && err != nil
	})
	cpu := runtime.NumCPU() - 1
	for range againstRounds * b.N {
		for _, a := range senders {
			a.watch(b, s, cpu)
		}
	}
	b.ReportMetric(0, "ns/op") // of no use
	for _, a := range senders {
		b.ReportMetric(median(a.rates), a.name+"-SYNs/s")
		b.ReportMetric(median(a.costs), a.name+"-cpu-ns/SYN")
	}
	for _, a := range senders[:2] {
		for _, other := range senders[3:] {
			for name, r := range map[string][]float64{"rate": ratios(a.rates, other.rates), "cpu": ratios(other.costs, a.costs)} {
				unit := a.name + "/" + other.name + "-" + name
				b.ReportMetric(median(r), unit)
				b.ReportMetric(slices.Min(r), unit+"-min")
				b.ReportMetric(slices.Max(r), unit+"-max")
			}
		}
	}
}

// watch lets a sender run for one round.
func (a *sender) watch(tb testing.TB, s *sink, cpu int) {
	tb.Helper()
	used, stop := a.start(tb, s, cpu)
	time.Sleep(againstStart)
	n, cost, begin := s.received(tb), used(), time.Now()
	time.Sleep(againstWatch)
	n, cost = s.received(tb)-n, used()-cost
	a.rates = append(a.rates, float64(n)/time.Since(begin).Seconds())
	a.costs = append(a.costs, float64(cost.Nanoseconds())/float64(max(n, 1)))
	stop()
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// ratios are those of a to b in the same round.
func ratios(a, b []float64) []float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return r
}

// thread runs fn on a thread of its own, on one CPU, until stop.
func thread(tb testing.TB, cpu int, fn func(ctx context.Context) error) (used func() time.Duration, stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	tid, done := make(chan int), make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its affinity
		var set unix.CPUSet
		set.Set(cpu)
		err := unix.SchedSetaffinity(0, &set)
		tid <- unix.Gettid()
		if err == nil {
			err = fn(ctx)
		}
		done <- err
	}()
	id := <-tid
	return func() time.Duration { return procTime(tb, fmt.Sprintf("/proc/self/task/%d/schedstat", id)) }, func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			tb.Error(err)
		}
	}
}

// procTime is the CPU time of one thread (proc(5), schedstat: "time spent on the cpu (in nanoseconds)").
func procTime(tb testing.TB, name string) time.Duration {
	text, err := os.ReadFile(name)
	if err != nil {
		tb.Error(err)
		return 0
	}
	ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
	if err != nil {
		tb.Error(err)
	}
	return time.Duration(ns)
}

// process runs a command on one CPU until stop, with what it starts.
func process(tb testing.TB, cpu int, argv ...string) (used func() time.Duration, stop func()) {
	tb.Helper()
	cmd := exec.Command("taskset", append([]string{"-c", strconv.Itoa(cpu)}, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	used = func() (sum time.Duration) {
		for _, pid := range group(tb, cmd.Process.Pid) {
			tasks, err := filepath.Glob(pid + "/task/*/schedstat")
			if err != nil {
				tb.Error(err)
			}
			for _, name := range tasks {
				sum += procTime(tb, name)
			}
		}
		return sum
	}
	return used, func() {
		if err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL); err != nil {
			tb.Errorf("%v has ended by itself: %v", argv, err)
		}
		_ = cmd.Wait() // says that it was killed
	}
}

// group lists the processes of a group, as directories of proc(5).
func group(tb testing.TB, id int) (dirs []string) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		tb.Error(err)
	}
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // has ended
		}
		// pid (comm) state ppid pgrp ...
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if fields[2] == strconv.Itoa(id) {
			dirs = append(dirs, filepath.Dir(name))
		}
	}
	return dirs
}

func startBlast(path rawtcp.Path) func(testing.TB, *sink, int) (func() time.Duration, func()) {
	return func(tb testing.TB, s *sink, cpu int) (func() time.Duration, func()) {
		blast, err := rawtcp.OpenBlast(context.Background(), s.fan(tb, false), &rawtcp.BlastConfig{Path: path, Rate: rawtcp.Unpaced})
		if err != nil {
			tb.Fatal(err)
		}
		used, stop := thread(tb, cpu, func(ctx context.Context) error {
			_, err := blast.Send(ctx, 0, 1<<62)
			return err
		})
		return used, func() {
			stop()
			if err := blast.Close(); err != nil {
				tb.Error(err)
			}
		}
	}
}

func startMasscan(tb testing.TB, s *sink, cpu int) (func() time.Duration, func()) {
	tb.Helper()
	near, err := net.InterfaceByName("near")
	if err != nil {
		tb.Fatal(err)
	}
	return process(tb, cpu, "masscan", "10.9.0.0/16", "-p1-65535", "--rate", "100000000", "--adapter", "near", "--adapter-ip", s.local4.String(),
		"--adapter-mac", near.HardwareAddr.String(), "--router-mac", s.mac.String(), "--wait", "0")
}

// startTrafgen has it send what we do: MSS, SACK, timestamps, window scale, a sequence number
// and a port that differ each time, right checksums.
func startTrafgen(tb testing.TB, s *sink, cpu int) (func() time.Duration, func()) {
	tb.Helper()
	near, err := net.InterfaceByName("near")
	if err != nil {
		tb.Fatal(err)
	}
	var b strings.Builder
	list := func(bytes []byte) {
		for _, c := range bytes {
			fmt.Fprintf(&b, "%#x, ", c)
		}
	}
	b.WriteString("{ ")
	list(s.mac)
	list(near.HardwareAddr)
	b.WriteString("const16(0x0800), 0x45, 0, const16(60), const16(0), 0x40, 0, 64, 6, csumip(14, 33), ")
	list(s.local4.AsSlice())
	list(s.remote4.AsSlice())
	b.WriteString("const16(40000), drnd(2), drnd(4), const32(0), 0xa0, 0x02, const16(64240), csumtcp(14, 34), const16(0), ")
	b.WriteString("2, 4, const16(1460), 4, 2, 8, 10, const32(1000), const32(0), 1, 3, 3, 7 }\n")
	name := filepath.Join(tb.TempDir(), "syn.trafgen")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		tb.Fatal(err)
	}
	return process(tb, cpu, "trafgen", "--dev", "near", "--conf", name, "--cpus", "1", "--num", "0")
}

// openSockets is how many connect() has under way: a socket that is closed at once
// would not be there for the answer. Chosen by us: a tenth of a second's worth, the
// round trip of a long way.
const openSockets = 16_384

// startConnect sends each SYN with a socket and connect().
func startConnect(tb testing.TB, s *sink, cpu int) (func() time.Duration, func()) {
	tb.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		tb.Fatal(err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		tb.Fatal(err)
	}
	open := make([]int, min(openSockets, int(limit.Max)-100))
	to := &unix.SockaddrInet4{Addr: s.remote4.As4()}
	return thread(tb, cpu, func(ctx context.Context) (err error) {
		n := 0
		for to.Port = 1; ctx.Err() == nil && err == nil; to.Port = to.Port%65535 + 1 {
			at := n % len(open)
			if n >= len(open) {
				err = unix.Close(open[at])
			}
			if err == nil {
				open[at], err = connectTo(to)
			}
			n++
		}
		for _, fd := range open[:min(n, len(open))] {
			err = errors.Join(err, unix.Close(fd))
		}
		return err
	})
}

func connectTo(to unix.Sockaddr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}
