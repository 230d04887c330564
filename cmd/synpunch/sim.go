package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/nat"
)

type simFlags struct {
	engine, strategy, ttl   string
	delay, access           string
	natA, natB              string
	observations, ports     string
	learn                   string
	crossTraffic, hosts     string
	skew, sigma, bound      time.Duration
	jitter, timeout         time.Duration
	loss                    float64
	clock                   string
	retries                 int
	trials, parallel, trial int
	seed                    uint64
	scenario                string
	capture, report         string
	json, ip6               bool
	simPlanFlags
}

func newSimCommand() *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "sim [flags]",
		Short: "Two hosts, two NATs, thousands of punches, in virtual time",
		Long: `Simulate punches: two hosts, each behind a NAT, joined by a link with delay. No
packet leaves the program and no real time passes, but the packets, the NATs and
the engine repair are the ones of a live attempt. The engines park and connect
have a model of a Linux socket, connect-old of one from before mid-2024.

Tell how many trials connected and how many crossed (with 95 % confidence),
how each end ended, and how long it took. The same seed gives the same result,
however many trials run in parallel. Ctrl-C ends the run and shows what is done.

A KIND of NAT is a name, or a name and knobs that differ, or knobs alone. NATs
behind each other are joined by +, the host's own first (eim+cgn):
  ` + wrapWords(presetNames(), 76, "  ") + `

Exit code 1: no trial connected, or the run was interrupted.`,
		Example: `  synpunch sim
  synpunch sim --engine connect --nat-a linux-rst --nat-b linux-rst --skew 30ms
  synpunch sim --engine park --strategy prime --nat-a eim+cgn --ttl 3,2 --skew 30ms
  synpunch sim --nat-a cgn --nat-b eim,unsolicited=rst --delay 30ms,10ms --jitter 2ms
  synpunch sim --nat-a sequential --observations 3 --cross-traffic 5,0
  synpunch sim --nat-a cgn --subscribers 2,1
  synpunch sim --skew-sigma 15ms --trials 100000 --seed 7 --json
  synpunch sim --plan --clock-error 25ms --exchange 20ms --send-sigma 1ms
  synpunch sim --trials 9 --trial 8 --report punch.json --capture punch.pcapng`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.parse(cmd)
			if err != nil {
				return exitWith(exitUsage, err)
			}
			return runSim(cmd, &f, cfg)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.engine, "engine", string(sim.Repair), "repair, park, connect or connect-old; `A,B` for one each")
	fl.StringVar(&f.strategy, "strategy", string(sim.Cross), "cross or prime; `A,B` for one each")
	fl.StringVar(&f.ttl, "ttl", "0", "of the SYNs, with prime of the priming SYN; 0 is 64, with prime 2; `A,B` for one each")
	fl.StringVar(&f.natA, "nat-a", lab.NATLinux, "`KIND` of NAT in front of A")
	fl.StringVar(&f.natB, "nat-b", lab.NATLinux, "`KIND` of NAT in front of B")
	fl.StringVar(&f.hosts, "subscribers", "1", "hosts behind the outermost NAT, each with a punch at the same time; `A,B` for one each")
	fl.StringVar(&f.crossTraffic, "cross-traffic", "0", "SYNs per second from other subscribers of the outermost NAT; `A,B` for one each")
	fl.StringVar(&f.observations, "observations", "0", "how often a third party sees a host's public endpoint, for its peer to aim at; 0 is 1 if the NAT does not preserve ports, else none; -1 is none; `A,B` for one each")
	fl.StringVar(&f.ports, "remote-ports", "1", "how many of the peer's likeliest ports get a SYN (repair); `A,B` for one each")
	fl.StringVar(&f.learn, "learn-port", "false", "take the port that a SYN from the peer's address comes from as the peer's (repair); `A,B` (true,false) for one each")
	fl.Lookup("learn-port").NoOptDefVal = "true"
	fl.StringVar(&f.delay, "delay", "20ms", "delay of the link, each way; `AB,BA` for one each")
	fl.StringVar(&f.access, "access", "0s", "delay from a host to its NAT, each way; `A,B` for one each")
	fl.DurationVar(&f.jitter, "jitter", 0, "a packet takes up to this much longer on the link, uniformly")
	fl.Float64Var(&f.loss, "loss", 0, "probability, 0 to 1, that the link loses a packet")
	fl.StringVar(&f.clock, "clock", "0s", "how far a host's clock is ahead (negative: behind), so that it sends too early; `A,B` for one each")
	fl.DurationVar(&f.skew, "skew", 0, "let B send this much later than A (negative: earlier)")
	fl.DurationVar(&f.sigma, "skew-sigma", 0, "standard deviation of a normal error of the skew")
	fl.DurationVar(&f.bound, "skew-bound", 0, "half width of a uniform error of the skew, added to the normal one")
	fl.DurationVar(&f.timeout, "timeout", sim.DefaultTimeout, "give up this long after the instant")
	fl.IntVar(&f.retries, "retries", 0, "SYNs sent after an RST or ICMP error (default: repair and park 64, connect none; negative: none)")
	fl.IntVar(&f.trials, "trials", sim.DefaultTrials, "how many attempts")
	fl.Uint64Var(&f.seed, "seed", 1, "of every draw")
	fl.IntVar(&f.parallel, "parallel", 0, "trials at the same time (default: one for each processor)")
	fl.StringVar(&f.scenario, "scenario", "", "read NATs, delays, faults and subscribers from this YAML `FILE`")
	fl.BoolVar(&f.ip6, "ip6", false, "IPv6 (kinds none and firewall)")
	fl.IntVar(&f.trial, "trial", 0, "the trial that --capture and --report are about, counted from 0")
	fl.StringVar(&f.capture, "capture", "", "write the packets of a trial to the pcapng `FILE`")
	fl.StringVar(&f.report, "report", "", "write what 'demo --json' prints about a trial to `FILE`")
	fl.BoolVar(&f.json, "json", false, "print one JSON object (docs/sim.md)")
	f.register(cmd)
	cmd.MarkFlagFilename("scenario", "yaml", "yml")
	cmd.MarkFlagFilename("capture", "pcapng")
	cmd.MarkFlagFilename("report", "json")
	for _, name := range []string{"nat-a", "nat-b"} {
		cmd.RegisterFlagCompletionFunc(name, fixed(presetNames()...))
	}
	cmd.RegisterFlagCompletionFunc("engine", fixed("repair", "park", "connect", "connect-old"))
	cmd.RegisterFlagCompletionFunc("strategy", fixed("cross", "prime"))
	return cmd
}

func presetNames() []string {
	var names []string
	for _, p := range nat.Presets() {
		names = append(names, p.Name)
	}
	return names
}

// wrapWords writes words with commas in lines of at most width columns.
func wrapWords(words []string, width int, indent string) string {
	var b strings.Builder
	column := 0
	for i, word := range words {
		if i < len(words)-1 {
			word += ","
		}
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteString("\n" + indent)
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// parse turns the words into a configuration; every error is one of usage.
func (f *simFlags) parse(cmd *cobra.Command) (*sim.Config, error) {
	cfg := &sim.Config{Skew: f.skew, Timeout: f.timeout, Trials: f.trials, Seed: f.seed, Workers: f.parallel, PacketTrial: f.trial}
	cfg.SkewError.Sigma, cfg.SkewError.Bound = f.sigma, f.bound
	changed := cmd.Flags().Changed
	switch {
	case f.trials < 1:
		return nil, fmt.Errorf("--trials %d: want 1 or more", f.trials)
	case changed("parallel") && f.parallel < 1:
		return nil, fmt.Errorf("--parallel %d: want 1 or more", f.parallel)
	case f.timeout <= 0:
		return nil, fmt.Errorf("--timeout %v: want more than 0", f.timeout)
	case f.trial < 0 || f.trial >= f.trials:
		return nil, fmt.Errorf("--trial %d: want 0 to %d, one of the --trials %d", f.trial, f.trials-1, f.trials)
	case changed("trial") && f.capture == "" && f.report == "":
		return nil, fmt.Errorf("--trial says which trial --capture and --report are about: neither is here")
	}
	var err error
	if cfg.A, cfg.B, err = f.sides(); err != nil {
		return nil, err
	}
	if f.scenario != "" {
		for _, name := range []string{"nat-a", "nat-b", "delay", "jitter", "loss", "clock", "ip6", "subscribers", "cross-traffic"} {
			if changed(name) {
				return nil, fmt.Errorf("--%s and --scenario exclude each other: the file says it", name)
			}
		}
		s, err := loadScenario(f.scenario)
		if err != nil {
			return nil, err
		}
		cfg.Scenario = *s
	} else if cfg.Scenario, err = f.words(); err != nil {
		return nil, err
	}
	if err := f.apply(cfg); err != nil {
		return nil, err
	}
	return cfg, cfg.Validate()
}

// words is the scenario that the flags describe.
func (f *simFlags) words() (s lab.Scenario, err error) {
	delays, err := perSide("delay", f.delay, time.ParseDuration)
	if err != nil {
		return s, err
	}
	hosts, err := perSide("subscribers", f.hosts, atLeastOne)
	if err != nil {
		return s, err
	}
	rates, err := perSide("cross-traffic", f.crossTraffic, parseRate)
	if err != nil {
		return s, err
	}
	clocks, err := perSide("clock", f.clock, time.ParseDuration)
	if err != nil {
		return s, err
	}
	s = lab.Scenario{
		A:    lab.Site{NAT: f.natA, Subscribers: hosts[0], CrossTraffic: rates[0], Clock: clocks[0]},
		B:    lab.Site{NAT: f.natB, Subscribers: hosts[1], CrossTraffic: rates[1], Clock: clocks[1]},
		Link: lab.Link{AB: &delays[0], BA: &delays[1], Jitter: f.jitter, Loss: f.loss},
	}
	if f.ip6 {
		s.Family = lab.IP6
	}
	return s, nil
}

// sides is what the flags say about the hosts.
func (f *simFlags) sides() (a, b sim.Side, err error) {
	fail := func(e error) {
		if err == nil {
			err = e
		}
	}
	engines, e := perSide("engine", f.engine, sim.ParseEngine)
	fail(e)
	strategies, e := perSide("strategy", f.strategy, sim.ParseStrategy)
	fail(e)
	ttls, e := perSide("ttl", f.ttl, parseTTL)
	fail(e)
	access, e := perSide("access", f.access, time.ParseDuration)
	fail(e)
	observations, e := perSide("observations", f.observations, strconv.Atoi)
	fail(e)
	ports, e := perSide("remote-ports", f.ports, atLeastOne)
	fail(e)
	learn, e := perSide("learn-port", f.learn, strconv.ParseBool)
	fail(e)
	for i, s := range []*sim.Side{&a, &b} {
		*s = sim.Side{Engine: engines[i], Strategy: strategies[i], TTL: ttls[i], Access: access[i], Retries: f.retries,
			Observations: observations[i], RemotePorts: ports[i], LearnPort: learn[i]}
	}
	return a, b, err
}

func parseTTL(s string) (uint8, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("%q is not a TTL: want 0 to 255", s)
	}
	return uint8(n), nil
}

func atLeastOne(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q: want a number from 1 on", s)
	}
	return n, nil
}

func parseRate(s string) (float64, error) {
	rate, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return rate, nil
}

func runSim(cmd *cobra.Command, f *simFlags, cfg *sim.Config) error {
	var file *simCapture
	if f.capture != "" {
		var err error
		if file, err = createSimCapture(f.capture); err != nil {
			return exitWith(exitUsage, fmt.Errorf("--capture: %w", err))
		}
	}
	witness := &simWitness{n: cfg.PacketTrial}
	if file != nil || f.report != "" {
		cfg.Packet = func(p sim.Packet) {
			if file != nil {
				file.Packet(p)
			}
			if f.report != "" {
				witness.packet(p)
			}
		}
	}
	progress := newSimProgress(cmd.ErrOrStderr(), cfg.Trials)
	cfg.Record = func(t *sim.Trial) {
		witness.trial(t)
		progress.trial(t)
	}
	res, err := sim.Run(cmd.Context(), cfg)
	progress.done()
	if file != nil {
		if err := file.Close(); err != nil {
			return fmt.Errorf("--capture: %w", err)
		}
	}
	if res == nil {
		return err
	}
	if f.report != "" {
		if err := witness.write(f.report, f.capture, cfg); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	out := cmd.OutOrStdout()
	if f.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(newSimResult(cfg, res)); err != nil {
			return err
		}
	} else if err := writeSimTable(out, cfg, res); err != nil {
		return err
	}
	switch {
	case errors.Is(err, context.Canceled):
		return exitWith(exitFailed, fmt.Errorf("interrupted after %d of %d trials", res.Trials, cfg.Trials))
	case err != nil:
		return err
	case res.Connected.Count == 0:
		return exitWith(exitFailed, nil)
	}
	return nil
}

// simProgress shows on a terminal how far a long run is.
type simProgress struct {
	w             io.Writer // nil: no terminal
	trials, count int
	start, shown  time.Time
}

// Chosen by us: a run that is over before a person looks shows nothing.
const (
	progressAfter = 500 * time.Millisecond
	progressEvery = 200 * time.Millisecond
	progressLook  = 64 // trials between two looks at the clock
)

func newSimProgress(w io.Writer, trials int) *simProgress {
	p := &simProgress{trials: trials, start: time.Now()}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.w = w
	}
	return p
}

func (p *simProgress) trial(*sim.Trial) {
	p.count++
	if p.w == nil || p.count%progressLook != 0 {
		return
	}
	now := time.Now()
	if now.Sub(p.start) < progressAfter || now.Sub(p.shown) < progressEvery {
		return
	}
	p.shown = now
	left := time.Duration(float64(now.Sub(p.start)) * float64(p.trials-p.count) / float64(p.count))
	fmt.Fprintf(p.w, "\r%d of %d trials, %v left   ", p.count, p.trials, left.Round(time.Second))
}

// done clears the line.
func (p *simProgress) done() {
	if !p.shown.IsZero() {
		fmt.Fprintf(p.w, "\r%60s\r", "")
	}
}
