package predict

import (
	"fmt"
	"math"
)

// band draws from a range of which nothing is known but that it lies in 'usual': any width, small ones
// more probable (density 1/width, which favours no order of magnitude), at any place.
//
// n draws with smallest port a and largest b then leave a chance of (n-1)/(n+1)
// that the next one falls into a..b, which holds for every range of one density: among
// n+1 draws each is the smallest, or the largest, with probability 1/(n+1). Outside
// the chance falls with the distance y as (1+y/(b-a))^-n.
type band struct {
	scope  Scope
	groups map[*event]*draws // by the last event of each group
}

type draws struct{ n, lo, hi int }

func newBand(scope Scope) *band { return &band{scope: scope, groups: map[*event]*draws{}} }

// The sum over all ports of marginal(1, ...): what makes the prior a probability.
var bandNorm = func() float64 {
	n := float64(usual.size())
	g, _ := math.Lgamma(n + 2)
	return 2*g - n*math.Log(n+2)
}()

// logMarginal is the logarithm of the integral, over the ranges that contain lo..hi, of
// width^-n times the prior 1/width.
func logMarginal(n, lo, hi int) float64 {
	// A range may begin at any port from usual.lo to lo: lo-usual.lo+1 places.
	r, u, v := float64(hi-lo+1), float64(lo-usual.lo+1), float64(usual.hi-hi+1)
	// Antiderivative twice of w^-(n+1), at the four corners, with r taken out.
	if n == 1 {
		return math.Log(math.Log1p(u/r) + math.Log1p(v/r) - math.Log1p((u+v)/r))
	}
	k := float64(1 - n)
	s := 1 - math.Pow(1+u/r, k) - math.Pow(1+v/r, k) + math.Pow(1+(u+v)/r, k)
	return k*math.Log(r) - math.Log(float64(n)*float64(n-1)) + math.Log(s)
}

func (m *band) step(e *event) float64 {
	port := min(max(e.port, usual.lo), usual.hi)
	cost := 1.0
	if port != e.port {
		cost = 1e-3 // below 1024: no band that we think of
	}
	d := m.groups[e.prev[m.scope]]
	if e.prev[m.scope] == nil || d == nil {
		m.groups[e] = &draws{1, port, port}
		return cost * math.Exp(logMarginal(1, port, port)) / bandNorm
	}
	before := logMarginal(d.n, d.lo, d.hi)
	next := &draws{d.n + 1, min(d.lo, port), max(d.hi, port)}
	delete(m.groups, e.prev[m.scope])
	m.groups[e] = next
	return cost * math.Exp(logMarginal(next.n, next.lo, next.hi)-before)
}

func (m *band) spread(e *event, w float64, s *scratch) {
	d := m.groups[e.prev[m.scope]]
	if e.prev[m.scope] == nil || d == nil {
		s.stretch(usual.lo, usual.hi, both, w)
		return
	}
	before := logMarginal(d.n, d.lo, d.hi)
	inside := float64(d.hi-d.lo+1) * math.Exp(logMarginal(d.n+1, d.lo, d.hi)-before)
	s.stretch(d.lo, d.hi, both, w*inside)
	for _, dir := range []int{-1, 1} {
		edge, room := d.hi, usual.hi-d.hi
		if dir < 0 {
			edge, room = d.lo, d.lo-usual.lo
		}
		// Pieces that grow by an eighth, each with the density of its middle.
		for y := 1; y <= room; {
			to := min(room, y+y/8)
			mid := edge + dir*((y+to)/2)
			p := math.Exp(logMarginal(d.n+1, min(d.lo, mid), max(d.hi, mid)) - before)
			s.stretch(min(edge+dir*y, edge+dir*to), max(edge+dir*y, edge+dir*to), both, w*p*float64(to-y+1))
			y = to + 1
		}
	}
}

func (m *band) fits(e *event) string {
	d := m.groups[e.prev[m.scope]]
	if e.prev[m.scope] == nil || d == nil {
		return ""
	}
	if e.port < d.lo || e.port > d.hi {
		return fmt.Sprintf("widens %d-%d", d.lo, d.hi)
	}
	return fmt.Sprintf("within %d-%d seen before", d.lo, d.hi)
}

// rescope shares the groups: nothing is learned after that.
func (m *band) rescope(s Scope) model {
	c := *m
	c.scope = s
	return &c
}
