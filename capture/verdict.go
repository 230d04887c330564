package capture

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// Verdict says how the opening of a flow went, as far as the capture shows.
type Verdict string

// The verdicts.
const (
	Ordinary     Verdict = "ordinary"     // one end opened, the other answered: RFC 9293 figure 6
	Simultaneous Verdict = "simultaneous" // at least one end got a SYN while its own was outstanding: figure 7
	Refused      Verdict = "refused"      // a RST answered the SYN
	ByICMP       Verdict = "icmp"         // an ICMP error answered the SYN
	TimedOut     Verdict = "timeout"      // nothing acceptable answered for a second or more
	Aborted      Verdict = "aborted"      // the end that opened answered the SYN-ACK with RST: a scan, a socket that is gone, figure 8
	Incomplete   Verdict = "incomplete"   // the capture begins or ends in the middle of the opening
)

// Verdicts lists them in the order in which reports count them.
func Verdicts() []Verdict {
	return []Verdict{Ordinary, Simultaneous, Refused, ByICMP, TimedOut, Aborted, Incomplete}
}

// Words is the verdict in words: "ordinary open".
func (v Verdict) Words() string {
	switch v {
	case Ordinary:
		return "ordinary open"
	case Simultaneous:
		return "simultaneous open"
	case ByICMP:
		return "answered by ICMP"
	case TimedOut:
		return "timed out"
	}
	return string(v)
}

// The regimes of a crossing, with the words of package timing.
const (
	RegimeCrossed = "crossed" // each SYN found the mapping that the other end's own SYN had made
	RegimeAEarly  = "a-early" // a's SYN reached b before b's SYN had left
	RegimeBEarly  = "b-early"
)

// Crossing says how two SYNs passed each other.
//
// Each end has a spare: how much later its SYN could have left and still have
// been on the wire before the other's arrived. The margin is the smaller one,
// and negative when that SYN did leave too late. The places where 'left' and
// 'arrived' are meant are the two capture points, or the two hosts when there
// is one point: see CrossingFromTwo and CrossingFromOne.
//
// The spares also say where the two met: at the fraction
// SpareA/(SpareA+SpareB) of the way from a to b in time, whatever the delays
// of the two directions are.
type Crossing struct {
	Regime string        `json:"regime"`
	Margin time.Duration `json:"margin_ns"`
	Error  time.Duration `json:"error_ns"` // estimated, of margin and spares: |true - stated|
	SpareA time.Duration `json:"spare_a_ns"`
	SpareB time.Duration `json:"spare_b_ns"`
	Points int           `json:"points"` // capture points that it comes from: 1 or 2

	// Met is when the SYNs met, on the clock of a's capture point, and only if
	// they crossed. From one point it takes the delay to be the same in both
	// directions, from two it takes their clocks to agree.
	Met time.Time `json:"met,omitzero"`
}

// Fraction is where on the way from a to b, in time, the SYNs met: 0 at a, 1 at
// b.
func (c *Crossing) Fraction() float64 {
	if sum := c.SpareA + c.SpareB; sum > 0 {
		return float64(c.SpareA) / float64(sum)
	}
	return 0.5
}

// CrossingFromOne works out how two SYNs crossed from one capture point
// anywhere on the path, a host included. The events are those of one flow at
// that point.
//
// What one point sees of the two directions, with A's and B's SYN passing it
// at p_a and p_b, is the round trip from the point to A and back (R_a) and to B
// and back (R_b): a host answers a SYN with a SYN-ACK, and a SYN-ACK with an
// ACK, at once. A's SYN left A's host R_a/2 before p_a and B's arrived R_a/2
// after p_b, so
//
//	spare of A = (p_b - p_a) + R_a
//	spare of B = (p_a - p_b) + R_b
//
// and where R_a and R_b come from the two SYN-ACKs, this is simply the time
// between an end's own SYN and its own SYN-ACK. Only the sum of the way there
// and back is used: the path may be as asymmetric as it likes, and no clock is
// compared with another. The assumptions are that the hosts answer at once and
// that the delay of one direction did not change between two packets of the
// handshake.
//
// Where the packets of one end are known to leave the capturing host, its own
// term is not an estimate: the spare is the time between its SYN and the
// arrival of the peer's. Error is then the stamp resolution and that host's own
// turnaround, taken as the measure of the peer's; elsewhere the smaller round
// trip or, if that is less, 100 µs are allowed for the turnaround. What a second round
// trip (SYN-ACK to ACK) was shorter than the first is added: it tells how much
// the delays vary. It is an estimate: a far end that answers late, as a program
// on a busy machine does, may show in nothing that one point can see.
//
// The spares are those of the hosts. Between two NATs each is smaller by the
// round trip between that host and its NAT, which a host cannot see; capture
// at the NATs, or use CrossingFromTwo with captures there.
//
// It reports false when there were no two SYNs or none was answered.
func CrossingFromOne(events []Event) (Crossing, bool) { return crossingFromOne(events, 0, 0) }

// crossingFromOne is CrossingFromOne with the shortest round trips to a and b
// that the rest of the flow has shown, 0 = none.
func crossingFromOne(events []Event, toA, toB time.Duration) (Crossing, bool) {
	h := openingOf(events)
	if h == nil {
		return Crossing{}, false
	}
	a, b := &h[0], &h[1]
	synA, synB := a.copyFor(b), b.copyFor(a)
	if synA == nil || synB == nil || a.synAck == nil && b.synAck == nil {
		return Crossing{}, false
	}
	ra, leastA, okA := roundTrip(b, synB, a, toA)
	rb, leastB, okB := roundTrip(a, synA, b, toB)
	if !okA || !okB {
		return Crossing{}, false
	}
	g := synB.Time.Sub(synA.Time)
	c := Crossing{SpareA: g + ra, SpareB: rb - g, Points: 1}
	c.Error = resolution(synA, synB) + (ra - leastA) + (rb - leastB)
	const allowance = 100 * time.Microsecond // chosen by us: stock kernels answer a SYN within 20 to 60 µs
	switch {
	case a.isHere():
		c.SpareA = g
		c.Error += ra
	case b.isHere():
		c.SpareB = -g
		c.Error += rb
	default:
		c.Error += min(ra, rb, allowance)
	}
	if a.synAck != nil && b.synAck != nil && a.bare() && b.bare() {
		// Both answered a SYN while their own was out: they crossed, whatever a
		// stamp says.
		c.SpareA, c.SpareB = max(c.SpareA, 1), max(c.SpareB, 1)
	}
	c.conclude(synA.Time.Add(g / 2))
	return c, true
}

// CrossingFromTwo is CrossingFromOne from two capture points, one nearer to
// each end: both hosts, or the outsides of both NATs. atA and atB are the
// events of the same flow at the two. Each spare is read off one clock,
//
//	spare of A = arrival of B's SYN at a's point - passage of A's SYN there
//	spare of B = arrival of A's SYN at b's point - passage of B's SYN there
//
// so that the result is exact to the resolution of the stamps, and the two
// clocks need not agree. With d_ab, d_ba the delays between the points and x
// the skew these are x + d_ba and d_ab - x: the window of the skew is
// (-d_ba, d_ab). Only Met needs a common clock.
//
// Of a SYN that never arrived the arrival is estimated from the delay of the
// other packets of its direction; Error then has the spread of these.
//
// It reports false when one of the SYNs is missing at its own point.
func CrossingFromTwo(atA, atB []Event) (Crossing, bool) {
	pairs := pairUp(atA, atB)
	var best *Crossing
	answered := false
	for i := range atA {
		if atA[i].From != EndA || !atA[i].bareSYN() {
			continue
		}
		for j := range atB {
			if atB[j].From != EndB || !atB[j].bareSYN() {
				continue
			}
			c, ok := crossingOf(&atA[i], &atB[j], pairs)
			if !ok {
				continue
			}
			// Of several copies those count that were answered, and among the
			// others those that came closest.
			both := isAnswered(&atA[i], EndB, atA, atB) && isAnswered(&atB[j], EndA, atA, atB)
			if best == nil || both && !answered || both == answered && c.Margin > best.Margin {
				best, answered = &c, both
			}
		}
	}
	if best == nil {
		return Crossing{}, false
	}
	return *best, true
}

// crossingOf is the crossing of one copy of a's SYN, as it passed a's point,
// and one of b's, as it passed b's.
func crossingOf(synA, synB *Event, pairs *pairing) (Crossing, bool) {
	inB, errB, okB := pairs.arrival(synA) // on b's clock
	inA, errA, okA := pairs.arrival(synB) // on a's clock
	if !okA || !okB {
		return Crossing{}, false
	}
	c := Crossing{
		SpareA: inA.Sub(synA.Time),
		SpareB: inB.Sub(synB.Time),
		Points: 2,
		Error:  resolution(synA, synB) + errA + errB,
	}
	journey := float64(inB.Sub(synA.Time))
	c.conclude(synA.Time.Add(time.Duration(journey * c.Fraction())))
	return c, true
}

// conclude fills in what follows from the spares.
func (c *Crossing) conclude(met time.Time) {
	c.Margin = min(c.SpareA, c.SpareB)
	switch {
	case c.Margin > 0:
		c.Regime, c.Met = RegimeCrossed, met
	case c.SpareB <= c.SpareA:
		c.Regime = RegimeAEarly
	default:
		c.Regime = RegimeBEarly
	}
}

// Words is the crossing in a sentence. The names are of the places that the
// spares are about: "the SYNs crossed, margin 9.980 ms ± 0.002 ms: b's SYN left
// nat-b that long before a's came there".
func (c *Crossing) Words(a, b string) string {
	margin := inMS(c.Margin)
	if c.Margin < 0 {
		margin = inMS(-c.Margin)
	}
	if c.Error > 0 {
		margin += " ± " + inMS(c.Error)
	}
	switch c.Regime {
	case RegimeAEarly:
		return fmt.Sprintf("the SYNs did not cross: a's came to %s %s before b's own had left", b, margin)
	case RegimeBEarly:
		return fmt.Sprintf("the SYNs did not cross: b's came to %s %s before a's own had left", a, margin)
	}
	if c.SpareA <= c.SpareB {
		return fmt.Sprintf("the SYNs crossed, margin %s: a's SYN left %s that long before b's came there", margin, a)
	}
	return fmt.Sprintf("the SYNs crossed, margin %s: b's SYN left %s that long before a's came there", margin, b)
}

// atOneEnd says which end alone saw a simultaneous open, if one did.
func (c *Crossing) atOneEnd() string {
	switch c.Regime {
	case RegimeAEarly:
		return "at a only; "
	case RegimeBEarly:
		return "at b only; "
	}
	return ""
}

// opening is what one end sent to open a flow, at one place.
type opening struct {
	syns   []*Event
	synAck *Event // the first that answers the other's SYN
	copies []*Event
	ack    *Event // the first segment without SYN after it heard the other
	dir    [3]int
}

func (o *opening) bare() bool { return len(o.syns) > 0 }

// isHere reports whether the end's packets left the capturing host.
func (o *opening) isHere() bool { return o.dir[DirOut] > 0 && o.dir[DirIn] == 0 }

// openingOf sorts the packets of a handshake; nil unless both ends sent a SYN
// without ACK.
func openingOf(events []Event) *[2]opening {
	h := sortOpening(events)
	if !h[0].bare() || !h[1].bare() {
		return nil
	}
	return h
}

func sortOpening(events []Event) *[2]opening {
	var h [2]opening
	var isn [2]uint32
	index := func(e *Event) int {
		if e.From == EndB {
			return 1
		}
		return 0
	}
	for i := range events {
		if e := &events[i]; e.ICMP == "" && e.Flags&(rawtcp.SYN|rawtcp.RST) == rawtcp.SYN {
			isn[index(e)] = e.Seq
		}
	}
	for i := range events {
		e := &events[i]
		if e.ICMP != "" || e.Flags&rawtcp.RST != 0 {
			continue
		}
		x := index(e)
		o := &h[x]
		if e.Dir != DirOut || nativeTTL(e.TTL) {
			o.dir[min(int(e.Dir), 2)]++
		}
		switch {
		case e.bareSYN() && e.Seq == isn[x]:
			o.syns = append(o.syns, e)
		case e.synACK() && e.Seq == isn[x] && e.Ack-isn[1-x]-1 <= 1<<16:
			if o.synAck == nil {
				o.synAck = e
			}
			o.copies = append(o.copies, e)
		case e.Flags&(rawtcp.SYN|rawtcp.ACK) == rawtcp.ACK && o.ack == nil && e.Ack-isn[1-x]-1 < 1<<30 && e.Seq != isn[x]:
			o.ack = e
		}
	}
	return &h
}

// copyFor chooses the copy of this end's SYN that the other answered, or would
// have had to.
func (o *opening) copyFor(other *opening) *Event {
	answer := other.synAck
	if answer == nil {
		answer = o.synAck // what was outstanding when the other's SYN came
	}
	return copyBefore(o.syns, answer)
}

// copyBefore is the copy that answer echoes the timestamp of (RFC 7323 section
// 3), else the last one before answer.
func copyBefore(copies []*Event, answer *Event) *Event {
	if answer == nil || len(copies) == 0 {
		return nil
	}
	var last *Event
	for _, e := range copies {
		if e.Time.After(answer.Time) {
			continue
		}
		last = e
	}
	if answer.TSEcr != 0 {
		for _, e := range copies {
			if e.TSVal == answer.TSEcr && !e.Time.After(answer.Time) {
				return e
			}
		}
	}
	return last
}

// roundTrip is the time from the capture point to the end 'to' and back: from
// the SYN of the other end to its SYN-ACK. An end that sent none got no SYN in
// time: then any round trip will do, and the shortest has least of the end's
// own delay in it, be it from the other's SYN-ACK to its first ACK or one seen
// later in the flow (0 = none).
func roundTrip(from *opening, syn *Event, to *opening, later time.Duration) (rtt, shortest time.Duration, ok bool) {
	var samples []time.Duration
	if to.synAck != nil && syn != nil && !to.synAck.Time.Before(syn.Time) {
		samples = append(samples, to.synAck.Time.Sub(syn.Time))
	}
	if from.synAck != nil && to.ack != nil {
		asked := from.synAck // the first copy: not less than the truth
		for _, e := range from.copies {
			if to.ack.TSEcr != 0 && e.TSVal == to.ack.TSEcr {
				asked = e
			}
		}
		if !to.ack.Time.Before(asked.Time) {
			samples = append(samples, to.ack.Time.Sub(asked.Time))
		}
	}
	if len(samples) == 0 {
		return 0, 0, false
	}
	if later > 0 {
		samples = append(samples, later)
	}
	shortest = slices.Min(samples)
	if to.synAck == nil {
		return shortest, shortest, true
	}
	return samples[0], shortest, true
}

// resolution is what the stamps are good for, both together: nothing when they
// have nanoseconds, 2 µs when they are whole microseconds.
func resolution(events ...*Event) time.Duration {
	for _, e := range events {
		if e.Time.Nanosecond()%1000 != 0 {
			return 0
		}
	}
	return time.Duration(len(events)) * time.Microsecond
}

// waitLimit is how long a SYN must have been waited for to call it a timeout:
// the first retransmission timeout, RFC 6298 section 2.1.
const waitLimit = time.Second

// judge fills in the verdict and what goes with it. a is the index of the end
// called a, end until when the capture looked.
func (tl *Timeline) judge(f *flow, a int8, end time.Time) {
	sa, sb := &f.side[a], &f.side[1-a]
	tl.Established = f.isOpen
	if f.isOpen {
		tl.EstablishedAt = f.established.Sub(tl.Reference)
	}
	tl.OneWay = (sa.packets == 0 || sb.packets == 0) && (sa.packets+sb.packets) > 0 &&
		(f.isOpen || sa.synAcks+sb.synAcks > 0)
	crossed := sa.bare && sb.bare
	tl.Simultaneous = sa.bare && sa.synAck || sb.bare && sb.synAck || crossed && f.isOpen
	if sa.rtt > 0 && sb.rtt > 0 {
		tl.RoundTrip = sa.rtt + sb.rtt
	}
	tl.reckonWays(f, a)
	if tl.OneWay {
		tl.A.Missed, tl.B.Missed = 0, 0
	}
	if crossed {
		if c, ok := crossingFromOne(tl.Events, sb.rtt, sa.rtt); ok {
			tl.Crossing = &c
		}
	}
	open, answered := EndA, EndB
	if f.initiator == 1-a {
		open, answered = answered, open
	}
	var parts []string
	say := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case f.isOpen && tl.Simultaneous:
		tl.Verdict = Simultaneous
		switch {
		case tl.Crossing != nil:
			say("%s", tl.Crossing.atOneEnd()+tl.Crossing.Words("a", "b"))
		case tl.OneWay:
			say("one end answered a SYN while its own was outstanding; the other's packets were not captured")
		default:
			say("an end got a SYN while its own was outstanding")
		}
	case f.isOpen && (sa.bare || sb.bare):
		tl.Verdict = Ordinary
		say("%s opened, %s answered", open, answered)
		if tl.OneWay {
			say("only one direction was captured")
		}
	case f.isOpen && tl.OneWay:
		tl.Verdict = Ordinary
		say("%s answered a SYN; only its packets were captured", answered)
	case f.isOpen:
		tl.Verdict = Incomplete
		say("open; the capture starts after the first SYN")
	case f.answer.verdict != "":
		tl.Verdict = f.answer.verdict
		say("%s", f.answer.sentence(a))
	case f.dropped[0] || f.dropped[1]:
		tl.Verdict = Aborted
		say("an old duplicate of a SYN was answered, and the answer rejected (RFC 9293 figure 8)")
	case sa.bare || sb.bare:
		first := f.firstSYN()
		if waited := end.Sub(first); waited >= waitLimit {
			tl.Verdict = TimedOut
			tl.sayTimeout(say, f, open, answered, waited)
		} else {
			tl.Verdict = Incomplete
			say("the capture ends %s after the first SYN", inMS(max(end.Sub(first), 0)))
		}
	case sa.known || sb.known:
		tl.Verdict = Incomplete
		say("the capture starts after the first SYN and shows no completed opening")
	default:
		tl.Verdict = Incomplete
		say("the capture starts after the opening")
	}
	if f.challenged {
		say("the peer still held an older connection on these ports (RFC 9293 figure 9)")
	}
	if f.isOpen && f.answer.n > 0 {
		say("after %s", f.answer.count())
	}
	tl.Detail = strings.Join(parts, "; ")
}

// reckonWays works out how far the ends are from the capture point: half of the
// way there and back.
func (tl *Timeline) reckonWays(f *flow, a int8) {
	back := [2]time.Duration{f.side[1].rtt, f.side[0].rtt} // to each end and back
	if n := f.answer; n.verdict == Refused && back[n.end] == 0 {
		back[n.end] = n.after
	}
	tl.toA, tl.toB = (back[a]+1)/2, (back[1-a]+1)/2 // at once is 1 ns, not unknown
	switch {
	case tl.A.Local:
		tl.toA = 0
	case tl.B.Local:
		tl.toB = 0
	case tl.toA == 0 || tl.toB == 0:
		tl.toA, tl.toB = 0, 0 // the point is somewhere between: not known is not 0
	}
}

func (tl *Timeline) sayTimeout(say func(string, ...any), f *flow, open, answered string, waited time.Duration) {
	synAcks := tl.A.SYNACKs + tl.B.SYNACKs
	switch {
	case tl.A.SYNs > 0 && tl.B.SYNs > 0 && synAcks == 0:
		say("both ends sent SYNs (a %d, b %d) and neither answered the other's for %s", tl.A.SYNs, tl.B.SYNs, inMS(waited))
	case tl.A.SYNs > 0 && tl.B.SYNs > 0:
		say("both ends sent SYNs, and a SYN-ACK was never acknowledged (%s)", inMS(waited))
	case synAcks > 0:
		say("%s answered, but its SYN-ACK was never acknowledged (%s)", answered, inMS(waited))
	default:
		say("nothing answered %s of %s for %s", plural(max(tl.A.SYNs, tl.B.SYNs), "SYN"), open, inMS(waited))
	}
}

// firstSYN is the time of the first SYN that was kept.
func (f *flow) firstSYN() time.Time {
	for i := range f.records {
		if r := &f.records[i]; r.isBareSYN() {
			return r.time(time.Local)
		}
	}
	return f.first
}

// sentence says what refused the opening.
func (n *answer) sentence(a int8) string {
	who, other := EndA, EndB
	if n.end != a {
		who, other = other, who
	}
	after := ""
	if n.after > 0 {
		after = " after " + inMS(n.after)
	}
	switch n.verdict {
	case ByICMP:
		return fmt.Sprintf("%s's SYN was answered%s: ICMP %s", other, after, n.words)
	case Aborted:
		return fmt.Sprintf("%s answered the SYN-ACK with RST%s: no socket waited for it", who, after)
	}
	return fmt.Sprintf("%s's SYN was answered with RST%s", other, after)
}

// count says how often something refused before it worked.
func (n *answer) count() string {
	what := "RST"
	switch {
	case n.verdict == ByICMP && n.n > 1:
		what = "ICMP errors"
	case n.verdict == ByICMP:
		what = "ICMP error"
	case n.n > 1:
		what = "RSTs"
	}
	return fmt.Sprintf("%d %s", n.n, what)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// inMS prints a duration the way the ladder prints times: milliseconds with
// three digits, so that microseconds can be read off; seconds from 10 s on.
func inMS(d time.Duration) string {
	if d >= 10*time.Second || d <= -10*time.Second {
		return fmt.Sprintf("%.3f s", d.Seconds())
	}
	return fmt.Sprintf("%.3f ms", float64(d)/float64(time.Millisecond))
}
