package capture

import (
	"strings"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// flow is one incarnation while packets still come.
type flow struct {
	isOpen  bool // established
	last    time.Time
	omitted int
	kept    [numKinds]int
	left    [numKinds]int // out, for want of room
	side    [2]side

	number      int // 1 for the first on the 4-tuple
	serial      int // 1 for the first of all
	order       int64
	first       time.Time
	established time.Time
	initiator   int8 // -1 = not known
	records     []record
	remarks     []remark

	icmps      int
	answer     answer // the last one that refused
	challenged bool   // an ACK of an older connection came (RFC 9293 figure 9)
	challenge  rawtcp.Seq
	dropped    [2]bool // an end refused the other's SYN-ACK that answered an old duplicate
	replaced   bool
	resetBy    int8 // -1, or the end whose RST ended the open flow
	tell       int  // what a Follower told
	gone       bool // judged and forgotten
}

// notes is what is said of a packet.
type notes struct {
	words string
	again bool // a retransmission
}

// note adds words.
func (n *notes) note(words string) {
	switch {
	case words == "":
	case n.words == "":
		n.words = words
	case !strings.Contains(n.words, words):
		n.words += "; " + words
	}
}

// answer is what refused a SYN or SYN-ACK before the flow was established.
type answer struct {
	verdict Verdict // "" = none
	end     int8    // who answered, or at whose side the router stands
	at      time.Time
	after   time.Duration // since the segment it answers
	words   string
	n       int
}

// side is one direction of a flow. What every packet looks at stands first: with
// many flows the memory it touches is what a packet costs.
type side struct {
	base    rawtcp.Seq // what relative numbers count from: the ISN, or a stand-in for it
	lastAck rawtcp.Seq
	end     int64  // relative; as far as its segments reached
	una     int64  // relative; as far as the other end acknowledged
	endTS   uint32 // TSval of the segment that reached furthest
	based   bool
	known   bool // base is the ISN
	bare    bool // the ISN came in a SYN without ACK
	synAck  bool // sent an acceptable SYN-ACK with this ISN
	isStale bool
	fin     bool
	spoke   bool
	hasTS   bool
	hasAck  bool
	placed  bool
	native  bool // left with a TTL that no router had touched
	dir     Direction

	packets, in, out   int64
	iface              int
	numHoles           int
	copies, nextRecent int
	// The segment being timed: when timedEnd is acknowledged, the time since
	// timedAt is a round trip to the other end. A retransmission makes it void
	// (Karn's algorithm, RFC 6298 section 3).
	timedEnd int64
	rtt      time.Duration // shortest to the other end and back, 0 = none yet
	timedAt  time.Time
	endAt    time.Time
	recent   [4]print

	hasOffer bool
	stale    rawtcp.Seq // ISN of a SYN-ACK that answered another SYN
	rsts     int
	// first segment without SYN and RST that proves that this end heard the other
	spokeAt                             time.Time
	holes                               [keptHoles]hole
	missed                              int64
	syns, synAcks                       int
	again, dataAgain, reordered, probes int
	offered                             rawtcp.Options
	lastSYN, lastSYNACK                 time.Time
}

// hole is a range of sequence space that was jumped over.
type hole struct{ from, to int64 }

// print is what two sights of one packet have in common.
type print struct {
	at     time.Time
	seq    rawtcp.Seq
	ack    rawtcp.Seq
	tsval  uint32
	n      uint32
	id     uint16
	window uint16
	flags  rawtcp.Flags
}

// Kinds of events that have a budget each.
const (
	kindHandshake = iota
	kindData
	kindAgain
	kindClosing
	numKinds
)

// answeredBy reports whether ack acknowledges the SYN of this side (and no
// more than it sent before the handshake was done).
func (d *side) answeredBy(ack rawtcp.Seq) bool {
	n := ack.Sub(d.base)
	return n >= 1 && int64(n) <= max(d.end, 1)
}

// distance says how far a segment is from where the flow stands, in sequence
// numbers of both directions.
func (f *flow) distance(from int8, s *rawtcp.Segment) int64 {
	const unknown = 1 << 33
	d := int64(0)
	if me := &f.side[from]; s.Seq == 0 && s.Flags&(rawtcp.RST|rawtcp.ACK) == rawtcp.RST|rawtcp.ACK {
		// RFC 9293 section 3.10.7.1: SEQ=0, it is the ACK that says what for.
	} else if !me.based {
		d += unknown
	} else if r := me.rel(s.Seq); r < 0 {
		d -= r
	} else {
		d += max(r-me.end, 0)
	}
	if s.Flags&rawtcp.ACK == 0 {
		return d
	}
	if peer := &f.side[1-from]; !peer.based {
		d += unknown
	} else if r := peer.rel(s.Ack); r < 0 {
		d -= r
	} else {
		d += max(r-peer.end, 0)
	}
	return d
}

// rel unwraps a sequence number: relative to the base and next to the end.
func (d *side) rel(q rawtcp.Seq) int64 {
	return d.end + int64(q.Sub(d.base+rawtcp.Seq(uint32(d.end))))
}

// add takes a segment of this incarnation.
func (f *flow) add(z *Analyzer, from int8, p *Packet, s *rawtcp.Segment, words string) {
	me, peer := &f.side[from], &f.side[1-from]
	f.last = p.Time
	if me.secondSight(p, s) {
		me.copies++
		return
	}
	me.packets++
	switch p.Dir {
	case DirIn:
		me.in++
	case DirOut:
		me.out++
		me.native = me.native || nativeTTL(s.TTL)
	}
	wasOpen := f.isOpen
	kind := kindHandshake
	if wasOpen {
		kind = kindData
	}
	e := notes{words: words}
	syn := s.Flags&rawtcp.SYN != 0 && s.Flags&rawtcp.RST == 0
	switch {
	case s.Flags&rawtcp.RST != 0:
		if wasOpen {
			kind = kindClosing
		}
		f.addRST(from, p.Time, s, &e)
	case syn && s.Flags&rawtcp.ACK == 0:
		kind = kindHandshake
		f.addSYN(from, p.Time, s, &e)
	case syn:
		kind = kindHandshake
		f.addSYNACK(from, p.Time, s, &e)
	default:
		f.addOther(from, p.Time, s, &e)
		if s.Flags&rawtcp.FIN != 0 || peer.fin && peer.una == peer.end {
			kind = kindClosing
		}
	}
	if kind == kindData && s.Flags&(rawtcp.SYN|rawtcp.RST|rawtcp.FIN) == 0 && s.PayloadLen == 0 && me.rel(s.Seq) == 1 && peer.rel(s.Ack) == 1 {
		kind = kindHandshake // the last ACKs of an opening
	}
	if e.again && kind != kindHandshake {
		kind = kindAgain
	}
	if !f.isOpen && f.side[0].known && f.side[1].known && f.side[0].una >= 1 && f.side[1].una >= 1 {
		f.isOpen, f.established = true, p.Time
	}
	// With packets of one end only, its first segment after the SYN proves that
	// it heard the other.
	if !f.isOpen && me.known && me.spoke && (peer.packets == 0 || !peer.known && me.una >= 1) {
		f.isOpen, f.established = true, me.spokeAt
	}
	f.keep(z, kind, from, p, s, &e)
}

// secondSight reports whether the capture point has shown this very packet
// already: on another interface of the same machine (tcpdump -i any on a
// router or a bridge), or copied by the network. Each direction counts on the
// interface that showed it first.
func (d *side) secondSight(p *Packet, s *rawtcp.Segment) bool {
	n := s.Len()
	if !d.advances(s, n) {
		if d.placed && (p.Interface != d.iface || p.Dir != d.dir) || d.copied(p, s, n) {
			return true
		}
	}
	d.placed, d.iface, d.dir = true, p.Interface, p.Dir
	if n > 0 || s.Flags&rawtcp.RST != 0 {
		d.recent[d.nextRecent%len(d.recent)] = fingerprint(p, s, n)
		d.nextRecent++
	}
	if s.Flags&rawtcp.ACK != 0 && (!d.hasAck || d.lastAck.Less(s.Ack)) {
		d.lastAck, d.hasAck = s.Ack, true
	}
	return false
}

func fingerprint(p *Packet, s *rawtcp.Segment, n uint32) print {
	return print{p.Time, s.Seq, s.Ack, s.Options.TSVal, n, s.ID, s.Window, s.Flags}
}

// copied reports whether the segment looks like one of the latest in every bit
// that a sender changes when it sends again. A pure ACK says the same twice
// with good reason.
func (d *side) copied(p *Packet, s *rawtcp.Segment, n uint32) bool {
	if n == 0 && s.Flags&rawtcp.RST == 0 {
		return false
	}
	// Without an IP ID or a timestamp two packets can look alike by chance;
	// copies follow at once.
	limit := copyLimit
	if s.ID == 0 {
		limit = time.Millisecond
	}
	fp := fingerprint(p, s, n)
	for _, r := range d.recent[:min(d.nextRecent, len(d.recent))] {
		age := p.Time.Sub(r.at)
		r.at = fp.at
		if r == fp && age.Abs() <= limit {
			return true
		}
	}
	return false
}

// advances reports whether a segment says something that this side has not
// said before.
func (d *side) advances(s *rawtcp.Segment, n uint32) bool {
	switch {
	case s.Flags&rawtcp.RST != 0:
		return d.rsts == 0
	case s.Flags&rawtcp.SYN != 0 && s.Flags&rawtcp.ACK != 0:
		return d.synAcks == 0 || !d.known || s.Seq != d.base
	case s.Flags&rawtcp.SYN != 0:
		return !d.known || s.Seq != d.base
	case !d.based:
		return true
	}
	return d.rel(s.Seq)+int64(n) > d.end || d.hasAck && d.lastAck.Less(s.Ack)
}

// nativeTTL reports whether a TTL is one that systems send with. What a router
// forwards goes out of it as its own packets do, but with less.
func nativeTTL(ttl uint8) bool { return ttl == 64 || ttl == 128 || ttl == 255 }

// setISN begins the direction, or begins it again with another ISN.
func (d *side) setISN(isn rawtcp.Seq, at time.Time) {
	if d.known && d.base == isn {
		return
	}
	d.base, d.based, d.known = isn, true, true
	d.bare, d.synAck = false, false
	d.end, d.una, d.numHoles, d.fin = 0, 0, 0, false
	d.timedEnd, d.rtt = 0, 0
	d.endAt = at
}

func (d *side) offer(o *rawtcp.Options) {
	d.offered, d.hasOffer = *o, true
}

func (f *flow) addSYN(from int8, at time.Time, s *rawtcp.Segment, e *notes) {
	me := &f.side[from]
	if f.initiator < 0 {
		f.initiator = from
	}
	if me.known && me.base == s.Seq && me.bare {
		e.again = true
		me.again++
	}
	me.setISN(s.Seq, at)
	me.bare = true
	me.syns++
	me.lastSYN = at
	me.offer(&s.Options)
	me.reach(s)
	me.time(at, e.again)
}

func (f *flow) addSYNACK(from int8, at time.Time, s *rawtcp.Segment, e *notes) {
	me, peer := &f.side[from], &f.side[1-from]
	if f.initiator < 0 {
		f.initiator = 1 - from
	}
	me.synAcks++
	if peer.known && !peer.answeredBy(s.Ack) {
		e.note("answers another SYN, not this flow's (an old duplicate, RFC 9293 figure 8)")
		me.stale, me.isStale = s.Ack, true
		me.lastSYNACK = at
		return
	}
	if !peer.known {
		peer.setISN(s.Ack.Add(-1), at)
		peer.end = 1
	}
	if me.known && me.base == s.Seq && me.synAck {
		e.again = true
		me.again++
	}
	if !f.isOpen {
		me.setISN(s.Seq, at)
		me.synAck = true
		me.offer(&s.Options)
	}
	if me.base == s.Seq {
		me.reach(s)
		if me.una == 0 && !me.bare { // with a SYN before it, that is what will be answered
			me.time(at, e.again)
		}
	}
	me.lastSYNACK = at
	peer.acked(s.Ack, at, f.isOpen)
}

func (f *flow) addRST(from int8, at time.Time, s *rawtcp.Segment, e *notes) {
	me, peer := &f.side[from], &f.side[1-from]
	me.rsts++
	if f.isOpen {
		if f.resetBy < 0 {
			f.resetBy = from
		}
		return
	}
	a := answer{end: from, at: at, n: f.answer.n + 1}
	switch {
	// No socket, or one that gave up, RFC 9293 section 3.10.7.1: the RST has the
	// sequence number that the SYN-ACK acknowledged.
	case peer.synAck && s.Seq == me.base.Add(1) && me.known && !me.synAck:
		a.verdict, a.after = Aborted, since(at, peer.lastSYNACK)
	// Of a closed port, RFC 9293 section 3.10.7.1: the RST acknowledges what it answers.
	case s.Flags&rawtcp.ACK != 0 && peer.known && peer.answeredBy(s.Ack):
		a.verdict, a.after = Refused, since(at, peer.lastSYN)
	case peer.isStale && s.Seq == peer.stale:
		f.dropped[from] = true
		e.note("rejects the answer to a SYN that it did not send")
		return
	case f.challenged && s.Seq == f.challenge:
		e.note("ends the older connection (RFC 9293 figure 9)")
		return
	case me.known && me.rel(s.Seq) >= 0 && peer.synAck:
		a.verdict, a.after = Aborted, since(at, peer.lastSYNACK)
	case me.known && me.rel(s.Seq) >= 0 && peer.known:
		a.verdict, a.after = Refused, since(at, peer.lastSYN)
	case !peer.known && !me.known:
		return
	default:
		e.note("not acceptable: a TCP ignores it (RFC 9293 section 3.10.7.3, RFC 5961)")
		return
	}
	f.answer = a
}

// addOther takes a segment without SYN and RST.
func (f *flow) addOther(from int8, at time.Time, s *rawtcp.Segment, e *notes) {
	me, peer := &f.side[from], &f.side[1-from]
	n := int64(s.Len())
	if !f.isOpen && peer.bare && peer.una == 0 && s.Flags&rawtcp.ACK != 0 && !peer.answeredBy(s.Ack) && n == 0 {
		f.challenged, f.challenge = true, s.Ack
		e.note("acknowledges an older connection (RFC 9293 figure 9)")
		return
	}
	if !me.based {
		me.base, me.based = s.Seq.Add(-1), true
		me.end, me.endAt = 1, at
	}
	if s.Flags&rawtcp.ACK != 0 {
		if !peer.based {
			peer.base, peer.based = s.Ack.Add(-1), true
			peer.end, peer.una = 1, 1
		}
		if peer.una == 0 && peer.bare && peer.synAck && peer.timedEnd > 0 {
			// Not the SYN is answered here, but the SYN-ACK with the same number.
			peer.timedAt = peer.lastSYNACK
		}
		peer.acked(s.Ack, at, f.isOpen)
	}
	r := me.rel(s.Seq)
	if r >= 1 && !me.spoke && s.Flags&rawtcp.ACK != 0 {
		me.spoke, me.spokeAt = true, at
	}
	switch {
	case r+n > me.end+maxJump:
		e.note("far outside the window")
		return
	case n == 0:
		if r == me.end-1 && me.una == me.end && f.isOpen {
			e.note("keep-alive")
			me.probes++
		}
		return
	case r+n > me.end:
		if r > me.end {
			me.addHole(hole{me.end, r})
		} else if r < me.end {
			f.repeat(me, e)
		}
		me.end, me.endAt = r+n, at
		if s.Options.HasTimestamps {
			me.endTS, me.hasTS = s.Options.TSVal, true
		}
		if me.timedEnd == 0 {
			me.time(at, e.again)
		}
	case n == 1 && r == me.end-1 && me.una == me.end && s.Flags&rawtcp.FIN == 0:
		e.note("keep-alive")
		me.probes++
	case me.fill(hole{r, r + n}) && me.overtaken(at, s):
		e.note("overtaken on the way")
		me.reordered++
	default:
		f.repeat(me, e)
	}
	if s.Flags&rawtcp.FIN != 0 {
		me.fin = true
	}
}

func (f *flow) repeat(me *side, e *notes) {
	e.again = true
	me.timedEnd = 0
	me.again++
	if f.isOpen {
		me.dataAgain++
	}
}

// reach takes a SYN or SYN-ACK of the current ISN into account.
func (d *side) reach(s *rawtcp.Segment) { d.end = max(d.end, int64(s.Len())) }

// acked takes an acknowledgment of this side's sequence space into account.
// Before the flow is open nothing can be acknowledged that was not sent; later
// the capture may have missed it.
func (d *side) acked(ack rawtcp.Seq, at time.Time, open bool) {
	r := d.rel(ack)
	if r <= d.una || r > d.end && (!open || r > d.end+maxJump) {
		return
	}
	if r > d.end {
		d.missed += r - d.end
		d.end = r
	}
	d.una = r
	if d.timedEnd > 0 && r >= d.timedEnd {
		if rtt := at.Sub(d.timedAt); rtt >= 0 && (d.rtt == 0 || rtt < d.rtt) {
			d.rtt = max(rtt, 1)
		}
		d.timedEnd = 0
	}
}

// time begins to time the segment that the side ends with, unless it was sent
// before.
func (d *side) time(at time.Time, again bool) {
	d.timedEnd, d.timedAt = d.end, at
	if again {
		d.timedEnd = 0
	}
}

func (d *side) addHole(h hole) {
	if d.numHoles == len(d.holes) {
		copy(d.holes[:], d.holes[1:])
		d.numHoles--
	}
	d.holes[d.numHoles] = h
	d.numHoles++
}

// fill reports whether the range lies in one that was jumped over, and takes
// it out.
func (d *side) fill(r hole) bool {
	for i := range d.holes[:d.numHoles] {
		h := d.holes[i]
		if r.from < h.from || r.to > h.to {
			continue
		}
		copy(d.holes[i:], d.holes[i+1:d.numHoles])
		d.numHoles--
		if h.from < r.from {
			d.addHole(hole{h.from, r.from})
		}
		if r.to < h.to {
			d.addHole(hole{r.to, h.to})
		}
		return true
	}
	return false
}

// overtaken reports whether a segment that comes after a later one was sent
// before it. Timestamps say so where they differ (RFC 7323); otherwise what
// comes within 3 ms was overtaken, and what comes later was sent again, as
// Wireshark has it.
func (d *side) overtaken(at time.Time, s *rawtcp.Segment) bool {
	if d.hasTS && s.Options.HasTimestamps && s.Options.TSVal != d.endTS {
		return int32(s.Options.TSVal-d.endTS) < 0
	}
	return at.Sub(d.endAt) < reorderLimit
}

// keep makes the segment part of the timeline if there is room for its kind.
func (f *flow) keep(z *Analyzer, kind int, from int8, p *Packet, s *rawtcp.Segment, n *notes) {
	if !f.room(z, kind) {
		return
	}
	me, peer := &f.side[from], &f.side[1-from]
	r := f.push(p)
	r.setSegment(s)
	r.opening, r.end, r.again = kind == kindHandshake, from, n.again
	if me.based {
		r.relSeq = me.rel(s.Seq)
	}
	if s.Flags&rawtcp.RST != 0 && r.relSeq < 0 && s.Seq == 0 {
		r.relSeq = 0 // RFC 9293 section 3.10.7.1: SEQ=0, not a number of this flow
	}
	if s.Flags&rawtcp.ACK != 0 && peer.based {
		r.relAck = peer.rel(s.Ack)
	}
	if n.words != "" || p.Comment != "" {
		f.remark(r, p, remark{note: n.words})
	}
}

// push adds a record of a packet.
func (f *flow) push(p *Packet) *record {
	if f.records == nil {
		f.records = make([]record, 0, 8)
	}
	f.records = append(f.records, record{dir: p.Dir, omitted: int32(f.omitted)})
	f.omitted = 0
	r := &f.records[len(f.records)-1]
	r.setTime(p.Time)
	return r
}

// remark adds words to a record, those of a capture's comment among them.
func (f *flow) remark(r *record, p *Packet, m remark) {
	if p.Comment != "" {
		n := notes{words: m.note}
		n.note(strings.ReplaceAll(p.Comment, "\n", "; "))
		m.note = n.words
	}
	f.remarks = append(f.remarks, m)
	r.more = int32(len(f.remarks))
}

func (f *flow) room(z *Analyzer, kind int) bool {
	limits := [numKinds]int{z.cfg.MaxEvents, keptData, keptRetransmissions, keptClosing}
	if z.cfg.AllPackets && len(f.records) < z.cfg.MaxEvents || !z.cfg.AllPackets && f.kept[kind] < limits[kind] {
		f.kept[kind]++
		return true
	}
	f.omitted++
	f.left[kind]++
	return false
}

// since is the time from t to at, 0 where t is not known.
func since(at, t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return at.Sub(t)
}

func later(x, y time.Time) time.Time {
	if x.After(y) {
		return x
	}
	return y
}

// report is the side as a Timeline shows it.
func (d *side) report() Side {
	r := Side{
		ISNKnown: d.known, Packets: d.packets, SYNs: d.syns, SYNACKs: d.synAcks, RSTs: d.rsts, FIN: d.fin,
		Missed: d.missed, Retransmissions: d.again, dataRetransmits: d.dataAgain,
		Reordered: d.reordered, Duplicates: d.copies, KeepAlives: d.probes,
	}
	if d.known {
		r.ISN = uint32(d.base)
	}
	fin := int64(0)
	if d.fin {
		fin = 1
	}
	r.Sent = max(d.end-1-fin, 0)
	r.Acked = max(d.una-1, 0)
	if d.fin && d.una == d.end {
		r.Acked = max(r.Acked-1, 0)
	}
	if d.hasOffer {
		r.MSS, r.SACK, r.Timestamps = d.offered.MSS, d.offered.SACKPermitted, d.offered.HasTimestamps
		if d.offered.HasWScale {
			shift := d.offered.WScale
			r.WScale = &shift
		}
	}
	return r
}
