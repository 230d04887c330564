package capture

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"time"
)

// Lanes are the names of the places of a path from left to right, for
// AnalyzeLanes: host a, the public sides of both NATs, host b.
func Lanes() []string { return []string{LaneA, LaneNATA, LaneNATB, LaneB} }

// Passage is one opening as several places on its way saw it, on one clock.
type Passage struct {
	Verdict      Verdict   `json:"verdict"`
	Detail       string    `json:"detail"`
	Simultaneous bool      `json:"simultaneous"`
	Crossing     *Crossing `json:"crossing,omitempty"` // between the NATs if both were captured
	Lanes        []string  `json:"lanes"`              // those that saw it, from a's side to b's
	Flows        []Flow    `json:"flows"`              // the addresses at each of these lanes
	Reference    time.Time `json:"reference"`          // what At counts from
	Events       []Event   `json:"events"`             // of the opening, Where names the lane; with AllPackets of all

	timelines []laneTimeline
	story     *Timeline // the one that knows most
}

// laneTimeline is the story of one lane.
type laneTimeline struct {
	lane int // of Lanes()
	flip bool
	tl   *Timeline
}

// AnalyzeLanes is Analyze for a capture of several places on one path whose
// clocks are one, as synpunch's lab records: next names the lane of each packet,
// one of Lanes(). Packets of other places are left out. Flows are put together
// by their initial sequence numbers, because NATs rewrite addresses.
//
// An error of next other than io.EOF is returned with all that was read before.
func AnalyzeLanes(next func() (lane string, p Packet, err error), cfg *AnalyzeConfig) ([]*Passage, Summary, error) {
	names := Lanes()
	var at [4]*Analyzer
	for i, name := range names {
		var c AnalyzeConfig
		if cfg != nil {
			c = *cfg
		}
		c.A, c.Where = netip.AddrPort{}, name
		at[i] = NewAnalyzer(&c)
	}
	var failed error
	var last time.Time
	for {
		lane, p, err := next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				failed = err
			}
			break
		}
		i := slices.Index(names, lane)
		if i < 0 {
			continue
		}
		if i == 1 || i == 2 {
			p.Dir = DirUnknown // neither end is here
		}
		if p.Time.After(last) {
			last = p.Time
		}
		at[i].Add(&p)
	}
	var all []laneTimeline
	sum := Summary{Verdicts: make(map[Verdict]int)}
	for i, z := range at {
		tls, s := z.Finish(last)
		sum.add(&s)
		for _, tl := range tls {
			all = append(all, laneTimeline{lane: i, tl: tl})
		}
	}
	var list []*Passage
	for _, group := range sameOpenings(all) {
		list = append(list, newPassage(group, cfg))
	}
	slices.SortStableFunc(list, func(x, y *Passage) int { return x.Events[0].Time.Compare(y.Events[0].Time) })
	sum.Flows = len(list)
	for _, p := range list {
		sum.Verdicts[p.Verdict]++
	}
	return list, sum, failed
}

// add puts the counts of packets together.
func (s *Summary) add(o *Summary) {
	s.Packets += o.Packets
	s.TCP += o.TCP
	s.ICMP += o.ICMP
	s.ICMPUnmatched += o.ICMPUnmatched
	s.Other += o.Other
	s.Fragments += o.Fragments
	s.Malformed += o.Malformed
	s.Cut += o.Cut
	s.Filtered += o.Filtered
	s.BackInTime += o.BackInTime
	s.Evicted += o.Evicted
	if s.First.IsZero() || !o.First.IsZero() && o.First.Before(s.First) {
		s.First = o.First
	}
	if o.Last.After(s.Last) {
		s.Last = o.Last
	}
}

// sameOpenings puts timelines together that share a sequence number and are not
// far apart in time. Those without a number or an event stand alone or fall out.
func sameOpenings(all []laneTimeline) [][]laneTimeline {
	parent := make([]int, len(all))
	var root func(i int) int
	root = func(i int) int {
		if parent[i] != i {
			parent[i] = root(parent[i])
		}
		return parent[i]
	}
	first := make(map[uint32]int)
	for i := range all {
		parent[i] = i
		for _, isn := range all[i].tl.isns() {
			n, ok := first[isn]
			if ok && all[n].tl.Start.Sub(all[i].tl.Start).Abs() < attempt {
				parent[root(i)] = root(n)
			} else {
				first[isn] = i
			}
		}
	}
	groups := make(map[int][]laneTimeline)
	var order []int
	for i, lt := range all {
		if len(lt.tl.Events) == 0 {
			continue
		}
		r := root(i)
		if groups[r] == nil {
			order = append(order, r)
		}
		groups[r] = append(groups[r], lt)
	}
	var list [][]laneTimeline
	for _, r := range order {
		list = append(list, groups[r])
	}
	return list
}

func newPassage(group []laneTimeline, cfg *AnalyzeConfig) *Passage {
	p := &Passage{timelines: group}
	p.orient()
	p.collect(cfg != nil && cfg.AllPackets)
	if cfg != nil {
		p.Reference = cfg.Reference
	}
	if p.Reference.IsZero() {
		p.Reference = p.Events[0].Time
	}
	for i := range p.Events {
		p.Events[i].At = p.Events[i].Time.Sub(p.Reference)
	}
	p.story = p.timelines[0].tl
	for _, lt := range p.timelines {
		// A host knows what its NAT does not; of two hosts the one that opened.
		outer, was := lt.lane == 0 || lt.lane == 3, p.storyOuter()
		if outer && !was || outer == was && rank(lt.tl.Verdict) < rank(p.story.Verdict) {
			p.story = lt.tl
		}
		p.Simultaneous = p.Simultaneous || lt.tl.Simultaneous
	}
	p.Verdict, p.Detail = p.story.Verdict, p.story.Detail
	p.cross()
	return p
}

func (p *Passage) storyOuter() bool {
	return slices.ContainsFunc(p.timelines, func(lt laneTimeline) bool { return lt.tl == p.story && (lt.lane == 0 || lt.lane == 3) })
}

// orient finds out which end of each timeline is a: the one whose packets come
// by a's lanes first.
func (p *Passage) orient() {
	type sight struct {
		lane int
		at   time.Time
	}
	sights := make(map[uint32][]sight) // of each ISN, by lane
	each := func(lt *laneTimeline, do func(end string, isn uint32)) {
		if lt.tl.A.ISNKnown {
			do(EndA, lt.tl.A.ISN)
		}
		if lt.tl.B.ISNKnown {
			do(EndB, lt.tl.B.ISN)
		}
	}
	for i := range p.timelines {
		lt := &p.timelines[i]
		each(lt, func(end string, isn uint32) {
			for k := range lt.tl.Events {
				if e := &lt.tl.Events[k]; e.From == end && e.ICMP == "" && e.Seq == isn {
					sights[isn] = append(sights[isn], sight{lt.lane, e.Time})
					break
				}
			}
		})
	}
	left := make(map[uint32]bool) // ISNs of a
	known := make(map[uint32]bool)
	for isn, list := range sights {
		first, last := list[0], list[len(list)-1] // in order of lanes
		switch {
		case first.lane == last.lane:
			known[isn], left[isn] = true, first.lane < 2
		case !first.at.Equal(last.at):
			known[isn], left[isn] = true, first.at.Before(last.at)
		}
	}
	for i := range p.timelines {
		lt := &p.timelines[i]
		each(lt, func(end string, isn uint32) {
			if known[isn] {
				lt.flip = left[isn] != (end == EndA)
			}
		})
	}
}

// collect lists the events of all lanes with the names of the path's ends.
func (p *Passage) collect(whole bool) {
	names := Lanes()
	seen := make(map[int]bool)
	for _, lt := range p.timelines {
		flow := lt.tl.Flow
		if lt.flip {
			flow = Flow{flow.B, flow.A}
		}
		if !seen[lt.lane] {
			seen[lt.lane] = true
			p.Lanes = append(p.Lanes, names[lt.lane])
			p.Flows = append(p.Flows, flow)
		}
		events := slices.Clone(lt.tl.Events)
		if lt.flip {
			swapEnds(events)
		}
		for _, e := range events {
			if !e.opening && !whole {
				continue
			}
			e.loose = !e.opening
			e.Omitted = 0
			p.Events = append(p.Events, e)
		}
	}
	if len(p.Events) == 0 { // nothing of an opening
		for _, lt := range p.timelines {
			p.Events = append(p.Events, lt.tl.Events...)
		}
	}
	slices.SortStableFunc(p.Events, func(x, y Event) int { return x.Time.Compare(y.Time) })
}

// cross works out the crossing: between the NATs, or else between the outermost
// lanes that saw it.
func (p *Passage) cross() {
	at := func(lane string) []Event {
		var list []Event
		for _, e := range p.Events {
			if e.Where == lane {
				list = append(list, e)
			}
		}
		return list
	}
	pairs := [][2]string{{LaneNATA, LaneNATB}, {LaneA, LaneB}}
	for _, pair := range pairs {
		if c, ok := CrossingFromTwo(at(pair[0]), at(pair[1])); ok {
			p.Crossing = &c
			if p.Simultaneous || c.Regime != RegimeCrossed {
				p.Detail = c.Words(pair[0], pair[1])
			}
			return
		}
	}
}

// Ladder is the passage's ladder, a lane for each place that saw it.
func (p *Passage) Ladder() *Ladder {
	l := &Ladder{Lanes: p.Lanes, Events: p.Events, Crossing: p.Crossing, Reference: p.Reference}
	for i, f := range p.Flows {
		words := f.A.String()
		if slices.Index(Lanes(), p.Lanes[i]) >= 2 {
			words = f.B.String()
		}
		l.Notes = append(l.Notes, words)
	}
	return l
}

// Facts are sentences on what was agreed and what became of the flow.
func (p *Passage) Facts() []string {
	story := *p.story
	story.EstablishedAt += story.Reference.Sub(p.Reference)
	return story.Facts()
}

// Diagnosis says why the opening went as it did: what became of the packets
// between the lanes, and what each host's own packets show. Findings point into
// Events.
func (p *Passage) Diagnosis() []Finding {
	var list []Finding
	has := func(c Class) bool {
		return slices.ContainsFunc(list, func(f Finding) bool { return f.Class == c })
	}
	if len(p.Lanes) > 1 {
		list = p.Ladder().Diagnosis()
	}
	for _, lt := range p.timelines {
		classes := oddClasses
		switch {
		case lt.tl == p.story && (lt.tl.Verdict == Ordinary || p.Simultaneous && !has(ClassSimultaneous)):
			list = append(p.of(lt, ClassOrdinary, ClassSimultaneous), list...)
		case lt.lane == 1 || lt.lane == 2:
			classes = []Class{ClassWrongPort} // the rest a NAT's own packets show as well as the host's
		}
		for _, f := range p.of(lt, classes...) {
			if !has(f.Class) {
				list = append(list, f)
			}
		}
	}
	if len(list) == 0 {
		for _, lt := range p.timelines {
			if lt.tl == p.story {
				list = p.of(lt)
			}
		}
	}
	return list
}

// of is the diagnosis of one lane alone.
func (p *Passage) of(lt laneTimeline, classes ...Class) []Finding {
	names := Lanes()
	flow := lt.tl.Flow
	if lt.flip {
		flow = Flow{flow.B, flow.A}
	}
	return diagnosisAt(lt.tl, p.Events, names[lt.lane], flow, p.Reference, p.Crossing, classes)
}
