package capture

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// Class names what a Finding is about. docs/analyze.md has a table of them.
type Class string

// The classes, in the order in which that table lists them.
const (
	ClassOrdinary      Class = "ordinary"          // one end opened, the other answered
	ClassSimultaneous  Class = "simultaneous"      // an end got a SYN while its own was outstanding
	ClassWindowMissed  Class = "window-missed"     // a SYN came to the other end before that end's own had left
	ClassNATReset      Class = "nat-reset"         // a NAT or another device on the way answered the SYN with RST
	ClassNobodyListens Class = "nobody-listens"    // the host answered the SYN with RST
	ClassReset         Class = "reset"             // a RST answered the SYN; by whom cannot be told
	ClassICMP          Class = "icmp"              // an ICMP error answered the SYN
	ClassUnanswered    Class = "syn-unanswered"    // nothing answered the SYN
	ClassSYNLost       Class = "syn-lost"          // a SYN was answered only when it was sent again
	ClassSYNDropped    Class = "syn-dropped"       // a SYN left one lane and did not come to the next
	ClassUnheard       Class = "unheard"           // both ends' SYNs were on the way, and neither was answered
	ClassSYNACKDropped Class = "syn-ack-dropped"   // a SYN-ACK was never acknowledged
	ClassACKDropped    Class = "ack-dropped"       // the ACK that ends the handshake did not arrive
	ClassWrongPort     Class = "wrong-port"        // the peer's SYN came from, or went to, another port than predicted
	ClassHalfOpen      Class = "half-open"         // an end still holds an older connection on these ports
	ClassChallenged    Class = "challenged"        // a segment outside of the window was answered with a challenge ACK
	ClassAborted       Class = "aborted"           // the end that opened answered the SYN-ACK with RST
	ClassOldDuplicate  Class = "old-duplicate"     // a SYN-ACK answered another SYN than this flow's
	ClassRewritten     Class = "numbers-rewritten" // a device on the way rewrites sequence numbers
	ClassTimestamps    Class = "timestamps"        // TCP timestamps ran backwards, or were rewritten
	ClassOneWay        Class = "one-way"           // only one direction was captured
	ClassIncomplete    Class = "incomplete"        // the capture begins or ends in the middle
)

// Classes lists them.
func Classes() []Class {
	return []Class{
		ClassOrdinary, ClassSimultaneous, ClassWindowMissed, ClassNATReset, ClassNobodyListens, ClassReset, ClassICMP,
		ClassUnanswered, ClassSYNLost, ClassSYNDropped, ClassUnheard, ClassSYNACKDropped, ClassACKDropped, ClassWrongPort,
		ClassHalfOpen, ClassChallenged, ClassAborted, ClassOldDuplicate, ClassRewritten, ClassTimestamps, ClassOneWay, ClassIncomplete,
	}
}

// Confidence says how far the packets prove a Finding.
type Confidence string

// The confidences.
const (
	Certain  Confidence = "certain"  // the packets show it
	Probable Confidence = "probable" // they fit nothing else that is common; Finding.Confirm says what would prove it
	Possible Confidence = "possible" // one of several explanations
)

// Finding is one thing that a capture says about a flow.
type Finding struct {
	Class      Class      `json:"class"`
	Words      string     `json:"words"`  // a sentence that names the packets by their times
	Events     []int      `json:"events"` // the packets that prove it: indices of Timeline.Events, Joined.Events or Ladder.Events
	Confidence Confidence `json:"confidence"`
	Confirm    string     `json:"confirm,omitempty"` // what would make it certain, or tell more
	// Flows are the numbers, from 1, of other timelines of the same analysis that
	// prove it too.
	Flows []int `json:"flows,omitempty"`
}

// String is the sentence, with the confidence where it is less than certain.
func (f Finding) String() string {
	s := f.Words
	if f.Confidence != Certain {
		s = string(f.Confidence) + ": " + s
	}
	switch {
	case f.Confirm == "":
		return s
	case f.Confidence == Certain:
		return s + " (next: " + f.Confirm + ")"
	}
	return s + " (to be sure: " + f.Confirm + ")"
}

// Diagnosis says in words why the opening went as it did, the most important
// first; there is always at least one Finding. Each names the packets that
// prove it, and says so where one capture point allows only an inference.
//
// What other flows of the same capture tell is used too if the Timeline comes
// from Analyze.
func (tl *Timeline) Diagnosis() []Finding {
	x := &exam{tl: tl, events: tl.Events}
	switch tl.Verdict {
	case Simultaneous:
		x.crossed()
	case Ordinary:
		x.ordinary()
	case Refused:
		x.refused()
	case ByICMP:
		x.byICMP()
	case TimedOut:
		x.timedOut()
	case Aborted:
		x.aborted()
	}
	if tl.Established {
		x.detours()
	}
	if c := tl.Crossing; c != nil && tl.Verdict != Simultaneous && c.Regime != RegimeCrossed {
		x.missed(c)
	}
	x.elsewhere()
	x.older()
	x.challenges()
	x.timestamps()
	x.strayAnswers()
	if tl.OneWay {
		x.add(ClassOneWay, Certain, "", nil, "the packets of one end only were captured; what the other sent is known from the acknowledgments")
	}
	if len(x.list) == 0 {
		x.incomplete()
	}
	return x.list
}

// exam is a timeline being diagnosed.
type exam struct {
	tl     *Timeline
	events []Event
	list   []Finding
}

func (x *exam) add(class Class, sure Confidence, confirm string, events []int, format string, args ...any) {
	events = slices.Clone(events)
	slices.Sort(events)
	events = slices.Compact(events)
	if events == nil {
		events = []int{}
	}
	x.list = append(x.list, Finding{Class: class, Confidence: sure, Confirm: confirm, Events: events, Words: fmt.Sprintf(format, args...)})
}

// find lists the packets of an end ("" = both) that pass.
func (x *exam) find(from string, pass func(e *Event) bool) []int {
	var list []int
	for i := range x.events {
		if e := &x.events[i]; (from == "" || e.From == from) && pass(e) {
			list = append(list, i)
		}
	}
	return list
}

func (x *exam) syns(from string) []int { return x.find(from, (*Event).bareSYN) }

func (x *exam) synAcks(from string) []int { return x.find(from, (*Event).synACK) }

func (x *exam) rsts(from string) []int {
	return x.find(from, func(e *Event) bool { return e.Flags&rawtcp.RST != 0 })
}

func isAck(e *Event) bool {
	return e.ICMP == "" && e.Flags&(rawtcp.SYN|rawtcp.ACK|rawtcp.RST) == rawtcp.ACK
}

func other(end string) string {
	if end == EndA {
		return EndB
	}
	return EndA
}

// side is what an end sent.
func (tl *Timeline) side(end string) *Side {
	if end == EndA {
		return &tl.A
	}
	return &tl.B
}

// end is an end's address.
func (f Flow) end(name string) string {
	if name == EndA {
		return f.A.String()
	}
	return f.B.String()
}

// when names a packet by its time.
func (e *Event) when() string {
	if e.At == 0 {
		return "at 0.000"
	}
	return "at " + signedMS(e.At)
}

// named is "SYN (at +3.979)".
func named(what string, e *Event) string { return what + " (" + e.when() + ")" }

// opener is the end that sent the first SYN of the timeline.
func (x *exam) opener() string {
	if s := x.syns(""); len(s) > 0 {
		return x.events[s[0]].From
	}
	if s := x.synAcks(""); len(s) > 0 {
		return other(x.events[s[0]].From)
	}
	return EndA
}

func (x *exam) ordinary() {
	from := x.opener()
	syns, answers := x.syns(from), x.synAcks(other(from))
	acks := x.find(from, func(e *Event) bool { return isAck(e) && e.RelAck >= 1 })
	switch {
	case len(syns) > 0 && len(answers) > 0 && len(acks) > 0:
		s, y, k := syns[len(syns)-1], answers[0], acks[0]
		for _, i := range syns { // the copy that was answered
			if x.events[i].At <= x.events[y].At {
				s = i
			}
		}
		x.add(ClassOrdinary, Certain, "", []int{s, y, k}, "%s's %s was answered with %s, and that with %s",
			from, named("SYN", &x.events[s]), named("SYN-ACK", &x.events[y]), named("ACK", &x.events[k]))
	case len(syns) > 0:
		x.add(ClassOrdinary, Certain, "", append(syns[:1:1], acks...), "%s sent a %s and then acknowledged an answer that was not captured", from, named("SYN", &x.events[syns[0]]))
	default:
		x.add(ClassOrdinary, Certain, "", answers, "%s answered a SYN of %s that was not captured", other(from), from)
	}
}

// crossed is about a simultaneous open.
func (x *exam) crossed() {
	c := x.tl.Crossing
	both := append(x.syns(""), x.synAcks("")...)
	if c == nil && len(x.synAcks("")) == 0 {
		x.add(ClassSimultaneous, Certain, "", both, "both ends sent a SYN, and both SYNs were acknowledged")
		return
	}
	if c == nil {
		x.add(ClassSimultaneous, Certain, "", both, "an end sent a SYN and then, with the same number, a SYN-ACK: it got the other's SYN while its own was outstanding")
		return
	}
	x.add(ClassSimultaneous, Certain, "", both, "%s", c.atOneEnd()+c.Words("a", "b"))
	if c.Regime != RegimeCrossed {
		x.missed(c)
	}
}

// missed says by how much the window was missed.
func (x *exam) missed(c *Crossing) {
	early, late := EndA, EndB
	if c.Regime == RegimeBEarly {
		early, late = late, early
	}
	sure, confirm := Certain, ""
	if c.Points < 2 {
		sure, confirm = Probable, "capture at both ends; from one the other end's times follow from round trips"
		if -c.Margin <= c.Error {
			sure = Possible
		}
	}
	outcome := ""
	if x.tl.Established {
		outcome = fmt.Sprintf("; it opened all the same, because %s's SYN still found the mapping of %s's", late, early)
	}
	x.add(ClassWindowMissed, sure, confirm, x.syns(""), "the window was missed by %s: %s's SYN came to %s before %s's own had left%s",
		inMS(-c.Margin), early, late, late, outcome)
}

func (x *exam) byICMP() {
	list := x.find("", func(e *Event) bool { return e.ICMP != "" })
	if len(list) == 0 {
		return
	}
	e := &x.events[list[0]] // those that follow say the same
	about := other(e.From)
	evidence := list[:1:1]
	asked := ""
	for _, s := range x.syns(about) {
		if x.events[s].Seq == e.Seq && x.events[s].At <= e.At {
			evidence = []int{s, list[0]}
			asked = " (" + x.events[s].when() + ")"
		}
	}
	x.add(ClassICMP, Certain, "", evidence, "%s's SYN%s was answered by ICMP %s (%s): %s", about, asked, e.ICMP, e.when(), x.icmpMeans(e, about))
}

// icmpMeans says what sends such an ICMP error.
func (x *exam) icmpMeans(e *Event, about string) string {
	from := e.Src.Addr().String()
	who := "a router or firewall on the way"
	switch from {
	case addrOf(x.tl.Flow.end(other(about))):
		who = "the address that was asked, that is the host itself or its NAT"
	case addrOf(x.tl.Flow.end(about)):
		who = "the sender's own system"
	}
	for _, m := range []struct{ text, means string }{
		{"ttl", "the SYN's TTL ended there, as a priming SYN's should; another's was too low"},
		{"hop limit", "the SYN's hop limit ended there, as a priming SYN's should; another's was too low"},
		{"host unreachable", "no host answers for that address (ARP or neighbour discovery failed), or a filter says so"},
		{"admin", "a filter forbids it"},
		{"prohibited", "a filter forbids it"},
		{"port unreachable", "a filter rejects it, or a NAT has no mapping"},
		{"net unreachable", "there is no route"},
		{"no route", "there is no route"},
		{"fragmentation", "the segment is too large for the path"},
		{"too big", "the segment is too large for the path"},
	} {
		if strings.Contains(strings.ToLower(e.ICMP), m.text) {
			return who + "; " + m.means
		}
	}
	return who
}

func addrOf(endpoint string) string {
	addr := endpoint[:strings.LastIndexByte(endpoint, ':')]
	return strings.Trim(addr, "[]")
}

func (x *exam) timedOut() {
	tl := x.tl
	switch {
	case tl.A.SYNACKs+tl.B.SYNACKs > 0:
		x.synACKDropped()
	case tl.A.SYNs > 0 && tl.B.SYNs > 0:
		x.unheard()
	default:
		x.unanswered()
	}
}

// synACKDropped is about SYN-ACKs without an acknowledgment.
func (x *exam) synACKDropped() {
	list := x.synAcks("")
	first := &x.events[list[0]]
	from := first.From
	list = x.synAcks(from)
	words := fmt.Sprintf("%s's %s left and was never acknowledged", from, named("SYN-ACK", first))
	if n := len(list); n > 1 {
		words += fmt.Sprintf(", nor were its %s until %s", plural(n-1, "retransmission"), strings.TrimPrefix(x.events[list[n-1]].when(), "at "))
	}
	again := 0
	for _, i := range x.syns(other(from)) {
		if x.events[i].At > first.At {
			again++
			list = append(list, i)
		}
	}
	sure := Possible
	if again > 0 {
		words += fmt.Sprintf("; %s went on sending SYNs, so it did not get it", other(from))
		sure = Probable
	}
	x.add(ClassSYNACKDropped, sure, "capture at "+other(from)+" and before its NAT: where the SYN-ACK stops, there it is dropped", list,
		"%s: a NAT or firewall on the way to %s dropped it, or it was lost", words, other(from))
}

// unheard is about SYNs of both ends of which none was answered.
func (x *exam) unheard() {
	a, b := x.syns(EndA), x.syns(EndB)
	all := append(slices.Clone(a), b...)
	if len(a) == 0 || len(b) == 0 {
		x.unanswered()
		return
	}
	words := fmt.Sprintf("SYNs of both ends passed here (a's first %s, b's first %s), and neither end answered",
		x.events[a[0]].when(), x.events[b[0]].when())
	for _, end := range []string{EndA, EndB} {
		if x.tl.side(end).Local {
			x.add(ClassUnheard, Probable, "look at the host's own firewall (nft list ruleset) and its sockets (ss -tan)", all,
				"%s: %s is this host, its own SYN was outstanding when %s's came, and it did not answer: a local firewall dropped it, or no socket was in SYN-SENT any more", words, end, other(end))
			return
		}
	}
	x.add(ClassUnheard, Possible, "capture at both hosts, and at the NATs if they are yours", all,
		"%s: each was dropped between here and the other host, as NATs do that filter and do not see the open as one of their own", words)
}

func (x *exam) unanswered() {
	from := x.opener()
	list := x.syns(from)
	if len(list) == 0 {
		return
	}
	last := &x.events[list[len(list)-1]]
	words := fmt.Sprintf("nothing answered %s's %s", from, named("SYN", &x.events[list[0]]))
	if len(list) > 1 {
		words += fmt.Sprintf(" nor its %s, the last %s", plural(len(list)-1, "retransmission"), last.when())
	}
	x.add(ClassUnanswered, Certain, "capture at "+other(from)+": did the SYNs arrive there?", list,
		"%s: lost or dropped without a word, most often by a NAT without a mapping for it or by a firewall", words)
}

func (x *exam) aborted() {
	from := x.opener()
	answers := x.synAcks(other(from))
	rsts := x.rsts(from)
	if len(rsts) == 0 || len(answers) == 0 {
		return
	}
	r := &x.events[rsts[0]]
	y := answers[0]
	for _, i := range answers {
		if x.events[i].At <= r.At {
			y = i
		}
	}
	syns := x.syns(from)
	evidence := append([]int{y, rsts[0]}, syns...)
	if strings.Contains(x.events[y].Note, "another SYN") {
		x.add(ClassOldDuplicate, Certain, "", evidence, "%s's %s answered another SYN than %s's, and %s rejected it with %s (RFC 9293 figure 8)",
			other(from), named("SYN-ACK", &x.events[y]), from, from, named("RST", r))
		return
	}
	sure, confirm := Probable, "capture at "+from
	who := "its kernel has no socket for the flow: a raw SYN without a guard, a scan, a socket that was closed, an old duplicate of a SYN"
	if x.tl.side(from).Local {
		sure, confirm = Certain, ""
	}
	x.add(ClassAborted, sure, confirm, evidence, "%s answered %s's %s with %s: %s",
		from, other(from), named("SYN-ACK", &x.events[y]), named("RST", r), who)
}

// detours is what went wrong on the way to an open that worked.
func (x *exam) detours() {
	for _, from := range []string{EndA, EndB} {
		syns := x.syns(from)
		if len(syns) < 2 {
			continue
		}
		first, last := &x.events[syns[0]], &x.events[syns[len(syns)-1]]
		if last.At-first.At < waitLimit/2 || x.heardBetween(from, syns[0], syns[len(syns)-1]) {
			continue // sent again on purpose, after an answer that refused
		}
		x.add(ClassSYNLost, Probable, "capture at "+other(from)+": did the first arrive?", syns,
			"%s sent its SYN %d times, %s to %s, before it was answered: the first was lost or dropped, or its answer was", from, len(syns), strings.TrimPrefix(first.when(), "at "), strings.TrimPrefix(last.when(), "at "))
	}
	for _, from := range []string{EndA, EndB} {
		list := x.synAcks(from)
		if len(list) < 2 || !x.events[list[len(list)-1]].Retransmission {
			continue
		}
		x.add(ClassACKDropped, Probable, "capture at both ends", list,
			"%s sent its SYN-ACK %d times: %s's ACK, or the SYN-ACK itself, did not arrive at first", from, len(list), other(from))
	}
	if len(x.find("", func(e *Event) bool { return e.ICMP != "" && e.opening })) > 0 {
		x.byICMP()
	}
	x.refused()
}

// heardBetween reports whether anything of the other end lies between two events.
func (x *exam) heardBetween(end string, from, to int) bool {
	return slices.ContainsFunc(x.events[from:to], func(e Event) bool { return e.From != end })
}

func (x *exam) incomplete() {
	x.add(ClassIncomplete, Certain, "capture from before the first SYN, and longer", nil, "%s", x.tl.Detail)
}

// waited is a duration for words.
func waited(d time.Duration) string { return inMS(max(d, 0)) }
