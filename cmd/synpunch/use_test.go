//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
)

// process is one command on a host of a lab, with what it said.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

func start(t *testing.T, h *live.Host, stdin string, argv ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(t.Context(), argv[0], argv[1:]...)}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = strings.NewReader(stdin), &p.stdout, &p.stderr
	if err := h.Start(p.cmd); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) wait(t *testing.T) {
	t.Helper()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(p.cmd.Args, " "), err, p.stderr.String())
	}
}

// punchLine is the command line of a punch from h to the other host, at port 40000 on both.
func punchLine(t *testing.T, h, other *live.Host, at time.Time, more ...string) []string {
	line := append(commandHere(t, "punch"), "--local", netip.AddrPortFrom(h.Addr, 40000).String(),
		"--remote", netip.AddrPortFrom(other.Public, 40000).String(), "--at", strconv.FormatInt(at.UnixNano(), 10))
	return append(line, more...)
}

// TestStockPeers punches with repair against programs that only call connect().
func TestStockPeers(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const ping, pong = "from A\n", "from B\n"
	for _, tt := range []struct {
		name string
		peer func(t *testing.T, l *live.Lab, at time.Time) (wait func() string) // returns what B received
	}{
		{"net.Dialer", func(t *testing.T, l *live.Lab, at time.Time) func() string {
			got := make(chan string, 1)
			go func() {
				s, err := dialAt(t.Context(), l, at, pong)
				if err != nil {
					t.Error(err)
				}
				got <- s
			}()
			return func() string { return <-got }
		}},
		{"socat", func(t *testing.T, l *live.Lab, _ time.Time) func() string {
			return program(t, l, pong, "socat", "-t10", "-", fmt.Sprintf("TCP4:%v:40000,bind=%v,sourceport=40000,reuseaddr", l.A.Public, l.B.Addr))
		}},
		{"nc", func(t *testing.T, l *live.Lab, _ time.Time) func() string {
			return program(t, l, pong, "nc", "-N", "-s", l.B.Addr.String(), "-p", "40000", l.A.Public.String(), "40000")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := buildLab(t, pair(lab.NATLinux, lab.NATLinux))
			at := time.Now().Add(leadTime)
			report := filepath.Join(t.TempDir(), "a.json")
			a := start(t, l.A, ping, punchLine(t, l.A, l.B, at, "--engine", "repair", "--report", report)...)
			received := tt.peer(t, l, at)()
			a.wait(t)
			if received != ping || a.stdout.String() != pong {
				t.Errorf("A received %q, want %q; B received %q, want %q\n%s", a.stdout.String(), pong, received, ping, a.stderr.String())
			}
			if !strings.Contains(a.stderr.String(), "established") {
				t.Errorf("A says %q", a.stderr.String())
			}
		})
	}
}

// program runs a peer that is not ours where it is installed; it calls connect()
// at once, and its kernel repeats the SYN until the NATs let it through.
func program(t *testing.T, l *live.Lab, stdin string, argv ...string) func() string {
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Skipf("%s is not installed; net.Dialer stands for it", argv[0])
	}
	p := start(t, l.B, stdin, argv...)
	return func() string {
		p.wait(t)
		return p.stdout.String()
	}
}

// dialAt is a stock peer: connect() from B at the instant, one line each way.
func dialAt(ctx context.Context, l *live.Lab, at time.Time, line string) (string, error) {
	var got []byte
	err := l.B.Do(func() error {
		select {
		case <-time.After(time.Until(at)):
		case <-ctx.Done():
			return ctx.Err()
		}
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.B.Addr, 40000)), Timeout: 10 * time.Second}
		c, err := d.DialContext(ctx, "tcp4", netip.AddrPortFrom(l.A.Public, 40000).String())
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := io.WriteString(c, line); err != nil {
			return err
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		got, err = io.ReadAll(c)
		return err
	})
	return string(got), err
}

// TestWithCommand runs a program with the connection, as inetd and systemd do.
func TestWithCommand(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := buildLab(t, pair(lab.NATLinux, lab.NATLinux))
	at := time.Now().Add(leadTime)
	a := start(t, l.A, "", punchLine(t, l.A, l.B, at, "--", "/bin/sh", "-c",
		`echo "$LISTEN_FDS $([ $LISTEN_PID = $$ ] && echo mine)"; echo three >&3; exec cat`)...)
	b := start(t, l.B, "line from B\n", punchLine(t, l.B, l.A, at)...)
	b.wait(t)
	a.wait(t)
	if got, want := b.stdout.String(), "1 mine\nthree\nline from B\n"; got != want {
		t.Errorf("B received %q, want %q", got, want)
	}
	missing := start(t, l.A, "", punchLine(t, l.A, l.B, at, "--", "no-such-program")...)
	if err := missing.cmd.Wait(); err == nil || missing.cmd.ProcessState.ExitCode() != exitUsage {
		t.Errorf("a missing program: %v, want exit code 2: %s", err, missing.stderr.String())
	}
	l = buildLab(t, pair(lab.NATLinux, lab.NATLinux)) // the first flow may not have ended yet
	failing := start(t, l.A, "", punchLine(t, l.A, l.B, time.Now().Add(leadTime), "--", "/bin/sh", "-c", "exit 7")...)
	other := start(t, l.B, "", punchLine(t, l.B, l.A, time.Now().Add(leadTime))...)
	if failing.cmd.Wait(); failing.cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("exit code %d, want the program's 7: %s", failing.cmd.ProcessState.ExitCode(), failing.stderr.String())
	}
	other.cmd.Wait()
}

// TestUnix passes the socket to another process by SCM_RIGHTS.
func TestUnix(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := buildLab(t, pair(lab.NATLinux, lab.NATLinux))
	path := filepath.Join(t.TempDir(), "s")
	at := time.Now().Add(leadTime)
	a := start(t, l.A, "", punchLine(t, l.A, l.B, at, "--unix", path)...)
	b := start(t, l.B, "line from B\n", punchLine(t, l.B, l.A, at)...)
	var conn *net.TCPConn
	if err := waitFor(10*time.Second, func() bool {
		var err error
		conn, err = handoff.ReceiveUnix(t.Context(), path)
		return err == nil
	}); err != nil {
		t.Fatal(err, a.stderr.String())
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "line from A\n"); err != nil {
		t.Error(err)
	}
	conn.CloseWrite()
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "line from B\n" {
		t.Errorf("received %q, %v", got, err)
	}
	a.wait(t)
	b.wait(t)
	if b.stdout.String() != "line from A\n" {
		t.Errorf("B received %q", b.stdout.String())
	}
}

// TestLateAndFree sends at once when the instant has passed, and says which port
// and which engine it took.
func TestLateAndFree(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := buildLab(t, pair(lab.NATLinux, lab.NATLinux))
	line := append(commandHere(t, "punch"), "--local", ":0", "--remote", netip.AddrPortFrom(l.B.Public, 40000).String(),
		"--at", time.Now().Add(-time.Hour).Format(time.RFC3339Nano), "--timeout", "300ms", "--report", "-")
	a := start(t, l.A, "", line...)
	if a.cmd.Wait(); a.cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("exit code %d, want 1", a.cmd.ProcessState.ExitCode())
	}
	for _, want := range []string{"local endpoint " + l.A.Addr.String() + ":", "the instant had passed by 1h0m0", "sent at once", "nothing came back", `"outcome": "timeout"`, `"engine": "repair"`} {
		if !strings.Contains(a.stderr.String(), want) {
			t.Errorf("standard error does not say %q:\n%s", want, a.stderr.String())
		}
	}
	if a.stdout.Len() != 0 {
		t.Errorf("standard output has %q", a.stdout.String())
	}
}

// TestRawOptions makes a SYN as it was ordered, and hands off early.
func TestRawOptions(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const bytes = 64 << 10
	l := buildLab(t, pair(lab.NATLinux, lab.NATLinuxEIM))
	raw := live.Side{Engine: punch.Repair, Args: []string{"--isn", "0x01020304", "--mss", "1200", "--wscale", "3", "--no-timestamps", "--no-sack", "--ttl", "33"}}
	early := live.Side{Engine: punch.Repair, Args: []string{"--early"}}
	list := []live.Trial{{Bytes: bytes, A: raw, B: early}, {Bytes: bytes, A: early, B: early}}
	trials(t, l, list, func(i int, r *live.TrialResult) {
		connected(t, fmt.Sprint("trial ", i), r, bytes)
		if i != 0 || r.A.Report == nil || r.B.Report == nil {
			return
		}
		rep := r.A.Report
		if rep.ISN == nil || *rep.ISN != 0x01020304 || rep.MSS.Ours != 1200 || rep.WindowScale.Ours == nil || *rep.WindowScale.Ours != 3 || rep.SACK || rep.Timestamps {
			t.Errorf("the report has isn %v, mss %v, window scale %v, sack %v, timestamps %v", rep.ISN, rep.MSS, rep.WindowScale.Ours, rep.SACK, rep.Timestamps)
		}
		if rep.Events[0].TTL != 33 {
			t.Errorf("TTL %d, want 33", rep.Events[0].TTL)
		}
		if r.B.Report.MSS.Peer != 1200 {
			t.Errorf("B saw MSS %d, want 1200", r.B.Report.MSS.Peer)
		}
	})
}
