package figure

import (
	"cmp"
	"math"
	"slices"
)

func (s *Shares) sketch() *sketch {
	f := newFrame(s.Title, s.Notes, s.Width, usual)
	f.ranges = s.Ranges
	for _, m := range s.Marks {
		if !m.Horizontal {
			f.marks = append(f.marks, m)
		}
	}
	order := s.order()
	from, to := s.bars(order)
	var ex extent
	ex.add(&s.X, from...)
	ex.add(&s.X, to...)
	if len(order) == 1 && !s.X.Log { // a bar that leaves room is seen to be one
		ex.add(&s.X, 2*from[0]-to[0], 2*to[0]-from[0])
	}
	high := f.w * 0.42
	if f.w < 500 {
		high = f.w * 0.62
	}
	f.x = newScale(s.X, ex, f.acrossTicks(), false)
	f.y = newScale(Axis{Title: "share of " + cmp.Or(s.Whole, "trials"), Unit: Percent}, extent{}, 5, false)
	for i, p := range s.Parts {
		t := toneOf(p.Look, i)
		f.keys = append(f.keys, key{p.Name, func(sk *sketch, x, y float64) {
			sk.tint(t, nil, [4]float64{x + 4, y - 5.5, keyWide - 6, 11})
			sk.outline(x+4, y-5.5, keyWide-6, 11, 0.5, rule)
		}})
	}
	f.head()
	f.sides()
	f.area(high, true)
	if len(order) == 0 || len(s.Parts) == 0 {
		f.nothing()
	}
	s.draw(f, order, from, to)
	f.crosses()
	for _, r := range s.Ranges { // the edges again, over the bars
		for _, end := range []float64{r.From, r.To} {
			if f.x.shows(end) {
				f.line(f.x.in(end), f.top-4, f.x.in(end), f.bottom, 2.6, ground)
				f.dashed(f.x.in(end), f.top-4, f.x.in(end), f.bottom, 1.2, ink, 4, 2)
			}
		}
	}
	f.axisY()
	f.axisX()
	return f.foot()
}

// order is the indices of the values of x that can be drawn, ascending.
func (s *Shares) order() []int {
	var order []int
	for i, v := range s.At {
		if finite(v) && !(s.X.Log && v <= 0) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmpFloat(s.At[a], s.At[b]) })
	return order
}

// bars are the ends of each bar, in the values of x.
func (s *Shares) bars(order []int) (from, to []float64) {
	at := make([]float64, len(order))
	for i, k := range order {
		at[i] = s.At[k]
	}
	edges := between(at, s.X.Log)
	for i := range order {
		from, to = append(from, edges[i]), append(to, edges[i+1])
	}
	return from, to
}

// between are the edges half way between ascending values, and as far beyond the ends.
func between(at []float64, log bool) []float64 {
	in, out := func(v float64) float64 { return v }, func(v float64) float64 { return v }
	if log {
		in, out = math.Log, math.Exp
	}
	n := len(at)
	if n == 0 {
		return nil
	}
	if n == 1 {
		d := math.Abs(at[0]) / 2
		switch {
		case log:
			return []float64{at[0] / 2, at[0] * 2}
		case d == 0:
			d = 0.5
		}
		return []float64{at[0] - d, at[0] + d}
	}
	edges := make([]float64, n+1)
	for i := 1; i < n; i++ {
		edges[i] = out((in(at[i-1]) + in(at[i])) / 2)
	}
	edges[0] = out(in(at[0]) - (in(at[1])-in(at[0]))/2)
	edges[n] = out(in(at[n-1]) + (in(at[n-1])-in(at[n-2]))/2)
	return edges
}

func (s *Shares) draw(f *frame, order []int, from, to []float64) {
	base := make([]float64, len(order))
	for k, p := range s.Parts {
		var boxes [][4]float64
		var hints []string
		for i, at := range order {
			if at >= len(p.Shares) || !(p.Shares[at] > 0) {
				continue
			}
			share := min(p.Shares[at], 1-base[i])
			left, right := f.x.clamp(from[i]), f.x.clamp(to[i])
			if right-left > 5 {
				left, right = left+0.5, right-0.5
			}
			if right > left {
				top := f.y.in(base[i] + share)
				boxes = append(boxes, [4]float64{left, top, right - left, f.y.in(base[i]) - top})
				hints = append(hints, p.Name+", "+f.x.write(s.At[at])+": "+f.y.write(p.Shares[at]))
			}
			base[i] += share
		}
		if len(order) > mostHints {
			hints = nil
		}
		f.group("part "+p.Name, func() { f.tint(toneOf(p.Look, k), hints, boxes...) })
	}
}
