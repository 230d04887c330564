package capture

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// AnalyzeConfig sets what Analyze keeps. Nil works, and so does each zero field.
type AnalyzeConfig struct {
	// MaxFlows is how many timelines are kept; 0 = 16,384. When there are more,
	// flows that only one end ever spoke in go first as far as they are more than a
	// quarter (a scan, a fan-out that found nothing), then those that others on the
	// same ports replaced, then all others, always the one that was silent longest
	// or nearly so. Summary counts them.
	MaxFlows int
	// MaxEvents is how many events of a timeline's handshake are kept; 0 = 64,
	// with AllPackets 10,000 of the whole flow. Beyond these a timeline keeps a
	// few events of each kind (data, retransmissions, close) and counts the rest.
	MaxEvents int
	// AllPackets keeps data packets as events too.
	AllPackets bool
	// Reference is what Event.At counts from; zero = each timeline's first packet.
	Reference time.Time
	// A is the end to call "a" wherever it is one of the two; with port 0 the
	// address decides. Zero = the end that opened.
	A netip.AddrPort
	// Keep chooses flows; nil = all. It may be asked more than once about a flow
	// and must not depend on the order of the two.
	Keep func(x, y netip.AddrPort) bool
	// Where is copied to every event.
	Where string
}

// Chosen by us.
const (
	defaultMaxFlows     = 16384
	defaultMaxEvents    = 64
	defaultAllEvents    = 10000
	keptData            = 6                 // events of the data phase
	keptRetransmissions = 8                 // ... that are retransmissions
	keptClosing         = 8                 // ... with FIN or RST
	keptIncarnations    = 4                 // of one flow that may still receive packets
	keptHoles           = 8                 // ranges of one direction not yet seen
	keptRefused         = 1 << 16           // flows that Keep said no to
	idleLimit           = 180 * time.Second // then another SYN is another attempt: Linux gives up after 127 s (tcp_syn_retries 6)
	reorderLimit        = 3 * time.Millisecond
	copyLimit           = 50 * time.Millisecond // below every retransmission timer (RFC 6298, Linux 200 ms)
	maxJump             = 1 << 30               // largest window (RFC 7323 section 2.3)
)

// Summary counts what went through an Analyzer.
type Summary struct {
	Packets       int64           `json:"packets"`
	TCP           int64           `json:"tcp"`
	ICMP          int64           `json:"icmp"`           // ICMP errors about TCP segments
	ICMPUnmatched int64           `json:"icmp_unmatched"` // ... about no flow of the capture
	Other         int64           `json:"other"`          // neither
	Fragments     int64           `json:"fragments"`      // IP fragments without a TCP header
	Malformed     int64           `json:"malformed"`      // TCP that breaks the rules of its header
	Cut           int64           `json:"cut"`            // TCP cut before the end of the fixed header
	Filtered      int64           `json:"filtered,omitempty"`
	BackInTime    int64           `json:"back_in_time,omitempty"` // packets older than the one before them
	Flows         int             `json:"flows"`                  // incarnations, the evicted included
	Evicted       int             `json:"evicted"`                // flows judged and forgotten: MaxFlows
	Verdicts      map[Verdict]int `json:"verdicts"`               // of all Flows
	First         time.Time       `json:"first,omitzero"`
	Last          time.Time       `json:"last,omitzero"`
}

// Analyze reads packets until next returns io.EOF and tells the story of each
// TCP flow, in the order of their first packets. The packets may be of any link
// type, cut by a snap length, of hosts or of routers, with addresses of either
// side of a NAT.
//
// Another error of next ends the analysis too; it is returned with everything
// that was read before it.
//
// Memory is bounded by cfg, whatever the input.
func Analyze(next func() (Packet, error), cfg *AnalyzeConfig) ([]*Timeline, Summary, error) {
	z := NewAnalyzer(cfg)
	for {
		p, err := next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			tls, sum := z.Finish(time.Time{})
			return tls, sum, err
		}
		z.Add(&p)
	}
}

// Analyzer is Analyze one packet at a time, for live packets. It is not safe
// for concurrent use.
type Analyzer struct {
	cfg     AnalyzeConfig
	tuples  table
	oneSide lruList // tuples with packets of one end only, least recently seen first
	twoSide lruList
	live    int // incarnations in tuples
	done    []*Timeline
	refused map[tupleKey]struct{} // what cfg.Keep said no to, for a while
	sum     Summary
	loc     *time.Location // of the packets' times
	seg     rawtcp.Segment
	began   func(t *tuple, f *flow) // for a Follower; nil = nobody asks
	scratch [256]byte               // headers completed after a snap length cut them
}

// NewAnalyzer makes an Analyzer; cfg may be nil.
func NewAnalyzer(cfg *AnalyzeConfig) *Analyzer {
	z := &Analyzer{tuples: newTable(), sum: Summary{Verdicts: make(map[Verdict]int)}, loc: time.Local}
	if cfg != nil {
		z.cfg = *cfg
	}
	if z.cfg.MaxFlows <= 0 {
		z.cfg.MaxFlows = defaultMaxFlows
	}
	if z.cfg.MaxEvents <= 0 {
		z.cfg.MaxEvents = defaultMaxEvents
		if z.cfg.AllPackets {
			z.cfg.MaxEvents = defaultAllEvents
		}
	}
	z.oneSide.init()
	z.twoSide.init()
	return z
}

// Add takes one packet. It does not keep p.Data.
func (z *Analyzer) Add(p *Packet) {
	z.sum.Packets++
	if !p.Time.IsZero() {
		if z.sum.First.IsZero() {
			z.sum.First, z.loc = p.Time, p.Time.Location()
		}
		if p.Time.Before(z.sum.Last) {
			z.sum.BackInTime++
		} else {
			z.sum.Last = p.Time
		}
	}
	ip, err := p.IP()
	if err != nil {
		z.sum.Other++
		return
	}
	switch transport(ip) {
	case protoTCP:
		z.addTCP(p, ip)
	case protoICMP, protoICMPv6:
		z.addICMP(p, ip)
	case protoUnknown: // behind extension headers
		if _, err := rawtcp.ParseICMP(ip); err == nil {
			z.addICMP(p, ip)
		} else {
			z.addTCP(p, ip)
		}
	default:
		z.sum.Other++
	}
}

// IP protocol numbers (IANA).
const (
	protoICMP    = 1
	protoTCP     = 6
	protoICMPv6  = 58
	protoUnknown = -1
)

// transport peeks at the protocol of an IP packet, so that other traffic costs
// no error value.
func transport(ip []byte) int {
	switch {
	case ip[0]>>4 == 4 && len(ip) >= 20:
		return int(ip[9])
	case ip[0]>>4 == 6 && len(ip) >= 40:
		switch ip[6] {
		case 0, 43, 44, 60: // extension headers, RFC 8200 section 4
			return protoUnknown
		}
		return int(ip[6])
	}
	return 0
}

func (z *Analyzer) addTCP(p *Packet, ip []byte) {
	s := &z.seg
	words := ""
	err := rawtcp.ParseInto(s, ip)
	switch {
	case err == nil:
	case errors.Is(err, rawtcp.ErrMalformed) && s.Src.IsValid():
		words = "broken TCP options"
	case errors.Is(err, rawtcp.ErrMalformed):
		z.sum.Malformed++
		return
	case errors.Is(err, rawtcp.ErrTruncated):
		if !z.parseCut(ip) {
			z.sum.Cut++
			return
		}
		words = "options cut off by the capture"
	case strings.Contains(err.Error(), "fragment"):
		z.sum.Fragments++
		return
	default:
		z.sum.Other++
		return
	}
	// A packet of 64 KiB and more, before segmentation, has length 0 in its IP
	// header: the capture knows how long it was.
	if cut := p.Len - len(p.Data); cut > 0 && lengthless(ip) {
		s.PayloadLen += cut
	}
	z.sum.TCP++
	if s.Flags&rawtcp.SYN == 0 {
		words = "" // nothing that anybody would miss
	}
	z.segment(p, s, words)
}

func lengthless(ip []byte) bool {
	if ip[0]>>4 == 4 {
		return ip[2] == 0 && ip[3] == 0
	}
	return ip[4] == 0 && ip[5] == 0
}

// parseCut parses a segment of which the capture kept the fixed part of the
// TCP header but not all options: those that are whole are read. A snap length
// of 96 does this to IPv6 SYNs behind a cooked header.
func (z *Analyzer) parseCut(ip []byte) bool {
	off := 40
	if ip[0]>>4 == 4 {
		off = int(ip[0]&0x0f) * 4
	} else if ip[6] != protoTCP {
		return false
	}
	const fixed = 20
	if len(ip) < off+fixed || len(ip) > len(z.scratch)-40 {
		return false
	}
	b := z.scratch[:off+int(ip[off+12]>>4)*4]
	if len(b) <= len(ip) {
		return false
	}
	clear(b)
	copy(b, ip)
	// Everything from the first incomplete option on becomes end-of-list.
	opts, have := b[off+fixed:], len(ip)-off-fixed
	for i := 0; i < have; {
		if opts[i] == 0 {
			break
		}
		if opts[i] == 1 {
			i++
			continue
		}
		if i+1 >= have || opts[i+1] < 2 || i+int(opts[i+1]) > have {
			clear(opts[i:])
			break
		}
		i += int(opts[i+1])
	}
	err := rawtcp.ParseInto(&z.seg, b)
	z.seg.Payload = nil
	return err == nil || errors.Is(err, rawtcp.ErrMalformed) && z.seg.Src.IsValid()
}

// tupleKey is a 4-tuple with its ends in a fixed order, quick to hash: address
// of the lower end (16 bytes), of the higher end, both ports.
type tupleKey [5]uint64

// keyOf returns the key, and which of its two ends x is.
func keyOf(x, y netip.AddrPort) (tupleKey, int8) {
	xa, ya := x.Addr().As16(), y.Addr().As16()
	x0, x1 := binary.BigEndian.Uint64(xa[:8]), binary.BigEndian.Uint64(xa[8:])
	y0, y1 := binary.BigEndian.Uint64(ya[:8]), binary.BigEndian.Uint64(ya[8:])
	xp, yp := uint64(x.Port()), uint64(y.Port())
	if x0 < y0 || x0 == y0 && (x1 < y1 || x1 == y1 && xp <= yp) {
		return tupleKey{x0, x1, y0, y1, xp<<16 | yp}, 0
	}
	return tupleKey{y0, y1, x0, x1, yp<<16 | xp}, 1
}

// tuple is one 4-tuple and its latest incarnations.
type tuple struct {
	key        tupleKey
	chain      *tuple // the next with the same slot
	newest     *flow  // the last of flows
	seen       [2]bool
	list       *lruList
	touched    int64 // number of the packet that put it there
	prev, next *tuple
	flows      []*flow // oldest first
	born       int     // incarnations so far
	end        [2]netip.AddrPort
}

// lruList is a ring through a tuple that stands for both of its ends.
type lruList struct {
	root tuple
	n    int
}

func (l *lruList) init() { l.root.prev, l.root.next = &l.root, &l.root }

func (l *lruList) oldest() *tuple {
	if l.root.next == &l.root {
		return nil
	}
	return l.root.next
}

func (l *lruList) push(t *tuple) {
	t.list = l
	l.n++
	t.prev, t.next = l.root.prev, &l.root
	t.prev.next, t.next.prev = t, t
}

func (t *tuple) unlink() {
	t.list.n--
	t.prev.next, t.next.prev = t.next, t.prev
}

func (z *Analyzer) segment(p *Packet, s *rawtcp.Segment, words string) {
	key, from := keyOf(s.Src, s.Dst)
	t := z.tuples.find(&key)
	if t == nil {
		if !z.wanted(key, s.Src, s.Dst) {
			z.sum.Filtered++
			return
		}
		t = &tuple{key: key}
		t.end[from], t.end[1-from] = s.Src, s.Dst
		z.tuples.add(t)
		z.oneSide.push(t)
	}
	f := z.pick(t, from, p, s)
	z.touch(t, from)
	f.add(z, from, p, s, words)
	if z.live+len(z.done) > z.cfg.MaxFlows {
		z.evict()
	}
}

// touch makes a tuple the latest of its list. One that was touched a moment ago
// stays where it is: with many flows that saves the memory traffic, and which
// is evicted changes by as many packets only.
func (z *Analyzer) touch(t *tuple, from int8) {
	list := &z.oneSide
	t.seen[from] = true
	if t.seen[0] && t.seen[1] {
		list = &z.twoSide
	}
	if t.list == list && z.sum.Packets-t.touched <= int64(z.cfg.MaxFlows/16) {
		return
	}
	t.touched = z.sum.Packets
	t.unlink()
	list.push(t)
}

// wanted asks cfg.Keep about a flow that is not known, and remembers a no.
func (z *Analyzer) wanted(key tupleKey, x, y netip.AddrPort) bool {
	if z.cfg.Keep == nil {
		return true
	}
	if _, no := z.refused[key]; no {
		return false
	}
	if z.cfg.Keep(x, y) {
		return true
	}
	if z.refused == nil || len(z.refused) >= keptRefused {
		z.refused = make(map[tupleKey]struct{})
	}
	z.refused[key] = struct{}{}
	return false
}

// pick chooses the incarnation that the segment belongs to, or begins one.
func (z *Analyzer) pick(t *tuple, from int8, p *Packet, s *rawtcp.Segment) *flow {
	if t.newest == nil {
		return z.begin(t, p)
	}
	n := t.newest
	me, peer := &n.side[from], &n.side[1-from]
	switch {
	case s.Flags&(rawtcp.SYN|rawtcp.ACK|rawtcp.RST) == rawtcp.SYN:
		for i := len(t.flows) - 1; i >= 0; i-- {
			f := t.flows[i]
			if me := &f.side[from]; me.known && me.base == s.Seq && !f.side[0].fin && !f.side[1].fin {
				return f
			}
		}
		// The second SYN of an open that is under way: the two SYNs may cross.
		if !me.known && !me.spoke && peer.known && !n.isOpen && p.Time.Sub(n.last) < idleLimit {
			return n
		}
		return z.begin(t, p)
	case s.Flags&(rawtcp.SYN|rawtcp.ACK|rawtcp.RST) == rawtcp.SYN|rawtcp.ACK:
		for i := len(t.flows) - 1; i >= 0; i-- {
			f := t.flows[i]
			if peer := &f.side[1-from]; peer.known && peer.answeredBy(s.Ack) {
				return f
			}
		}
		for i := len(t.flows) - 1; i >= 0; i-- {
			if f := t.flows[i]; f.side[from].known && f.side[from].base == s.Seq {
				return f
			}
		}
		if n.isOpen || n.side[0].fin || n.side[1].fin {
			return z.begin(t, p)
		}
		return n
	}
	if t.born == 1 {
		return n
	}
	// The old connection's answer to a new SYN belongs to the story of the new
	// SYN (RFC 9293 figure 9), and so does the RST that it provokes.
	pending := !n.isOpen && peer.bare && !me.known
	if pending && s.Flags&(rawtcp.RST|rawtcp.FIN|rawtcp.ACK) == rawtcp.ACK && s.PayloadLen == 0 {
		return n
	}
	if n.challenged && s.Flags&rawtcp.RST != 0 && s.Seq == n.challenge {
		for _, old := range t.flows[:len(t.flows)-1] {
			old.replaced = true
		}
		return n
	}
	best, least := n, n.distance(from, s)
	for i := len(t.flows) - 2; i >= 0; i-- {
		if d := t.flows[i].distance(from, s); d < least {
			best, least = t.flows[i], d
		}
	}
	return best
}

func (z *Analyzer) begin(t *tuple, p *Packet) *flow {
	t.born++
	z.live++
	z.sum.Flows++
	if n := len(t.flows); n > 0 {
		t.flows[n-1].replaced = true
	}
	if len(t.flows) == keptIncarnations {
		old := t.flows[0]
		old.gone = true
		t.flows = append(t.flows[:0], t.flows[1:]...)
		z.live--
		z.done = append(z.done, z.timeline(t, old, p.Time))
	}
	f := &flow{number: t.born, serial: z.sum.Flows, order: z.sum.Packets, first: p.Time, initiator: -1, resetBy: -1}
	t.flows, t.newest = append(t.flows, f), f
	if z.began != nil {
		z.began(t, f)
	}
	return f
}

// evict forgets flows until there is room for more.
func (z *Analyzer) evict() {
	for z.live+len(z.done) > z.cfg.MaxFlows {
		// Unanswered SYNs may have a quarter: more is a scan. Fewer may be handshakes
		// under way, which are worth more than what is over.
		t := z.twoSide.oldest()
		switch {
		case z.oneSide.n > max(z.cfg.MaxFlows/4, 1):
			t = z.oneSide.oldest()
		case len(z.done) > 0:
			z.sum.Verdicts[z.done[0].Verdict]++
			z.done[0] = nil
			z.done = z.done[1:]
			z.sum.Evicted++
			continue
		case t == nil || t == z.twoSide.root.prev: // not the one that was just added to
			t = z.oneSide.oldest()
		}
		if t == nil {
			return
		}
		for _, f := range t.flows {
			f.gone = true
			z.sum.Verdicts[z.timeline(t, f, z.sum.Last).Verdict]++
		}
		z.live -= len(t.flows)
		z.sum.Evicted += len(t.flows)
		t.unlink()
		z.tuples.remove(t)
	}
}

// Finish judges the flows and returns their timelines in the order of their
// first packets. end is until when packets would have been seen; zero = the
// last packet. A SYN without an answer is a timeout if it was waited for, and
// otherwise incomplete. The Analyzer must not be used any more.
func (z *Analyzer) Finish(end time.Time) ([]*Timeline, Summary) {
	if end.IsZero() {
		end = z.sum.Last
	}
	tls := z.done
	z.tuples.each(func(t *tuple) {
		for _, f := range t.flows {
			tls = append(tls, z.timeline(t, f, end))
		}
	})
	slices.SortFunc(tls, func(x, y *Timeline) int { return cmp.Compare(x.order, y.order) })
	byISN := make(map[[2]uint32]int)
	for i, tl := range tls {
		tl.number = i + 1
		z.sum.Verdicts[tl.Verdict]++
		if !tl.A.ISNKnown && !tl.B.ISNKnown {
			continue
		}
		isns := [2]uint32{min(tl.A.ISN, tl.B.ISN), max(tl.A.ISN, tl.B.ISN)}
		first, ok := byISN[isns]
		if ok && tl.Start.Sub(tls[first].Start).Abs() < time.Second && tl.Flow != tls[first].Flow {
			tl.SameAs = first + 1
		} else {
			byISN[isns] = i
		}
	}
	link(tls)
	z.done, z.tuples, z.live = nil, table{}, 0
	return tls, z.sum
}

func (z *Analyzer) addICMP(p *Packet, ip []byte) {
	ie, err := rawtcp.ParseICMP(ip)
	if err != nil {
		z.sum.Other++
		return
	}
	z.sum.ICMP++
	key, to := keyOf(ie.Src, ie.Dst)
	t := z.tuples.find(&key)
	if t == nil {
		z.sum.ICMPUnmatched++
		return
	}
	f, least := t.newest, int64(1<<62)
	for i := len(t.flows) - 1; i >= 0; i-- {
		s := rawtcp.Segment{Seq: ie.Seq}
		if d := t.flows[i].distance(to, &s); d < least {
			f, least = t.flows[i], d
		}
	}
	f.last = p.Time
	me := &f.side[to]
	f.icmps++
	kind := kindHandshake
	if f.isOpen {
		kind = kindData
	} else {
		f.answer = answer{
			verdict: ByICMP, end: 1 - to, at: p.Time, after: since(p.Time, later(me.lastSYN, me.lastSYNACK)),
			words: ie.String(), n: f.answer.n + 1,
		}
	}
	if !f.room(z, kind) {
		return
	}
	r := f.push(p)
	r.end, r.seq, r.opening = 1-to, uint32(ie.Seq), kind == kindHandshake
	if me.based {
		r.relSeq = me.rel(ie.Seq)
	}
	ev := ICMPEvent(p.Time, "", &ie)
	f.remark(r, p, remark{icmp: ev.ICMP, src: ev.Src, dst: ev.Dst})
}

// timeline judges an incarnation. end is until when the capture looked.
func (z *Analyzer) timeline(t *tuple, f *flow, end time.Time) *Timeline {
	a := f.initiator
	if a < 0 {
		a = 0
		if len(f.records) > 0 {
			a = f.records[0].end
			if m := f.records[0].more; m > 0 && f.remarks[m-1].icmp != "" {
				a = 1 - a
			}
		}
	}
	if want := z.cfg.A; want.IsValid() {
		for i, end := range t.end {
			if end == want || want.Port() == 0 && end.Addr() == want.Addr() && t.end[1-i].Addr() != want.Addr() {
				a = int8(i)
			}
		}
	}
	sa, sb := &f.side[a], &f.side[1-a]
	tl := &Timeline{
		Flow: Flow{t.end[a], t.end[1-a]}, Incarnation: f.number,
		Start: f.first, End: f.last, Reference: z.cfg.Reference,
		A: sa.report(), B: sb.report(),
		RSTs: sa.rsts + sb.rsts, ICMPs: f.icmps,
		Retransmissions:     sa.again + sb.again,
		DataRetransmissions: sa.dataAgain + sb.dataAgain,
		Omitted:             f.omitted, order: f.order, number: f.serial,
		whole: f.left == [numKinds]int{}, begun: f.left[kindHandshake] == 0,
	}
	if tl.Reference.IsZero() {
		tl.Reference = f.first
	}
	tl.Events = f.events(t, a, tl.Reference, z)
	tl.A.Local = sa.native && sa.in == 0 && sb.out == 0
	tl.B.Local = sb.native && sb.in == 0 && sa.out == 0
	if sa.hasOffer && sb.hasOffer {
		tl.WindowScaling = sa.offered.HasWScale && sb.offered.HasWScale
		tl.SACK = sa.offered.SACKPermitted && sb.offered.SACKPermitted
		tl.Timestamps = sa.offered.HasTimestamps && sb.offered.HasTimestamps
	}
	switch {
	case f.resetBy == a:
		tl.Closed = ClosedResetA
	case f.resetBy >= 0:
		tl.Closed = ClosedResetB
	case sa.fin && sb.fin:
		tl.Closed = ClosedFIN
	case f.replaced && f.isOpen:
		tl.Closed = ClosedReplaced
	case sa.fin || sb.fin:
		tl.Closed = ClosedHalf
	}
	tl.judge(f, a, end)
	return tl
}

// Describe says what is odd about what the Analyzer saw, one line each: cut,
// malformed and evicted. Nothing odd is no line.
func (s *Summary) Describe() []string {
	var lines []string
	add := func(n int64, format string, args ...any) {
		if n > 0 {
			lines = append(lines, fmt.Sprintf(format, append([]any{n}, args...)...))
		}
	}
	add(s.Malformed, "%d packets with a malformed TCP header were left out")
	add(s.Cut, "%d packets were cut inside their TCP header and left out (capture with a larger snap length: tcpdump -s 128)")
	add(s.Fragments, "%d IP fragments were left out")
	add(s.ICMPUnmatched, "%d ICMP errors are about flows that are not in the capture")
	add(s.BackInTime, "%d packets are older than the one before them: the capture is not in order of time")
	add(int64(s.Evicted), "%d flows were judged and counted but not kept (see --max-flows)")
	return lines
}
