package matrix

import (
	"slices"
	"time"

	"github.com/synpunch/synpunch/lab/sim"
)

// Table is what a run gave.
type Table struct {
	Setup    Setup
	Kinds    []Kind
	Attempts int // asked for, of each pair
	Tries    int // of an attempt, at most
	Seed     uint64
	Cells    []Cell // by A, then by B; Cell.Attempts is lower than Attempts where the run was interrupted
}

// At is the cell of the kinds with these numbers.
func (t *Table) At(a, b int) *Cell { return &t.Cells[a*len(t.Kinds)+b] }

// Done is how many attempts were made.
func (t *Table) Done() int {
	n := 0
	for i := range t.Cells {
		n += t.Cells[i].Attempts
	}
	return n
}

// Cell is what the attempts of one pair gave.
type Cell struct {
	Pair
	Attempts int            // made
	ByTry    []int          // attempts that connected at their first, second, ... try
	Outcomes map[string]int // attempts by how they ended
	Late     int            // tries in which a host did not send on time

	times []time.Duration // of attempts that connected, sorted
}

// Connected is the share of attempts that connected.
func (c *Cell) Connected() sim.Share { return sim.Share{Count: len(c.times), Of: c.Attempts} }

// Median is how long the middle one of the attempts that connected took; false
// if none did.
func (c *Cell) Median() (time.Duration, bool) { return median(c.times) }

func median(sorted []time.Duration) (time.Duration, bool) {
	if len(sorted) == 0 {
		return 0, false
	}
	return sorted[(len(sorted)-1)/2], true
}

func (c *Cell) merge(n int, s *tally) {
	c.Attempts += n
	c.Late += s.late
	for i, k := range s.byTry {
		c.ByTry[i] += k
	}
	for o, k := range s.outcomes {
		c.Outcomes[o] += k
	}
	c.times = append(c.times, s.times...)
}

// Verdict says what a share comes to.
type Verdict string

// The verdicts, the first two in the textbook's words.
const (
	Yes       Verdict = "YES"       // all the time: at least Setup.Threshold
	No        Verdict = "NO"        // almost never: at most 1 - Setup.Threshold
	Sometimes Verdict = "sometimes" // between the two, or YES for some pairs and NO for others
	Unknown   Verdict = "-"         // not measured
)

func (t *Table) verdict(s sim.Share) Verdict {
	switch {
	case s.Of == 0:
		return Unknown
	case s.Value() >= t.Setup.Threshold:
		return Yes
	case s.Value() <= 1-t.Setup.Threshold:
		return No
	}
	return Sometimes
}

// Verdict is that of a cell of the table.
func (t *Table) Verdict(c *Cell) Verdict { return t.verdict(c.Connected()) }

// Group is a field of the textbook's table: all pairs of a class with a class.
type Group struct {
	A, B      Class
	Filter    Filter // that the group is about; "" if both are predictable
	Textbook  Verdict
	Pairs     int       // that were measured
	Connected sim.Share // of the attempts of all of them
	Lowest    float64   // the lowest share of a pair, 0 to 1
	Highest   float64   // the highest
	Verdict   Verdict   // YES or NO only if it is that of every pair
	Median    time.Duration
	Timed     bool // there is a Median
}

// Groups sums the cells up as the textbook's table does, and splits its fields by
// the filter that decides: that of the predictable NAT if there is one of each class, and the more
// lenient one of two unpredictable NATs. It leaves out NATs that do not accept a
// crossing SYN (Kind.Accepts), because the table is of NATs that do.
func (t *Table) Groups() []Group {
	var list []Group
	for _, a := range []Class{Predictable, Unpredictable} {
		for _, b := range []Class{Predictable, Unpredictable} {
			if a == Predictable && b == Predictable {
				list = append(list, Group{A: a, B: b})
				continue
			}
			for _, f := range []Filter{ByNothing, ByAddress, ByPort} {
				list = append(list, Group{A: a, B: b, Filter: f})
			}
		}
	}
	for i := range list {
		t.sum(&list[i])
	}
	return list
}

func (t *Table) sum(g *Group) {
	g.Textbook = Yes
	if g.A == Unpredictable && g.B == Unpredictable {
		g.Textbook = No
	}
	g.Verdict = Unknown
	var times []time.Duration
	for i := range t.Cells {
		c := &t.Cells[i]
		if c.Attempts == 0 || !g.has(&c.Pair) {
			continue
		}
		s := c.Connected()
		if g.Pairs == 0 {
			g.Lowest, g.Highest, g.Verdict = s.Value(), s.Value(), t.verdict(s)
		}
		g.Pairs++
		g.Connected.Count += s.Count
		g.Connected.Of += s.Of
		g.Lowest, g.Highest = min(g.Lowest, s.Value()), max(g.Highest, s.Value())
		if t.verdict(s) != g.Verdict {
			g.Verdict = Sometimes
		}
		times = append(times, c.times...)
	}
	slices.Sort(times)
	g.Median, g.Timed = median(times)
}

// has reports whether a pair belongs to the group.
func (g *Group) has(p *Pair) bool {
	if !p.A.Accepts || !p.B.Accepts || p.A.Class != g.A || p.B.Class != g.B {
		return false
	}
	return g.Filter == "" || g.Filter == p.deciding()
}

// deciding is the filter that decides whether a SYN gets in that comes from a port
// nobody expects.
func (p *Pair) deciding() Filter {
	switch {
	case p.B.Class == Unpredictable && p.A.Class == Predictable:
		return p.A.Filter
	case p.A.Class == Unpredictable && p.B.Class == Predictable:
		return p.B.Filter
	}
	order := []Filter{ByNothing, ByAddress, ByPort}
	return order[min(slices.Index(order, p.A.Filter), slices.Index(order, p.B.Filter))]
}
