package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/matrix"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/punch"
)

type matrixFlags struct {
	world, kinds     string
	engine, strategy string
	delay, timeout   time.Duration
	trials, tries    int
	parallel         int
	seed             uint64
	learnPort        bool
	csv, json        bool
	plot             string
	budget           int
	rate             float64
}

// Chosen by us: attempts of a pair where the command line does not say.
const (
	matrixTrialsSim  = 100
	matrixTrialsLive = 8
)

func newMatrixCommand() *cobra.Command {
	var f matrixFlags
	cmd := &cobra.Command{
		Use:   "matrix [flags]",
		Short: "Which pairs of NATs connect, how often and how fast",
		Long: `Make attempts through each kind of NAT against each other, simulated
(--world sim) or with real packets between network namespaces (--world live),
and print what share of them connected: for each pair, and summed up as the
textbook's table of predictable and unpredictable NATs. An attempt is up to
--tries tries.

A list of kinds is separated by commas, or by semicolons where a kind is knobs
alone: 'eim,random' or 'mapping=adm,filtering=adf;mapping=apdm'. Words for many:
  all      every preset (the default in a simulation)
  kernel   the NATs of this kernel (the default live)
  vectors  every mapping with every filtering and allocation

Ctrl-C ends the run and shows what is done. Exit code 1: it was interrupted.`,
		Example: `  synpunch matrix
  synpunch matrix --kinds vectors --trials 1000 --plot vectors.svg
  synpunch matrix --kinds linux,linux-rst,eim --engine connect --csv
  synpunch matrix --kinds linux,random,linux-random --strategy fan --rate 150000 --tries 1
  synpunch matrix --world live --kinds linux,random,eim-eif --trials 40 --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			world, cfg, err := f.parse(cmd)
			if err != nil {
				return exitWith(exitUsage, err)
			}
			if f.world == worldLive && !netns.InIsolation() {
				return isolate(cmd.Context())
			}
			return runMatrix(cmd, &f, world, cfg)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.world, "world", worldSim, "sim or live")
	fl.StringVar(&f.kinds, "kinds", "", "`LIST` of kinds of NAT, for the rows and the columns (default: all; live: kernel)")
	fl.IntVar(&f.trials, "trials", 0, "attempts for each pair (default: 100; live: 8)")
	fl.IntVar(&f.tries, "tries", matrix.DefaultTries, "tries of an attempt, until one connects")
	fl.Uint64Var(&f.seed, "seed", 1, "of every draw")
	fl.StringVar(&f.engine, "engine", string(sim.Repair), "repair, park or connect, in a simulation connect-old too; `A,B` for one each")
	fl.StringVar(&f.strategy, "strategy", "cross", "cross or prime, `A,B` for one each; or in a simulation fan: many SYNs where one is not enough")
	fl.IntVar(&f.budget, "budget", 2*(65536-1024), "fan: SYNs that each side may send in a try")
	fl.Float64Var(&f.rate, "rate", punch.DefaultFanRate, "fan: SYNs a second of each side")
	fl.BoolVar(&f.learnPort, "learn-port", true, "with engine repair, take the port that arrives from an unpredictable peer for its own")
	fl.DurationVar(&f.delay, "delay", matrix.DefaultDelay, "delay of the link, each way")
	fl.DurationVar(&f.timeout, "timeout", matrix.DefaultTimeout, "end of a try, after the instant")
	fl.IntVar(&f.parallel, "parallel", 0, "pairs at the same time (default: one for each processor); live: attempts at the same time (default 8)")
	fl.BoolVar(&f.csv, "csv", false, "print a line of CSV for each pair (docs/matrix.md)")
	fl.BoolVar(&f.json, "json", false, "print one JSON object (docs/matrix.md)")
	fl.StringVar(&f.plot, "plot", "", "draw a heat map into `FILE`, .svg or .png")
	cmd.MarkFlagFilename("plot", "svg", "png")
	cmd.RegisterFlagCompletionFunc("world", fixed(worldSim, worldLive))
	cmd.RegisterFlagCompletionFunc("kinds", fixed(append([]string{matrix.WordAll, matrix.WordKernel, matrix.WordVectors}, presetNames()...)...))
	cmd.RegisterFlagCompletionFunc("engine", fixed("repair", "park", "connect", "connect-old"))
	cmd.RegisterFlagCompletionFunc("strategy", fixed("cross", "prime", "fan"))
	return cmd
}

// The worlds.
const (
	worldSim  = "sim"
	worldLive = "live"
)

// parse turns the words into a world and a configuration; every error is one of
// usage.
func (f *matrixFlags) parse(cmd *cobra.Command) (matrix.World, *matrix.Config, error) {
	changed := cmd.Flags().Changed
	for _, n := range []struct {
		name string
		n    int
	}{{"trials", f.trials}, {"tries", f.tries}, {"parallel", f.parallel}} {
		if changed(n.name) && n.n < 1 {
			return nil, nil, fmt.Errorf("--%s %d: want 1 or more", n.name, n.n)
		}
	}
	switch {
	case f.csv && f.json:
		return nil, nil, errors.New("--csv and --json exclude each other")
	case f.timeout <= 0:
		return nil, nil, fmt.Errorf("--timeout %v: want more than 0", f.timeout)
	}
	if f.plot != "" {
		if _, err := figure.FormatOf(f.plot); err != nil {
			return nil, nil, fmt.Errorf("--plot: %w", err)
		}
	}
	if err := f.defaults(changed); err != nil {
		return nil, nil, err
	}
	kinds, err := matrix.ParseKinds(f.kinds)
	if err != nil {
		return nil, nil, fmt.Errorf("--kinds: %w", err)
	}
	world, err := f.open(changed)
	if err != nil {
		return nil, nil, err
	}
	cfg := &matrix.Config{Kinds: matrix.ByClass(kinds), Attempts: f.trials, Tries: f.tries, Seed: f.seed, Workers: f.parallel}
	if f.world == worldLive {
		// As many attempts at the same time as f.parallel says, of one pair or of several.
		cfg.Workers = max(1, f.parallel/f.trials)
	}
	return world, cfg, nil
}

// defaults fills in what depends on the world.
func (f *matrixFlags) defaults(changed func(string) bool) error {
	kinds, trials := matrix.WordAll, matrixTrialsSim
	switch f.world {
	case worldSim:
	case worldLive:
		kinds, trials = matrix.WordKernel, matrixTrialsLive
	default:
		return fmt.Errorf("--world %q: want sim or live", f.world)
	}
	if !changed("kinds") {
		f.kinds = kinds
	}
	if !changed("trials") {
		f.trials = trials
	}
	if !changed("parallel") && f.world == worldLive {
		f.parallel = matrix.DefaultParallel
	}
	return nil
}

// open makes the world.
func (f *matrixFlags) open(changed func(string) bool) (matrix.World, error) {
	if f.world == worldLive {
		return f.openLive(changed)
	}
	if f.strategy == string(punch.Fan) {
		return f.openFan(changed)
	}
	for _, name := range []string{"budget", "rate"} {
		if changed(name) {
			return nil, fmt.Errorf("--%s is of --strategy fan", name)
		}
	}
	engines, err := perSide("engine", f.engine, sim.ParseEngine)
	if err != nil {
		return nil, err
	}
	strategies, err := perSide("strategy", f.strategy, sim.ParseStrategy)
	if err != nil {
		return nil, err
	}
	if err := f.checkLearn(changed, engines[0] == sim.Repair || engines[1] == sim.Repair); err != nil {
		return nil, err
	}
	return matrix.NewSim(&matrix.SimConfig{Engines: engines, Strategies: strategies, Delay: &f.delay, Timeout: f.timeout, LearnPort: f.learnPort})
}

// openFan makes the world of many SYNs.
func (f *matrixFlags) openFan(changed func(string) bool) (matrix.World, error) {
	for _, name := range []string{"engine", "timeout", "learn-port"} {
		if changed(name) {
			return nil, fmt.Errorf("--%s says nothing about --strategy fan: the engine is repair, and ports are learned", name)
		}
	}
	if f.budget < 1 {
		return nil, fmt.Errorf("--budget %d: want 1 or more", f.budget)
	}
	if !(f.rate > 0) {
		return nil, fmt.Errorf("--rate %v: want more than 0", f.rate)
	}
	return matrix.NewFan(&matrix.FanConfig{Budget: f.budget, Rate: f.rate, Delay: &f.delay})
}

func (f *matrixFlags) openLive(changed func(string) bool) (matrix.World, error) {
	if strings.Contains(f.strategy, string(punch.Fan)) {
		return nil, errors.New("--strategy fan: the matrix has it in a simulation only; live see 'synpunch demo --strategy fan'")
	}
	engines, err := perSide("engine", f.engine, punch.ParseEngine)
	if err != nil {
		return nil, err
	}
	strategies, err := perSide("strategy", f.strategy, punch.ParseStrategy)
	if err != nil {
		return nil, err
	}
	if err := f.checkLearn(changed, engines[0] == punch.Repair || engines[1] == punch.Repair); err != nil {
		return nil, err
	}
	link := lab.Scenario{Link: lab.Link{Delay: f.delay}}
	if err := link.Validate(); err != nil {
		return nil, err
	}
	return matrix.NewLive(&matrix.LiveConfig{Engines: engines, Strategies: strategies, Delay: &f.delay, Timeout: f.timeout,
		LearnPort: f.learnPort, Parallel: min(f.parallel, f.trials)})
}

// checkLearn refuses --learn-port where nobody could.
func (f *matrixFlags) checkLearn(changed func(string) bool, able bool) error {
	if changed("learn-port") && f.learnPort && !able {
		return fmt.Errorf("--learn-port: only the engine repair can, not %s", f.engine)
	}
	return nil
}

func runMatrix(cmd *cobra.Command, f *matrixFlags, world matrix.World, cfg *matrix.Config) error {
	plot, err := openPlot(f.plot)
	if err != nil {
		return exitWith(exitUsage, fmt.Errorf("--plot: %w", err))
	}
	progress := newProgress(cmd.ErrOrStderr(), "attempts")
	cfg.Progress = progress.show
	table, err := matrix.Run(cmd.Context(), world, cfg)
	progress.clear()
	if table == nil {
		return errors.Join(err, plot.discard())
	}
	if err := plot.write(table); err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	out := cmd.OutOrStdout()
	write := table.WriteText
	switch {
	case f.json:
		write = table.WriteJSON
	case f.csv:
		write = table.WriteCSV
	}
	if err := write(out); err != nil {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return exitWith(exitFailed, fmt.Errorf("interrupted after %d of %d attempts", table.Done(), table.Attempts*len(table.Cells)))
	}
	return err
}
