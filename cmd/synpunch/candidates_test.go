//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// candidateBytes is what each side sends in the trials of this file.
const candidateBytes = 32 << 10

// TestLearnPort meets a NAT with random ports from behind one that filters by nothing,
// or by address: A's one SYN reaches B, which learns the port. No SYN of B's to that port
// is needed.
func TestLearnPort(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, tt := range []struct {
		natB   string
		trials int
	}{{lab.NATLinuxEIM, 20}, {"adm", 4}} {
		l := buildLab(t, pair(lab.NATLinuxRandom, tt.natB))
		list := make([]live.Trial, tt.trials)
		for i := range list {
			list[i].Bytes = candidateBytes
			list[i].B.Args = []string{"--learn-port"}
		}
		trials(t, l, list, func(i int, r *live.TrialResult) {
			if err := learnedByB(r); err != nil {
				t.Errorf("B behind %s, trial %d: %v\n%s", tt.natB, i, err, explain(r))
			}
		})
	}
}

// learnedByB complains about a trial in which B did not learn A's port, or took more
// than a SYN each.
func learnedByB(r *live.TrialResult) error {
	if !r.Connected(candidateBytes) {
		return errors.New("not connected")
	}
	b := r.B.Report
	c := b.Candidates
	if c == nil || !c.Learned || !c.LearnPort || len(c.Ports) != 1 || c.Won == nil || *c.Won == c.Ports[0] || *c.Won != b.Flow.Remote.Port() {
		return fmt.Errorf("B reports %+v of %v", c, b.Flow)
	}
	if r.A.Report.Candidates != nil {
		return fmt.Errorf("A reports %+v", r.A.Report.Candidates)
	}
	if a, b := synsSent(r.A.Report), synsSent(b); a != 1 || b != 1 {
		return fmt.Errorf("%d and %d SYNs", a, b)
	}
	return nil
}

// synsSent counts the SYNs of the report's own host.
func synsSent(r *punch.Report) int {
	n := 0
	for _, e := range r.Events {
		if e.Dir == capture.DirOut && e.Flags == rawtcp.SYN {
			n++
		}
	}
	return n
}

// TestRemotePorts names several ports, of which one is right, at one end or both.
// The other end, if it names one port, may be of any engine.
func TestRemotePorts(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const a, b = 20000, 40000
	several := func(port int) []string {
		return []string{"--remote-ports", fmt.Sprintf("%d,%d-%d", port+500, port-2, port+9)}
	}
	l := buildLab(t, pair(lab.NATLinux, lab.NATLinux))
	command := commandHere(t, "punch")
	var wg sync.WaitGroup
	for i, tt := range []struct {
		name         string
		engineB      punch.Engine
		listA, listB bool
		strategy     punch.Strategy
	}{
		{"both", punch.Repair, true, true, punch.Cross},
		{"primed", punch.Repair, true, true, punch.Prime},
		{"A, B repair", punch.Repair, true, false, punch.Cross},
		{"A, B park", punch.Park, true, false, punch.Cross},
		{"A, B connect", punch.Connect, true, false, punch.Cross},
	} {
		portA, portB := a+20*i, b+20*i
		tr := live.Trial{
			Command: command, Dir: t.TempDir(), Bytes: candidateBytes, Capture: true,
			A: live.Side{Strategy: tt.strategy, Port: uint16(portA)},
			B: live.Side{Strategy: tt.strategy, Port: uint16(portB), Engine: tt.engineB},
		}
		if tt.listA {
			// Another port of B's comes first.
			tr.A.Aim, tr.A.Args = netip.AddrPortFrom(l.B.Public, uint16(portB+700)), several(portB)
		}
		if tt.listB {
			tr.B.Aim, tr.B.Args = netip.AddrPortFrom(l.A.Public, uint16(portA+700)), several(portA)
		}
		wg.Go(func() {
			r, err := tr.Run(t.Context(), l)
			if err != nil {
				t.Error(err)
				return
			}
			if !r.Connected(candidateBytes) {
				t.Errorf("%s: not connected\n%s", tt.name, explain(r))
				return
			}
			c := r.A.Report.Candidates
			if c == nil || c.Learned || c.LearnPort || len(c.Ports) != 14 || c.Won == nil || int(*c.Won) != portB || int(r.A.Report.Flow.Remote.Port()) != portB {
				t.Errorf("%s: A reports %+v of %v", tt.name, c, r.A.Report.Flow)
			}
			if !recorded(t, r.A.Capture, c.Ports) {
				t.Errorf("%s: the capture lacks a SYN", tt.name)
			}
		})
	}
	wg.Wait()
}

// recorded reports whether the file has a SYN to each port.
func recorded(t *testing.T, path string, ports []uint16) bool {
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return false
	}
	defer f.Close()
	rd, err := capture.NewReader(f)
	if err != nil {
		t.Error(err)
		return false
	}
	missing := slices.Clone(ports)
	for {
		p, err := rd.Next()
		if err != nil {
			return errors.Is(err, io.EOF) && len(missing) == 0
		}
		if s, err := rawtcp.Parse(p.Data); err == nil && s.Flags == rawtcp.SYN {
			missing = slices.DeleteFunc(missing, func(port uint16) bool { return port == s.Dst.Port() })
		}
	}
}

// TestSequentialBothSides predicts the ports of two NATs that count: every flow
// crosses, and both ends take the same.
func TestSequentialBothSides(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := pair("sequential", "sequential")
	l := buildLab(t, s)
	command := commandHere(t, "punch")
	next := func(h *live.Host, port uint16) (netip.AddrPort, []string) {
		seen, err := l.Observe(t.Context(), h, port)
		if err != nil {
			t.Fatal(err)
		}
		first := seen.Port() + 1
		return netip.AddrPortFrom(seen.Addr(), first), []string{"--remote-ports", fmt.Sprintf("%d-%d", first+1, first+7)}
	}
	for i := range 3 {
		port := uint16(30000 + i)
		tr := live.Trial{Command: command, Dir: t.TempDir(), Bytes: candidateBytes, A: live.Side{Port: port}, B: live.Side{Port: port}}
		tr.A.Aim, tr.A.Args = next(l.B, port)
		tr.B.Aim, tr.B.Args = next(l.A, port)
		r, err := tr.Run(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Connected(candidateBytes) {
			t.Errorf("not connected\n%s", explain(r))
			continue
		}
		answered := map[netip.AddrPort]bool{}
		for _, e := range r.A.Report.Events {
			if e.Dir == capture.DirIn && e.Flags&rawtcp.SYN != 0 {
				answered[e.Src] = true
			}
		}
		if len(answered) != 8 {
			t.Errorf("%d flows came through, want 8\n%s", len(answered), explain(r))
		}
		if a, b := *r.A.Report.Candidates.Won, *r.B.Report.Candidates.Won; a-tr.A.Aim.Port() != b-tr.B.Aim.Port() {
			t.Errorf("A has taken %d and B %d", a, b)
		}
	}
}

// TestKillCandidates ends A, which tries several ports and would learn others, with
// SIGKILL when its SYNs have left: nothing of it stays on its host.
func TestKillCandidates(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := buildLab(t, pair(lab.NATLinux, lab.NATLinux))
	command := commandHere(t, "punch")
	const port = 31000
	tr := live.Trial{
		Command: command, Dir: t.TempDir(), At: time.Now().Add(leadTime), Timeout: 2 * time.Second,
		A: live.Side{Port: port, Args: []string{"--learn-port", "--remote-ports", "1000-1030"}}, B: live.Side{Port: port},
	}
	runKilled(t, l, &tr, func() bool {
		return slices.ContainsFunc(l.Events(), func(e live.LinkEvent) bool {
			s, err := rawtcp.Parse(e.Data)
			return err == nil && e.Where == live.LaneNATA && s.Src.Port() == port && s.Flags == rawtcp.SYN
		})
	})
}
