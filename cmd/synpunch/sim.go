package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/nat"
)

type simFlags struct {
	engine, delay, access string
	natA, natB            string
	skew, sigma, bound    time.Duration
	jitter, timeout       time.Duration
	retries               int
	trials, parallel      int
	seed                  uint64
	scenario, capture     string
	json, ip6             bool
}

func newSimCommand() *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use:   "sim [flags]",
		Short: "Two hosts, two NATs, thousands of punches, in virtual time",
		Long: `Simulate punches: two hosts, each behind a NAT, joined by a link with delay. No
packet leaves the program and no real time passes, but the packets, the NATs and
the engine repair are the ones of a live attempt. The engine connect is a model
of connect() on Linux, connect-old of the same before mid-2024.

Tell how many trials connected and how many crossed (with 95 % confidence),
how each end ended, and how long it took. The same seed gives the same result,
however many trials run in parallel. Ctrl-C ends the run and shows what is done.

A KIND of NAT is a name, or a name and knobs that differ, or knobs alone:
  ` + wrapWords(presetNames(), 76, "  ") + `

Exit code 1: no trial connected, or the run was interrupted.`,
		Example: `  synpunch sim
  synpunch sim --engine connect --nat-a linux-rst --nat-b linux-rst --skew 30ms
  synpunch sim --nat-a cgn --nat-b eim,unsolicited=rst --delay 30ms,10ms --jitter 2ms
  synpunch sim --skew-sigma 15ms --trials 100000 --seed 7 --json
  synpunch sim --trials 1 --capture punch.pcapng`,
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
	fl.StringVar(&f.engine, "engine", string(sim.Repair), "repair, connect or connect-old; `A,B` for one each")
	fl.StringVar(&f.natA, "nat-a", lab.NATLinux, "`KIND` of NAT in front of A")
	fl.StringVar(&f.natB, "nat-b", lab.NATLinux, "`KIND` of NAT in front of B")
	fl.StringVar(&f.delay, "delay", "20ms", "delay of the link, each way; `AB,BA` for one each")
	fl.StringVar(&f.access, "access", "0s", "delay from a host to its NAT, each way; `A,B` for one each")
	fl.DurationVar(&f.jitter, "jitter", 0, "a packet takes up to this much longer on the link, uniformly")
	fl.DurationVar(&f.skew, "skew", 0, "let B send this much later than A (negative: earlier)")
	fl.DurationVar(&f.sigma, "skew-sigma", 0, "standard deviation of a normal error of the skew")
	fl.DurationVar(&f.bound, "skew-bound", 0, "half width of a uniform error of the skew, added to the normal one")
	fl.DurationVar(&f.timeout, "timeout", sim.DefaultTimeout, "give up this long after the instant")
	fl.IntVar(&f.retries, "retries", 0, "SYNs sent after an RST or ICMP error (default: repair 64, connect none; negative: none)")
	fl.IntVar(&f.trials, "trials", sim.DefaultTrials, "how many attempts")
	fl.Uint64Var(&f.seed, "seed", 1, "of every draw")
	fl.IntVar(&f.parallel, "parallel", 0, "trials at the same time (default: one for each processor)")
	fl.StringVar(&f.scenario, "scenario", "", "read NATs, delays and faults from this YAML `FILE`")
	fl.BoolVar(&f.ip6, "ip6", false, "IPv6 (kinds none and firewall)")
	fl.StringVar(&f.capture, "capture", "", "write the packets of the first trial to the pcapng `FILE`")
	fl.BoolVar(&f.json, "json", false, "print one JSON object (docs/sim.md)")
	cmd.MarkFlagFilename("scenario", "yaml", "yml")
	cmd.MarkFlagFilename("capture", "pcapng")
	for _, name := range []string{"nat-a", "nat-b"} {
		cmd.RegisterFlagCompletionFunc(name, fixed(presetNames()...))
	}
	cmd.RegisterFlagCompletionFunc("engine", fixed("repair", "connect", "connect-old"))
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
	cfg := &sim.Config{Skew: f.skew, Jitter: f.jitter, Timeout: f.timeout, Trials: f.trials, Seed: f.seed, Workers: f.parallel}
	cfg.SkewError.Sigma, cfg.SkewError.Bound = f.sigma, f.bound
	switch {
	case f.trials < 1:
		return nil, fmt.Errorf("--trials %d: want 1 or more", f.trials)
	case cmd.Flags().Changed("parallel") && f.parallel < 1:
		return nil, fmt.Errorf("--parallel %d: want 1 or more", f.parallel)
	case f.timeout <= 0:
		return nil, fmt.Errorf("--timeout %v: want more than 0", f.timeout)
	}
	engines, err := perSide("engine", f.engine, sim.ParseEngine)
	if err != nil {
		return nil, err
	}
	access, err := perSide("access", f.access, time.ParseDuration)
	if err != nil {
		return nil, err
	}
	delays, err := perSide("delay", f.delay, time.ParseDuration)
	if err != nil {
		return nil, err
	}
	cfg.A = sim.Side{Engine: engines[0], Access: access[0], Retries: f.retries}
	cfg.B = sim.Side{Engine: engines[1], Access: access[1], Retries: f.retries}
	cfg.Scenario = lab.Scenario{A: lab.Site{NAT: f.natA}, B: lab.Site{NAT: f.natB}, Link: lab.Link{AB: &delays[0], BA: &delays[1]}}
	if f.ip6 {
		cfg.Scenario.Family = lab.IP6
	}
	if f.scenario != "" {
		for _, name := range []string{"nat-a", "nat-b", "delay", "ip6"} {
			if cmd.Flags().Changed(name) {
				return nil, fmt.Errorf("--%s and --scenario exclude each other: the file says it", name)
			}
		}
		s, err := loadScenario(f.scenario)
		if err != nil {
			return nil, err
		}
		cfg.Scenario = *s
	}
	return cfg, cfg.Validate()
}

func runSim(cmd *cobra.Command, f *simFlags, cfg *sim.Config) error {
	var file *simCapture
	if f.capture != "" {
		var err error
		if file, err = createSimCapture(f.capture); err != nil {
			return exitWith(exitUsage, fmt.Errorf("--capture: %w", err))
		}
		cfg.Packet = file.packet
	}
	progress := newSimProgress(cmd.ErrOrStderr(), cfg.Trials)
	cfg.Record = progress.trial
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
