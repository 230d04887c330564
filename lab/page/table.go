package page

import (
	"fmt"
	"slices"

	"github.com/synpunch/synpunch/lab/sweep"
)

// mostPoints are the most rows of a table on the page. Chosen by us: more is data, not
// something to read.
const mostPoints = 1000

// armRow sums an arm up.
type armRow struct {
	Name                     string
	Trials                   string
	All, In, Out             shareCell
	Crossed, Simultaneous    shareCell
	Time, TimeTails          string
	SendError, SendErrorTail string
}

// shareCell is a share in a table.
type shareCell struct{ Percent, Wilson, Of string }

func newShare(s sweep.Share) shareCell {
	if s.Of == 0 {
		return shareCell{Percent: "–"}
	}
	return shareCell{percent(s), wilson(s), count(s.Count) + " of " + count(s.Of)}
}

// arms sums the arms up over all points.
func (s *Sweep) arms() []armRow {
	var list []armRow
	for _, arm := range s.Summary.Config.Arms {
		var all, in, out, crossed, simultaneous sweep.Share
		for _, c := range s.Summary.Cells {
			if c.Arm != arm.Name {
				continue
			}
			join(&all, c.Established)
			join(&crossed, c.Crossed)
			join(&simultaneous, c.Simultaneous)
			if c.Theory.Regime == "crossed" {
				join(&in, c.Established)
			} else {
				join(&out, c.Established)
			}
		}
		var times, errors []int64
		for i := range s.Rows {
			r := &s.Rows[i]
			if r.Arm != arm.Name {
				continue
			}
			for _, v := range []*int64{r.SendErrorANS, r.SendErrorBNS} {
				if v != nil {
					errors = append(errors, *v)
				}
			}
			if r.EstablishedNS != nil {
				times = append(times, *r.EstablishedNS)
			}
		}
		t, e := quantiles(times), quantiles(errors)
		list = append(list, armRow{
			Name: arm.Name, Trials: count(all.Of), All: newShare(all), In: newShare(in), Out: newShare(out),
			Crossed: newShare(crossed), Simultaneous: newShare(simultaneous),
			Time: middle(t), TimeTails: tails(t), SendError: middle(e), SendErrorTail: tails(e),
		})
	}
	return list
}

func join(to *sweep.Share, s sweep.Share) { to.Count, to.Of = to.Count+s.Count, to.Of+s.Of }

// quantiles as package sweep has them: the smallest value that at least this share does
// not exceed.
func quantiles(v []int64) sweep.Quantiles {
	if len(v) == 0 {
		return sweep.Quantiles{}
	}
	slices.Sort(v)
	at := func(p int) int64 { return v[(len(v)*p+99)/100-1] }
	return newQuantiles(len(v), at(10), at(50), at(90))
}

// pairRow compares an arm with the first.
type pairRow struct {
	Arm, Base, At, At2           string
	Pairs                        string
	Both, Only, OnlyNot, Neither string
	Share, ShareInterval         string
	P                            string
	Time, TimeInterval           string
}

// pairs are the differences: over all points, and at each where more than one pair was
// made and the arms differ.
func (s *Sweep) pairs() (all, points []pairRow) {
	for i := range s.Summary.Paired {
		d := &s.Summary.Paired[i]
		row := pairRow{
			Arm: d.Arm, Base: d.Base, Pairs: count(d.Pairs),
			Both: count(d.Both), Only: count(d.Only), OnlyNot: count(d.OnlyNot), Neither: count(d.Neither),
			P: probability(d.P, d.Pairs),
		}
		row.Share, row.ShareInterval = interval(d.Share, func(v float64) string { return signed(100 * v) })
		row.Time, row.TimeInterval = interval(d.Time, spanOf)
		if d.Point == nil {
			all = append(all, row)
			continue
		}
		row.At, row.At2 = s.place(d.Point)
		if d.Only+d.OnlyNot > 0 {
			points = append(points, row)
		}
	}
	return all, points
}

// place is a point's values on the axes.
func (s *Sweep) place(p *sweep.Point) (x, y string) {
	axes := s.Summary.Config.Axes
	x = value(axes[0].Axis, p.X)
	if len(axes) > 1 && p.Y != nil {
		y = value(axes[1].Axis, *p.Y)
	}
	return x, y
}

// pointRow is a cell of the summary.
type pointRow struct {
	At, At2, Arm                    string
	Connected, Percent, Wilson      string
	Refused, Timeout, Unreachable   string
	Failed, Crossed, Simultaneous   string
	Time, TimeTails, Margin, Theory string
	Inside                          bool // theory says that the SYNs cross
}

func (s *Sweep) points() []pointRow {
	var list []pointRow
	for i := range s.Summary.Cells {
		c := &s.Summary.Cells[i]
		if c.Trials == 0 {
			continue
		}
		row := pointRow{
			Arm: c.Arm, Connected: newShare(c.Established).Of, Percent: percent(c.Established), Wilson: wilson(c.Established),
			Refused: few(c.Refused), Timeout: few(c.Timeout), Unreachable: few(c.Unreachable), Failed: few(c.Failed),
			Crossed: few(c.Crossed), Simultaneous: few(c.Simultaneous),
			Time: middle(c.Time), TimeTails: tails(c.Time), Margin: middle(c.Margin), Theory: span(c.Theory.Margin),
			Inside: c.Theory.Regime == "crossed",
		}
		row.At, row.At2 = s.place(&c.Point)
		list = append(list, row)
	}
	return list
}

// few is a number of trials, quiet where it is none.
func few(s sweep.Share) string {
	if s.Count == 0 {
		return "·"
	}
	return count(s.Count)
}

// interval writes an estimate and its interval.
func interval(v sweep.Interval, write func(float64) string) (value, around string) {
	if v.Value == nil {
		return "–", ""
	}
	if v.Low != nil && v.High != nil {
		around = write(*v.Low) + " to " + write(*v.High)
	}
	return write(*v.Value), around
}

// probability is a p-value.
func probability(p float64, pairs int) string {
	switch {
	case pairs == 0:
		return "–"
	case p < 0.0001:
		return "<0.0001"
	}
	return fmt.Sprintf("%.2g", p)
}
