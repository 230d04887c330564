package capture

import (
	"math"
	"slices"
)

// point is a place of the picture, in pixels.
type point struct{ x, y float64 }

// line is a straight stroke.
type line struct{ p, q point }

// box is a rectangle that may be turned about its middle.
type box struct {
	mid    point
	w, h   float64
	angle  float64 // radians, clockwise as y grows downwards
	corner [4]point
}

func newBox(mid point, w, h, angle float64) box {
	b := box{mid: mid, w: w, h: h, angle: angle}
	sin, cos := math.Sincos(angle)
	for i, c := range [4]point{{-w / 2, -h / 2}, {w / 2, -h / 2}, {w / 2, h / 2}, {-w / 2, h / 2}} {
		b.corner[i] = point{mid.x + c.x*cos - c.y*sin, mid.y + c.x*sin + c.y*cos}
	}
	return b
}

// boxAt is an upright box by its left upper corner.
func boxAt(x, y, w, h float64) box { return newBox(point{x + w/2, y + h/2}, w, h, 0) }

// overlaps reports whether two boxes have a point in common: they have none if
// an edge of one separates them.
func (b *box) overlaps(o *box) bool {
	return !separates(b, o) && !separates(o, b)
}

func separates(b, o *box) bool {
	for i := range 2 {
		p, q := b.corner[i], b.corner[i+1]
		n := point{q.y - p.y, p.x - q.x}
		lo1, hi1 := b.extent(n)
		lo2, hi2 := o.extent(n)
		if hi1 <= lo2 || hi2 <= lo1 {
			return true
		}
	}
	return false
}

// extent is the shadow of the box on a direction.
func (b *box) extent(n point) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, c := range b.corner {
		d := c.x*n.x + c.y*n.y
		lo, hi = min(lo, d), max(hi, d)
	}
	return lo, hi
}

// cuts reports whether a stroke runs through the box.
func (b *box) cuts(l line) bool {
	s := box{corner: [4]point{l.p, l.q, l.q, l.p}}
	for i := range 2 {
		p, q := b.corner[i], b.corner[i+1]
		n := point{q.y - p.y, p.x - q.x}
		lo1, hi1 := b.extent(n)
		lo2, hi2 := s.extent(n)
		if hi1 <= lo2 || hi2 <= lo1 {
			return false
		}
	}
	n := point{l.q.y - l.p.y, l.p.x - l.q.x}
	lo, hi := b.extent(n)
	d := l.p.x*n.x + l.p.y*n.y
	return lo < d && d < hi
}

// within reports whether the box lies between two corners.
func (b *box) within(left, top, right, bottom float64) bool {
	for _, c := range b.corner {
		if c.x < left || c.x > right || c.y < top || c.y > bottom {
			return false
		}
	}
	return true
}

// layout places labels so that none covers another.
type layout struct {
	placed                   []box
	strokes                  []ownLine
	left, top, right, bottom float64
}

// ownLine is a stroke of the route with that number.
type ownLine struct {
	line
	owner int
}

// Chosen by us, in pixels.
const (
	labelLift  = 9.0 // from the arrow to the middle of its label
	labelInset = 13.0
	crossCost  = 4.0 // of another arrow through the label, in the units below
	mostCost   = 9.0 // a label that would cost more goes to the margin
)

// along finds a place for a label next to one of the strokes of its own arrow:
// near where it left rather than farther on, above rather than below, and where
// few other arrows run through it.
func (y *layout) along(owner int, strokes []line, w, h float64) (box, bool) {
	var best box
	least := mostCost
	for n, s := range strokes {
		length := math.Hypot(s.q.x-s.p.x, s.q.y-s.p.y)
		if length < w+2*labelInset {
			continue
		}
		angle := math.Atan2(s.q.y-s.p.y, s.q.x-s.p.x)
		if s.q.x < s.p.x {
			angle = math.Atan2(s.p.y-s.q.y, s.p.x-s.q.x)
		}
		sin, cos := math.Sincos(angle)
		room := length - w - 2*labelInset
		const steps = 12
		for i := range steps + 1 {
			at := (labelInset + w/2 + room*float64(i)/steps) / length
			mid := point{s.p.x + (s.q.x-s.p.x)*at, s.p.y + (s.q.y-s.p.y)*at}
			for below, lift := range []float64{-labelLift, labelLift} {
				b := newBox(point{mid.x - lift*sin, mid.y + lift*cos}, w, h, angle)
				cost := float64(i)*4/steps + float64(below)*1.5 + float64(n)
				if cost >= least || !b.within(y.left, y.top, y.right, y.bottom) || y.covered(&b) {
					continue
				}
				for _, o := range y.strokes {
					if o.owner != owner && b.cuts(o.line) {
						cost += crossCost
					}
				}
				if cost < least {
					best, least = b, cost
				}
			}
		}
	}
	if least == mostCost {
		return box{}, false
	}
	y.placed = append(y.placed, best)
	return best, true
}

func (y *layout) covered(b *box) bool {
	return slices.ContainsFunc(y.placed, func(o box) bool { return b.overlaps(&o) })
}

// near finds a place for an upright label beside a point: where few arrows run
// through it, and near rather than far.
func (y *layout) near(p point, w, h, away float64) (box, bool) {
	var best box
	least := math.Inf(1)
	for far := range 4 {
		for i, d := range []point{{1, 0}, {-1, 0}, {0, -1}, {0, 1}, {1, -1}, {1, 1}, {-1, -1}, {-1, 1}} {
			off := away + float64(far)*10
			b := newBox(point{p.x + d.x*(off+w/2), p.y + d.y*(off+h/2)}, w, h, 0)
			if !b.within(y.left, y.top, y.right, y.bottom) || y.covered(&b) {
				continue
			}
			cost := float64(i)/10 + float64(far)/2
			for _, o := range y.strokes {
				if b.cuts(o.line) {
					cost += crossCost
				}
			}
			if cost < least {
				best, least = b, cost
			}
		}
	}
	if math.IsInf(least, 1) {
		return box{}, false
	}
	y.placed = append(y.placed, best)
	return best, true
}

// stack pushes boxes of a column apart that want to stand at the heights: in
// order, none above top, gap between them. It returns where each begins.
func stack(want, heights []float64, top, gap float64) []float64 {
	// Groups of neighbours that touch stand where they are nearest to what they want.
	type group struct {
		first, n    int
		sum, height float64
	}
	var groups []group
	start := func(g group) float64 { return max(g.sum/float64(g.n), top) }
	for i := range want {
		groups = append(groups, group{i, 1, want[i], heights[i] + gap})
		for len(groups) > 1 {
			a, b := groups[len(groups)-2], groups[len(groups)-1]
			if start(a)+a.height <= start(b) {
				break
			}
			a.sum += b.sum - a.height*float64(b.n)
			a.n += b.n
			a.height += b.height
			groups = append(groups[:len(groups)-2], a)
		}
	}
	at := make([]float64, len(want))
	for _, g := range groups {
		y := start(g)
		for i := g.first; i < g.first+g.n; i++ {
			at[i] = y
			y += heights[i] + gap
		}
	}
	return at
}
