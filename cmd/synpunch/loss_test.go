package main

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
)

// TestLoss loses each of the first eight packets of the exchange, alone and in
// pairs, for each engine: the connection comes up all the same and every byte
// arrives. Four packets of each direction are the first eight.
func TestLoss(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const bytes = 16 << 10
	var single []lab.Fault
	for n := range 4 {
		single = append(single,
			lab.Fault{Direction: lab.AB, Packet: n + 1, Action: lab.Lose},
			lab.Fault{Direction: lab.BA, Packet: n + 1, Action: lab.Lose})
	}
	var cases [][]lab.Fault
	for i := range single {
		cases = append(cases, single[i:i+1])
		for j := i + 1; j < len(single); j++ {
			cases = append(cases, []lab.Fault{single[i], single[j]})
		}
	}
	command := commandHere(t, "punch")
	slots := make(chan struct{}, parallelTrials)
	var wg sync.WaitGroup
	for _, engine := range punch.Engines() {
		for _, faults := range cases {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				s := pair(lab.NATLinux, lab.NATLinux)
				s.Link.Faults = faults
				l, err := live.Build(t.Context(), &s, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer l.Close()
				side := live.Side{Engine: engine, Args: []string{"--rt"}}
				r, err := (&live.Trial{
					Command: command, Dir: t.TempDir(), At: time.Now().Add(leadTime), Bytes: bytes, A: side, B: side,
				}).Run(t.Context(), l)
				if err != nil {
					t.Error(err)
					return
				}
				if what := fmt.Sprintf("%s, %v", engine, faults); !r.Connected(bytes) {
					t.Errorf("%s: not connected\n%s", what, explain(r))
				}
				if ab, ba := l.Counters(); int(ab.Lost+ba.Lost) != len(faults) {
					t.Errorf("%s, %v: the link lost %d packets, want %d", engine, faults, ab.Lost+ba.Lost, len(faults))
				}
			})
		}
	}
	wg.Wait()
}

// TestAllLost loses so much that no connection is possible: both ends say so
// within their timeout, and agree.
func TestAllLost(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := pair(lab.NATLinux, lab.NATLinux)
	for n := range 64 {
		s.Link.Faults = append(s.Link.Faults, lab.Fault{Direction: lab.BA, Packet: n + 1, Action: lab.Lose})
	}
	l := buildLab(t, s)
	var list []live.Trial
	for _, e := range punch.Engines() {
		list = append(list, live.Trial{Timeout: 1500 * time.Millisecond, A: live.Side{Engine: e}, B: live.Side{Engine: e}})
	}
	trials(t, l, list, func(i int, r *live.TrialResult) {
		for _, side := range []*live.SideResult{&r.A, &r.B} {
			if side.Report == nil || side.Report.Outcome != punch.Timeout || side.Exit != exitFailed {
				t.Errorf("%s: want a timeout and exit code 1\n%s", list[i].A.Engine, explain(r))
			}
		}
	})
}
