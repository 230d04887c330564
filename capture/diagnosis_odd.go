package capture

import (
	"fmt"
	"strings"

	"github.com/synpunch/synpunch/rawtcp"
)

// elsewhere is about SYNs that other flows of the capture show.
func (x *exam) elsewhere() {
	w := x.tl.links.elsewhere
	if w.flow == 0 {
		return
	}
	from := x.opener()
	syns := x.syns(from)
	var diffs []string
	us, them := from, other(from)
	if w.theirs != 0 {
		diffs = append(diffs, fmt.Sprintf("from port %d, and %s aimed at %d", w.theirs, us, w.aimed))
	}
	if w.ours != 0 {
		diffs = append(diffs, fmt.Sprintf("to port %d, and %s's SYN left from %d", w.ours, us, w.left))
	}
	whose := them + "'s NAT"
	if w.theirs == 0 {
		whose = us + "'s NAT"
	}
	x.add(ClassWrongPort, Probable, "ask a third party which ports "+whose+" gives (synpunch predict)", syns,
		"%s's SYN got no SYN-ACK, but %s's own SYN came %s (flow %d, %s ms): the allocation of %s is not what was predicted",
		us, them, strings.Join(diffs, "; "), w.flow, signedMS(w.at.Sub(x.tl.Reference)), whose)
	x.list[len(x.list)-1].Flows = []int{w.flow}
}

// older is about an answer of a connection that one end forgot.
func (x *exam) older() {
	list := x.find("", func(e *Event) bool {
		return strings.Contains(e.Note, "older connection (RFC 9293 figure 9)") && e.Flags&rawtcp.RST == 0
	})
	if len(list) == 0 {
		return
	}
	e := &x.events[list[0]]
	us := other(e.From)
	evidence := list[:1:1]
	for _, s := range x.syns(us) {
		if x.events[s].At <= e.At {
			evidence = append(evidence, s)
		}
	}
	end := fmt.Sprintf("no RST of %s ended it: the same guard or NAT that swallows the challenge keeps the old connection alive", us)
	for _, r := range x.rsts(us) {
		if q := &x.events[r]; q.At >= e.At {
			end = fmt.Sprintf("%s's %s ended it", us, named("RST", q))
			evidence = append(evidence, r)
			break
		}
	}
	x.add(ClassHalfOpen, Certain, "", evidence,
		"%s still held an older connection on these ports: it challenged %s's SYN with an %s that acknowledges something else (RFC 9293 figure 9, RFC 5961 section 4); %s",
		e.From, us, named("ACK", e), end)
}

// challenges looks for a segment outside of the window that was answered with a
// bare ACK of the receiver's own numbers (RFC 5961 sections 3, 4 and 5).
func (x *exam) challenges() {
	for i := range x.events {
		e := &x.events[i]
		why := ""
		to := other(e.From)
		switch {
		case e.ICMP != "" || e.bareSYN() || e.synACK():
			continue
		case e.Flags&rawtcp.RST != 0 && strings.Contains(e.Note, "not acceptable"):
			why = "a RST with a sequence number that is not the one expected"
		case e.Flags&rawtcp.ACK != 0 && e.Flags&rawtcp.RST == 0 && e.RelAck > x.reach(to, i):
			why = fmt.Sprintf("acknowledges %d, more than %s had sent", e.RelAck, to)
		default:
			continue
		}
		for n := i + 1; n < len(x.events); n++ {
			q := &x.events[n]
			if q.From != to || !isAck(q) {
				continue
			}
			// That it has not sent so much is proved by where it stands itself.
			unsent := e.Flags&rawtcp.RST != 0 || q.RelSeq < e.RelAck
			if q.Len == 0 && q.Flags&rawtcp.FIN == 0 && unsent && x.tl.side(to).ISNKnown {
				x.add(ClassChallenged, Probable, "capture at "+to+": which segment came just before its ACK?", []int{i, n},
					"%s's kernel challenged %s's %s (%s) with an %s of its own numbers (RFC 5961)", to, e.From, named(e.Flags.String(), e), why, named("ACK", q))
				return
			}
			break
		}
	}
}

// reach is how far an end's segments reached before event number i.
func (x *exam) reach(end string, i int) int64 {
	most := int64(1)
	for n := range x.events[:i] {
		e := &x.events[n]
		if e.From != end || e.ICMP != "" || e.Flags&rawtcp.RST != 0 {
			continue
		}
		size := int64(e.Len)
		if e.Flags&(rawtcp.SYN|rawtcp.FIN) != 0 {
			size++
		}
		most = max(most, e.RelSeq+size)
	}
	return most
}

// timestamps looks for clocks that ran backwards, and for echoes of what was
// never sent (RFC 7323).
func (x *exam) timestamps() {
	for _, end := range []string{EndA, EndB} {
		last := -1
		for i := range x.events {
			e := &x.events[i]
			if e.From != end || e.TSVal == 0 || e.ICMP != "" || e.Flags&rawtcp.RST != 0 || strings.Contains(e.Note, "overtaken") {
				continue
			}
			if last >= 0 {
				before := &x.events[last]
				if back := int32(before.TSVal - e.TSVal); back > 0 && e.At-before.At >= reorderLimit/3 {
					x.add(ClassTimestamps, Certain, "", []int{last, i},
						"%s's timestamps ran back by %d, from %d (%s) to %d (%s): the peer drops such segments (PAWS, RFC 7323 section 5)",
						end, back, before.TSVal, before.when(), e.TSVal, e.when())
					break
				}
			}
			last = i
		}
	}
	for _, i := range x.synAcks("") {
		e := &x.events[i]
		sent := x.find(other(e.From), func(q *Event) bool { return q.TSVal != 0 && q.At <= e.At })
		if e.TSEcr == 0 || len(sent) == 0 || x.tl.Omitted > 0 {
			continue
		}
		echoed := false
		for _, n := range sent {
			echoed = echoed || x.events[n].TSVal == e.TSEcr
		}
		if !echoed && e.Ack == x.events[sent[0]].Seq+1 {
			x.add(ClassTimestamps, Probable, "capture at both ends and compare the timestamps of one packet", []int{sent[0], i},
				"%s's %s echoes the timestamp %d, which %s did not send (%d): a device on the way rewrites timestamps", e.From, named("SYN-ACK", e), e.TSEcr, other(e.From), x.events[sent[0]].TSVal)
			break
		}
	}
	if p := x.tl.links.older; p.flow > 0 {
		syns := x.syns(p.from)
		if len(syns) > 0 {
			x.add(ClassTimestamps, Possible, "wait two minutes, or take another port", syns[:1],
				"%s's SYN has a timestamp %d less than the last of flow %d on the same ports: a peer that keeps that one in TIME-WAIT ignores it (RFC 6191)", p.from, p.back, p.flow)
			x.list[len(x.list)-1].Flows = []int{p.flow}
		}
	}
}

// strayAnswers is about SYN-ACKs that acknowledge a number that was never sent:
// an old duplicate of a SYN was answered, or the numbers of the SYN were changed on its way.
func (x *exam) strayAnswers() {
	if len(x.list) > 0 && x.list[0].Class == ClassOldDuplicate {
		return
	}
	stray := x.find("", func(e *Event) bool { return e.synACK() && strings.Contains(e.Note, "another SYN") })
	if len(stray) == 0 {
		if w := x.tl.links.rewritten; w.where != "" {
			x.rewritten(w)
		}
		return
	}
	e := &x.events[stray[0]]
	syns := x.syns(other(e.From))
	if x.tl.Established {
		x.add(ClassOldDuplicate, Certain, "", append(stray, syns...), "%s's %s answered another SYN than %s's: an old duplicate came first (RFC 9293 figure 8), and the opening recovered", e.From, named("SYN-ACK", e), other(e.From))
		return
	}
	x.add(ClassRewritten, Possible, "capture on both sides of the firewall and compare the sequence numbers of one SYN", append(stray, syns...),
		"%s's %s acknowledges a number that %s's SYN did not have (off by %d): an old duplicate of a SYN was answered, or a device rewrites sequence numbers in one direction only",
		e.From, named("SYN-ACK", e), other(e.From), e.RelAck-1)
}

// rewritten is about one SYN that two flows show with different numbers.
func (x *exam) rewritten(w rewrittenLink) {
	syns := x.syns(w.from)
	if len(syns) == 0 {
		return
	}
	x.add(ClassRewritten, Probable, "compare the payload, or the timestamps of more packets", syns[:1],
		"%s's SYN is seen once more in %s with the same timestamp and another sequence number (%d, there %d): a device between the two capture points rewrites sequence numbers",
		w.from, w.where, w.here, w.there)
	if w.flow > 0 {
		x.list[len(x.list)-1].Flows = []int{w.flow}
	}
}
