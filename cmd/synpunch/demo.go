package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/lab/matrix"
	"github.com/synpunch/synpunch/punch"
)

// demoBytes is what each side sends: enough to need more than one window.
const demoBytes = 1 << 20

type demoFlags struct {
	engine, strategy string
	natA, natB       string
	delay, skew      time.Duration
	timeout          time.Duration
	scenario         string
	capture          string
	learnPort        bool
	fan              demoFan
	json, keep, ip6  bool
	ascii            bool
}

func newDemoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "Two hosts, two NATs, one punch, on this machine",
		Long: `Build a small internet out of network namespaces (two hosts, each behind a NAT,
joined by a link with delay), run the real 'synpunch punch' in both hosts, and
show what happened on the wire. It needs no root, no other program and no
network, and leaves nothing behind.

A KIND of NAT is a name, or a name and knobs that differ (cgn,max-mappings=64),
or knobs alone; + puts a NAT in front of the next (eim+cgn: a home router behind
a carrier's NAT). 'synpunch lab kinds' says what each name does. These are this
kernel's own NAT, or the model with model: in front (model:linux):
  ` + wrapWords(natNames(true), 76, "  ") + `
and these the model:
  ` + wrapWords(natNames(false), 76, "  ") + `

Where a NAT does not keep the local port, its host is seen by a third party just
before, and the other side aims at the port that was seen, or, if the NAT counts,
at the one that is next. Where nobody can tell the port --strategy fan sends many
SYNs from both sides and takes the flow that works.`,
		Example: `  synpunch demo
  synpunch demo --engine repair,connect --nat-a linux-rst --nat-b linux-rst --skew 30ms
  synpunch demo --nat-a eim+cgn --nat-b apdm,unsolicited=rst
  synpunch demo --strategy fan --nat-a linux-random --nat-b linux-random
  synpunch demo --nat-a firewall --nat-b firewall --ip6 --delay 5ms --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			trial, scenario, err := f.parse(cmd)
			if err != nil {
				return exitWith(exitUsage, err)
			}
			if !netns.InIsolation() {
				return isolate(cmd.Context())
			}
			return runDemo(cmd, &f, trial, scenario)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.engine, "engine", "repair", "repair, park or connect; `A,B` for one each")
	fl.StringVar(&f.strategy, "strategy", "cross", "cross or prime, `A,B` for one each; or fan")
	fl.StringVar(&f.natA, "nat-a", lab.NATLinux, "`KIND` of NAT in front of A")
	fl.StringVar(&f.natB, "nat-b", lab.NATLinux, "`KIND` of NAT in front of B")
	fl.DurationVar(&f.delay, "delay", 20*time.Millisecond, "delay of the link, each way")
	fl.DurationVar(&f.skew, "skew", 0, "let B send this much later than agreed (negative: earlier)")
	fl.DurationVar(&f.timeout, "timeout", punch.DefaultTimeout, "give up this long after the instant")
	fl.BoolVar(&f.learnPort, "learn-port", false, "a host whose peer's port nobody can know takes the one that arrives (engine repair)")
	fl.StringVar(&f.scenario, "scenario", "", "read NATs, delays and faults from this YAML `FILE`")
	fl.BoolVar(&f.ip6, "ip6", false, "IPv6 (kinds none and firewall)")
	fl.StringVar(&f.capture, "capture", "", "put the captures and reports into `DIR` (default: a new one in the temporary directory)")
	fl.BoolVar(&f.json, "json", false, "print one JSON object")
	fl.BoolVar(&f.ascii, "ascii", false, "draw the ladder without Unicode")
	fl.BoolVar(&f.keep, "keep", false, "leave the lab up until Ctrl-C and print how to enter it")
	f.fan.register(fl)
	cmd.MarkFlagFilename("scenario", "yaml", "yml")
	cmd.MarkFlagDirname("capture")
	for _, name := range []string{"nat-a", "nat-b"} {
		cmd.RegisterFlagCompletionFunc(name, fixed(append(natNames(true), natNames(false)...)...))
	}
	cmd.RegisterFlagCompletionFunc("engine", fixed("repair", "park", "connect"))
	cmd.RegisterFlagCompletionFunc("strategy", fixed("cross", "prime", "fan"))
	cmd.RegisterFlagCompletionFunc("prime", fixed("auto", "always", "never"))
	return cmd
}

// natNames lists the kinds that are this kernel's own, or the others.
func natNames(kernel bool) []string {
	var names []string
	for _, k := range lab.Kinds() {
		if k.Kernel == kernel {
			names = append(names, k.Name)
		}
	}
	return names
}

// parse turns the words into a trial and a scenario; every error is one of usage.
func (f *demoFlags) parse(cmd *cobra.Command) (*live.Trial, *lab.Scenario, error) {
	t := &live.Trial{Bytes: demoBytes, Skew: f.skew, Timeout: f.timeout, Capture: true}
	engines, err := perSide("engine", f.engine, punch.ParseEngine)
	if err != nil {
		return nil, nil, err
	}
	strategies, err := perSide("strategy", f.strategy, punch.ParseStrategy)
	if err != nil {
		return nil, nil, err
	}
	t.A.Engine, t.B.Engine = engines[0], engines[1]
	t.A.Strategy, t.B.Strategy = strategies[0], strategies[1]
	if f.timeout <= 0 || f.timeout > time.Minute {
		return nil, nil, fmt.Errorf("--timeout %v: want more than 0 and at most 1m", f.timeout)
	}
	if f.skew.Abs() > f.timeout {
		return nil, nil, fmt.Errorf("--skew %v is longer than --timeout %v: the two would never meet", f.skew, f.timeout)
	}
	s := &lab.Scenario{A: lab.Site{NAT: f.natA}, B: lab.Site{NAT: f.natB}, Link: lab.Link{Delay: f.delay}}
	if f.ip6 {
		s.Family = lab.IP6
	}
	if f.scenario != "" {
		for _, name := range []string{"nat-a", "nat-b", "delay", "ip6"} {
			if cmd.Flags().Changed(name) {
				return nil, nil, fmt.Errorf("--%s and --scenario exclude each other: the file says it", name)
			}
		}
		if s, err = loadScenario(f.scenario); err != nil {
			return nil, nil, err
		}
	}
	if err := live.Validate(s); err != nil {
		return nil, nil, err
	}
	if err := f.checkFan(t, cmd.Flags()); err != nil {
		return nil, nil, err
	}
	return t, s, f.aim(t, s)
}

func loadScenario(path string) (*lab.Scenario, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--scenario: %w", err)
	}
	defer file.Close()
	s, err := lab.Load(file)
	if err != nil {
		return nil, fmt.Errorf("--scenario %s: %w", path, err)
	}
	return s, nil
}

// perSide reads "x" for both sides or "x,y" for A and B.
func perSide[T any](flag, s string, parse func(string) (T, error)) ([2]T, error) {
	var out [2]T
	words := strings.Split(s, ",")
	if len(words) > 2 {
		return out, fmt.Errorf("--%s %q: want one value, or two as A,B", flag, s)
	}
	for i := range out {
		v, err := parse(strings.TrimSpace(words[min(i, len(words)-1)]))
		if err != nil {
			return out, fmt.Errorf("--%s: %w", flag, err)
		}
		out[i] = v
	}
	return out, nil
}

// demoResult is the object that --json prints, docs/demo.md.
type demoResult struct {
	Version       int           `json:"version"`
	Outcome       punch.Outcome `json:"outcome"`
	Crossed       bool          `json:"crossed"`
	MarginNS      *int64        `json:"margin_ns"` // as seen between the NATs; null when the SYNs did not both come there
	SkewNS        *int64        `json:"skew_ns"`   // B's SYN at NAT B minus A's at NAT A
	BytesVerified int64         `json:"bytes_verified"`
	AAimsAt       string        `json:"a_aims_at"` // what each side took for the other's public endpoint
	BAimsAt       string        `json:"b_aims_at"`
	Scenario      scenarioJSON  `json:"scenario"`
	A             *punch.Report `json:"a"`
	B             *punch.Report `json:"b"`
	Captures      []string      `json:"captures"`
	Notes         []string      `json:"notes"`
}

type scenarioJSON struct {
	Family    string   `json:"family"`
	NATA      string   `json:"nat_a"`
	NATB      string   `json:"nat_b"`
	DelayABNS int64    `json:"delay_ab_ns"`
	DelayBANS int64    `json:"delay_ba_ns"`
	SkewNS    int64    `json:"skew_ns"` // as asked for
	Faults    []string `json:"faults"`
}

func runDemo(cmd *cobra.Command, f *demoFlags, t *live.Trial, s *lab.Scenario) error {
	ctx, progress := cmd.Context(), cmd.ErrOrStderr()
	if f.json {
		progress = io.Discard
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	t.Command = []string{self, "punch"}
	if t.Dir, err = demoDir(f.capture); err != nil {
		return exitWith(exitUsage, err)
	}
	start := time.Now()
	l, err := live.Build(ctx, s, nil)
	if err != nil {
		return planExit(fmt.Errorf("build the lab: %w", err))
	}
	defer l.Close()
	fmt.Fprintf(progress, "lab      %s   (built in %v)\n", describe(l, s), time.Since(start).Round(time.Millisecond))
	lead := t.Lead()
	if fanned(t) {
		lead += fanReadying
		if err := f.fan.prepare(t, s, l); err != nil {
			return exitWith(exitUsage, err)
		}
	}
	t.At = time.Now().Add(lead).Truncate(time.Millisecond)
	fmt.Fprintf(progress, "instant  %s, in %v\n", t.At.UTC().Format("2006-01-02 15:04:05.000 MST"), time.Until(t.At).Round(time.Millisecond))
	r, err := t.Run(ctx, l)
	if err != nil && !fanned(t) { // what a fan-out has sent is told also when it was cut short
		return err
	}
	cut := err
	res := newDemoResult(f, s, t, l, r)
	out := cmd.OutOrStdout()
	if f.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(res); err != nil {
			return err
		}
	} else {
		for _, side := range []struct {
			name string
			r    *live.SideResult
		}{{"A", &r.A}, {"B", &r.B}} {
			fmt.Fprintf(out, "%s ran    %s\n", side.name, strings.Join(shorten(side.r.Command), " "))
		}
		writeSeen(out, t, l, r)
		if fanned(t) {
			writeFan(out, r)
		} else {
			fmt.Fprintln(out)
			if err := writeDemoLadder(out, f, l, r); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "\n%s\n", res.verdict(r))
		fmt.Fprintf(out, "captures %s   (for Wireshark, or 'synpunch analyze A B')\n", strings.Join(res.Captures, " "))
		for _, n := range res.Notes {
			fmt.Fprintf(out, "note     %s\n", n)
		}
	}
	if cut != nil {
		return cut
	}
	if f.keep {
		waitInLab(cmd, l)
	}
	if res.Outcome != punch.Established {
		return exitWith(exitFailed, nil)
	}
	return nil
}

// aim says how each side is to find the other's port.
func (f *demoFlags) aim(t *live.Trial, s *lab.Scenario) error {
	for _, site := range []struct {
		nat         string
		side, other *live.Side
	}{{s.A.NAT, &t.A, &t.B}, {s.B.NAT, &t.B, &t.A}} {
		chain, err := lab.ParseNAT(site.nat)
		if err != nil {
			return err
		}
		site.side.Observations = chain.Looks()
		if f.learnPort && matrix.ClassOf(chain) == matrix.Unpredictable {
			if site.other.Engine != punch.Repair {
				return fmt.Errorf("--learn-port: only engine repair takes the port that arrives, and the host opposite %s has %s", site.nat, site.other.Engine)
			}
			site.other.Args = append(site.other.Args, "--learn-port")
		}
	}
	return nil
}

// writeSeen says what third parties saw of the hosts whose NATs do not keep the port.
func writeSeen(w io.Writer, t *live.Trial, l *live.Lab, r *live.TrialResult) {
	for _, h := range []struct {
		name   string
		host   *live.Host
		side   *live.Side
		aim    netip.AddrPort
		unseen error
	}{{"A", l.A, &t.A, r.B.Aim, r.B.AimErr}, {"B", l.B, &t.B, r.A.Aim, r.A.AimErr}} {
		switch {
		case h.host.Preserves(demoPort):
		case h.unseen != nil:
			fmt.Fprintf(w, "unseen   %s: %v; aimed at %v\n", h.name, h.unseen, h.aim)
		case h.side.Observations > 1:
			fmt.Fprintf(w, "foreseen %s as %v, from %d ports that a third party saw\n", h.name, h.aim, h.side.Observations)
		default:
			fmt.Fprintf(w, "seen     %s as %v by a third party\n", h.name, h.aim)
		}
	}
}

// demoDir makes the directory for captures and reports.
func demoDir(name string) (string, error) {
	if name == "" {
		return os.MkdirTemp("", "synpunch-demo-")
	}
	if err := os.MkdirAll(name, 0o755); err != nil {
		return "", fmt.Errorf("--capture: %w", err)
	}
	return filepath.Abs(name)
}

func describe(l *live.Lab, s *lab.Scenario) string {
	site := func(nat string, pub string) string {
		if nat == "" {
			nat = lab.NATLinux
		}
		return nat + " " + pub
	}
	ab, ba := s.Link.Delays()
	link := fmt.Sprintf("<-- %v -->", ab)
	if ab != ba {
		link = fmt.Sprintf("<-- %v out, %v back -->", ab, ba)
	}
	return fmt.Sprintf("A %v | %s %s %s | %v B", l.A.Addr, site(s.A.NAT, l.A.Public.String()), link, site(s.B.NAT, l.B.Public.String()), l.B.Addr)
}

// shorten writes the program by its name instead of its path.
func shorten(argv []string) []string { return append([]string{"synpunch"}, argv[1:]...) }

func newDemoResult(f *demoFlags, s *lab.Scenario, t *live.Trial, l *live.Lab, r *live.TrialResult) *demoResult {
	ab, ba := s.Link.Delays()
	res := &demoResult{
		Version: 1, Outcome: punch.Established, BytesVerified: r.Verified, A: r.A.Report, B: r.B.Report,
		AAimsAt: r.A.Aim.String(), BAimsAt: r.B.Aim.String(),
		Scenario: scenarioJSON{Family: s.Family, NATA: s.A.NAT, NATB: s.B.NAT, DelayABNS: ab.Nanoseconds(), DelayBANS: ba.Nanoseconds(), SkewNS: t.Skew.Nanoseconds(), Faults: []string{}},
		Captures: []string{}, Notes: l.Notes(),
	}
	if res.Scenario.Family == "" {
		res.Scenario.Family = lab.IP4
	}
	for _, fault := range s.Link.Faults {
		res.Scenario.Faults = append(res.Scenario.Faults, fault.String())
	}
	for _, side := range []*live.SideResult{&r.A, &r.B} {
		if side.Capture != "" {
			res.Captures = append(res.Captures, side.Capture)
		}
		switch {
		case side.Report == nil:
			res.Outcome = punch.Failed
		case side.Report.Outcome != punch.Established && res.Outcome == punch.Established:
			res.Outcome = side.Report.Outcome
		}
		if side.Err != nil {
			res.Notes = append(res.Notes, side.Err.Error())
			if res.Outcome == punch.Established {
				res.Outcome = punch.Failed
			}
		}
	}
	if m := r.Meeting; m != nil {
		res.Crossed = m.Crossed
		skew, margin := m.Skew.Nanoseconds(), m.Margin.Nanoseconds()
		res.SkewNS = &skew
		if !m.A.Arrived.IsZero() && !m.B.Arrived.IsZero() {
			res.MarginNS = &margin
		}
	}
	if res.Outcome != punch.Established && !fanned(t) {
		res.Notes = append(res.Notes, f.unpredictable(s)...)
	}
	return res
}

// unpredictable says of which NATs nobody could know the port.
func (f *demoFlags) unpredictable(s *lab.Scenario) []string {
	advice := ". If the other NAT filters by address or not at all, --learn-port connects"
	if f.learnPort {
		advice = ""
	}
	var list []string
	for _, text := range []string{s.A.NAT, s.B.NAT} {
		chain, err := lab.ParseNAT(text)
		if err != nil {
			continue // Build has read it
		}
		for i := range chain {
			if matrix.ClassOf(chain[i:i+1]) == matrix.Unpredictable {
				list = append(list, chain[i].Text+" takes another port for each destination, so what a third party sees is not what the other side meets: one SYN each cannot name it"+advice)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// demoPort stands for a local port as live.Trial takes it.
const demoPort = 40000

// verdict is the one line that tells everything.
func (d *demoResult) verdict(r *live.TrialResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "verdict  ")
	switch {
	case d.A != nil && d.A.FanOut != nil:
		b.WriteString("fan-out")
	case d.Crossed && d.MarginNS != nil:
		fmt.Fprintf(&b, "crossed, margin %v", time.Duration(*d.MarginNS).Round(time.Microsecond))
	case d.Crossed:
		b.WriteString("crossed, but a SYN was lost on the way")
	case d.MarginNS != nil:
		fmt.Fprintf(&b, "not crossed, missed by %v", (-time.Duration(*d.MarginNS)).Round(time.Microsecond))
	default:
		b.WriteString("not crossed")
	}
	if d.A == nil || d.B == nil {
		fmt.Fprintf(&b, "; %s", d.Outcome)
		return b.String()
	}
	fmt.Fprintf(&b, "; %s", both(d.A, d.B, func(r *punch.Report) string { return string(r.Outcome) }))
	fmt.Fprintf(&b, "; send error %s", both(d.A, d.B, func(r *punch.Report) string { return durationOr(r.SendErrorNS, "unknown") }))
	if d.Outcome == punch.Established {
		fmt.Fprintf(&b, "; established %s", both(d.A, d.B, func(r *punch.Report) string { return durationOr(r.Established, "in SYN-RECEIVED") }))
	}
	fmt.Fprintf(&b, "; engine %s", both(d.A, d.B, func(r *punch.Report) string { return string(r.Engine) }))
	fmt.Fprintf(&b, "; %d bytes verified", d.BytesVerified)
	return b.String()
}

// both writes one value when the sides agree and two otherwise.
func both(a, b *punch.Report, f func(*punch.Report) string) string {
	if x, y := f(a), f(b); x != y {
		return x + " / " + y
	} else {
		return x
	}
}

func durationOr(ns *int64, other string) string {
	if ns == nil {
		return other
	}
	d := time.Duration(*ns).Round(100 * time.Nanosecond)
	if d.Abs() > time.Millisecond {
		d = d.Round(10 * time.Microsecond)
	}
	if d >= 0 {
		return "+" + d.String()
	}
	return d.String()
}

// waitInLab prints the ways into the namespaces and holds them open.
func waitInLab(cmd *cobra.Command, l *live.Lab) {
	w := cmd.ErrOrStderr()
	fmt.Fprintln(w, "\nThe lab stays up until Ctrl-C. To enter it from another terminal:")
	for _, e := range l.Enter() {
		fmt.Fprintf(w, "  %-9s %s\n", e.Name, e.Line)
	}
	<-cmd.Context().Done()
}
