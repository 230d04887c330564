package figure

import (
	"math"
	"time"
)

// Crossing is the geometry of two SYNs between two NATs, time running down: A's, and
// those of B that cross it.
type Crossing struct {
	Title  string
	Notes  []string
	AB, BA time.Duration // from NAT A to NAT B, and back
	Width  float64       // 0: 560
}

var _ Figure = (*Crossing)(nil)

// Heading is the Title.
func (c *Crossing) Heading() string { return c.Title }

func (c *Crossing) sketch() *sketch {
	f := newFrame(c.Title, c.Notes, c.Width, 560)
	ab, ba := float64(max(c.AB, 0)), float64(max(c.BA, 0))
	looksA, looksB := looks[0], looks[1]
	sample := func(with paint, width float64, dash []float64) func(*sketch, float64, float64) {
		return func(s *sketch, x, y float64) {
			s.add(shape{paths: [][]point{{{x, y}, {x + keyWide, y}}}, stroke: &with, width: width, dash: dash})
		}
	}
	f.keys = []key{
		{"A's SYN", sample(looksA.with, 2.2, nil)},
		{"B's SYN, best aim", sample(looksB.with, 2.2, []float64{8, 3})},
		{"the first and the last of B's that cross it", sample(looksB.with, 1, []float64{3, 3})},
	}
	f.head()
	whole := ab + ba
	if whole == 0 {
		whole = 1
	}
	write := func(v float64) string { return (&Axis{Unit: Duration}).write(v) }
	labels := []struct {
		at   float64
		text string
	}{{-ba, write(-ba)}, {(ab - ba) / 2, write((ab-ba)/2) + ": the middle"}, {ab, write(ab)}}
	side := 0.0
	for _, l := range labels {
		side = max(side, width(l.text, tickSize)*1.04)
	}
	f.left, f.right = edge+width("0", tickSize)+20, f.w-edge-side-22
	f.top = f.y0 + 24
	f.bottom = f.top + min(300, f.w*0.55)
	y := func(t float64) float64 { return f.top + (f.bottom-f.top)*(t+ba+0.06*whole)/(ab+2*ba+0.12*whole) }
	name := typo{size: wordSize, heavy: true, align: atCentre, with: ink}
	f.write("NAT A", f.left, f.top-8, name)
	f.write("NAT B", f.right, f.top-8, name)
	f.group("window", func() { f.fill(f.left, y(-ba), f.right-f.left, y(ab)-y(-ba), window) })
	f.line(f.left, f.top, f.left, f.bottom, 1.2, ink)
	f.line(f.right, f.top, f.right, f.bottom, 1.2, ink)
	bar := looksB.with.thin(0.35)
	f.group("departures", func() { f.fill(f.right-3.5, y(-ba), 7, y(ab)-y(-ba), bar) })
	thin := func(from float64) {
		f.add(shape{paths: [][]point{{{f.right, y(from)}, {f.left, y(from + ba)}}}, stroke: &looksB.with, width: 1, dash: []float64{3, 3}})
	}
	f.group("edges", func() { thin(-ba); thin(ab) })
	aim := (ab - ba) / 2
	f.group("A's SYN", func() { f.arrow(point{f.left, y(0)}, point{f.right, y(ab)}, looksA.with, nil) })
	f.group("B's SYN", func() { f.arrow(point{f.right, y(aim)}, point{f.left, y(aim + ba)}, looksB.with, []float64{8, 3}) })
	met := point{(f.left + f.right) / 2, (y(0) + y(ab)) / 2}
	f.group("meeting", func() { f.add(shape{kind: dot, at: met, r: 5, fill: &ground, stroke: &ink, width: 1.6}) })
	f.middle("0", f.left-8, y(0), typo{size: tickSize, align: atRight, with: ink})
	free := math.Inf(-1)
	for _, l := range labels {
		at := max(y(l.at), free+tickSize*leading)
		f.middle(l.text, f.right+12, at, typo{size: tickSize, with: ink})
		free = at
	}
	f.y0 = f.bottom + 6
	return f.foot()
}

// arrow is a line with a head at its end.
func (s *sketch) arrow(from, to point, with paint, dash []float64) {
	s.add(shape{paths: [][]point{{from, to}}, stroke: &with, width: 2.2, dash: dash})
	d := math.Hypot(to.x-from.x, to.y-from.y)
	if d == 0 {
		return
	}
	ux, uy := (to.x-from.x)/d, (to.y-from.y)/d
	const long, half = 10, 4
	back := point{to.x - long*ux, to.y - long*uy}
	s.add(shape{paths: [][]point{{to, {back.x - half*uy, back.y + half*ux}, {back.x + half*uy, back.y - half*ux}}}, closed: true, fill: &with})
}
