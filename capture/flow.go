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

// Flow names the two ends of a flow as the capture point saw their addresses.
// A is the end that opened it: the sender of the first SYN, or, where no SYN
// was captured, whom the first SYN-ACK answered or who sent the first packet.
// AnalyzeConfig.A overrules that.
type Flow struct {
	A netip.AddrPort `json:"a"`
	B netip.AddrPort `json:"b"`
}

// String is "10.0.0.1:4000 - 10.0.0.2:5000".
func (f Flow) String() string { return f.A.String() + " - " + f.B.String() }

// Side is what one end of a flow sent.
type Side struct {
	ISN      uint32 `json:"isn"`       // initial sequence number, if ISNKnown
	ISNKnown bool   `json:"isn_known"` // from its SYN or SYN-ACK, or from a SYN-ACK that answers it
	Local    bool   `json:"local"`     // the capture was made on this end's host
	Packets  int64  `json:"packets"`
	SYNs     int    `json:"syns"`     // without ACK, retransmissions included
	SYNACKs  int    `json:"syn_acks"` // retransmissions included
	RSTs     int    `json:"rsts"`
	FIN      bool   `json:"fin"`

	// Offered in its SYN or SYN-ACK.
	MSS        uint16 `json:"mss,omitempty"`
	WScale     *uint8 `json:"wscale,omitempty"` // nil: no window scaling
	SACK       bool   `json:"sack,omitempty"`
	Timestamps bool   `json:"timestamps,omitempty"`

	// Data counted in sequence space, SYN and FIN excluded: Sent is as far as
	// its segments reached, Acked as far as the other end acknowledged, Missed
	// what was acknowledged though the capture never saw it.
	Sent   int64 `json:"sent_bytes"`
	Acked  int64 `json:"acked_bytes"`
	Missed int64 `json:"missed_bytes,omitempty"`

	Retransmissions int `json:"retransmissions"`       // segments that fill sequence space for the second time; SYNs included
	Reordered       int `json:"reordered,omitempty"`   // segments that were overtaken, not sent twice
	Duplicates      int `json:"duplicates,omitempty"`  // second sights of one packet: another interface, or copied on the way
	KeepAlives      int `json:"keep_alives,omitempty"` // probes of what was acknowledged already
	dataRetransmits int // the part of Retransmissions after the handshake
}

// How a flow ended, Timeline.Closed.
const (
	ClosedNot      = ""         // open, or the capture ended first
	ClosedHalf     = "half"     // one end sent FIN
	ClosedFIN      = "fin"      // both ends sent FIN
	ClosedResetA   = "reset-a"  // a sent RST after the flow was established
	ClosedResetB   = "reset-b"  //
	ClosedReplaced = "replaced" // a new SYN on the same addresses and ports
)

// Timeline is the story of one incarnation of a flow.
type Timeline struct {
	Flow        Flow    `json:"flow"`
	Incarnation int     `json:"incarnation"` // 1 for the first on these addresses and ports
	Verdict     Verdict `json:"verdict"`
	Detail      string  `json:"detail"` // the verdict in a sentence

	// Simultaneous: at least one end got a SYN while its own was outstanding
	// (RFC 9293 section 3.5): it sent SYN, then SYN-ACK with the same ISN.
	Simultaneous bool      `json:"simultaneous"`
	Crossing     *Crossing `json:"crossing,omitempty"` // where there were two SYNs and enough was seen

	// Reference is what every At counts from: AnalyzeConfig.Reference, or the
	// first packet.
	Reference time.Time `json:"reference"`
	Start     time.Time `json:"start"` // first and last packet
	End       time.Time `json:"end"`

	// Established: both SYNs were acknowledged on the wire at this place, the
	// second one at EstablishedAt after Reference.
	Established   bool          `json:"established"`
	EstablishedAt time.Duration `json:"established_ns,omitempty"`
	// RoundTrip between the two ends, the shortest seen; 0 = not known.
	RoundTrip time.Duration `json:"round_trip_ns,omitempty"`
	OneWay    bool          `json:"one_way,omitempty"` // packets of one end only were captured, though the other was there

	A Side `json:"a"`
	B Side `json:"b"`

	// Agreed by the two SYNs, where both were seen.
	WindowScaling bool `json:"window_scaling"`
	SACK          bool `json:"sack"`
	Timestamps    bool `json:"timestamps"`

	Retransmissions     int    `json:"retransmissions"`      // of both ends, the whole flow
	DataRetransmissions int    `json:"data_retransmissions"` // those after the flow was established
	RSTs                int    `json:"rsts"`
	ICMPs               int    `json:"icmps"`
	Closed              string `json:"closed,omitempty"`

	Events  []Event `json:"events"`            // oldest first, bounded: see AnalyzeConfig
	Omitted int     `json:"omitted,omitempty"` // packets left out after the last event

	// SameAs is the number (from 1) of the earlier timeline that shows the same
	// packets with other addresses: the capture was made on both sides of a NAT.
	// 0 = none.
	SameAs int `json:"same_as,omitempty"`

	order int64 // number of its first packet
}

// AnalyzeConfig sets what Analyze keeps. Nil works, and so does each zero field.
type AnalyzeConfig struct {
	// MaxFlows is how many timelines are kept; 0 = 16,384. When there are more,
	// flows that only one end ever spoke in go first (a scan, a fan-out that
	// found nothing), then finished ones, then all others, always the one that
	// was silent longest. Summary counts them.
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
	tuples  map[tupleKey]*tuple
	oneSide lruList // tuples with packets of one end only, least recently seen first
	twoSide lruList
	live    int // incarnations in tuples
	done    []*Timeline
	refused map[tupleKey]struct{} // what cfg.Keep said no to, for a while
	sum     Summary
	seg     rawtcp.Segment
	scratch [256]byte // headers completed after a snap length cut them
}

// NewAnalyzer makes an Analyzer; cfg may be nil.
func NewAnalyzer(cfg *AnalyzeConfig) *Analyzer {
	z := &Analyzer{tuples: make(map[tupleKey]*tuple), sum: Summary{Verdicts: make(map[Verdict]int)}}
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
			z.sum.First = p.Time
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
	end        [2]netip.AddrPort
	flows      []*flow // oldest first
	born       int     // incarnations so far
	seen       [2]bool
	list       *lruList
	prev, next *tuple
}

// lruList is a ring through a tuple that stands for both of its ends.
type lruList struct{ root tuple }

func (l *lruList) init() { l.root.prev, l.root.next = &l.root, &l.root }

func (l *lruList) oldest() *tuple {
	if l.root.next == &l.root {
		return nil
	}
	return l.root.next
}

func (l *lruList) push(t *tuple) {
	t.list = l
	t.prev, t.next = l.root.prev, &l.root
	t.prev.next, t.next.prev = t, t
}

func (t *tuple) unlink() {
	t.prev.next, t.next.prev = t.next, t.prev
}

func (t *tuple) newest() *flow { return t.flows[len(t.flows)-1] }

// flow is one incarnation while packets still come.
type flow struct {
	number      int // 1 for the first on the 4-tuple
	order       int64
	first, last time.Time
	side        [2]side
	initiator   int8 // -1 = not known
	established time.Time
	isOpen      bool // established

	events  []Event
	kept    [numKinds]int
	omitted int

	icmps      int
	answer     answer // the last one that refused
	challenged bool   // an ACK of an older connection came (RFC 9293 figure 9)
	challenge  rawtcp.Seq
	dropped    [2]bool // an end refused the other's SYN-ACK that answered an old duplicate
	replaced   bool
	resetBy    int8 // -1, or the end whose RST ended the open flow
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

// side is one direction of a flow.
type side struct {
	base    rawtcp.Seq // what relative numbers count from: the ISN, or a stand-in for it
	based   bool
	known   bool       // base is the ISN
	bare    bool       // the ISN came in a SYN without ACK
	synAck  bool       // sent an acceptable SYN-ACK with this ISN
	stale   rawtcp.Seq // ISN of a SYN-ACK that answered another SYN
	isStale bool

	end  int64 // relative; as far as its segments reached
	una  int64 // relative; as far as the other end acknowledged
	fin  bool
	rsts int
	// first segment without SYN and RST that proves that this end heard the other
	spokeAt time.Time
	spoke   bool

	endAt    time.Time
	endTS    uint32 // TSval of the segment that reached furthest
	hasTS    bool
	holes    [keptHoles]hole
	numHoles int

	packets, missed                             int64
	syns, synAcks                               int
	again, dataAgain, reordered, copies, probes int
	offered                                     rawtcp.Options
	hasOffer                                    bool
	in, out                                     int64
	iface                                       int
	dir                                         Direction
	native                                      bool // left with a TTL that no router had touched
	placed                                      bool
	lastSYN, lastSYNACK                         time.Time
	// The segment being timed: when timedEnd is acknowledged, the time since
	// timedAt is a round trip to the other end. A retransmission makes it void
	// (Karn's algorithm, RFC 6298 section 3).
	timedEnd   int64
	timedAt    time.Time
	rtt        time.Duration // shortest to the other end and back, 0 = none yet
	recent     [4]print
	nextRecent int
	lastAck    rawtcp.Seq
	hasAck     bool
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

func (z *Analyzer) segment(p *Packet, s *rawtcp.Segment, words string) {
	key, from := keyOf(s.Src, s.Dst)
	t := z.tuples[key]
	if t == nil {
		if !z.wanted(key, s.Src, s.Dst) {
			z.sum.Filtered++
			return
		}
		t = &tuple{key: key}
		t.end[from], t.end[1-from] = s.Src, s.Dst
		z.tuples[key] = t
		z.oneSide.push(t)
	}
	f := z.pick(t, from, p, s)
	t.seen[from] = true
	t.unlink()
	if t.seen[0] && t.seen[1] {
		z.twoSide.push(t)
	} else {
		z.oneSide.push(t)
	}
	f.add(z, from, p, s, words)
	if z.live+len(z.done) > z.cfg.MaxFlows {
		z.evict()
	}
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
	if len(t.flows) == 0 {
		return z.begin(t, p)
	}
	n := t.newest()
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
	if len(t.flows) == 1 {
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

func (z *Analyzer) begin(t *tuple, p *Packet) *flow {
	t.born++
	z.live++
	z.sum.Flows++
	if n := len(t.flows); n > 0 {
		t.flows[n-1].replaced = true
	}
	if len(t.flows) == keptIncarnations {
		old := t.flows[0]
		t.flows = append(t.flows[:0], t.flows[1:]...)
		z.live--
		z.done = append(z.done, z.timeline(t, old, p.Time))
	}
	f := &flow{number: t.born, order: z.sum.Packets, first: p.Time, initiator: -1, resetBy: -1}
	t.flows = append(t.flows, f)
	return f
}

// evict forgets flows until there is room for more.
func (z *Analyzer) evict() {
	for z.live+len(z.done) > z.cfg.MaxFlows {
		t := z.oneSide.oldest()
		if t == nil || t.next == &z.oneSide.root { // not the one that was just added to
			if len(z.done) > 0 {
				z.sum.Verdicts[z.done[0].Verdict]++
				z.done[0] = nil
				z.done = z.done[1:]
				z.sum.Evicted++
				continue
			}
			if two := z.twoSide.oldest(); two != nil {
				t = two
			}
		}
		if t == nil {
			return
		}
		for _, f := range t.flows {
			z.sum.Verdicts[z.timeline(t, f, z.sum.Last).Verdict]++
		}
		z.live -= len(t.flows)
		z.sum.Evicted += len(t.flows)
		t.unlink()
		delete(z.tuples, t.key)
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
	for _, t := range z.tuples {
		for _, f := range t.flows {
			tls = append(tls, z.timeline(t, f, end))
		}
	}
	slices.SortFunc(tls, func(x, y *Timeline) int { return cmp.Compare(x.order, y.order) })
	byISN := make(map[[2]uint32]int)
	for i, tl := range tls {
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
	z.done, z.tuples, z.live = nil, nil, 0
	return tls, z.sum
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
	e := Event{end: from, Note: words}
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
	if e.Retransmission && kind != kindHandshake {
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

func (f *flow) addSYN(from int8, at time.Time, s *rawtcp.Segment, e *Event) {
	me := &f.side[from]
	if f.initiator < 0 {
		f.initiator = from
	}
	if me.known && me.base == s.Seq && me.bare {
		e.Retransmission = true
		me.again++
	}
	me.setISN(s.Seq, at)
	me.bare = true
	me.syns++
	me.lastSYN = at
	me.offer(&s.Options)
	me.reach(s)
	me.time(at, e.Retransmission)
}

func (f *flow) addSYNACK(from int8, at time.Time, s *rawtcp.Segment, e *Event) {
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
		e.Retransmission = true
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
			me.time(at, e.Retransmission)
		}
	}
	me.lastSYNACK = at
	peer.acked(s.Ack, at, f.isOpen)
}

func (f *flow) addRST(from int8, at time.Time, s *rawtcp.Segment, e *Event) {
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
func (f *flow) addOther(from int8, at time.Time, s *rawtcp.Segment, e *Event) {
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
			me.time(at, e.Retransmission)
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

func (f *flow) repeat(me *side, e *Event) {
	e.Retransmission = true
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

// keep makes the event part of the timeline if there is room for its kind.
func (f *flow) keep(z *Analyzer, kind int, from int8, p *Packet, s *rawtcp.Segment, e *Event) {
	if !f.room(z, kind) {
		f.omitted++
		return
	}
	me, peer := &f.side[from], &f.side[1-from]
	ev := SegmentEvent(p.Time, "", s)
	ev.end, ev.Where, ev.Dir = from, z.cfg.Where, p.Dir
	ev.Retransmission, ev.Note = e.Retransmission, e.Note
	if me.based {
		ev.RelSeq = me.rel(s.Seq)
	}
	if s.Flags&rawtcp.RST != 0 && ev.RelSeq < 0 && s.Seq == 0 {
		ev.RelSeq = 0 // RFC 9293 section 3.10.7.1: SEQ=0, not a number of this flow
	}
	if s.Flags&rawtcp.ACK != 0 && peer.based {
		ev.RelAck = peer.rel(s.Ack)
	}
	if p.Comment != "" {
		ev.note(strings.ReplaceAll(p.Comment, "\n", "; "))
	}
	f.push(ev)
}

func (f *flow) push(ev Event) {
	ev.Omitted, f.omitted = f.omitted, 0
	f.events = append(f.events, ev)
}

func (f *flow) room(z *Analyzer, kind int) bool {
	if z.cfg.AllPackets {
		return len(f.events) < z.cfg.MaxEvents
	}
	limits := [numKinds]int{z.cfg.MaxEvents, keptData, keptRetransmissions, keptClosing}
	if f.kept[kind] >= limits[kind] {
		return false
	}
	f.kept[kind]++
	return true
}

func (z *Analyzer) addICMP(p *Packet, ip []byte) {
	ie, err := rawtcp.ParseICMP(ip)
	if err != nil {
		z.sum.Other++
		return
	}
	z.sum.ICMP++
	key, to := keyOf(ie.Src, ie.Dst)
	t := z.tuples[key]
	if t == nil {
		z.sum.ICMPUnmatched++
		return
	}
	f, least := t.newest(), int64(1<<62)
	for i := len(t.flows) - 1; i >= 0; i-- {
		s := rawtcp.Segment{Seq: ie.Seq}
		if d := t.flows[i].distance(to, &s); d < least {
			f, least = t.flows[i], d
		}
	}
	f.last = p.Time
	me := &f.side[to]
	f.icmps++
	ev := ICMPEvent(p.Time, "", &ie)
	ev.end, ev.Where, ev.Dir = 1-to, z.cfg.Where, p.Dir
	if me.based {
		ev.RelSeq = me.rel(ie.Seq)
	}
	kind := kindHandshake
	if f.isOpen {
		kind = kindData
	} else {
		f.answer = answer{
			verdict: ByICMP, end: 1 - to, at: p.Time, after: since(p.Time, later(me.lastSYN, me.lastSYNACK)),
			words: ie.String(), n: f.answer.n + 1,
		}
	}
	if p.Comment != "" {
		ev.note(strings.ReplaceAll(p.Comment, "\n", "; "))
	}
	if !f.room(z, kind) {
		f.omitted++
		return
	}
	f.push(ev)
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

// timeline judges an incarnation. end is until when the capture looked.
func (z *Analyzer) timeline(t *tuple, f *flow, end time.Time) *Timeline {
	a := f.initiator
	if a < 0 {
		a = 0
		if len(f.events) > 0 {
			a = f.events[0].end
			if f.events[0].ICMP != "" {
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
		Events:              f.events, Omitted: f.omitted, order: f.order,
	}
	if tl.Reference.IsZero() {
		tl.Reference = f.first
	}
	for i := range tl.Events {
		e := &tl.Events[i]
		e.From = EndB
		if e.end == a {
			e.From = EndA
		}
		e.At = e.Time.Sub(tl.Reference)
	}
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
