package capture

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// JoinConfig sets how Join puts two captures on one clock. Nil works.
type JoinConfig struct {
	// TrustClocks takes the two capturing clocks as one: they are disciplined
	// (PTP, or the same machine). Otherwise the packets themselves say how far
	// the clocks are apart.
	TrustClocks bool
	// Reference is what Event.At counts from, on a's clock; zero = each flow's
	// first packet.
	Reference time.Time
}

// How Join knew the offset between the clocks, Joined.OffsetFrom.
const (
	OffsetPackets = "packets" // from packets of this flow in both directions
	OffsetFlows   = "flows"   // from the other flow of the two captures that is nearest in time
	OffsetTrusted = "trusted" // JoinConfig.TrustClocks
	OffsetOneWay  = "one-way" // packets of one direction only: the clocks are taken as one if that keeps the delay positive
)

// Joined is one flow as two captures saw it, one from each end.
type Joined struct {
	A            *Timeline     `json:"-"` // in the first capture, a's side
	B            *Timeline     `json:"-"`
	FlowA        Flow          `json:"flow_at_a"` // the addresses there; a is the end near the first capture
	FlowB        Flow          `json:"flow_at_b"` // differ where a NAT stands between
	Verdict      Verdict       `json:"verdict"`
	Detail       string        `json:"detail"`
	Simultaneous bool          `json:"simultaneous"`
	Crossing     *Crossing     `json:"crossing,omitempty"`
	Offset       time.Duration `json:"offset_ns"`                  // b's clock minus a's
	Bound        time.Duration `json:"bound_ns"`                   // |true offset - Offset| <= Bound
	OffsetFrom   string        `json:"offset_from"`                // packets, flows, trusted, one-way
	DelayAB      time.Duration `json:"delay_ab_ns"`                // shortest, on the common clock; 0 = no packet arrived
	DelayBA      time.Duration `json:"delay_ba_ns"`                //
	EstablishedA time.Duration `json:"established_a_ns,omitempty"` // when both SYNs were acknowledged there, after Reference; 0 = never, as far as captured
	EstablishedB time.Duration `json:"established_b_ns,omitempty"` //
	LostAB       int           `json:"lost_ab,omitempty"`          // listed packets of a that did not arrive
	LostBA       int           `json:"lost_ba,omitempty"`          //
	Reference    time.Time     `json:"reference"`                  // what At counts from, on a's clock
	Events       []Event       `json:"events"`                     // of both places, Where "a" or "b", times on a's clock
	rewritten    bool
}

// Join finds the flows that both captures saw and puts each on one clock. Flows
// are matched by their initial sequence numbers, because a NAT rewrites
// addresses and ports; a firewall that rewrites sequence numbers defeats it.
// The first capture's end becomes a, whichever end opened.
//
// The offset of the clocks comes from the packets of the flow that both saw:
// a packet of a's arrives after it left, so offset <= arrival - departure for
// every one of them, and offset >= departure - arrival for every packet of b's.
// The offset is the middle of what remains and the bound half of it: at most
// half of the shortest round trip between the two capture points, whatever the
// asymmetry of the path. The clocks must not drift in the course of one
// handshake by more than the bound.
//
// The crossing does not depend on the offset: see CrossingFromTwo.
//
// It returns the flows that only one capture has as well.
func Join(a, b []*Timeline, cfg *JoinConfig) (joined []*Joined, onlyA, onlyB []*Timeline) {
	if cfg == nil {
		cfg = &JoinConfig{}
	}
	byISN := make(map[uint32][]*Timeline)
	for _, tl := range b {
		for _, isn := range tl.isns() {
			byISN[isn] = append(byISN[isn], tl)
		}
	}
	used := make(map[*Timeline]bool)
	for _, tl := range a {
		var match *Timeline
		for _, isn := range tl.isns() {
			for _, other := range byISN[isn] {
				if !used[other] && tl.sameISNs(other) && (match == nil || tl.likeness(other) > tl.likeness(match)) {
					match = other
				}
			}
		}
		if match == nil {
			onlyA = append(onlyA, tl)
			continue
		}
		used[match] = true
		joined = append(joined, &Joined{A: tl, B: match})
	}
	for _, tl := range b {
		if !used[tl] {
			onlyB = append(onlyB, tl)
		}
	}
	settle(joined, cfg)
	linkCaptures(onlyA, onlyB)
	return joined, onlyA, onlyB
}

// isns are the initial sequence numbers that the timeline is known by.
func (tl *Timeline) isns() []uint32 {
	var n []uint32
	if tl.A.ISNKnown {
		n = append(n, tl.A.ISN)
	}
	if tl.B.ISNKnown {
		n = append(n, tl.B.ISN)
	}
	return n
}

// sameISNs reports whether the two agree about at least one ISN and contradict
// each other about none.
func (tl *Timeline) sameISNs(other *Timeline) bool {
	x, y := tl.isns(), other.isns()
	shared := 0
	for _, n := range x {
		if slices.Contains(y, n) {
			shared++
		}
	}
	return shared == min(len(x), len(y)) && shared > 0
}

// likeness ranks candidates for a match.
func (tl *Timeline) likeness(other *Timeline) int {
	n := 0
	for _, isn := range tl.isns() {
		if slices.Contains(other.isns(), isn) {
			n += 2
		}
	}
	if tl.Flow.A == other.Flow.A || tl.Flow.B == other.Flow.B || tl.Flow.A == other.Flow.B || tl.Flow.B == other.Flow.A {
		n++
	}
	return n
}

// view is one flow of the pair while it is not known which end is which.
type view struct {
	at1, at2 []Event // of the two captures, From of the first
	// Bounds of the offset, clock 2 minus clock 1.
	lo, hi        time.Duration
	hasLo, hasHi  bool
	flow1, flow2  Flow
	offset, bound time.Duration
	estimated     bool
}

func settle(joined []*Joined, cfg *JoinConfig) {
	views := make([]*view, len(joined))
	for i, j := range joined {
		views[i] = newView(j.A, j.B)
	}
	for i, j := range joined {
		v := views[i]
		switch {
		case cfg.TrustClocks:
			j.OffsetFrom = OffsetTrusted
		case v.estimated:
			j.Offset, j.Bound, j.OffsetFrom = v.offset, v.bound, OffsetPackets
		default:
			if near := nearest(joined, views, i); near != nil {
				j.Offset, j.Bound, j.OffsetFrom = near.offset, near.bound, OffsetFlows
				break
			}
			j.OffsetFrom = OffsetOneWay
			if v.hasHi && v.hi < 0 {
				j.Offset = v.hi
			}
			if v.hasLo && v.lo > 0 {
				j.Offset = v.lo
			}
		}
		j.fill(v, cfg)
	}
}

// nearest is the view next in time whose offset is known.
func nearest(joined []*Joined, views []*view, i int) *view {
	var best *view
	var least time.Duration
	for k, v := range views {
		if !v.estimated {
			continue
		}
		if d := joined[k].A.Start.Sub(joined[i].A.Start).Abs(); best == nil || d < least {
			best, least = v, d
		}
	}
	return best
}

// newView relabels the two timelines so that a is the end near the first
// capture.
func newView(t1, t2 *Timeline) *view {
	v := &view{
		at1: slices.Clone(t1.Events), at2: slices.Clone(t2.Events),
		flow1: t1.Flow, flow2: t2.Flow,
	}
	swapped2 := t1.A.ISNKnown && t2.B.ISNKnown && t1.A.ISN == t2.B.ISN ||
		t1.B.ISNKnown && t2.A.ISNKnown && t1.B.ISN == t2.A.ISN
	if swapped2 {
		swapEnds(v.at2)
		v.flow2 = Flow{t2.Flow.B, t2.Flow.A}
	}
	// With D = (stamp at 2) - (stamp at 1) of a packet, D is larger by a round
	// trip for packets of the end near 1 than for those of the end near 2.
	var d [2][]time.Duration
	for _, p := range matchEvents(pointers(v.at1), pointers(v.at2), EndA, false) {
		d[0] = append(d[0], p[1].Time.Sub(p[0].Time))
	}
	for _, p := range matchEvents(pointers(v.at1), pointers(v.at2), EndB, false) {
		d[1] = append(d[1], p[1].Time.Sub(p[0].Time))
	}
	swap := false
	switch {
	case len(d[0]) > 0 && len(d[1]) > 0:
		swap = slices.Min(d[0]) < slices.Min(d[1])
	case t1.A.Local != t1.B.Local:
		swap = t1.B.Local
	case t2.A.Local != t2.B.Local:
		swap = t2.A.Local != swapped2
	}
	if swap {
		swapEnds(v.at1)
		swapEnds(v.at2)
		v.flow1 = Flow{v.flow1.B, v.flow1.A}
		v.flow2 = Flow{v.flow2.B, v.flow2.A}
		d[0], d[1] = d[1], d[0]
	}
	if v.hasHi = len(d[0]) > 0; v.hasHi {
		v.hi = slices.Min(d[0])
	}
	if v.hasLo = len(d[1]) > 0; v.hasLo {
		v.lo = slices.Max(d[1])
	}
	if v.hasHi && v.hasLo && v.lo <= v.hi {
		v.estimated = true
		v.offset, v.bound = v.lo+(v.hi-v.lo)/2, (v.hi-v.lo+1)/2
	}
	return v
}

func swapEnds(events []Event) {
	for i := range events {
		switch events[i].From {
		case EndA:
			events[i].From = EndB
		case EndB:
			events[i].From = EndA
		}
	}
}

// fill writes the joined story.
func (j *Joined) fill(v *view, cfg *JoinConfig) {
	for i := range v.at1 {
		v.at1[i].Where = EndA
	}
	for i := range v.at2 {
		v.at2[i].Where = EndB
		v.at2[i].Time = v.at2[i].Time.Add(-j.Offset)
	}
	j.FlowA, j.FlowB = v.flow1, v.flow2
	j.rewritten = v.flow1 != v.flow2
	pairs := pairUp(v.at1, v.at2)
	j.DelayAB, j.DelayBA = pairs.delay[0], pairs.delay[1]
	whole := j.A.whole && j.B.whole
	v.at1, j.LostAB = sift(v.at1, EndA, pairs, j.B.begun, whole)
	v.at2, j.LostBA = sift(v.at2, EndB, pairs, j.A.begun, whole)
	j.Verdict, j.Detail = j.A.Verdict, j.A.Detail
	if rank(j.B.Verdict) < rank(j.A.Verdict) {
		j.Verdict, j.Detail = j.B.Verdict, j.B.Detail
	}
	j.Simultaneous = j.A.Simultaneous || j.B.Simultaneous
	if c, ok := CrossingFromTwo(v.at1, v.at2); ok {
		j.Crossing = &c
		if j.Simultaneous || c.Regime != RegimeCrossed {
			j.Detail = c.Words("a", "b")
			if j.Simultaneous {
				j.Detail = c.atOneEnd() + j.Detail
			}
		}
	}
	j.Events = append(v.at1, v.at2...)
	slices.SortStableFunc(j.Events, func(x, y Event) int { return x.Time.Compare(y.Time) })
	j.Reference = cfg.Reference
	if j.Reference.IsZero() && len(j.Events) > 0 {
		j.Reference = j.Events[0].Time
	}
	if j.A.Established {
		j.EstablishedA = j.A.EstablishedAt + j.A.Reference.Sub(j.Reference)
	}
	if j.B.Established {
		j.EstablishedB = j.B.EstablishedAt + j.B.Reference.Add(-j.Offset).Sub(j.Reference)
	}
	for i := range j.Events {
		j.Events[i].At = j.Events[i].Time.Sub(j.Reference)
	}
}

// sift looks at the packets of a place that the other place does not have. Those
// that left end, of the opening, were lost, if begun says that the other place
// lists all of the opening. Of the others nothing can be said: the places keep
// some of the data each, and segments are cut and merged on the way. They are
// only listed where both list everything (whole).
func sift(events []Event, end string, pairs *pairing, begun, whole bool) (kept []Event, lost int) {
	omitted := 0
	for i := range events {
		e := &events[i]
		paired := pairs.to[e] != nil || pairs.from[e]
		switch {
		case paired:
		case e.opening && begun:
			if e.From == end && e.ICMP == "" {
				lost++
			}
		case e.opening || whole:
			e.loose = true
		default:
			omitted += 1 + e.Omitted
			continue
		}
		k := *e
		k.Omitted += omitted
		omitted = 0
		kept = append(kept, k)
	}
	return kept, lost
}

// rank orders verdicts by how much they know.
func rank(v Verdict) int {
	i := slices.Index([]Verdict{Simultaneous, Ordinary, Refused, ByICMP, Aborted, TimedOut}, v)
	if i < 0 {
		return 6
	}
	return i
}

// OffsetWords says how the two clocks were put together.
func (j *Joined) OffsetWords() string {
	switch j.OffsetFrom {
	case OffsetTrusted:
		return "the two clocks were taken as one"
	case OffsetOneWay:
		return "packets of one direction only: the offset between the clocks is not known"
	}
	from := ""
	if j.OffsetFrom == OffsetFlows {
		from = ", from another flow"
	}
	ahead := "ahead of"
	d := j.Offset
	if d < 0 {
		ahead, d = "behind", -d
	}
	if d < time.Microsecond/2 {
		return fmt.Sprintf("the two clocks agree%s if the path is symmetric (± %s if it is not)", from, inMS(j.Bound))
	}
	return fmt.Sprintf("b's clock is %s %s a's%s if the path is symmetric (± %s if it is not)", inMS(d), ahead, from, inMS(j.Bound))
}

// packetKey is what stays the same of a packet on its way through NATs.
type packetKey struct {
	from         string
	flags        rawtcp.Flags
	seq, ack     uint32
	tsval, tsecr uint32
	n            int
	icmp         string
}

func (e *Event) key() packetKey {
	return packetKey{e.From, e.Flags, e.Seq, e.Ack, e.TSVal, e.TSEcr, e.Len, e.ICMP}
}

// pairing says which sight at one place is which sight at another.
type pairing struct {
	to     map[*Event]*Event // from departure to arrival
	from   map[*Event]bool   // the arrivals among these
	delay  [2]time.Duration  // shortest, of packets of a and of b
	spread [2]time.Duration  // longest minus shortest
	n      [2]int
}

// pairUp matches what left a with what arrived at b, and the other way round.
func pairUp(atA, atB []Event) *pairing {
	p := &pairing{to: make(map[*Event]*Event), from: make(map[*Event]bool)}
	for i, end := range []string{EndA, EndB} {
		dep, arr := pointers(atA), pointers(atB)
		if end == EndB {
			dep, arr = arr, dep
		}
		var longest time.Duration
		for _, m := range matchEvents(dep, arr, end, true) {
			p.to[m[0]], p.from[m[1]] = m[1], true
			d := m[1].Time.Sub(m[0].Time)
			if p.n[i] == 0 || d < p.delay[i] {
				p.delay[i] = d
			}
			if p.n[i] == 0 || d > longest {
				longest = d
			}
			p.n[i]++
		}
		p.spread[i] = longest - p.delay[i]
	}
	return p
}

// arrival is when a packet came to the other place, or would have come there:
// then spread is the uncertainty.
func (p *pairing) arrival(e *Event) (at time.Time, spread time.Duration, ok bool) {
	if m := p.to[e]; m != nil {
		return m.Time, 0, true
	}
	i := 0
	if e.From == EndB {
		i = 1
	}
	if p.n[i] == 0 {
		return time.Time{}, 0, false
	}
	return e.Time.Add(p.delay[i]), p.spread[i], true
}

func pointers(events []Event) []*Event {
	p := make([]*Event, len(events))
	for i := range events {
		p[i] = &events[i]
	}
	return p
}

// matchEvents pairs the sights of the packets of one end at two places. causal
// says that the clocks agree well enough for no packet to arrive before it left.
func matchEvents(dep, arr []*Event, end string, causal bool) [][2]*Event {
	group := make(map[packetKey]*[2][]*Event)
	var order []packetKey
	for i, list := range [2][]*Event{dep, arr} {
		for _, e := range list {
			if e.From != end {
				continue
			}
			key := e.key()
			g := group[key]
			if g == nil {
				g = new([2][]*Event)
				group[key] = g
				order = append(order, key)
			}
			g[i] = append(g[i], e)
		}
	}
	var pairs [][2]*Event
	var typical *time.Duration
	for _, key := range order {
		if g := group[key]; len(g[0]) == 1 && len(g[1]) == 1 {
			pairs = append(pairs, [2]*Event{g[0][0], g[1][0]})
			if d := g[1][0].Time.Sub(g[0][0].Time); typical == nil || d < *typical {
				typical = &d
			}
		}
	}
	for _, key := range order {
		if g := group[key]; len(g[0]) > 0 && len(g[1]) > 0 && len(g[0])+len(g[1]) > 2 {
			pairs = append(pairs, matchCopies(g[0], g[1], typical, causal)...)
		}
	}
	slices.SortFunc(pairs, func(x, y [2]*Event) int { return cmp.Compare(x[0].Time.UnixNano(), y[0].Time.UnixNano()) })
	return pairs
}

// matchCopies pairs copies that look alike: a retransmission is one more
// departure, a loss one arrival less, a copy made on the way one more. As many
// departures as arrivals are taken in order. Otherwise each arrival takes the
// free departure whose delay is nearest to the typical one, and without such,
// the last that it can have come from.
func matchCopies(dep, arr []*Event, typical *time.Duration, causal bool) [][2]*Event {
	var pairs [][2]*Event
	if len(dep) == len(arr) {
		for i := range dep {
			pairs = append(pairs, [2]*Event{dep[i], arr[i]})
		}
		return pairs
	}
	if typical == nil && !causal {
		// The earlier ones were lost: they met no mapping.
		for i := 1; i <= min(len(dep), len(arr)); i++ {
			pairs = append(pairs, [2]*Event{dep[len(dep)-i], arr[len(arr)-i]})
		}
		slices.Reverse(pairs)
		return pairs
	}
	next := 0 // departures before it are taken or passed over
	for _, a := range arr {
		best, least := -1, time.Duration(0)
		for i := next; i < len(dep); i++ {
			d := a.Time.Sub(dep[i].Time)
			if causal && d < 0 {
				break
			}
			miss := d
			if typical != nil {
				miss = (d - *typical).Abs()
			}
			if best < 0 || miss <= least {
				best, least = i, miss
			}
		}
		if best < 0 {
			continue
		}
		pairs = append(pairs, [2]*Event{dep[best], a})
		next = best + 1
	}
	return pairs
}

// isAnswered reports whether the end 'by' answered this copy of a SYN with a
// SYN-ACK, as seen at either place. at is the SYN's own place.
func isAnswered(syn *Event, by string, places ...[]Event) bool {
	for _, at := range places {
		var copies []*Event
		own := false
		for i := range at {
			if e := &at[i]; e.From == syn.From && e.bareSYN() && e.Seq == syn.Seq {
				copies = append(copies, e)
				own = own || e == syn
			}
		}
		for i := range at {
			e := &at[i]
			if e.From != by || !e.synACK() || e.Ack != syn.Seq+1 {
				continue
			}
			if own && copyBefore(copies, e) == syn || !own && e.TSEcr != 0 && e.TSEcr == syn.TSVal {
				return true
			}
			if own {
				break // only the first answer counts
			}
		}
	}
	return false
}
