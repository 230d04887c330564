package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/matrix"
	"github.com/synpunch/synpunch/nat/odds"
	"github.com/synpunch/synpunch/punch"
)

// The object that odds --json prints, docs/odds.md.
const (
	oddsFormat  = "synpunch/odds"
	oddsVersion = 1
)

type oddsFlags struct {
	natA, natB    string
	budget, quota int
	sweeps        float64
	rate          float64
	localPorts    int
	delay         time.Duration
	looks         int
	apart         time.Duration
	others        float64
	rank          int
	check         bool
	trials        int
	packetTrials  int
	seed          uint64
	json          bool
	plot          string
}

func newOddsCommand() *cobra.Command {
	var f oddsFlags
	cmd := &cobra.Command{
		Use:   "odds --nat-a NAT --nat-b NAT [flags]",
		Short: "Say how probable it is that many SYNs connect two NATs, and how long it takes",
		Long: `Work out what 'punch --strategy fan', or one SYN each, gives with two NATs: the
probability of a connection and the expected time to the first hit against the
number of SYNs, which strategy is the best and why, and how many SYNs are enough
for 50, 90 and 99 %. It says so where there is no hope.

NAT is what 'synpunch lab kinds' lists, with knobs, or several joined by '+'.
The numbers are theory (docs/odds.md). With --check they are compared with
simulations of the whole attempt: by drawing ports, and packet by packet through
two model NATs. Exit code 1: they disagree.`,
		Example: `  synpunch odds --nat-a linux-random --nat-b linux-random --sweeps 2 --rate 150000
  synpunch odds --nat-a linux-random --nat-b linux --budget 1024 --plot odds.svg
  synpunch odds --nat-a random,max-mappings=1000 --nat-b pf --budget 64512 --check
  synpunch odds --nat-a sequential --nat-b sequential --others 50 --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runOdds(cmd, &f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.natA, "nat-a", "", "`NAT` in front of A")
	fl.StringVar(&f.natB, "nat-b", "", "`NAT` in front of B")
	fl.IntVar(&f.budget, "budget", punch.DefaultFanBudget, "SYNs that each side may send")
	fl.Float64Var(&f.sweeps, "sweeps", 0, "the budget in sweeps over the 64,512 ports from 1024 on")
	fl.Float64Var(&f.rate, "rate", punch.DefaultFanRate, "SYNs a second of each side")
	fl.IntVar(&f.quota, "quota", 0, "mappings that each NAT allows its host (default: what the NAT says)")
	fl.IntVar(&f.localPorts, "local-ports", odds.DefaultLocalPorts, "local ports that each side may send from")
	fl.DurationVar(&f.delay, "delay", matrix.DefaultDelay, "between the NATs, each way")
	fl.IntVar(&f.looks, "looks", odds.DefaultLooks, "how often third parties look at a NAT that counts, beforehand")
	fl.DurationVar(&f.apart, "apart", odds.DefaultApart, "time between two looks, and between the last one and the punch")
	fl.Float64Var(&f.others, "others", 0, "SYNs a second of each NAT's other subscribers: they move a counter")
	fl.IntVar(&f.rank, "rank", 1, "of which strategy the table, the curve and the check are, 1 is the best")
	fl.BoolVar(&f.check, "check", false, "compare with simulations")
	fl.IntVar(&f.trials, "trials", 1000, "check: attempts of which only the ports are drawn, for each budget")
	fl.IntVar(&f.packetTrials, "packet-trials", 100, "check: attempts that are simulated packet by packet, for each budget")
	fl.Uint64Var(&f.seed, "seed", 1, "check: of every draw")
	fl.BoolVar(&f.json, "json", false, "print one JSON object (docs/odds.md)")
	fl.StringVar(&f.plot, "plot", "", "draw the curve into `FILE`, .svg or .png")
	cmd.MarkFlagFilename("plot", "svg", "png")
	cmd.RegisterFlagCompletionFunc("nat-a", fixed(presetNames()...))
	cmd.RegisterFlagCompletionFunc("nat-b", fixed(presetNames()...))
	return cmd
}

// oddsResult is what --json prints.
type oddsResult struct {
	Format     string            `json:"format"`
	Version    int               `json:"version"`
	A          oddsSide          `json:"a"`
	B          oddsSide          `json:"b"`
	Budget     int               `json:"budget"`
	Rate       float64           `json:"rate"`
	DelayNs    int64             `json:"delay_ns"`
	Hopeless   *string           `json:"hopeless"` // null: there is hope
	Strategies []odds.Strategy   `json:"strategies"`
	Rank       int               `json:"rank"` // that the curve and the check are of
	Curve      []odds.Point      `json:"curve"`
	Check      []odds.Comparison `json:"check"` // null: not asked for

	fine []odds.Point // of the figure
}

type oddsSide struct {
	NAT   string   `json:"nat"`
	Words string   `json:"words"`
	Notes []string `json:"notes"` // what was made of several NATs
	odds.Side
}

func runOdds(cmd *cobra.Command, f *oddsFlags) error {
	cfg, res, err := f.parse(cmd)
	if err != nil {
		return exitWith(exitUsage, err)
	}
	o, err := odds.Compute(cfg)
	if err != nil {
		return exitWith(exitUsage, err)
	}
	if f.rank > len(o.Strategies) {
		return usagef("--rank %d: the strategies are numbered 1 to %d", f.rank, len(o.Strategies))
	}
	plot, err := openPlot(f.plot)
	if err != nil {
		return exitWith(exitUsage, fmt.Errorf("--plot: %w", err))
	}
	s := &o.Strategies[f.rank-1]
	res.fill(o, s)
	if f.check {
		progress := newProgress(cmd.ErrOrStderr(), "steps")
		check := odds.Check{Ports: f.trials, Packets: f.packetTrials, Seed: f.seed, Progress: progress.show}
		res.Check, err = check.Run(cmd.Context(), o, s)
		progress.clear()
		if err != nil {
			return errors.Join(err, plot.discard())
		}
	}
	if err := plot.draw(res.chart(s)); err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	if f.json {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		err = enc.Encode(res)
	} else {
		err = res.write(cmd.OutOrStdout(), s)
	}
	if err != nil {
		return err
	}
	for i := range res.Check {
		if !res.Check[i].Agrees() {
			return exitWith(exitFailed, errors.New("theory and simulation disagree"))
		}
	}
	return nil
}

// parse reads the flags; every error is one of usage.
func (f *oddsFlags) parse(cmd *cobra.Command) (*odds.Config, *oddsResult, error) {
	changed := cmd.Flags().Changed
	if f.natA == "" || f.natB == "" {
		return nil, nil, errors.New("name both NATs: --nat-a NAT --nat-b NAT ('synpunch lab kinds' lists them)")
	}
	if changed("sweeps") {
		const ports = 65536 - 1024
		switch {
		case changed("budget"):
			return nil, nil, errors.New("--budget and --sweeps exclude each other")
		case !(f.sweeps > 0 && f.sweeps*ports <= odds.MaxBudget):
			return nil, nil, fmt.Errorf("--sweeps %v: want more than 0, and no more than %d", f.sweeps, odds.MaxBudget/ports)
		}
		f.budget = max(1, int(math.Round(f.sweeps*ports)))
	}
	for _, n := range []struct {
		name     string
		is, from float64
	}{
		{"budget", float64(f.budget), 1}, {"rate", f.rate, 1e-3}, {"local-ports", float64(f.localPorts), 1}, {"looks", float64(f.looks), 1},
		{"rank", float64(f.rank), 1}, {"trials", float64(f.trials), 0}, {"packet-trials", float64(f.packetTrials), 0},
	} {
		if !(n.is >= n.from) {
			return nil, nil, fmt.Errorf("--%s %v: want %v or more", n.name, n.is, n.from)
		}
	}
	if changed("quota") && f.quota < 1 {
		return nil, nil, fmt.Errorf("--quota %d: want 1 or more", f.quota)
	}
	if f.apart <= 0 {
		return nil, nil, fmt.Errorf("--apart %v: want more than 0", f.apart)
	}
	if f.check && f.trials+f.packetTrials == 0 {
		return nil, nil, errors.New("--check needs --trials or --packet-trials")
	}
	if f.plot != "" {
		if _, err := figure.FormatOf(f.plot); err != nil {
			return nil, nil, fmt.Errorf("--plot: %w", err)
		}
	}
	cfg := &odds.Config{Budget: f.budget, Rate: f.rate, Quota: f.quota, LocalPorts: f.localPorts, Delay: f.delay, Looks: f.looks, Apart: f.apart, Others: f.others}
	res := &oddsResult{Format: oddsFormat, Version: oddsVersion, Budget: f.budget, Rate: f.rate, DelayNs: f.delay.Nanoseconds(), Rank: f.rank}
	var err error
	if cfg.A, res.A.Notes, err = oddsNAT(f.natA); err != nil {
		return nil, nil, fmt.Errorf("--nat-a: %w", err)
	}
	if cfg.B, res.B.Notes, err = oddsNAT(f.natB); err != nil {
		return nil, nil, fmt.Errorf("--nat-b: %w", err)
	}
	res.A.NAT, res.B.NAT = f.natA, f.natB
	return cfg, res, nil
}

// Rows of the table, and points of the figure: chosen by us.
const (
	oddsRows   = 10
	oddsPoints = 120
)

func (r *oddsResult) fill(o *odds.Odds, s *odds.Strategy) {
	r.A.Side, r.B.Side = o.A, o.B
	r.A.Words, r.B.Words = o.A.String(), o.B.String()
	r.Strategies = o.Strategies
	if o.Hopeless != "" {
		r.Hopeless = &o.Hopeless
	}
	var rows, fine []int
	for n := r.Budget; n >= 1 && len(rows) < oddsRows; n /= 2 {
		rows = append([]int{n}, rows...)
	}
	for i := 1; i <= oddsPoints; i++ {
		n := max(1, int(math.Round(float64(r.Budget)*float64(i)/oddsPoints)))
		if len(fine) == 0 || fine[len(fine)-1] != n {
			fine = append(fine, n)
		}
	}
	r.Curve = o.Curve(s, rows)
	r.fine = o.Curve(s, fine)
}
