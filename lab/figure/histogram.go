package figure

import (
	"fmt"
	"math"
	"slices"
)

func (h *Histogram) sketch() *sketch {
	f := newFrame(h.Title, h.Notes, h.Width, usual)
	f.ranges = h.Ranges
	for _, m := range h.Marks {
		if !m.Horizontal {
			f.marks = append(f.marks, m)
		}
	}
	var ex extent
	sets := make([][]float64, len(h.Sets))
	for i, s := range h.Sets {
		for _, v := range s.Values {
			if finite(v) && !(h.X.Log && v <= 0) {
				sets[i] = append(sets[i], v)
			}
		}
		slices.Sort(sets[i])
		ex.add(&h.X, sets[i]...)
	}
	f.x = newScale(h.X, bulk(ex, sets), f.acrossTicks(), false)
	bins := h.bins(f.x, sets)
	counts := make([][]int, len(sets))
	most := 1
	for i := range sets {
		counts[i] = f.count(sets[i], bins)
		most = max(most, slices.Max(counts[i]))
	}
	high := f.w * 0.3
	if len(sets) > 1 {
		high = f.w * 0.19
	}
	if f.w < 500 {
		high *= 1.5
	}
	f.y = newScale(Axis{Title: "how many", Max: float64(most) * 1.04}, extent{}, ticksFor(high, 30), false)
	f.wholeTicks()
	f.head()
	f.sides()
	for i := range h.Sets {
		h.panel(f, i, sets[i], counts[i], high)
	}
	if len(h.Sets) == 0 {
		f.area(high, true)
		f.nothing()
		f.axisY()
	}
	f.axisX()
	return f.foot()
}

// Of sets whose ends are this many times as far apart as nine in ten of
// their values, the axis shows the latter, and as much again on both sides: one value
// that went astray would leave nothing to see of all others. Chosen by us.
const astray = 4

// bulk is the extent of the values that the axis shows.
func bulk(all extent, sets [][]float64) extent {
	var e extent
	for _, v := range sets {
		if len(v) > 0 {
			e.add(&Axis{}, quantile(v, 0.05), quantile(v, 0.95))
		}
	}
	wide := e.hi - e.lo
	if !e.any || wide <= 0 || all.hi-all.lo <= astray*wide {
		return all
	}
	return extent{lo: max(all.lo, e.lo-wide), hi: min(all.hi, e.hi+wide), any: true}
}

// wholeTicks leaves out ticks between numbers of things.
func (f *frame) wholeTicks() {
	f.y.ticks = slices.DeleteFunc(f.y.ticks, func(t tick) bool { return t.at != math.Round(t.at) })
	for i := range f.y.ticks {
		f.y.ticks[i].label = decimal(f.y.ticks[i].at, 0)
	}
}

// bins is how many bars the x axis is divided into. A bar is 2 IQR/n^(1/3) wide
// (Freedman and Diaconis, 1981) for the set for which that is narrowest.
func (h *Histogram) bins(x *scale, sets [][]float64) int {
	if h.Bins > 0 {
		return h.Bins
	}
	bins := 10
	for _, v := range sets {
		if len(v) < 2 {
			continue
		}
		iqr := x.part(quantile(v, 0.75)) - x.part(quantile(v, 0.25))
		if wide := 2 * iqr / math.Cbrt(float64(len(v))); wide > 0 {
			bins = max(bins, int(min(60, math.Ceil(1/wide))))
		}
	}
	return bins
}

// part is how far along the axis a value lies, from 0 to 1.
func (s *scale) part(v float64) float64 {
	if s.Log {
		return math.Log(v/s.lo) / math.Log(s.hi/s.lo)
	}
	return (v - s.lo) / (s.hi - s.lo)
}

// quantile of sorted values, between neighbours in proportion.
func quantile(v []float64, q float64) float64 {
	at := q * float64(len(v)-1)
	i := min(int(at), len(v)-2)
	if i < 0 {
		return v[0]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

// count sorts values into bins. What lies off the axis is in no bin.
func (f *frame) count(v []float64, bins int) []int {
	counts := make([]int, bins)
	for _, x := range v {
		if f.x.shows(x) {
			counts[min(max(int(f.x.part(x)*float64(bins)), 0), bins-1)]++
		}
	}
	return counts
}

// panel draws one set.
func (h *Histogram) panel(f *frame, i int, values []float64, counts []int, high float64) {
	s := &h.Sets[i]
	head := typo{size: wordSize, heavy: true, with: ink}
	f.y0 += wordSize + 2
	f.write(s.Name, edge, f.y0, head)
	x := float64(edge)
	if s.Name != "" {
		x += bold(s.Name, wordSize)*1.04 + 12
	}
	lines := wrap(summary(f.x, values, len(s.Values)), f.w-edge-x, smallSize, false)
	for n, l := range lines {
		if n > 0 {
			f.y0 += smallSize * leading
		}
		f.write(l, x, f.y0, typo{size: smallSize, with: faint})
	}
	f.y0 += 8
	if i > 0 {
		f.y.Title = ""
	}
	f.area(high, i == 0)
	if len(values) == 0 {
		f.nothing()
	}
	t := tones[0]
	var boxes [][4]float64
	var hints []string
	wide := (f.right - f.left) / float64(len(counts))
	for k, n := range counts {
		if n == 0 {
			continue
		}
		top := f.y.clamp(float64(n))
		boxes = append(boxes, [4]float64{f.left + float64(k)*wide + 0.4, top, wide - 0.8, f.bottom - top})
		hints = append(hints, fmt.Sprintf("%s to %s: %s", f.x.write(f.x.value(float64(k)/float64(len(counts)))),
			f.x.write(f.x.value(float64(k+1)/float64(len(counts)))), decimal(float64(n), 0)))
	}
	f.group("set "+s.Name, func() { f.tint(t, hints, boxes...) })
	f.crosses()
	f.axisY()
	f.y0 = f.bottom + 10
}

// value is the inverse of part.
func (s *scale) value(part float64) float64 {
	if s.Log {
		return s.lo * math.Pow(s.hi/s.lo, part)
	}
	return s.lo + part*(s.hi-s.lo)
}

// summary is a set in words.
func summary(x *scale, sorted []float64, all int) string {
	text := "n " + decimal(float64(len(sorted)), 0)
	if all > len(sorted) {
		text += " (" + decimal(float64(all-len(sorted)), 0) + " unknown)"
	}
	if len(sorted) == 0 {
		return text
	}
	a := &x.Axis
	beyond := 0
	for _, v := range sorted {
		if !x.shows(v) {
			beyond++
		}
	}
	if beyond > 0 {
		text += " (" + decimal(float64(beyond), 0) + " beyond the axis)"
	}
	return text + ", median " + a.write(quantile(sorted, 0.5)) + ", nine in ten from " +
		a.write(quantile(sorted, 0.05)) + " to " + a.write(quantile(sorted, 0.95)) +
		", all from " + a.write(sorted[0]) + " to " + a.write(sorted[len(sorted)-1])
}
