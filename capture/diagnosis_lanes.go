package capture

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// Diagnosis says what became of the packets between the lanes: where each was
// dropped, which NAT answered, and how the SYNs crossed. Findings point into
// Events. A ladder of one capture point has none: see Timeline.Diagnosis.
func (l *Ladder) Diagnosis() []Finding {
	if len(l.Lanes) < 2 || len(l.Events) == 0 {
		return nil
	}
	s := l.scene()
	if s.point {
		return nil
	}
	x := &laneExam{scene: s, exam: exam{events: l.Events}}
	x.resets()
	x.errors()
	x.crossing(l.Crossing)
	x.losses()
	return x.list
}

// laneExam is a ladder with lanes being diagnosed.
type laneExam struct {
	*scene
	exam
	missed map[*route]bool // said to have been dropped for coming too early
}

// first and last stop of a route.
func (r *route) first() *stop { return &r.stops[0] }
func (r *route) last() *stop  { return &r.stops[len(r.stops)-1] }

// stopAt is where the route passed a lane, or nil.
func (r *route) stopAt(lane int) *stop {
	for i := range r.stops {
		if r.stops[i].lane == lane {
			return &r.stops[i]
		}
	}
	return nil
}

// evidence are the events of routes.
func evidence(routes ...*route) []int {
	var list []int
	for _, r := range routes {
		for _, s := range r.stops {
			list = append(list, s.event)
		}
	}
	return list
}

// at is "nat-b +30.000".
func (x *laneExam) at(s *stop) string { return x.lanes[s.lane] + " " + signedMS(s.at.Sub(x.ref)) }

// home is the lane of the end that sends in the direction.
func (x *laneExam) home(dir int) int {
	if dir > 0 {
		return 0
	}
	return len(x.lanes) - 1
}

// resets is about RSTs that answered a SYN.
func (x *laneExam) resets() {
	for i := range x.routes {
		r := &x.routes[i]
		if r.e.Flags&rawtcp.RST == 0 {
			continue
		}
		syn := x.answeredSYN(r)
		if syn == nil {
			continue
		}
		lane := r.first().lane
		began := syn.stopAt(lane)
		if lane == x.home(r.dir) {
			x.add(ClassNobodyListens, Certain, "", evidence(syn, r), "%s's host answered %s's SYN with RST (%s): nobody listened on that port, and no SYN of its own was outstanding",
				x.lanes[lane], syn.e.From, x.at(r.first()))
			continue
		}
		words := fmt.Sprintf("the RST that answered %s's SYN begins at %s (%s)", syn.e.From, x.lanes[lane], x.at(r.first()))
		if began != nil {
			words = fmt.Sprintf("%s answered %s's SYN (%s) with RST after %s", x.lanes[lane], syn.e.From, x.at(began), inMS(r.first().at.Sub(began.at)))
		}
		own, before := x.ownSYN(r, lane)
		switch {
		case own == nil:
			x.add(ClassNATReset, Certain, "", evidence(syn, r), "%s: no SYN of %s had made a mapping there", words, r.e.From)
		case before:
			x.add(ClassNATReset, Certain, "", evidence(syn, r, own), "%s, although %s's own SYN had passed there before (%s): the mapping was for another port or address, it filters, or an earlier answer removed it",
				words, r.e.From, x.at(own.stopAt(lane)))
		default:
			s := own.stopAt(lane)
			x.add(ClassNATReset, Certain, "", evidence(syn, r, own), "%s, %s before its mapping existed: %s's own SYN passed there at %s",
				words, inMS(s.at.Sub(r.first().at)), r.e.From, signedMS(s.at.Sub(x.ref)))
		}
	}
}

// answeredSYN is the SYN that a RST answers, or nil.
func (x *laneExam) answeredSYN(r *route) *route {
	var best *route
	for i := range x.routes {
		s := &x.routes[i]
		switch {
		case !s.e.bareSYN() || s.dir == r.dir || s.first().at.After(r.first().at):
		case r.e.Flags&rawtcp.ACK != 0 && r.e.Ack != s.e.Seq+1:
		default:
			best = s
		}
	}
	return best
}

// ownSYN is the SYN of the end that r seems to come from that passed a lane next
// before r began there, or if none did, first after it.
func (x *laneExam) ownSYN(r *route, lane int) (own *route, before bool) {
	for i := range x.routes {
		s := &x.routes[i]
		at := s.stopAt(lane)
		if !s.e.bareSYN() || s.dir != r.dir || at == nil {
			continue
		}
		if !at.at.After(r.first().at) {
			own, before = s, true
		} else if own == nil {
			own = s
		}
	}
	return own, before
}

// errors is about ICMP.
func (x *laneExam) errors() {
	for i := range x.routes {
		r := &x.routes[i]
		if r.e.ICMP == "" {
			continue
		}
		about := other(r.e.From)
		list := evidence(r)
		for k := range x.routes {
			if s := &x.routes[k]; s.e.bareSYN() && s.e.From == about && s.e.Seq == r.e.Seq && !s.first().at.After(r.first().at) {
				list = append(list, evidence(s)...)
			}
		}
		x.add(ClassICMP, Certain, "", list, "%s's SYN was answered by ICMP %s, first seen at %s", about, r.e.ICMP, x.at(r.first()))
	}
}

// crossing says how the SYNs passed each other.
func (x *laneExam) crossing(c *Crossing) {
	if c == nil {
		return
	}
	left, right := x.meetingLanes()
	var syns []*route
	for i := range x.routes {
		if r := &x.routes[i]; r.e.bareSYN() {
			syns = append(syns, r)
		}
	}
	if c.Regime == RegimeCrossed {
		x.add(ClassSimultaneous, Certain, "", evidence(syns...), "%s", c.Words(x.lanes[left], x.lanes[right]))
		return
	}
	early, lane := EndA, right
	if c.Regime == RegimeBEarly {
		early, lane = EndB, left
	}
	words := fmt.Sprintf("the window was missed by %s: %s's SYN came to %s that long before %s's own had passed there",
		inMS(-c.Margin), early, x.lanes[lane], other(early))
	x.add(ClassWindowMissed, Certain, "", evidence(syns...), "%s%s", words, x.notLetIn(syns, early, lane))
}

// notLetIn says that the early SYN was dropped at the lane, if it was, and takes
// it off the list of losses.
func (x *laneExam) notLetIn(syns []*route, early string, lane int) string {
	for _, r := range syns {
		if !r.lost || r.e.From != early || r.last().lane != lane && r.last().lane+r.dir != lane {
			continue
		}
		x.missed = map[*route]bool{r: true}
		if r.last().lane == lane {
			return "; it was not let in (" + x.at(r.last()) + ")"
		}
		return "; it was not let in"
	}
	return ""
}

// losses is about packets that did not come to the next lane.
func (x *laneExam) losses() {
	for i := range x.routes {
		r := &x.routes[i]
		if !r.lost || x.missed[r] || x.refusedByRST(r) || x.errorAbout(r) {
			continue
		}
		class := ClassACKDropped
		switch {
		case r.e.bareSYN():
			class = ClassSYNDropped
		case r.e.synACK():
			class = ClassSYNACKDropped
		case r.e.Flags&rawtcp.RST != 0 || !isAck(r.e) || r.e.RelAck > 1 || r.e.Len > 0:
			continue // of the connection, not of its opening
		}
		last := r.last()
		x.add(class, Certain, "", evidence(r), "%s's %s left %s and %s", r.e.From, namedAt(r.e.Flags.String(), r.first(), x.ref), x.lanes[r.first().lane], x.where(r, last))
	}
}

func namedAt(what string, s *stop, ref time.Time) string {
	return what + " (" + signedMS(s.at.Sub(ref)) + ")"
}

// where says between which lanes a packet was dropped, and by whom if a NAT
// stands there. The lane of a NAT is its public side.
func (x *laneExam) where(r *route, last *stop) string {
	here, next := x.lanes[last.lane], x.lanes[last.lane+r.dir]
	switch {
	case strings.HasPrefix(here, "nat-") && last.lane+r.dir == x.home(-r.dir):
		return fmt.Sprintf("%s dropped it: it came to its public side (%s) and not to %s", here, signedMS(last.at.Sub(x.ref)), next)
	case strings.HasPrefix(next, "nat-") && last.lane == x.home(r.dir):
		return fmt.Sprintf("%s did not send it on", next)
	}
	return fmt.Sprintf("was lost between %s (%s) and %s", here, signedMS(last.at.Sub(x.ref)), next)
}

// refusedByRST reports whether the end of a SYN's way is where a RST begins.
func (x *laneExam) refusedByRST(r *route) bool {
	return r.e.bareSYN() && slices.ContainsFunc(x.routes, func(o route) bool {
		return o.e.Flags&rawtcp.RST != 0 && o.dir != r.dir && o.first().lane == r.last().lane && !o.first().at.Before(r.last().at)
	})
}

// errorAbout reports whether an ICMP error tells of a SYN.
func (x *laneExam) errorAbout(r *route) bool {
	return slices.ContainsFunc(x.routes, func(o route) bool {
		return o.e.ICMP != "" && o.dir != r.dir && o.e.Seq == r.e.Seq && !o.first().at.Before(r.first().at)
	})
}

// Diagnosis is that of both captures together: what Ladder.Diagnosis says of
// the way between them, and what each capture shows alone. Findings point into
// Events.
func (j *Joined) Diagnosis() []Finding {
	best := j.A
	if rank(j.B.Verdict) < rank(j.A.Verdict) {
		best = j.B
	}
	list := j.Ladder().Diagnosis()
	has := func(c Class) bool {
		return slices.ContainsFunc(list, func(f Finding) bool { return f.Class == c })
	}
	switch {
	case j.Verdict == Ordinary:
		list = append(j.of(best, ClassOrdinary), list...)
	case j.Simultaneous && !has(ClassSimultaneous):
		list = append(j.of(best, ClassSimultaneous), list...)
	}
	for _, tl := range []*Timeline{j.A, j.B} {
		for _, f := range j.of(tl, oddClasses...) {
			if !has(f.Class) {
				list = append(list, f)
			}
		}
	}
	if len(list) == 0 {
		list = j.of(best)
	}
	return list
}

// oddClasses are those that the way between two captures says nothing about.
var oddClasses = []Class{ClassWrongPort, ClassHalfOpen, ClassChallenged, ClassOldDuplicate, ClassAborted, ClassRewritten, ClassTimestamps, ClassUnheard}

// of is the diagnosis of one capture's timeline, see diagnosisAt.
func (j *Joined) of(tl *Timeline, classes ...Class) []Finding {
	where, flow := EndA, j.FlowA
	if tl == j.B {
		where, flow = EndB, j.FlowB
	}
	return diagnosisAt(tl, j.Events, where, flow, j.Reference, j.Crossing, classes)
}

// diagnosisAt is the diagnosis of one place's timeline, with the names, times and
// numbers of the events of several places, of the classes only (none = all).
func diagnosisAt(tl *Timeline, events []Event, where string, flow Flow, ref time.Time, c *Crossing, classes []Class) []Finding {
	view := *tl
	view.Events, view.Reference, view.Crossing = nil, ref, c
	if tl.Flow != flow {
		view.Flow, view.A, view.B = flow, tl.B, tl.A
		view.links = tl.links.swapped()
	}
	var index []int
	for i := range events {
		if events[i].Where == where {
			view.Events = append(view.Events, events[i])
			index = append(index, i)
		}
	}
	var list []Finding
	for _, f := range view.Diagnosis() {
		if len(classes) > 0 && !slices.Contains(classes, f.Class) {
			continue
		}
		for n := range f.Events {
			f.Events[n] = index[f.Events[n]]
		}
		list = append(list, f)
	}
	return list
}
