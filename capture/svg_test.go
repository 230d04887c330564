package capture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

// SYNPUNCH_PICTURES names a directory for the pictures that these tests draw, so
// that people can look at them.
const picturesDir = "SYNPUNCH_PICTURES"

func svgOf(t testing.TB, l *Ladder, cfg *SVGConfig) string {
	t.Helper()
	var b bytes.Buffer
	if err := l.WriteSVG(&b, cfg); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// checkSVG holds what every picture must keep: well-formed, nothing from
// outside, nothing that runs, no number that is none.
func checkSVG(t testing.TB, name, svg string) {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(svg))
	depth := 0
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		depth++
		if !slices.Contains([]string{"svg", "g", "title", "rect", "line", "polyline", "polygon", "circle", "text"}, start.Name.Local) {
			t.Errorf("%s: element %s", name, start.Name.Local)
		}
		for _, a := range start.Attr {
			if a.Name.Local == "id" || a.Name.Local == "style" || a.Name.Local == "class" || strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Name.Local, "href") {
				t.Errorf("%s: attribute %s", name, a.Name.Local)
			}
			if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
				t.Errorf("%s: %s=%q", name, a.Name.Local, a.Value)
			}
		}
	}
	if depth == 0 {
		t.Errorf("%s: empty", name)
	}
	if dir := os.Getenv(picturesDir); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".svg"), []byte(svg), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// checkLayout holds that no label covers another, and that the axis is to scale.
func checkLayout(t testing.TB, name string, p *picture) {
	t.Helper()
	for i := range p.layout.placed {
		for k := range i {
			if p.layout.placed[i].overlaps(&p.layout.placed[k]) {
				t.Errorf("%s: labels %d and %d overlap: %+v %+v", name, i, k, p.layout.placed[i].mid, p.layout.placed[k].mid)
			}
		}
	}
	knots := p.axis.knots
	for i := range len(knots) - 1 {
		k, next := knots[i], knots[i+1]
		if next.at <= k.at || next.y <= k.y {
			t.Errorf("%s: the axis runs back at %v", name, k.at)
		}
		if drawn := (next.y - k.y) / float64(next.at-k.at); !k.broken && math.Abs(drawn/p.axis.scale-1) > 1e-6 {
			t.Errorf("%s: scale %g, not %g", name, drawn, p.axis.scale)
		}
	}
	for i := range p.routes {
		for _, s := range p.routes[i].stops {
			for _, b := range p.axis.breaks() {
				if y := p.axis.y(s.at); y > b.top+1e-6 && y < b.bottom-1e-6 {
					t.Errorf("%s: a packet at %v is in a break", name, s.at.Sub(p.ref))
				}
			}
		}
	}
}

// pictureOf is the picture that WriteSVG writes.
func pictureOf(l *Ladder, cfg *SVGConfig) *picture {
	c := SVGConfig{Width: defaultSVGWidth}
	if cfg != nil {
		c = *cfg
	}
	return l.scene().picture(l.Crossing, &c, 250)
}

func svgScenes(t testing.TB) map[string]*Ladder {
	scenes := ladderScenes()
	for i, o := range openings {
		for k, tl := range analyze(t, nil, o.shots...) {
			scenes["opening-"+string(rune('a'+i))+string(rune('0'+k))] = tl.Ladder()
		}
	}
	for _, tt := range foreignWant {
		tls, _ := foreign(t, tt.file, nil)
		for k, tl := range tls {
			scenes[tt.file+"-"+string(rune('0'+k))] = tl.Ladder()
		}
	}
	for _, name := range []string{"crossed", "a-early"} {
		a, _ := foreign(t, name+"-a", nil)
		b, _ := foreign(t, name+"-b", nil)
		joined, _, _ := Join(a, b, nil)
		scenes[name+"-joined"] = joined[0].Ladder()
	}
	return scenes
}

func TestSVG(t *testing.T) {
	for name, l := range svgScenes(t) {
		cfg := SVGConfig{Title: name, Lines: []string{"a line below the title"}}
		svg := svgOf(t, l, &cfg)
		checkSVG(t, name, svg)
		if again := svgOf(t, l, &cfg); again != svg {
			t.Errorf("%s: drawn twice, it differs", name)
		}
		checkLayout(t, name, pictureOf(l, nil))
		checkSVG(t, name+"-narrow", svgOf(t, l, &SVGConfig{Width: 1}))
	}
}

// The ring stands where both SYNs' arrows are.
func TestSVGMeeting(t *testing.T) {
	for name, l := range svgScenes(t) {
		if l.Crossing == nil || l.Crossing.Met.IsZero() {
			continue
		}
		p := pictureOf(l, nil)
		if p.routes[0].level {
			continue // then the height alone means something
		}
		ring, ok := p.metAt(l.Crossing)
		if !ok {
			t.Errorf("%s: no ring", name)
			continue
		}
		var near [2]bool
		for i := range p.routes {
			r := &p.routes[i]
			if !r.e.bareSYN() {
				continue
			}
			for n := range len(p.lines[i]) - 1 {
				if q := (line{p.lines[i][n], p.lines[i][n+1]}); q.distance(ring) < 1.5 {
					near[(r.dir+1)/2] = true
				}
			}
		}
		if near != [2]bool{true, true} {
			t.Errorf("%s: the ring at %v is off the SYNs: %v", name, ring, near)
		}
	}
}

// distance is from a point to the stroke.
func (l line) distance(p point) float64 {
	dx, dy := l.q.x-l.p.x, l.q.y-l.p.y
	f := ((p.x-l.p.x)*dx + (p.y-l.p.y)*dy) / (dx*dx + dy*dy)
	f = min(max(f, 0), 1)
	return math.Hypot(p.x-l.p.x-f*dx, p.y-l.p.y-f*dy)
}

// What a picture must say, and where a capture cannot know, not say.
func TestSVGWords(t *testing.T) {
	scenes := svgScenes(t)
	for name, want := range map[string][]string{
		"crossed":         {"the SYNs met here, margin", "SYN-ACK 0 ack 1", "due 0.000, sent +1.8 µs", ">nat-a<"},
		"answered":        {"RST-ACK ack 1", "dashed: RST", "not seen at b", "first seen at nat-b"},
		"primed":          {"ICMP ttl exceeded", "from 203.0.113.254", "left out", "ttl 3"},
		"a-early-nat-a-0": {"missed by 49.943 ms", "half of the round trip", "seen +70.240 ms"},
		"unanswered-0":    {"one capture point", "+2041.325 ms"},
		"crossed-a-0":     {"captured here", "stroke-dasharray=\"6 4\""},
	} {
		svg := svgOf(t, scenes[name], nil)
		for _, words := range want {
			if !strings.Contains(svg, words) {
				t.Errorf("%s does not say %q", name, words)
			}
		}
	}
	if svg := svgOf(t, scenes["unanswered-0"], nil); strings.Contains(svg, "half of the round trip") {
		t.Error("a flow without an answer has no round trip")
	}
}

// Text of a capture is not markup, however it is put.
func TestSVGEscapes(t *testing.T) {
	bad := "<script>alert(1)</script> & \"quoted\" \x00\x1b\xff ]]> " + strings.Repeat("long ", 400)
	l := &Ladder{
		Lanes: []string{"a<b", "b\"&"}, Notes: []string{bad, bad}, Reference: testEpoch,
		Events: []Event{{Time: testEpoch, From: EndA, Flags: syn, Note: bad, Options: bad}, {Time: testEpoch.Add(ms), From: EndB, ICMP: bad}},
	}
	svg := svgOf(t, l, &SVGConfig{Title: bad, Lines: []string{bad, ""}, Label: bad})
	checkSVG(t, "escapes", svg)
	if strings.Contains(svg, "<script") || strings.Contains(svg, "\x1b") {
		t.Error("text became markup")
	}
}

func TestSVGNothing(t *testing.T) {
	for _, l := range []*Ladder{{}, {Lanes: []string{"a", "b"}}, {Lanes: []string{"a"}, Events: []Event{synOf(EndA, "")}}} {
		if err := l.WriteSVG(io.Discard, nil); !errors.Is(err, ErrNothingToDraw) {
			t.Errorf("%v", err)
		}
	}
}

// Packets microseconds apart and seconds apart in one picture: labels keep
// apart, and the scale is one.
func TestSVGRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := [][]string{{LaneA, LaneB}, {LaneA, LaneNATA, LaneB}, {LaneA, LaneNATA, LaneNATB, LaneB}}[rapid.IntRange(0, 2).Draw(t, "lanes")]
		l := &Ladder{Lanes: lanes, Reference: testEpoch}
		at := time.Duration(0)
		for range rapid.IntRange(1, 24).Draw(t, "packets") {
			at += rapid.SampledFrom([]time.Duration{0, 1, 3 * time.Microsecond, 200 * time.Microsecond, 7 * ms, 3 * time.Second}).Draw(t, "gap")
			e := Event{
				From: rapid.SampledFrom([]string{EndA, EndB}).Draw(t, "from"), Seq: rapid.Uint32().Draw(t, "seq"), Ack: 5,
				Flags: rapid.SampledFrom([]rawtcp.Flags{syn, synAck, ack, psh, rst, rstAck, fin}).Draw(t, "flags"), RelSeq: 123456789, RelAck: 7,
			}
			first := rapid.IntRange(0, len(lanes)-1).Draw(t, "first")
			seenBy := rapid.IntRange(1, len(lanes)).Draw(t, "sights")
			hop := rapid.SampledFrom([]time.Duration{0, 10 * time.Microsecond, 20 * ms}).Draw(t, "hop")
			for n := range seenBy {
				lane := first + n
				if e.From == EndB {
					lane = first - n
				}
				if lane < 0 || lane >= len(lanes) {
					break
				}
				e.Where, e.Time = lanes[lane], testEpoch.Add(at+time.Duration(n)*hop)
				l.Events = append(l.Events, e)
			}
		}
		slices.SortStableFunc(l.Events, func(x, y Event) int { return x.Time.Compare(y.Time) })
		var b bytes.Buffer
		if err := l.WriteSVG(&b, nil); err != nil {
			t.Fatal(err)
		}
		p := pictureOf(l, nil)
		for i := range p.layout.placed {
			for k := range i {
				if p.layout.placed[i].overlaps(&p.layout.placed[k]) {
					t.Fatalf("labels %d and %d overlap", i, k)
				}
			}
		}
		if s := b.String(); strings.Contains(s, "NaN") || strings.Contains(s, "Inf") {
			t.Fatal("a number that is none")
		}
	})
}

func TestStack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "n")
		want, heights := make([]float64, n), make([]float64, n)
		y := 0.0
		for i := range n {
			y += rapid.Float64Range(0, 40).Draw(t, "step")
			want[i], heights[i] = y, rapid.Float64Range(10, 50).Draw(t, "height")
		}
		at := stack(want, heights, 20, 3)
		for i := range n {
			if at[i] < 20-1e-9 || i > 0 && at[i] < at[i-1]+heights[i-1]+3-1e-9 {
				t.Fatalf("%d stands at %v after %v", i, at[i], at)
			}
		}
	})
}

func TestAxisUnits(t *testing.T) {
	for _, tt := range []struct {
		typical time.Duration
		at      []time.Duration
		unit    string
	}{
		{20 * ms, []time.Duration{0, 20 * ms, 40 * ms}, "ms"},
		{0, []time.Duration{0, 100, 200}, "ns"},
		{50 * time.Microsecond, []time.Duration{0, 50 * time.Microsecond, 90 * time.Microsecond}, "µs"},
		{0, []time.Duration{0, time.Second, 3 * time.Second}, "s"},
		{30 * time.Microsecond, []time.Duration{0, 30 * time.Microsecond, 5 * time.Second}, "ms"},
	} {
		var instants []time.Time
		for _, d := range tt.at {
			instants = append(instants, testEpoch.Add(d))
		}
		x := newTimeAxis(testEpoch, instants, tt.typical, 50, 500)
		ticks, unit := x.ticks(x.height(tt.at[len(tt.at)-1]) + 10)
		if unit != tt.unit || len(ticks) < 2 {
			t.Errorf("%v: unit %s, %d ticks", tt.at, unit, len(ticks))
		}
		for i := range len(ticks) - 1 {
			if ticks[i+1].y-ticks[i].y < tickGap*0.4 || ticks[i].text == ticks[i+1].text {
				t.Errorf("%v: ticks %+v", tt.at, ticks)
			}
		}
	}
}

func BenchmarkSVG(b *testing.B) {
	l := ladderScenes()["crossed"]
	for b.Loop() {
		if err := l.WriteSVG(io.Discard, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/picture")
}
