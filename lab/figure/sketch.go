package figure

import "math"

// sketch is a figure as shapes with their places, from which the files are written. The
// origin is at the top left and a unit is a point.
type sketch struct {
	w, h   float64
	title  string
	desc   []string
	shapes []shape
}

type point struct{ x, y float64 }

// shape is a path, a dot, a line of type, or the begin or the end of a group.
type shape struct {
	kind   kind
	paths  [][]point
	closed bool
	fill   *paint
	stroke *paint
	width  float64 // of the stroke
	dash   []float64

	at    point
	r     float64 // of a dot
	text  string  // of type, or the name of a group
	size  float64
	heavy bool
	align align
	turn  bool // type runs upwards

	hint string // what a pointer that rests here is told
}

type kind int

const (
	path kind = iota
	dot
	letters
	open
	shut
)

// align says which end of a line of type stands at its place.
type align int

const (
	atLeft align = iota
	atCentre
	atRight
)

func (s *sketch) add(sh shape) { s.shapes = append(s.shapes, sh) }

// group names what is drawn by fn.
func (s *sketch) group(name string, fn func()) {
	s.add(shape{kind: open, text: name})
	fn()
	s.add(shape{kind: shut})
}

func (s *sketch) line(x1, y1, x2, y2, width float64, with paint) {
	s.add(shape{paths: [][]point{{{x1, y1}, {x2, y2}}}, stroke: &with, width: width})
}

func (s *sketch) dashed(x1, y1, x2, y2, width float64, with paint, dash ...float64) {
	s.add(shape{paths: [][]point{{{x1, y1}, {x2, y2}}}, stroke: &with, width: width, dash: dash})
}

func (s *sketch) fill(x, y, w, h float64, with paint) {
	s.add(shape{paths: [][]point{box(x, y, w, h)}, closed: true, fill: &with})
}

func (s *sketch) outline(x, y, w, h, width float64, with paint) {
	s.add(shape{paths: [][]point{box(x, y, w, h)}, closed: true, stroke: &with, width: width})
}

// type writes a line; its middle is at the height y.
func (s *sketch) middle(text string, x, y float64, t typo) { s.write(text, x, y+0.36*t.size, t) }

// write writes a line with its base at the height y.
func (s *sketch) write(text string, x, y float64, t typo) {
	if text == "" {
		return
	}
	with := t.with
	s.add(shape{kind: letters, text: text, at: point{x, y}, size: t.size, heavy: t.heavy, align: t.align, fill: &with})
}

// upwards writes a line that runs upwards with its base at x.
func (s *sketch) upwards(text string, x, y float64, t typo) {
	if text == "" {
		return
	}
	with := t.with
	s.add(shape{kind: letters, text: text, at: point{x, y}, size: t.size, heavy: t.heavy, align: t.align, turn: true, fill: &with})
}

// typo is the look of a line of type.
type typo struct {
	size  float64
	heavy bool
	align align
	with  paint
}

func box(x, y, w, h float64) []point { return []point{{x, y}, {x + w, y}, {x + w, y + h}, {x, y + h}} }

// piece is a part of line n of a hatching.
type piece struct {
	n        int
	from, to point
}

// hatch is lines at 45 degrees in a box, gap points apart along the axes; up or down
// to the right. Lines of neighbouring boxes meet.
func hatch(x, y, w, h, gap float64, up bool) []piece {
	var list []piece
	lo, hi := x-y-h, x+w-y // of x - y along the lines
	if up {
		lo, hi = x+y, x+w+y+h // of x + y
	}
	for n := int(math.Ceil(lo / gap)); float64(n)*gap < hi; n++ {
		c := float64(n) * gap
		from, to := max(x, c+y), min(x+w, c+y+h)
		if up {
			from, to = max(x, c-y-h), min(x+w, c-y)
		}
		if to <= from {
			continue
		}
		if up {
			list = append(list, piece{n, point{from, c - from}, point{to, c - to}})
		} else {
			list = append(list, piece{n, point{from, from - c}, point{to, to - c}})
		}
	}
	return list
}
