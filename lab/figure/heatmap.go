package figure

import (
	"image/color"
	"math"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
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
)

// layout is a HeatMap with its places worked out. The origin of the canvas is at
// the bottom left.
type layout struct {
	*HeatMap
	pen
	size          vg.Length // of a cell
	labels        vg.Length // size of their type
	width, height vg.Length
	left, top     vg.Length // corner of the grid
	rowGap        vg.Length // between the labels and the grid
	columnGap     vg.Length
	groups        bool
}

// pen draws text.
type pen struct{ c draw.Canvas }

func newLayout(h *HeatMap) *layout {
	l := &layout{HeatMap: h}
	n := max(len(h.Rows), len(h.Columns), 1)
	l.size = min(maxCell, max(minCell, vg.Length(gridWidth/float64(n))))
	l.labels = min(axisSize, max(7, l.size*0.4))
	var rows, columns vg.Length
	for _, r := range h.Rows {
		rows = max(rows, width(r.Name, l.labels))
		l.groups = l.groups || r.Group != ""
	}
	for _, c := range h.Columns {
		columns = max(columns, width(c.Name, l.labels))
	}
	l.rowGap, l.columnGap = max(labelGap, spare*rows), max(labelGap, spare*columns)
	head := vg.Length(margin + titleSize + len(h.Notes)*(noteSize+4) + 3*gap)
	axis := vg.Length(axisSize + gap)
	if l.groups {
		axis += noteSize + gap
	}
	l.left = margin + axis + rows + l.rowGap
	grid := l.size * vg.Length(len(h.Columns))
	l.width = max(minWidth, l.left+grid+margin)
	l.width = max(l.width, l.left+scaleWidth+3*gap+width(h.Scale, noteSize)+margin)
	l.width = max(l.width, 2*margin+bold(h.Title, titleSize))
	for _, note := range h.Notes {
		l.width = max(l.width, 2*margin+width(note, noteSize))
	}
	l.height = head + axis + columns + l.columnGap + l.size*vg.Length(len(h.Rows)) + 3*gap + scaleHigh + noteSize + margin + gap
	l.top = l.height - head - axis - columns - l.columnGap
	return l
}

// draw puts the figure on a canvas of the layout's size.
func (l *layout) draw(c vg.Canvas) {
	l.c = draw.NewCanvas(c, l.width, l.height)
	fill(l.c, 0, 0, l.width, l.height, color.White)
	y := l.height - margin - titleSize
	l.text(l.Title, margin, y, style(titleSize, true, ink))
	for _, note := range l.Notes {
		y -= noteSize + 4
		l.text(note, margin, y, style(noteSize, false, faint))
	}
	for i := range l.Cells {
		for j := range l.Cells[i] {
			l.cell(i, j)
		}
	}
	l.axes()
	l.scale()
}

func (l *layout) x(column int) vg.Length { return l.left + l.size*vg.Length(column) }
func (l *layout) y(row int) vg.Length    { return l.top - l.size*vg.Length(row) }

func (l *layout) cell(i, j int) {
	cell := l.Cells[i][j]
	x, y := l.x(j), l.y(i+1)
	if math.IsNaN(cell.Share) {
		line(l.c, x, y, x+l.size, y+l.size, 0.5, rule)
	} else {
		fill(l.c, x, y, l.size, l.size, shade(cell.Share))
	}
	size := min(11, l.size*0.34)
	sty := style(size, false, contrast(cell.Share))
	sty.XAlign, sty.YAlign = draw.XCenter, draw.YCenter
	l.text(cell.Text, x+l.size/2, y+l.size/2, sty)
}

// axes writes the labels and draws the grid.
func (l *layout) axes() {
	right, bottom := l.x(len(l.Columns)), l.y(len(l.Rows))
	for i, r := range l.Rows {
		sty := style(l.labels, false, ink)
		sty.XAlign, sty.YAlign = draw.XRight, draw.YCenter
		l.text(r.Name, l.left-l.rowGap, l.y(i)-l.size/2, sty)
	}
	for j, c := range l.Columns {
		sty := style(l.labels, false, ink)
		sty.Rotation, sty.YAlign = math.Pi/2, draw.YCenter
		l.text(c.Name, l.x(j)+l.size/2, l.top+labelGap/2, sty)
	}
	for i := range len(l.Rows) + 1 {
		line(l.c, l.left, l.y(i), right, l.y(i), 0.4, rule)
	}
	for j := range len(l.Columns) + 1 {
		line(l.c, l.x(j), l.top, l.x(j), bottom, 0.4, rule)
	}
	outer := vg.Length(margin + axisSize)
	sty := style(axisSize, true, ink)
	sty.XAlign = draw.XCenter
	above := l.height - margin - titleSize - vg.Length(len(l.Notes)*(noteSize+4)) - 2*gap - axisSize
	l.text(l.ColAxis, (l.left+right)/2, above, sty)
	sty.Rotation = math.Pi / 2
	l.text(l.RowAxis, outer, (l.top+bottom)/2, sty)
	if !l.groups {
		return
	}
	for _, g := range groups(l.Rows) {
		sty := style(l.fit(g), false, faint)
		sty.XAlign, sty.Rotation = draw.XCenter, math.Pi/2
		l.text(g.name, outer+gap+noteSize, l.y(g.from)/2+l.y(g.to)/2, sty)
		line(l.c, outer+gap, l.y(g.from), right, l.y(g.from), 1.2, ink)
		line(l.c, outer+gap, l.y(g.to), right, l.y(g.to), 1.2, ink)
	}
	for _, g := range groups(l.Columns) {
		sty := style(l.fit(g), false, faint)
		sty.XAlign = draw.XCenter
		l.text(g.name, l.x(g.from)/2+l.x(g.to)/2, above-gap-noteSize, sty)
		line(l.c, l.x(g.from), above-gap, l.x(g.from), bottom, 1.2, ink)
		line(l.c, l.x(g.to), above-gap, l.x(g.to), bottom, 1.2, ink)
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
func (l *layout) fit(g group) vg.Length {
	room := l.size * vg.Length(g.to-g.from)
	return noteSize * min(1, 0.9*room/max(1, width(g.name, noteSize)))
}

// scale draws what the colours mean.
func (l *layout) scale() {
	const steps = 60
	x, y := l.left, vg.Length(margin+noteSize+gap)
	for i := range steps {
		fill(l.c, x+scaleWidth*vg.Length(i)/steps, y, scaleWidth/steps+0.3, scaleHigh, shade(float64(i)/(steps-1)))
	}
	outline(l.c, x, y, scaleWidth, scaleHigh)
	for i, s := range []string{"0 %", "50 %", "100 %"} {
		sty := style(noteSize, false, ink)
		sty.XAlign, sty.YAlign = draw.XCenter, draw.YTop
		l.text(s, x+scaleWidth*vg.Length(i)/2, y-3, sty)
	}
	sty := style(noteSize, false, ink)
	sty.YAlign = draw.YCenter
	l.text(l.Scale, x+scaleWidth+3*gap, y+scaleHigh/2, sty)
}

func (p *pen) text(s string, x, y vg.Length, sty draw.TextStyle) {
	p.c.FillText(sty, vg.Point{X: x, Y: y}, s)
}
