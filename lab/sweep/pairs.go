package sweep

// pairs compares the arms of a sweep, pair by pair.
type pairs struct {
	plan *plan
	// half has the trials whose partners in other arms are still to come.
	half map[pairKey][]ended
	// made has all that the arms after the first and the first have in common: by arm
	// and point.
	made [][]comparison
}

type pairKey struct{ point, trial int }

// ended is how one trial of a pair ended.
type ended struct {
	made, connected bool
	time            int64
}

// comparison counts pairs, and keeps the differences of time.
type comparison struct {
	both, only, onlyNot, neither int
	times                        []int64
}

func newPairs(p *plan) *pairs {
	s := &pairs{plan: p, half: map[pairKey][]ended{}}
	for range len(p.Arms) - 1 {
		s.made = append(s.made, make([]comparison, len(p.grid)))
	}
	return s
}

func (s *pairs) add(arm int, r *Row) {
	if len(s.made) == 0 {
		return
	}
	key := pairKey{r.Point, r.Trial}
	list := s.half[key]
	if list == nil {
		list = make([]ended, len(s.plan.Arms))
		s.half[key] = list
	}
	list[arm] = ended{made: true, connected: r.Outcome == Established && r.EstablishedNS != nil}
	if list[arm].connected {
		list[arm].time = *r.EstablishedNS
	}
	missing := false
	for i := range list {
		missing = missing || !list[i].made
		if i > 0 && list[0].made && list[i].made && (arm == 0 || arm == i) {
			s.made[i-1][r.Point].add(list[i], list[0])
		}
	}
	if !missing {
		delete(s.half, key)
	}
}

func (c *comparison) add(x, base ended) {
	switch {
	case x.connected && base.connected:
		c.both++
		c.times = append(c.times, x.time-base.time)
	case x.connected:
		c.only++
	case base.connected:
		c.onlyNot++
	default:
		c.neither++
	}
}

// differences lists, for each arm after the first, all points together and then
// each point.
func (s *pairs) differences() []Difference {
	list := []Difference{}
	for i, points := range s.made {
		var all comparison
		at := make([]Difference, len(points))
		for j := range points {
			c := &points[j]
			all.both += c.both
			all.only += c.only
			all.onlyNot += c.onlyNot
			all.neither += c.neither
			all.times = append(all.times, c.times...)
			at[j] = s.difference(i+1, &s.plan.grid[j], c)
		}
		list = append(append(list, s.difference(i+1, nil, &all)), at...)
	}
	return list
}

func (s *pairs) difference(arm int, at *Point, c *comparison) Difference {
	return Difference{
		Arm: s.plan.Arms[arm].Name, Base: s.plan.Arms[0].Name, Point: at,
		Pairs: c.both + c.only + c.onlyNot + c.neither,
		Both:  c.both, Only: c.only, OnlyNot: c.onlyNot, Neither: c.neither,
		Share: newcombe(c.both, c.only, c.onlyNot, c.neither), P: mcnemar(c.only, c.onlyNot),
		Time: median(c.times),
	}
}
