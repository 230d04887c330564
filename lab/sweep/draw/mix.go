package draw

import (
	"math"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
)

// Outcomes is how an arm's trials ended, against the first parameter.
func Outcomes(s *sweep.Summary, arm int) *figure.Shares {
	return mix(s, arm, "How do trials end?", []part{
		{"established", func(c *sweep.Cell) sweep.Share { return c.Established }},
		{"refused (RST)", func(c *sweep.Cell) sweep.Share { return c.Refused }},
		{"unreachable (ICMP)", func(c *sweep.Cell) sweep.Share { return c.Unreachable }},
		{"timed out", func(c *sweep.Cell) sweep.Share { return c.Timeout }},
		{"error", func(c *sweep.Cell) sweep.Share { return c.Failed }},
	})
}

// Regimes is how the SYNs of an arm met on the link, against the first parameter.
func Regimes(s *sweep.Summary, arm int) *figure.Shares {
	return mix(s, arm, "How do the SYNs meet?", []part{
		{"crossed", func(c *sweep.Cell) sweep.Share { return c.Crossed }},
		{"A early", func(c *sweep.Cell) sweep.Share { return c.AEarly }},
		{"B early", func(c *sweep.Cell) sweep.Share { return c.BEarly }},
		{"a SYN never arrived", func(c *sweep.Cell) sweep.Share { return c.Unmet }},
	})
}

type part struct {
	name string
	of   func(*sweep.Cell) sweep.Share
}

func mix(s *sweep.Summary, arm int, title string, parts []part) *figure.Shares {
	name := s.Config.Arms[arm].Name
	if len(s.Config.Arms) > 1 {
		title += " Arm " + name
	}
	f := &figure.Shares{Title: title, Notes: notes(s), X: axis(s.Config.Axes[0].Axis), Ranges: windows(s)}
	for k, p := range parts {
		f.Parts = append(f.Parts, figure.Part{Name: p.name, Look: k + 1})
	}
	for i := range s.Cells {
		c := &s.Cells[i]
		if c.Arm != name || !first(s, &c.Point) {
			continue
		}
		f.At = append(f.At, float64(c.X))
		for k, p := range parts {
			v := math.NaN()
			if share := p.of(c); share.Of > 0 {
				v = share.Value()
			}
			f.Parts[k].Shares = append(f.Parts[k].Shares, v)
		}
	}
	return f
}
