package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/rendezvous/ntp"
	"github.com/synpunch/synpunch/timing"
)

// The object that clock --json prints, docs/serve.md.
const (
	clockFormat  = "synpunch/clock"
	clockVersion = 1
)

// clockMaxSamples keeps a measurement from becoming a nuisance to the server.
const clockMaxSamples = 64

// windows are the round trips between two NATs that the verdict is about.
var windows = []struct {
	rtt   time.Duration
	words string
}{
	{200 * time.Microsecond, "one LAN"},
	{time.Millisecond, "one provider, one city"},
	{10 * time.Millisecond, "one country"},
	{40 * time.Millisecond, "one continent"},
	{150 * time.Millisecond, "across an ocean"},
}

type clockFlags struct {
	ntp      []string
	samples  int
	interval time.Duration
	timeout  time.Duration
	ip       ipFlags
	json     bool
}

func newClockCommand() *cobra.Command {
	var f clockFlags
	cmd := &cobra.Command{
		Use:   "clock --ntp HOST[:PORT],... [flags]",
		Short: "Measure this host's clock against NTP servers, and what that is good for",
		Long: `Ask NTP servers (synpunch serve, or any of RFC 5905) several times each and say
how far their clocks are from this host's, within a bound that holds whatever
the asymmetry of the path. It never sets the clock.

Two peers that ask the same server need only that bound. Peers that ask
different servers need the true time, and the bound grows by what the servers
say about their own clocks. For both cases it says how probable a crossing is,
aimed at the middle of the window, when both peers have this bound; the errors
of sending and of the paths come on top (synpunch sim).

Exit code 1: no server answered, or those that did contradict each other.`,
		Example: `  synpunch clock --ntp 203.0.113.1
  synpunch clock --ntp ntp1.example.org,ntp2.example.org,203.0.113.1:1123 --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runClock(cmd, &f) },
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.ntp, "ntp", nil, "`HOST[:PORT]` of NTP servers (default port 123)")
	fl.IntVar(&f.samples, "samples", 8, fmt.Sprintf("exchanges with each server, 1 to %d", clockMaxSamples))
	fl.DurationVar(&f.interval, "interval", 250*time.Millisecond, "time from one request to the next, 50ms or more")
	fl.DurationVar(&f.timeout, "timeout", time.Second, "how long to wait for each answer")
	f.ip.register(fl)
	fl.BoolVar(&f.json, "json", false, "print one JSON object (docs/serve.md)")
	return cmd
}

// clockResult is what --json prints.
type clockResult struct {
	Format  string      `json:"format"`
	Version int         `json:"version"`
	Servers []clockLook `json:"servers"`
	// UTC is the true time minus this host's, as most of the synchronised servers have it; null when
	// none is synchronised, or when they contradict each other.
	UTC    *timing.Offset `json:"utc"`
	Agree  int            `json:"agree"`  // synchronised servers whose interval contains it
	Kernel *timing.Clock  `json:"kernel"` // what this host's kernel thinks of its clock; null where it cannot be asked
	// Windows says what two peers with these bounds can expect.
	Windows []clockWindow `json:"windows"`
	// SureSameNs and SureUTCNs are the shortest round trips between the NATs at which the clocks
	// alone cannot make a crossing fail; null when not known.
	SureSameNs *int64 `json:"sure_same_server_ns"`
	SureUTCNs  *int64 `json:"sure_utc_ns"`
}

type clockLook struct {
	Server      string           `json:"server"`
	Error       string           `json:"error,omitempty"`
	Measurement *ntp.Measurement `json:"measurement"` // null after an error
	Agrees      bool             `json:"agrees"`      // its interval contains the common one
	err         error
}

type clockWindow struct {
	RTTNs int64    `json:"rtt_ns"`
	Words string   `json:"words"`
	Same  *float64 `json:"p_same_server"` // probability of a crossing; null: not known
	UTC   *float64 `json:"p_utc"`
}

func (f *clockFlags) check() error {
	switch {
	case len(f.ntp) == 0:
		return usagef("--ntp is needed: whom to ask, such as the HOST where 'synpunch serve' runs")
	case f.samples < 1 || f.samples > clockMaxSamples:
		return usagef("--samples %d: want 1 to %d", f.samples, clockMaxSamples)
	case f.interval < 50*time.Millisecond:
		return usagef("--interval %v: want 50ms or more; servers refuse those who ask too often", f.interval)
	case f.timeout <= 0:
		return usagef("--timeout %v: want more than 0", f.timeout)
	}
	return nil
}

func runClock(cmd *cobra.Command, f *clockFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx := cmd.Context()
	servers, err := resolveServers(ctx, "--ntp", f.ntp, ntp.DefaultPort, f.ip)
	if err != nil {
		return err
	}
	res := &clockResult{Format: clockFormat, Version: clockVersion}
	progress := newProgress(cmd.ErrOrStderr(), "exchanges")
	for i, s := range servers {
		look := clockLook{Server: s.name}
		if s.name != s.at.String() {
			look.Server = fmt.Sprintf("%s (%v)", s.name, s.at)
		}
		look.Measurement, look.err = ntp.Measure(ctx, s.at, &ntp.Config{
			Samples: f.samples, Interval: f.interval, Timeout: f.timeout,
			Progress: func(done, of int) { progress.show(i*of+done, len(servers)*of) },
		})
		if ctx.Err() != nil {
			progress.clear()
			return ctx.Err()
		}
		if look.err != nil {
			look.Error = look.err.Error()
		}
		res.Servers = append(res.Servers, look)
	}
	progress.clear()
	failed := res.judge(time.Now())
	if f.json {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		err = enc.Encode(res)
	} else {
		_, err = io.WriteString(cmd.OutOrStdout(), res.text())
	}
	if err == nil && failed != nil {
		return exitWith(exitFailed, failed)
	}
	return err
}

// judge fills in what the measurements say together, as of now. The error says
// why that is nothing.
func (r *clockResult) judge(now time.Time) error {
	if c, err := timing.Discipline(); err == nil {
		r.Kernel = &c
	}
	var best *timing.Offset
	var utc []timing.Offset
	var of []int
	for i, s := range r.Servers {
		if s.Measurement == nil {
			continue
		}
		aged := ntp.Age(s.Measurement.Offset, now.Sub(s.Measurement.At), ntp.DefaultTolerance)
		if best == nil || aged.Bound < best.Bound {
			best = &aged
		}
		if o, ok := s.Measurement.UTC(); ok {
			utc = append(utc, ntp.Age(o, now.Sub(s.Measurement.At), ntp.DefaultTolerance))
			of = append(of, i)
		}
	}
	if best == nil {
		return errors.New("no server answered")
	}
	o, in, ok := ntp.Agree(utc)
	if ok {
		r.UTC = &o
		for i, agrees := range in {
			if agrees {
				r.Agree++
				r.Servers[of[i]].Agrees = true
			}
		}
	}
	r.SureSameNs = new(sure(best.Bound))
	if r.UTC != nil {
		r.SureUTCNs = new(sure(o.Bound))
	}
	for _, w := range windows {
		cw := clockWindow{RTTNs: w.rtt.Nanoseconds(), Words: w.words, Same: new(crossing(w.rtt, best.Bound))}
		if r.UTC != nil {
			cw.UTC = new(crossing(w.rtt, o.Bound))
		}
		r.Windows = append(r.Windows, cw)
	}
	if len(utc) > 1 && !ok {
		return errors.New("the servers contradict each other, and none has a majority: some of them, or what they say about themselves, are wrong")
	}
	return nil
}

// sure is the round trip whose window is wider than what two clocks with this bound can
// miss its middle by: half of it is the margin, and both errors add.
func sure(bound time.Duration) int64 { return 4 * bound.Nanoseconds() }

// crossing is the probability that two peers whose clocks have this bound cross in the
// middle of a symmetric path.
func crossing(rtt, bound time.Duration) float64 {
	p := timing.Party{Clock: timing.Offset{Bound: bound}}
	return timing.Appointment{A: p, B: p, Path: timing.Path{AB: rtt / 2, BA: rtt / 2}}.Probability(0)
}

func (r *clockResult) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, s := range r.Servers {
		m := s.Measurement
		if m == nil {
			line("%s\n  %s", s.Server, s.Error)
			continue
		}
		line("%s", s.Server)
		line("  its clock       %v against this host's, from %s, round trip %v", round(m.Offset), plural(int64(m.Samples), "exchange"), m.Delay.Round(time.Microsecond))
		if m.Synchronised {
			line("  says of itself  within %v of the true time, stratum %d (%s)", m.Root.Round(time.Microsecond), m.Stratum, m.RefID)
		} else {
			line("  says of itself  not synchronised (%s): good for peers that both ask it", m.RefID)
		}
		if m.Lost > 0 || m.Strange > 0 {
			line("  unanswered      %d; passed over as not the answer: %s", m.Lost, plural(int64(m.Strange), "packet"))
		}
		if m.Kissed != "" {
			line("  ended early     it says %s: asked too often", m.Kissed)
		}
		if m.Synchronised && len(r.Servers) > 1 && r.UTC != nil && !s.Agrees {
			line("  disagrees with the other servers")
		}
	}
	if r.UTC != nil {
		line("true time         %v against this host's, by %s", round(*r.UTC), plural(int64(r.Agree), "server"))
	}
	switch {
	case r.Kernel == nil:
	case r.Kernel.Synchronised:
		line("this host's clock is kept, to %v, says its kernel", r.Kernel.MaxError)
	default:
		line("this host's clock is kept by nobody, says its kernel: measure shortly before a punch")
	}
	if len(r.Windows) > 0 {
		line("\nprobability of a crossing when both peers have this bound")
		line("  round trip between the NATs            same server   different servers")
		for _, w := range r.Windows {
			line("  %-8v %-28s  %11s   %17s", time.Duration(w.RTTNs), w.Words, perCent(w.Same), perCent(w.UTC))
		}
		line("  certain, but for sending, from         %11s   %17s", span(r.SureSameNs), span(r.SureUTCNs))
	}
	return b.String()
}

func round(o timing.Offset) timing.Offset {
	return timing.Offset{Offset: o.Offset.Round(time.Microsecond), Bound: o.Bound.Round(time.Microsecond)}
}

func perCent(p *float64) string {
	switch {
	case p == nil:
		return "not known"
	case *p >= 1:
		return "100 %"
	}
	return chance(*p)
}

func span(ns *int64) string {
	if ns == nil {
		return "not known"
	}
	return time.Duration(*ns).Round(time.Microsecond).String()
}
