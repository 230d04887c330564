package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sweep"
)

type sweepFlags struct {
	arm armFlags // of the only arm, or what the arms have in common

	world, over    string
	from, to, step string
	arms           []string
	trials         int
	seed           uint64
	timeout        string
	bytes          int64
	captures       string
	ip6            bool

	out, resume         string
	csv, jsonl, parquet string
	json, png           bool
	parallel            int
	command             []string // that makes the same trials again
}

// sweepOutput are the flags that do not change which trials are made.
var sweepOutput = []string{"output", "resume", "csv", "jsonl", "parquet", "json", "png", "parallel", "help"}

func newSweepCommand() *cobra.Command {
	f := sweepFlags{arm: defaultArm()}
	cmd := &cobra.Command{
		Use:   "sweep [flags]",
		Short: "Sweep the skew, or another parameter, and see where SYNs meet",
		Long: `Make trials over a grid of one parameter or two, simulated (--world sim) or with
real packets between network namespaces (--world live), and print for every point
what became of them: the share that connected, crossed, were refused or timed out
with 95 % intervals, the time to established, the margin, and the errors of the
sending instants and of the skew. The parameters (--over):
  skew         B's instant less A's
  delay        of the link, mean of both ways
  asymmetry    delay from A to B less that from B to A
  ttl          of the SYNs, with strategy prime of the priming SYNs
  jitter       a packet takes up to this much longer on the link
  clock-error  each host's clock is wrong by up to this much
  rst-delay    how long the NATs (models) wait before they answer

With --arm NAME=FLAGS, twice or more, ways to punch are compared: trial by trial,
at each point one after the other, with the same draws of what is random in the
world. FLAGS are those from --engine to --rst-delay; outside of --arm they are of
all arms.

-o DIR keeps everything: sweep.json, trials.jsonl (each trial as soon as it is
made), captures, figures. Ctrl-C ends the run, shows what is done, and --resume
DIR goes on. docs/sweep.md describes the files.

Exit code 1: it was interrupted.`,
		Example: `  synpunch sweep --nat-a linux-rst --nat-b linux-rst --from -25ms --to 25ms --step 1ms \
      --arm connect='--engine connect' --arm repair='--engine repair' -o window
  synpunch sweep --world live --delay 300us --from -1ms --to 1ms --step 50us \
      --nat-a linux-rst --nat-b linux-rst --arm naive='--engine connect --timer sleep' --arm exact='--engine connect'
  synpunch sweep --over skew,delay --from -50ms,0s --to 50ms,40ms --step 2ms,2ms --engine connect -o map
  synpunch sweep --over clock-error --to 50ms --step 5ms --trials 1000 --parquet clocks.parquet
  synpunch sweep --resume window`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.open(cmd)
			if err != nil {
				return exitWith(exitUsage, err)
			}
			if s.cfg.World == sweep.Live && !netns.InIsolation() {
				return isolate(cmd.Context())
			}
			return s.run(cmd)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *sweepFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.world, "world", sweep.Sim, "sim or live")
	fl.StringVar(&f.over, "over", string(sweep.Skew), "the parameter to vary; `AXIS,AXIS` for two, a map")
	fl.StringVar(&f.from, "from", "", "lowest value; `X,Y` of two parameters (default: see docs/sweep.md)")
	fl.StringVar(&f.to, "to", "", "highest value; `X,Y` of two parameters")
	fl.StringVar(&f.step, "step", "", "distance of the values; `X,Y` of two parameters")
	fl.IntVar(&f.trials, "trials", 20, "of each arm at each point")
	fl.StringArrayVar(&f.arms, "arm", nil, "`NAME=FLAGS`: a way to punch, to be compared with others")
	f.arm.register(fl)
	fl.Uint64Var(&f.seed, "seed", 1, "of the order of the trials and of every draw")
	fl.StringVar(&f.timeout, "timeout", sweep.DefaultTimeout.String(), "end of a trial, after the instants")
	fl.Int64Var(&f.bytes, "bytes", 0, "live: each end sends this many to the other, to be compared there")
	fl.StringVar(&f.captures, "captures", sweep.CaptureNone, "of which trials the packets are kept in DIR: all, failed, none, or `N` of each arm at each point")
	fl.BoolVar(&f.ip6, "ip6", false, "IPv6 (NATs none and firewall)")
	fl.StringVarP(&f.out, "output", "o", "", "keep trials, captures and figures in `DIR`")
	fl.StringVar(&f.resume, "resume", "", "go on with the stopped sweep in `DIR`")
	fl.StringVar(&f.csv, "csv", "", "write a row for each trial to `FILE` as CSV; - is standard output")
	fl.StringVar(&f.jsonl, "jsonl", "", "the same as JSON lines")
	fl.StringVar(&f.parquet, "parquet", "", "the same as Parquet")
	fl.Lookup("jsonl").Usage = "write a row for each trial to `FILE` as JSON lines; - is standard output"
	fl.Lookup("parquet").Usage = "write a row for each trial to `FILE` as Parquet"
	fl.BoolVar(&f.json, "json", false, "print the summary as one JSON object (docs/sweep.md)")
	fl.BoolVar(&f.png, "png", false, "draw the figures in DIR as PNG too, not only as SVG")
	fl.IntVar(&f.parallel, "parallel", 0, "simulated trials at the same time (default: one for each processor); live trials are made one by one")
	cmd.MarkFlagDirname("output")
	cmd.MarkFlagDirname("resume")
	cmd.MarkFlagFilename("csv", "csv")
	cmd.MarkFlagFilename("jsonl", "jsonl")
	cmd.MarkFlagFilename("parquet", "parquet")
	cmd.RegisterFlagCompletionFunc("world", fixed(sweep.Sim, sweep.Live))
	var axes []string
	for _, a := range sweep.Axes() {
		axes = append(axes, string(a))
	}
	cmd.RegisterFlagCompletionFunc("over", fixed(axes...))
	cmd.RegisterFlagCompletionFunc("captures", fixed(sweep.CaptureNone, sweep.CaptureFailed, sweep.CaptureAll))
	cmd.RegisterFlagCompletionFunc("engine", fixed("repair", "park", "connect", "connect-old"))
	cmd.RegisterFlagCompletionFunc("strategy", fixed("cross", "prime"))
	cmd.RegisterFlagCompletionFunc("timer", fixed(string(sweep.TimerExact), string(sweep.TimerSleep)))
	for _, name := range []string{"nat-a", "nat-b"} {
		cmd.RegisterFlagCompletionFunc(name, fixed(presetNames()...))
	}
}

// open says what is to be done; every error is one of usage.
func (f *sweepFlags) open(cmd *cobra.Command) (*sweepRun, error) {
	if err := f.check(cmd.Flags()); err != nil {
		return nil, err
	}
	r := &sweepRun{flags: f}
	if f.resume != "" {
		m, _, err := sweep.Read(f.resume)
		if err != nil {
			return nil, fmt.Errorf("--resume: %w", err)
		}
		r.cfg = &m.Config
		return r, nil
	}
	cfg, err := f.config()
	if err != nil {
		return nil, err
	}
	r.cfg = cfg
	f.command = commandLine(cmd.Flags())
	return r, nil
}

func (f *sweepFlags) check(fl *pflag.FlagSet) error {
	var changed []string
	fl.Visit(func(flag *pflag.Flag) { changed = append(changed, flag.Name) })
	toStdout := 0
	for _, name := range []string{f.csv, f.jsonl} {
		if name == stdoutName {
			toStdout++
		}
	}
	if f.json {
		toStdout++
	}
	switch {
	case toStdout > 1:
		return errors.New("--csv -, --jsonl - and --json exclude each other: one of them can have standard output")
	case f.parquet == stdoutName:
		return errors.New("--parquet -: want the name of a file")
	case slices.Contains(changed, "parallel") && f.parallel < 1:
		return fmt.Errorf("--parallel %d: want 1 or more", f.parallel)
	case f.png && f.out == "" && f.resume == "":
		return errors.New("--png: figures are drawn with -o DIR")
	case f.captures != sweep.CaptureNone && f.out == "" && f.resume == "":
		return errors.New("--captures: they are kept with -o DIR")
	case f.resume == "":
		return nil
	case f.out != "":
		return errors.New("--resume and -o exclude each other: a sweep goes on where it is")
	}
	for _, name := range changed {
		if !slices.Contains(sweepOutput, name) {
			return fmt.Errorf("--resume and --%s exclude each other: sweep.json says which trials are made", name)
		}
	}
	return nil
}

// commandLine is what makes the same trials again.
func commandLine(fl *pflag.FlagSet) []string {
	line := []string{"synpunch", "sweep"}
	fl.VisitAll(func(flag *pflag.Flag) {
		if slices.Contains(sweepOutput, flag.Name) || !flag.Changed && flag.Name != "seed" {
			return
		}
		values := []string{flag.Value.String()}
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			line = append(line, "--"+flag.Name+"="+v)
		}
	})
	return line
}

// config is what the flags say.
func (f *sweepFlags) config() (*sweep.Config, error) {
	cfg := &sweep.Config{World: f.world, Trials: f.trials, Seed: f.seed, Bytes: f.bytes, Captures: f.captures, Family: lab.IP4}
	if f.ip6 {
		cfg.Family = lab.IP6
	}
	var err error
	if cfg.Timeout, err = positive("timeout", f.timeout); err != nil {
		return nil, err
	}
	if f.trials < 1 {
		return nil, fmt.Errorf("--trials %d: want 1 or more", f.trials)
	}
	if _, err := strconv.Atoi(f.captures); err != nil && !slices.Contains([]string{sweep.CaptureNone, sweep.CaptureFailed, sweep.CaptureAll}, f.captures) {
		return nil, fmt.Errorf("--captures %q: want all, failed, none or a number", f.captures)
	}
	if cfg.Axes, err = f.grids(); err != nil {
		return nil, err
	}
	if cfg.Arms, err = f.armList(); err != nil {
		return nil, err
	}
	return cfg, cfg.Validate()
}
