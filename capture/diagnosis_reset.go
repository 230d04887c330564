package capture

import (
	"fmt"
	"strings"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// refused finds out who sent the RST that answered a SYN.
//
// A host's TCP answers a SYN for a port on which nobody listens with SEQ=0,
// ACK=SEG.SEQ+1, window 0 and no options (RFC 9293 section 3.10.7.1). So does a Linux
// router whose own TCP gets the SYN because no mapping takes it away, and
// netfilter's 'reject with tcp reset'. What tells them apart is the way: the TTL
// that is left and the time it took, compared with other packets of that end;
// and whether that end's own SYN came by later.
func (x *exam) refused() {
	said := make(map[string]bool)
	for _, i := range x.rsts("") {
		from := x.events[i].From
		if s := x.resetSYN(i); s >= 0 && !said[from] {
			said[from] = true
			x.reset(s, i)
		}
	}
}

// resetSYN is the SYN that a RST answered before anything else did, -1 = none.
func (x *exam) resetSYN(i int) int {
	r, best := &x.events[i], -1
	if !r.opening {
		return -1
	}
	for n := range x.events[:i] {
		switch e := &x.events[n]; {
		case e.synACK() && !strings.Contains(e.Note, "another SYN"):
			return -1
		case e.From != r.From && e.bareSYN() && (r.Flags&rawtcp.ACK == 0 || r.Ack == e.Seq+1):
			best = n
		}
	}
	if best >= 0 && r.Note != "" && r.Flags&rawtcp.ACK == 0 {
		return -1 // not acceptable, or about another connection
	}
	return best
}

// reset is about a RST that answered a SYN.
func (x *exam) reset(s, i int) {
	syn, r := &x.events[s], &x.events[i]
	who := r.From
	evidence := []int{s, i}
	after := r.At - syn.At
	words := fmt.Sprintf("%s's %s was answered with %s after %s", syn.From, named("SYN", syn), named("RST", r), inMS(after))
	hint, sign := x.origin(r, after)
	if list := x.refusedBefore(i); list != nil {
		x.add(ClassNobodyListens, Probable, "capture at "+who, append(evidence, list...), "%s: %s's own SYN had been refused before (%s), so its socket was gone",
			words, who, strings.TrimPrefix(x.events[list[1]].when(), "at "))
		return
	}
	// The other end's own SYN came by after the RST: on the same way, so that
	// their distance here is that at the NAT they passed.
	for _, n := range x.syns(who) {
		if e := &x.events[n]; e.At >= r.At {
			x.add(ClassNATReset, Probable, "capture at "+who+"'s NAT: the RST must begin there",
				append(evidence, n), "%s: %s's NAT answered %s before its mapping existed, for %s's own %s came that long after the RST (seen from one point: both took the same way%s)",
				words, who, waited(e.At-r.At), who, named("SYN", e), comma(hint))
			return
		}
	}
	if later := x.tl.links.laterSYN; later.flow > 0 && later.from == who && later.at.After(r.Time) {
		x.add(ClassNATReset, Probable, "capture at "+who+"'s NAT: the RST must begin there", evidence,
			"%s: %s's NAT answered %s before its mapping existed, for %s's own SYN came that long after the RST (flow %d; both took the same way%s)",
			words, who, waited(later.at.Sub(r.Time)), who, later.flow, comma(hint))
		x.list[len(x.list)-1].Flows = []int{later.flow}
		return
	}
	switch sign {
	case byDevice:
		x.add(ClassNATReset, Probable, "capture at "+who+": the RST does not leave there", evidence,
			"%s, probably by a NAT or firewall on the way and not by the host: %s", words, hint)
	case byHost:
		x.add(ClassNobodyListens, Probable, "ss -tln at "+who, evidence,
			"%s, probably by the host itself, where nobody listens on that port: %s", words, hint)
	case byThisHost:
		x.add(ClassNobodyListens, Certain, "", evidence, "%s by this host itself: %s", words, hint)
	default:
		x.add(ClassReset, Possible, "capture at "+who+", or look whether its other packets come with the same TTL", evidence,
			"%s: nobody listens there, or its NAT has no mapping for it; %s", words, hint)
	}
}

// refusedBefore is the SYN of the end that sent RST number i and what had refused
// it, or nil.
func (x *exam) refusedBefore(i int) []int {
	r := &x.events[i]
	for n := range x.events[:i] {
		if e := &x.events[n]; e.From != r.From && e.Flags&rawtcp.RST != 0 {
			if s := x.resetSYN(n); s >= 0 {
				return []int{s, n}
			}
		}
	}
	return nil
}

func comma(s string) string {
	if s == "" {
		return ""
	}
	return "; " + s
}

// sign is who a RST seems to come from.
type sign uint8

const (
	byAnybody sign = iota
	byHost
	byDevice
	byThisHost
)

// origin looks at the RST itself and compares it with what that end sent.
func (x *exam) origin(r *Event, after time.Duration) (words string, s sign) {
	if x.tl.side(r.From).Local && r.Dir == DirOut {
		return "it left the capturing host", byThisHost
	}
	shape := ""
	switch {
	case r.Window != 0 || r.TSVal != 0:
		shape = fmt.Sprintf("it has window %d", r.Window)
		if r.TSVal != 0 {
			shape += " and a timestamp"
		}
		shape += ", as no TCP answers for a closed port"
	default:
		shape = "window 0 and no options, as any TCP answers for a closed port"
	}
	if r.id != 0 {
		shape += fmt.Sprintf(", IP ID %d", r.id)
	}
	theirs, where := x.theirTTL(r)
	switch {
	case r.TTL == 0:
		return shape, byAnybody
	case theirs == 0:
		return fmt.Sprintf("%s; TTL %d (%s away if it began with %d), and no other packet of %s to compare it with",
			shape, r.TTL, plural(int(firstTTL(r.TTL)-r.TTL), "hop"), firstTTL(r.TTL), r.From), byAnybody
	case theirs != r.TTL:
		words = fmt.Sprintf("its TTL is %d, that of %s's own packets %d%s", r.TTL, r.From, theirs, where)
		if n := int(r.TTL) - int(theirs); n > 0 && n < 32 {
			words += fmt.Sprintf(", so it began %s nearer", plural(n, "hop"))
		}
		return words + "; " + shape, byDevice
	}
	words = fmt.Sprintf("its TTL is %d, as that of %s's own packets%s", r.TTL, r.From, where)
	if rtt := x.tl.links.rtt[endIndex(r.From)]; rtt > 0 && after < rtt*3/4 {
		return fmt.Sprintf("it came after %s, though the shortest round trip to %s is %s%s; %s", inMS(after), r.From, inMS(rtt), where, shape), byDevice
	}
	return words + "; " + shape, byHost
}

// firstTTL is the TTL that systems begin with that is next above.
func firstTTL(ttl uint8) uint8 {
	switch {
	case ttl <= 64:
		return 64
	case ttl <= 128:
		return 128
	}
	return 255
}

func endIndex(end string) int {
	if end == EndA {
		return 0
	}
	return 1
}

// theirTTL is the TTL of what the end itself sent, in this flow or in another
// with the same address; 0 = there is none.
func (x *exam) theirTTL(r *Event) (ttl uint8, where string) {
	for i := range x.events {
		if e := &x.events[i]; e.From == r.From && e.ICMP == "" && e.Flags&rawtcp.RST == 0 && e.TTL > 30 {
			return e.TTL, ""
		}
	}
	if t := x.tl.links.ttl[endIndex(r.From)]; t != 0 {
		return t, " in other flows"
	}
	return 0, ""
}
