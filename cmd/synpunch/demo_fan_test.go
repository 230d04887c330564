package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
)

// smallRandom is a NAT with unpredictable ports out of 256: small enough that a
// fan-out takes a fraction of a second, and, with 3 sweeps from each side, fails once in
// e^9 = 8,103 times.
const smallRandom = "random,ports=20000-20255,overloading=true"

// fanLate is how late a side of a fan-out may be: half of what its spread allows for.
const fanLate = 50 * time.Millisecond

// fanDemo runs one, and again as long as this machine could not begin on time.
func fanDemo(t *testing.T, args ...string) (res demoResult, code int) {
	t.Helper()
	for range maxRepeats {
		res, code = fanOnce(t, args...)
		if late := max(lateness(&live.SideResult{Report: res.A}), lateness(&live.SideResult{Report: res.B})); late <= fanLate {
			break
		}
	}
	return res, code
}

func fanOnce(t *testing.T, args ...string) (demoResult, int) {
	t.Helper()
	stdout, stderr, code := runDemoCommand(t, append([]string{"--json", "--strategy", "fan", "--capture", t.TempDir()}, args...)...)
	var res demoResult
	if err := json.Unmarshal([]byte(stdout), &res); err != nil {
		t.Fatalf("%v in %q; standard error: %s", err, stdout, stderr)
	}
	for _, r := range []*punch.Report{res.A, res.B} {
		if r == nil || r.FanOut == nil {
			t.Fatalf("a report is missing; notes %q", res.Notes)
		}
		t.Logf("%s; %+v", r.Summary(), *r.FanOut)
	}
	return res, code
}

// connectedFan checks what must hold of every fan-out that connects.
func connectedFan(t *testing.T, res demoResult, code int) {
	t.Helper()
	if code != exitDone || res.Outcome != punch.Established || res.BytesVerified != 2*demoBytes {
		t.Fatalf("exit code %d, outcome %s, %d bytes verified; notes %q", code, res.Outcome, res.BytesVerified, res.Notes)
	}
	leads := 0
	for name, r := range map[string]*punch.Report{"a": res.A, "b": res.B} {
		f := r.FanOut
		won := 0
		for _, h := range f.Hits {
			if h.Won {
				won++
				if h.Local != r.Flow.Local || h.Remote != r.Flow.Remote || !h.Proven {
					t.Errorf("%s: the flow is %+v, the winner %+v", name, r.Flow, h)
				}
			}
		}
		if won != 1 || f.FirstHit == nil || f.Socket == nil || *f.Socket < *f.FirstHit || f.Leads == nil || f.Why == "" {
			t.Errorf("%s: %+v", name, f)
		}
		if f.Leads != nil && *f.Leads {
			leads++
		}
		if f.SYNs == 0 || f.SYNs > f.Planned || r.Sent == nil {
			t.Errorf("%s: %d SYNs of %d", name, f.SYNs, f.Planned)
		}
	}
	if leads != 1 {
		t.Errorf("%d ends lead", leads)
	}
}

// TestDemoFan: two NATs with random ports, none of which anybody can foresee.
func TestDemoFan(t *testing.T) {
	res, code := fanDemo(t, "--nat-a", smallRandom, "--nat-b", smallRandom, "--sweeps", "3", "--rate", "4000", "--delay", "5ms")
	connectedFan(t, res, code)
	if res.A.FanOut.Primed || res.A.FanOut.PeerAnswer != "none" {
		t.Errorf("the NATs are silent: %+v", res.A.FanOut)
	}
}

// TestDemoFanAnswered: NATs that answer with resets, and that close a mapping when a reset
// comes back for it, as Linux does. Of a sweep without priming hardly a pair is left: 0 of 20 attempts
// connected (docs/engines.md).
func TestDemoFanAnswered(t *testing.T) {
	const kind = "model:linux-random,ports=20000-20255,unsolicited=rst"
	res, code := fanDemo(t, "--nat-a", kind, "--nat-b", kind, "--sweeps", "3", "--rate", "4000", "--timeout", "4s")
	connectedFan(t, res, code)
	for _, r := range []*punch.Report{res.A, res.B} {
		if f := r.FanOut; !f.Primed || f.PeerAnswer != "rst" || f.Primers != f.Planned || f.BackOffs != 0 {
			t.Errorf("the NATs answer: %+v", f)
		}
	}
}

// TestDemoFanHardAndEasy: 256 source ports of one side against 1,024 guesses of the other. Theory
// gives 98.3 %, three attempts 99.9995 %.
func TestDemoFanHardAndEasy(t *testing.T) {
	for range 3 {
		res, code := fanDemo(t, "--nat-a", "linux-random", "--nat-b", "linux", "--rate", "5000", "--timeout", "3s")
		if p := res.A.FanOut.Predicted; res.A.FanOut.SYNs == 256 && math.Abs(p-0.9828) > 0.001 {
			t.Errorf("the estimate is %v", p)
		}
		if res.Outcome == punch.Timeout {
			continue
		}
		connectedFan(t, res, code)
		return
	}
	t.Error("three attempts failed")
}

// TestDemoFanHard is the pair that the textbooks give up: this kernel's own NATs with random ports
// out of 64,512, two sweeps from each side. Theory gives 98.2 %, three attempts 99.9994 %.
func TestDemoFanHard(t *testing.T) {
	for range 3 {
		res, code := fanDemo(t, "--nat-a", "linux-random", "--nat-b", "linux-random", "--delay", "0")
		if res.Outcome == punch.Timeout {
			continue
		}
		connectedFan(t, res, code)
		return
	}
	t.Error("three attempts failed")
}

// TestDemoFanExhausted: a NAT that has no room says so, or says nothing.
func TestDemoFanExhausted(t *testing.T) {
	for full, timeout := range map[string]string{"icmp": "1500ms", "drop": "3s"} {
		res, code := fanDemo(t, "--nat-a", "random,max-mappings=300,full="+full, "--nat-b", "random", "--rate", "4000", "--timeout", timeout)
		if code != exitFailed || !strings.Contains(res.A.Error, punch.ErrExhausted.Error()) || res.A.FanOut.SYNs < 250 || res.A.FanOut.SYNs > 12000 {
			t.Errorf("%s: exit code %d after %d SYNs: %s", full, code, res.A.FanOut.SYNs, res.A.Error)
		}
	}
}
