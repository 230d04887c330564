package figure

import (
	"math"
	"strings"
)

// HeatMap is a table of shares.
type HeatMap struct {
	Title   string   // the question that the figure answers
	Notes   []string // lines below the title
	RowAxis string   // what the rows are
	ColAxis string   // what the columns are
	Scale   string   // what the colours mean
	Rows    []Label
	Columns []Label
	Cells   [][]Cell // by row, then column
}

// Label names a row or a column. Neighbours of the same Group stand together,
// set off from the others by a line.
type Label struct{ Name, Group string }

// Cell is a share and its text.
type Cell struct {
	Share float64 // 0 to 1; NaN: there is none
	Text  string  // lines are separated by \n
}

// Measures, in points, chosen by us so that a table of 27 by 27 fills a page in
// landscape and one of 4 by 4 is not lost on it.
const (
	margin     = 14
	gap        = 6
	labelGap   = 11   // between a label and the grid
	spare      = 0.22 // of a label's width: an SVG may be shown with wider type
	titleSize  = 14
	noteSize   = 9
	axisSize   = 10
	maxCell    = 62
	minCell    = 22
	gridWidth  = 560 // what cells try to fill
	minWidth   = 430
	scaleWidth = 180
	scaleHigh  = 9
	scaleSteps = 60
)

// layout is a HeatMap with its places worked out.
type layout struct {
	*HeatMap
	*sketch
	size      float64 // of a cell
	labels    float64 // size of their type
	left, top float64 // corner of the grid
	above     float64 // base of the columns' title
	rowGap    float64 // between the labels and the grid
	groups    bool
}

func (h *HeatMap) sketch() *sketch {
	l := &layout{HeatMap: h, sketch: &sketch{title: h.Title, desc: h.Notes}}
	n := max(len(h.Rows), len(h.Columns), 1)
	l.size = min(maxCell, max(minCell, gridWidth/float64(n)))
	l.labels = min(axisSize, max(7, l.size*0.4))
	var rows, columns float64
	for _, r := range h.Rows {
		rows = max(rows, width(r.Name, l.labels))
		l.groups = l.groups || r.Group != ""
	}
	for _, c := range h.Columns {
		columns = max(columns, width(c.Name, l.labels))
	}
	columnGap := max(labelGap, spare*columns)
	l.rowGap = max(labelGap, spare*rows)
	head := float64(margin + titleSize + len(h.Notes)*(noteSize+4) + 3*gap)
	axis := float64(axisSize + gap)
	if l.groups {
		axis += noteSize + gap
	}
	l.left = margin + axis + rows + l.rowGap
	l.w = max(minWidth, l.left+l.size*float64(len(h.Columns))+margin, 2*margin+bold(h.Title, titleSize),
		l.left+scaleWidth+3*gap+width(h.Scale, noteSize)+margin)
	for _, note := range h.Notes {
		l.w = max(l.w, 2*margin+width(note, noteSize))
	}
	l.top = head + axis + columns + columnGap
	l.above = head - gap + axisSize
	l.h = l.top + l.size*float64(len(h.Rows)) + 3*gap + scaleHigh + noteSize + margin + gap
	l.draw()
	return l.sketch
}

func (l *layout) draw() {
	l.fill(0, 0, l.w, l.h, ground)
	y := float64(margin + titleSize)
	l.write(l.Title, margin, y, typo{size: titleSize, heavy: true, with: ink})
	for _, note := range l.Notes {
		y += noteSize + 4
		l.write(note, margin, y, typo{size: noteSize, with: faint})
	}
	for i := range l.Cells {
		for j := range l.Cells[i] {
			l.cell(i, j)
		}
	}
	l.axes()
	l.scale()
}

func (l *layout) x(column int) float64 { return l.left + l.size*float64(column) }
func (l *layout) y(row int) float64    { return l.top + l.size*float64(row) }

func (l *layout) cell(i, j int) {
	cell := l.Cells[i][j]
	x, y := l.x(j), l.y(i)
	with := ink
	if math.IsNaN(cell.Share) {
		l.line(x, y+l.size, x+l.size, y, 0.5, rule)
	} else {
		l.fill(x, y, l.size, l.size, shade(cell.Share))
		with = contrast(cell.Share)
	}
	size := min(11, l.size*0.34)
	lines := strings.Split(cell.Text, "\n")
	for n, text := range lines {
		at := y + l.size/2 + (float64(n)-float64(len(lines)-1)/2)*size*leading
		l.middle(text, x+l.size/2, at, typo{size: size, align: atCentre, with: with})
	}
}

// axes writes the labels and draws the grid.
func (l *layout) axes() {
	right, bottom := l.x(len(l.Columns)), l.y(len(l.Rows))
	for i, r := range l.Rows {
		l.middle(r.Name, l.left-l.rowGap, l.y(i)+l.size/2, typo{size: l.labels, align: atRight, with: ink})
	}
	for j, c := range l.Columns {
		l.upwards(c.Name, l.x(j)+l.size/2+0.36*l.labels, l.top-labelGap/2, typo{size: l.labels, with: ink})
	}
	for i := range len(l.Rows) + 1 {
		l.line(l.left, l.y(i), right, l.y(i), 0.4, rule)
	}
	for j := range len(l.Columns) + 1 {
		l.line(l.x(j), l.top, l.x(j), bottom, 0.4, rule)
	}
	outer := float64(margin + axisSize)
	title := typo{size: axisSize, heavy: true, align: atCentre, with: ink}
	l.write(l.ColAxis, (l.left+right)/2, l.above, title)
	l.upwards(l.RowAxis, outer, (l.top+bottom)/2, title)
	if !l.groups {
		return
	}
	for _, g := range groups(l.Rows) {
		l.upwards(g.name, outer+gap+noteSize, (l.y(g.from)+l.y(g.to))/2, typo{size: l.fit(g), align: atCentre, with: faint})
		l.line(outer+gap, l.y(g.from), right, l.y(g.from), 1.2, ink)
		l.line(outer+gap, l.y(g.to), right, l.y(g.to), 1.2, ink)
	}
	for _, g := range groups(l.Columns) {
		l.write(g.name, (l.x(g.from)+l.x(g.to))/2, l.above+gap+noteSize, typo{size: l.fit(g), align: atCentre, with: faint})
		l.line(l.x(g.from), l.above+gap, l.x(g.from), bottom, 1.2, ink)
		l.line(l.x(g.to), l.above+gap, l.x(g.to), bottom, 1.2, ink)
	}
}

// group is a run of labels: from its first to behind its last.
type group struct {
	name     string
	from, to int
}

func groups(labels []Label) []group {
	var list []group
	for i, l := range labels {
		if i == 0 || l.Group != labels[i-1].Group {
			list = append(list, group{l.Group, i, i})
		}
		list[len(list)-1].to = i + 1
	}
	return list
}

// fit is the size of type in which a group's name stays on its own cells.
func (l *layout) fit(g group) float64 {
	room := l.size * float64(g.to-g.from)
	return noteSize * min(1, 0.9*room/max(1, width(g.name, noteSize)))
}

// scale draws what the colours mean.
func (l *layout) scale() {
	l.shades(l.Scale, l.left, l.h-margin-noteSize-gap-scaleHigh, noteSize)
}
