package sim_test

import (
	"slices"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
)

// TestNested: NATs behind each other (NAT444). The peer aims at the outer one.
func TestNested(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"eim+cgn", "linux", true},
		{"eim+cgn", "eim+cgn", true},
		{"linux+linux", "linux-rst+linux", true},
		{"linux+firewall", "eim+none", true},
		{"firewall+linux", "linux", true},
		{"linux-eim+cgn", "linux", true},
		{"eim+eim+eim+eim", "linux+cgn", true},
		{"random+linux", "linux", false}, // no NAT outside helps against a random one inside
		{"linux+random", "linux", false},
	} {
		for _, e := range []sim.Engine{sim.Repair, sim.Park, sim.Connect} {
			cfg := sim.Config{Scenario: pair(tt.a, tt.b), Trials: 20, Timeout: 3 * time.Second}
			cfg.A, cfg.B = engines(e, e)
			list, res := run(t, cfg)
			if want := map[bool]int{true: 20}[tt.want]; res.Connected.Count != want {
				t.Errorf("%s x %s, %s: %d connected: %+v", tt.a, tt.b, e, res.Connected.Count, list[0])
			}
		}
	}
}

// TestNestedHops: each NAT counts the TTL, so the priming SYN has to reach farther.
func TestNestedHops(t *testing.T) {
	for ttl, from := range map[uint8]string{1: "10.0.1.1", 2: "100.64.1.1", 3: "198.51.100.1", 4: "192.0.2.2"} {
		cfg := sim.Config{Scenario: pair("eim+cgn", "linux")}
		cfg.A = sim.Side{TTL: ttl}
		if _, list := watch(t, cfg); len(find(list, sim.LaneA, false, "ttl exceeded from "+from)) == 0 {
			t.Errorf("TTL %d: no error from %s: %+v", ttl, from, list)
		}
	}
	// Both home NATs refuse nothing, the carrier's do: with TTL 3 the priming SYN opens both.
	for _, tt := range []struct {
		ttl  uint8
		rsts int
	}{{2, 1}, {3, 0}} {
		cfg := sim.Config{Scenario: pair("eim+linux-rst", "eim+linux-rst"), Skew: 30 * ms}
		cfg.A = sim.Side{Strategy: sim.Prime, TTL: tt.ttl}
		cfg.B = cfg.A
		r := one(t, cfg)
		if r.Outcome() != sim.Established || r.A.RSTs != tt.rsts {
			t.Errorf("TTL %d: %+v", tt.ttl, r)
		}
	}
}

// subscribers is a scenario with several hosts behind A's outermost NAT.
func subscribers(a, b string, na, nb int) lab.Scenario {
	s := pair(a, b)
	s.A.Subscribers, s.B.Subscribers = na, nb
	return s
}

// TestSubscribers: several flows at once through one NAT all connect and stay apart.
func TestSubscribers(t *testing.T) {
	for _, tt := range []struct {
		a, b   string
		na, nb int
	}{
		{"linux", "linux", 2, 1},
		{"linux", "linux", 2, 2},
		{"cgn", "linux", 2, 2},
		{"cgn,allocation=preserving,collision=overload", "eim", 4, 1},
		{"eim+cgn", "linux", 2, 1},
		{"eim+cgn", "linux+cgn", 3, 4},
		{"linux-eim", "linux-eim-apdf", 2, 2},
		{"none", "firewall", 3, 2},
	} {
		for _, e := range []sim.Engine{sim.Repair, sim.Park, sim.Connect} {
			cfg := sim.Config{Scenario: subscribers(tt.a, tt.b, tt.na, tt.nb)}
			cfg.A, cfg.B = engines(e, e)
			r, list := watch(t, cfg)
			if flows := 1 + len(r.Others); flows != max(tt.na, tt.nb) {
				t.Fatalf("%d flows", flows)
			}
			used := map[string]bool{}
			for f := range r.Flows() {
				if f.Outcome() != sim.Established || !f.Simultaneous() || !f.Meeting.Crossed {
					t.Errorf("%+v, %s: %+v", tt, e, f)
				}
				used[f.A.Local.String()] = true
				if f.A.Local.Port() != 40000 && tt.na >= tt.nb {
					t.Errorf("%+v: the hosts of A have the same port: %v", tt, f.A.Local)
				}
			}
			if len(used) != max(tt.na, tt.nb) {
				t.Errorf("%+v: %v", tt, used)
			}
			// The same 5-tuple never twice: one sequence number each.
			first := map[string]seen{}
			for _, s := range list {
				if s.lane != sim.LaneNATA || !s.out || !slices.Contains([]string{"SYN"}, s.text[len(s.text)-3:]) {
					continue
				}
				if old, ok := first[s.text]; ok && old.seq != s.seq {
					t.Errorf("%+v, %s: two flows on one 5-tuple: %+v, %+v", tt, e, old, s)
				}
				first[s.text] = s
			}
		}
	}
}

// TestOverloading: two subscribers of one carrier, the same internal port, the same
// public endpoint, two flows at once: the remote endpoint tells them apart.
func TestOverloading(t *testing.T) {
	for _, kind := range []string{"linux", "eim+linux", "cgn,allocation=preserving,collision=overload", "eim+eim,collision=overload,overloading=true"} {
		cfg := sim.Config{Scenario: subscribers(kind, "linux", 2, 1)}
		r, list := watch(t, cfg)
		if r.Outcome() != sim.Established || len(r.Others) != 1 || r.Others[0].Outcome() != sim.Established {
			t.Errorf("%s: %+v", kind, r)
			continue
		}
		if r.A.Local.Port() != r.Others[0].A.Local.Port() || r.A.Local == r.Others[0].A.Local {
			t.Errorf("%s: local endpoints %v and %v", kind, r.A.Local, r.Others[0].A.Local)
		}
		for _, to := range []string{"50000", "50001"} {
			if n := len(find(list, sim.LaneNATA, true, "198.51.100.2:40000 > 203.0.113.2:"+to+" SYN")); n != 1 {
				t.Errorf("%s: %d SYNs from the shared public endpoint to port %s", kind, n, to)
			}
		}
	}
}

// TestAddresses: a NAT with several public addresses. The peer aims at the one that a third party saw.
func TestAddresses(t *testing.T) {
	for kind, want := range map[string]int{"eim,pooling=arbitrary": 20, "eim": 20, "cgn": 20, "eim+cgn": 20} {
		cfg := sim.Config{Scenario: pair(kind, "linux"), Trials: 20}
		cfg.Scenario.A.Addresses = 8
		list, res := run(t, cfg)
		if res.Connected.Count != want {
			t.Errorf("%s: %d connected: %+v", kind, res.Connected.Count, list[0])
		}
		used := map[string]bool{}
		for _, r := range list {
			used[r.B.Remote.Addr().String()] = true
		}
		if kind == "eim,pooling=arbitrary" && len(used) < 4 {
			t.Errorf("%s: addresses %v", kind, used)
		}
	}
}
