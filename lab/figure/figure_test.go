package figure

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image/png"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// element is one of an SVG, with its own text and what stands in it.
type element struct {
	XMLName xml.Name
	Attrs   []xml.Attr `xml:",any,attr"`
	Text    string     `xml:",chardata"`
	Inside  []element  `xml:",any"`
}

func (e *element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (e *element) num(t *testing.T, name string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(strings.TrimSuffix(e.attr(name), "pt"), 64)
	if err != nil {
		t.Fatalf("<%s> %s: %v", e.XMLName.Local, name, err)
	}
	return v
}

// all lists the elements of a name, at any depth.
func (e *element) all(name string) []*element {
	var list []*element
	for i := range e.Inside {
		if e.Inside[i].XMLName.Local == name {
			list = append(list, &e.Inside[i])
		}
		list = append(list, e.Inside[i].all(name)...)
	}
	return list
}

// hint is what a pointer is told.
func (e *element) hint() string {
	for _, t := range e.all("title") {
		return t.Text
	}
	return ""
}

// group is the first group of that name.
func (e *element) group(t *testing.T, name string) *element {
	t.Helper()
	for _, g := range e.all("g") {
		if g.attr("data-name") == name {
			return g
		}
	}
	t.Fatalf("no group %q", name)
	return nil
}

func parse(t *testing.T, fig Figure) *element {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, fig, SVG); err != nil {
		t.Fatal(err)
	}
	var e element
	if err := xml.Unmarshal(b.Bytes(), &e); err != nil {
		t.Fatalf("%v\n%s", err, &b)
	}
	return &e
}

// area is the place of a line of type.
type area struct {
	text                     string
	left, top, right, bottom float64
}

func areaOf(t *testing.T, e *element) area {
	t.Helper()
	x, y, size := e.num(t, "x"), e.num(t, "y"), e.num(t, "font-size")
	w := measure(e.Text, size, e.attr("font-weight") == "bold")
	from := x
	switch e.attr("text-anchor") {
	case "middle":
		from -= w / 2
	case "end":
		from -= w
	}
	if e.attr("transform") != "" {
		return area{e.Text, x - 0.7*size, y - (from - x) - w, x, y - (from - x)}
	}
	return area{e.Text, from, y - 0.7*size, from + w, y}
}

func (a area) touches(b area) bool {
	return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
}

// TestGallery: every figure of the gallery is XML, the same twice, within its
// picture, in numbers that are numbers, and no line of type lies on another.
func TestGallery(t *testing.T) {
	for name, fig := range gallery() {
		t.Run(name, func(t *testing.T) {
			var first, second bytes.Buffer
			if err := Write(&first, fig, SVG); err != nil {
				t.Fatal(err)
			}
			if err := Write(&second, fig, SVG); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
				t.Errorf("two drawings differ: %v", err)
			}
			for _, bad := range []string{"NaN", "Inf"} {
				if strings.Contains(first.String(), bad) {
					t.Errorf("%s in the file", bad)
				}
			}
			e := parse(t, fig)
			w, h := e.num(t, "width"), e.num(t, "height")
			if want := fmt.Sprintf("0 0 %s %s", num(w), num(h)); e.attr("viewBox") != want || h > 3*w {
				t.Errorf("viewBox %q, want %q, not a tower", e.attr("viewBox"), want)
			}
			if !strings.HasPrefix(e.attr("aria-label"), fig.Heading()) || e.attr("role") != "img" {
				t.Errorf("label %q", e.attr("aria-label"))
			}
			var placed []area
			for _, text := range e.all("text") {
				a := areaOf(t, text)
				if a.left < 0 || a.top < 0 || a.right > w+0.5 || a.bottom > h {
					t.Errorf("outside of %v by %v: %+v", w, h, a)
				}
				for _, b := range placed {
					if a.touches(b) {
						t.Errorf("on each other: %+v, %+v", a, b)
					}
				}
				placed = append(placed, a)
			}
			for _, c := range e.all("circle") {
				if x, y := c.num(t, "cx"), c.num(t, "cy"); x < 0 || x > w || y < 0 || y > h {
					t.Errorf("a dot at %v %v", x, y)
				}
			}
		})
	}
}

// TestInline: a figure in a page takes the page's colours and has no prologue and no id.
func TestInline(t *testing.T) {
	s := Inline(flagship())
	if !strings.HasPrefix(s, "<svg ") || !strings.Contains(s, `"var(--fig-ink,#202020)"`) || strings.Contains(s, " id=") {
		t.Errorf("%.300s", s)
	}
	if err := xml.Unmarshal([]byte(s), new(element)); err != nil {
		t.Error(err)
	}
}

// tickAt is where a number stands at an axis: the x axis' are centred.
func tickAt(t *testing.T, e *element, anchor, label string) (x, y float64) {
	t.Helper()
	for _, text := range e.all("text") {
		if text.Text == label && text.attr("font-size") == num(tickSize) && text.attr("text-anchor") == anchor {
			return text.num(t, "x"), text.num(t, "y") - 0.36*tickSize
		}
	}
	t.Fatalf("no tick %q", label)
	return 0, 0
}

func within(a, b float64) bool { return math.Abs(a-b) < 0.03 }

// TestChartPlaces: markers, ranges and marks are where the numbers of the axes say.
func TestChartPlaces(t *testing.T) {
	c := flagship()
	c.Marks = []Mark{{At: 40 * ms, Label: "here"}, {At: 0.4, Label: "two in five", Horizontal: true}}
	e := parse(t, c)
	x60, _ := tickAt(t, e, "middle", "60")
	x0, _ := tickAt(t, e, "middle", "−60")
	_, y100 := tickAt(t, e, "end", "100")
	_, y0 := tickAt(t, e, "end", "20")
	x := func(v float64) float64 { return x0 + (v/ms+60)/120*(x60-x0) }
	y := func(v float64) float64 { return y0 + (v-0.2)/0.8*(y100-y0) }
	dots := e.group(t, "series repair").all("circle")
	if len(dots) != len(c.Series[0].Points) {
		t.Fatalf("%d dots for %d points", len(dots), len(c.Series[0].Points))
	}
	for i, p := range c.Series[0].Points {
		if cx, cy := dots[i].num(t, "cx"), dots[i].num(t, "cy"); !within(cx, x(p.X)) || !within(cy, y(p.Y)) {
			t.Errorf("point %d at %v %v, want %v %v", i, cx, cy, x(p.X), y(p.Y))
		}
	}
	if h := dots[0].hint(); h != "repair, −60 ms: 100 %, 83.9 % to 100 %" {
		t.Errorf("hint %q", h)
	}
	shade := e.group(t, "range window in theory").all("path")[0].attr("d")
	if from, to := num(x(-20*ms)), num(x(20*ms)); !strings.HasPrefix(shade, "M"+from+" ") || !strings.Contains(shade, "L"+to+" ") {
		t.Errorf("range %s, want from %s to %s", shade, from, to)
	}
	if d := e.group(t, "mark here").all("path")[0].attr("d"); !strings.HasPrefix(d, "M"+num(x(40*ms))+" ") {
		t.Errorf("mark %s, want %v", d, x(40*ms))
	}
	if d := e.group(t, "mark two in five").all("path")[0].attr("d"); !strings.HasSuffix(d, " "+num(y(0.4))) {
		t.Errorf("mark %s, want %v", d, y(0.4))
	}
}

// TestBand: the band of a series runs along its intervals.
func TestBand(t *testing.T) {
	c := &Chart{Y: Axis{Unit: Percent}, Series: []Series{{Name: "s", Points: []Point{{X: 1, Y: 0.5, Low: 0.4, High: 0.6}, {X: 2, Y: 0.5, Low: 0.2, High: 0.8}}}}}
	e := parse(t, c)
	_, y20 := tickAt(t, e, "end", "20")
	_, y80 := tickAt(t, e, "end", "80")
	d := e.group(t, "series s").all("path")[0].attr("d")
	parts := strings.FieldsFunc(d, func(r rune) bool { return strings.ContainsRune("MLZ ", r) })
	var ys []float64
	for i := 1; i < len(parts); i += 2 {
		v, err := strconv.ParseFloat(parts[i], 64)
		if err != nil {
			t.Fatal(err)
		}
		ys = append(ys, v)
	}
	step := (y20 - y80) / 6
	want := []float64{y80 + 2*step, y80, y20, y20 - 2*step}
	if !slices.EqualFunc(ys, want, within) {
		t.Errorf("band %v, want %v", ys, want)
	}
}

// TestGaps: where there is no value the line has a gap.
func TestGaps(t *testing.T) {
	nan := math.NaN()
	c := &Chart{Series: []Series{{Name: "s", Points: []Point{{X: 5, Y: 2}, {X: 1, Y: 1}, {X: 2, Y: 3}, {X: 3, Y: nan}, {X: 4, Y: 1}, {X: 6, Y: nan}, {X: 7, Y: 2}}}}}
	g := parse(t, c).group(t, "series s")
	if lines := g.all("path"); len(lines) != 2 || len(g.all("circle")) != 5 {
		t.Errorf("%d lines and %d dots, want 2 and 5", len(lines), len(g.all("circle")))
	}
}

// TestShares: the bars of a whole stand on each other and have the height of their share.
func TestShares(t *testing.T) {
	s := &Shares{At: []float64{3, 1, 2}, Parts: []Part{{Name: "low", Shares: []float64{0.25, 1, 0}}, {Name: "high", Shares: []float64{0.75, 0, math.NaN()}}}}
	e := parse(t, s)
	_, y0 := tickAt(t, e, "end", "0")
	_, y100 := tickAt(t, e, "end", "100")
	low, high := e.group(t, "part low").all("path"), e.group(t, "part high").all("path")
	if len(low) != 2 || len(high) != 2 || low[1].hint() != "low, 3: 25 %" {
		t.Fatalf("%d and %d paths, hint %q", len(low), len(high), low[1].hint())
	}
	level := num(y0 + 0.25*(y100-y0))
	if !strings.Contains(low[1].attr("d"), " "+level) || !strings.Contains(high[0].attr("d"), " "+level) {
		t.Errorf("want both at %s: %s, %s", level, low[1].attr("d"), high[0].attr("d"))
	}
}

// TestHistogram: no value is lost or counted twice.
func TestHistogram(t *testing.T) {
	h := histogram(1000, "repair", "park")
	e := parse(t, h)
	for _, s := range h.Sets {
		n := 0
		for _, bar := range e.group(t, "set "+s.Name).all("path") {
			words := strings.Split(bar.hint(), ": ")
			v, err := strconv.Atoi(strings.ReplaceAll(words[len(words)-1], ",", ""))
			if err != nil {
				t.Fatal(err)
			}
			n += v
		}
		if n != len(s.Values) {
			t.Errorf("%s: %d in the bars, %d values", s.Name, n, len(s.Values))
		}
	}
}

// TestAstray: two values that went astray do not leave the others in one bar.
func TestAstray(t *testing.T) {
	h := histogram(1000, "repair")
	h.Sets[0].Values[17], h.Sets[0].Values[18] = 50*ms, -50*ms
	e := parse(t, h)
	if bars := e.group(t, "set repair").all("path"); len(bars) < 10 {
		t.Errorf("%d bars", len(bars))
	}
	said := false
	for _, text := range e.all("text") {
		said = said || strings.Contains(text.Text, "n 1,000 (2 beyond the axis)") && strings.Contains(text.Text, "all from −50 ms to 50 ms")
	}
	if !said {
		t.Error("the panel does not say that two values lie beyond the axis")
	}
	h.X.Min, h.X.Max = -60*ms, 60*ms
	if bars := parse(t, h).group(t, "set repair").all("path"); len(bars) > 4 {
		t.Errorf("an axis with ends of its own has %d bars", len(bars))
	}
}

// TestMap: cells lie around their values, and an edge where its numbers say.
func TestMap(t *testing.T) {
	m := &Map{At: []float64{1, 2, 3}, Rows: []float64{10, 20}, Shares: [][]float64{{0, 0.5, 1}, {1, math.NaN()}},
		Edges: []Series{{Name: "theory", Points: []Point{{X: 1, Y: 10}, {X: 3, Y: 20}}}}}
	e := parse(t, m)
	x1, _ := tickAt(t, e, "middle", "1.0")
	x3, _ := tickAt(t, e, "middle", "3.0")
	_, y10 := tickAt(t, e, "end", "10")
	_, y20 := tickAt(t, e, "end", "20")
	var cells []*element
	for _, p := range e.group(t, "cells").all("path") {
		if p.hint() != "" {
			cells = append(cells, p)
		}
	}
	if len(cells) != 4 || cells[2].hint() != "3, 10: 100 %" {
		t.Fatalf("%d cells, the third %q", len(cells), cells[2].hint())
	}
	var from float64
	if n, _ := fmt.Sscanf(cells[1].attr("d"), "M%f", &from); n != 1 || !within(from, (x1+x3)/2-(x3-x1)/4) {
		t.Errorf("cell %s, want from %v", cells[1].attr("d"), (x1+x3)/2-(x3-x1)/4)
	}
	want := fmt.Sprintf("M%s %sL%s %s", num(x1), num(y10), num(x3), num(y20))
	if d := e.group(t, "edge theory").all("path")[1].attr("d"); d != want {
		t.Errorf("edge %s, want %s", d, want)
	}
}

// TestPNG draws one of each kind as a picture of dots, twice the same.
func TestPNG(t *testing.T) {
	all := gallery()
	for _, name := range []string{"lone", "mix-one", "hist-one", "calibration-none", "map-one", "heat"} {
		var first, second bytes.Buffer
		if err := Write(&first, all[name], PNG); err != nil {
			t.Fatal(err)
		}
		if err := Write(&second, all[name], PNG); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("%s: two drawings differ: %v", name, err)
		}
		img, err := png.Decode(&first)
		if err != nil {
			t.Fatal(err)
		}
		if r, g, b, a := img.At(0, 0).RGBA(); r != 0xffff || g != 0xffff || b != 0xffff || a != 0xffff {
			t.Errorf("%s: the ground is not white: %x %x %x %x", name, r, g, b, a)
		}
		dark := 0
		for y := range img.Bounds().Dy() {
			for x := range img.Bounds().Dx() {
				if r, _, _, _ := img.At(x, y).RGBA(); r < 0x4000 {
					dark++
				}
			}
		}
		if dark < 500 {
			t.Errorf("%s: %d dark dots: is anything written?", name, dark)
		}
	}
}

// TestHostile: what a name says is text, in every place.
func TestHostile(t *testing.T) {
	const bad = `</svg><script>alert(1)</script>"'&` + "\x00\xff"
	c := flagship()
	c.Title, c.Notes, c.X.Title, c.Y.Title = bad, []string{bad}, bad, bad
	c.Series[0].Name, c.Ranges[0].Label = bad, bad
	c.Marks = []Mark{{At: 0, Label: bad}, {At: 0.5, Label: bad, Horizontal: true}}
	for _, s := range []string{Inline(c), Inline(&Shares{Title: bad, Parts: []Part{{Name: bad}}}), Inline(&HeatMap{Title: bad, Rows: []Label{{bad, bad}}})} {
		if strings.Contains(s, "<script") || strings.Count(s, "</svg>") != 1 {
			t.Errorf("%.200s", s)
		}
		if err := xml.Unmarshal([]byte(s), new(element)); err != nil {
			t.Error(err)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1.5: "1.5", -3: "−3", 64512: "64,512", 0.125: "0.125", 1e6: "1 M", 2.5e9: "2.5 G", 1e-6: "1e−06", 1234.5: "1,234"} {
		if got := short(v, 4); got != want {
			t.Errorf("short(%v) = %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{0: "0", 999: "999 ns", 1500: "1.5 µs", -20 * ms: "−20 ms", 1.5e9: "1.5 s", 1200e9: "20 min"} {
		if got := (&Axis{Unit: Duration}).write(v); got != want {
			t.Errorf("write(%v) = %q, want %q", v, got, want)
		}
	}
}

// TestTicks: numbers at round places, in one unit, on the axis.
func TestTicks(t *testing.T) {
	for _, c := range []struct {
		axis  Axis
		vals  []float64
		round bool
		want  string
		title string
	}{
		{Axis{Title: "skew", Unit: Duration}, []float64{-60 * ms, 60 * ms}, false, "−60 −40 −20 0 20 40 60", "skew (ms)"},
		{Axis{Title: "t", Unit: Duration}, []float64{300e3, 900e3}, true, "300 400 500 600 700 800 900", "t (µs)"},
		{Axis{Unit: Percent}, nil, true, "0 20 40 60 80 100", "%"},
		{Axis{Log: true}, []float64{1, 1e6}, false, "1 10 100 1,000 10,000 100,000 1 M", ""},
		{Axis{Log: true, Unit: Duration}, []float64{2e3, 3e6}, true, "1 µs 10 µs 100 µs 1 ms 10 ms", ""},
		{Axis{Min: 5, Max: 6}, []float64{100}, true, "5.0 5.2 5.4 5.6 5.8 6.0", ""},
		{Axis{}, []float64{7, 7}, true, "6.2 6.4 6.6 6.8 7.0 7.2 7.4 7.6 7.8", ""},
		{Axis{}, nil, true, "", ""},
	} {
		var e extent
		e.add(&c.axis, c.vals...)
		s := newScale(c.axis, e, 7, c.round)
		var got []string
		for _, tick := range s.ticks {
			got = append(got, tick.label)
			if !s.shows(tick.at) {
				t.Errorf("%+v: tick %v is off the axis %v to %v", c.axis, tick.at, s.lo, s.hi)
			}
		}
		if strings.Join(got, " ") != c.want || s.title() != c.title {
			t.Errorf("%+v %v: %q, title %q; want %q, %q", c.axis, c.vals, got, s.title(), c.want, c.title)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, s := range []string{"", "one", strings.Repeat("word ", 40), strings.Repeat("w", 300)} {
		lines := wrap(s, 100, smallSize, false)
		for _, l := range lines {
			if measure(l, smallSize, false) > 100 {
				t.Errorf("%q is too wide", l)
			}
		}
		if got := strings.ReplaceAll(strings.Join(lines, ""), " ", ""); got != strings.ReplaceAll(s, " ", "") {
			t.Errorf("%q became %q", s, lines)
		}
	}
}

// failing is a writer that does not write.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
