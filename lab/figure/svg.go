package figure

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"strings"
)

// use says where an SVG stands.
type use int

const (
	standalone use = iota // a file of its own
	inline                // part of a page
)

// An SVG names its type and does not carry it, for that would be a megabyte.
// Arial and Helvetica are as wide as Liberation Sans.
const families = "'Liberation Sans',Arial,Helvetica,sans-serif"

// svgWriter writes shapes as SVG 1.1.
type svgWriter struct {
	bytes.Buffer
	use use
}

func (s *sketch) svg(u use) []byte {
	w := &svgWriter{use: u}
	if u == standalone {
		w.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	}
	w.WriteString("<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\"")
	w.attr("aria-label", strings.Join(append([]string{s.title}, s.desc...), " "))
	unit := ""
	if u == standalone {
		unit = "pt"
	}
	w.attr("width", num(s.w)+unit)
	w.attr("height", num(s.h)+unit)
	w.attr("viewBox", "0 0 "+num(s.w)+" "+num(s.h))
	w.attr("font-family", families)
	w.WriteString(">\n")
	for i := range s.shapes {
		w.shape(&s.shapes[i])
	}
	w.WriteString("</svg>\n")
	return w.Bytes()
}

func (w *svgWriter) shape(s *shape) {
	switch s.kind {
	case open:
		w.WriteString("<g")
		w.attr("data-name", s.text)
		w.WriteString(">\n")
		return
	case shut:
		w.WriteString("</g>\n")
		return
	case path:
		w.path(s)
	case dot:
		w.WriteString("<circle")
		w.num("cx", s.at.x)
		w.num("cy", s.at.y)
		w.num("r", s.r)
		w.paint(s)
		w.end("circle", s.hint)
	case letters:
		w.letters(s)
	}
}

func (w *svgWriter) path(s *shape) {
	if len(s.paths) == 0 {
		return
	}
	w.WriteString("<path d=\"")
	for _, p := range s.paths {
		for i, pt := range p {
			w.WriteByte("LM"[b2i(i == 0)])
			w.WriteString(num(pt.x))
			w.WriteByte(' ')
			w.WriteString(num(pt.y))
		}
		if s.closed {
			w.WriteByte('Z')
		}
	}
	w.WriteByte('"')
	w.paint(s)
	w.end("path", s.hint)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (w *svgWriter) letters(s *shape) {
	w.WriteString("<text")
	w.num("x", s.at.x)
	w.num("y", s.at.y)
	w.num("font-size", s.size)
	if s.heavy {
		w.attr("font-weight", "bold")
	}
	switch s.align {
	case atCentre:
		w.attr("text-anchor", "middle")
	case atRight:
		w.attr("text-anchor", "end")
	}
	if s.turn {
		w.attr("transform", "rotate(-90 "+num(s.at.x)+" "+num(s.at.y)+")")
	}
	w.colour("fill", s.fill)
	w.WriteByte('>')
	w.escape(s.text)
	w.WriteString("</text>\n")
}

func (w *svgWriter) paint(s *shape) {
	if s.fill == nil {
		w.attr("fill", "none")
	} else {
		w.colour("fill", s.fill)
	}
	if s.stroke == nil {
		return
	}
	w.colour("stroke", s.stroke)
	w.num("stroke-width", s.width)
	if s.kind == path && s.fill == nil {
		w.attr("stroke-linejoin", "round")
	}
	if s.dash != nil {
		var d []string
		for _, v := range s.dash {
			d = append(d, num(v))
		}
		w.attr("stroke-dasharray", strings.Join(d, " "))
	}
}

func (w *svgWriter) colour(name string, p *paint) {
	if w.use == inline && p.role != "" {
		w.attr(name, "var(--fig-"+p.role+","+p.hex()+")")
	} else {
		w.attr(name, p.hex())
	}
	if p.alpha != 0 {
		w.num(name+"-opacity", p.alpha)
	}
}

// end closes an element, with what a pointer is told.
func (w *svgWriter) end(name, hint string) {
	if hint == "" {
		w.WriteString("/>\n")
		return
	}
	w.WriteString("><title>")
	w.escape(hint)
	w.WriteString("</title></" + name + ">\n")
}

func (w *svgWriter) num(name string, v float64) { w.attr(name, num(v)) }

func (w *svgWriter) attr(name, value string) {
	w.WriteString(" " + name + "=\"")
	w.escape(value)
	w.WriteByte('"')
}

func (w *svgWriter) escape(s string) {
	// A write to a buffer does not fail, and characters that XML forbids are replaced.
	_ = xml.EscapeText(w, []byte(s))
}

// num is a length with up to two digits behind the point.
func num(v float64) string {
	s := strings.TrimRight(strings.TrimRight(strconv.FormatFloat(v, 'f', 2, 64), "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}
