package draw

import (
	"math"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
)

// SuccessMeasured is the share of trials that connected against the skew that was measured
// on the link, of a sweep of the skew. A machine that misses instants does not blur it. Bins
// are as wide as the step of the sweep, around its values; skews beyond them are left out.
func SuccessMeasured(s *sweep.Summary, rows []sweep.Row) *figure.Chart {
	c := chart(s, "What share connects, by the skew on the link?", "established at both ends", figure.Percent,
		wilson+" Trials by the skew that was measured, in bins as wide as the step.")
	c.X.Title = "skew as measured: B's SYN at NAT B less A's at NAT A"
	c.Y.Max = 1
	g := s.Config.Axes[0]
	for _, arm := range s.Config.Arms {
		line := figure.Series{Name: arm.Name}
		bins, sums := make([]sweep.Share, g.Len()), make([]float64, g.Len())
		for i := range rows {
			r := &rows[i]
			if r.Arm != arm.Name || r.SkewMeasuredNS == nil {
				continue
			}
			k := bin(g, *r.SkewMeasuredNS)
			if k < 0 || k >= len(bins) {
				continue
			}
			sums[k] += float64(*r.SkewMeasuredNS)
			bins[k].Of++
			if r.Outcome == sweep.Established {
				bins[k].Count++
			}
		}
		for k, b := range bins {
			if b.Of > 0 {
				p := share(b)
				p.X = sums[k] / float64(b.Of)
				line.Points = append(line.Points, p)
			}
		}
		c.Series = append(c.Series, line)
	}
	return c
}

// bin is the number of the value that is nearest.
func bin(g sweep.Grid, v int64) int {
	if g.Step == 0 {
		return 0
	}
	return int(math.Floor(float64(v-g.From)/float64(g.Step) + 0.5))
}
