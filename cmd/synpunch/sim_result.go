package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
)

// The object that sim --json prints, docs/sim.md.
const (
	simFormat  = "synpunch/sim"
	simVersion = 1
)

type simResult struct {
	Format       string       `json:"format"`
	Version      int          `json:"version"`
	Trials       int          `json:"trials"`    // done
	Requested    int          `json:"requested"` // more: the run was interrupted
	Flows        int          `json:"flows"`     // of these trials
	Seed         uint64       `json:"seed"`
	Scenario     simScenario  `json:"scenario"`
	Connected    simShare     `json:"connected"`
	Crossed      simShare     `json:"crossed"`
	Simultaneous simShare     `json:"simultaneous"`
	AEarly       int          `json:"a_early"`
	BEarly       int          `json:"b_early"`
	Unmet        int          `json:"unmet"`
	A            simEnd       `json:"a"`
	B            simEnd       `json:"b"`
	Established  *simQuantile `json:"established"`
	Margin       *simQuantile `json:"margin"`
	Packets      int64        `json:"packets"`
	Plan         *simPlan     `json:"plan"`
}

type simScenario struct {
	scenarioJSON
	Name          string  `json:"name"`
	EngineA       string  `json:"engine_a"`
	EngineB       string  `json:"engine_b"`
	AccessANS     int64   `json:"access_a_ns"`
	AccessBNS     int64   `json:"access_b_ns"`
	JitterNS      int64   `json:"jitter_ns"`
	Loss          float64 `json:"loss"`
	ClockANS      int64   `json:"clock_a_ns"`
	ClockBNS      int64   `json:"clock_b_ns"`
	LateANS       int64   `json:"late_a_ns"`
	LateBNS       int64   `json:"late_b_ns"`
	SendSigmaANS  int64   `json:"send_sigma_a_ns"`
	SendSigmaBNS  int64   `json:"send_sigma_b_ns"`
	SkewSigmaNS   int64   `json:"skew_sigma_ns"`
	SkewBoundNS   int64   `json:"skew_bound_ns"`
	TimeoutNS     int64   `json:"timeout_ns"`
	Retries       int     `json:"retries"`
	StrategyA     string  `json:"strategy_a"`
	StrategyB     string  `json:"strategy_b"`
	TTLA          int     `json:"ttl_a"`
	TTLB          int     `json:"ttl_b"`
	SubscribersA  int     `json:"subscribers_a"`
	SubscribersB  int     `json:"subscribers_b"`
	CrossTrafficA float64 `json:"cross_traffic_a"`
	CrossTrafficB float64 `json:"cross_traffic_b"`
	ObservationsA int     `json:"observations_a"`
	ObservationsB int     `json:"observations_b"`
	RemotePortsA  int     `json:"remote_ports_a"`
	RemotePortsB  int     `json:"remote_ports_b"`
	LearnPortA    bool    `json:"learn_port_a"`
	LearnPortB    bool    `json:"learn_port_b"`
}

type simShare struct {
	Count int     `json:"count"`
	Share float64 `json:"share"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

type simEnd struct {
	Outcomes      map[sim.Outcome]int `json:"outcomes"`
	Simultaneous  int                 `json:"simultaneous"`
	SYNs          int64               `json:"syns"`
	Retransmitted int64               `json:"retransmissions"`
	Resends       int64               `json:"resends"`
	RSTs          int64               `json:"rsts"`
	ICMPs         int64               `json:"icmps"`
}

type simQuantile struct {
	N   int   `json:"n"`
	Min int64 `json:"min_ns"`
	P10 int64 `json:"p10_ns"`
	P50 int64 `json:"p50_ns"`
	P90 int64 `json:"p90_ns"`
	P99 int64 `json:"p99_ns"`
	Max int64 `json:"max_ns"`
}

func newSimResult(cfg *sim.Config, r *sim.Result) *simResult {
	s := &cfg.Scenario
	res := &simResult{
		Format: simFormat, Version: simVersion, Trials: r.Trials, Requested: cfg.Trials, Flows: r.Flows, Seed: cfg.Seed,
		Scenario: simScenario{
			scenarioJSON: newSimScenario(cfg),
			Name:         s.Name, EngineA: string(cfg.A.Engine), EngineB: string(cfg.B.Engine),
			AccessANS: cfg.A.Access.Nanoseconds(), AccessBNS: cfg.B.Access.Nanoseconds(), JitterNS: s.Link.Jitter.Nanoseconds(),
			Loss: s.Link.Loss, ClockANS: s.A.Clock.Nanoseconds(), ClockBNS: s.B.Clock.Nanoseconds(),
			LateANS: cfg.A.Late.Nanoseconds(), LateBNS: cfg.B.Late.Nanoseconds(),
			SendSigmaANS: cfg.A.SendError.Sigma.Nanoseconds(), SendSigmaBNS: cfg.B.SendError.Sigma.Nanoseconds(),
			SkewSigmaNS: cfg.SkewError.Sigma.Nanoseconds(), SkewBoundNS: cfg.SkewError.Bound.Nanoseconds(),
			TimeoutNS: cfg.Timeout.Nanoseconds(), Retries: cfg.A.Retries,
			StrategyA: string(cfg.A.Strategy), StrategyB: string(cfg.B.Strategy), TTLA: int(cfg.A.TTL), TTLB: int(cfg.B.TTL),
			SubscribersA: max(s.A.Subscribers, 1), SubscribersB: max(s.B.Subscribers, 1),
			CrossTrafficA: s.A.CrossTraffic, CrossTrafficB: s.B.CrossTraffic,
			ObservationsA: cfg.A.Observations, ObservationsB: cfg.B.Observations,
			RemotePortsA: cfg.A.RemotePorts, RemotePortsB: cfg.B.RemotePorts, LearnPortA: cfg.A.LearnPort, LearnPortB: cfg.B.LearnPort,
		},
		Connected: newSimShare(r.Connected), Crossed: newSimShare(r.Crossed), Simultaneous: newSimShare(r.Simultaneous),
		AEarly: r.AEarly, BEarly: r.BEarly, Unmet: r.Unmet, A: simEnd(r.A), B: simEnd(r.B),
		Established: newSimQuantile(r.Established), Margin: newSimQuantile(r.Margin), Packets: r.Packets, Plan: newSimPlan(cfg, r),
	}
	return res
}

// newSimScenario is the part of the scenario that the demo prints too.
func newSimScenario(cfg *sim.Config) scenarioJSON {
	s := &cfg.Scenario
	ab, ba := s.Link.Delays()
	r := scenarioJSON{Family: s.Family, NATA: natName(s.A), NATB: natName(s.B),
		DelayABNS: ab.Nanoseconds(), DelayBANS: ba.Nanoseconds(), SkewNS: cfg.Skew.Nanoseconds(), Faults: []string{}}
	if r.Family == "" {
		r.Family = lab.IP4
	}
	for _, fault := range s.Link.Faults {
		r.Faults = append(r.Faults, fault.String())
	}
	return r
}

func newSimShare(s sim.Share) simShare {
	lo, hi := s.Interval()
	return simShare{s.Count, s.Value(), lo, hi}
}

func newSimQuantile(q sim.Quantiles) *simQuantile {
	if q.N == 0 {
		return nil
	}
	return &simQuantile{q.N, int64(q.Min), int64(q.P10), int64(q.P50), int64(q.P90), int64(q.P99), int64(q.Max)}
}

func natName(s lab.Site) string {
	if s.NAT == "" {
		return lab.NATLinux
	}
	return s.NAT
}

// writeSimTable writes the result for people.
func writeSimTable(out io.Writer, cfg *sim.Config, r *sim.Result) error {
	counted := "trials"
	fmt.Fprintf(out, "%s\n%d trials, seed %d", describeSim(cfg), r.Trials, cfg.Seed)
	if r.Flows != r.Trials {
		counted = "flows"
		fmt.Fprintf(out, ", %d flows", r.Flows)
	}
	fmt.Fprint(out, "\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...any) {
		for _, c := range cells {
			fmt.Fprintf(w, "%v\t", c)
		}
		fmt.Fprintln(w)
	}
	row("", counted, "share", "95 % from", "to")
	for _, s := range []struct {
		name string
		sim.Share
	}{{"connected", r.Connected}, {"simultaneous", r.Simultaneous}, {"crossed", r.Crossed},
		{"A early", sim.Share{Count: r.AEarly, Of: r.Flows}}, {"B early", sim.Share{Count: r.BEarly, Of: r.Flows}},
		{"unmet", sim.Share{Count: r.Unmet, Of: r.Flows}}} {
		lo, hi := s.Interval()
		row(s.name, s.Count, percent(s.Value()), percent(lo), percent(hi))
	}
	if cfg.Plan != nil {
		row("to cross, as stated", "", percent(r.Stated), "", "")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	row("", "A", "B")
	for _, o := range sim.Outcomes() {
		row(o, r.A.Outcomes[o], r.B.Outcomes[o])
	}
	for _, n := range []struct {
		name string
		a, b int64
	}{{"SYNs", r.A.SYNs, r.B.SYNs}, {"of these by timer", r.A.Retransmitted, r.B.Retransmitted}, {"after RST or ICMP", r.A.Resends, r.B.Resends},
		{"RSTs", r.A.RSTs, r.B.RSTs}, {"ICMP errors", r.A.ICMPs, r.B.ICMPs}} {
		row(n.name, n.a, n.b)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	row("", counted, "min", "10 %", "50 %", "90 %", "99 %", "max")
	for _, q := range []struct {
		name string
		sim.Quantiles
	}{{"established", r.Established}, {"margin", r.Margin}} {
		if q.N == 0 {
			row(q.name, 0, "-", "-", "-", "-", "-", "-")
			continue
		}
		row(q.name, q.N, short(q.Min), short(q.P10), short(q.P50), short(q.P90), short(q.P99), short(q.Max))
	}
	return w.Flush()
}

func percent(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) }

// short rounds a time for people.
func short(d time.Duration) time.Duration {
	if d.Abs() >= time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(10 * time.Nanosecond)
}

// describeSim is the scenario in one line.
func describeSim(cfg *sim.Config) string {
	s := &cfg.Scenario
	ab, ba := s.Link.Delays()
	link := ab.String()
	if ab != ba {
		link = fmt.Sprintf("%v out, %v back", ab, ba)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "A %s | %s <-- %s --> %s | B %s", cfg.A.Engine, natName(s.A), link, natName(s.B), cfg.B.Engine)
	add := func(format string, d time.Duration) {
		if d != 0 {
			fmt.Fprintf(&b, format, d)
		}
	}
	add("; jitter %v", s.Link.Jitter)
	if s.Link.Loss > 0 {
		fmt.Fprintf(&b, "; loss %v", s.Link.Loss)
	}
	add("; clock of A %v ahead", s.A.Clock)
	add("; clock of B %v ahead", s.B.Clock)
	add("; skew %v", cfg.Skew)
	add("; sigma of the skew %v", cfg.SkewError.Sigma)
	add("; bound of the skew %v", cfg.SkewError.Bound)
	if p := cfg.Plan; p != nil {
		b.WriteString("; planned")
		add(", clocks wrong by up to %v", p.ClockError)
		add(", compared over %v each way", p.Exchange)
	}
	for i, site := range []struct {
		lab.Site
		sim.Side
	}{{s.A, cfg.A}, {s.B, cfg.B}} {
		describeSide(&b, "AB"[i:i+1], &site.Site, &site.Side)
	}
	for _, fault := range s.Link.Faults {
		fmt.Fprintf(&b, "; %v", fault)
	}
	return b.String()
}

// describeSide names what a side has beyond an engine and a NAT.
func describeSide(b *strings.Builder, name string, at *lab.Site, s *sim.Side) {
	var list []string
	if s.Strategy == sim.Prime {
		list = append(list, "primes")
	}
	if s.Late != 0 {
		list = append(list, fmt.Sprintf("late by %v", s.Late))
	}
	if s.SendError.Sigma != 0 {
		list = append(list, fmt.Sprintf("sends with sigma %v", s.SendError.Sigma))
	}
	if s.TTL != 0 {
		list = append(list, fmt.Sprintf("TTL %d", s.TTL))
	}
	if s.Observations != 0 {
		list = append(list, fmt.Sprintf("%d observations", max(s.Observations, 0)))
	}
	if s.RemotePorts > 1 {
		list = append(list, fmt.Sprintf("%d remote ports", s.RemotePorts))
	}
	if s.LearnPort {
		list = append(list, "learns the port")
	}
	if at.Subscribers > 1 {
		list = append(list, fmt.Sprintf("%d subscribers", at.Subscribers))
	}
	if at.CrossTraffic > 0 {
		list = append(list, fmt.Sprintf("cross traffic %v/s", at.CrossTraffic))
	}
	if len(list) > 0 {
		fmt.Fprintf(b, "; %s: %s", name, strings.Join(list, ", "))
	}
}
