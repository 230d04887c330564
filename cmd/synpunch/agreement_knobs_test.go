package main

import (
	"slices"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/punch"
)

// knobTimeout is that of an attempt: no timer of TCP goes off in it.
const knobTimeout = 400 * time.Millisecond

// knobCase is a scenario whose link, clocks or NATs are out of the ordinary.
type knobCase struct {
	name    string
	world   lab.Scenario
	skew    time.Duration
	answer  time.Duration // by how much a NAT is to be late
	engines []punch.Engine
	want    agreementVerdict // of the engine connect
}

// knobCases are well clear of the edges: a packet may be late by agreementOnTime.
func knobCases() []knobCase {
	world := func(a, b string, change func(*lab.Scenario)) lab.Scenario {
		s := pair(a, b)
		if change != nil {
			change(&s)
		}
		return s
	}
	clocks := func(a, b time.Duration) func(*lab.Scenario) {
		return func(s *lab.Scenario) { s.A.Clock, s.B.Clock = a, b }
	}
	const ms = time.Millisecond
	late := func(answer string) lab.Scenario { return world(lab.NATLinux, "rst-happy,answer-delay="+answer, nil) }
	all := agreementEngines
	return []knobCase{
		{"A's clock is ahead", world(lab.NATLinuxRST, lab.NATLinuxRST, clocks(30*ms, 0)), 0, 0, all, agreementVerdict{"refused", "refused", "a-early"}},
		{"both clocks are ahead", world(lab.NATLinuxRST, lab.NATLinuxRST, clocks(30*ms, 30*ms)), 0, 0, all, agreementVerdict{"established+", "established+", "crossed"}},
		{"a clock undoes the skew", world(lab.NATLinuxRST, lab.NATLinuxRST, clocks(-30*ms, 0)), 30 * ms, 0, all, agreementVerdict{"established+", "established+", "crossed"}},
		// A's SYN is at NAT B after 20 ms, B's leaves at 30 ms and is at A after 50 ms: an answer that
		// is there before that refuses A, a later one finds it in SYN-RECEIVED.
		{"an answer after 2 ms", late("2ms"), 30 * ms, 2 * ms, all, agreementVerdict{"refused", "timeout", "a-early"}},
		{"an answer after 20 ms", late("20ms"), 30 * ms, 20 * ms, all, agreementVerdict{"established+", "established", "a-early"}},
		{"jitter", world(lab.NATLinuxRST, lab.NATLinuxRST, func(s *lab.Scenario) { s.Link.Jitter = 4 * ms }), 8 * ms, 0, all, agreementVerdict{"established+", "established+", "crossed"}},
		{"a link that loses everything", world(lab.NATLinux, lab.NATLinux, func(s *lab.Scenario) { s.Link.Loss = 1 }), 0, 0, []punch.Engine{punch.Connect}, agreementVerdict{"timeout", "timeout", "unmet"}},
	}
}

// TestAgreementKnobs: wrong clocks, late answers, jitter and loss do the same in both worlds, and what
// theory says.
func TestAgreementKnobs(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	late, trials := 0, 0
	for _, c := range knobCases() {
		t.Run(c.name, func(t *testing.T) {
			l, err := live.Build(t.Context(), &c.world, &live.Config{Seed: agreementSeed})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			for _, engine := range c.engines {
				want := simulateVerdicts(t, &c.world, sim.Side{Engine: sim.Engine(engine)}, c.skew, knobTimeout)
				if engine == punch.Connect && !slices.Equal(want, []agreementVerdict{c.want}) {
					t.Errorf("%s: simulated %v, want %v", engine, want, c.want)
				}
				got, r := c.live(t, l, engine)
				if r == nil {
					late++
				} else if !slices.Contains(want, got) {
					t.Errorf("%s: sim %v, live %v\n%s", engine, want, got, explain(r))
				}
				trials++
			}
		})
	}
	if late > trials/2 {
		t.Errorf("this machine is too busy to compare the worlds: late in %d of %d trials", late, trials)
	}
}

// live makes the trial with real packets, again as long as this machine was late. Without a
// result it was always late.
func (c *knobCase) live(t *testing.T, l *live.Lab, engine punch.Engine) (v agreementVerdict, r *live.TrialResult) {
	t.Helper()
	g := &agreementLab{t: t, l: l}
	for n := range agreementRepeats {
		side := live.Side{Engine: engine}
		tr := live.Trial{Skew: c.skew, Timeout: knobTimeout, LeadTime: 100 * time.Millisecond, Abort: true, A: side, B: side}
		tr.A.Port, tr.B.Port = 40000, 50000
		r, err := tr.Run(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		v, _ = g.verdict(r, c.skew)
		tr.At = r.At
		late := max(lateness(&r.A), lateness(&r.B), linkLateness(l, &tr)-c.world.Link.Jitter, answerLateness(&r.A)-c.answer)
		if err := l.Renew(); err != nil {
			t.Fatal(err)
		}
		if late <= agreementOnTime {
			return v, r
		}
		t.Logf("%s: attempt %d: "+trialLogMsg, engine, n, late)
	}
	t.Logf("%s was not compared: this machine was late %d times in a row", engine, agreementRepeats)
	return v, nil
}
