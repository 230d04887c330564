package sim_test

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/rawtcp"
	"github.com/synpunch/synpunch/timing"
)

// busy is a configuration in which chance decides much.
func busy() sim.Config {
	cfg := sim.Config{Scenario: pair("linux-rst", "rst-happy"), Skew: 10 * ms, SkewError: timing.Uncertainty{Sigma: 10 * ms, Bound: 5 * ms},
		Trials: 500, Seed: 7}
	cfg.Scenario.Link.Jitter, cfg.Scenario.Link.Loss = 4*ms, 0.05
	cfg.A, cfg.B = sim.Side{Engine: sim.Connect, Access: ms}, sim.Side{Engine: sim.Connect, Retries: 1, Access: 2 * ms}
	return cfg
}

// TestWorkers: however many workers, the same trials in the same order.
func TestWorkers(t *testing.T) {
	var list []sim.Trial
	var res *sim.Result
	for _, workers := range []int{1, 2, 8} {
		cfg := busy()
		cfg.Workers = workers
		l, r := run(t, cfg)
		if list == nil {
			list, res = l, r
			if r.Connected.Count == 0 || r.Connected.Count == r.Trials || r.Crossed.Count == r.Trials {
				t.Fatalf("chance decides nothing: %+v", r)
			}
			continue
		}
		if !reflect.DeepEqual(l, list) || !reflect.DeepEqual(r, res) {
			t.Errorf("%d workers: another result", workers)
		}
	}
	cfg := busy()
	cfg.Seed++
	if l, _ := run(t, cfg); reflect.DeepEqual(l, list) {
		t.Error("another seed, the same result")
	}
	cfg = busy()
	cfg.Trials = 100
	if l, _ := run(t, cfg); !reflect.DeepEqual(l, list[:100]) {
		t.Error("fewer trials are not the first ones of more")
	}
}

// TestInterrupted: what was done stays, and is the beginning of the whole.
func TestInterrupted(t *testing.T) {
	cfg := busy()
	whole, _ := run(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var list []sim.Trial
	cfg.Trials = 1 << 30
	cfg.Record = func(r *sim.Trial) {
		if list = append(list, *r); len(list) == 200 {
			cancel()
		}
	}
	res, err := sim.Run(ctx, &cfg)
	if !errors.Is(err, context.Canceled) || res == nil || res.Trials != len(list) || len(list) < 200 || res.Connected.Of != len(list) {
		t.Fatalf("%+v, %v, %d recorded", res, err, len(list))
	}
	n := min(len(list), len(whole))
	if !reflect.DeepEqual(list[:n], whole[:n]) {
		t.Error("not the beginning of the whole run")
	}
}

// TestCrossProbability: the share of crossings is what package timing computes.
func TestCrossProbability(t *testing.T) {
	for _, tt := range []struct {
		skew time.Duration
		u    timing.Uncertainty
	}{
		{0, timing.Uncertainty{Sigma: 15 * ms}},
		{20 * ms, timing.Uncertainty{Bound: 10 * ms}},
		{-15 * ms, timing.Uncertainty{Sigma: 5 * ms, Bound: 5 * ms}},
	} {
		cfg := sim.Config{Scenario: pair("linux-rst", "linux-rst"), Skew: tt.skew, SkewError: tt.u, Trials: 4000}
		cfg.A, cfg.B = engines(sim.Connect, sim.Connect)
		_, res := run(t, cfg)
		want := timing.Path{AB: 20 * ms, BA: 20 * ms}.CrossProbability(tt.skew, tt.u)
		// Six standard deviations; and the seed is fixed.
		if got := res.Crossed.Value(); math.Abs(got-want) > 6*math.Sqrt(want*(1-want)/4000) {
			t.Errorf("skew %v, error %v: %.4f crossed, want %.4f", tt.skew, tt.u, got, want)
		}
		if res.Connected != res.Crossed || res.Trials != res.Crossed.Count+res.AEarly+res.BEarly+res.Unmet {
			t.Errorf("skew %v: %+v", tt.skew, res)
		}
	}
}

// TestFaults: the link does to packets what the scenario says, and engines get
// over it as they do live.
func TestFaults(t *testing.T) {
	fault := func(dir lab.Direction, n int, a lab.Action) lab.Fault {
		return lab.Fault{Direction: dir, Packet: n, Action: a}
	}
	for _, tt := range []struct {
		name   string
		faults []lab.Fault
		at     time.Duration // established
		met    string
	}{
		{"none", nil, 40 * ms, "crossed"},
		// B answers nothing; A's SYN-ACK carries it.
		{"SYN lost", []lab.Fault{fault(lab.AB, 1, lab.Lose)}, 60 * ms, "never arrived"},
		{"both lost", []lab.Fault{fault(lab.AB, 1, lab.Lose), fault(lab.BA, 1, lab.Lose)}, 1040 * ms, "crossed"},
		{"twice", []lab.Fault{fault(lab.AB, 1, lab.Duplicate), fault(lab.BA, 2, lab.Duplicate)}, 40 * ms, "crossed"},
		// B's SYN-ACK arrives before its SYN.
		{"reordered", []lab.Fault{fault(lab.BA, 1, lab.Reorder)}, 60 * ms, "crossed"},
	} {
		for _, e := range []sim.Engine{sim.Repair, sim.Connect} {
			cfg := sim.Config{Scenario: pair("linux", "linux")}
			cfg.Scenario.Link.Faults = tt.faults
			cfg.A, cfg.B = engines(e, e)
			r := one(t, cfg)
			if r.Outcome() != sim.Established || r.Established() != tt.at || !strings.Contains(r.Meeting.String(), tt.met) {
				t.Errorf("%s, %s: %v, %+v", tt.name, e, r.Meeting, r)
			}
		}
	}
}

// TestReorderLimit: a packet that nothing overtakes comes late.
func TestReorderLimit(t *testing.T) {
	cfg := sim.Config{Scenario: pair("linux", "linux")}
	cfg.Scenario.Link.Faults = []lab.Fault{{Direction: lab.AB, Packet: 1, Action: lab.Reorder, Behind: 9}}
	r := one(t, cfg)
	if got := r.Meeting.A.Arrived.Sub(sim.Epoch); got != 20*ms+lab.ReorderLimit {
		t.Errorf("arrived after %v: %+v", got, r)
	}
}

// TestEarlyReorder: before the instant of A, too, packets keep their times.
func TestEarlyReorder(t *testing.T) {
	cfg := sim.Config{Scenario: pair("linux-rst", "linux"), Skew: -time.Second}
	cfg.Scenario.Link.Faults = []lab.Fault{{Direction: lab.BA, Packet: 1, Action: lab.Reorder}}
	r := one(t, cfg)
	// B's first SYN waits in vain for a second one, is reset, and so it goes on.
	if got := r.Meeting.B.Arrived.Sub(r.Meeting.B.Left); r.Outcome() != sim.Established || got != 20*ms || r.B.RSTs == 0 {
		t.Errorf("on the way for %v: %+v", got, r)
	}
}

// TestPackets: the packets of trial 0 are whole, in order, and the ones that
// the trial counts.
func TestPackets(t *testing.T) {
	var list []string
	var last time.Time
	cfg := sim.Config{Scenario: pair("linux", "linux-rst"), Trials: 3, Workers: 1}
	cfg.A, cfg.B = engines(sim.Connect, sim.Connect)
	cfg.Packet = func(p sim.Packet) {
		if err := rawtcp.VerifyChecksums(p.Data); err != nil || p.Time.Before(last) {
			t.Errorf("%v at %v: %v", p.Lane, p.Time, err)
		}
		last = p.Time
		s, err := rawtcp.Parse(p.Data)
		if err != nil {
			t.Fatal(err)
		}
		arrow := "<"
		if p.Out {
			arrow = ">"
		}
		list = append(list, arrow+p.Lane.String()+" "+s.Src.String()+" "+s.Flags.String())
	}
	run(t, cfg)
	want := []string{
		">a 10.0.1.2:40000 SYN", ">nat-a 198.51.100.2:40000 SYN",
		">b 10.0.2.2:50000 SYN", ">nat-b 203.0.113.2:50000 SYN",
		"<nat-b 198.51.100.2:40000 SYN", "<nat-a 203.0.113.2:50000 SYN", "<b 198.51.100.2:40000 SYN", "<a 203.0.113.2:50000 SYN",
	}
	got := map[string]int{}
	for _, p := range list {
		got[p]++
	}
	for _, p := range want {
		if got[p] != 1 {
			t.Errorf("%s: %d times in %v", p, got[p], list)
		}
	}
	if len(list) != 16 {
		t.Errorf("%d packets seen, want 2 SYNs and 2 SYN-ACKs in 4 places: %v", len(list), list)
	}
}

// TestProperties: whatever the scenario, a run ends, repeats, and what it says
// makes sense.
func TestProperties(t *testing.T) {
	kinds := []string{"", "eim+cgn", "linux+linux-rst", "firewall+random", "eim+eim+none"}
	for _, p := range nat.Presets() {
		kinds = append(kinds, p.Name)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := func(max time.Duration, what string) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(max)).Draw(t, what))
		}
		ab, ba := d(50*ms, "ab"), d(50*ms, "ba")
		side := func(name string) sim.Side {
			s := sim.Side{Engine: rapid.SampledFrom(sim.Engines()).Draw(t, name), Retries: rapid.IntRange(-1, 4).Draw(t, "retries"), Access: d(5*ms, "access"),
				Strategy: rapid.SampledFrom(sim.Strategies()).Draw(t, "strategy"), TTL: uint8(rapid.IntRange(2, 64).Draw(t, "ttl")),
				Observations: rapid.IntRange(-1, 1).Draw(t, "observations")}
			if s.Engine == sim.Repair && rapid.IntRange(0, 9).Draw(t, "several") == 0 {
				s.RemotePorts, s.LearnPort = rapid.IntRange(1, 3).Draw(t, "ports"), rapid.Bool().Draw(t, "learn")
			}
			return s
		}
		site := func(name string) lab.Site {
			return lab.Site{NAT: rapid.SampledFrom(kinds).Draw(t, name), Subscribers: rapid.IntRange(0, 3).Draw(t, "subscribers"),
				CrossTraffic: rapid.SampledFrom([]float64{0, 0, 50}).Draw(t, "cross traffic")}
		}
		cfg := sim.Config{
			Scenario: lab.Scenario{A: site("nat a"), B: site("nat b"), Link: lab.Link{AB: &ab, BA: &ba}},
			A:        side("a"), B: side("b"),
			Skew: d(200*ms, "skew") - 100*ms, Timeout: 2 * time.Second,
			Trials: 2, Seed: rapid.Uint64().Draw(t, "seed"), Workers: 1,
		}
		cfg.Scenario.Link.Jitter, cfg.Scenario.Link.Loss = d(5*ms, "jitter"), rapid.SampledFrom([]float64{0, 0, 0.1, 0.6}).Draw(t, "loss")
		cfg.Scenario.A.Clock, cfg.A.Late, cfg.B.SendError.Sigma = d(50*ms, "clock")-25*ms, d(ms, "late"), d(ms, "sigma of sending")
		if rapid.IntRange(0, 3).Draw(t, "plan") == 0 {
			cfg.Plan = &sim.Plan{ClockError: d(50*ms, "clock error"), Exchange: d(20*ms, "exchange")}
		}
		used := map[int]bool{}
		for range rapid.IntRange(0, 3).Draw(t, "faults") {
			f := lab.Fault{Direction: lab.AB, Packet: rapid.IntRange(1, 6).Draw(t, "packet"),
				Action: rapid.SampledFrom([]lab.Action{lab.Lose, lab.Duplicate, lab.Reorder}).Draw(t, "action")}
			if !used[f.Packet] {
				cfg.Scenario.Link.Faults = append(cfg.Scenario.Link.Faults, f)
			}
			used[f.Packet] = true
		}
		var list, again []sim.Trial
		keep := func(to *[]sim.Trial) func(*sim.Trial) {
			return func(r *sim.Trial) {
				c := *r
				c.Others = slices.Clone(r.Others)
				*to = append(*to, c)
			}
		}
		cfg.Record = keep(&list)
		if _, err := sim.Run(context.Background(), &cfg); err != nil {
			t.Fatal(err)
		}
		cfg.Record = keep(&again)
		if _, err := sim.Run(context.Background(), &cfg); err != nil || !reflect.DeepEqual(list, again) {
			t.Fatalf("not the same again: %v", err)
		}
		for n := range list {
			for r := range list[n].Flows() {
				flow(t, r, list[n].Sent, &cfg, min(ab, ba))
			}
		}
	})
}

// flow checks that what is said about a flow makes sense.
func flow(t *rapid.T, r *sim.Flow, sent [2]time.Duration, cfg *sim.Config, delay time.Duration) {
	for i, e := range []sim.End{r.A, r.B} {
		instant := sent[i]
		if !slices.Contains(sim.Outcomes(), e.Outcome) || e.SYNs < 1 || e.Outcome == sim.Established && (e.Established < instant || e.Established > instant+cfg.Timeout+time.Second) {
			t.Errorf("end %d: %+v", i, e)
		}
	}
	if r.Outcome() == sim.Established && r.Established() < max(sent[0], sent[1])+delay {
		t.Errorf("faster than the link: %+v", r)
	}
	regime, ok := r.Regime()
	if ok && (regime == timing.Crossed) != r.Meeting.Crossed {
		t.Errorf("%v, but %v", regime, r.Meeting)
	}
}

// TestConfigErrors: what is wrong is named.
func TestConfigErrors(t *testing.T) {
	for _, tt := range []struct {
		change func(*sim.Config)
		want   error
		text   string
	}{
		{func(c *sim.Config) { c.Scenario.A.NAT = "magic" }, nat.ErrUnknownKey, `a: nat: scenario: "magic" is not a kind of NAT`},
		{func(c *sim.Config) { c.Scenario.B.NAT = "eim,offset=3" }, nat.ErrBehaviour, "b: "},
		{func(c *sim.Config) { c.Scenario.Family = lab.IP6 }, lab.ErrScenario, "linux translates IPv4 only"},
		{func(c *sim.Config) { c.Scenario.Link.Delay = -1 }, lab.ErrScenario, "link.delay"},
		{func(c *sim.Config) { c.A.Engine = "auto" }, sim.ErrConfig, `a: simulation: "auto" is not an engine`},
		{func(c *sim.Config) { c.B.Strategy = "fan" }, sim.ErrConfig, `b: simulation: "fan" is not a strategy`},
		{func(c *sim.Config) { c.B.Strategy, c.B.TTL = sim.Prime, 1 }, sim.ErrConfig, "TTL 1 ends at the first NAT"},
		{func(c *sim.Config) { c.A.RemotePorts = 65 }, sim.ErrConfig, "65 remote ports"},
		{func(c *sim.Config) { c.A.RemotePorts, c.A.Engine = 2, sim.Park }, sim.ErrConfig, "only the engine repair tries several"},
		{func(c *sim.Config) { c.A.LearnPort, c.A.Engine = true, sim.Connect }, sim.ErrConfig, "only the engine repair learns"},
		{func(c *sim.Config) { c.A.Observations = 65 }, sim.ErrConfig, "65 observations"},
		{func(c *sim.Config) { c.PacketTrial = 1 }, sim.ErrConfig, "packets of trial 1"},
		{func(c *sim.Config) { c.Scenario.A.CrossTraffic = -1 }, lab.ErrScenario, "a.cross-traffic"},
		{func(c *sim.Config) { c.Scenario.B.NAT = "eim+" }, lab.ErrScenario, "b: nat: "},
		{func(c *sim.Config) { c.Trials = -1 }, sim.ErrConfig, "-1 trials"},
		{func(c *sim.Config) { c.Workers = -1 }, sim.ErrConfig, "-1 workers"},
		{func(c *sim.Config) { c.Scenario.Link.Jitter = -1 }, lab.ErrScenario, "link.jitter: a jitter of -1ns is negative"},
		{func(c *sim.Config) { c.A.Late = -1 }, sim.ErrConfig, "lateness of A: -1ns is negative"},
		{func(c *sim.Config) { c.B.SendError.Bound = -1 }, sim.ErrConfig, "bound of B's sending: -1ns is negative"},
		{func(c *sim.Config) { c.Skew, c.Scenario.A.Clock = 31*time.Minute, -30*time.Minute }, sim.ErrConfig, "skew and clock: 1h1m0s together"},
		{func(c *sim.Config) { c.Plan = &sim.Plan{Exchange: 2 * time.Minute} }, sim.ErrConfig, "exchange: 2m0s is not between"},
		{func(c *sim.Config) { c.Plan = &sim.Plan{ClockError: -1} }, sim.ErrConfig, "clock error: -1ns is not between"},
		{func(c *sim.Config) { c.Plan, c.SkewError.Bound = &sim.Plan{}, 1 }, sim.ErrConfig, "error of the skew: peers that plan"},
		{func(c *sim.Config) { c.Skew = -2 * time.Hour }, sim.ErrConfig, "longer than 1h"},
	} {
		cfg := sim.Config{Trials: 1}
		tt.change(&cfg)
		res, err := sim.Run(t.Context(), &cfg)
		if check := cfg.Validate(); check == nil || check.Error() != err.Error() {
			t.Errorf("Validate says %v, Run %v", check, err)
		}
		if res != nil || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%v, want %q", err, tt.text)
		}
	}
	if res, err := sim.Run(t.Context(), nil); err != nil || res.Trials != sim.DefaultTrials || res.Crossed.Count != 0 {
		t.Errorf("a nil Config: %+v, %v", res, err)
	}
}

// TestShare compares with values of the Wilson interval computed elsewhere
// (Newcombe 1998, table I).
func TestShare(t *testing.T) {
	for _, tt := range []struct {
		s      sim.Share
		lo, hi float64
	}{
		{sim.Share{Count: 81, Of: 263}, 0.2553, 0.3662},
		{sim.Share{Count: 15, Of: 148}, 0.0624, 0.1605},
		{sim.Share{Count: 0, Of: 20}, 0, 0.1611},
		{sim.Share{Count: 1, Of: 29}, 0.0061, 0.1718},
		{sim.Share{Count: 20, Of: 20}, 1 - 0.1611, 1},
		{sim.Share{}, 0, 1},
	} {
		lo, hi := tt.s.Interval()
		if math.Abs(lo-tt.lo) > 5e-5 || math.Abs(hi-tt.hi) > 5e-5 {
			t.Errorf("%+v: %.4f to %.4f, want %.4f to %.4f", tt.s, lo, hi, tt.lo, tt.hi)
		}
	}
}
