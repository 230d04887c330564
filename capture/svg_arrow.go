package capture

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// trace works out the strokes of each route.
func (p *picture) trace() {
	for i := range p.routes {
		r := &p.routes[i]
		var points []point
		first, last := r.stops[0], r.stops[len(r.stops)-1]
		if r.comes { // from somewhere on the way
			x := p.x[first.lane]
			points = append(points, point{x - float64(r.dir)*0.4*math.Abs(x-p.x[first.lane-r.dir]), p.axis.y(first.at)})
		}
		for n, s := range r.stops {
			if n > 0 {
				before := r.stops[n-1]
				for _, t := range p.axis.between(before.at, s.at) {
					points = append(points, point{p.xAt(before, s, t), p.axis.y(t)})
				}
			}
			points = append(points, point{p.x[s.lane], p.axis.y(s.at)})
		}
		if r.lost || r.fades {
			x := p.x[last.lane]
			points = append(points, point{x + stubPart*(p.x[last.lane+r.dir]-x), p.axis.y(r.stubEnd())})
		}
		p.lines = append(p.lines, points)
		for n := range len(points) - 1 {
			p.layout.strokes = append(p.layout.strokes, ownLine{line{points[n], points[n+1]}, i})
		}
	}
}

const stubPart = 0.45 // of the way to the next lane that a lost packet is drawn

// stubEnd is when the arrow of a lost packet ends.
func (r *route) stubEnd() time.Time {
	return r.stops[len(r.stops)-1].at.Add(time.Duration(stubPart * float64(r.stub)))
}

// xAt is where a packet was between two stops.
func (p *picture) xAt(from, to stop, t time.Time) float64 {
	d := to.at.Sub(from.at)
	if d <= 0 {
		return p.x[from.lane]
	}
	f := float64(t.Sub(from.at)) / float64(d)
	return p.x[from.lane] + f*(p.x[to.lane]-p.x[from.lane])
}

// ink is how the arrow of a route looks.
func (r *route) ink() pen {
	width := 1.3
	if r.e.Flags&rawtcp.SYN != 0 {
		width = 2
	}
	switch {
	case r.e.ICMP != "":
		return pen{inkICMP, 1.9, "2 3"}
	case r.e.Flags&rawtcp.RST != 0:
		return pen{inkRST, 2.1, "8 3"}
	case r.dir > 0:
		return pen{inkA, width, ""}
	}
	return pen{inkB, width, ""}
}

func (p *picture) arrows() {
	for i := range p.routes {
		r, points := &p.routes[i], p.lines[i]
		how := r.ink()
		p.d.put("<g><title>", xmlText(p.tooltip(r)), "</title>\n")
		end := points[len(points)-1]
		from := points[len(points)-2]
		shaft := slices.Clone(points)
		if !r.lost && !r.fades {
			shaft[len(shaft)-1] = towards(end, from, 7)
		}
		p.d.polyline(shaft, how)
		for n, s := range r.stops {
			if (n > 0 || r.comes) && n == len(r.stops)-1 && !r.lost && !r.fades {
				continue // the head is there
			}
			fill := how.color
			if s.reckoned {
				fill = inkPaper
			}
			p.d.put(`<circle cx="`, p.x[s.lane], `" cy="`, p.axis.y(s.at), `" r="2.4" fill="`, fill, `" stroke="`, how.color, "\"/>\n")
		}
		switch {
		case r.lost:
			p.cross(end, inkRST)
		case r.fades:
			p.d.put(`<circle cx="`, end.x, `" cy="`, end.y, `" r="1.5" fill="`, how.color, "\"/>\n")
		case r.e.ICMP != "":
			p.diamond(end, from, how.color)
		default:
			p.arrowHead(end, from, how.color, r.stops[len(r.stops)-1].reckoned)
		}
		if r.comes {
			p.d.put(`<circle cx="`, points[0].x, `" cy="`, points[0].y, `" r="3" fill="`, inkPaper, `" stroke="`, how.color, "\"/>\n")
		}
		p.d.put("</g>\n")
	}
}

// towards is the point a bit from p on the way to q.
func towards(p, q point, by float64) point {
	d := math.Hypot(q.x-p.x, q.y-p.y)
	if d == 0 {
		return p
	}
	by = min(by, d)
	return point{p.x + (q.x-p.x)*by/d, p.y + (q.y-p.y)*by/d}
}

func (p *picture) arrowHead(end, from point, color string, hollow bool) {
	const length, half = 10.0, 3.8
	back := towards(end, from, length)
	d := math.Hypot(end.x-from.x, end.y-from.y)
	n := point{(end.y - from.y) / d * half, (from.x - end.x) / d * half}
	fill := color
	if hollow {
		fill = inkPaper
	}
	p.d.put(`<polygon fill="`, fill, `" stroke="`, color, `" points="`, end.x, ",", end.y, " ",
		back.x+n.x, ",", back.y+n.y, " ", back.x-n.x, ",", back.y-n.y, "\"/>\n")
}

func (p *picture) diamond(end, from point, color string) {
	mid, back := towards(end, from, 6), towards(end, from, 12)
	p.d.put(`<polygon fill="`, inkPaper, `" stroke="`, color, `" stroke-width="1.5" points="`, end.x, ",", end.y, " ",
		mid.x, ",", mid.y-5, " ", back.x, ",", back.y, " ", mid.x, ",", mid.y+5, "\"/>\n")
}

func (p *picture) cross(at point, color string) {
	const r = 5.5
	p.d.line(point{at.x - r, at.y - r}, point{at.x + r, at.y + r}, pen{color, 2.4, ""})
	p.d.line(point{at.x - r, at.y + r}, point{at.x + r, at.y - r}, pen{color, 2.4, ""})
}

// tooltip has everything that is known about a packet.
func (p *picture) tooltip(r *route) string {
	var b strings.Builder
	b.WriteString(arrowWords(r.e))
	if r.e.Options != "" {
		b.WriteString("; " + r.e.Options)
	}
	for _, s := range r.stops {
		if r.level && s.lane != r.stops[0].lane {
			continue
		}
		sign := "; "
		if s.reckoned {
			sign = "; about "
		}
		where := p.lanes[s.lane]
		if r.level {
			where = "seen"
		}
		fmt.Fprintf(&b, "%s%s %s ms", sign, where, signedMS(s.at.Sub(p.ref)))
	}
	if r.e.Src.IsValid() && r.e.Dst.IsValid() {
		fmt.Fprintf(&b, "; %v > %v", r.e.Src, r.e.Dst)
	}
	if r.e.TTL > 0 {
		fmt.Fprintf(&b, "; ttl %d", r.e.TTL)
	}
	if notes := p.noteText(r); notes != "" {
		b.WriteString("; " + notes)
	}
	return b.String()
}
