package capture

import (
	"math"
	"slices"
	"sort"
	"strconv"
	"time"
)

// Chosen by us, in pixels: a scale at which angles and labels can be read.
const (
	hopFall     = 100.0 // the typical hop falls this much from lane to lane
	levelGap    = 40.0  // without hops that take time: the typical gap between packets
	breakHeight = 30.0  // of a part of the time axis that is left out
	breakPad    = 14.0  // drawn before and after it
	worthBreak  = 80.0  // a gap less high than this is drawn
	worthHops   = 2     // ... or less long than so many hops: packets are under way in it
	leastHeight = 150.0
	tickGap     = 46.0
)

// timeAxis maps times to heights: to scale, except for breaks.
type timeAxis struct {
	ref   time.Time
	knots []knot // by time; the first stretch begins at the first knot
	scale float64
}

// knot is where a stretch of the axis begins.
type knot struct {
	at     time.Duration // after ref
	y      float64
	broken bool // the stretch that begins here is not to scale
}

// newTimeAxis chooses the scale and the breaks for the instants that must be
// seen. typical is the duration of a hop, 0 = no hop takes time. The top is at
// y, and the height about most or less.
func newTimeAxis(ref time.Time, instants []time.Time, typical time.Duration, y, most float64) *timeAxis {
	at := make([]time.Duration, len(instants))
	for i, t := range instants {
		at[i] = t.Sub(ref)
	}
	slices.Sort(at)
	at = slices.Compact(at)
	var gaps []time.Duration
	for i := range len(at) - 1 {
		gaps = append(gaps, at[i+1]-at[i])
	}
	x := &timeAxis{ref: ref, scale: axisScale(gaps, typical)}
	limit := max(breakAbove(gaps, x.scale, most), worthHops*typical)
	if total := at[len(at)-1] - at[0]; total > 0 && limit >= slices.Max(gaps) {
		x.scale = max(x.scale, leastHeight/float64(total))
	}
	x.knots = append(x.knots, knot{at: at[0], y: y})
	for i, g := range gaps {
		k := &x.knots[len(x.knots)-1]
		if g <= limit {
			continue
		}
		// The stretch before, a break, and the stretch after.
		pad := time.Duration(breakPad / x.scale)
		y = k.y + float64(at[i]+pad-k.at)*x.scale
		x.knots = append(x.knots, knot{at: at[i] + pad, y: y, broken: true}, knot{at: at[i+1] - pad, y: y + breakHeight})
	}
	return x
}

// axisScale is pixels for each nanosecond.
func axisScale(gaps []time.Duration, typical time.Duration) float64 {
	if typical > 0 {
		return hopFall / float64(typical)
	}
	sorted := slices.DeleteFunc(slices.Clone(gaps), func(g time.Duration) bool { return g < time.Microsecond })
	if len(sorted) == 0 {
		return levelGap / float64(time.Millisecond)
	}
	slices.Sort(sorted)
	return levelGap / float64(sorted[(len(sorted)-1)*3/4])
}

// breakAbove is how long a gap may be and still be drawn: the longest ones are
// left out until the picture is not higher than most.
func breakAbove(gaps []time.Duration, scale, most float64) time.Duration {
	sorted := slices.Clone(gaps)
	slices.Sort(sorted)
	total := 0.0
	for _, g := range sorted {
		total += float64(g) * scale
	}
	for i := len(sorted) - 1; i >= 0; i-- {
		h := float64(sorted[i]) * scale
		if total <= most || h < worthBreak {
			return sorted[i]
		}
		total += breakHeight - h
	}
	return 0
}

// y is the height of an instant.
func (x *timeAxis) y(t time.Time) float64 { return x.height(t.Sub(x.ref)) }

func (x *timeAxis) height(at time.Duration) float64 {
	i := max(sort.Search(len(x.knots), func(i int) bool { return x.knots[i].at > at })-1, 0)
	k := x.knots[i]
	if k.broken && i+1 < len(x.knots) {
		next := x.knots[i+1]
		return k.y + (next.y-k.y)*float64(at-k.at)/float64(next.at-k.at)
	}
	return k.y + float64(at-k.at)*x.scale
}

// between are the instants of knots strictly between two others: where a line
// through time bends.
func (x *timeAxis) between(from, to time.Time) []time.Time {
	var bends []time.Time
	for _, k := range x.knots {
		if t := x.ref.Add(k.at); t.After(from) && t.Before(to) {
			bends = append(bends, t)
		}
	}
	return bends
}

// tick is a mark of the axis.
type tick struct {
	y    float64
	text string
}

// ticks are marks at round times, and the unit of their words.
func (x *timeAxis) ticks(bottom float64) ([]tick, string) {
	step := roundUp(tickGap / x.scale)
	last := x.knots[len(x.knots)-1]
	end := last.at + time.Duration((bottom-last.y)/x.scale)
	unit, name := time.Millisecond, "ms"
	switch most := max(end.Abs(), x.knots[0].at.Abs()); {
	case step >= time.Second:
		unit, name = time.Second, "s"
	case most < time.Millisecond && step >= time.Microsecond:
		unit, name = time.Microsecond, "µs"
	case most < time.Microsecond:
		unit, name = time.Nanosecond, "ns"
	}
	digits := 0
	for s := step; s%unit != 0; s *= 10 {
		digits++
	}
	var ticks []tick
	for i, k := range x.knots {
		if k.broken {
			continue
		}
		to := end
		if i+1 < len(x.knots) {
			to = x.knots[i+1].at
		}
		first := k.at
		if i == 0 {
			first -= time.Duration(breakPad / x.scale)
		}
		from := first / step * step
		if from < first {
			from += step
		}
		for at := from; at <= to; at += step {
			text := strconv.FormatFloat(float64(at)/float64(unit), 'f', digits, 64)
			if at > 0 {
				text = "+" + text
			}
			ticks = append(ticks, tick{x.height(at), text})
		}
	}
	return ticks, name
}

// roundUp is the next larger 1, 2 or 5 times a power of ten, in nanoseconds.
func roundUp(ns float64) time.Duration {
	p := math.Pow(10, math.Floor(math.Log10(max(ns, 1))))
	for _, m := range []float64{1, 2, 5, 10} {
		if ns <= m*p {
			return time.Duration(max(m*p, 1))
		}
	}
	return time.Duration(10 * p)
}

// breaks are the stretches left out, with their length.
func (x *timeAxis) breaks() []span {
	var list []span
	for i, k := range x.knots {
		if k.broken {
			next := x.knots[i+1]
			list = append(list, span{k.y, next.y, next.at - k.at})
		}
	}
	return list
}

// span is a stretch of the axis.
type span struct {
	top, bottom float64
	d           time.Duration
}
