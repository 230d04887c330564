package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/synpunch/synpunch/nat/predict"
)

// The object that predict --json prints, docs/predict.md.
const (
	predictFormat  = "synpunch/predict"
	predictVersion = 1
)

type predictFlags struct {
	json        bool
	local, dest string
	after       time.Duration
	top         int
}

func newPredictCommand() *cobra.Command {
	var f predictFlags
	cmd := &cobra.Command{
		Use:   "predict [FILE|-] [flags]",
		Short: "Say which external port a NAT will use next",
		Long: `Read mappings that were observed (who connected from which local port to which
destination, and as which external address and port the destination saw it) and
say how the NAT chooses ports, which observations speak for it, which ports are
probable for the next connection, and how many of them to try.

FILE has one observation on each line, as JSON or CSV (docs/predict.md):

  {"time":"2026-01-01T12:00:00Z","local":"192.168.1.2:40000",
   "dest":"198.51.100.1:3478","external":"203.0.113.7:50000"}   (on one line)
  2026-01-01T12:00:00Z,192.168.1.2:40000,198.51.100.1:3478,203.0.113.7:50000

Time and destination may be left out. Without FILE, or with -, standard input is
read. With no observation at all the answer is what is known of NATs in general.

Both ends of a punch that have the same observations get the same order of
ports. Exit code 2: an observation is wrong, or two contradict each other.`,
		Example: `  synpunch predict probes.csv
  synpunch predict probes.jsonl --local-port 40003 --dest 192.0.2.9:443 --after 500ms
  synpunch predict --local-port 40000 --json - < probes.csv
  synpunch predict /dev/null --local-port 40000          before anything was observed`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return runPredict(cmd, &f, args) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.local, "local-port", "", "`PORT` or IP:PORT that the next connection is made from (default: that of the last observation)")
	fl.StringVar(&f.dest, "dest", "", "`IP:PORT` that it goes to (default: one that was not seen before)")
	fl.DurationVar(&f.after, "after", 0, "how long after the last observation (default: the median time between observations)")
	fl.IntVar(&f.top, "top", 10, "how many ports to list")
	fl.BoolVar(&f.json, "json", false, "print one JSON object (docs/predict.md)")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"csv", "json", "jsonl", "ndjson"}, cobra.ShellCompDirectiveFilterFileExt
	}
	return cmd
}

// predictResult is what --json prints.
type predictResult struct {
	Format       string          `json:"format"`
	Version      int             `json:"version"`
	Observations int             `json:"observations"`
	SpanNs       *int64          `json:"span_ns"` // from the first to the last; null: they carry no time
	Class        predict.Class   `json:"class"`
	Words        string          `json:"words"`
	Target       predictTarget   `json:"target"`
	Ports        []predictedPort `json:"ports"`
	Tries        predictTries    `json:"tries"`
	Entropy      float64         `json:"entropy_bits"`
}

type predictTarget struct {
	Local    string      `json:"local"`
	Dest     *string     `json:"dest"` // null: one that was not seen before
	External *netip.Addr `json:"external"`
	AfterNs  int64       `json:"after_ns"`
}

type predictedPort struct {
	Port uint16  `json:"port"`
	P    float64 `json:"p"`
	Sum  float64 `json:"sum"` // of p up to here
}

type predictTries struct {
	P50 int `json:"p50"`
	P90 int `json:"p90"`
	P99 int `json:"p99"`
}

func runPredict(cmd *cobra.Command, f *predictFlags, args []string) error {
	target, err := f.target()
	if err != nil {
		return err
	}
	name := "-"
	if len(args) > 0 {
		name = args[0]
	}
	obs, err := readObservations(name, cmd.InOrStdin())
	if err != nil {
		return err
	}
	if len(obs) == 0 && f.local == "" {
		return usagef("%s: no observations; with --local-port the answer is what is known of NATs in general", inputName(name))
	}
	p, err := predict.New(obs)
	if err != nil {
		return exitWith(exitUsage, fmt.Errorf("%s: %w", inputName(name), err))
	}
	after := p.Gap()
	if cmd.Flags().Changed("after") {
		switch {
		case len(obs) == 0:
			return usagef("--after is about observations, and there are none")
		case p.Last().IsZero():
			return usagef("--after needs observations with a time; those of %s carry none", inputName(name))
		}
		after = f.after
		target.Time = p.Last().Add(after)
	}
	dist, err := p.Next(target)
	if err != nil {
		return exitWith(exitUsage, err)
	}
	res := newPredictResult(p, dist, target, after, f.top)
	if f.json {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(res)
	}
	_, err = io.WriteString(cmd.OutOrStdout(), res.text(len(p.Observations()) < len(obs), onTerminal(cmd.OutOrStdout())))
	return err
}

// target reads the flags that describe the next connection.
func (f *predictFlags) target() (t predict.Target, err error) {
	if f.local != "" {
		if t.Local, err = predict.ParseEndpoint(f.local); err != nil {
			return t, usagef("--local-port: %w", err)
		}
	}
	if f.dest != "" {
		if t.Dest, err = predict.ParseEndpoint(f.dest); err != nil {
			return t, usagef("--dest: %w", err)
		}
		if !t.Dest.Addr().IsValid() {
			return t, usagef("--dest %q: want IP:PORT", f.dest)
		}
	}
	if f.after < 0 {
		return t, usagef("--after %v: want 0 or more", f.after)
	}
	if f.top < 1 || f.top > 65535 {
		return t, usagef("--top %d: want 1 to 65535", f.top)
	}
	return t, nil
}

func inputName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

func readObservations(name string, stdin io.Reader) ([]predict.Observation, error) {
	r := stdin
	if name == "-" {
		if in, ok := stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
			return nil, usagef("name a FILE with observations, or give them on standard input")
		}
	} else {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		r = file
	}
	obs, err := predict.Parse(r)
	var bad *predict.ParseError
	switch {
	case errors.As(err, &bad):
		return nil, exitWith(exitUsage, fmt.Errorf("%s: %w", inputName(name), err))
	case err != nil:
		return nil, fmt.Errorf("%s: %w", inputName(name), err)
	}
	return obs, nil
}

func newPredictResult(p *predict.Predictor, dist *predict.Distribution, target predict.Target, after time.Duration, top int) *predictResult {
	obs := p.Observations()
	class := p.Class()
	res := &predictResult{
		Format: predictFormat, Version: predictVersion, Observations: len(obs),
		Class: class, Words: class.Describe(),
		Target: predictTarget{AfterNs: after.Nanoseconds()},
		Tries:  predictTries{dist.Tries(0.5), dist.Tries(0.9), dist.Tries(0.99)}, Entropy: dist.Entropy(),
	}
	if n := len(obs); n > 0 {
		if !p.Last().IsZero() {
			res.SpanNs = new(p.Last().Sub(obs[0].Time).Nanoseconds())
		}
		if !target.Local.IsValid() && target.Local.Port() == 0 {
			target.Local = obs[n-1].Local
		}
	}
	res.Target.Local = endpoint(target.Local)
	if target.Dest.IsValid() {
		res.Target.Dest = new(target.Dest.String())
	}
	if a := p.External(target.Local); a.IsValid() {
		res.Target.External = &a
	}
	sum := 0.0
	for _, g := range dist.Top(top) {
		sum += g.P
		res.Ports = append(res.Ports, predictedPort{g.Port, g.P, min(1, sum)})
	}
	return res
}

// endpoint is IP:PORT, or PORT when the address is not known.
func endpoint(ap netip.AddrPort) string {
	if ap.Addr().IsValid() {
		return ap.String()
	}
	return fmt.Sprint(ap.Port())
}

const (
	evidenceShown = 12 // lines; the rest is counted
	barWidth      = 40 // columns of the largest probability on a terminal
)

func (r *predictResult) text(cut, bars bool) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	c := &r.Class
	span := ""
	if r.SpanNs != nil && r.Observations > 1 {
		span = fmt.Sprintf(" in %v", time.Duration(*r.SpanNs).Round(time.Millisecond))
	}
	latest := ""
	if cut {
		latest = ", the latest in the file"
	}
	line("%s%s%s", plural(int64(r.Observations), "observation"), span, latest)
	if r.Observations == 0 {
		line("nothing is known but what NATs in general do")
	}
	line("")
	line("%s (%s)%s", r.Words, chance(c.AllocationP), others(c.Allocations))
	if c.ScopeP != nil && *c.ScopeP < 0.9 {
		line("who shares it is less sure: %v (%s)", *c.Scope, chance(*c.ScopeP))
	}
	line("mappings are %v (%s)%s", c.Mapping, chance(c.MappingP), others(c.Mappings))
	if c.LoadHigh > 0 {
		line("others take %.2g ports a second (90 %%: %.2g to %.2g)", c.Load, c.LoadLow, c.LoadHigh)
	}
	if len(c.Externals) > 1 {
		line("%d public addresses; ports are predicted for %v", len(c.Externals), *r.Target.External)
	}
	if len(c.Evidence) > 0 {
		line("\nwhat speaks for it, in bits against any port of 1024-65535")
		r.evidence(line)
	}

	dest := "a destination not seen before"
	if r.Target.Dest != nil {
		dest = *r.Target.Dest
	}
	line("\nnext external port from %s to %s, %v later", r.Target.Local, dest, time.Duration(r.Target.AfterNs).Round(time.Microsecond))
	line("  rank   port  probability      sum")
	for i, g := range r.Ports {
		bar := ""
		if bars {
			bar = "  " + strings.Repeat("#", int(g.P/r.Ports[0].P*barWidth+0.5))
		}
		line("  %4d  %5d  %9.3f %%  %5.1f %%%s", i+1, g.Port, 100*g.P, 100*g.Sum, bar)
	}
	line("\ntries for 50 %%: %d, for 90 %%: %d, for 99 %%: %d", r.Tries.P50, r.Tries.P90, r.Tries.P99)
	return b.String()
}

// others lists what is less probable than the first.
func others(list []predict.Share) string {
	if len(list) < 2 {
		return ""
	}
	var parts []string
	for _, s := range list[1:] {
		parts = append(parts, fmt.Sprintf("%s %s", s.Name, chance(s.P)))
	}
	return "; else " + strings.Join(parts, ", ")
}

// evidence prints the observations that say most, in their order.
func (r *predictResult) evidence(line func(format string, args ...any)) {
	all := r.Class.Evidence
	show := make([]int, len(all))
	for i := range show {
		show[i] = i
	}
	weight := func(i int) float64 {
		e := all[i]
		if !e.Fits {
			return 1000 - e.Bits // what does not fit comes first
		}
		return max(e.Bits, -e.Bits)
	}
	slices.SortStableFunc(show, func(a, b int) int {
		switch wa, wb := weight(a), weight(b); {
		case wa > wb:
			return -1
		case wa < wb:
			return 1
		}
		return 0
	})
	rest := show[min(len(show), evidenceShown):]
	show = show[:len(show)-len(rest)]
	slices.Sort(show)
	for _, i := range show {
		e := all[i]
		line("  line %3d  %6.1f  port %5d  %s", e.Line, e.Bits, e.Port, e.Note)
	}
	if len(rest) > 0 {
		bits := 0.0
		for _, i := range rest {
			bits += all[i].Bits
		}
		line("  %d more  %.1f in all", len(rest), bits)
	}
}

// chance prints a probability.
func chance(p float64) string {
	switch {
	case p > 0.999:
		return "> 99.9 %"
	case p >= 0.995 || p < 0.01:
		return fmt.Sprintf("%.1f %%", 100*p)
	}
	return fmt.Sprintf("%.0f %%", 100*p)
}

// onTerminal reports whether w is shown to a person.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
