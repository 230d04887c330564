package capture

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// links is what other flows of the same analysis say about a timeline. Flow
// numbers count from 1, 0 = nothing.
type links struct {
	ttl       [2]uint8         // of other packets of a's and of b's address
	rtt       [2]time.Duration // shortest to a's and to b's address
	laterSYN  laterLink
	elsewhere elsewhereLink
	older     olderLink
	rewritten rewrittenLink
}

// laterLink is a SYN of the end 'from' on the same ports.
type laterLink struct {
	flow int
	from string
	at   time.Time
}

// elsewhereLink is a SYN of the peer on other ports.
type elsewhereLink struct {
	flow          int
	at            time.Time
	theirs, aimed uint16 // the port it came from, if another than the one that our SYN went to
	ours, left    uint16 // the port it went to, if another than the one that our SYN left from
}

// olderLink is an earlier flow on the same ports whose timestamps were ahead.
type olderLink struct {
	flow int
	from string
	back uint32
}

// rewrittenLink is the same SYN with another sequence number.
type rewrittenLink struct {
	flow        int    // 0 = in another capture
	where       string // "" = not at all
	from        string
	here, there uint32
}

// swapped is the same with the ends' names exchanged.
func (l links) swapped() links {
	l.ttl[0], l.ttl[1] = l.ttl[1], l.ttl[0]
	l.rtt[0], l.rtt[1] = l.rtt[1], l.rtt[0]
	for _, from := range []*string{&l.laterSYN.from, &l.older.from, &l.rewritten.from} {
		if *from != "" {
			*from = other(*from)
		}
	}
	return l
}

// attempt is how long two SYNs may be apart and belong to one attempt: Linux
// gives up a SYN after 127 s (tcp_syn_retries 6).
const attempt = 130 * time.Second

// link looks across flows. Its cost is that of a few map entries for each
// flow, and of neighbours only for those that failed.
func link(tls []*Timeline) {
	ttls := make(map[netip.Addr]uint8)
	rtts := make(map[netip.Addr]time.Duration)
	byPair := make(map[[2]netip.Addr][]int)
	for i, tl := range tls {
		var has [2]bool
		for k := range tl.Events {
			e := &tl.Events[k]
			n := endIndex(e.From)
			if has[n] || e.ICMP != "" || e.Flags&rawtcp.RST != 0 || e.TTL <= 30 {
				continue
			}
			has[n] = true
			if ttls[e.Src.Addr()] == 0 {
				ttls[e.Src.Addr()] = e.TTL
			}
			if has[1-n] {
				break
			}
		}
		if tl.Established && tl.RoundTrip > 0 {
			for n, addr := range []netip.Addr{tl.Flow.A.Addr(), tl.Flow.B.Addr()} {
				way := 2 * []time.Duration{tl.toA, tl.toB}[n]
				if old := rtts[addr]; way > 0 && (old == 0 || way < old) {
					rtts[addr] = way
				}
			}
		}
		pair := pairOf(tl.Flow)
		byPair[pair] = append(byPair[pair], i)
	}
	for i, tl := range tls {
		if tl.Established && tl.Verdict != Incomplete && tl.Incarnation == 1 {
			continue
		}
		a, b := tl.Flow.A.Addr(), tl.Flow.B.Addr()
		tl.links.ttl = [2]uint8{ttls[a], ttls[b]}
		tl.links.rtt = [2]time.Duration{rtts[a], rtts[b]}
		near := byPair[pairOf(tl.Flow)]
		if len(near) > 64 {
			near = near[:64] // a scan, a fan-out: the first tell enough
		}
		for _, n := range near {
			if n != i {
				tl.link(tls[n].number, tls[n])
			}
		}
	}
	linkRewritten(tls)
}

func pairOf(f Flow) [2]netip.Addr {
	a, b := f.A.Addr(), f.B.Addr()
	if b.Less(a) {
		a, b = b, a
	}
	return [2]netip.Addr{a, b}
}

// firstSYN is the first SYN without ACK of an end, or nil.
func (tl *Timeline) firstSYN(end string) *Event {
	for i := range tl.Events {
		if e := &tl.Events[i]; e.From == end && e.bareSYN() {
			return e
		}
	}
	return nil
}

// link takes what another flow between the same addresses says about this one.
func (tl *Timeline) link(number int, o *Timeline) {
	same := tl.Flow == o.Flow || tl.Flow == Flow{o.Flow.B, o.Flow.A}
	if same {
		tl.linkSame(number, o)
		return
	}
	if tl.Established || tl.links.elsewhere.flow > 0 || tl.Flow.A.Addr() == tl.Flow.B.Addr() {
		return
	}
	// Our SYN, unanswered, and one of the peer's that came on other ports.
	from := EndA
	ours := tl.firstSYN(EndA)
	if ours == nil || tl.firstSYN(EndB) != nil && tl.B.SYNACKs == 0 {
		if from, ours = EndB, tl.firstSYN(EndB); ours == nil {
			return
		}
	}
	if tl.side(other(from)).SYNs+tl.side(other(from)).SYNACKs > 0 {
		return
	}
	for _, end := range []string{EndA, EndB} {
		theirs := o.firstSYN(end)
		if theirs == nil || theirs.Src.Addr() != ours.Dst.Addr() || theirs.Dst.Addr() != ours.Src.Addr() ||
			theirs.Time.Sub(ours.Time).Abs() > attempt {
			continue
		}
		if theirs.Dst.Port() != ours.Src.Port() && theirs.Src.Port() != ours.Dst.Port() {
			continue // another connection of the same two
		}
		w := elsewhereLink{flow: number, at: theirs.Time}
		if theirs.Src.Port() != ours.Dst.Port() {
			w.theirs, w.aimed = theirs.Src.Port(), ours.Dst.Port()
		}
		if theirs.Dst.Port() != ours.Src.Port() {
			w.ours, w.left = theirs.Dst.Port(), ours.Src.Port()
		}
		tl.links.elsewhere = w
		return
	}
}

// linkSame takes what another incarnation on the same ports says.
func (tl *Timeline) linkSame(number int, o *Timeline) {
	for _, end := range []string{EndA, EndB} {
		theirEnd := end
		if tl.Flow != o.Flow {
			theirEnd = other(end)
		}
		s := o.firstSYN(theirEnd)
		if s == nil {
			continue
		}
		if s.Time.After(tl.Start) && s.Time.Sub(tl.Start) < attempt && tl.firstSYN(end) == nil && tl.links.laterSYN.flow == 0 {
			tl.links.laterSYN = laterLink{number, end, s.Time}
		}
		mine := tl.firstSYN(end)
		if mine == nil || mine.TSVal == 0 || tl.Established || !o.End.Before(mine.Time) || mine.Time.Sub(o.End) > attempt {
			continue
		}
		last := uint32(0)
		for i := range o.Events {
			if e := &o.Events[i]; e.From == theirEnd && e.TSVal != 0 {
				last = e.TSVal
			}
		}
		if back := int32(last - mine.TSVal); last != 0 && back > 0 {
			tl.links.older = olderLink{number, end, uint32(back)}
		}
	}
}

// synStamp is what a firewall leaves of a SYN whose numbers it rewrites.
type synStamp struct {
	tsval   uint32
	options string
}

// synSight is a SYN of a timeline.
type synSight struct {
	tl     *Timeline
	number int // of the timeline, from 1; 0 = of another capture
	e      *Event
}

// linkRewritten finds SYNs that two flows show with one timestamp and different
// sequence numbers, as the two sides of a firewall do that rewrites them.
func linkRewritten(tls []*Timeline) {
	first := make(map[synStamp]synSight)
	for _, tl := range tls {
		tl.eachSYN(func(key synStamp, e *Event) {
			now := synSight{tl, tl.number, e}
			if old, ok := first[key]; !ok {
				first[key] = now
			} else if e.Time.Sub(old.e.Time) < rewriteLimit && old.tl != tl {
				linkSights(old, now)
			}
		})
	}
}

// linkCaptures is linkRewritten for what two captures have each alone. Their
// clocks may differ: the timestamp must be one that no other SYN has.
func linkCaptures(onlyA, onlyB []*Timeline) {
	first := make(map[synStamp]synSight)
	many := make(map[synStamp]bool)
	for _, tl := range onlyA {
		tl.eachSYN(func(key synStamp, e *Event) {
			_, many[key] = first[key]
			first[key] = synSight{tl, 0, e}
		})
	}
	for _, tl := range onlyB {
		tl.eachSYN(func(key synStamp, e *Event) {
			if old, ok := first[key]; ok && !many[key] {
				linkSights(old, synSight{tl, 0, e})
			}
		})
	}
}

const rewriteLimit = 5 * time.Millisecond // chosen by us: a firewall passes a SYN on at once

// eachSYN calls do for the first SYN of each end that has a timestamp.
func (tl *Timeline) eachSYN(do func(key synStamp, e *Event)) {
	for _, end := range []string{EndA, EndB} {
		if e := tl.firstSYN(end); e != nil && e.TSVal != 0 {
			do(synStamp{e.TSVal, e.Options}, e)
		}
	}
}

func linkSights(x, y synSight) {
	if x.e.Seq == y.e.Seq || !sharesEnd(x.tl.Flow, y.tl.Flow) {
		return
	}
	x.tl.links.rewritten = rewrittenLink{y.number, y.name(), x.e.From, x.e.Seq, y.e.Seq}
	y.tl.links.rewritten = rewrittenLink{x.number, x.name(), y.e.From, y.e.Seq, x.e.Seq}
}

func (s synSight) name() string {
	if s.number == 0 {
		return "the other capture"
	}
	return fmt.Sprintf("flow %d", s.number)
}

// sharesEnd reports whether two flows have an endpoint in common: a NAT changes
// only one of them.
func sharesEnd(f, g Flow) bool {
	return f.A == g.A || f.B == g.B || f.A == g.B || f.B == g.A
}
