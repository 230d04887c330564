package draw

import (
	"math"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
)

// SuccessMap is the share of an arm's trials that connected, over both parameters,
// with the edge that theory gives.
func SuccessMap(s *sweep.Summary, arm int) *figure.Map {
	return shareMap(s, arm, "What share connects?", "established at both ends", func(c *sweep.Cell) sweep.Share { return c.Established })
}

// CrossingMap is the share of an arm's trials in which the SYNs crossed.
func CrossingMap(s *sweep.Summary, arm int) *figure.Map {
	return shareMap(s, arm, "In what share do the SYNs cross?", "crossed on the link", func(c *sweep.Cell) sweep.Share { return c.Crossed })
}

func shareMap(s *sweep.Summary, arm int, title, scale string, of func(*sweep.Cell) sweep.Share) *figure.Map {
	x, y := s.Config.Axes[0], s.Config.Axes[1]
	name := s.Config.Arms[arm].Name
	if len(s.Config.Arms) > 1 {
		title += " Arm " + name
	}
	m := &figure.Map{Title: title, Notes: notes(s), X: axis(x.Axis), Y: axis(y.Axis), Scale: scale}
	for i := range x.Len() {
		m.At = append(m.At, float64(x.Value(i)))
	}
	for i := range y.Len() {
		m.Rows = append(m.Rows, float64(y.Value(i)))
		row := make([]float64, x.Len())
		for j := range row {
			row[j] = math.NaN()
		}
		m.Shares = append(m.Shares, row)
	}
	for i := range s.Cells {
		if c := &s.Cells[i]; c.Arm == name && of(c).Of > 0 {
			m.Shares[c.N/x.Len()][c.N%x.Len()] = of(c).Value()
		}
	}
	m.Edges = edges(s, arm)
	return m
}

// edges are the lines on which theory changes its mind: the first, second, ... change
// along the first axis, from row to row.
func edges(s *sweep.Summary, arm int) []figure.Series {
	x, y := s.Config.Axes[0], s.Config.Axes[1]
	var lines []figure.Series
	for i := range y.Len() {
		v := y.Value(i)
		found, inside := edgesOf(&s.Config, arm, x, func(at int64) sweep.Point { return sweep.Point{X: at, Y: &v} })
		for n, e := range found {
			k := n
			if inside {
				k++ // the lower edge is beyond the map
			}
			for len(lines) <= k {
				lines = append(lines, figure.Series{Style: figure.Outline, Look: 1})
			}
			lines[k].Points = append(lines[k].Points, figure.Point{X: e, Y: float64(v)})
		}
	}
	for i := range lines {
		if len(lines[i].Points) > 0 {
			lines[i].Name = "edge in theory"
			break
		}
	}
	return lines
}
