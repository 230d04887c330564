//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// runKilled makes a trial and ends A with SIGKILL when at is true: nothing of A's
// stays on its host.
func runKilled(t *testing.T, l *live.Lab, tr *live.Trial, at func() bool) {
	t.Helper()
	before := hostState(t, l.A)
	killed := make(chan error, 1)
	tr.A.Started = func(cmd *exec.Cmd) {
		go func() {
			err := waitFor(15*time.Second, at)
			killed <- errors.Join(err, cmd.Process.Kill())
		}()
	}
	if _, err := tr.Run(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	if after := hostState(t, l.A); after != before {
		t.Errorf("the host is not as it was:\n%s\nit was:\n%s", after, before)
	}
}

// TestKill ends A with SIGKILL at each step of a punch; B ends in its own way.
// Nothing of A's stays on its host, and the next punch on the same ports works.
func TestKill(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const bytes = 64 << 10
	command := commandHere(t, "punch")
	left := func(l *live.Lab, port uint16, match func(*rawtcp.Segment) bool) bool {
		for _, e := range l.Events() {
			s, err := rawtcp.Parse(e.Data)
			if err == nil && e.Where == live.LaneNATA && e.Dir == capture.DirOut && s.Src.Port() == port && match(&s) {
				return true
			}
		}
		return false
	}
	steps := []struct {
		name string
		at   func(l *live.Lab, port uint16) bool
	}{
		{"prepared", func(l *live.Lab, port uint16) bool { return hostHas(t, l.A, port) }},
		{"SYN sent", func(l *live.Lab, port uint16) bool {
			return left(l, port, func(s *rawtcp.Segment) bool { return s.Flags == rawtcp.SYN })
		}},
		{"SYN-ACK sent", func(l *live.Lab, port uint16) bool {
			return left(l, port, func(s *rawtcp.Segment) bool { return s.Flags == rawtcp.SYN|rawtcp.ACK })
		}},
		{"established", func(l *live.Lab, port uint16) bool {
			return left(l, port, func(s *rawtcp.Segment) bool { return s.Flags == rawtcp.ACK })
		}},
		{"sending", func(l *live.Lab, port uint16) bool {
			return left(l, port, func(s *rawtcp.Segment) bool { return s.PayloadLen > 0 })
		}},
	}
	port := uint16(30000)
	for _, engine := range punch.Engines() {
		l := buildLab(t, pair(lab.NATLinux, lab.NATLinux))
		for _, step := range steps {
			if engine == punch.Connect && step.name == "prepared" {
				continue // it has nothing to prepare but a bound socket
			}
			t.Run(fmt.Sprintf("%s/%s", engine, step.name), func(t *testing.T) {
				port++
				side := live.Side{Engine: engine, Port: port}
				doomed := live.Trial{
					Command: command, Dir: t.TempDir(), Bytes: 32 << 20, At: time.Now().Add(leadTime), Timeout: 2 * time.Second,
					A: side, B: live.Side{Engine: engine, Port: port},
				}
				runKilled(t, l, &doomed, func() bool { return step.at(l, port) })
				r, err := runTrial(t, l, live.Trial{Bytes: bytes, A: side, B: live.Side{Engine: engine, Port: port}}, command)
				if err != nil {
					t.Fatal(err)
				}
				if !r.Connected(bytes) {
					t.Errorf("the next punch on the same ports: not connected\n%s", explain(r))
				}
			})
		}
	}
}

// waitFor asks until the answer is yes.
func waitFor(limit time.Duration, yes func() bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for !yes() {
		select {
		case <-tick.C:
		case <-end:
			return fmt.Errorf("the step did not come within %v", limit)
		}
	}
	return nil
}

// hostHas reports whether a TCP socket of the host listens on the port: the guard.
func hostHas(t *testing.T, h *live.Host, port uint16) bool {
	return strings.Contains(hostState(t, h), fmt.Sprintf(":%04X 00000000:0000 0A", port))
}

// hostState lists what a process could leave on a host: listening, raw and packet
// sockets, addresses, routes and nftables tables.
func hostState(t *testing.T, h *live.Host) string {
	t.Helper()
	var b bytes.Buffer
	err := h.Do(func() error {
		for _, name := range []string{"tcp", "tcp6", "raw", "raw6", "packet"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/net/%s", unix.Gettid(), name))
			if err != nil {
				return err
			}
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			for _, line := range lines[1:] {
				f := strings.Fields(line)
				switch {
				case !strings.HasPrefix(name, "tcp"):
					fmt.Fprintf(&b, "%s socket %s\n", name, line)
				case f[3] == "0A": // TCP_LISTEN
					fmt.Fprintf(&b, "%s listening %s %s %s\n", name, f[1], f[2], f[3])
				}
			}
		}
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, link := range links {
			addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "link %s %v\n", link.Attrs().Name, addrs)
		}
		routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "routes %v\n", routes)
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := nft.ListTables()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%d nftables tables\n", len(tables))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return b.String()
}
