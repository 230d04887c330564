package figure

import (
	"math"
	"slices"
)

// Measures, in points, chosen by us: at 720 points the type is that of a book, and on
// a screen of 390 a figure drawn 360 wide is as legible.
const (
	edge      = 14
	headSize  = 16
	wordSize  = 11.5
	tickSize  = 11
	smallSize = 10
	leading   = 1.32
	usual     = 720
	least     = 260
)

// frame is what figures with two axes have in common: title, legend, labels above and
// beside the data, axes, notes.
type frame struct {
	*sketch
	title  string
	notes  []string
	x, y   *scale
	ranges []Range
	marks  []Mark
	keys   []key
	y0     float64 // where the next line goes

	left, right, top, bottom float64 // of the data
}

// key is an entry of the legend.
type key struct {
	name string
	draw func(s *sketch, x, y float64) // a sample, keyWide wide, its middle at y
}

const keyWide = 30

func newFrame(title string, notes []string, wide, normal float64) *frame {
	if wide == 0 {
		wide = normal
	}
	return &frame{sketch: &sketch{w: max(wide, least), title: title, desc: notes}, title: title, notes: notes}
}

// ticksFor is how many ticks suit a length.
func ticksFor(length, each float64) int { return max(2, int(length/each)) }

// head writes the title and the legend.
func (f *frame) head() {
	f.add(shape{}) // the ground, when the height is known
	f.y0 = edge
	room := f.w - 2*edge
	for _, l := range wrap(f.title, room, headSize, true) {
		f.y0 += headSize
		f.write(l, edge, f.y0, typo{size: headSize, heavy: true, with: ink})
		f.y0 += headSize * (leading - 1)
	}
	f.y0 += 6
	f.legend(room)
}

func (f *frame) legend(room float64) {
	if len(f.keys) == 0 {
		return
	}
	x := float64(edge)
	f.y0 += wordSize / 2
	for _, k := range f.keys {
		name := wrap(k.name, room-keyWide-6, wordSize, false)
		w := 0.0
		for _, l := range name {
			w = max(w, width(l, wordSize))
		}
		if x > edge && x+keyWide+6+w > f.w-edge {
			x = edge
			f.y0 += wordSize * 1.5
		}
		k.draw(f.sketch, x, f.y0)
		for i, l := range name {
			if i > 0 {
				f.y0 += wordSize * leading
			}
			f.middle(l, x+keyWide+6, f.y0, typo{size: wordSize, with: ink})
		}
		x += keyWide + 6 + w*1.04 + 20
	}
	f.y0 += wordSize/2 + 8
}

// label is type above the data that says what a range or a mark is.
type label struct {
	text     string
	at       float64
	from, to float64
	row      int
}

// labels places the names of ranges and of vertical marks in rows above the data, so
// that none touches another.
func (f *frame) labels() (list []label, rows int) {
	add := func(text string, at float64) {
		if text == "" || math.IsNaN(at) {
			return
		}
		w := width(text, smallSize) * 1.04
		from := min(max(at-w/2, edge), f.w-edge-w)
		list = append(list, label{text: text, at: at, from: from, to: from + w})
	}
	for _, r := range f.ranges {
		if from, to := f.x.clamp(r.From), f.x.clamp(r.To); to > from {
			add(r.Label, (from+to)/2)
		}
	}
	for _, m := range f.marks {
		if !m.Horizontal && f.x.shows(m.At) {
			add(m.Label, f.x.in(m.At))
		}
	}
	slices.SortStableFunc(list, func(a, b label) int { return cmpFloat(a.from, b.from) })
	var ends []float64
	for i := range list {
		row := slices.IndexFunc(ends, func(end float64) bool { return end+8 <= list[i].from })
		if row < 0 {
			row = len(ends)
			ends = append(ends, 0)
		}
		ends[row] = list[i].to
		list[i].row = row
	}
	return list, len(ends)
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// sides makes room for what stands beside the data.
func (f *frame) sides() {
	f.left = edge + 8
	for _, t := range f.y.ticks {
		f.left = max(f.left, edge+width(t.label, tickSize)*1.04+10)
	}
	f.right = f.w - edge - 4
	for _, m := range f.marks {
		if m.Horizontal && m.Label != "" && f.y.shows(m.At) {
			f.right = min(f.right, f.w-edge-8-min(width(m.Label, smallSize)*1.04, f.w/3))
		}
	}
	f.x.from, f.x.to = f.left, f.right
	if n := len(f.x.ticks); n > 0 { // the last number may reach beyond the data
		over := f.x.in(f.x.ticks[n-1].at) + width(f.x.ticks[n-1].label, tickSize)/2 - (f.w - edge/2)
		if over > 0 {
			f.right -= over
			f.x.to = f.right
		}
	}
}

// area opens the place of the data, high points high, below the names of ranges and
// marks, and draws what lies behind the data.
func (f *frame) area(high float64, named bool) {
	if t := f.y.title(); t != "" {
		for _, l := range wrap(t, f.w-2*edge, wordSize, true) {
			f.y0 += wordSize
			f.write(l, edge, f.y0, typo{size: wordSize, heavy: true, with: ink})
			f.y0 += wordSize * (leading - 1)
		}
		f.y0 += 4
	}
	var list []label
	rows := 0
	if named {
		list, rows = f.labels()
	}
	f.top = f.y0 + float64(rows)*smallSize*leading + 6
	f.bottom = f.top + high
	f.y.from, f.y.to = f.bottom, f.top
	f.shadeRanges()
	f.gridLines()
	base := func(l label) float64 { return f.y0 + (float64(rows-1-l.row)+0.8)*smallSize*leading }
	for _, l := range list {
		if l.row > 0 {
			f.line(l.at, base(l)+3, l.at, f.top, 0.5, rule)
		}
	}
	for _, l := range list {
		f.fill(l.from, base(l)-smallSize*0.85, l.to-l.from, smallSize*1.1, ground)
		f.write(l.text, (l.from+l.to)/2, base(l), typo{size: smallSize, align: atCentre, with: faint})
	}
	f.y0 = f.bottom
}

func (f *frame) shadeRanges() {
	for _, r := range f.ranges {
		from, to := f.x.clamp(r.From), f.x.clamp(r.To)
		if !(to > from) {
			continue
		}
		f.group("range "+r.Label, func() {
			f.fill(from, f.top, to-from, f.bottom-f.top, window)
			for _, end := range []struct{ v, at float64 }{{r.From, from}, {r.To, to}} {
				if f.x.shows(end.v) {
					f.dashed(end.at, f.top-4, end.at, f.bottom, 0.8, faint, 2, 2)
				}
			}
		})
	}
}

func (f *frame) gridLines() {
	for _, t := range f.y.ticks {
		f.line(f.left, f.y.in(t.at), f.right, f.y.in(t.at), 0.5, grid)
	}
}

// crosses draws the marks: lines across the data.
func (f *frame) crosses() {
	for _, m := range f.marks {
		switch {
		case m.Horizontal && f.y.shows(m.At):
			f.group("mark "+m.Label, func() { f.dashed(f.left, f.y.in(m.At), f.right, f.y.in(m.At), 1, faint, 5, 3) })
		case !m.Horizontal && f.x.shows(m.At):
			f.group("mark "+m.Label, func() { f.dashed(f.x.in(m.At), f.top-4, f.x.in(m.At), f.bottom, 1, faint, 5, 3) })
		}
	}
	f.beside()
}

// beside names the horizontal marks at the right of the data, from the top down and
// none on another.
func (f *frame) beside() {
	var list []Mark
	for _, m := range f.marks {
		if m.Horizontal && m.Label != "" && f.y.shows(m.At) {
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(a, b Mark) int { return cmpFloat(f.y.in(a.At), f.y.in(b.At)) })
	free := f.top - smallSize
	for _, m := range list {
		lines := wrap(m.Label, f.w-edge-f.right-8, smallSize, false)
		y := max(f.y.in(m.At)-float64(len(lines)-1)*smallSize*leading/2, free+smallSize*leading/2)
		for _, l := range lines {
			f.middle(l, f.right+6, y, typo{size: smallSize, with: faint})
			y += smallSize * leading
		}
		free = y - smallSize*leading/2
	}
}

// axisY writes the numbers at the left of the data.
func (f *frame) axisY() {
	for _, t := range f.y.ticks {
		f.middle(t.label, f.left-7, f.y.in(t.at), typo{size: tickSize, align: atRight, with: ink})
	}
	f.line(f.left, f.top, f.left, f.bottom, 0.8, ink)
	f.line(f.left, f.bottom, f.right, f.bottom, 0.8, ink)
}

// axisX writes the numbers and the title below the data.
func (f *frame) axisX() {
	behind := math.Inf(-1)
	for _, t := range f.x.ticks {
		x := f.x.in(t.at)
		f.line(x, f.bottom, x, f.bottom+4, 0.8, ink)
		if half := width(t.label, tickSize)*1.04/2 + 3; x-half > behind {
			f.write(t.label, x, f.bottom+6+tickSize, typo{size: tickSize, align: atCentre, with: ink})
			behind = x + half
		}
	}
	f.y0 = f.bottom + 6 + tickSize*leading
	for _, l := range wrap(f.x.title(), f.w-2*edge, wordSize, true) {
		f.y0 += wordSize + 2
		f.write(l, (f.left+f.right)/2, f.y0, typo{size: wordSize, heavy: true, align: atCentre, with: ink})
	}
	f.y0 += 6
}

// foot writes the notes and closes the figure.
func (f *frame) foot() *sketch {
	f.y0 += 6
	for _, n := range f.notes {
		for _, l := range wrap(n, f.w-2*edge, smallSize, false) {
			f.y0 += smallSize
			f.write(l, edge, f.y0, typo{size: smallSize, with: faint})
			f.y0 += smallSize * (leading - 1)
		}
	}
	f.h = math.Ceil(f.y0 + edge - 4)
	f.shapes[0] = shape{paths: [][]point{box(0, 0, f.w, f.h)}, closed: true, fill: &ground}
	return f.sketch
}

// nothing says that there is no data.
func (f *frame) nothing() {
	f.middle("no data", (f.left+f.right)/2, (f.top+f.bottom)/2, typo{size: wordSize, align: atCentre, with: faint})
}

// acrossTicks is how many ticks suit the x axis.
func (f *frame) acrossTicks() int { return ticksFor(f.w, min(60, f.w/8)) }
