package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/capture"
)

// The object that analyze --json prints, docs/analyze.md.
const (
	analyzeFormat  = "synpunch/analyze"
	analyzeVersion = 1
)

type analyzeFlags struct {
	json, ascii, all, brief, trust bool
	flow                           string
	maxFlows                       int
}

func newAnalyzeCommand() *cobra.Command {
	var f analyzeFlags
	cmd := &cobra.Command{
		Use:   "analyze [flags] FILE [FILE]",
		Short: "Say what happened to every TCP handshake in a capture",
		Long: `Read a capture (pcap or pcapng, of tcpdump, Wireshark or synpunch; - is standard
input) and print for each TCP flow its handshake as a ladder and a verdict:
ordinary open, simultaneous open, refused, answered by ICMP, timed out, aborted
or incomplete; what was sent twice; how the two SYNs crossed.

With two captures, one from each end, the flows that both saw are matched by
their sequence numbers, although NATs rewrote the addresses, and drawn as one
ladder on one clock.

Exit code 1: a file is damaged, cut short or not a capture; what could be read
is printed all the same.`,
		Example: `  tcpdump -i any -s 128 -w a.pcap tcp or icmp        what to capture with
  synpunch analyze a.pcap
  synpunch analyze --flow 203.0.113.7:40000 --json a.pcap
  synpunch analyze a.pcap b.pcap                     one from each end
  ssh router tcpdump -U -w - tcp | synpunch analyze -`,
		Args: usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error { return runAnalyze(cmd, &f, args) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.json, "json", false, "print one JSON object (docs/analyze.md)")
	fl.BoolVar(&f.ascii, "ascii", false, "draw without Unicode")
	fl.BoolVar(&f.brief, "brief", false, "one line for each flow, no ladders")
	fl.BoolVar(&f.all, "all", false, "list data packets too")
	fl.StringVar(&f.flow, "flow", "", "only flows with this `IP:PORT`, or with these characters in 'IP:PORT - IP:PORT'")
	fl.BoolVar(&f.trust, "trust-clocks", false, "two files: take their clocks as one instead of estimating the offset")
	fl.IntVar(&f.maxFlows, "max-flows", 0, "keep at most this many flows; the rest is counted (default 16384)")
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"pcap", "pcapng"}, cobra.ShellCompDirectiveFilterFileExt
	}
	return cmd
}

// analyzed is one capture and what was found in it.
type analyzed struct {
	Name       string              `json:"name"`
	Interfaces []analyzedInterface `json:"interfaces"`
	Dropped    *uint64             `json:"dropped"` // packets that the capturing system lost; null: it does not say
	Summary    capture.Summary     `json:"summary"`
	Error      string              `json:"error,omitempty"`
	Flows      []*capture.Timeline `json:"flows"`
	err        error
}

// title is the name of the file for people.
func (a *analyzed) title() string {
	if a.Name == "-" {
		return "standard input"
	}
	return a.Name
}

type analyzedInterface struct {
	Name    string           `json:"name"`
	Link    capture.LinkType `json:"link"`
	Snaplen int              `json:"snaplen"`
}

// analyzeResult is what --json prints.
type analyzeResult struct {
	Format  string            `json:"format"`
	Version int               `json:"version"`
	Files   []*analyzed       `json:"files"`
	Joined  []*capture.Joined `json:"joined,omitempty"` // with two files: flows that both have
}

func runAnalyze(cmd *cobra.Command, f *analyzeFlags, args []string) error {
	keep, err := flowFilter(f.flow)
	if err != nil {
		return exitWith(exitUsage, err)
	}
	switch {
	case f.maxFlows < 0:
		return usagef("--max-flows %d: want 1 or more", f.maxFlows)
	case len(args) == 2 && args[0] == "-" && args[1] == "-":
		return usagef("standard input can be one of the two captures, not both")
	case f.trust && len(args) == 1:
		return usagef("--trust-clocks is about two captures")
	case f.brief && f.json:
		return usagef("--brief and --json exclude each other")
	}
	res := analyzeResult{Format: analyzeFormat, Version: analyzeVersion}
	for _, name := range args {
		cfg := capture.AnalyzeConfig{MaxFlows: f.maxFlows, AllPackets: f.all, Keep: keep}
		if len(args) == 2 {
			cfg.Where = name
		}
		res.Files = append(res.Files, analyzeFile(name, cmd.InOrStdin(), &cfg))
	}
	var onlyA, onlyB []*capture.Timeline
	if len(args) == 2 {
		res.Joined, onlyA, onlyB = capture.Join(res.Files[0].Flows, res.Files[1].Flows, &capture.JoinConfig{TrustClocks: f.trust})
	}
	out := cmd.OutOrStdout()
	if f.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(&res)
	} else {
		err = res.write(out, f, onlyA, onlyB)
	}
	if err != nil {
		return err
	}
	var failed []error
	for _, a := range res.Files {
		if a.err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", a.title(), a.err))
		}
	}
	return errors.Join(failed...)
}

// flowFilter reads --flow: an endpoint, or characters of both.
func flowFilter(s string) (func(x, y netip.AddrPort) bool, error) {
	if s == "" {
		return nil, nil
	}
	if strings.TrimSpace(s) == "" {
		return nil, fmt.Errorf("--flow %q: want IP:PORT or some characters of it", s)
	}
	if end, err := netip.ParseAddrPort(s); err == nil {
		return func(x, y netip.AddrPort) bool { return x == end || y == end }, nil
	}
	return func(x, y netip.AddrPort) bool {
		f, g := capture.Flow{A: x, B: y}, capture.Flow{A: y, B: x}
		return strings.Contains(f.String(), s) || strings.Contains(g.String(), s)
	}, nil
}

// analyzeFile reads one capture. Its error is kept with what was read.
func analyzeFile(name string, stdin io.Reader, cfg *capture.AnalyzeConfig) *analyzed {
	a := &analyzed{Name: name, Interfaces: []analyzedInterface{}, Flows: []*capture.Timeline{}}
	fail := func(err error) *analyzed {
		a.err, a.Error = err, err.Error()
		return a
	}
	r := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			var path *os.PathError
			if errors.As(err, &path) {
				err = fmt.Errorf("%s: %w", path.Op, path.Err)
			}
			return fail(err)
		}
		defer file.Close()
		r = file
	}
	reader, err := capture.NewReader(r)
	if err != nil {
		return fail(err)
	}
	flows, sum, err := capture.Analyze(reader.Next, cfg)
	a.Summary = sum
	if len(flows) > 0 {
		a.Flows = flows
	}
	for _, i := range reader.Interfaces() {
		a.Interfaces = append(a.Interfaces, analyzedInterface{i.Name, i.Link, i.Snaplen})
	}
	if n, ok := reader.Dropped(); ok {
		a.Dropped = &n
	}
	if err != nil {
		return fail(err)
	}
	return a
}

// write prints the story in text.
func (res *analyzeResult) write(w io.Writer, f *analyzeFlags, onlyA, onlyB []*capture.Timeline) error {
	cfg := ladderConfig(w, f.ascii)
	p := &analyzePrinter{w: w, f: f, cfg: cfg}
	if len(res.Files) == 1 {
		for _, tl := range res.Files[0].Flows {
			p.timeline(tl)
		}
	} else {
		for _, j := range res.Joined {
			p.joined(j)
		}
		p.only(res.Files[0].Name, onlyA)
		p.only(res.Files[1].Name, onlyB)
	}
	for i, a := range res.Files {
		if i == 0 && p.n > 0 {
			p.printf("\n")
		}
		p.file(a)
	}
	return p.err
}

type analyzePrinter struct {
	w   io.Writer
	f   *analyzeFlags
	cfg *capture.LadderConfig
	n   int // flows printed
	err error
}

func (p *analyzePrinter) printf(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if p.f.ascii {
		s = capture.ASCII(s)
	}
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

// next counts a flow and writes the line above it.
func (p *analyzePrinter) next(at time.Time) {
	p.n++
	if p.f.brief {
		return
	}
	if p.n > 1 {
		p.printf("\n\n")
	}
	when := "no time in the file"
	if !at.IsZero() {
		when = "0.000 is " + at.UTC().Format("2006-01-02 15:04:05.000000 UTC")
	}
	p.printf("flow %d   %s\n", p.n, when)
}

func (p *analyzePrinter) timeline(tl *capture.Timeline) {
	p.next(tl.Reference)
	if p.f.brief {
		p.printf("%-12s  %s  %s\n", tl.Verdict, tl.Flow, tl.Detail)
		return
	}
	if p.err == nil {
		p.err = capture.WriteLadder(p.w, tl, p.cfg)
	}
}

func (p *analyzePrinter) joined(j *capture.Joined) {
	p.next(j.Reference)
	if p.f.brief {
		p.printf("%-12s  %s  %s\n", j.Verdict, j.FlowA, j.Detail)
		return
	}
	if p.err == nil {
		p.err = j.WriteLadder(p.w, p.cfg)
	}
}

// only prints the flows that one of two captures has.
func (p *analyzePrinter) only(name string, tls []*capture.Timeline) {
	for _, tl := range tls {
		if !p.f.brief {
			if p.n > 0 {
				p.printf("\n\n")
			}
			p.printf("only in %s:\n", name)
			p.n++
			if p.err == nil {
				p.err = capture.WriteLadder(p.w, tl, p.cfg)
			}
			continue
		}
		p.n++
		p.printf("%-12s  %s  %s (only in %s)\n", tl.Verdict, tl.Flow, tl.Detail, name)
	}
}

// file prints the lines about a capture as a whole.
func (p *analyzePrinter) file(a *analyzed) {
	name := a.title()
	if a.err != nil && a.Summary.Packets == 0 {
		return // the error says it
	}
	var counts []string
	for _, v := range capture.Verdicts() {
		if n := a.Summary.Verdicts[v]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, v))
		}
	}
	p.printf("%s: %s, %d of TCP, %s", name, plural(a.Summary.Packets, "packet"), a.Summary.TCP, plural(int64(a.Summary.Flows), "flow"))
	if len(counts) > 0 {
		p.printf(": %s", strings.Join(counts, ", "))
	}
	p.printf("\n")
	if a.Dropped != nil && *a.Dropped > 0 {
		p.printf("%s: the capturing system lost %d packets: what is missing here may have been on the wire\n", name, *a.Dropped)
	}
	if a.Summary.Filtered > 0 && a.Summary.Flows == 0 {
		p.printf("%s: no flow matches --flow %s\n", name, p.f.flow)
	}
	for _, line := range a.Summary.Describe() {
		p.printf("%s: %s\n", name, line)
	}
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
