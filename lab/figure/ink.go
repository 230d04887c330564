package figure

import (
	"fmt"
	"image/color"
	"math"
	"sync"

	stdfont "golang.org/x/image/font"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/vg"
)

// paint is a colour.
type paint struct {
	rgb   uint32
	alpha float64 // 0: opaque
	role  string  // the page's CSS variable for it; "": always this colour
}

func (p paint) hex() string { return fmt.Sprintf("#%06x", p.rgb) }

func (p paint) color() color.Color {
	a := uint8(0xff)
	if p.alpha != 0 {
		a = uint8(math.Round(0xff * p.alpha))
	}
	return color.NRGBA{uint8(p.rgb >> 16), uint8(p.rgb >> 8), uint8(p.rgb), a}
}

func (p paint) thin(alpha float64) paint {
	p.alpha = alpha
	return p
}

var (
	ground = paint{rgb: 0xffffff, role: "ground"}
	ink    = paint{rgb: 0x202020, role: "ink"}
	faint  = paint{rgb: 0x555555, role: "faint"}
	rule   = paint{rgb: 0xb0b0b0, role: "rule"}
	grid   = paint{rgb: 0xe3e3e3, role: "grid"}
	window = paint{rgb: 0xeef1f4, role: "shade"}
)

// hues are the ends and the middle of the scale: from nearly white to dark blue.
var hues = [...]uint32{0xf4f7fb, 0x6ba3d0, 0x0b3c78}

// shade is the colour of a share.
func shade(share float64) paint {
	at := min(max(share, 0), 1) * float64(len(hues)-1)
	i := min(int(at), len(hues)-2)
	var rgb uint32
	for shift := 0; shift <= 16; shift += 8 {
		a, b := float64(hues[i]>>shift&0xff), float64(hues[i+1]>>shift&0xff)
		rgb |= uint32(math.Round(a+(at-float64(i))*(b-a))) << shift
	}
	return paint{rgb: rgb}
}

// contrast is the colour of type on a cell: white on the darker half.
func contrast(share float64) paint {
	if share > 0.55 {
		return paint{rgb: 0xffffff}
	}
	return paint{rgb: ink.rgb}
}

// collection has the fonts, which are part of the program, so that a figure looks the same
// everywhere. To read them takes milliseconds that other commands do not have.
var collection = sync.OnceValue(func() *font.Cache { return font.NewCache(liberation.Collection()) })

func face(size float64, heavy bool) font.Face {
	f := font.Font{Typeface: "Liberation", Variant: "Sans"}
	if heavy {
		f.Weight = stdfont.WeightBold
	}
	return collection().Lookup(f, vg.Length(size))
}

// width is that of a line of type.
func width(s string, size float64) float64 { return measure(s, size, false) }

func bold(s string, size float64) float64 { return measure(s, size, true) }

func measure(s string, size float64, heavy bool) float64 {
	f := face(size, heavy)
	return float64(f.Width(s))
}

// wrap breaks a text into lines of at most room points. A word that is longer is
// broken.
func wrap(s string, room, size float64, heavy bool) []string {
	f := face(size, heavy)
	fits := func(s string) bool { return float64(f.Width(s)) <= room }
	var lines []string
	now := ""
	for _, word := range words(s) {
		next := word
		if now != "" {
			next = now + " " + word
		}
		if fits(next) {
			now = next
			continue
		}
		if now != "" {
			lines = append(lines, now)
		}
		for now = word; !fits(now) && len([]rune(now)) > 1; {
			r := []rune(now)
			n := len(r) - 1
			for n > 1 && !fits(string(r[:n])) {
				n--
			}
			lines = append(lines, string(r[:n]))
			now = string(r[n:])
		}
	}
	if now != "" {
		lines = append(lines, now)
	}
	return lines
}
