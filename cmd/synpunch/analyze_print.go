package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/synpunch/synpunch/capture"
)

// write prints the story in text.
func (res *analyzeResult) write(w io.Writer, f *analyzeFlags) error {
	p := &analyzePrinter{w: w, f: f, cfg: ladderConfig(w, f.ascii), n: max(f.number-1, 0)}
	for _, s := range res.stories() {
		p.story(&s)
	}
	for i, a := range res.Files {
		if i == 0 && p.told {
			p.printf("\n")
		}
		p.file(a)
	}
	return p.err
}

// story is what is told of one flow, whatever it comes from.
type story struct {
	verdict   capture.Verdict
	detail    string
	flow      capture.Flow
	only      string // the one of two files that has it
	reference time.Time
	events    []capture.Event
	diagnosis []capture.Finding
	facts     []string
	ladder    *capture.Ladder
	write     func(io.Writer, *capture.LadderConfig) error
}

// stories are all flows in the order in which they are counted.
func (res *analyzeResult) stories() []story {
	var list []story
	flows := func(fs []analyzedFlow, only string) {
		for _, f := range fs {
			list = append(list, story{
				verdict: f.Verdict, detail: f.Detail, flow: f.Flow, only: only, reference: f.Reference, events: f.Events,
				diagnosis: f.Diagnosis, facts: f.Facts(), ladder: f.Ladder(),
				write: func(w io.Writer, c *capture.LadderConfig) error { return capture.WriteLadder(w, f.Timeline, c) },
			})
		}
	}
	for _, j := range res.Joined {
		list = append(list, story{
			verdict: j.Verdict, detail: j.Detail, flow: j.FlowA, reference: j.Reference, events: j.Events,
			diagnosis: j.Diagnosis, facts: []string{j.OffsetWords()}, ladder: j.Ladder(), write: j.WriteLadder,
		})
	}
	if len(res.Files) == 2 {
		flows(res.onlyA, res.Files[0].Name)
		flows(res.onlyB, res.Files[1].Name)
		return list
	}
	for _, p := range res.Files[0].Passages {
		list = append(list, story{
			verdict: p.Verdict, detail: p.Detail, flow: p.Flows[0], reference: p.Reference, events: p.Events,
			diagnosis: p.Diagnosis, facts: p.Facts(), ladder: p.Ladder(), write: p.WriteLadder,
		})
	}
	flows(res.Files[0].Flows, "")
	return list
}

type analyzePrinter struct {
	w    io.Writer
	f    *analyzeFlags
	cfg  *capture.LadderConfig
	n    int  // flows counted
	told bool // something was printed
	err  error
}

func (p *analyzePrinter) printf(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if p.f.ascii {
		s = capture.ASCII(s)
	}
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

// story prints one flow.
func (p *analyzePrinter) story(s *story) {
	p.n++
	if p.f.brief {
		p.told = true
		p.printf("%s\n", s.brief())
		return
	}
	if p.told {
		p.printf("\n\n")
	}
	p.told = true
	when := "no time in the file"
	if !s.reference.IsZero() {
		when = "0.000 is " + s.reference.UTC().Format("2006-01-02 15:04:05.000000 UTC")
	}
	p.printf("flow %d   %s\n", p.n, when)
	if s.only != "" {
		p.printf("only in %s:\n", s.only)
	}
	if p.err == nil {
		p.err = s.write(p.w, p.cfg)
	}
	if p.err == nil {
		p.err = capture.WriteDiagnosis(p.w, s.diagnosis, p.cfg)
	}
}

// brief is the flow in one line; the class of what explains a failure ends it.
func (s *story) brief() string {
	line := fmt.Sprintf("%-12s  %s  %s", s.verdict, s.flow, s.detail)
	if s.only != "" {
		line += " (only in " + s.only + ")"
	}
	if len(s.diagnosis) > 0 && string(s.diagnosis[0].Class) != string(s.verdict) {
		line += " -> " + string(s.diagnosis[0].Class)
	}
	return line
}

// file prints the lines about a capture as a whole.
func (p *analyzePrinter) file(a *analyzed) {
	name := a.title()
	if a.err != nil && a.Summary.Packets == 0 {
		return // the error says it
	}
	p.printf("%s: %s\n", name, a.counts())
	for _, line := range a.remarks() {
		p.printf("%s: %s\n", name, line)
	}
	if a.Summary.Filtered > 0 && a.Summary.Flows == 0 {
		p.printf("%s: no flow matches --flow %s\n", name, p.f.flow)
	}
}

// counts says what was in the file.
func (a *analyzed) counts() string {
	var counts []string
	for _, v := range capture.Verdicts() {
		if n := a.Summary.Verdicts[v]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, v))
		}
	}
	words := fmt.Sprintf("%s, %d of TCP, %s", plural(a.Summary.Packets, "packet"), a.Summary.TCP, plural(int64(a.Summary.Flows), "flow"))
	if len(counts) > 0 {
		words += ": " + strings.Join(counts, ", ")
	}
	return words
}

// remarks are what is odd about the file.
func (a *analyzed) remarks() []string {
	var lines []string
	if a.Dropped != nil && *a.Dropped > 0 {
		lines = append(lines, fmt.Sprintf("the capturing system lost %d packets: what is missing here may have been on the wire", *a.Dropped))
	}
	return append(lines, a.Summary.Describe()...)
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
