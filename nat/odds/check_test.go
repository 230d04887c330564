package odds

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"
)

// Small ranges of ports, so that a whole sweep takes a millisecond: nothing in theory depends on
// how many there are.
const (
	few  = ",ports=20000-20127"
	some = ",ports=30000-30099"
)

// Theory, drawn ports and packets through the model NATs say the same, for every strategy and order of pairs that
// differ in mapping, filter, allocation, answers, timers and quotas.
func TestTheoryAgainstSimulation(t *testing.T) {
	for _, c := range []struct {
		a, b   string
		budget int
	}{
		{"linux-random" + few, "linux-random" + few, 256},
		{"random" + few, "linux-random" + some, 128},
		{"random" + few, "random" + some, 128},
		{"linux-random" + few, "linux", 24},
		{"apdm", "linux-random" + few, 100},
		{"apdm", "random" + few, 60},
		{"linux-rst", "linux-random" + few, 24},
		{"linux-random,unsolicited=rst" + few, "linux-random,unsolicited=rst" + few, 256},
		{"linux-random,unsolicited=rst,answer-delay=15ms" + few, "linux-random,unsolicited=rst" + few, 128},
		{"random,unsolicited=icmp-admin,icmp-in=close" + few, "random,unsolicited=icmp-port,icmp-in=close after 30ms" + few, 128},
		{"random,filtering=adf" + few, "random" + few, 15},
		{"random,filtering=adf,unsolicited=rst" + few, "linux-random,unsolicited=rst" + few, 15},
		{"mapping=adm,filtering=adf,allocation=random,unsolicited=drop" + few, "linux", 1},
		{"mapping=adm,filtering=apdf,allocation=random,unsolicited=drop" + few, "random" + some, 90},
		{"mapping=adm,filtering=apdf,allocation=random,unsolicited=drop" + few, "mapping=adm,filtering=apdf,allocation=random,unsolicited=drop" + some, 90},
		{"strict", "random" + few, 20},
		{"random,max-mappings=50" + few, "random" + few, 128},
		{"random,syn-rate=700" + few, "random" + few, 100},
		{"random,hold-down=1s,transitory=60ms" + few, "random" + few, 100},
		{"linux-random,transitory=60ms" + few, "linux-random,transitory=45ms" + few, 256},
		{"linux-random" + few, "linux-random,transitory=40ms" + few, 128},
		{"mapping=apdm,filtering=apdf,allocation=block,block-size=128,unsolicited=drop", "random" + few, 120},
		{"mapping=apdm,filtering=apdf,allocation=random,parity=keep,unsolicited=drop" + few, "linux-random,parity=odd" + few, 64},
		{"mapping=apdm,filtering=apdf,allocation=sequential,counter=destination,unsolicited=drop" + few, "random" + few, 100},
		{"per-connection" + few, "linux-random" + few, 128},
		{"random,filtering=eif", "random", 8},
		{"none", "random", 8},
		{"firewall", "linux-random" + few, 24},
		{"linux-eim-apdf", "linux-random" + few, 24},
	} {
		o := compute(t, c.a, c.b, Config{Budget: c.budget, Rate: 5000, LocalPorts: 64, Delay: 20_050 * time.Microsecond})
		compareAll(t, o, c.a+" x "+c.b, &Check{Budgets: []int{c.budget}, Ports: 400, Packets: 100, Seed: 1})
	}
}

// NATs that count, while others move the counters.
func TestCountingAgainstSimulation(t *testing.T) {
	if testing.Short() {
		t.Skip("without -short: some seconds of simulation")
	}
	for _, c := range []struct {
		a, b   string
		budget int
	}{
		{"sequential", "eim", 3}, {"sequential", "sequential-2", 4}, {"sequential", "linux-random" + few, 100}, {"random" + few, "sequential", 60},
		{"sequential,filtering=adf", "random", 3}, {"offset,mapping=apdm", "eim", 1},
	} {
		o := compute(t, c.a, c.b, Config{Budget: c.budget, Rate: 5000, LocalPorts: 64, Delay: 20_050 * time.Microsecond, Others: 20})
		compareAll(t, o, c.a+" x "+c.b, &Check{Budgets: []int{c.budget}, Ports: 200, Packets: 20, Seed: 1})
	}
}

func compareAll(t *testing.T, o *Odds, what string, check *Check) {
	t.Helper()
	for i := range o.Strategies {
		s := &o.Strategies[i]
		if s.Order == BPrimes || s.Order == BFirst && s.InTime > 0.999 || s.Order != Together && o.foresight.others > 0 {
			continue // the mirror image of A's, and no different
		}
		list, err := check.Run(t.Context(), o, s)
		if err != nil {
			t.Errorf("%s: %s %s: %v", what, s.Name, s.Order, err)
			continue
		}
		for _, c := range list {
			for name, v := range map[string]*Sample{"ports": c.Ports, "packets": c.Packets} {
				if !v.Agrees {
					t.Errorf("%s: %s, %s: theory %.4f, first after %v; %s %d of %d, first after %v", what, s.Name, s.Order,
						c.Theory.P, Round(c.Theory.First), name, v.Connected, v.Trials, Round(v.First))
				}
			}
		}
	}
}

// The issue: the hits of 200 full runs, two sweeps from each side, fit Poisson's distribution with mean 4.
func TestHitsOfFullRunsArePoisson(t *testing.T) {
	if testing.Short() {
		t.Skip("without -short: some seconds of simulation")
	}
	o := twoSweeps(t)
	check := &Check{Budgets: []int{2 * usualPorts}, Ports: 200, Seed: 1}
	list, err := check.Run(t.Context(), o, o.Best())
	if err != nil {
		t.Fatal(err)
	}
	s := list[0].Ports
	if !s.Agrees {
		t.Errorf("%d of %d connected, theory says %v", s.Connected, s.Trials, list[0].Theory.P)
	}
	if x := chiSquare(s.Histogram, 4, 9); x > 23.59 { // 8 degrees of freedom, 99.73 %
		t.Errorf("hits %v are not Poisson(4): chi-square %v", s.Histogram, x)
	}
	if x := chiSquare(s.Histogram, 5, 9); x < 23.59 {
		t.Errorf("hits %v would pass for Poisson(5): chi-square %v", s.Histogram, x)
	}
}

// chiSquare compares a histogram with Poisson's distribution, in cells 0 to last-2, and the rest together.
func chiSquare(histogram []int, mean float64, cells int) (x float64) {
	trials := 0
	for _, n := range histogram {
		trials += n
	}
	p, rest, others := math.Exp(-mean), 1.0, trials
	for k := range cells - 1 {
		n := 0
		if k < len(histogram) {
			n = histogram[k]
		}
		want := p * float64(trials)
		x += (float64(n) - want) * (float64(n) - want) / want
		rest -= p
		others -= n
		p *= mean / float64(k+1)
	}
	want := rest * float64(trials)
	return x + (float64(others)-want)*(float64(others)-want)/want
}

// A theory that is wrong is found out, in its probability and in its time.
func TestCheckFindsAWrongTheory(t *testing.T) {
	for name, spoil := range map[string]func(*Odds){
		"too few ports": func(o *Odds) { o.seen[o.Best().play].law = matching(100, 128, false, false) },
		"too slow": func(o *Odds) {
			o.seen[o.Best().play].until = func(a, b, allA, allB float64) float64 { return 0.63 * math.Pow(a/allA, 6) }
		},
	} {
		o := compute(t, "linux-random"+few, "linux-random"+few, Config{Budget: 128, Rate: 5000, Delay: time.Millisecond})
		spoil(o)
		for _, check := range []*Check{{Ports: 3000, Seed: 1}, {Packets: 1500, Seed: 1}} {
			check.Budgets = []int{128}
			list, err := check.Run(t.Context(), o, o.Best())
			if err != nil || list[0].Agrees() {
				t.Errorf("%s: %+v agrees, %v", name, list[0], err)
			}
		}
	}
}

// The same seed gives the same numbers, on any number of processors; another seed others.
func TestCheckIsRepeatable(t *testing.T) {
	o := compute(t, "random"+few, "linux-random"+few, Config{Budget: 128, Rate: 5000})
	run := func(seed uint64) Comparison {
		check := &Check{Ports: 50, Packets: 20, Seed: seed, Budgets: []int{128}}
		list, err := check.Run(t.Context(), o, o.Best())
		if err != nil {
			t.Fatal(err)
		}
		return list[0]
	}
	a, b, c := run(1), run(1), run(2)
	if a.Ports.Hits != b.Ports.Hits || a.Packets.First != b.Packets.First {
		t.Errorf("%+v and %+v", a.Ports, b.Ports)
	}
	if a.Ports.First == c.Ports.First {
		t.Error("another seed gave the same times")
	}
}

func TestCheckReportsAndEnds(t *testing.T) {
	o := compute(t, "random"+few, "random"+few, Config{Budget: 256})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	last := 0
	check := &Check{Ports: 10, Packets: 10, Progress: func(done, of int) {
		if done < last || done > of {
			t.Errorf("%d of %d after %d", done, of, last)
		}
		last = done
	}}
	list, err := check.Run(ctx, o, o.Best())
	if err != nil || len(list) != 4 || list[0].Theory.Budget != 32 {
		t.Errorf("%d comparisons, %v", len(list), err)
	}
	cancel()
	last = 0
	if _, err := check.Run(ctx, o, o.Best()); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func TestWilson(t *testing.T) {
	// Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
	for _, c := range []struct {
		count, of int
		low, high float64
	}{{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}, {20, 20, 0.8389, 1}, {0, 0, 0, 1}} {
		if low, high := wilson(c.count, c.of, zShown); math.Abs(low-c.low) > 5e-5 || math.Abs(high-c.high) > 5e-5 {
			t.Errorf("%d of %d: %.4f to %.4f, want %.4f to %.4f", c.count, c.of, low, high, c.low, c.high)
		}
	}
}
