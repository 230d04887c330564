package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/synpunch/synpunch/capture"
)

// The objects that analyze --live --json prints, one a line, docs/analyze.md.
const (
	liveFormat  = "synpunch/handshake"
	liveVersion = 1
)

// liveTick is how often a live capture looks for handshakes that time out, and
// so about how late they are told.
const liveTick = 100 * time.Millisecond

// liveFlags are those of analyze --live.
type liveFlags struct {
	iface   string
	ladder  bool
	capture string
	count   int
	timeout time.Duration
}

func (f *liveFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.iface, "live", "", "follow the handshakes on the interface `IFACE`; any: on all")
	fl.BoolVar(&f.ladder, "ladder", false, "--live: draw each handshake's ladder too")
	fl.StringVar(&f.capture, "capture", "", "--live: write the packets to the pcapng `FILE`")
	fl.IntVar(&f.count, "count", 0, "--live: end after `N` handshakes (default: at Ctrl-C)")
	fl.DurationVar(&f.timeout, "timeout", 3*time.Second, "--live: tell of a SYN that nothing answered for this long")
}

// liveOnly are the flags that need --live, and fileOnly those that it excludes.
var (
	liveOnly = []string{"ladder", "capture", "count", "timeout"}
	fileOnly = []string{"number", "svg", "html", "trust-clocks"}
)

// checkLive complains about flags that do not go together.
func checkLive(cmd *cobra.Command) error {
	live := cmd.Flags().Changed("live")
	wrong, why := liveOnly, "needs --live"
	if live {
		wrong, why = fileOnly, "is about files, not about --live"
	}
	for _, name := range wrong {
		if cmd.Flags().Changed(name) {
			return usagef("--%s %s", name, why)
		}
	}
	return nil
}

// liveObject is one handshake in JSON.
type liveObject struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Number  int    `json:"number"` // among the flows since the start, from 1
	analyzedFlow
}

func runAnalyzeLive(cmd *cobra.Command, f *analyzeFlags, args []string) error {
	keep, err := flowFilter(f.flow)
	if err != nil {
		return exitWith(exitUsage, err)
	}
	switch {
	case f.live.iface == "":
		return usagef("--live: which interface? 'any' is all of them")
	case f.live.count < 0 || f.maxFlows < 0 || f.live.timeout <= 0:
		return usagef("--count and --max-flows want 1 or more, --timeout more than 0")
	case f.json && (f.live.ladder || f.brief):
		return usagef("--json has all that --ladder and --brief choose from")
	}
	expression := strings.Join(args, " ")
	if _, err := os.Stat(expression); err == nil && len(args) == 1 {
		return usagef("--live captures from an interface, and %s is a file: leave one of them out", expression)
	}
	text := liveFilter(expression)
	filter, err := capture.CompileFilter(text)
	if err != nil {
		return exitWith(exitUsage, err)
	}
	iface := f.live.iface
	if iface == "any" {
		iface = ""
	}
	// Headers are enough. Segments may be cut up later or have been put together.
	cfg := capture.Config{Filter: filter, FilterText: text, Snaplen: 256, Cooked: true}
	rx, err := capture.Open(iface, &cfg)
	if err != nil {
		code := exitFailed
		if errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported) {
			code = exitMissing
		}
		return exitWith(code, err)
	}
	defer rx.Close()
	l := &liveAnalysis{
		f: f, rx: rx, out: cmd.OutOrStdout(), cfg: ladderConfig(cmd.OutOrStdout(), f.ascii), json: json.NewEncoder(cmd.OutOrStdout()),
		follower: capture.NewFollower(&capture.FollowConfig{
			Analyze: capture.AnalyzeConfig{MaxFlows: f.maxFlows, AllPackets: f.all, Keep: keep}, Timeout: f.live.timeout,
		}),
	}
	if f.live.capture != "" {
		file, err := os.Create(f.live.capture)
		if err != nil {
			return err
		}
		defer file.Close()
		if l.writer, err = capture.NewWriter(file); err != nil {
			return err
		}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "following %s, filter %q; Ctrl-C ends it\n", f.live.iface, text)
	if err := l.run(cmd.Context()); err != nil {
		return err
	}
	return l.end(cmd.ErrOrStderr())
}

// liveFilter is what the kernel is asked for: TCP that the expression lets pass,
// and ICMP, of which errors about a flow that is followed are told. Who names ICMP
// in the expression decides about it.
func liveFilter(expression string) string {
	switch {
	case strings.TrimSpace(expression) == "":
		return "tcp or icmp or icmp6"
	case strings.Contains(expression, "icmp"):
		return expression
	}
	return "tcp and ( " + expression + " ) or icmp or icmp6"
}

// liveAnalysis is a live capture being followed.
type liveAnalysis struct {
	f        *analyzeFlags
	rx       *capture.Live
	out      io.Writer
	cfg      *capture.LadderConfig
	json     *json.Encoder
	follower *capture.Follower
	writer   *capture.Writer // nil: nothing is written
	written  int             // interfaces that the file describes
	printed  int
}

func (l *liveAnalysis) full() bool { return l.f.live.count > 0 && l.printed >= l.f.live.count }

// run follows until ctx ends or enough was told.
func (l *liveAnalysis) run(ctx context.Context) error {
	next := time.Now().Add(liveTick)
	for ctx.Err() == nil && !l.full() {
		wait, cancel := context.WithDeadline(ctx, next)
		p, err := l.rx.Next(wait)
		cancel()
		switch {
		case err == nil:
			l.follower.Add(&p)
			if err := l.write(p); err != nil {
				return err
			}
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		case errors.Is(err, syscall.ENETDOWN):
			// The interface went down: the capture goes on when it is up again.
		default:
			return err
		}
		if now := time.Now(); !now.Before(next) {
			next = now.Add(liveTick)
			if err := l.tell(l.follower.Decided(now)); err != nil {
				return err
			}
		}
	}
	return nil
}

// write keeps a packet in the file.
func (l *liveAnalysis) write(p capture.Packet) error {
	if l.writer == nil {
		return nil
	}
	for _, i := range l.rx.Interfaces()[l.written:] {
		if _, err := l.writer.AddInterface(i); err != nil {
			return err
		}
		l.written++
	}
	return l.writer.WritePacket(p)
}

// tell prints handshakes.
func (l *liveAnalysis) tell(list []*capture.Timeline) error {
	for _, tl := range list {
		if l.full() {
			return nil
		}
		l.printed++
		flow := analyzedFlow{tl, tl.Diagnosis()}
		if l.f.json {
			if err := l.json.Encode(liveObject{liveFormat, liveVersion, tl.Number(), flow}); err != nil {
				return err
			}
			continue
		}
		if err := l.print(&flow); err != nil {
			return err
		}
	}
	return nil
}

// print writes a handshake in words: a line, why it failed, the ladder if asked for.
func (l *liveAnalysis) print(flow *analyzedFlow) error {
	s := story{verdict: flow.Verdict, detail: flow.Detail, flow: flow.Flow, diagnosis: flow.Diagnosis}
	line := fmt.Sprintf("%s  #%d  %s\n", flow.Start.Format("15:04:05.000000"), flow.Number(), s.brief())
	if l.f.ascii {
		line = capture.ASCII(line)
	}
	if _, err := io.WriteString(l.out, line); err != nil {
		return err
	}
	if l.f.live.ladder {
		if err := capture.WriteLadder(l.out, flow.Timeline, l.cfg); err != nil {
			return err
		}
	}
	good := flow.Verdict == capture.Ordinary || flow.Verdict == capture.Simultaneous
	if l.f.brief || good && !l.f.live.ladder {
		return nil
	}
	return capture.WriteDiagnosis(l.out, flow.Diagnosis, l.cfg)
}

// end tells what was not told yet, and the counts.
func (l *liveAnalysis) end(w io.Writer) error {
	list, sum := l.follower.Finish(time.Now())
	if err := l.tell(list); err != nil {
		return err
	}
	received, dropped, err := l.rx.Stats()
	if err != nil {
		return err
	}
	if l.writer != nil {
		if err := l.finishFile(received, dropped); err != nil {
			return err
		}
	}
	a := analyzed{Name: l.f.live.iface, Summary: sum}
	if dropped > 0 {
		a.Dropped = &dropped
	}
	fmt.Fprintf(w, "%s: %s told; %s\n", a.Name, plural(int64(l.printed), "handshake"), a.counts())
	for _, line := range a.remarks() {
		fmt.Fprintf(w, "%s: %s\n", a.Name, line)
	}
	return nil
}

// finishFile writes the counts of the capture. They are those of all interfaces
// together: the first has them.
func (l *liveAnalysis) finishFile(received, dropped uint64) error {
	if l.written == 0 {
		for _, i := range l.rx.Interfaces() {
			if _, err := l.writer.AddInterface(i); err != nil {
				return err
			}
			l.written++
		}
	}
	if l.written == 0 {
		return nil
	}
	return l.writer.WriteStats(0, time.Now(), received, dropped)
}
