package figure

import (
	"image/color"
	"math"
	"sync"

	stdfont "golang.org/x/image/font"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

var (
	ink   = color.RGBA{0x20, 0x20, 0x20, 0xff}
	faint = color.RGBA{0x55, 0x55, 0x55, 0xff}
	rule  = color.RGBA{0xb0, 0xb0, 0xb0, 0xff}
)

// hues are the ends and the middle of the scale: from nearly white to dark blue.
var hues = [...]color.RGBA{{0xf4, 0xf7, 0xfb, 0xff}, {0x6b, 0xa3, 0xd0, 0xff}, {0x0b, 0x3c, 0x78, 0xff}}

// shade is the colour of a share.
func shade(share float64) color.RGBA {
	at := min(max(share, 0), 1) * float64(len(hues)-1)
	i := min(int(at), len(hues)-2)
	mix := func(a, b uint8) uint8 {
		return uint8(math.Round(float64(a) + (at-float64(i))*(float64(b)-float64(a))))
	}
	a, b := hues[i], hues[i+1]
	return color.RGBA{mix(a.R, b.R), mix(a.G, b.G), mix(a.B, b.B), 0xff}
}

// contrast is the colour of type on a cell: white on the darker half.
func contrast(share float64) color.Color {
	if share > 0.55 {
		return color.White
	}
	return ink
}

// handler has the fonts, which are part of the program, so that a figure looks the same
// everywhere. To read them takes milliseconds that other commands do not have.
var handler = sync.OnceValue(func() text.Handler {
	return text.Plain{Fonts: font.NewCache(liberation.Collection())}
})

func style(size vg.Length, heavy bool, c color.Color) draw.TextStyle {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
	if heavy {
		f.Weight = stdfont.WeightBold
	}
	return draw.TextStyle{Color: c, Font: f, Handler: handler()}
}

// width is that of a line of type.
func width(s string, size vg.Length) vg.Length { return style(size, false, ink).Width(s) }

func bold(s string, size vg.Length) vg.Length { return style(size, true, ink).Width(s) }

func fill(c draw.Canvas, x, y, w, h vg.Length, with color.Color) {
	c.FillPolygon(with, []vg.Point{{X: x, Y: y}, {X: x + w, Y: y}, {X: x + w, Y: y + h}, {X: x, Y: y + h}})
}

func line(c draw.Canvas, x1, y1, x2, y2, width vg.Length, with color.Color) {
	c.StrokeLine2(draw.LineStyle{Color: with, Width: width}, x1, y1, x2, y2)
}

func outline(c draw.Canvas, x, y, w, h vg.Length) {
	c.StrokeLines(draw.LineStyle{Color: rule, Width: 0.5}, []vg.Point{{X: x, Y: y}, {X: x + w, Y: y}, {X: x + w, Y: y + h}, {X: x, Y: y + h}, {X: x, Y: y}})
}
