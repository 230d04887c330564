package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/nat/odds"
)

// write prints the result for people.
func (r *oddsResult) write(w io.Writer, s *odds.Strategy) error {
	var b strings.Builder
	line := func(format string, args ...any) {
		b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
	}
	for _, side := range []struct {
		name string
		*oddsSide
	}{{"A", &r.A}, {"B", &r.B}} {
		line("%s  %s: %s", side.name, side.NAT, side.Words)
		for _, n := range side.Notes {
			line("   %s", n)
		}
	}
	line("up to %s SYNs from each side, %s a second, %v between the NATs", digits(r.Budget), digits(int(r.Rate)), time.Duration(r.DelayNs))
	line("")
	if r.Hopeless != nil {
		line("no hope: %s", *r.Hopeless)
		line("")
	}
	which := "the best"
	if r.Rank > 1 {
		which = fmt.Sprintf("number %d", r.Rank)
	}
	line("%s: %s, %s: %s", which, s.Name, s.Order, share(s.P))
	line("  %s", s.How)
	if s.Why != "" {
		line("  %s", s.Why)
	}
	line("")
	r.table(line, onTerminal(w))
	r.checked(line)
	line("")
	for _, n := range s.Needs {
		if n.Point == nil {
			line("for %2.0f %%: no budget up to %s is enough", 100*n.P, digits(odds.MaxBudget))
			continue
		}
		line("for %2.0f %%: %s SYNs from A and %s from B, first hit after %v, all sent after %v",
			100*n.P, digits(n.Point.A.SYNs), digits(n.Point.B.SYNs), odds.Round(n.Point.First), odds.Round(n.Point.Duration))
	}
	line("")
	r.ranking(line)
	_, err := io.WriteString(w, b.String())
	return err
}

// ranking lists the strategies; orders that come to the same stand together.
func (r *oddsResult) ranking(line func(string, ...any)) {
	same := func(a, b *odds.Strategy) bool {
		return a.How == b.How && share(a.P) == share(b.P) && a.SYNs() == b.SYNs() && first(&a.Point) == first(&b.Point)
	}
	line("rank  strategy    chance         SYNs A + B  first hit")
	for i := 0; i < len(r.Strategies); {
		s := &r.Strategies[i]
		line("%4d  %-8s  %8s %18s %10s  %s", i+1, s.Name, share(s.P), digits(s.A.SYNs)+" + "+digits(s.B.SYNs), first(&s.Point), s.How)
		for ; i < len(r.Strategies) && same(s, &r.Strategies[i]); i++ {
			o := &r.Strategies[i]
			text := string(o.Order)
			if o.Why != "" {
				text += ": " + o.Why
			}
			line("%6s%s", "", text)
		}
	}
}

// curveWidth is the length of a bar for 100 %, in columns of a terminal.
const curveWidth = 40

func (r *oddsResult) table(line func(string, ...any), bars bool) {
	line("    SYNs A      SYNs B   chance  expected hits  first hit  half of them   all sent")
	for i := range r.Curve {
		p := &r.Curve[i]
		if next := i + 1; next < len(r.Curve) && p.A.SYNs == r.Curve[next].A.SYNs && p.B.SYNs == r.Curve[next].B.SYNs {
			continue // the budget is larger than what can be used
		}
		bar := ""
		if bars {
			bar = "  " + strings.Repeat("#", int(p.P*curveWidth+0.5))
		}
		half := "-"
		if p.P > 0 {
			half = odds.Round(p.Median).String()
		}
		line("%10s  %10s %8s %14.3g %10s %13s %10s%s", digits(p.A.SYNs), digits(p.B.SYNs), share(p.P), p.Hits, first(p), half, odds.Round(p.Duration), bar)
	}
}

// first is the expected time to the first hit.
func first(p *odds.Point) string {
	if p.P <= 0 {
		return "-"
	}
	return odds.Round(p.First).String()
}

func (r *oddsResult) checked(line func(string, ...any)) {
	if r.Check == nil {
		return
	}
	line("")
	line("theory beside simulation (95 %% interval)")
	for i := range r.Check {
		c := &r.Check[i]
		line("%10s SYNs each: theory %s, %.3g hits, first after %s", digits(c.Theory.Budget), share(c.Theory.P), c.Theory.Hits, first(&c.Theory))
		for _, s := range []struct {
			name string
			*odds.Sample
		}{{"ports", c.Ports}, {"packets", c.Packets}} {
			if s.Sample == nil {
				continue
			}
			verdict := "agrees"
			if !s.Agrees {
				verdict = "DISAGREES"
			}
			when := "-"
			if s.Connected > 0 {
				when = odds.Round(s.First).String()
			}
			line("  %-8s %5d of %5d connected (%s to %s), %.3g hits, first after %s: %s", s.name, s.Connected, s.Trials, share(s.Low), share(s.High), s.Hits, when, verdict)
		}
	}
}

// share prints a probability: 99.99 is not all, and 0.001 is not nothing.
func share(p float64) string {
	switch {
	case p == 0 || p == 1:
		return fmt.Sprintf("%.0f %%", 100*p)
	case p > 0.9995:
		return "> 99.9 %"
	case p < 1e-6:
		return fmt.Sprintf("%.0e %%", 100*p)
	case p < 0.1:
		return fmt.Sprintf("%.2g %%", 100*p)
	}
	return fmt.Sprintf("%.1f %%", 100*p)
}

// digits writes 64512 as 64,512.
func digits(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// chart is the curve: theory as a line, simulations as dots with their intervals.
func (r *oddsResult) chart(s *odds.Strategy) *figure.Chart {
	c := &figure.Chart{
		Title: "How probable is a connection?",
		Notes: []string{
			fmt.Sprintf("A: %s; B: %s", r.A.NAT, r.B.NAT),
			fmt.Sprintf("%s, %s; %s SYNs a second from each side, %v between the NATs", s.Name, s.Order, digits(int(r.Rate)), time.Duration(r.DelayNs)),
		},
		X: figure.Axis{Title: "budget of each side, SYNs", Unit: figure.Number, Min: 0, Max: 1.02 * float64(r.Budget)},
		Y: figure.Axis{Title: "probability of a hit", Unit: figure.Percent},
	}
	theory := figure.Series{Name: "theory", Style: figure.Outline}
	for _, p := range r.fine {
		theory.Points = append(theory.Points, figure.Point{X: float64(p.Budget), Y: p.P})
	}
	c.Series = append(c.Series, theory)
	ports, packets := figure.Series{Name: "ports drawn", Style: figure.Dots}, figure.Series{Name: "packet by packet", Style: figure.Dots}
	aside := 0.006 * float64(r.Budget) // so that neither hides the other
	for _, cmp := range r.Check {
		for _, v := range []struct {
			to *figure.Series
			dx float64
			*odds.Sample
		}{{&ports, -aside, cmp.Ports}, {&packets, aside, cmp.Packets}} {
			if v.Sample != nil {
				v.to.Points = append(v.to.Points, figure.Point{X: float64(cmp.Theory.Budget) + v.dx, Y: float64(v.Connected) / float64(v.Trials), Low: v.Low, High: v.High})
			}
		}
	}
	for _, v := range []figure.Series{ports, packets} {
		if len(v.Points) > 0 {
			c.Series = append(c.Series, v)
		}
	}
	for _, n := range s.Needs {
		if n.Point != nil && n.Point.Budget <= r.Budget {
			c.Marks = append(c.Marks, figure.Mark{At: float64(n.Point.Budget), Label: fmt.Sprintf("%.0f %%: %s SYNs", 100*n.P, digits(n.Point.Budget))})
		}
	}
	return c
}

// draw writes a figure into the file.
func (p *plotFile) draw(fig figure.Figure) error {
	if p.file == nil {
		return nil
	}
	err := p.file.Truncate(0)
	if errors.Is(err, os.ErrInvalid) || p.fresh {
		err = nil // a device or a pipe has no length
	}
	if err == nil {
		err = figure.Write(p.file, fig, p.format)
	}
	return errors.Join(err, p.file.Close())
}
