package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/rawtcp"
)

//go:embed analyze.html.tmpl
var pageTemplate string

//go:embed analyze.css
var pageStyle string

// mostPageFlows are written to a page: a browser must be able to open it.
const mostPageFlows = 200

// draw writes the files of --svg and --html.
func (res *analyzeResult) draw(f *analyzeFlags) error {
	if f.svg == "" && f.html == "" {
		return nil
	}
	stories := res.stories()
	if f.svg != "" {
		switch n := len(stories); {
		case n == 0:
			return exitWith(exitFailed, fmt.Errorf("--svg %s: there is no flow to draw", f.svg))
		case n > 1:
			return usagef("--svg draws one flow and there are %d: choose with --number N or --flow IP:PORT, or use --html", n)
		}
		s := &stories[0]
		if err := writeFile(f.svg, func(w io.Writer) error { return s.picture(w, 0) }); err != nil {
			return err
		}
	}
	if f.html == "" {
		return nil
	}
	return writeFile(f.html, func(w io.Writer) error { return res.writePage(w, stories) })
}

// writeFile makes a file whole or not at all.
func writeFile(name string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// picture draws a flow; width 0 is the default.
func (s *story) picture(w io.Writer, width float64) error {
	lines := []string{s.headline()}
	for _, d := range s.diagnosis {
		if d.Words != s.detail {
			lines = append(lines, d.String())
		}
	}
	return s.ladder.WriteSVG(w, &capture.SVGConfig{Width: width, Title: s.flow.String(), Lines: lines})
}

// headline is the verdict in a sentence.
func (s *story) headline() string {
	if s.detail == "" {
		return s.verdict.Words()
	}
	return s.verdict.Words() + ": " + s.detail
}

// handshakesPage is what the template shows.
type handshakesPage struct {
	Title     string
	Style     template.CSS
	StyleHash string
	Version   string
	Files     []pageFile
	Flows     []pageFlow
	Left      int // flows that the page has no room for
}

type pageFile struct {
	Name, Counts string
	Remarks      []string
}

type pageFlow struct {
	Number         int
	Flow, Verdict  string
	Good           bool
	Headline       string
	When           string
	Findings       []pageFinding
	Facts          []string
	Wide, Narrow   template.HTML
	Rows           []pageRow
	Several, Notes bool // columns that say something
}

type pageFinding struct {
	Class, Confidence, Words, Lead, Confirm string
	Packets                                 []pageRef
}

type pageRef struct{ Flow, Packet int }

type pageRow struct {
	N                                                int
	At, Where, From, Flags, Seq, Ack, Len, TTL, Note string
	Bad                                              bool
}

func (res *analyzeResult) writePage(w io.Writer, stories []story) error {
	sum := sha256.Sum256([]byte(pageStyle))
	p := handshakesPage{
		Style: template.CSS(pageStyle), StyleHash: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]), Version: version(),
		Left: max(len(stories)-mostPageFlows, 0),
	}
	var names []string
	for _, a := range res.Files {
		names = append(names, filepath.Base(a.title()))
		f := pageFile{Name: a.title(), Counts: a.counts(), Remarks: a.remarks()}
		if a.err != nil {
			f.Remarks = append(f.Remarks, a.err.Error())
		}
		p.Files = append(p.Files, f)
	}
	p.Title = "Handshakes in " + strings.Join(names, " and ")
	for i := range stories[:len(stories)-p.Left] {
		flow, err := stories[i].page(i + 1)
		if err != nil {
			return err
		}
		p.Flows = append(p.Flows, flow)
	}
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return err
	}
	return t.Execute(w, &p)
}

func (s *story) page(number int) (pageFlow, error) {
	f := pageFlow{
		Number: number, Flow: s.flow.String(), Verdict: s.verdict.Words(), Headline: s.headline(), Facts: s.facts,
		Good: s.verdict == capture.Ordinary || s.verdict == capture.Simultaneous,
	}
	if s.only != "" {
		f.Headline += " (only in " + s.only + ")"
	}
	if !s.reference.IsZero() {
		f.When = s.reference.UTC().Format("2006-01-02 15:04:05.000000000 UTC")
	}
	for _, d := range s.diagnosis {
		find := pageFinding{Class: string(d.Class), Words: d.Words, Confirm: d.Confirm, Lead: "Next"}
		if d.Confidence != capture.Certain {
			find.Confidence = string(d.Confidence)
			find.Lead = "To be sure"
		}
		for _, i := range d.Events {
			find.Packets = append(find.Packets, pageRef{number, i + 1})
		}
		f.Findings = append(f.Findings, find)
	}
	for i, target := range []*template.HTML{&f.Wide, &f.Narrow} {
		var b bytes.Buffer
		cfg := capture.SVGConfig{Width: []float64{960, 480}[i], Label: "ladder of " + s.flow.String()}
		if err := s.ladder.WriteSVG(&b, &cfg); err != nil {
			return f, err
		}
		*target = template.HTML(b.String()) // escaped where it was made: see capture.Ladder.WriteSVG
	}
	for i := range s.events {
		row := pageRowOf(i+1, &s.events[i])
		f.Several = f.Several || row.Where != ""
		f.Notes = f.Notes || row.Note != ""
		f.Rows = append(f.Rows, row)
	}
	return f, nil
}

// pageRowOf is one packet of the table.
func pageRowOf(n int, e *capture.Event) pageRow {
	r := pageRow{
		N: n, At: fmt.Sprintf("%.6f", float64(e.At)/float64(time.Millisecond)), Where: e.Where, From: e.From,
		Flags: e.Flags.String(), Len: fmt.Sprint(e.Len), Seq: fmt.Sprint(e.RelSeq),
		Bad: e.ICMP != "" || e.Flags&rawtcp.RST != 0,
	}
	if e.Flags&rawtcp.ACK != 0 {
		r.Ack = fmt.Sprint(e.RelAck)
	}
	if e.TTL > 0 {
		r.TTL = fmt.Sprint(e.TTL)
	}
	var notes []string
	if e.ICMP != "" {
		r.Flags, r.Len = "ICMP", ""
		notes = append(notes, e.ICMP)
	}
	if e.Options != "" {
		notes = append(notes, e.Options)
	}
	if e.Retransmission {
		notes = append(notes, "retransmission")
	}
	if e.Note != "" {
		notes = append(notes, e.Note)
	}
	if e.Omitted > 0 {
		notes = append(notes, plural(int64(e.Omitted), "packet")+" before it not listed")
	}
	r.Note = strings.Join(notes, "; ")
	return r
}
