package sim_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab/sim"
)

// TestObservations: what third parties have seen tells where the peer's SYN will come from.
func TestObservations(t *testing.T) {
	for _, tt := range []struct {
		a, b         string
		observations int
		least, most  int // of 40
	}{
		{"sequential", "linux", 1, 0, 0}, // the port that was seen is taken
		{"sequential", "linux", 2, 40, 40},
		{"sequential", "sequential", 2, 40, 40},
		{"sequential-2", "linux", 3, 40, 40},
		{"eim+sequential", "eim", 2, 40, 40},
		{"offset", "linux", 3, 40, 40},
		{"cgn", "cgn", 2, 40, 40},
		{"linux", "linux", 2, 40, 40}, // it preserves the port for everyone
		{"random", "linux", 4, 0, 0},
		{"apdm", "linux", -1, 40, 40},
		{"apdm", "linux", 0, 40, 40},
		{"apdm", "linux", 1, 0, 0}, // the observer got the local port, and the peer the next
		{"apdm", "linux", 3, 40, 40},
		{"offset", "linux", -1, 0, 0}, // nobody was asked
	} {
		cfg := sim.Config{Scenario: pair(tt.a, tt.b), Trials: 40, Timeout: 3 * time.Second}
		cfg.A.Observations = tt.observations
		if tt.a == tt.b {
			cfg.B = cfg.A
		}
		list, res := run(t, cfg)
		if n := res.Connected.Count; n < tt.least || n > tt.most {
			t.Errorf("%s x %s, %d observations: %d connected: %+v", tt.a, tt.b, tt.observations, n, list[0])
		}
	}
}

// TestCrossTraffic: what others send between observation and punch moves a counter,
// the more the busier they are; a NAT that keeps the mapping does not care.
func TestCrossTraffic(t *testing.T) {
	share := func(kind string, rate float64) float64 {
		cfg := sim.Config{Scenario: pair(kind, "linux"), Trials: 60, Timeout: 2 * time.Second}
		cfg.Scenario.A.CrossTraffic = rate
		cfg.A.Observations = 3
		_, res := run(t, cfg)
		return res.Connected.Value()
	}
	quiet, some, busy := share("sequential", 0), share("sequential", 0.5), share("sequential", 20)
	if quiet != 1 || some <= 0.2 || some >= 0.98 || busy > 0.2 {
		t.Errorf("of a counter: %.2f without cross traffic, %.2f with 0.5 a second, %.2f with 20", quiet, some, busy)
	}
	if got := share("cgn", 100); got != 1 {
		t.Errorf("of an endpoint-independent mapping: %.2f", got)
	}
}

// TestCrossTrafficWorkers: it is drawn from the seed of the trial.
func TestCrossTrafficWorkers(t *testing.T) {
	var first *sim.Result
	for _, workers := range []int{1, 3} {
		cfg := sim.Config{Scenario: pair("eim+sequential", "sequential"), Trials: 50, Workers: workers, Timeout: 2 * time.Second}
		cfg.Scenario.A.CrossTraffic, cfg.Scenario.B.CrossTraffic = 0.3, 0.3
		cfg.A.Observations, cfg.B.Observations = 2, 2
		cfg.Scenario.A.Subscribers, cfg.B.Engine, cfg.B.Strategy = 2, sim.Park, sim.Prime
		_, res := run(t, cfg)
		if first == nil {
			first = res
		}
		if !reflect.DeepEqual(res, first) || res.Connected.Count == 0 || res.Connected.Count == res.Flows {
			t.Errorf("%d workers: %+v, with one %+v", workers, res, first)
		}
	}
}

// TestRemotePorts: several guesses hit a port that one would miss, and both ends agree on
// one flow.
func TestRemotePorts(t *testing.T) {
	for _, tt := range []struct {
		a, b  string
		rate  float64
		ports int
		least float64
	}{
		{"sequential", "linux", 0.5, 1, 0.2},
		{"sequential", "linux", 0.5, 16, 0.9},
		{"sequential", "sequential", 0, 4, 1},
		{"linux", "linux", 0, 4, 1},
		{"sequential-2", "eim+sequential", 0, 8, 1},
	} {
		cfg := sim.Config{Scenario: pair(tt.a, tt.b), Trials: 40, Timeout: 3 * time.Second}
		cfg.Scenario.A.CrossTraffic = tt.rate
		cfg.A = sim.Side{Observations: 3, RemotePorts: tt.ports}
		cfg.B = cfg.A
		list, res := run(t, cfg)
		if res.Connected.Value() < tt.least {
			t.Errorf("%+v: %d connected: %+v", tt, res.Connected.Count, list[0])
		}
		if tt.ports == 1 && res.Connected.Value() > 0.9 {
			t.Errorf("%+v: %d connected with one guess", tt, res.Connected.Count)
		}
		if list[0].A.SYNs < tt.ports {
			t.Errorf("%+v: %d SYNs", tt, list[0].A.SYNs)
		}
	}
}

// TestLearnPort: a port that nobody can guess connects with one SYN each if the other side's
// NAT lets any port of the address in and its host takes it.
func TestLearnPort(t *testing.T) {
	for _, tt := range []struct {
		a, b  string
		learn bool
		want  int // of 20
	}{
		{"random", "eim,filtering=adf", false, 0},
		{"random", "eim,filtering=adf", true, 20},
		{"random", "eim-eif", true, 20},
		{"linux-random", "adm", true, 20},
		{"random", "linux", true, 0}, // the NAT looks at the port
		{"random", "random", true, 0},
		{"linux", "linux", true, 20},
	} {
		cfg := sim.Config{Scenario: pair(tt.a, tt.b), Trials: 20, Timeout: 3 * time.Second}
		cfg.B.LearnPort = tt.learn
		list, res := run(t, cfg)
		if res.Connected.Count != tt.want {
			t.Errorf("%+v: %d connected: %+v", tt, res.Connected.Count, list[0])
		}
		if r := list[0]; tt.want == 20 && tt.a != "linux" && r.B.Remote.Port() == 40000 {
			t.Errorf("%+v: B learned nothing: %+v", tt, r)
		}
	}
}
