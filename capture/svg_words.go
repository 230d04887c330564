package capture

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// arrowWords names a packet: "SYN 0", "SYN-ACK 0 ack 1", "RST ack 1".
func arrowWords(e *Event) string {
	if e.ICMP != "" {
		short, _, _ := strings.Cut(e.ICMP, " from ")
		return "ICMP " + short
	}
	words := e.Flags.String()
	if e.Flags&rawtcp.RST == 0 || e.RelSeq != 0 || e.Flags&rawtcp.ACK == 0 {
		words += fmt.Sprintf(" %d", e.RelSeq)
	}
	if e.Flags&rawtcp.ACK != 0 {
		words += fmt.Sprintf(" ack %d", e.RelAck)
	}
	if e.Len > 0 {
		words += fmt.Sprintf(" len %d", e.Len)
	}
	return words
}

// noteText is what the column says about a packet.
func (s *scene) noteText(r *route) string {
	var notes []string
	e := r.e
	if _, from, ok := strings.Cut(e.ICMP, " from "); ok {
		notes = append(notes, "from "+from)
	}
	if e.Options != "" && !r.repeated {
		notes = append(notes, e.Options)
	}
	if e.Retransmission {
		notes = append(notes, "retransmission")
	}
	if e.TTL > 0 && e.TTL < 30 && e.bareSYN() {
		notes = append(notes, fmt.Sprintf("ttl %d", e.TTL))
	}
	notes = append(notes, r.notes...)
	if note := strings.TrimPrefix(e.Note, e.Flags.String()+", "); note != "" {
		notes = append(notes, note)
	}
	return strings.Join(notes, "; ")
}

// labels puts the names of the packets beside their arrows, and the rest into
// the column.
func (p *picture) labels() {
	for i := range p.routes {
		r := &p.routes[i]
		words := arrowWords(r.e)
		when := " · "
		if r.stops[0].reckoned {
			when += "seen "
		}
		text := words + when + signedMS(r.e.Time.Sub(p.ref)) + " ms"
		color := r.ink().color
		notes := p.noteText(r)
		if !p.label(i, text, color) && !p.label(i, words, color) {
			if notes != "" {
				text += "; " + notes
			}
			notes = text
		}
		if notes != "" {
			p.column = append(p.column, columnItem{anchor: p.anchor(i), lines: []string{notes}, color: color})
		}
	}
	for _, o := range p.omitted {
		p.column = append(p.column, columnItem{
			anchor: point{p.right, p.axis.y(o.at)}, lines: []string{"⋮ " + plural(o.n, "packet") + " not listed"}, color: inkDim, free: true,
		})
	}
}

// label puts words beside the arrow of a route.
func (p *picture) label(i int, words, color string) bool {
	points := p.lines[i]
	var strokes []line
	for n := range len(points) - 1 {
		strokes = append(strokes, line{points[n], points[n+1]})
	}
	w := textWidth(words, fontSize)
	b, ok := p.layout.along(i, strokes, w, fontSize)
	if !ok {
		return false
	}
	sin, cos := math.Sincos(b.angle)
	const baseline = fontSize * 0.36 // from the middle of the letters down
	p.d.turned(b.mid.x-baseline*sin, b.mid.y+baseline*cos, b.angle*180/math.Pi, alignMiddle, words, face{size: fontSize, color: color, halo: true})
	return true
}

// anchor is where a line from the column ends: where the route is farthest to
// the right.
func (p *picture) anchor(i int) point {
	best := p.lines[i][0]
	for _, q := range p.lines[i] {
		if q.x > best.x {
			best = q
		}
	}
	return best
}

// drawColumn writes the column, and returns where it ends.
func (p *picture) drawColumn(top float64) float64 {
	if p.columnAt == 0 || len(p.column) == 0 {
		return p.bottom
	}
	slices.SortStableFunc(p.column, func(x, y columnItem) int {
		switch {
		case x.anchor.y < y.anchor.y:
			return -1
		case x.anchor.y > y.anchor.y:
			return 1
		}
		return 0
	})
	const rise = smallSize * lineRise
	width := p.c.Width - p.columnAt - 10
	want := make([]float64, len(p.column))
	heights := make([]float64, len(p.column))
	for i := range p.column {
		it := &p.column[i]
		it.lines = wrapWidth(it.lines[0], smallSize, width, 4)
		heights[i] = rise * float64(len(it.lines))
		want[i] = it.anchor.y - rise/2
	}
	starts := stack(want, heights, top, 3)
	end := p.bottom
	for i := range p.column {
		it := &p.column[i]
		y := starts[i]
		middle := y + rise/2
		if !it.free {
			edge := max(p.right+5, it.anchor.x)
			p.d.polyline([]point{{it.anchor.x + 3, it.anchor.y}, {edge, it.anchor.y}, {p.columnAt - 12, middle}, {p.columnAt - 3, middle}}, pen{"#9a9a9a", 0.7, ""})
		}
		for _, words := range it.lines {
			y += rise
			p.d.text(p.columnAt, y-rise*0.25, alignLeft, words, face{size: smallSize, color: it.color})
		}
		end = max(end, y+6)
	}
	return end
}

// meeting marks the point where the SYNs met, or by how much they missed each
// other.
func (p *picture) meeting(c *Crossing) {
	if c == nil {
		return
	}
	if c.Met.IsZero() {
		p.missed(c)
		return
	}
	at, ok := p.metAt(c)
	if !ok {
		return
	}
	const r = 7.0
	p.d.put(`<circle cx="`, at.x, `" cy="`, at.y, `" r="`, r, `" fill="none" stroke="`, inkMet, "\" stroke-width=\"2.2\"/>\n")
	p.layout.placed = append(p.layout.placed, newBox(at, 2*r, 2*r, 0))
	margin := "margin " + inMS(c.Margin)
	if c.Error > 0 {
		margin += " ± " + inMS(c.Error)
	}
	for _, words := range []string{"the SYNs met here, " + margin, "met, " + margin, margin, "met"} {
		if b, ok := p.layout.near(at, textWidth(words, fontSize)*1.08, fontSize+2, r+4); ok {
			p.d.text(b.mid.x, b.mid.y+fontSize*0.36, alignMiddle, words, face{size: fontSize, color: inkMet, bold: true, halo: true})
			return
		}
	}
}

// metAt is where the two SYNs were when they met: a's own, between two of its
// stops. Of several copies it is the one nearest to one of b's.
func (p *picture) metAt(c *Crossing) (point, bool) {
	y := p.axis.y(c.Met)
	var at [2][]float64
	for i := range p.routes {
		r := &p.routes[i]
		if !r.e.bareSYN() || r.level {
			continue
		}
		for n := range len(r.stops) - 1 {
			from, to := r.stops[n], r.stops[n+1]
			if !c.Met.Before(from.at) && !c.Met.After(to.at) {
				end := min(r.dir, 0) * -1
				at[end] = append(at[end], p.xAt(from, to, c.Met))
				break
			}
		}
	}
	if len(at[0]) > 0 && len(at[1]) > 0 {
		best, least := 0.0, math.Inf(1)
		for _, a := range at[0] {
			for _, b := range at[1] {
				if d := math.Abs(a - b); d < least {
					best, least = (a+b)/2, d
				}
			}
		}
		return point{best, y}, true
	}
	// Level arrows, or a copy that was lost: the fraction of the way tells.
	l, r := p.meetingLanes()
	return point{p.x[l] + c.Fraction()*(p.x[r]-p.x[l]), y}, true
}

// meetingLanes are those between which the SYNs crossed.
func (s *scene) meetingLanes() (l, r int) {
	l, r = 0, len(s.lanes)-1
	if i := slices.Index(s.lanes, LaneNATA); i >= 0 {
		l = i
	}
	if i := slices.Index(s.lanes, LaneNATB); i >= 0 {
		r = i
	}
	return l, r
}

// missed draws a bar from the arrival of one SYN to when the other left.
func (p *picture) missed(c *Crossing) {
	left, right := p.meetingLanes()
	lane, early, spare := right, 1, c.SpareB
	if c.Regime == RegimeBEarly {
		lane, early, spare = left, -1, c.SpareA
	}
	var arrived, departed *stop
	least := max(c.Error, 5*time.Microsecond)
	for i := range p.routes {
		for k := range p.routes {
			in, out := p.routes[i].synAt(lane, early), p.routes[k].synAt(lane, -early)
			if in == nil || out == nil {
				continue
			}
			if off := (out.at.Sub(in.at) + spare).Abs(); off <= least {
				arrived, departed, least = in, out, off
			}
		}
	}
	if arrived == nil {
		return
	}
	x := p.x[lane] + 9*float64(early)
	top, bottom := point{x, p.axis.y(arrived.at)}, point{x, p.axis.y(departed.at)}
	p.d.line(top, bottom, pen{inkMet, 3, ""})
	for _, q := range []point{top, bottom} {
		p.d.line(point{q.x - 5, q.y}, point{q.x + 5, q.y}, pen{inkMet, 2, ""})
	}
	p.layout.placed = append(p.layout.placed, boxAt(x-5, top.y-1, 10, max(bottom.y-top.y, 0)+2))
	words := "missed by " + inMS(-c.Margin)
	for _, f := range []float64{0.5, 0.3, 0.7, 0.15, 0.85, 0, 1} {
		at := point{x, top.y + f*(bottom.y-top.y)}
		if b, ok := p.layout.near(at, textWidth(words, fontSize)*1.08, fontSize+2, 8); ok {
			p.d.text(b.mid.x, b.mid.y+fontSize*0.36, alignMiddle, words, face{size: fontSize, color: inkMet, bold: true, halo: true})
			return
		}
	}
}

// synAt is where a SYN that travels in the direction passed a lane.
func (r *route) synAt(lane, dir int) *stop {
	if r.dir != dir || !r.e.bareSYN() || r.level {
		return nil
	}
	for i := range r.stops {
		if r.stops[i].lane == lane {
			return &r.stops[i]
		}
	}
	return nil
}

// legend explains what is not plain, below the picture, and returns where it
// ends.
func (p *picture) legend(y float64) float64 {
	var words []string
	var lost, icmp, reset, level, comes bool
	for i := range p.routes {
		r := &p.routes[i]
		lost = lost || r.lost
		icmp = icmp || r.e.ICMP != ""
		reset = reset || r.e.Flags&rawtcp.RST != 0
		level = level || r.level
		comes = comes || r.comes
	}
	add := func(yes bool, text string) {
		if yes {
			words = append(words, text)
		}
	}
	add(reset, "dashed: RST")
	add(icmp, "dotted, with a diamond: ICMP")
	add(lost, "×: not seen at the next lane")
	add(comes, "ring: seen only where it arrived")
	add(len(p.axis.breaks()) > 0, "zigzag: time left out")
	add(level, "one capture point: a packet is drawn when it passed there, its time at the ends is not known")
	add(slices.Contains(p.reckoned, true), "dashed lane: times there are reckoned, half of the round trip from the capture point")
	for _, t := range wrapWidth(strings.Join(words, "  ·  "), smallSize, p.c.Width-32, 4) {
		y += smallSize * lineRise
		p.d.text(16, y, alignLeft, t, face{size: smallSize, color: inkDim})
	}
	return y + 10
}
