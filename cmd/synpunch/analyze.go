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
	number                         int
	maxFlows                       int
	svg, html                      string
	live                           liveFlags
}

func newAnalyzeCommand() *cobra.Command {
	var f analyzeFlags
	cmd := &cobra.Command{
		Use:   "analyze [flags] FILE [FILE] | analyze --live IFACE [flags] [FILTER]",
		Short: "Say what happened to every TCP handshake in a capture",
		Long: `Read a capture (pcap or pcapng, of tcpdump, Wireshark or synpunch; - is standard
input) and print for each TCP flow its handshake as a ladder and a verdict:
ordinary open, simultaneous open, refused, answered by ICMP, timed out, aborted
or incomplete; what was sent twice; how the two SYNs crossed. Sentences below it
say why it went so, with the packets that prove it (docs/analyze.md lists them).

A capture of several places on one path, as sim --capture and sweep write it, is
drawn with a lane for each: its interfaces are called a, nat-a, nat-b and b.

With two captures, one from each end, the flows that both saw are matched by
their sequence numbers, although NATs rewrote the addresses, and drawn as one
ladder on one clock.

With --live it follows an interface ('any': all of them) and prints each handshake
when it is complete or has failed, until Ctrl-C; a FILTER chooses packets, as
tcpdump's would: 'tcp port 40000 and host 192.0.2.1'.

Exit code 1: a file is damaged, cut short or not a capture; what could be read
is printed all the same.`,
		Example: `  tcpdump -i any -s 128 -w a.pcap tcp or icmp        what to capture with
  synpunch analyze a.pcap
  synpunch analyze --flow 203.0.113.7:40000 --json a.pcap
  synpunch analyze a.pcap b.pcap                     one from each end
  synpunch analyze --number 2 --svg flow.svg a.pcap  a picture to scale
  synpunch analyze --html a.html a.pcap              a page to pass on
  ssh router tcpdump -U -w - tcp | synpunch analyze -
  synpunch analyze --live eth0 'port 40000 and not host 192.0.2.1'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLive(cmd); err != nil {
				return err
			}
			if cmd.Flags().Changed("live") {
				return runAnalyzeLive(cmd, &f, args)
			}
			if err := usageArgs(cobra.RangeArgs(1, 2))(cmd, args); err != nil {
				return err
			}
			return runAnalyze(cmd, &f, args)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.json, "json", false, "print one JSON object (docs/analyze.md)")
	fl.BoolVar(&f.ascii, "ascii", false, "draw without Unicode")
	fl.BoolVar(&f.brief, "brief", false, "one line for each flow, no ladders")
	fl.BoolVar(&f.all, "all", false, "list data packets too")
	fl.StringVar(&f.flow, "flow", "", "only flows with this `IP:PORT`, or with these characters in 'IP:PORT - IP:PORT'")
	fl.IntVar(&f.number, "number", 0, "only flow number `N`, as a run without this flag counts them")
	fl.StringVar(&f.svg, "svg", "", "draw the flow to scale as an SVG picture to `FILE`; of several flows choose one with --flow or --number")
	fl.StringVar(&f.html, "html", "", "write a page with every flow's verdict, diagnosis, picture and packets to `FILE`")
	fl.BoolVar(&f.trust, "trust-clocks", false, "two files: take their clocks as one instead of estimating the offset")
	fl.IntVar(&f.maxFlows, "max-flows", 0, "keep at most this many flows; the rest is counted (default 16384)")
	f.live.register(fl)
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
	Flows      []analyzedFlow      `json:"flows"`
	Passages   []analyzedPassage   `json:"passages,omitempty"` // of a capture with several places on one path, in place of flows
	err        error
}

// analyzedFlow is a flow with its diagnosis.
type analyzedFlow struct {
	*capture.Timeline
	Diagnosis []capture.Finding `json:"diagnosis"`
}

// analyzedPassage is a passage with its diagnosis.
type analyzedPassage struct {
	*capture.Passage
	Diagnosis []capture.Finding `json:"diagnosis"`
}

// analyzedJoined is a flow of two captures with its diagnosis.
type analyzedJoined struct {
	*capture.Joined
	Diagnosis []capture.Finding `json:"diagnosis"`
}

func withDiagnosis(tls []*capture.Timeline) []analyzedFlow {
	list := make([]analyzedFlow, len(tls)) // not nil: [] in JSON
	for i, tl := range tls {
		list[i] = analyzedFlow{tl, tl.Diagnosis()}
	}
	return list
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
	Format  string           `json:"format"`
	Version int              `json:"version"`
	Files   []*analyzed      `json:"files"`
	Joined  []analyzedJoined `json:"joined,omitempty"` // with two files: flows that both have

	onlyA, onlyB []analyzedFlow // with two files: flows that one has
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
		res.Files = append(res.Files, analyzeFile(name, cmd.InOrStdin(), &cfg, len(args) == 1))
	}
	if len(args) == 2 {
		res.join(f.trust)
	}
	if err := res.choose(f.number); err != nil {
		return exitWith(exitUsage, err)
	}
	out := cmd.OutOrStdout()
	if err := res.draw(f); err != nil {
		return err
	}
	if f.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = enc.Encode(&res)
	} else {
		err = res.write(out, f)
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

// join puts the flows of two files together.
func (res *analyzeResult) join(trust bool) {
	var tls [2][]*capture.Timeline
	for i, file := range res.Files {
		for _, f := range file.Flows {
			tls[i] = append(tls[i], f.Timeline)
		}
	}
	joined, onlyA, onlyB := capture.Join(tls[0], tls[1], &capture.JoinConfig{TrustClocks: trust})
	for _, j := range joined {
		res.Joined = append(res.Joined, analyzedJoined{j, j.Diagnosis()})
	}
	res.onlyA, res.onlyB = withDiagnosis(onlyA), withDiagnosis(onlyB)
}

// choose keeps the flow with that number, as text output counts them; 0 keeps all.
func (res *analyzeResult) choose(number int) error {
	if number == 0 {
		return nil
	}
	n := 0
	keep := func() bool { n++; return n == number }
	first := res.Files[0]
	if len(res.Files) == 2 {
		res.Joined = slices.DeleteFunc(res.Joined, func(analyzedJoined) bool { return !keep() })
		res.onlyA = slices.DeleteFunc(res.onlyA, func(analyzedFlow) bool { return !keep() })
		res.onlyB = slices.DeleteFunc(res.onlyB, func(analyzedFlow) bool { return !keep() })
	} else {
		first.Passages = slices.DeleteFunc(first.Passages, func(analyzedPassage) bool { return !keep() })
		first.Flows = slices.DeleteFunc(first.Flows, func(analyzedFlow) bool { return !keep() })
	}
	if number > n {
		return fmt.Errorf("--number %d: there are %d flows", number, n)
	}
	return nil
}

// analyzeFile reads one capture. Its error is kept with what was read.
// lanes says that a capture of several places may be drawn with a lane for each.
func analyzeFile(name string, stdin io.Reader, cfg *capture.AnalyzeConfig, lanes bool) *analyzed {
	a := &analyzed{Name: name, Interfaces: []analyzedInterface{}, Flows: []analyzedFlow{}}
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
	err = a.read(reader, cfg, lanes)
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

// read takes the packets of a capture.
func (a *analyzed) read(r *capture.Reader, cfg *capture.AnalyzeConfig, lanes bool) error {
	// The first packet comes after what describes the interfaces.
	peek := peeked{r: r, held: true}
	peek.p, peek.err = r.Next()
	if !lanes || !severalPlaces(r.Interfaces()) {
		flows, sum, err := capture.Analyze(peek.next, cfg)
		a.Flows, a.Summary = withDiagnosis(flows), sum
		return err
	}
	passages, sum, err := capture.AnalyzeLanes(func() (string, capture.Packet, error) {
		p, err := peek.next()
		if err != nil {
			return "", p, err
		}
		return r.Interfaces()[p.Interface].Name, p, nil
	}, cfg)
	a.Summary = sum
	for _, p := range passages {
		a.Passages = append(a.Passages, analyzedPassage{p, p.Diagnosis()})
	}
	return err
}

// peeked is a reader whose first packet was looked at.
type peeked struct {
	r    *capture.Reader
	p    capture.Packet
	err  error
	held bool
}

func (k *peeked) next() (capture.Packet, error) {
	if k.held {
		k.held = false
		return k.p, k.err
	}
	return k.r.Next()
}

// severalPlaces reports whether a capture is of several places on one path.
func severalPlaces(list []capture.Interface) bool {
	n := 0
	for _, i := range list {
		if slices.Contains(capture.Lanes(), i.Name) {
			n++
		}
	}
	return n >= 2
}
