package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab/sim"
)

// TestLiveWindow is TestWindow with real packets: connect() lives where the SYNs
// crossed on the link, whatever the machine made of the instants, and repair everywhere.
func TestLiveWindow(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	c := flagship(sim.Connect, sim.Repair)
	c.World, c.Trials = Live, 2
	c.Axes = []Grid{{Skew, -30 * ms, 30 * ms, 15 * ms}}
	var rows []Row
	sum, err := Run(t.Context(), c, &Options{Record: func(r *Row) error { rows = append(rows, *r); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 20 || sum.Done != 20 || sum.Overhead.N != 20 {
		t.Errorf("%d rows, %d done, overhead %+v", len(rows), sum.Done, sum.Overhead)
	}
	for _, r := range rows {
		if r.SkewMeasuredNS == nil || r.MarginNS == nil || r.SendErrorANS == nil || r.SendErrorBNS == nil || r.OverheadNS == nil || r.SYNsA < 1 || r.SYNsB < 1 {
			t.Errorf("something is not known: %s", asJSON(t, r))
			continue
		}
		// What was measured hangs together: the SYNs left as late as they did.
		if d := *r.SkewMeasuredNS - r.SkewOrderedNS - (*r.SendErrorBNS - *r.SendErrorANS); time.Duration(d).Abs() > 10*time.Millisecond {
			t.Errorf("the skew is off by %v more than the instants: %s", time.Duration(d), asJSON(t, r))
		}
		edge := time.Duration(*r.MarginNS).Abs() < time.Millisecond
		if lives := r.Regime == "crossed" || r.Arm == "repair"; !edge && lives != (r.Outcome == Established) {
			t.Errorf("margin %v: %s", time.Duration(*r.MarginNS), asJSON(t, r))
		}
	}
}

// TestSleepersTogether: a summary tells where two hosts that sleep had one Go runtime, and
// only there.
func TestSleepersTogether(t *testing.T) {
	for _, tt := range []struct {
		world  string
		a, b   Timer
		stock  []string
		warned bool
	}{
		{Live, TimerSleep, TimerSleep, nil, true},
		{Live, TimerSleep, TimerSleep, []string{"/proc/self/exe"}, false},
		{Live, TimerSleep, TimerExact, nil, false},
		{Sim, TimerSleep, TimerSleep, nil, false},
	} {
		c := flagship(sim.Connect)
		c.World, c.Arms[0].A.Timer, c.Arms[0].B.Timer = tt.world, tt.a, tt.b
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // no trial is needed
		sum, err := Run(ctx, c, &Options{Stock: tt.stock})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := sum.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		if warned := strings.Contains(text.String(), "wake together"); warned != tt.warned {
			t.Errorf("%+v: %s", tt, text.String())
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
