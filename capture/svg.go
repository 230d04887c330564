package capture

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// SVGConfig sets how Ladder.WriteSVG draws. Nil works, and so does each zero
// field.
type SVGConfig struct {
	Width float64  // pixels; 0 = 960; at least 480. The height follows from what there is to show
	Title string   // first line, bold; "" = none
	Lines []string // further lines below the title, broken where they are too long
	Label string   // what a screen reader says; "" = Title
}

const (
	defaultSVGWidth = 960
	minSVGWidth     = 480
)

// ErrNothingToDraw says that a ladder has no event, or fewer than two lanes.
var ErrNothingToDraw = errors.New("nothing to draw")

// Inks, chosen to differ in grey too: by brightness, and by dashes.
const (
	inkText  = "#111111"
	inkDim   = "#555555"
	inkGrid  = "#e4e4e4"
	inkLane  = "#333333"
	inkA     = "#0b3d91"
	inkB     = "#a85500"
	inkRST   = "#c00000"
	inkICMP  = "#6a1b9a"
	inkMet   = "#006837"
	inkPaper = "#ffffff"
)

// WriteSVG draws the ladder to scale as a picture: time runs down, each packet is
// an arrow from where and when it left to where and when it arrived. A ring marks
// the point where the SYNs met; or a bar at the lane where they missed each
// other, by how much. Packets that did not come to the next lane end in a cross.
// Long stretches without a packet are left out, and a zigzag says how long they
// were; the rest has one scale. Labels never cover each other: those without
// room beside their arrow stand in a column on the right, with a line to it.
//
// Events of one capture point become slanted arrows if ToA and ToB are known,
// towards lanes drawn dashed, and level ones if not.
//
// The output is one svg element without prolog, for a file or to be put into an
// HTML page. It has no style, script, id or reference, and the same ladder gives
// the same bytes. A pointer that rests on an arrow shows all stamps of the packet.
func (l *Ladder) WriteSVG(w io.Writer, cfg *SVGConfig) error {
	if len(l.Lanes) < 2 || len(l.Events) == 0 {
		return fmt.Errorf("capture: ladder: %w", ErrNothingToDraw)
	}
	var c SVGConfig
	if cfg != nil {
		c = *cfg
	}
	if c.Width == 0 {
		c.Width = defaultSVGWidth
	}
	c.Width = max(c.Width, minSVGWidth)
	s := l.scene()
	margin := 0.0
	if s.hasNotes() {
		margin = c.Width * 0.27
	}
	p := s.picture(l.Crossing, &c, margin)
	if margin == 0 && len(p.column) > 0 {
		p = s.picture(l.Crossing, &c, c.Width*0.27)
	}
	_, err := io.WriteString(w, p.d.b.String())
	if err != nil {
		return fmt.Errorf("capture: ladder: %w", err)
	}
	return nil
}

// picture is a scene being drawn.
type picture struct {
	*scene
	c        *SVGConfig
	d        drawing
	axis     *timeAxis
	x        []float64 // of the lanes
	right    float64   // end of the lanes' part
	columnAt float64   // left edge of the column, 0 = none
	column   []columnItem
	layout   layout
	lines    [][]point // of each route
	bottom   float64
}

// columnItem is text beside the lanes.
type columnItem struct {
	anchor point
	lines  []string
	color  string
	free   bool // not about a packet: no line leads to it
}

const (
	axisWidth = 78.0
	sideRoom  = 26.0
	headFrom  = 10.0
)

func (s *scene) hasNotes() bool {
	if len(s.omitted) > 0 {
		return true
	}
	for i := range s.routes {
		if s.noteText(&s.routes[i]) != "" {
			return true
		}
	}
	return false
}

func (s *scene) picture(c *Crossing, cfg *SVGConfig, margin float64) *picture {
	p := &picture{scene: s, c: cfg}
	p.place(margin)
	top := p.head()
	p.axis = newTimeAxis(s.ref, s.instants(c), s.typicalHop(), top+22, 480+26*float64(len(s.routes)))
	p.trace()
	p.bottom = 0
	for _, points := range p.lines {
		for _, q := range points {
			p.bottom = max(p.bottom, q.y)
		}
	}
	p.bottom += 26
	p.layout.left, p.layout.top, p.layout.right, p.layout.bottom = axisWidth+4, top+2, p.right+sideRoom-4, p.bottom-2
	body := p.d
	p.d = drawing{}
	p.grid(top)
	p.arrows()
	p.meeting(c)
	p.labels()
	end := p.drawColumn(top)
	end = p.legend(max(end, p.bottom))
	rest := p.d.b.String()
	p.d = drawing{}
	label := cfg.Label
	if label == "" {
		label = cfg.Title
	}
	if label == "" {
		label = "ladder diagram of a TCP handshake"
	}
	p.d.put(`<svg xmlns="http://www.w3.org/2000/svg" width="`, cfg.Width, `" height="`, end, `" viewBox="0 0 `, cfg.Width, ` `, end,
		`" role="img" aria-label="`, xmlText(label), `" font-family="`, fonts, "\">\n")
	p.d.put(`<rect width="`, cfg.Width, `" height="`, end, `" fill="`, inkPaper, "\"/>\n")
	p.d.put(body.b.String(), rest, "</svg>\n")
	return p
}

// place puts the lanes. Between the two NATs is most of the way.
func (p *picture) place(margin float64) {
	p.right = p.c.Width - sideRoom
	if margin > 0 {
		p.columnAt = p.c.Width - margin
		p.right = p.columnAt - sideRoom
	}
	left := axisWidth + sideRoom
	n := len(p.lanes)
	for i := range p.lanes {
		f := float64(i) / float64(n-1)
		if n == 4 {
			f = []float64{0, 0.21, 0.79, 1}[i]
		}
		p.x = append(p.x, left+(p.right-left)*f)
	}
}

// head writes title, lanes' names and what stands below them, and returns where
// it ends.
func (p *picture) head() float64 {
	y := headFrom
	if p.c.Title != "" {
		for _, t := range wrapWidth(p.c.Title, fontSize*1.15, p.c.Width-40, 3) {
			y += fontSize * 1.15 * lineRise
			p.d.text(16, y, alignLeft, t, face{size: fontSize * 1.15, color: inkText, bold: true})
		}
		y += 3
	}
	for _, words := range p.c.Lines {
		for _, t := range wrapWidth(words, fontSize, p.c.Width-32, 8) {
			y += fontSize * lineRise
			p.d.text(16, y, alignLeft, t, face{size: fontSize, color: inkText})
		}
	}
	if y > headFrom {
		y += 8
	}
	y += fontSize + 4
	for i, name := range p.lanes {
		p.d.text(p.x[i], y, alignMiddle, cutWidth(name, fontSize, 120), face{size: fontSize + 1, color: inkText, bold: true})
	}
	// Below, in as many rows as it takes.
	var rows []float64 // where each is free
	for i, words := range p.under {
		if words == "" {
			continue
		}
		words = cutWidth(words, smallSize, p.c.Width/2)
		w := textWidth(words, smallSize)
		x := min(max(p.x[i]-w/2, axisWidth), p.c.Width-w-4)
		row := slices.IndexFunc(rows, func(free float64) bool { return free <= x })
		if row < 0 {
			row = len(rows)
			rows = append(rows, 0)
		}
		rows[row] = x + w + 10
		p.d.text(x, y+smallSize*lineRise*float64(row+1), alignLeft, words, face{size: smallSize, color: inkDim})
	}
	return y + smallSize*lineRise*float64(len(rows)) + 7
}

// instants are the times that must not fall into a break.
func (s *scene) instants(c *Crossing) []time.Time {
	var list []time.Time
	for i := range s.routes {
		for _, stop := range s.routes[i].stops {
			list = append(list, stop.at)
		}
		list = append(list, s.routes[i].stubEnd())
	}
	for _, o := range s.omitted {
		list = append(list, o.at)
	}
	if c != nil && !c.Met.IsZero() {
		list = append(list, c.Met)
	}
	return list
}

// typicalHop is the median of the longest hops of the routes.
func (s *scene) typicalHop() time.Duration {
	var hops []time.Duration
	for i := range s.routes {
		longest := time.Duration(0)
		stops := s.routes[i].stops
		for n := range len(stops) - 1 {
			longest = max(longest, stops[n+1].at.Sub(stops[n].at))
		}
		if longest > 0 {
			hops = append(hops, longest)
		}
	}
	if len(hops) == 0 {
		return 0
	}
	slices.Sort(hops)
	return hops[len(hops)/2]
}

// grid draws what stands behind the arrows: time axis, breaks and lanes.
func (p *picture) grid(top float64) {
	ticks, unit := p.axis.ticks(p.bottom - 12)
	p.d.text(axisWidth-8, top-7, alignRight, unit, face{size: smallSize, color: inkDim})
	for _, t := range ticks {
		p.d.line(point{axisWidth, t.y}, point{p.right + sideRoom/2, t.y}, pen{inkGrid, 1, ""})
		p.d.text(axisWidth-8, t.y+smallSize*0.35, alignRight, t.text, face{size: smallSize, color: inkDim})
	}
	p.d.line(point{axisWidth, top}, point{axisWidth, p.bottom}, pen{inkDim, 1, ""})
	for i, x := range p.x {
		how := pen{inkLane, 1.6, ""}
		if p.reckoned[i] {
			how = pen{inkLane, 1.2, "6 4"}
		}
		p.d.line(point{x, top}, point{x, p.bottom}, how)
	}
	for _, b := range p.axis.breaks() {
		p.drawBreak(b)
	}
}

// drawBreak tears the paper.
func (p *picture) drawBreak(b span) {
	const tooth, depth = 9.0, 5.0
	left, right := axisWidth-12.0, p.right+sideRoom-2
	var upper, lower []point
	for n, x := 0, left; x <= right; n, x = n+1, x+tooth {
		y := 0.0
		if n%2 == 1 {
			y = depth
		}
		upper = append(upper, point{x, b.top + 2 + y})
		lower = append(lower, point{x, b.bottom - 2 - depth + y})
	}
	p.d.put(`<polygon fill="`, inkPaper, `" points="`)
	for _, q := range upper {
		p.d.put(q.x, ",", q.y, " ")
	}
	for _, q := range slices.Backward(lower) {
		p.d.put(q.x, ",", q.y, " ")
	}
	p.d.put("\"/>\n")
	p.d.polyline(upper, pen{inkDim, 0.8, ""})
	p.d.polyline(lower, pen{inkDim, 0.8, ""})
	for _, y := range []float64{b.top + depth, b.bottom - depth} {
		p.layout.strokes = append(p.layout.strokes, ownLine{line{point{left, y}, point{right, y}}, -1})
	}
	words := shortDuration(b.d) + " left out"
	w := textWidth(words, smallSize)
	mid := (p.x[0] + p.right) / 2
	p.d.text(mid, (b.top+b.bottom)/2+smallSize*0.35, alignMiddle, words, face{size: smallSize, color: inkDim, halo: true})
	p.layout.placed = append(p.layout.placed, newBox(point{mid, (b.top + b.bottom) / 2}, w+6, smallSize+2, 0))
}

// shortDuration has three digits that count.
func shortDuration(d time.Duration) string {
	for _, u := range []struct {
		d    time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if d >= u.d {
			return fmt.Sprintf("%.3g %s", math.Round(float64(d)/float64(u.d)*100)/100, u.name)
		}
	}
	return fmt.Sprintf("%d ns", d)
}
