package draw

import (
	"fmt"
	"strings"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
)

// titles say what the values of an axis are.
var titles = map[sweep.Axis]string{
	sweep.Skew:       "skew as ordered: B's instant less A's",
	sweep.Delay:      "delay of the link, mean of both ways",
	sweep.Asymmetry:  "delay from A to B less that from B to A",
	sweep.TTL:        "TTL",
	sweep.Jitter:     "jitter of the link",
	sweep.ClockError: "largest error of each clock",
	sweep.RSTDelay:   "delay of a NAT's answers",
}

// axis is a figure's axis for an axis of the sweep.
func axis(a sweep.Axis) figure.Axis {
	x := figure.Axis{Title: titles[a]}
	if a.IsTime() {
		x.Unit = figure.Duration
	}
	return x
}

// notes says how the sweep was made.
func notes(s *sweep.Summary, more ...string) []string {
	c := &s.Config
	var grids, arms []string
	for _, g := range c.Axes {
		grids = append(grids, g.String())
	}
	for i := range c.Arms {
		arms = append(arms, c.Describe(i))
	}
	about := fmt.Sprintf("World %s; %s; %d trials of each arm at each point, seed %d", c.World, strings.Join(grids, "; "), c.Trials, c.Seed)
	if s.Done < s.Of {
		about += fmt.Sprintf("; %d of %d made", s.Done, s.Of)
	}
	list := append([]string{about + "."}, arms...)
	return append(list, more...)
}

const wilson = "Intervals: Wilson's, 95 %."
