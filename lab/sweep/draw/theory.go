package draw

import (
	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
	"github.com/synpunch/synpunch/timing"
)

// windowLabel names what is shaded.
const windowLabel = "theory: the SYNs cross"

// windows are the parts of the first axis on which theory says that the SYNs
// cross: none if it says so nowhere, everywhere, or not of all arms alike.
func windows(s *sweep.Summary) []figure.Range {
	g := s.Config.Axes[0]
	at := func(x int64) sweep.Point {
		p := sweep.Point{X: x}
		if len(s.Config.Axes) > 1 {
			p.Y = &s.Config.Axes[1].From
		}
		return p
	}
	var list []figure.Range
	for arm := range s.Config.Arms {
		edges, inside := edgesOf(&s.Config, arm, g, at)
		if len(edges) == 0 {
			return nil
		}
		var found []figure.Range
		from := float64(g.From)
		for _, e := range edges {
			if inside {
				found = append(found, figure.Range{From: from, To: e, Label: windowLabel})
			}
			from, inside = e, !inside
		}
		if inside {
			found = append(found, figure.Range{From: from, To: float64(g.Value(g.Len() - 1)), Label: windowLabel})
		}
		if arm > 0 && !same(list, found) {
			return nil
		}
		list = found
	}
	return list
}

func same(a, b []figure.Range) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// edgesOf are the values along an axis at which theory changes its mind, to the
// unit of the axis, and whether the SYNs cross before the first of them.
func edgesOf(c *sweep.Config, arm int, g sweep.Grid, at func(int64) sweep.Point) (edges []float64, inside bool) {
	crossed := func(x int64) bool {
		return c.TheoryAt(arm, at(x)).Regime == timing.Crossed.String()
	}
	inside = crossed(g.From)
	now := inside
	for i := 1; i < g.Len(); i++ {
		if crossed(g.Value(i)) == now {
			continue
		}
		lo, hi := g.Value(i-1), g.Value(i) // bisect
		for hi-lo > 1 {
			if mid := lo + (hi-lo)/2; crossed(mid) == now {
				lo = mid
			} else {
				hi = mid
			}
		}
		// On the edge itself nothing crosses.
		edge := hi
		if !now {
			edge = lo
		}
		edges = append(edges, float64(edge))
		now = !now
	}
	return edges, inside
}
