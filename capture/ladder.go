package capture

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// The lanes of a ladder with both NATs, from left to right.
const (
	LaneA    = EndA
	LaneNATA = "nat-a"
	LaneNATB = "nat-b"
	LaneB    = EndB
)

// Ladder is a picture of a handshake in text: one vertical lane for each place,
// time running down, one arrow for each packet.
//
//	    ms    a                                          b
//	          │                                          │
//	  0.000   ├─ SYN seq 0 ─────────────────── ╌ ╌       │
//	 +0.021   │       ╌ ╌ ─────────────────── SYN seq 0 ─┤
//	+10.010   │                    × the SYNs met here   │
//	+20.013   │       ╌ ╌ ─────────────────── SYN seq 0 ▶│
//
// A packet that several lanes saw is one arrow through them as long as nothing
// else happened meanwhile. Otherwise it is drawn in parts: what fades out was
// under way, and fades in again where it arrived. An arrow that ends with x was
// not seen at the next lane.
type Ladder struct {
	Lanes  []string // two to four names, left (a's side) to right (b's side)
	Notes  []string // one for each lane, drawn below its name where there is room; nil = none
	Events []Event  // Where names the lane; all others were seen by one capture point somewhere between the outer lanes
	// Crossing is drawn where the SYNs met; nil = none.
	Crossing *Crossing
	// Reference is what the times count from; zero = the first event.
	Reference time.Time
	// Omitted is the number of packets after the last event.
	Omitted int
	// ToA and ToB are for events of one capture point: how long a packet takes
	// from there to each end, reckoned as half of the way there and back. WriteSVG
	// then draws arrows at a slant. Both 0 = not known.
	ToA, ToB time.Duration
}

// LadderConfig sets how a ladder looks. Nil works.
type LadderConfig struct {
	Width int  // columns; 0 = 80; from 110 on notes stand in a column of their own; at least 60
	ASCII bool // no character beyond ASCII
	Color bool // ANSI colours
}

const (
	defaultWidth = 80
	minWidth     = 60
	wideWidth    = 110
)

func (c *LadderConfig) get() LadderConfig {
	var v LadderConfig
	if c != nil {
		v = *c
	}
	if v.Width == 0 {
		v.Width = defaultWidth
	}
	v.Width = max(v.Width, minWidth)
	return v
}

// WriteLadder writes the story of one flow: ends, verdict, ladder, and what
// became of the flow.
func WriteLadder(w io.Writer, tl *Timeline, cfg *LadderConfig) error {
	c := cfg.get()
	var p page
	p.text(styleBold, "a "+tl.Flow.A.String()+"   b "+tl.Flow.B.String()+incarnationWords(tl))
	p.wrap(styleNone, c.Width, "", verdictLine(tl.Verdict, tl.Detail))
	p.text(styleNone, "")
	tl.Ladder().draw(&p, c)
	for i, line := range tl.Facts() {
		if i == 0 {
			p.text(styleNone, "")
		}
		p.wrap(styleNone, c.Width, "", line)
	}
	return p.write(w, c)
}

func incarnationWords(tl *Timeline) string {
	if tl.Incarnation > 1 {
		return fmt.Sprintf("   (%s on these ports)", ordinal(tl.Incarnation))
	}
	return ""
}

func ordinal(n int) string {
	switch {
	case n%100/10 == 1:
	case n%10 == 1:
		return fmt.Sprintf("%dst", n)
	case n%10 == 2:
		return fmt.Sprintf("%dnd", n)
	case n%10 == 3:
		return fmt.Sprintf("%drd", n)
	}
	return fmt.Sprintf("%dth", n)
}

func verdictLine(v Verdict, detail string) string {
	if detail == "" {
		return v.Words()
	}
	return v.Words() + ": " + detail
}

// Ladder is the flow's ladder with two lanes.
func (tl *Timeline) Ladder() *Ladder {
	l := &Ladder{
		Lanes: []string{EndA, EndB}, Events: tl.Events, Crossing: tl.Crossing,
		Reference: tl.Reference, Omitted: tl.Omitted, ToA: tl.toA, ToB: tl.toB,
	}
	switch {
	case tl.A.Local:
		l.Notes = []string{"captured here", ""}
	case tl.B.Local:
		l.Notes = []string{"", "captured here"}
	}
	return l
}

// Facts are sentences on what was agreed and what became of the flow.
func (tl *Timeline) Facts() []string { return tl.facts("") }

// facts is Facts with other words for when it was established, if not "".
func (tl *Timeline) facts(established string) []string {
	var lines []string
	if tl.Established {
		s := established
		if s == "" {
			s = "established " + signedMS(tl.EstablishedAt) + " ms"
		}
		if tl.RoundTrip > 0 {
			s += ", round trip " + inMS(tl.RoundTrip)
		}
		if agreed := tl.agreedWords(); agreed != "" {
			s += "; " + agreed
		}
		lines = append(lines, s)
	}
	if tl.A.Sent+tl.B.Sent > 0 {
		s := fmt.Sprintf("data a→b %s, b→a %s", tl.A.dataWords(tl.OneWay), tl.B.dataWords(tl.OneWay))
		if tl.Established || tl.Verdict == Incomplete {
			s += "; " + tl.repeatWords()
		}
		lines = append(lines, s)
	} else if n := tl.Retransmissions; n > 0 {
		lines = append(lines, plural(n, "retransmission"))
	}
	if words := closedWords[tl.Closed]; words != "" {
		lines = append(lines, words)
	}
	if tl.SameAs > 0 {
		lines = append(lines, fmt.Sprintf("the packets of flow %d once more: a NAT at the capture point rewrote the addresses", tl.SameAs))
	}
	if n := tl.A.Missed + tl.B.Missed; n > 0 {
		lines = append(lines, fmt.Sprintf("%s acknowledged that this capture does not have: it dropped packets or began late", bytesWords(n)))
	}
	return lines
}

var closedWords = map[string]string{
	ClosedHalf:     "one end sent FIN",
	ClosedFIN:      "closed by FIN from both ends",
	ClosedResetA:   "ended by RST from a",
	ClosedResetB:   "ended by RST from b",
	ClosedReplaced: "ended by a new SYN on the same ports",
}

func (tl *Timeline) agreedWords() string {
	var parts []string
	if tl.A.MSS > 0 && tl.B.MSS > 0 {
		parts = append(parts, fmt.Sprintf("mss %d/%d", tl.A.MSS, tl.B.MSS))
	}
	if tl.SACK {
		parts = append(parts, "sack")
	}
	if tl.Timestamps {
		parts = append(parts, "timestamps")
	}
	if tl.WindowScaling {
		parts = append(parts, fmt.Sprintf("wscale %d/%d", *tl.A.WScale, *tl.B.WScale))
	}
	return strings.Join(parts, ", ")
}

func (tl *Timeline) repeatWords() string {
	handshake := tl.Retransmissions - tl.DataRetransmissions
	switch {
	case tl.Retransmissions == 0:
		return "no retransmission"
	case handshake == 0:
		return plural(tl.DataRetransmissions, "retransmission")
	case tl.DataRetransmissions == 0:
		return plural(handshake, "retransmission") + " in the handshake, none of data"
	}
	return fmt.Sprintf("%s in the handshake, %d of data", plural(handshake, "retransmission"), tl.DataRetransmissions)
}

// dataWords says how much of one end's data the other acknowledged.
func (s *Side) dataWords(oneWay bool) string {
	if s.Acked == s.Sent || oneWay {
		return bytesWords(s.Sent)
	}
	return fmt.Sprintf("%s (%s acknowledged)", bytesWords(s.Sent), bytesWords(s.Acked))
}

func bytesWords(n int64) string {
	const units = "KMGTPE"
	if n < 10<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	if v == math.Trunc(v) {
		return fmt.Sprintf("%.0f %ciB", v, units[i])
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// WriteLadder writes the story of a joined flow.
func (j *Joined) WriteLadder(w io.Writer, cfg *LadderConfig) error {
	c := cfg.get()
	var p page
	if j.rewritten {
		p.text(styleBold, "at a "+j.FlowA.String())
		p.text(styleBold, "at b "+j.FlowB.String())
	} else {
		p.text(styleBold, "a "+j.FlowA.A.String()+"   b "+j.FlowA.B.String())
	}
	p.wrap(styleNone, c.Width, "", verdictLine(j.Verdict, j.Detail))
	p.text(styleNone, "")
	j.Ladder().draw(&p, c)
	p.text(styleNone, "")
	line := j.OffsetWords()
	if j.DelayAB != 0 && j.DelayBA != 0 {
		line += fmt.Sprintf("; shortest delay a→b %s, b→a %s", inMS(j.DelayAB), inMS(j.DelayBA))
	}
	p.wrap(styleNone, c.Width, "", line)
	if lost := j.LostAB + j.LostBA; lost > 0 {
		p.wrap(styleNone, c.Width, "", fmt.Sprintf("packets of the opening that did not arrive: %d of a, %d of b", j.LostAB, j.LostBA))
	}
	best := *j.A
	best.EstablishedAt = j.EstablishedA
	if !best.Established && j.B.Established {
		best = *j.B
		best.EstablishedAt = j.EstablishedB
	}
	for _, line := range best.facts(j.establishedWords()) {
		p.wrap(styleNone, c.Width, "", line)
	}
	return p.write(w, c)
}

// establishedWords says when each end had both SYNs acknowledged.
func (j *Joined) establishedWords() string {
	if j.A.Established && j.B.Established {
		return "established at a " + signedMS(j.EstablishedA) + " ms, at b " + signedMS(j.EstablishedB) + " ms"
	}
	return ""
}

// Ladder is the flow's ladder with two lanes, each packet seen at both.
func (j *Joined) Ladder() *Ladder {
	return &Ladder{
		Lanes: []string{EndA, EndB}, Events: j.Events, Crossing: j.Crossing, Reference: j.Reference,
		Notes: []string{j.FlowA.A.String(), j.FlowB.B.String()},
	}
}

// Write draws the ladder.
func (l *Ladder) Write(w io.Writer, cfg *LadderConfig) error {
	c := cfg.get()
	var p page
	l.draw(&p, c)
	return p.write(w, c)
}

// signedMS prints a time of the ladder: milliseconds with microseconds.
func signedMS(d time.Duration) string {
	d = d.Round(time.Microsecond)
	if d == 0 {
		return "0.000"
	}
	return fmt.Sprintf("%+.3f", float64(d)/float64(time.Millisecond))
}
