package figure

import (
	"bytes"
	"math"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgimg"
)

// Resolution of a PNG in dots per inch, chosen by us: type of 7 points is
// legible.
const resolution = 144

func (s *sketch) png() ([]byte, error) {
	c := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(vg.Length(s.w), vg.Length(s.h)), vgimg.UseDPI(resolution))}
	for i := range s.shapes {
		s.raster(c, &s.shapes[i])
	}
	var b bytes.Buffer
	_, err := c.WriteTo(&b)
	return b.Bytes(), err
}

// raster draws a shape on a canvas, whose origin is at the bottom left.
func (s *sketch) raster(c vg.Canvas, sh *shape) {
	to := func(p point) vg.Point { return vg.Point{X: vg.Length(p.x), Y: vg.Length(s.h - p.y)} }
	var p vg.Path
	switch sh.kind {
	case open, shut:
		return
	case letters:
		s.letters(c, sh)
		return
	case dot:
		m := to(sh.at)
		p.Move(vg.Point{X: m.X + vg.Length(sh.r), Y: m.Y})
		p.Arc(m, vg.Length(sh.r), 0, 2*math.Pi)
		p.Close()
	case path:
		for _, sub := range sh.paths {
			for i, pt := range sub {
				if i == 0 {
					p.Move(to(pt))
				} else {
					p.Line(to(pt))
				}
			}
			if sh.closed {
				p.Close()
			}
		}
	}
	if len(p) == 0 {
		return
	}
	if sh.fill != nil {
		c.SetColor(sh.fill.color())
		c.Fill(p)
	}
	if sh.stroke != nil {
		var dash []vg.Length
		for _, d := range sh.dash {
			dash = append(dash, vg.Length(d))
		}
		c.SetColor(sh.stroke.color())
		c.SetLineWidth(vg.Length(sh.width))
		c.SetLineDash(dash, 0)
		c.Stroke(p)
	}
}

func (s *sketch) letters(c vg.Canvas, sh *shape) {
	f := face(sh.size, sh.heavy)
	x := vg.Length(0)
	switch sh.align {
	case atCentre:
		x = -f.Width(sh.text) / 2
	case atRight:
		x = -f.Width(sh.text)
	}
	c.SetColor(sh.fill.color())
	c.Push()
	c.Translate(vg.Point{X: vg.Length(sh.at.x), Y: vg.Length(s.h - sh.at.y)})
	if sh.turn {
		c.Rotate(math.Pi / 2)
	}
	c.FillString(f, vg.Point{X: x}, sh.text)
	c.Pop()
}
