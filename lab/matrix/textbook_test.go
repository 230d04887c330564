package matrix_test

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/matrix"
	"github.com/synpunch/synpunch/lab/sim"
)

// The whole of the textbook's table, as docs/matrix.md has it:
//
//	go test ./lab/matrix -run 'TestTextbook$' -attempts 1000
//	go test ./lab/matrix -run 'TestTextbookLive$' -timeout 5h -live 40
var (
	attempts     = flag.Int("attempts", 5, "simulated attempts of each pair in TestTextbook")
	liveAttempts = flag.Int("live", 0, "live attempts of each pair in TestTextbookLive; 0: a few pairs and attempts")
)

// want is what holds for a group, with one SYN each: the textbook's table and the
// two corrections of docs/matrix.md.
func want(g *matrix.Group) matrix.Verdict {
	switch {
	case g.A == matrix.Predictable && g.B == matrix.Predictable:
		return matrix.Yes
	case g.A == matrix.Unpredictable && g.B == matrix.Unpredictable:
		if g.Filter == matrix.ByNothing {
			return matrix.Yes // against the textbook
		}
		return matrix.No
	case g.Filter == matrix.ByPort:
		return matrix.No // against the textbook
	}
	return matrix.Yes
}

// check compares a table with what holds. It takes each cell by itself, and of a
// NO a few successes by chance.
func check(t *testing.T, table *matrix.Table) {
	t.Helper()
	for _, g := range table.Groups() {
		if g.Pairs == 0 {
			t.Errorf("%s: no pair", g.Name())
			continue
		}
		t.Logf("%-24s %4d pairs, %d of %d attempts connected, a pair %.1f to %.1f %%",
			g.Name(), g.Pairs, g.Connected.Count, g.Connected.Of, 100*g.Lowest, 100*g.Highest)
		if want(&g) == matrix.Yes && g.Verdict == matrix.Yes {
			continue
		}
		// One SYN hits a port that was drawn from 64,512 now and then: in a few of
		// thousands of attempts, and with few attempts that may be much of a cell.
		if want(&g) == matrix.No && g.Connected.Value() < 0.005 {
			continue
		}
		t.Errorf("%s: %s, want %s", g.Name(), g.Verdict, want(&g))
	}
}

// TestTextbook simulates every mapping with every filtering and allocation against
// each other.
func TestTextbook(t *testing.T) {
	w := newSim(t, &matrix.SimConfig{LearnPort: true})
	kinds := matrix.Vectors()
	if *attempts < 100 { // offsets that are drawn again say nothing new
		kinds = without(kinds, "/offset")
	}
	if testing.Short() { // predictions take the most time
		kinds = without(kinds, "/sequential")
	}
	check(t, run(t, w, &matrix.Config{Kinds: kinds, Attempts: *attempts, Seed: 1}))
}

func without(list []matrix.Kind, part string) (rest []matrix.Kind) {
	for _, k := range list {
		if !strings.Contains(k.Name, part) {
			rest = append(rest, k)
		}
	}
	return rest
}

// TestPresets simulates every preset against each other.
func TestPresets(t *testing.T) {
	w := newSim(t, &matrix.SimConfig{LearnPort: true})
	table := run(t, w, &matrix.Config{Attempts: *attempts, Seed: 1})
	for _, g := range table.Groups() {
		if g.Pairs > 0 && (g.Verdict == matrix.Yes) != (want(&g) == matrix.Yes) {
			t.Errorf("%s: %s (%d of %d), want %s", g.Name(), g.Verdict, g.Connected.Count, g.Connected.Of, want(&g))
		}
	}
}

// TestWithoutLearning: a host that listens to the expected port alone never meets
// an unpredictable one.
func TestWithoutLearning(t *testing.T) {
	table := run(t, newSim(t, nil), &matrix.Config{Kinds: parse(t, "eim-eif,adm,linux-random"), Attempts: 20, Tries: 1})
	for i := range table.Cells {
		c := &table.Cells[i]
		want := matrix.Yes
		if c.A.Class == matrix.Unpredictable || c.B.Class == matrix.Unpredictable {
			want = matrix.No
		}
		if v := table.Verdict(c); v != want {
			t.Errorf("%s x %s: %s, want %s", c.A.Name, c.B.Name, v, want)
		}
	}
}

// TestOneFirst: an unpredictable NAT without a filter lets in whoever aims at what a third
// party saw. If that SYN comes before the own one, the answer leaves by the same port, which
// the other side expects. If the two cross, the own one has taken another.
func TestOneFirst(t *testing.T) {
	for skew, want := range map[time.Duration]int{0: 0, 15 * time.Millisecond: 0, 25 * time.Millisecond: 50, -25 * time.Millisecond: 0} {
		delay := 20 * time.Millisecond
		cfg := sim.Config{Scenario: lab.Scenario{A: lab.Site{NAT: "linux"}, B: lab.Site{NAT: "random,filtering=eif"}, Link: lab.Link{Delay: delay}},
			Skew: skew, Trials: 50, Timeout: matrix.DefaultTimeout}
		if res, err := sim.Run(t.Context(), &cfg); err != nil || res.Connected.Count != want {
			t.Errorf("B later by %v: %+v, %v; want %d connected", skew, res.Connected, err, want)
		}
	}
}

// TestTextbookLive makes live attempts: of a few pairs, or with -live of all mappings and
// filterings. A late SYN lets an unpredictable NAT without a filter meet one that filters by
// port (docs/matrix.md), so those do not meet here.
func TestTextbookLive(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w, err := matrix.NewLive(&matrix.LiveConfig{LearnPort: true})
	if err != nil {
		t.Fatal(err)
	}
	few := [][]matrix.Kind{parse(t, "linux;eim-eif;adm;linux-random;random,filtering=adf"), parse(t, "random;random,filtering=eif")}
	cfg := matrix.Config{Attempts: 3, Workers: 6}
	if testing.Short() {
		few = few[1:]
	}
	if *liveAttempts > 0 {
		var open, rest []matrix.Kind // a NAT without a filter is in the first, apart from those that filter by port
		for _, k := range without(matrix.Vectors(), "/offset") {
			if k.Filter != matrix.ByPort {
				open = append(open, k)
			}
			if k.Class == matrix.Predictable || k.Filter != matrix.ByNothing {
				rest = append(rest, k)
			}
		}
		few = [][]matrix.Kind{open, rest}
		cfg = matrix.Config{Attempts: *liveAttempts, Workers: 1}
	}
	for _, cfg.Kinds = range few {
		table := run(t, w, &cfg)
		for _, g := range table.Groups() {
			if g.Pairs == 0 {
				continue
			}
			t.Logf("%-24s %4d pairs, %d of %d attempts connected", g.Name(), g.Pairs, g.Connected.Count, g.Connected.Of)
			if g.Verdict != want(&g) {
				t.Errorf("%s: %s, want %s", g.Name(), g.Verdict, want(&g))
			}
		}
	}
}
