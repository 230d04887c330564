package capture

import (
	"slices"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// route is the way of one packet through the lanes of a picture.
type route struct {
	stops []stop // in order of travel
	e     *Event // as seen first
	dir   int    // +1 to the right
	// How it begins and ends, where that is not at an outer lane.
	lost     bool // not seen at the next lane, where it should have been
	fades    bool // ... where nothing can be said
	comes    bool // seen at its last lane only: it comes from somewhere on the way
	level    bool // where it was between the lanes is not known at all
	notes    []string
	stub     time.Duration // how long a lost one is drawn under way
	repeated bool          // the options of its SYN were shown before
}

// stop is where and when a route passes a lane.
type stop struct {
	lane     int
	at       time.Time
	reckoned bool // not seen: half a round trip before or after it was
	event    int  // index of the event that says so
}

// scene is what a picture shows: lanes, and the routes between them.
type scene struct {
	lanes    []string
	under    []string // what stands below the names
	reckoned []bool   // lanes whose times are not seen but worked out
	routes   []route
	ref      time.Time
	point    bool // one capture point saw it all
	omitted  []omission
}

// omission is a place where packets were left out.
type omission struct {
	at time.Time
	n  int
}

// scene works out who passed which lane when.
func (l *Ladder) scene() *scene {
	k := &sketch{Ladder: l}
	paths := k.paths()
	s := &scene{lanes: l.Lanes, under: l.Notes, ref: l.Reference}
	if s.ref.IsZero() {
		s.ref = l.Events[0].Time
	}
	if len(s.under) != len(s.lanes) {
		s.under = make([]string, len(s.lanes))
	}
	s.reckoned = make([]bool, len(s.lanes))
	s.point = k.point
	if k.point {
		s.fromOnePoint(l, paths)
	} else {
		for _, p := range paths {
			s.routes = append(s.routes, k.route(p))
		}
	}
	s.offers()
	for i := range l.Events {
		if n := l.Events[i].Omitted; n > 0 {
			s.omitted = append(s.omitted, omission{l.Events[i].Time, n})
		}
	}
	if l.Omitted > 0 {
		s.omitted = append(s.omitted, omission{l.Events[len(l.Events)-1].Time, l.Omitted})
	}
	return s
}

// route is the way of a packet that lanes of their own saw.
func (k *sketch) route(p *path) route {
	r := route{e: p.sights[0].e, dir: p.dir}
	for _, s := range p.sights {
		r.stops = append(r.stops, stop{lane: s.lane, at: s.e.Time, event: s.e.index})
	}
	first, last := p.sights[0], p.sights[len(p.sights)-1]
	outer := func(lane, dir int) bool { return edgeLane(lane, dir, len(k.Lanes)) }
	ends := outer(last.lane, p.dir)
	begins := outer(first.lane, -p.dir)
	r.fades = !ends && last.e.loose
	r.lost = !ends && !r.fades
	r.comes = ends && len(p.sights) == 1
	switch {
	case begins || first.e.loose || first.e.ICMP != "":
	case r.comes && len(k.Lanes) == 2 && first.e.Flags&rawtcp.RST == 0:
		r.notes = append(r.notes, "not seen at "+k.sender(p.dir))
	case r.comes:
		r.notes = append(r.notes, "not sent by "+k.sender(p.dir))
	default:
		r.notes = append(r.notes, "first seen at "+k.Lanes[first.lane])
	}
	if r.lost {
		r.notes = append(r.notes, "not seen at "+k.Lanes[last.lane+p.dir])
		r.stub = k.hop(last.lane, p.dir)
	}
	return r
}

// hop is the shortest time that a packet took from a lane to the next.
func (k *sketch) hop(lane, dir int) time.Duration {
	if k.hops == nil {
		k.hops = make(map[[2]int]time.Duration)
		for _, p := range k.paths() {
			for i := range len(p.sights) - 1 {
				from, to := p.sights[i], p.sights[i+1]
				key := [2]int{from.lane, to.lane}
				d := max(to.e.Time.Sub(from.e.Time), 1)
				if old := k.hops[key]; old == 0 || d < old {
					k.hops[key] = d
				}
			}
		}
	}
	return k.hops[[2]int{lane, lane + dir}]
}

// fromOnePoint lays out what a single capture point saw. Where the round trips
// to the ends are known, the ends' own times follow from them, as they do in
// CrossingFromOne: half of the way there and back.
func (s *scene) fromOnePoint(l *Ladder, paths []*path) {
	last := len(l.Lanes) - 1
	here := -1 // lane of the capture point, -1 = anywhere
	toA, toB := l.ToA, l.ToB
	switch {
	case last != 1 || toA < 0 || toB < 0 || toA+toB == 0:
	case nextTo(toA, toB):
		here, toA = 0, 0
	case nextTo(toB, toA):
		here, toB = 1, 0
	default:
		here, last = 1, 2
		s.lanes = []string{l.Lanes[0], laneCapture, l.Lanes[1]}
		s.under = []string{s.under[0], "", s.under[1]}
	}
	s.reckoned = make([]bool, len(s.lanes))
	for i := range s.reckoned {
		s.reckoned[i] = here >= 0 && i != here
	}
	for _, p := range paths {
		e := p.sights[0].e
		r := route{e: e, dir: p.dir}
		begin, end := 0, last
		before, after := toA, toB
		if p.dir < 0 {
			begin, end, before, after = end, begin, after, before
		}
		if here < 0 && e.ICMP != "" {
			r.comes = true
			r.stops = []stop{{lane: end, at: e.Time}}
			s.routes = append(s.routes, r)
			continue
		}
		if here < 0 {
			r.stops = []stop{{lane: begin, at: e.Time}, {lane: end, at: e.Time}}
			r.level = true
			s.routes = append(s.routes, r)
			continue
		}
		if e.ICMP != "" { // who sent it says nothing about where
			r.comes = true
		} else if begin != here {
			r.stops = append(r.stops, stop{lane: begin, at: e.Time.Add(-before), reckoned: true})
		}
		r.stops = append(r.stops, stop{lane: here, at: e.Time})
		if end != here {
			r.stops = append(r.stops, stop{lane: end, at: e.Time.Add(after), reckoned: true})
		}
		s.routes = append(s.routes, r)
	}
}

const laneCapture = "capture" // of a point between the ends

// nextTo reports whether the capture point is so near to one end, of two ways
// to them, that a picture need not tell them apart.
func nextTo(near, far time.Duration) bool {
	return near == 0 || near < time.Millisecond && near < far/20
}

// offers marks SYNs whose options their end has shown already.
func (s *scene) offers() {
	shown := make(map[string]string)
	slices.SortStableFunc(s.routes, func(x, y route) int { return x.stops[0].at.Compare(y.stops[0].at) })
	for i := range s.routes {
		r := &s.routes[i]
		if r.e.Options == "" {
			continue
		}
		r.repeated = shown[r.e.From] == r.e.Options
		shown[r.e.From] = r.e.Options
	}
}
