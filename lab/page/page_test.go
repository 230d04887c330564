package page

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/net/html"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sweep"
)

const ms = int64(time.Millisecond)

// config is a small sweep with two arms, of which one fails outside the window.
func config(names ...string) *sweep.Config {
	cfg := &sweep.Config{
		World: sweep.Sim, Trials: 3, Seed: 7, Captures: sweep.CaptureAll,
		Axes: []sweep.Grid{{Axis: sweep.Skew, From: -30 * ms, To: 30 * ms, Step: 15 * ms}},
	}
	for i, name := range names {
		side := sweep.Side{NAT: lab.NATLinuxRST, Engine: []string{"connect", "repair"}[i%2]}
		cfg.Arms = append(cfg.Arms, sweep.Arm{
			Name: name, A: side, B: side, DelayAB: 20 * time.Millisecond, DelayBA: 20 * time.Millisecond,
			ClockError: time.Millisecond, Jitter: time.Millisecond,
		})
	}
	return cfg
}

// made makes a sweep in a directory.
func made(t testing.TB, cfg *sweep.Config, command ...string) string {
	t.Helper()
	dir := t.TempDir()
	j, err := sweep.Create(dir, &sweep.Manifest{Config: *cfg, Command: command})
	if err != nil {
		t.Fatal(err)
	}
	_, err = sweep.Run(t.Context(), cfg, &sweep.Options{Record: j.Add, Dir: dir})
	if err = errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t testing.TB, dir string) *Sweep {
	t.Helper()
	s, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func written(t testing.TB, s *Sweep, cfg *Config) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(&b, cfg); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// check says what is wrong with a page: HTML that does not parse as it was meant, an id
// that is there twice, a link that leaves the page, a picture that is not XML, a script,
// an attribute that runs one, a heading out of order, a table without headers.
func check(t *testing.T, text string) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	var refs []string
	level := 0
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "script", "iframe", "object", "embed", "img", "base", "form", "foreignobject", "image", "use":
			t.Errorf("a page has <%s>", n.Data)
		case "h1", "h2", "h3":
			if now := int(n.Data[1] - '0'); now > level+1 {
				t.Errorf("<%s> follows h%d: %s", n.Data, level, inside(n))
			} else {
				level = now
			}
		case "table":
			if !has(n, "th") || attr(n, "aria-labelledby") == "" {
				t.Error("a table without headers or name")
			}
		case "svg":
			if attr(n, "role") != "img" || attr(n, "aria-label") == "" {
				t.Error("a picture without a name")
			}
		}
		for _, a := range n.Attr {
			switch {
			case a.Key == "id":
				if ids[a.Val] {
					t.Errorf("id %q is there twice", a.Val)
				}
				ids[a.Val] = true
			case a.Key == "aria-labelledby", a.Key == "aria-describedby":
				refs = append(refs, a.Val)
			case a.Key == "href" && strings.HasPrefix(a.Val, "#"):
				refs = append(refs, a.Val[1:])
			case a.Key == "href" && n.Data == "link" && a.Val == "data:,":
			case a.Key == "href", a.Key == "src", a.Key == "srcset", a.Key == "style", strings.HasPrefix(a.Key, "on"):
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
			if strings.Contains(a.Val, "url(") || strings.Contains(strings.ToLower(a.Val), "javascript:") && n.Data != "svg" {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
		}
	}
	for _, r := range refs {
		if !ids[r] {
			t.Errorf("%q is referred to and not there", r)
		}
	}
	for part := range strings.SplitSeq(text, "<svg ") {
		if end := strings.Index(part, "</svg>"); end >= 0 {
			wellFormed(t, "<svg "+part[:end+len("</svg>")])
		}
	}
	return doc
}

func wellFormed(t *testing.T, svg string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Errorf("a picture is not XML: %v\n%.200s", err, svg)
			return
		}
	}
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == name {
			return true
		}
	}
	return false
}

// inside is the text of an element.
func inside(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// elements lists those of a name.
func elements(doc *html.Node, name string) (list []*html.Node) {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			list = append(list, n)
		}
	}
	return list
}

// TestPage: the numbers of a sweep are on the page, with pictures of its trials.
func TestPage(t *testing.T) {
	dir := made(t, config("connect", "repair"), "synpunch", "sweep", "--arm", "connect=--engine connect")
	s := read(t, dir)
	text := written(t, s, nil)
	doc := check(t, text)
	page := inside(elements(doc, "body")[0])
	all := s.Summary.Cells
	var won, of int
	for _, c := range all {
		if c.Arm == "connect" {
			won, of = won+c.Established.Count, of+c.Established.Of
		}
	}
	if won == 0 || won == of {
		t.Fatalf("%d of %d: a sweep that shows nothing", won, of)
	}
	for _, want := range []string{
		"How far apart may the two SYNs be?", "synpunch sweep, simulated",
		fmt.Sprintf("connect: both ends established in %d of %d trials", won, of),
		"Varied: skew from −30\u00a0ms to 30\u00a0ms in steps of 15\u00a0ms. 5 points, 3 trials of each arm at each point",
		"synpunch sweep --arm 'connect=--engine connect'",
		"What share connects?", "What does the arm make of it?", "linux-rst",
		"Trial 0: ", ", refused", s.Manifest.Go, s.Manifest.Kernel,
		"synpunch analyze " + quote(filepath.ToSlash(filepath.Join(dir, s.Rows[0].Capture))),
	} {
		if !strings.Contains(page, strings.Join(strings.Fields(want), " ")) {
			t.Errorf("the page does not say %q", want)
		}
	}
	trials := elements(doc, "article")
	if len(trials) != 3 { // connect established and refused, repair established
		t.Errorf("%d trials", len(trials))
	}
	for _, tr := range trials {
		if !has(tr, "svg") || !strings.Contains(inside(tr), "SYN") {
			t.Errorf("no ladder: %s", inside(tr))
		}
	}
	if rows := elements(doc, "tr"); len(rows) < 2+1+10 {
		t.Errorf("%d rows", len(rows))
	}
	if again := written(t, s, nil); again != text {
		t.Error("two pages of one sweep differ")
	}
}

// TestPolicy: the page's policy allows its style, and nothing else.
func TestPolicy(t *testing.T) {
	text := written(t, read(t, made(t, config("one"))), nil)
	doc := check(t, text)
	policy := ""
	for _, m := range elements(doc, "meta") {
		if attr(m, "http-equiv") == "Content-Security-Policy" {
			policy = attr(m, "content")
		}
	}
	if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "style-src '"+styleHash()+"'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	_, rest, _ := strings.Cut(text, "<style>")
	got, _, _ := strings.Cut(rest, "</style>")
	if got != style {
		t.Error("the style on the page is not the one that the policy allows")
	}
}

// TestTwoAxes draws maps.
func TestTwoAxes(t *testing.T) {
	cfg := config("connect", "repair")
	cfg.Trials, cfg.Captures = 1, sweep.CaptureNone
	cfg.Axes = append(cfg.Axes, sweep.Grid{Axis: sweep.Delay, From: 10 * ms, To: 30 * ms, Step: 10 * ms})
	doc := check(t, written(t, read(t, made(t, cfg)), nil))
	page := inside(doc)
	for _, want := range []string{"Which skew and delay let two SYNs meet?", "delay varied", "edge in theory", "The packets of this trial were not kept."} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// TestEveryAxis makes a page for each axis.
func TestEveryAxis(t *testing.T) {
	for _, a := range sweep.Axes() {
		cfg := config("one")
		cfg.Trials, cfg.Captures = 1, sweep.CaptureNone
		cfg.Axes = []sweep.Grid{{Axis: a, From: 1, To: 3, Step: 1}}
		if a == sweep.RSTDelay {
			cfg.Arms[0].A.NAT, cfg.Arms[0].B.NAT = "eim,unsolicited=rst", "eim,unsolicited=rst"
		}
		doc := check(t, written(t, read(t, made(t, cfg)), nil))
		if h := elements(doc, "h1"); len(h) != 1 || inside(h[0]) != questions[a] || questions[a] == "" {
			t.Errorf("%s: heading %q", a, inside(h[0]))
		}
	}
}

const hostile = `</style></svg><script>alert(1)</script><img src=x onerror=alert(2)>"'&{{.}}`

// TestHostile: whatever the files say is text on the page.
func TestHostile(t *testing.T) {
	cfg := config(hostile, hostile+"2")
	dir := made(t, cfg, "synpunch", hostile)
	s := read(t, dir)
	s.Name = hostile
	m := s.Manifest
	m.Synpunch, m.Go, m.OS, m.Arch, m.Kernel = hostile, hostile, hostile, hostile, hostile
	for i := range s.Rows {
		r := &s.Rows[i]
		r.Error, r.Regime = hostile, hostile
		if i%2 == 0 {
			r.Outcome, r.Capture = hostile, hostile
		}
	}
	s.Damage = []Damage{{3, errors.New(hostile)}}
	s.Summary.Config.Arms[0].A.NAT = hostile
	s.Summary.Config.Arms[0].A.Engine = hostile
	text := written(t, s, &Config{Title: hostile, Command: []string{hostile}})
	doc := check(t, text)
	if strings.Contains(text, "<script") || strings.Contains(text, "<img") {
		t.Error("something came through")
	}
	if n := strings.Count(inside(doc), "alert(1)"); n < 10 {
		t.Errorf("the text is there %d times only", n)
	}
}

// TestEmpty: a sweep of which no trial is made gives a page that says so.
func TestEmpty(t *testing.T) {
	dir := t.TempDir()
	j, err := sweep.Create(dir, &sweep.Manifest{Config: *config("one", "two")})
	if err = errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	page := inside(check(t, written(t, read(t, dir), nil)))
	if !strings.Contains(page, "The sweep is not complete: 0 of 30 trials are there.") {
		t.Error(page)
	}
	if err := os.Remove(filepath.Join(dir, sweep.TrialsName)); err != nil {
		t.Fatal(err)
	}
	check(t, written(t, read(t, dir), nil))
}

// TestDamage: what cannot be read is told with its line, and the rest is drawn.
func TestDamage(t *testing.T) {
	dir := made(t, config("one"))
	name := filepath.Join(dir, sweep.TrialsName)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	foreign := strings.Replace(lines[5], `"point":`, `"point":9`, 1)
	for i, want := range map[string][]int{
		strings.Join(slices.Insert(slices.Clone(lines), 2, "{broken\n"), ""):     {3},
		strings.Join(slices.Insert(slices.Clone(lines), 4, lines[0]), ""):        {5},
		strings.Join(slices.Insert(slices.Clone(lines), 6, "\n"), ""):            nil,
		strings.Join(lines, "") + `{"n":99,"poi`:                                 nil,
		strings.Join(slices.Replace(slices.Clone(lines), 5, 6, foreign), ""):     {6},
		strings.Join(lines[:3], "") + "\x00\xff\n" + strings.Join(lines[3:], ""): {4},
	} {
		if err := os.WriteFile(name, []byte(i), 0o600); err != nil {
			t.Fatal(err)
		}
		s := read(t, dir)
		var got []int
		for _, d := range s.Damage {
			got = append(got, d.Line)
		}
		good := len(lines) - 1
		if strings.Contains(i, foreign) {
			good--
		}
		if !slices.Equal(got, want) || len(s.Rows) != good || s.Summary.Done != good {
			t.Errorf("damaged lines %v, want %v; %d rows, %d summed up, want %d", s.Damage, want, len(s.Rows), s.Summary.Done, good)
		}
		page := inside(check(t, written(t, s, nil)))
		if want != nil && !strings.Contains(page, fmt.Sprintf("trials.jsonl, line %d: ", want[0])) {
			t.Errorf("the page does not tell line %d", want[0])
		}
	}
}

// TestMuchDamage: a page does not list a thousand lines.
func TestMuchDamage(t *testing.T) {
	manifest, err := json.Marshal(sweep.Manifest{Format: sweep.Format, Version: sweep.Version, Config: *config("one")})
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadFS(fstest.MapFS{
		sweep.ManifestName: {Data: manifest},
		sweep.TrialsName:   {Data: []byte(strings.Repeat("no\n", 1000))},
	}, "memory")
	if err != nil || len(s.Damage) != 1000 {
		t.Fatal(len(s.Damage), err)
	}
	doc := check(t, written(t, s, nil))
	if n := len(elements(doc, "li")); n > 40 || !strings.Contains(inside(doc), "… and 990 more lines") {
		t.Errorf("%d items", n)
	}
}

// TestNoSweep: what is wrong with a directory is said.
func TestNoSweep(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{filepath.Join(dir, "no"): fs.ErrNotExist, file: ErrNotSweep, dir: ErrNotSweep} {
		if _, err := Read(name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	for text, want := range map[string]string{
		"{":  "sweep.json: ",
		"{}": "format",
		`{"format":"synpunch/sweep","version":99}`: "version 99",
		`{"format":"synpunch/sweep","version":1}`:  "sweep.json: ",
	} {
		if err := os.WriteFile(filepath.Join(dir, sweep.ManifestName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// TestTrials: the trials that are asked for are shown, in that order, once.
func TestTrials(t *testing.T) {
	s := read(t, made(t, config("one", "two")))
	doc := check(t, written(t, s, &Config{Trials: []int64{5, 3, 5}}))
	var titles []string
	for _, a := range elements(doc, "article") {
		titles = append(titles, attr(a, "aria-labelledby"))
	}
	if !slices.Equal(titles, []string{"trial-5", "trial-3"}) {
		t.Errorf("trials %v", titles)
	}
	if err := s.Write(io.Discard, &Config{Trials: []int64{30}}); !errors.Is(err, ErrTrial) || !strings.Contains(err.Error(), "trials 0 to 29") {
		t.Error(err)
	}
}

// TestCapture: packets that are not there, not packets, cut short or outside of the
// directory are told, and the page is made.
func TestCapture(t *testing.T) {
	dir := made(t, config("one"))
	s := read(t, dir)
	whole := filepath.Join(dir, s.Rows[0].Capture)
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "outside.pcapng")
	if err := os.WriteFile(outside, good, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.pcapng")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
		draw bool
	}{
		{"captures/none.pcapng", nil, "no such file", false},
		{"captures/text.pcapng", []byte("this is no capture"), "captures/text.pcapng: ", false},
		{"captures/short.pcapng", good[:len(good)-60], "captures/short.pcapng: ", true},
		{"captures/head.pcapng", good[:28], "captures/head.pcapng", false},
		{"../" + filepath.Base(dir) + "/" + s.Rows[0].Capture, nil, "invalid", false},
		{outside, nil, "invalid", false},
		{"link.pcapng", nil, "escapes", false},
	} {
		if c.data != nil {
			if err := os.WriteFile(filepath.Join(dir, c.name), c.data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s.Rows[0].Capture = c.name
		a := elements(check(t, written(t, s, &Config{Trials: []int64{0}})), "article")[0]
		if got := inside(a); !strings.Contains(got, c.want) || has(a, "svg") != c.draw {
			t.Errorf("%s: want %q, a ladder %v: %s", c.name, c.want, c.draw, got)
		}
	}
}

// TestLadder: a trial has one opening, at all four places, with A at the left.
func TestLadder(t *testing.T) {
	s := read(t, made(t, config("connect", "repair")))
	for i := range s.Rows {
		r := &s.Rows[i]
		list, err := openings(s.files, r.Capture, r.At)
		if err != nil || len(list) != 1 {
			t.Fatalf("trial %d: %d openings, %v", r.N, len(list), err)
		}
		l := list[0].Ladder()
		if !slices.Equal(l.Lanes, capture.Lanes()) || !strings.HasPrefix(l.Notes[0], "10.0.1.2") {
			t.Errorf("trial %d: lanes %v, %v", r.N, l.Lanes, l.Notes)
		}
		if r.Regime == "crossed" && (l.Crossing == nil || int64(l.Crossing.Margin) != *r.MarginNS) {
			t.Errorf("trial %d: crossing %+v, margin %s", r.N, l.Crossing, known(r.MarginNS))
		}
	}
}

// TestWriteFails hands on what the writer says.
func TestWriteFails(t *testing.T) {
	s := read(t, made(t, config("one")))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	if err := s.Write(w, nil); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}
