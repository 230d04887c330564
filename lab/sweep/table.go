package sweep

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes the summary for people: how it was made, a table of each arm, and
// what the arms differ by.
func (s *Summary) WriteText(out io.Writer) error {
	var b strings.Builder
	s.about(&b)
	for arm := range s.Config.Arms {
		fmt.Fprintf(&b, "\nArm %s.\n", s.Config.Describe(arm))
		s.table(&b, s.Config.Arms[arm].Name)
	}
	s.caveat(&b)
	s.differences(&b)
	if q := s.Overhead; q.N > 0 {
		fmt.Fprintf(&b, "\nA trial took %v besides the punch itself (median; 9 of 10: %v or less).\n", short(q.P50), short(q.P90))
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("write the summary: %w", err)
	}
	return nil
}

// caveat says where two hosts of a live arm are not as independent as two machines.
func (s *Summary) caveat(b *strings.Builder) {
	for i := range s.Config.Arms {
		a := &s.Config.Arms[i]
		if s.together && s.Config.World == Live && a.A.Timer == TimerSleep && a.B.Timer == TimerSleep {
			fmt.Fprintf(b, "\nArm %s: both hosts sleep in this process, and timers of one Go program wake together: skews below\n"+
				"a millisecond come out as nearly 0, which two machines do not do. --timer sleep,exact has no such help.\n", a.Name)
		}
	}
}

func (s *Summary) about(b *strings.Builder) {
	c := &s.Config
	var grids []string
	for _, g := range c.Axes {
		grids = append(grids, g.String())
	}
	fmt.Fprintf(b, "%s\n", strings.ToUpper(grids[0][:1])+strings.Join(grids, "; ")[1:])
	fmt.Fprintf(b, "World %s, %d of %d trials: %d for each arm at each point, seed %d.\n", c.World, s.Done, s.Of, c.Trials, c.Seed)
}

// columns are the table's.
var columns = []struct {
	title string
	cell  func(*Cell) string
}{
	{"theory", func(c *Cell) string { return theoryWord(&c.Theory) }},
	{"connected 95 %", func(c *Cell) string { return withInterval(c.Established) }},
	{"refused", func(c *Cell) string { return percent(c.Refused) }},
	{"unreach.", func(c *Cell) string { return percent(c.Unreachable) }},
	{"timeout", func(c *Cell) string { return percent(c.Timeout) }},
	{"error", func(c *Cell) string { return percent(c.Failed) }},
	{"crossed 95 %", func(c *Cell) string { return withInterval(c.Crossed) }},
	{"A early", func(c *Cell) string { return percent(c.AEarly) }},
	{"B early", func(c *Cell) string { return percent(c.BEarly) }},
	{"lost", func(c *Cell) string { return percent(c.Unmet) }},
	{"simult.", func(c *Cell) string { return percent(c.Simultaneous) }},
	{"p50", func(c *Cell) string { return quantile(c.Time, c.Time.P50) }},
	{"p90", func(c *Cell) string { return quantile(c.Time, c.Time.P90) }},
	{"margin", func(c *Cell) string { return quantile(c.Margin, c.Margin.P50) }},
	{"sent late", func(c *Cell) string { return quantile(c.SendError, c.SendError.P50) }},
	{"skew off", func(c *Cell) string { return quantile(c.SkewError, c.SkewError.P50) }},
}

// table writes a line for each point, without the columns that are the same empty
// value on every line.
func (s *Summary) table(b *strings.Builder, arm string) {
	var cells []*Cell
	for i := range s.Cells {
		if c := &s.Cells[i]; c.Arm == arm {
			cells = append(cells, c)
		}
	}
	var heads []string
	for i := len(s.Config.Axes) - 1; i >= 0; i-- {
		heads = append(heads, string(s.Config.Axes[i].Axis))
	}
	lines := make([][]string, len(cells))
	for i, c := range cells {
		if c.Y != nil {
			lines[i] = append(lines[i], s.Config.Axes[1].Axis.Format(*c.Y))
		}
		lines[i] = append(lines[i], s.Config.Axes[0].Axis.Format(c.X))
	}
	for _, col := range columns {
		texts, said := make([]string, len(cells)), false
		for i, c := range cells {
			texts[i] = col.cell(c)
			said = said || texts[i] != "-" && texts[i] != "."
		}
		if !said {
			continue
		}
		heads = append(heads, col.title)
		for i := range lines {
			lines[i] = append(lines[i], texts[i])
		}
	}
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, line := range append([][]string{heads}, lines...) {
		fmt.Fprintln(w, strings.Join(line, "\t")+"\t")
	}
	w.Flush() // into memory: no error
}

func (s *Summary) differences(b *strings.Builder) {
	if len(s.Paired) > 0 {
		b.WriteString("\nPairs of trials at the same point, one after the other:\n")
	}
	for i := range s.Paired {
		d := &s.Paired[i]
		if d.Point != nil || d.Pairs == 0 {
			continue
		}
		fmt.Fprintf(b, "%s less %s: connected %+.1f %% (95 %%: %+.1f to %+.1f; McNemar's mid-P %.2g) in %d pairs",
			d.Arm, d.Base, 100**d.Share.Value, 100**d.Share.Low, 100**d.Share.High, d.P, d.Pairs)
		if t := d.Time; t.Low != nil {
			fmt.Fprintf(b, ";\n  established %s (median of %d pairs that both connected; 95 %%: %s to %s)", signed(*t.Value), d.Both, signed(*t.Low), signed(*t.High))
		}
		b.WriteString(".\n")
	}
}

func theoryWord(t *Theory) string {
	switch t.Regime {
	case "a-early":
		return "A early"
	case "b-early":
		return "B early"
	}
	return t.Regime
}

// percent is "." for none, so that what happened stands out.
func percent(s Share) string {
	switch s.Count {
	case 0:
		return "."
	case s.Of:
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", 100*s.Value())
}

func withInterval(s Share) string {
	if s.Of == 0 {
		return "-"
	}
	lo, hi := s.Interval()
	return fmt.Sprintf("%.0f %% (%.0f-%.0f)", 100*s.Value(), 100*lo, 100*hi)
}

func quantile(q Quantiles, d time.Duration) string {
	if q.N == 0 {
		return "-"
	}
	return short(d).String()
}

// short rounds to what a reader can use.
func short(d time.Duration) time.Duration {
	switch a := d.Abs(); {
	case a >= time.Second:
		return d.Round(time.Millisecond)
	case a >= 10*time.Millisecond:
		return d.Round(10 * time.Microsecond)
	case a >= 100*time.Microsecond:
		return d.Round(time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}

func signed(ns float64) string {
	d := short(time.Duration(ns))
	if d > 0 {
		return "+" + d.String()
	}
	return d.String()
}
