package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/lab/matrix"
	"github.com/synpunch/synpunch/punch"
)

// What a fan-out in the demo sends, chosen by us: the lab is one's own.
const (
	demoFanRate   = 150_000 // SYNs a second, more than two cores and four NATs carry
	demoSweeps    = 2       // of all ports, from each side, if both NATs are hard: 1-e^-4 = 98 %
	demoHardPorts = 256     // source ports, if only the own NAT is hard ...
	demoGuesses   = 1024    // ... and guesses of the other side: 1-(1-256/64512)^1024 = 98 %
	// fanReadying is what opening thousands of guards and asking the other NAT may take more
	// than a punch with one SYN.
	fanReadying = 1000 * time.Millisecond
)

// demoFan are the words about a fan-out.
type demoFan struct {
	rate, sweeps, ports, guesses int
	prime                        string
	whole                        bool
}

func (f *demoFan) register(fl *pflag.FlagSet) {
	fl.IntVar(&f.rate, "rate", demoFanRate, "fan: SYNs a second of each side")
	fl.IntVar(&f.sweeps, "sweeps", demoSweeps, "fan, both NATs hard: each side sends to all ports from `N` source ports")
	fl.IntVar(&f.ports, "local-ports", demoHardPorts, "fan, one NAT hard: `N` source ports on its side")
	fl.IntVar(&f.guesses, "guesses", demoGuesses, "fan, one NAT hard: `N` SYNs from the other side")
	fl.StringVar(&f.prime, "prime", "auto", "fan: `WHEN` to open the own NAT beforehand: auto, always, never")
	fl.BoolVar(&f.whole, "whole-budget", false, "fan: go on after the connection is up, to count the hits")
}

func (f *demoFan) check() error {
	for _, n := range []struct {
		name  string
		value int
		most  int
	}{{"rate", f.rate, punch.MaxFanRate}, {"sweeps", f.sweeps, 16}, {"local-ports", f.ports, 20000}, {"guesses", f.guesses, punch.MaxFanBudget}} {
		if n.value < 1 || n.value > n.most {
			return fmt.Errorf("--%s %d: want 1 to %d", n.name, n.value, n.most)
		}
	}
	return nil
}

// fanSide is what matters of a site for a fan-out.
type fanSide struct {
	hard  bool // nobody knows its next port
	ports int  // that its outermost NAT gives out
	lo    uint16
	nats  int // one behind the other
}

func fanSideOf(text string) (fanSide, error) {
	chain, err := lab.ParseNAT(text)
	if err != nil {
		return fanSide{}, err
	}
	r := chain.Outer().Behaviour.Effective().Ports
	return fanSide{hard: matrix.ClassOf(chain) == matrix.Unpredictable, ports: int(r.Last) - int(r.First) + 1, lo: r.First, nats: len(chain)}, nil
}

// args are the flags of the host behind own, whose peer is behind peer with a public
// address. known is how that address and port are written where the port is known.
func (f *demoFan) args(own, peer fanSide, public string) []string {
	args := []string{"--i-own-both-ends", "--rate", strconv.Itoa(f.rate), "--prime", f.prime}
	among := func(s fanSide) string { return fmt.Sprintf("%s:%d-%d", public, s.lo, int(s.lo)+s.ports-1) }
	sends := func(own, peer fanSide) (locals, syns int) {
		switch {
		case own.hard && peer.hard:
			return f.sweeps, f.sweeps * peer.ports
		case own.hard:
			return f.ports, f.ports
		case peer.hard:
			return 1, min(f.guesses, peer.ports)
		}
		return 1, 1
	}
	locals, syns := sends(own, peer)
	_, peerSYNs := sends(peer, own)
	peerAmong := 1
	if own.hard {
		peerAmong = own.ports
	}
	args = append(args, "--local-ports", strconv.Itoa(locals), "--budget", strconv.Itoa(syns),
		"--peer-syns", strconv.Itoa(peerSYNs), "--peer-ports", strconv.Itoa(peerAmong))
	if peer.hard {
		args = append(args, "--remote", among(peer))
	}
	if own.nats > 1 {
		args = append(args, "--ttl", strconv.Itoa(punch.PrimeTTL+own.nats-1))
	}
	if f.whole {
		args = append(args, "--whole-budget")
	}
	return args
}

// prepare gives both sides of a trial their flags.
func (f *demoFan) prepare(t *live.Trial, s *lab.Scenario, l *live.Lab) error {
	a, err := fanSideOf(s.A.NAT)
	if err != nil {
		return err
	}
	b, err := fanSideOf(s.B.NAT)
	if err != nil {
		return err
	}
	t.A.Args = append(t.A.Args, f.args(a, b, l.B.Public.String())...)
	t.B.Args = append(t.B.Args, f.args(b, a, l.A.Public.String())...)
	return nil
}

// fanned reports whether the demo is one of a fan-out.
func fanned(t *live.Trial) bool { return t.A.Strategy == punch.Fan }

// checkFan complains about what does not go with a fan-out.
func (f *demoFlags) checkFan(t *live.Trial, fl *pflag.FlagSet) error {
	if t.A.Strategy != punch.Fan && t.B.Strategy != punch.Fan {
		for _, name := range []string{"rate", "sweeps", "local-ports", "guesses", "prime", "whole-budget"} {
			if fl.Changed(name) {
				return fmt.Errorf("--%s is for --strategy fan", name)
			}
		}
		return nil
	}
	switch {
	case t.A.Strategy != t.B.Strategy:
		return fmt.Errorf("--strategy fan is for both sides: one SYN does not find one of many")
	case t.A.Engine != punch.Repair || t.B.Engine != punch.Repair:
		return fmt.Errorf("--strategy fan is for --engine repair: the kernel has no socket for each of many SYNs")
	case f.learnPort:
		return fmt.Errorf("--learn-port: a fan-out does so by itself; leave it out")
	}
	return f.fan.check()
}

// writeFan says what both sides sent and what came of it.
func writeFan(w io.Writer, r *live.TrialResult) {
	for _, side := range []struct {
		name string
		r    *punch.Report
	}{{"A", r.A.Report}, {"B", r.B.Report}} {
		if side.r == nil || side.r.FanOut == nil {
			continue
		}
		f := side.r.FanOut
		fmt.Fprintf(w, "%s sent   %s\n", side.name, fanSent(f))
		fmt.Fprintf(w, "%s met    %s\n", side.name, fanMet(f))
		if won := slices.IndexFunc(f.Hits, func(h punch.FanHit) bool { return h.Won }); won >= 0 {
			fmt.Fprintf(w, "%s won    %v -> %v: %s\n", side.name, f.Hits[won].Local, f.Hits[won].Remote, f.Why)
		}
	}
}

func fanSent(f *punch.FanReport) string {
	s := fmt.Sprintf("%d SYNs of %d from %d ports to %d", f.SYNs, f.Planned, int(f.LocalPorts.Last)-int(f.LocalPorts.First)+1, f.RemotePorts)
	if f.Primers > 0 {
		s += fmt.Sprintf(", after %d that ended between the NATs", f.Primers)
	}
	if f.RateReached != nil {
		s += fmt.Sprintf(", %.0f/s", *f.RateReached)
	}
	if f.Probes > 0 {
		s += fmt.Sprintf("; %d probes, answer: %s", f.Probes, f.PeerAnswer)
	}
	return s
}

func fanMet(f *punch.FanReport) string {
	s := fmt.Sprintf("%d hits", len(f.Hits))
	if f.FirstHit != nil {
		s += ", the first after " + durationOr(f.FirstHit, "")
	}
	if f.Socket != nil {
		s += ", socket after " + durationOr(f.Socket, "")
	}
	if f.RSTs+f.ICMPs > 0 {
		s += fmt.Sprintf("; %d RSTs, %d ICMP errors, %d back-offs", f.RSTs, f.ICMPs, f.BackOffs)
	}
	return s + fmt.Sprintf("; theory %.1f %% (%s)", 100*f.Predicted, f.Assumed)
}
