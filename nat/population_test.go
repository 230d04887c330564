package nat_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/nat"
)

// A population of model NATs, held against table 1 of Ford, Srisuresh and Kegel (see natcheck_test.go).
// What is input and what is found out is said in docs/population.md.

// row is one of table 1: for how many of how many data points TCP hole punching works.
type row struct {
	who     string
	tcp, of int
}

// Given by table 1. The rows are the vendors and systems with at least five data points.
var (
	table1 = []row{
		{"Linksys", 33, 38}, {"Netgear", 19, 30}, {"D-Link", 9, 19}, {"Draytek", 2, 7}, {"Belkin", 11, 11}, {"Cisco", 6, 7},
		{"SMC", 8, 9}, {"ZyXEL", 0, 7}, {"3Com", 5, 6}, {"Windows", 16, 31}, {"Linux", 16, 24}, {"FreeBSD", 2, 3},
	}
	allVendors = row{"All Vendors", 184, 286}
)

// The model NATs that stand for a data point. The paper says of a data point no more than whether
// it is compatible: which of these it was, nobody knows, and nothing may depend on it.
var (
	compatible   = []string{"eim", "eim-eif", "eim,filtering=adf", "offset", "eim,allocation=random", "eim,allocation=sequential", "cgn", "six-seconds", "rewriting", "linux", "eim,hairpinning=none"}
	inconsistent = []string{"adm", "apdm", "sequential", "sequential-2", "random", "per-connection", "pf", "linux-random"}
	rejecting    = []string{"rst-happy", "linux-rst", "openwrt", "eim,filtering=adf,unsolicited=rst", "offset,unsolicited=rst", "linux-icmp"}
)

func behaviour(t *testing.T, text string) nat.Behaviour {
	t.Helper()
	b, err := nat.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// draw makes the NATs of a row: its compatible data points, and of the others the share that
// maps inconsistently; the rest rejects unsolicited SYNs.
func (r row) draw(share float64, rng *rand.Rand) (list []string) {
	failing := r.of - r.tcp
	bad := int(math.Round(share * float64(failing)))
	for i := range r.of {
		from := compatible
		switch {
		case i < bad:
			from = inconsistent
		case i < failing:
			from = rejecting
		}
		list = append(list, from[rng.IntN(len(from))])
	}
	return list
}

// NAT Check, played against the population, reports what table 1 says, whatever is assumed
// of what the table does not say.
func TestPopulationGivesTable1(t *testing.T) {
	rest := allVendors
	rest.who = "others"
	for _, r := range table1 {
		rest.tcp, rest.of = rest.tcp-r.tcp, rest.of-r.of
	}
	rows := append(append([]row{}, table1...), rest)
	for _, share := range []float64{0, 0.25, 0.5, 0.75, 1} {
		rng := rand.New(rand.NewPCG(1, math.Float64bits(share)))
		sum, of, punched := 0, 0, 0
		for _, r := range rows {
			found := 0
			for i, text := range r.draw(share, rng) {
				v := natCheck(t, behaviour(t, text), uint64(i))
				if v.compatible() {
					found++
				}
				if v.Punched {
					punched++
				}
				if v.compatible() != v.Punched {
					t.Errorf("%s: compatible %v, connected %v", text, v.compatible(), v.Punched)
				}
			}
			if found != r.tcp {
				t.Errorf("%s, share %v: %d of %d, table 1 has %d of %d", r.who, share, found, r.of, r.tcp, r.of)
			}
			sum, of = sum+found, of+r.of
		}
		if sum != allVendors.tcp || of != allVendors.of || punched != sum {
			t.Errorf("share %v: %d of %d compatible, %d connected", share, sum, of, punched)
		}
		t.Logf("%3.0f %% of the failing NATs map inconsistently: %d of %d (%.0f %%) compatible, as published", 100*share, sum, of, 100*float64(sum)/float64(of))
	}
}

// What NAT Check must find of each preset, by what the preset says of itself. The
// names are those of the columns of docs/population.md.
func TestNATCheckOfPresets(t *testing.T) {
	for _, p := range nat.Presets() {
		b := p.Behaviour
		if b.Translation != nat.NAPT {
			continue
		}
		v := natCheck(t, b, 1)
		want := verdict{
			Consistent: b.Mapping == nat.EIM || p.Name == "linux" || p.Name == "linux-rst" || p.Name == "linux-icmp" || p.Name == "openwrt",
			Filtered:   b.Filtering != nat.EIF,
			Rejected:   b.Unsolicited == nat.UnsolicitedRST || b.Unsolicited == nat.UnsolicitedAdmin,
			Hairpin:    b.Hairpinning == nat.HairpinExternal && (b.Filtering == nat.EIF || b.HairpinOpen),
		}
		want.Punched = want.Consistent && !want.Rejected
		if v != want {
			t.Errorf("%s: %+v, want %+v", p.Name, v, want)
		}
	}
}

// Statements of the paper beside its table.
func TestNATCheckLimitations(t *testing.T) {
	// Section 6: whether a NAT filters at all "does not affect hole punching".
	for _, filter := range []string{"eif", "adf", "apdf"} {
		v := natCheck(t, behaviour(t, "eim-eif,filtering="+filter), 1)
		if !v.compatible() || !v.Punched || v.Filtered != (filter != "eif") {
			t.Errorf("filtering %s: %+v", filter, v)
		}
	}
	// Section 6.3, hairpin: a NAT that hairpins but takes such traffic for untrusted is reported without.
	for text, want := range map[string]bool{"eim,hairpinning=external": false, "eim,hairpin-open=true": true, "eim-eif": true, "windows-ics": true} {
		if v := natCheck(t, behaviour(t, text), 1); v.Hairpin != want || !v.Filtered && text != "eim-eif" {
			t.Errorf("%s: %+v", text, v)
		}
	}
	// Section 6.3: NATs translate consistently "as long as only one client behind the NAT is using a
	// particular private port number, but switch to symmetric NAT". Linux does so only if the other
	// client went to server 2 alone: after a collision it prefers the port that it drew before.
	first, second := servers[0], servers[1]
	for _, test := range []struct {
		text string
		busy []netip.AddrPort
		want bool
	}{
		{"eim", nil, true}, {"eim", []netip.AddrPort{first, second}, true},
		{"apdm", nil, false},
		{"random", nil, false},
		{overloaded, nil, true}, {overloaded, []netip.AddrPort{first, second}, false},
		{"linux", nil, true}, {"linux", []netip.AddrPort{first, second}, true}, {"linux", []netip.AddrPort{second}, false},
	} {
		if v := natCheck(t, behaviour(t, test.text), 1, test.busy...); v.Consistent != test.want {
			t.Errorf("%s, another client connected to %v: %+v", test.text, test.busy, v)
		}
	}
}

// overloaded keeps the port towards any destination where no other client has it.
const overloaded = "mapping=apdm,filtering=apdf,overloading=true,unsolicited=drop"

// What NAT Check does not see: server 3 is no client behind a NAT, and one SYN is enough for it.
func TestWhatNATCheckMisses(t *testing.T) {
	for text, want := range map[string]verdict{
		"strict":                                   {Consistent: true, Filtered: true, Punched: true}, // two of them never connect
		"eim,unsolicited=blacklist":                {Consistent: true, Filtered: true},                // silent, and yet not connected
		"eim-eif,unsolicited=rst":                  {Consistent: true, Punched: true, Hairpin: true},  // the RST is for ports without a mapping
		"sequential,start=5000":                    {Filtered: true},                                  // predictable, but that is not tested
		"eim,unsolicited=icmp-host":                {Consistent: true, Filtered: true, Rejected: true},
		"eim,outbound-synack=drop":                 {Consistent: true, Filtered: true, Punched: true},
		"six-seconds,filtering=adf":                {Consistent: true, Filtered: true, Punched: true}, // 5 s are shorter than 6
		"eim,unsolicited-wait=4s,unsolicited=wait": {Consistent: true, Filtered: true, Rejected: true},
	} {
		if v := natCheck(t, behaviour(t, text), 1); v != want {
			t.Errorf("%s: %+v, want %+v", text, v, want)
		}
	}
}

// Given by table 1: the share of compatible NATs, and of those that map UDP consistently.
const (
	good       = 184.0 / 286
	consistent = 310.0 / 380
)

// populations are shares of NATs, each class by the preset that stands for it: what the failing
// ones may be. In the last two those map inconsistently for TCP that do so for UDP.
var populations = []map[string]float64{
	{"eim": good, "rst-happy": 1 - good},
	{"eim": good, "sequential": 1 - good},
	{"eim": good, "random": 1 - good},
	{"eim": good, "rst-happy": consistent - good, "sequential": 1 - consistent},
	{"eim": good, "rst-happy": consistent - good, "random": 1 - consistent},
}

// A pair of NATs of a population, in the simulation, with each way of punching.
func TestPopulationPairs(t *testing.T) {
	const trials = 20 // of each pair: all connect or none
	for _, test := range []struct {
		name string
		side sim.Side
		skew time.Duration
		want [5]float64 // share of pairs that connect, by population
	}{
		{"connect", sim.Side{Engine: sim.Connect}, 0,
			[5]float64{1, good * good, good * good, consistent * consistent, consistent * consistent}},
		{"connect, missed by 30 ms", sim.Side{Engine: sim.Connect}, 50 * time.Millisecond, // A is early: B's NAT must be silent
			[5]float64{good, good * good, good * good, consistent * good, consistent * good}},
		{"repair, missed by 30 ms", sim.Side{}, 50 * time.Millisecond,
			[5]float64{1, good * good, good * good, consistent * consistent, consistent * consistent}},
		{"repair, ports predicted", sim.Side{Observations: 2}, 0,
			[5]float64{1, 1, good * good, 1, consistent * consistent}},
	} {
		for i, population := range populations {
			share := 0.0
			for a, pa := range population {
				for b, pb := range population {
					share += pa * pb * connectedShare(t, a, b, test.side, test.skew, trials)
				}
			}
			t.Logf("%-24s population %d %3.0f %% of pairs", test.name, i+1, 100*share)
			if math.Abs(share-test.want[i]) > 0.001 {
				t.Errorf("%s, population %d: %.3f, want %.3f", test.name, i+1, share, test.want[i])
			}
		}
	}
}

// connectedShare is the share of attempts that connect through a pair of NATs.
func connectedShare(t *testing.T, a, b string, side sim.Side, skew time.Duration, trials int) float64 {
	t.Helper()
	r, err := sim.Run(context.Background(), &sim.Config{
		Scenario: lab.Scenario{A: lab.Site{NAT: a}, B: lab.Site{NAT: b}, Link: lab.Link{Delay: 20 * time.Millisecond}},
		A:        side, B: side, Skew: skew, Trials: trials, Seed: 1,
	})
	if err != nil {
		t.Fatal(fmt.Errorf("%s and %s: %w", a, b, err))
	}
	return r.Connected.Value()
}
