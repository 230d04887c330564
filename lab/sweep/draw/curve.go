package draw

import (
	"math"
	"time"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
)

// Success is the share of trials that connected against the parameter, a line for
// each arm, with the window that theory gives. Of two parameters it takes the first
// at the lowest value of the second.
func Success(s *sweep.Summary) *figure.Chart {
	c := chart(s, "What share connects?", "established at both ends", figure.Percent, wilson)
	c.Y.Max = 1
	for arm := range s.Config.Arms {
		c.Series = append(c.Series, series(s, arm, func(c *sweep.Cell) figure.Point { return share(c.Established) }))
	}
	return c
}

// Crossing is the share of trials in which the SYNs crossed, as measured on the
// link.
func Crossing(s *sweep.Summary) *figure.Chart {
	c := chart(s, "In what share do the SYNs cross?", "crossed on the link", figure.Percent, wilson)
	c.Y.Max = 1
	for arm := range s.Config.Arms {
		c.Series = append(c.Series, series(s, arm, func(c *sweep.Cell) figure.Point { return share(c.Crossed) }))
	}
	return c
}

// Time is how long it took to be established at both ends.
func Time(s *sweep.Summary) *figure.Chart {
	c := chart(s, "When is the connection there?", "established, after A's instant", figure.Duration, "Line: the median; band: from the 10th to the 90th percentile, of trials that connected.")
	for arm := range s.Config.Arms {
		c.Series = append(c.Series, series(s, arm, func(c *sweep.Cell) figure.Point { return spread(c.Time) }))
	}
	return c
}

// Margin is how far the SYNs were from not crossing.
func Margin(s *sweep.Summary) *figure.Chart {
	c := chart(s, "How far are the SYNs from the edge?", "margin; below 0 they did not cross", figure.Duration, "Line: the median; band: from the 10th to the 90th percentile, of trials in which both SYNs arrived.")
	c.Marks = []figure.Mark{{At: 0, Label: "edge", Horizontal: true}}
	for arm := range s.Config.Arms {
		c.Series = append(c.Series, series(s, arm, func(c *sweep.Cell) figure.Point { return spread(c.Margin) }))
	}
	return c
}

// Difference is how much larger the share that connected is than in the first arm,
// pair by pair.
func Difference(s *sweep.Summary) *figure.Chart {
	c := chart(s, "What does the arm make of it?", "share that connected, less that of "+s.Config.Arms[0].Name, figure.Percent, "Of pairs of trials; intervals: Newcombe's for paired shares, 95 %.")
	c.Y.Min, c.Y.Max = -1, 1
	c.Marks = []figure.Mark{{At: 0, Horizontal: true}}
	for _, arm := range s.Config.Arms[1:] {
		line := figure.Series{Name: arm.Name + " less " + s.Config.Arms[0].Name}
		for _, d := range s.Paired {
			if d.Arm == arm.Name && d.Point != nil && first(s, d.Point) && d.Share.Value != nil {
				line.Points = append(line.Points, figure.Point{X: float64(d.Point.X), Y: *d.Share.Value, Low: *d.Share.Low, High: *d.Share.High})
			}
		}
		c.Series = append(c.Series, line)
	}
	return c
}

// chart is an empty chart over the first axis.
func chart(s *sweep.Summary, title, y string, unit figure.Unit, note string) *figure.Chart {
	return &figure.Chart{
		Title: title, Notes: notes(s, note),
		X: axis(s.Config.Axes[0].Axis), Y: figure.Axis{Title: y, Unit: unit},
		Ranges: windows(s),
	}
}

// series has a point for each cell of an arm.
func series(s *sweep.Summary, arm int, value func(*sweep.Cell) figure.Point) figure.Series {
	line := figure.Series{Name: s.Config.Arms[arm].Name}
	for i := range s.Cells {
		c := &s.Cells[i]
		if c.Arm != line.Name || !first(s, &c.Point) {
			continue
		}
		p := value(c)
		p.X = float64(c.X)
		line.Points = append(line.Points, p)
	}
	return line
}

// first reports whether a point is at the lowest value of the second axis.
func first(s *sweep.Summary, p *sweep.Point) bool {
	return p.Y == nil || *p.Y == s.Config.Axes[1].From
}

func share(s sweep.Share) figure.Point {
	if s.Of == 0 {
		return figure.Point{Y: math.NaN()}
	}
	lo, hi := s.Interval()
	return figure.Point{Y: s.Value(), Low: lo, High: hi}
}

func spread(q sweep.Quantiles) figure.Point {
	if q.N == 0 {
		return figure.Point{Y: math.NaN()}
	}
	return figure.Point{Y: nanos(q.P50), Low: nanos(q.P10), High: nanos(q.P90)}
}

func nanos(d time.Duration) float64 { return float64(d) }
