package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
)

// TestMatrix punches with every pair of engines through every pair of NATs, 20
// ms each way: all connect, by a simultaneous open at both ends.
func TestMatrix(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const bytes = 64 << 10
	kinds := []string{lab.NATLinux, lab.NATLinuxRST, lab.NATLinuxEIM, lab.NATNone, lab.NATFirewall}
	for _, a := range kinds {
		for _, b := range kinds {
			t.Run(a+"/"+b, func(t *testing.T) {
				l := buildLab(t, pair(a, b))
				var list []live.Trial
				for _, ea := range punch.Engines() {
					for _, eb := range punch.Engines() {
						list = append(list, live.Trial{Bytes: bytes, A: live.Side{Engine: ea}, B: live.Side{Engine: eb}})
					}
				}
				trials(t, l, list, func(i int, r *live.TrialResult) {
					connected(t, fmt.Sprintf("%s x %s", list[i].A.Engine, list[i].B.Engine), r, bytes)
				})
			})
		}
	}
}

// TestOtherKinds punches through the NATs and strategies that the matrix leaves out.
func TestOtherKinds(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const bytes = 64 << 10
	for _, tt := range []struct {
		name string
		s    lab.Scenario
	}{
		{"icmp", pair(lab.NATLinuxICMP, lab.NATLinuxICMP)},
		{"apdf", pair(lab.NATLinuxAPDF, lab.NATLinux)},
		{"IPv6 firewalls", lab.Scenario{Family: lab.IP6, A: lab.Site{NAT: lab.NATFirewall}, B: lab.Site{NAT: lab.NATFirewall}, Link: lab.Link{Delay: 20 * time.Millisecond}}},
		{"IPv6 firewall and none", lab.Scenario{Family: lab.IP6, A: lab.Site{NAT: lab.NATNone}, B: lab.Site{NAT: lab.NATFirewall}, Link: lab.Link{Delay: 20 * time.Millisecond}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := buildLab(t, tt.s)
			var list []live.Trial
			for _, e := range punch.Engines() {
				for _, st := range []punch.Strategy{punch.Cross, punch.Prime} {
					side := live.Side{Engine: e, Strategy: st}
					list = append(list, live.Trial{Bytes: bytes, A: side, B: side})
				}
			}
			trials(t, l, list, func(i int, r *live.TrialResult) {
				connected(t, fmt.Sprintf("%s %s", list[i].A.Engine, list[i].A.Strategy), r, bytes)
			})
		})
	}
}

// TestMissedWindow sends B's SYN 30 ms late on a path of 20 ms, through NATs that
// answer RST: connect() dies at both ends, which is why the other engines exist.
func TestMissedWindow(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const bytes = 64 << 10
	l := buildLab(t, pair(lab.NATLinuxRST, lab.NATLinuxRST))
	var list []live.Trial
	for range 4 {
		for _, skew := range []time.Duration{30 * time.Millisecond, -30 * time.Millisecond} {
			for _, e := range punch.Engines() {
				list = append(list, live.Trial{Bytes: bytes, Skew: skew, A: live.Side{Engine: e}, B: live.Side{Engine: e}})
			}
		}
	}
	trials(t, l, list, func(i int, r *live.TrialResult) {
		what := fmt.Sprintf("%s, skew %v", list[i].A.Engine, list[i].Skew)
		if list[i].A.Engine != punch.Connect {
			if !r.Connected(bytes) {
				t.Errorf("%s: not connected\n%s", what, explain(r))
			} else if r.A.Report.RSTs+r.B.Report.RSTs == 0 {
				t.Errorf("%s: no RST seen: the window was not missed\n%s", what, explain(r))
			}
			return
		}
		for _, s := range []*live.SideResult{&r.A, &r.B} {
			if s.Report == nil || s.Report.Outcome != punch.Refused || s.Exit != exitFailed {
				t.Errorf("%s: want refused and exit code 1\n%s", what, explain(r))
			}
		}
	})
}

// TestPrimedWindow misses the window in the same way, with NATs that were opened
// by a SYN that ended between them: nobody is refused, so no retry is needed.
func TestPrimedWindow(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const bytes = 64 << 10
	l := buildLab(t, pair(lab.NATLinuxRST, lab.NATLinuxRST))
	var list []live.Trial
	for _, skew := range []time.Duration{30 * time.Millisecond, -30 * time.Millisecond, 0} {
		for _, e := range []punch.Engine{punch.Repair, punch.Park} {
			side := live.Side{Engine: e, Strategy: punch.Prime}
			list = append(list, live.Trial{Bytes: bytes, Skew: skew, A: side, B: side})
		}
	}
	trials(t, l, list, func(i int, r *live.TrialResult) {
		what := fmt.Sprintf("%s, skew %v", list[i].A.Engine, list[i].Skew)
		if !r.Connected(bytes) {
			t.Errorf("%s: not connected\n%s", what, explain(r))
			return
		}
		for _, s := range []*punch.Report{r.A.Report, r.B.Report} {
			if s.RSTs != 0 {
				t.Errorf("%s: %d RSTs at %v: the priming SYN did not open the NAT\n%s", what, s.RSTs, s.Flow.Local, explain(r))
			}
			if s.ICMPs == 0 {
				t.Errorf("%s: no ICMP error at %v: the priming SYN did not end between the NATs\n%s", what, s.Flow.Local, explain(r))
			}
		}
	})
}
