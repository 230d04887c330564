package figure

import (
	"fmt"
	"math"
	"slices"
)

func (m *Map) sketch() *sketch {
	f := newFrame(m.Title, m.Notes, m.Width, 640)
	columns, rows := between(m.At, m.X.Log), between(m.Rows, m.Y.Log)
	if !ascending(columns) || !ascending(rows) {
		columns, rows = nil, nil
	}
	f.x, f.y = edges(m.X, columns), edges(m.Y, rows)
	f.x.ticksAgain(f.acrossTicks())
	high := f.w * 0.62
	if f.w < 500 {
		high = f.w * 0.8
	}
	f.y.ticksAgain(ticksFor(high, 44))
	drawn := slices.Clone(m.Edges)
	for i := range drawn {
		drawn[i].Style = Outline
	}
	f.keysOf(drawn)
	f.head()
	f.sides()
	f.area(high, false)
	if columns == nil || rows == nil {
		f.nothing()
	} else {
		m.cells(f, columns, rows, m.cell)
	}
	for i := range drawn {
		f.edge(&drawn[i], i)
	}
	if columns != nil && rows != nil {
		m.cells(f, columns, rows, m.number)
	}
	f.axisY()
	f.axisX()
	f.meaning(m.Scale)
	return f.foot()
}

func ascending(v []float64) bool {
	for i := range v {
		if !finite(v[i]) || i > 0 && v[i] <= v[i-1] {
			return false
		}
	}
	return len(v) > 0
}

// edges is an axis that ends where the cells do.
func edges(a Axis, cells []float64) *scale {
	s := &scale{Axis: a, lo: 0, hi: 1}
	switch {
	case a.Max > a.Min && (!a.Log || a.Min > 0):
		s.lo, s.hi = a.Min, a.Max
	case cells != nil:
		s.lo, s.hi = cells[0], cells[len(cells)-1]
	case a.Log:
		s.lo = 0.1
	}
	return s
}

func (s *scale) ticksAgain(count int) {
	if s.Log {
		s.logTicks(count, false)
	} else {
		s.linearTicks(count, false)
	}
}

// cells calls fn with each cell, and where it is.
func (m *Map) cells(f *frame, columns, rows []float64, fn func(f *frame, i, j int, share float64, at [4]float64)) {
	f.group("cells", func() {
		for i := range m.Rows {
			for j := range m.At {
				share := math.NaN()
				if i < len(m.Shares) && j < len(m.Shares[i]) {
					share = m.Shares[i][j]
				}
				x, right := f.x.clamp(columns[j]), f.x.clamp(columns[j+1])
				bottom, y := f.y.clamp(rows[i]), f.y.clamp(rows[i+1])
				if right > x && bottom > y {
					fn(f, i, j, share, [4]float64{x, y, right - x, bottom - y})
				}
			}
		}
	})
}

func (m *Map) cell(f *frame, i, j int, share float64, at [4]float64) {
	x, y, w, h := at[0], at[1], at[2], at[3]
	if math.IsNaN(share) {
		f.add(shape{paths: hatching([][4]float64{at}, 6, true), stroke: &rule, width: 0.5})
		return
	}
	with := shade(share)
	hint := fmt.Sprintf("%s, %s: %s", m.X.write(m.At[j]), m.Y.write(m.Rows[i]), (&Axis{Unit: Percent}).write(share))
	// The stroke closes the seam that a screen shows between neighbours.
	f.add(shape{paths: [][]point{box(x, y, w, h)}, closed: true, fill: &with, stroke: &with, width: 0.4, hint: hint})
}

// number writes a cell's share in per cent, where there is room. An edge that runs
// through the cell is broken there.
func (m *Map) number(f *frame, _, _ int, share float64, at [4]float64) {
	if math.IsNaN(share) {
		return
	}
	text := decimal(100*share, 0)
	wide, x, y := width(text, smallSize)+4, at[0]+at[2]/2, at[1]+at[3]/2
	if at[2] < wide+4 || at[3] < smallSize+6 {
		return
	}
	if len(m.Edges) > 0 {
		f.fill(x-wide/2, y-smallSize*0.55, wide, smallSize*1.1, shade(share))
	}
	f.middle(text, x, y, typo{size: smallSize, align: atCentre, with: contrast(share)})
}

// edge draws a line over the cells, with a rim so that it stands out on every shade.
func (f *frame) edge(s *Series, i int) {
	l := lookOf(s.Look, i)
	f.group("edge "+s.Name, func() {
		for _, r := range f.runs(s) {
			line := f.clip(f.joined(s, r, func(p Point) float64 { return p.Y }))
			rim, with := paint{rgb: 0xffffff}, paint{rgb: l.with.rgb}
			f.add(shape{paths: line, stroke: &rim, width: 4.5})
			f.add(shape{paths: line, stroke: &with, width: 2, dash: l.dash})
		}
	})
}

// legend of the shades, below the data.
func (f *frame) meaning(text string) {
	f.y0 += 10
	lines := wrap(text, f.w-2*edge, smallSize, false)
	x, beside := f.left, len(lines) == 1 && f.left+scaleWidth+18+width(text, smallSize)*1.04 <= f.w-edge
	if beside {
		f.shades(text, x, f.y0, smallSize)
	} else {
		for _, l := range lines {
			f.y0 += smallSize
			f.write(l, edge, f.y0, typo{size: smallSize, with: ink})
			f.y0 += smallSize * (leading - 1)
		}
		f.y0 += 4
		f.shades("", x, f.y0, smallSize)
	}
	f.y0 += scaleHigh + 3 + smallSize*leading
}
