package capture

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// drawing writes SVG. It uses attributes only: no style sheet, id or script, so
// that a page may hold many and any content security policy lets them be.
type drawing struct{ b strings.Builder }

// Of Helvetica, and of the fonts made to its measures (Arial, Liberation Sans),
// in thousandths of the size, from the space on: Adobe's font metrics.
var helvetica = [...]uint16{
	278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, // space to /
	556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, // 0 to ?
	1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778, // @ to O
	667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, // P to _
	333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, // ` to o
	556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584, // p to ~
}

const (
	fonts     = "Helvetica, Arial, 'Liberation Sans', sans-serif"
	fontSize  = 12.0
	smallSize = 10.5
	lineRise  = 1.25 // of the size, from line to line
)

// textWidth is how wide a text is at a size, in pixels.
func textWidth(text string, size float64) float64 {
	sum := 0
	for _, r := range text {
		switch {
		case r >= ' ' && int(r-' ') < len(helvetica):
			sum += int(helvetica[r-' '])
		case r >= 0x1100: // East Asian letters, emoji
			sum += 1000
		default:
			sum += 600
		}
	}
	return float64(sum) * size / 1000
}

// wrapWidth breaks text into lines of at most that many pixels, and no more
// lines than most: the last then ends with an ellipsis.
func wrapWidth(text string, size, width float64, most int) []string {
	var lines []string
	add := func(word string) bool {
		if n := len(lines) - 1; n >= 0 && textWidth(lines[n]+" "+word, size) <= width {
			lines[n] += " " + word
			return true
		}
		if len(lines) == most {
			lines[most-1] = cutWidth(lines[most-1]+" "+word, size, width)
			return false
		}
		lines = append(lines, word)
		return true
	}
	for word := range strings.FieldsSeq(text) {
		for textWidth(word, size) > width {
			n := len(strings.TrimSuffix(cutWidth(word, size, width), "…"))
			if n == 0 {
				_, n = utf8.DecodeRuneInString(word)
			}
			if !add(word[:n]) {
				return lines
			}
			word = word[n:]
		}
		if !add(word) {
			return lines
		}
	}
	return lines
}

// cutWidth shortens text to a width; an ellipsis says so.
func cutWidth(text string, size, width float64) string {
	if textWidth(text, size) <= width {
		return text
	}
	for text != "" && textWidth(text+"…", size) > width {
		_, n := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-n]
	}
	return text + "…"
}

// xmlText escapes text for an element or an attribute. What XML cannot hold
// becomes U+FFFD (XML 1.0 section 2.2).
func xmlText(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '"':
			b.WriteString("&quot;")
		case r < ' ' && r != '\t' && r != '\n', r == 0xfffe, r == 0xffff:
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// px prints a number of pixels.
func px(v float64) string {
	v = math.Round(v*10) / 10
	if v == 0 {
		return "0" // never -0
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// put writes parts as they are, numbers as pixels.
func (d *drawing) put(parts ...any) {
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			d.b.WriteString(p)
		case float64:
			d.b.WriteString(px(p))
		}
	}
}

// pen is how a stroke looks.
type pen struct {
	color string
	width float64
	dash  string // "" = solid
}

func (p *pen) attributes() string {
	s := ` stroke="` + p.color + `" stroke-width="` + px(p.width) + `"`
	if p.dash != "" {
		s += ` stroke-dasharray="` + p.dash + `"`
	}
	return s
}

func (d *drawing) line(p, q point, how pen) {
	d.put(`<line x1="`, p.x, `" y1="`, p.y, `" x2="`, q.x, `" y2="`, q.y, `"`, how.attributes(), "/>\n")
}

func (d *drawing) polyline(points []point, how pen) {
	d.put(`<polyline fill="none"`, how.attributes(), ` points="`)
	for i, p := range points {
		if i > 0 {
			d.put(" ")
		}
		d.put(p.x, ",", p.y)
	}
	d.put("\"/>\n")
}

// Where a text stands relative to its point.
const (
	alignLeft   = "start"
	alignMiddle = "middle"
	alignRight  = "end"
)

// face is how a text looks.
type face struct {
	size  float64
	color string
	bold  bool
	halo  bool // white around the letters, so that lines behind do not disturb
}

// text writes a line of text whose baseline is at y.
func (d *drawing) text(x, y float64, align, text string, how face) {
	d.turned(x, y, 0, align, text, how)
}

// turned is text that is turned about its point, in degrees.
func (d *drawing) turned(x, y, degrees float64, align, text string, how face) {
	d.put(`<text x="`, x, `" y="`, y, `" font-size="`, how.size, `" fill="`, how.color, `"`)
	if align != alignLeft {
		d.put(` text-anchor="`, align, `"`)
	}
	if how.bold {
		d.put(` font-weight="bold"`)
	} else if text != "" {
		// Whatever the font, the text is as wide as it was reckoned to be.
		d.put(` textLength="`, textWidth(text, how.size), `" lengthAdjust="spacingAndGlyphs"`)
	}
	if how.halo {
		d.put(` stroke="#ffffff" stroke-width="3" stroke-linejoin="round" paint-order="stroke"`)
	}
	if degrees != 0 {
		d.put(` transform="rotate(`, degrees, " ", x, " ", y, `)"`)
	}
	d.put(`>`, xmlText(text), "</text>\n")
}
