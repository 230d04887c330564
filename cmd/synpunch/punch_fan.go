package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/synpunch/synpunch/punch"
)

// fanFlags are the words about a fan-out.
type fanFlags struct {
	localPorts, budget, rate int
	prime                    string
	spread                   time.Duration
	inOrder, whole           bool
	consent                  string
	own                      bool
	peerSYNs, peerPorts      int
}

func (f *fanFlags) register(fl *pflag.FlagSet) {
	fl.IntVar(&f.localPorts, "local-ports", 1, "fan: `N` source ports in a row, each of which sends to all remote ports")
	fl.IntVar(&f.budget, "budget", punch.DefaultFanBudget, "fan: send at most `N` SYNs")
	fl.IntVar(&f.rate, "rate", punch.DefaultFanRate, "fan: SYNs a second")
	fl.BoolVar(&f.inOrder, "in-order", false, "fan: take the remote ports in the given order, the best first, instead of a random one")
	fl.StringVar(&f.prime, "prime", "auto", "fan: `WHEN` to open our own NAT beforehand with SYNs that end between the NATs: auto (if the peer's answers), always, never")
	fl.DurationVar(&f.spread, "spread", 0, "fan: both ends have opened their NATs this long after the instant (default: what the SYNs take, and a fifth)")
	fl.StringVar(&f.consent, "consent", "", "fan: the `TOKEN` of the peer that allows more than 4096 SYNs ('synpunch consent' makes it)")
	fl.BoolVar(&f.own, "i-own-both-ends", false, "fan: both ends, and the NATs, are mine or their owners agree: allows more than 4096 SYNs")
	fl.IntVar(&f.peerSYNs, "peer-syns", 0, "fan: the peer sends `N` SYNs (default: as many as we; for the estimate and the spread)")
	fl.IntVar(&f.peerPorts, "peer-ports", 0, "fan: the peer looks for us among `N` ports, 1 if it knows ours (default: as many as we; for the estimate)")
	fl.BoolVar(&f.whole, "whole-budget", false, "fan: go on after the connection is up, to count the hits (for measurements)")
}

// plan puts the words into the plan. What was not given stays zero.
func (f *fanFlags) plan(fl *pflag.FlagSet, p *punch.Plan) error {
	o := punch.FanOut{InOrder: f.inOrder, Whole: f.whole, Consent: f.consent, OwnBothEnds: f.own, Spread: f.spread}
	for _, n := range []struct {
		name string
		from int
		to   *int
	}{
		{"local-ports", f.localPorts, &o.LocalPorts}, {"budget", f.budget, &o.Budget}, {"rate", f.rate, &o.Rate},
		{"peer-syns", f.peerSYNs, &o.PeerSYNs}, {"peer-ports", f.peerPorts, &o.PeerPorts},
	} {
		if !fl.Changed(n.name) {
			continue
		}
		if n.from < 1 {
			return fmt.Errorf("--%s %d: want 1 or more", n.name, n.from)
		}
		*n.to = n.from
	}
	if fl.Changed("prime") {
		o.Prime = punch.PrimeMode(f.prime)
	}
	p.FanOut = o
	return nil
}

// fanProgress draws how far a fan-out is on a terminal, in one line that it writes anew.
func fanProgress(w io.Writer) func(punch.FanProgress) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return func(p punch.FanProgress) {
		what := fmt.Sprintf("%.3g %% so far", 100*p.Probability)
		if p.Priming {
			what = "opening our NAT"
		}
		fmt.Fprintf(f, "\r\x1b[K%d of %d SYNs, %.0f/s, %d hits, %s, %v left", p.Sent, p.Planned, p.Rate, p.Hits, what, p.Left.Round(100*time.Millisecond))
	}
}

// endProgress leaves the line.
func endProgress(w io.Writer, p *punch.Plan) {
	if p.FanOut.Progress != nil {
		fmt.Fprint(w, "\r\x1b[K")
	}
}
