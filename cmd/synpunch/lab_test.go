package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// parallelTrials is how many punches run at once in one lab: most of a trial is
// waiting for its instant.
const parallelTrials = 4

// leadTime is the time from the start of a trial to its instant: long enough
// for several processes to start on a busy machine with two cores.
const leadTime = 1200 * time.Millisecond

func buildLab(t testing.TB, s lab.Scenario) *live.Lab {
	t.Helper()
	l, err := live.Build(t.Context(), &s, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// pairDelay is the one-way delay of the scenarios here.
const pairDelay = 20 * time.Millisecond

// pair is a scenario with the two NATs and 20 ms each way.
func pair(natA, natB string) lab.Scenario {
	return lab.Scenario{A: lab.Site{NAT: natA}, B: lab.Site{NAT: natB}, Link: lab.Link{Delay: pairDelay}}
}

// onTime is how far a SYN may leave from its instant for the trial to be the one
// that was asked for; on a machine that is busier than that the trial is made again.
const (
	onTime      = 8 * time.Millisecond
	maxRepeats  = 6
	trialLogMsg = "repeated: this machine sent %v late"
)

// trials runs the trials of one lab, some at a time, each with ports and a
// directory of its own, and hands each result to check.
func trials(t *testing.T, l *live.Lab, list []live.Trial, check func(i int, r *live.TrialResult)) {
	t.Helper()
	command := commandHere(t, "punch")
	slots := make(chan struct{}, parallelTrials)
	var wg sync.WaitGroup
	var mu sync.Mutex // check may use t.Error and compare results
	for i := range list {
		tr := list[i]
		if tr.A.Port == 0 {
			tr.A.Port, tr.B.Port = uint16(20000+i*maxRepeats), uint16(40000+i*maxRepeats)
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			r, err := runTrial(t, l, tr, command)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("trial %d: %v", i, err)
				return
			}
			check(i, r)
		})
	}
	wg.Wait()
}

// runTrial runs one trial, and again, with the next ports, as long as the
// machine did not send, or its link did not deliver, when it was told to.
func runTrial(t *testing.T, l *live.Lab, tr live.Trial, command []string) (*live.TrialResult, error) {
	tr.Command, tr.Dir = command, t.TempDir()
	for _, s := range []*live.Side{&tr.A, &tr.B} {
		s.Args = append([]string{"--rt"}, s.Args...) // where it is allowed: as root
	}
	for n := 1; ; n++ {
		tr.At = time.Now().Add(leadTime)
		r, err := tr.Run(t.Context(), l)
		if err != nil || n == maxRepeats {
			return r, err
		}
		late := max(lateness(&r.A), lateness(&r.B), linkLateness(l, &tr))
		if late <= onTime {
			return r, nil
		}
		t.Logf("%v x %v: "+trialLogMsg, tr.A.Engine, tr.B.Engine, late)
		tr.A.Port, tr.B.Port = tr.A.Port+1, tr.B.Port+1
	}
}

// linkLateness is how much longer than 20 ms, the delay of pair, the link held a
// packet of the trial's opening.
func linkLateness(l *live.Lab, tr *live.Trial) (late time.Duration) {
	for _, p := range l.Transits() {
		s, err := rawtcp.Parse(p.Head)
		ours := err == nil && (s.Src.Port() == tr.A.Port && s.Dst.Port() == tr.B.Port || s.Src.Port() == tr.B.Port && s.Dst.Port() == tr.A.Port)
		if ours && s.PayloadLen == 0 && !p.Left.IsZero() && p.Entered.Before(tr.At.Add(200*time.Millisecond)) {
			late = max(late, p.Left.Sub(p.Entered)-pairDelay)
		}
	}
	return late
}

// lateness is how far a side's SYN left from its instant; much when it is not known.
func lateness(s *live.SideResult) time.Duration {
	if s.Report == nil || s.Report.SendErrorNS == nil {
		return time.Hour
	}
	return time.Duration(*s.Report.SendErrorNS).Abs()
}

// explain is what a failed trial left, for a person.
func explain(r *live.TrialResult) string {
	var b strings.Builder
	for _, s := range []struct {
		name string
		*live.SideResult
	}{{"A", &r.A}, {"B", &r.B}} {
		fmt.Fprintf(&b, "%s: exit %d, %v\n%s", s.name, s.Exit, s.Err, s.Stderr)
		if s.Report == nil {
			continue
		}
		for _, e := range s.Report.Events {
			fmt.Fprintf(&b, "  %12v %-3v %v %s seq %d ack %d\n", e.At, e.Dir, e.Flags, e.ICMP, e.Seq, e.Ack)
		}
	}
	fmt.Fprintf(&b, "meeting: %+v", r.Meeting)
	return b.String()
}

// connected checks that both ends have the connection, opened simultaneously,
// and that every byte arrived.
func connected(t *testing.T, what string, r *live.TrialResult, bytes int64) {
	t.Helper()
	if !r.Connected(bytes) {
		t.Errorf("%s: not connected, %d bytes verified\n%s", what, r.Verified, explain(r))
		return
	}
	for _, s := range []*punch.Report{r.A.Report, r.B.Report} {
		if s.Simultaneous == nil || !*s.Simultaneous {
			t.Errorf("%s: %v says that the open was not simultaneous\n%s", what, s.Flow.Local, explain(r))
		}
		if s.Capture == nil || s.Capture.Dropped != 0 {
			t.Errorf("%s: %v: capture %+v, want no drops", what, s.Flow.Local, s.Capture)
		}
	}
}
