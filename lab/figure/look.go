package figure

import "math"

// look is how a line can be told from the others without its hue.
type look struct {
	with   paint
	dash   []float64
	marker marker
}

type marker int

const (
	disc marker = iota
	ring
	square
	triangle
	diamond
	cross
)

// Hues are told apart by those who see few colours too, and differ in lightness.
var looks = [...]look{
	{paint{rgb: 0x0b3c78, role: "1"}, nil, disc},
	{paint{rgb: 0xc4500a, role: "2"}, []float64{7, 3}, square},
	{paint{rgb: 0x12855f, role: "3"}, []float64{2, 2.5}, triangle},
	{paint{rgb: 0x8d5bb5, role: "4"}, []float64{9, 3, 2, 3}, diamond},
	{paint{rgb: 0x9a7400, role: "5"}, []float64{4, 2}, ring},
	{paint{rgb: 0x5c6670, role: "6"}, []float64{12, 4}, cross},
}

// lookOf is the look of the i-th series, or the one it asks for.
func lookOf(want, i int) look {
	if want > 0 {
		i = want - 1
	}
	return looks[i%len(looks)]
}

// mark draws a marker.
func (s *sketch) mark(l look, x, y float64, hint string) {
	r := 3.2
	if l.marker == disc { // it shows behind one that lies on it
		r = 3.9
	}
	with, under := l.with, ground
	poly := func(pts ...point) {
		s.add(shape{paths: [][]point{pts}, closed: true, fill: &with, hint: hint, at: point{x, y}})
	}
	switch l.marker {
	case disc:
		s.add(shape{kind: dot, at: point{x, y}, r: r, fill: &with, hint: hint})
	case ring:
		s.add(shape{kind: dot, at: point{x, y}, r: r, fill: &under, stroke: &with, width: 1.6, hint: hint})
	case square:
		poly(box(x-r+0.3, y-r+0.3, 2*r-0.6, 2*r-0.6)...)
	case triangle:
		poly(point{x, y - r - 0.6}, point{x + r + 0.4, y + r - 0.6}, point{x - r - 0.4, y + r - 0.6})
	case diamond:
		poly(point{x, y - r - 1}, point{x + r + 1, y}, point{x, y + r + 1}, point{x - r - 1, y})
	case cross:
		s.add(shape{paths: [][]point{{{x - r, y - r}, {x + r, y + r}}, {{x - r, y + r}, {x + r, y - r}}}, stroke: &with, width: 1.8, hint: hint})
	}
}

// tone is how a part of a whole can be told from the others without its hue.
type tone struct {
	with  paint
	hatch paint
	up    bool
	both  bool
	gap   float64 // of the hatching; 0: none
}

var (
	white = paint{rgb: 0xffffff, alpha: 0.85, role: "hatch"}
	tones = [...]tone{
		{with: paint{rgb: 0x0b3c78, role: "part-1"}},
		{with: paint{rgb: 0xd0651b, role: "part-2"}, hatch: white, up: true, gap: 5},
		{with: paint{rgb: 0xd3d7db, role: "part-3"}},
		{with: paint{rgb: 0x4f9d84, role: "part-4"}, hatch: white, gap: 4},
		{with: paint{rgb: 0xe9d9a8, role: "part-5"}, hatch: paint{rgb: 0x7a6420, alpha: 0.8}, up: true, both: true, gap: 6},
		{with: paint{rgb: 0x3c3c44, role: "part-6"}, hatch: white, up: true, gap: 8},
	}
)

func toneOf(want, i int) tone {
	if want > 0 {
		i = want - 1
	}
	return tones[i%len(tones)]
}

// tint fills boxes with a tone. Without hints they are one shape.
func (s *sketch) tint(t tone, hints []string, boxes ...[4]float64) {
	with := t.with
	whole := shape{closed: true, fill: &with}
	for i, b := range boxes {
		p := box(b[0], b[1], b[2], b[3])
		if hints == nil {
			whole.paths = append(whole.paths, p)
		} else {
			s.add(shape{paths: [][]point{p}, closed: true, fill: &with, hint: hints[i]})
		}
	}
	if hints == nil {
		s.add(whole)
	}
	if t.gap == 0 {
		return
	}
	lines := hatching(boxes, t.gap, t.up)
	if t.both {
		lines = append(lines, hatching(boxes, t.gap, !t.up)...)
	}
	over := t.hatch
	s.add(shape{paths: lines, stroke: &over, width: 0.9})
}

// hatching is the lines of boxes from left to right. What touches is one line.
func hatching(boxes [][4]float64, gap float64, up bool) [][]point {
	var lines [][]point
	last := map[int]int{} // number of the line -> its latest piece
	for _, b := range boxes {
		for _, h := range hatch(b[0], b[1], b[2], b[3], gap, up) {
			i, ok := last[h.n]
			if ok && near(lines[i][1], h.from) {
				lines[i][1] = h.to
				continue
			}
			last[h.n] = len(lines)
			lines = append(lines, []point{h.from, h.to})
		}
	}
	return lines
}

func near(a, b point) bool { return math.Abs(a.x-b.x) < 0.01 && math.Abs(a.y-b.y) < 0.01 }

// shades draws what the shades of cells mean, with the text at the right.
func (s *sketch) shades(text string, x, y, size float64) {
	for i := range scaleSteps {
		s.fill(x+scaleWidth*float64(i)/scaleSteps, y, scaleWidth/scaleSteps+0.3, scaleHigh, shade(float64(i)/(scaleSteps-1)))
	}
	s.outline(x, y, scaleWidth, scaleHigh, 0.5, rule)
	for i, mark := range []string{"0 %", "50 %", "100 %"} {
		s.write(mark, x+scaleWidth*float64(i)/2, y+scaleHigh+2+size, typo{size: size, align: atCentre, with: ink})
	}
	s.middle(text, x+scaleWidth+3*gap, y+scaleHigh/2, typo{size: size, with: ink})
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
