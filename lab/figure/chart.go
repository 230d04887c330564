package figure

import (
	"math"
	"slices"
)

// Markers of a line are at least so far apart, and up to so many bars and dots have
// hints: chosen by us, so that neither hides the line or swells the file.
const (
	markerGap = 8
	mostHints = 200
)

func (c *Chart) sketch() *sketch {
	f := newFrame(c.Title, c.Notes, c.Width, usual)
	f.ranges, f.marks = c.Ranges, c.Marks
	var ex, ey extent
	for _, s := range c.Series {
		for _, p := range s.Points {
			ex.add(&c.X, p.X)
			ey.add(&c.Y, p.Y)
			if p.banded() && finite(p.Y) {
				ey.add(&c.Y, p.Low, p.High)
			}
		}
	}
	for _, m := range c.Marks {
		if m.Horizontal {
			ey.add(&c.Y, m.At)
		}
	}
	high := f.w * 0.46
	if f.w < 500 {
		high = f.w * 0.68
	}
	f.x = newScale(c.X, ex, f.acrossTicks(), false)
	f.y = newScale(c.Y, ey, ticksFor(high, 52), true)
	f.keysOf(c.Series)
	f.head()
	f.sides()
	f.area(high, true)
	f.crosses()
	if !ex.any || !ey.any {
		f.nothing()
	}
	for i := range c.Series {
		f.series(&c.Series[i], i)
	}
	f.axisY()
	f.axisX()
	return f.foot()
}

func (p *Point) banded() bool { return p.High > p.Low }

// keysOf makes the legend. One series without a name needs none.
func (f *frame) keysOf(list []Series) {
	for i, s := range list {
		if s.Name == "" {
			continue
		}
		l := lookOf(s.Look, i)
		f.keys = append(f.keys, key{s.Name, func(sk *sketch, x, y float64) {
			with := l.with
			if s.Style != Dots {
				sk.add(shape{paths: [][]point{{{x, y}, {x + keyWide, y}}}, stroke: &with, width: 1.8, dash: l.dash})
			}
			if s.Style != Outline {
				sk.mark(l, x+keyWide/2, y, "")
			}
		}})
	}
}

// runs are the points that are joined: in the order of x, broken where one is missing.
func (f *frame) runs(s *Series) [][]Point {
	pts := slices.Clone(s.Points)
	slices.SortStableFunc(pts, func(a, b Point) int { return cmpFloat(a.X, b.X) })
	if s.Style == Outline { // a line of theory may turn back
		pts = s.Points
	}
	var runs [][]Point
	fresh := true
	for _, p := range pts {
		if !finite(p.X) || !finite(p.Y) || f.x.Log && p.X <= 0 || f.y.Log && p.Y <= 0 {
			fresh = true
			continue
		}
		if fresh {
			runs = append(runs, nil)
			fresh = false
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], p)
	}
	return runs
}

// series draws one series: its band, its line, its markers.
func (f *frame) series(s *Series, i int) {
	l := lookOf(s.Look, i)
	runs := f.runs(s)
	n := 0
	for _, r := range runs {
		n += len(r)
	}
	every := 1
	if s.Style != Dots {
		every = max(1, int(math.Ceil(markerGap*float64(n)/(f.right-f.left))))
	}
	f.group("series "+s.Name, func() {
		for _, r := range runs {
			f.band(s, r, l)
		}
		for _, r := range runs {
			if s.Style != Dots {
				with := l.with
				f.add(shape{paths: f.clip(f.joined(s, r, func(p Point) float64 { return p.Y })), stroke: &with, width: 1.8, dash: l.dash})
			}
		}
		if s.Style == Outline {
			return
		}
		for _, r := range runs {
			for k, p := range r {
				if k%every != 0 || !f.x.shows(p.X) || !f.y.shows(p.Y) {
					continue
				}
				hint := ""
				if n/every <= mostHints {
					hint = f.hint(s, p)
				}
				f.mark(l, f.x.in(p.X), f.y.in(p.Y), hint)
			}
		}
	})
}

// hint is a point in words.
func (f *frame) hint(s *Series, p Point) string {
	text := f.x.write(p.X) + ": " + f.y.write(p.Y)
	if p.banded() {
		text += ", " + f.y.write(p.Low) + " to " + f.y.write(p.High)
	}
	if s.Name != "" {
		text = s.Name + ", " + text
	}
	return text
}

// joined is a run as a line through value.
func (f *frame) joined(s *Series, run []Point, value func(Point) float64) []point {
	var line []point
	for i, p := range run {
		at := point{f.x.in(p.X), f.y.in(value(p))}
		if i > 0 && s.Style == Step {
			half := (line[len(line)-1].x + at.x) / 2
			line = append(line, point{half, line[len(line)-1].y}, point{half, at.y})
		}
		line = append(line, at)
	}
	return line
}

// band draws the intervals of a run.
func (f *frame) band(s *Series, run []Point, l look) {
	if !slices.ContainsFunc(run, func(p Point) bool { return p.banded() }) {
		return
	}
	within := func(v float64) float64 { return f.y.clamp(v) }
	if s.Style == Dots || len(run) == 1 {
		for _, p := range run {
			if p.banded() && f.x.shows(p.X) {
				x := f.x.in(p.X)
				f.line(x, within(p.Low), x, within(p.High), 1.1, l.with)
				f.line(x-3, within(p.Low), x+3, within(p.Low), 1.1, l.with)
				f.line(x-3, within(p.High), x+3, within(p.High), 1.1, l.with)
			}
		}
		return
	}
	end := func(get func(Point) float64) []point {
		pts := f.joined(s, run, func(p Point) float64 {
			if !p.banded() {
				return p.Y
			}
			return get(p)
		})
		for i := range pts {
			pts[i].x = min(max(pts[i].x, f.left), f.right)
			pts[i].y = min(max(pts[i].y, f.top), f.bottom)
		}
		return pts
	}
	around := end(func(p Point) float64 { return p.High })
	low := end(func(p Point) float64 { return p.Low })
	slices.Reverse(low)
	with := l.with.thin(0.16)
	f.add(shape{paths: [][]point{append(around, low...)}, closed: true, fill: &with})
}

// clip is the part of a line that lies within the data's place (Liang and Barsky, 1984).
func (f *frame) clip(line []point) [][]point {
	if len(line) == 1 {
		return nil
	}
	var parts [][]point
	var now []point
	for i := 1; i < len(line); i++ {
		a, b, ok := clipped(line[i-1], line[i], f.left, f.top, f.right, f.bottom)
		if !ok {
			continue
		}
		if len(now) == 0 || now[len(now)-1] != a {
			if len(now) > 0 {
				parts = append(parts, now)
			}
			now = []point{a}
		}
		now = append(now, b)
	}
	if len(now) > 0 {
		parts = append(parts, now)
	}
	return parts
}

// clipped is the part of one stroke within a box. Ends on the box are within.
func clipped(a, b point, left, top, right, bottom float64) (from, to point, ok bool) {
	const slack = 1e-6
	t0, t1 := 0.0, 1.0
	dx, dy := b.x-a.x, b.y-a.y
	for _, e := range [...]struct{ d, room float64 }{
		{-dx, a.x - left}, {dx, right - a.x}, {-dy, a.y - top}, {dy, bottom - a.y},
	} {
		switch {
		case math.Abs(e.d) < 1e-12:
			if e.room < -slack {
				return from, to, false
			}
		case e.d < 0:
			t0 = max(t0, (e.room+slack)/e.d)
		default:
			t1 = min(t1, (e.room+slack)/e.d)
		}
	}
	if t0 > t1 {
		return from, to, false
	}
	from, to = a, b
	if t0 > 0 {
		from = point{a.x + t0*dx, a.y + t0*dy}
	}
	if t1 < 1 {
		to = point{a.x + t1*dx, a.y + t1*dy}
	}
	return from, to, true
}
