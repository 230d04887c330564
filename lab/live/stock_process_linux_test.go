package live

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/punch"
)

// withProcesses makes a lab whose stock attempts this test binary makes.
func withProcesses(t *testing.T, s lab.Scenario) *Lab {
	t.Helper()
	t.Setenv(helperEnv, "stock")
	return buildWith(t, s, &Config{Hosts: true, Stock: []string{"/proc/self/exe"}})
}

// processes are those that wait for attempts.
func processes(l *Lab) map[*Host][]*stockProcess {
	l.stock.mu.Lock()
	defer l.stock.mu.Unlock()
	list := map[*Host][]*stockProcess{}
	for h, p := range l.stock.idle {
		list[h] = append(list[h], p...)
	}
	return list
}

// Attempts in processes of the hosts end as those in this process do. Each host has one process
// for all of them, and Close ends it.
func TestStockProcesses(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := withProcesses(t, both(lab.NATLinuxRST, 40*time.Millisecond))
	if n := len(processes(l)); n != 0 {
		t.Fatalf("%d hosts have a process before the first trial", n)
	}
	var first map[*Host][]*stockProcess
	for i, tt := range []struct {
		skew  time.Duration
		want  punch.Outcome
		bytes int64
	}{{0, punch.Established, 0}, {0, punch.Established, 100_000}, {120 * time.Millisecond, punch.Refused, 0}, {0, punch.Established, 0}} {
		tr := stock(tt.skew)
		tr.Bytes, tr.Abort = tt.bytes, tt.bytes == 0
		tr.A.Port, tr.B.Port = uint16(20000+i), uint16(30000+i)
		tr.LeadTime = 30 * time.Millisecond
		r := onceMet(t, l, &tr, tt.skew == 0)
		for name, s := range map[string]*SideResult{"a": &r.A, "b": &r.B} {
			if s.Report == nil || s.Report.Outcome != tt.want || len(s.Report.Events) < 2 || s.Report.SendErrorNS == nil || *s.Report.SendErrorNS < 0 {
				t.Fatalf("%d: %s: %v: %s", i, name, s.Err, story(r))
			}
			if refused := errors.Is(s.Err, unix.ECONNREFUSED); refused != (tt.want == punch.Refused) || !refused && s.Err != nil {
				t.Errorf("%d: %s: %v", i, name, s.Err)
			}
		}
		if r.Connected(tt.bytes) != (tt.want == punch.Established) {
			t.Errorf("%d: connected %v", i, r.Connected(tt.bytes))
		}
		now := processes(l)
		if first == nil {
			first = now
		}
		for _, h := range []*Host{l.A, l.B} {
			if len(now[h]) != 1 || now[h][0] != first[h][0] {
				t.Fatalf("%d: host %s has %d processes, or another one than before", i, h.Name, len(now[h]))
			}
		}
		if err := l.Renew(); err != nil {
			t.Fatal(err)
		}
	}
	a, b := first[l.A][0], first[l.B][0]
	if a.cmd.Process.Pid == b.cmd.Process.Pid || a.cmd.Process.Pid == os.Getpid() || b.cmd.Process.Pid == os.Getpid() {
		t.Errorf("processes %d and %d, the test is %d", a.cmd.Process.Pid, b.cmd.Process.Pid, os.Getpid())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*stockProcess{a, b} {
		// Not even a zombie is left: it would take the signal.
		if err := unix.Kill(p.cmd.Process.Pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("process %d after Close: %v", p.cmd.Process.Pid, err)
		}
	}
	tr := stock(0)
	if _, err := tr.Run(t.Context(), l); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a trial in a closed lab: %v", err)
	}
}

// onceMet makes a trial until its SYNs crossed, or did not: a machine that was late has not made it.
func onceMet(t *testing.T, l *Lab, tr *Trial, crossed bool) *TrialResult {
	t.Helper()
	for n := 1; ; n++ {
		r, err := tr.Run(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		if r.Meeting != nil && r.Meeting.Crossed == crossed || n == 10 {
			return r
		}
		if err := l.Renew(); err != nil {
			t.Fatal(err)
		}
	}
}

// The end of a process is the error of its trial, and the next trial has another one.
func TestStockProcessKilled(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := withProcesses(t, both(lab.NATLinux, 40*time.Millisecond))
	tr := stock(0)
	tr.Timeout = 200 * time.Millisecond
	if _, err := tr.Run(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if err := l.Renew(); err != nil {
		t.Fatal(err)
	}
	dead := processes(l)[l.A][0]
	if err := dead.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r, err := tr.Run(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if r.A.Err == nil || !strings.Contains(r.A.Err.Error(), "signal: killed") || r.A.Report.Outcome != punch.Failed || r.B.Report.Outcome != punch.Timeout {
		t.Errorf("%v: %s", r.A.Err, story(r))
	}
	if err := l.Renew(); err != nil {
		t.Fatal(err)
	}
	if r := onceMet(t, l, &tr, true); !r.Connected(0) || processes(l)[l.A][0] == dead {
		t.Errorf("the trial after that: %s", story(r))
	}
}

// The end of a trial's context ends attempts that sleep, with their processes.
func TestStockProcessCancelled(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := withProcesses(t, both(lab.NATLinux, 0))
	tr := stock(0)
	if _, err := tr.Run(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	old := processes(l)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	tr.LeadTime = time.Hour
	if _, err := tr.Run(ctx, l); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled: %v", err)
	}
	for _, h := range []*Host{l.A, l.B} {
		<-old[h][0].gone
		if len(processes(l)[h]) != 0 {
			t.Errorf("host %s has a process that sleeps", h.Name)
		}
	}
}

// A program that is none, or another one, is an error of the lab.
func TestStockProgram(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for program, want := range map[string]string{"/nonexistent": "no such file", "false": "exit status 1", "echo": "exit status 0"} {
		l := buildWith(t, both(lab.NATNone, 0), &Config{Hosts: true, Stock: []string{program}})
		tr := stock(0)
		if _, err := tr.Run(t.Context(), l); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), program) {
			t.Errorf("%s: %v", program, err)
		}
		if n := len(processes(l)); n != 0 {
			t.Errorf("%s: %d hosts have a process", program, n)
		}
	}
}

// What is no request ends the service with an error, the end of the input without one.
func TestServeStock(t *testing.T) {
	var out bytes.Buffer
	if err := ServeStock(t.Context(), strings.NewReader(""), &out); err != nil || out.String() != "{}\n" {
		t.Errorf("%v, %q", err, out.String())
	}
	if err := ServeStock(t.Context(), strings.NewReader("connect!\n"), &out); err == nil {
		t.Error("no error")
	}
}
