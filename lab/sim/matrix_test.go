package sim_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/timing"
)

const ms = time.Millisecond

// pair is a scenario with a link of 20 ms each way.
func pair(a, b string) lab.Scenario {
	return lab.Scenario{A: lab.Site{NAT: a}, B: lab.Site{NAT: b}, Link: lab.Link{Delay: 20 * ms}}
}

// run runs a configuration and returns every trial.
func run(t testing.TB, cfg sim.Config) ([]sim.Trial, *sim.Result) {
	t.Helper()
	var list []sim.Trial
	cfg.Record = func(r *sim.Trial) { list = append(list, *r) }
	res, err := sim.Run(t.Context(), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != res.Trials {
		t.Fatalf("%d trials recorded, %d counted", len(list), res.Trials)
	}
	return list, res
}

// one runs one trial.
func one(t testing.TB, cfg sim.Config) sim.Trial {
	t.Helper()
	cfg.Trials = 1
	list, _ := run(t, cfg)
	return list[0]
}

func engines(a, b sim.Engine) (sim.Side, sim.Side) { return sim.Side{Engine: a}, sim.Side{Engine: b} }

// TestMatrix is TestMatrix of cmd/synpunch in virtual time: every pair of engines through
// every pair of NATs connects, by a simultaneous open at both ends.
func TestMatrix(t *testing.T) {
	kinds := []string{lab.NATLinux, lab.NATLinuxRST, lab.NATLinuxEIM, lab.NATNone, lab.NATFirewall,
		lab.NATLinuxICMP, lab.NATLinuxAPDF}
	for _, ka := range kinds {
		for _, kb := range kinds {
			for _, ea := range sim.Engines() {
				for _, eb := range sim.Engines() {
					if ea != sim.Repair && eb != sim.Repair && ea != eb {
						continue // see TestOldKernels
					}
					cfg := sim.Config{Scenario: pair(ka, kb), Trials: 8}
					cfg.A, cfg.B = engines(ea, eb)
					list, res := run(t, cfg)
					if res.Connected.Count != 8 || res.Simultaneous.Count != 8 || res.Crossed.Count != 8 {
						t.Errorf("%s x %s through %s and %s: %+v", ea, eb, ka, kb, list[0])
					}
					// The crossing SYN and its SYN-ACK: one way each. An old
					// kernel waits for the ACK instead.
					limit := 40 * ms
					if ea == sim.ConnectOld || eb == sim.ConnectOld {
						limit = 60 * ms
					}
					if q := res.Established; q.Max > limit || q.Min < 40*ms || res.Margin.Min != 20*ms {
						t.Errorf("%s x %s through %s and %s: established %+v, margin %+v", ea, eb, ka, kb, q, res.Margin)
					}
				}
			}
		}
	}
}

// TestMatrix6 is the same for IPv6.
func TestMatrix6(t *testing.T) {
	for _, ka := range []string{lab.NATNone, lab.NATFirewall} {
		for _, kb := range []string{lab.NATNone, lab.NATFirewall} {
			for _, e := range []sim.Engine{sim.Repair, sim.Connect} {
				cfg := sim.Config{Scenario: pair(ka, kb)}
				cfg.Scenario.Family = lab.IP6
				cfg.A, cfg.B = engines(e, e)
				if r := one(t, cfg); r.Outcome() != sim.Established || !r.Simultaneous() || !r.Meeting.Crossed {
					t.Errorf("%s through %s and %s: %+v", e, ka, kb, r)
				}
			}
		}
	}
}

// TestMissedWindow is TestMissedWindow of cmd/synpunch: B's SYN is 30 ms late,
// or early, on a path of 20 ms, through NATs that answer RST.
func TestMissedWindow(t *testing.T) {
	for _, skew := range []time.Duration{30 * ms, -30 * ms} {
		for _, e := range sim.Engines() {
			cfg := sim.Config{Scenario: pair(lab.NATLinuxRST, lab.NATLinuxRST), Skew: skew, Trials: 50}
			cfg.A, cfg.B = engines(e, e)
			list, res := run(t, cfg)
			if e == sim.Repair || e == sim.Park {
				if res.Connected.Count != 50 || res.A.RSTs+res.B.RSTs == 0 {
					t.Errorf("skew %v, %s: %+v", skew, e, list[0])
				}
				continue
			}
			if res.A.Outcomes[sim.Refused] != 50 || res.B.Outcomes[sim.Refused] != 50 {
				t.Errorf("skew %v, %s: %+v", skew, e, list[0])
			}
			if r := list[0]; r.Meeting.Margin != -10*ms {
				t.Errorf("skew %v, %s: margin %v", skew, e, r.Meeting.Margin)
			}
		}
	}
}

// TestRefusals: an ICMP error ends connect() as it does live.
func TestRefusals(t *testing.T) {
	for kind, want := range map[string]sim.Outcome{
		lab.NATLinuxRST: sim.Refused, lab.NATLinuxICMP: sim.Unreachable,
		"eim,unsolicited=icmp-port": sim.Refused, // ECONNREFUSED
		"eim,unsolicited=icmp-host": sim.Unreachable,
	} {
		cfg := sim.Config{Scenario: pair(kind, kind), Skew: 30 * ms}
		cfg.A, cfg.B = engines(sim.Connect, sim.Connect)
		if r := one(t, cfg); r.A.Outcome != want {
			t.Errorf("%s: %+v", kind, r)
		}
	}
}

// TestEdges: connect() through NATs that refuse succeeds exactly where the SYNs
// cross; through NATs that drop it always does, and so does repair.
func TestEdges(t *testing.T) {
	for _, path := range []timing.Path{{AB: 20 * ms, BA: 20 * ms}, {AB: 30 * ms, BA: 5 * ms}, {AB: 100 * time.Microsecond, BA: ms}} {
		lo, hi := path.Window()
		for _, skew := range []time.Duration{lo - ms, lo - 1, lo, lo + 1, lo + 50*time.Microsecond, 0, path.Aim(), hi - 1, hi, hi + 1, hi + ms} {
			for _, kind := range []string{lab.NATLinuxRST, lab.NATLinuxICMP, lab.NATLinux, "rst-happy", "eim"} {
				for _, e := range []sim.Engine{sim.Connect, sim.Repair} {
					cfg := sim.Config{Scenario: pair(kind, kind), Skew: skew}
					cfg.Scenario.Link.AB, cfg.Scenario.Link.BA = &path.AB, &path.BA
					cfg.A, cfg.B = engines(e, e)
					r := one(t, cfg)
					what := fmt.Sprintf("%v, skew %v, %s, %s", path, skew, kind, e)
					crossed := path.Regime(skew) == timing.Crossed
					drops := kind == lab.NATLinux || kind == "eim"
					if want := crossed || drops || e == sim.Repair; want != (r.Outcome() == sim.Established) {
						t.Errorf("%s: %+v", what, r)
					}
					if crossed != (r.A.RSTs+r.A.ICMPs+r.B.RSTs+r.B.ICMPs == 0) && !drops {
						t.Errorf("%s: refusals do not tell the crossing: %+v", what, r)
					}
					if e == sim.Connect || crossed {
						regime, ok := r.Regime()
						if !ok || regime != path.Regime(skew) || r.Meeting.Margin != path.Margin(skew) || r.Meeting.Crossed != crossed {
							t.Errorf("%s: %v %v, margin %v; want %v, %v", what, regime, ok, r.Meeting.Margin, path.Regime(skew), path.Margin(skew))
						}
					}
				}
			}
		}
	}
}

// TestUnpredictable: one SYN each cannot name a port that is drawn at random,
// where the other side looks at it.
func TestUnpredictable(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{lab.NATLinuxRandom, lab.NATLinux, false},
		{lab.NATLinux, lab.NATLinuxRandom, false},
		{lab.NATLinuxRandom, lab.NATLinuxRandom, false},
		{"random", "linux", false},
		{"per-connection", "eim", false},
		{"sequential", "linux", false}, // the port that was seen, not the next
		{"offset", "linux", true},      // what a third party saw holds for everyone
		{"cgn", "linux", true},
		{"cgn", "offset", true},
		{"linux-icmp", "cgn-quota", true},
		{"eim-eif", "adm", true},
		{"strict", "eim", true}, // A's SYN passes, and B's SYN-ACK
		{"strict", "strict", false},
		{"rewriting", "rewriting", true},
	} {
		for _, e := range []sim.Engine{sim.Repair, sim.Connect} {
			cfg := sim.Config{Scenario: pair(tt.a, tt.b), Trials: 20, Timeout: 3 * time.Second}
			cfg.A, cfg.B = engines(e, e)
			list, res := run(t, cfg)
			want := 0
			if tt.want {
				want = res.Trials
			}
			if res.Connected.Count != want {
				t.Errorf("%s x %s, %s: %d connected, want %d: %+v", tt.a, tt.b, e, res.Connected.Count, want, list[0])
			}
		}
	}
}

// TestEveryPreset: no preset of package nat stops the simulation.
func TestEveryPreset(t *testing.T) {
	for _, p := range nat.Presets() {
		for _, e := range sim.Engines() {
			cfg := sim.Config{Scenario: pair(p.Name, "linux"), Skew: -25 * ms, Trials: 3}
			cfg.A, cfg.B = engines(e, sim.Repair)
			run(t, cfg)
		}
	}
}

// TestOldKernels: where both ends drop the crossed SYN-ACK with a challenge ACK,
// that ACK lets the other finish. Where only one does, nothing comes from the other
// until the SYN-ACK is sent again, and Linux's connection tracking, which has seen
// the challenge and taken it for the end of the handshake, drops that. Data, which
// the simulation does not send, would end it.
func TestOldKernels(t *testing.T) {
	for _, tt := range []struct {
		a, b sim.Engine
		kind string
		at   time.Duration // 0: never
	}{
		{sim.ConnectOld, sim.ConnectOld, lab.NATNone, 60 * ms},
		{sim.ConnectOld, sim.ConnectOld, lab.NATLinux, 60 * ms},
		{sim.Connect, sim.ConnectOld, lab.NATNone, 1040 * ms},
		{sim.Connect, sim.ConnectOld, "eim", 1040 * ms},
		{sim.Connect, sim.ConnectOld, lab.NATLinux, 0},
		{sim.ConnectOld, sim.Connect, lab.NATFirewall, 0},
	} {
		cfg := sim.Config{Scenario: pair(tt.kind, tt.kind)}
		cfg.A, cfg.B = engines(tt.a, tt.b)
		r := one(t, cfg)
		if tt.at == 0 {
			old, other := r.A, r.B
			if tt.b == sim.ConnectOld {
				old, other = r.B, r.A
			}
			if old.Outcome != sim.Timeout || other.Outcome != sim.Established {
				t.Errorf("%s x %s through %s: %+v", tt.a, tt.b, tt.kind, r)
			}
		} else if r.Outcome() != sim.Established || r.Established() != tt.at {
			t.Errorf("%s x %s through %s: %+v", tt.a, tt.b, tt.kind, r)
		}
	}
}

// TestStrangers: a host without a guard refuses what it does not know.
func TestStrangers(t *testing.T) {
	for _, tt := range []struct {
		a, b sim.Engine
		want sim.Outcome // of A
	}{
		{sim.Connect, sim.Connect, sim.Refused}, // by B's kernel, for A's port is not the one it expects
		{sim.Connect, sim.Repair, sim.Timeout},  // B's guard is silent
		{sim.Repair, sim.Connect, sim.Timeout},  // A does not mind
		{sim.ConnectOld, sim.Connect, sim.Refused},
	} {
		cfg := sim.Config{Scenario: pair(lab.NATLinuxRandom, lab.NATNone)}
		cfg.A, cfg.B = engines(tt.a, tt.b)
		if r := one(t, cfg); r.A.Outcome != tt.want {
			t.Errorf("%s x %s: %+v", tt.a, tt.b, r)
		}
	}
}

// TestConnectAgain: a connect() that is tried again at once may meet the open
// NAT the next time.
func TestConnectAgain(t *testing.T) {
	cfg := sim.Config{Scenario: pair(lab.NATLinuxRST, lab.NATLinuxRST), Skew: 30 * ms}
	cfg.A, cfg.B = sim.Side{Engine: sim.Connect, Retries: 5}, sim.Side{Engine: sim.Connect, Retries: 5}
	r := one(t, cfg)
	if r.Outcome() != sim.Established || r.A.Resends+r.B.Resends == 0 {
		t.Errorf("%+v", r)
	}
}
