package predict

import (
	"fmt"
	"math"
)

// span is a range of ports, both ends included.
type span struct{ lo, hi int }

func (s span) size() int         { return s.hi - s.lo + 1 }
func (s span) has(port int) bool { return port >= s.lo && port <= s.hi }
func (s span) String() string    { return fmt.Sprintf("%d-%d", s.lo, s.hi) }
func (s span) wrap(port int) int { return s.lo + mod(port-s.lo, s.size()) }
func (s span) flat(port int) float64 {
	if s.has(port) {
		return 1 / float64(s.size())
	}
	return 0
}

func mod(a, n int) int {
	if a %= n; a < 0 {
		a += n
	}
	return a
}

var (
	usual    = span{1024, 65535}
	anywhere = span{1, 65535}
)

// event is a new mapping as the models see it.
type event struct {
	index int     // of the observation; -1 for the one to be predicted
	t     float64 // s
	local int
	port  int
	prev  [nScopes]*event // the one before it with the same counter
}

// model is a way to allocate, with fixed parameters or parameters that it learns.
type model interface {
	// step returns the probability of e given the events before it, and learns
	// from it.
	step(e *event) float64
	// spread adds the probabilities of e's port, times w, to s.
	spread(e *event, w float64, s *scratch)
	// fits says in words why e's port is what the model expects; "" if it is not.
	// It is called before step.
	fits(e *event) string
}

// scoped is a model that several mappings share. rescope returns a copy with the same state for another
// scope that groups the events seen so far in the same way.
type scoped interface {
	model
	rescope(s Scope) model
}

// misfit is the share of events that a model does not explain, learned as they
// come: Beta(miss, all-miss) beforehand. It keeps one strange observation from
// ruling out a hypothesis.
type misfit struct{ miss, all float64 }

func (m *misfit) p() float64 { return m.miss / m.all }

// mix returns the probability of an event that has probability fit if the model
// holds for it and stray if not, and learns which of both it was. fitted is the
// share in which it did.
func (m *misfit) mix(fit, stray float64) (p, fitted float64) {
	e := m.p()
	p = (1-e)*fit + e*stray
	fitted = (1 - e) * fit / p
	m.miss += 1 - fitted
	m.all++
	return p, fitted
}

// collision is what a preserving NAT does when the port is taken by another mapping of
// the same host, which we can see. Collisions with other hosts' mappings are misfits.
type collision uint8

const (
	overload collision = iota // gives it out all the same: Linux, if the destinations differ
	nextFree                  // counts up to a free one
	draw                      // draws one
	nCollisions
)

// preserving gives out the local port.
type preserving struct {
	misfit
	collision collision
	used      map[int]bool
}

func newPreserving(c collision) *preserving {
	return &preserving{misfit: misfit{0.1, 2}, collision: c, used: map[int]bool{}}
}

// want is the port that e should get; 0 for any.
func (m *preserving) want(e *event) int {
	port := e.local
	if !m.used[port] || m.collision == overload {
		return port
	}
	if m.collision == draw {
		return 0
	}
	for m.used[port] {
		port++
	}
	return port
}

// stray is the probability of a misfit: half of the implementations are taken to try the next port,
// half to draw one.
func (m *preserving) stray(e *event) float64 {
	p := usual.flat(e.port)*0.99 + anywhere.flat(e.port)*0.01
	if d := e.port - e.local; d >= 1 && d <= 16 {
		p += math.Ldexp(1, -d)
	}
	return p / 2
}

func (m *preserving) step(e *event) float64 {
	want := m.want(e)
	m.used[e.port] = true
	if want == 0 {
		return usual.flat(e.port) + 1e-9
	}
	fit := 0.0
	if e.port == want {
		fit = 1
	}
	p, _ := m.mix(fit, m.stray(e))
	return p
}

func (m *preserving) spread(e *event, w float64, s *scratch) {
	want := m.want(e)
	if want == 0 {
		s.stretch(usual.lo, usual.hi, both, w)
		return
	}
	e0 := m.p()
	s.point(want, w*(1-e0))
	w *= e0 / 2
	s.stretch(usual.lo, usual.hi, both, w*0.99)
	s.stretch(anywhere.lo, anywhere.hi, both, w*0.01)
	for d := 1; d <= 16; d++ {
		s.point(e.local+d, math.Ldexp(w, -d))
	}
}

func (m *preserving) fits(e *event) string {
	switch want := m.want(e); {
	case want == 0:
		return "any port, as the local port is taken"
	case want != e.port:
		return ""
	case want == e.local:
		return "the local port itself"
	}
	return fmt.Sprintf("the next after local port %d, which is taken", e.local)
}

// offset gives out the local port plus a constant, wrapped around in the usual range.
type offset struct {
	misfit
	known bool
	k     int
}

func newOffset() *offset { return &offset{misfit: misfit{0.1, 5}} }

func (m *offset) step(e *event) float64 {
	k := mod(e.port-e.local, usual.size())
	if !m.known {
		m.known, m.k = true, k
		if k == 0 {
			return 1e-12 // that is preserving
		}
		return anywhere.flat(e.port)
	}
	fit := 0.0
	if k == m.k {
		fit = 1
	}
	p, fitted := m.mix(fit, anywhere.flat(e.port))
	if fitted == 0 {
		m.k = k
	}
	return p
}

func (m *offset) spread(e *event, w float64, s *scratch) {
	if !m.known {
		s.stretch(usual.lo, usual.hi, both, w)
		return
	}
	s.point(usual.wrap(e.local+m.k), w*(1-m.p()))
	s.stretch(anywhere.lo, anywhere.hi, both, w*m.p())
}

func (m *offset) value() int {
	if m.k > usual.size()/2 {
		return m.k - usual.size()
	}
	return m.k
}

func (m *offset) fits(e *event) string {
	if !m.known || mod(e.port-e.local, usual.size()) != m.k {
		return ""
	}
	return fmt.Sprintf("local port %d %s", e.local, signed(m.value()))
}

func signed(d int) string {
	if d < 0 {
		return fmt.Sprintf("- %d", -d)
	}
	return fmt.Sprintf("+ %d", d)
}

// random draws from a span, or from the ports in it with the local port's parity.
type random struct {
	misfit
	span
	parity bool
}

func (m *random) fit(e *event) float64 {
	if !m.parity {
		return m.flat(e.port)
	}
	if !m.has(e.port) || (e.port^e.local)&1 != 0 {
		return 0
	}
	return 1 / float64(count(m.lo, m.hi, e.local&1))
}

func (m *random) step(e *event) float64 {
	p, _ := m.mix(m.fit(e), anywhere.flat(e.port))
	return p
}

func (m *random) spread(e *event, w float64, s *scratch) {
	parity := both
	if m.parity {
		parity = e.local & 1
	}
	s.stretch(m.lo, m.hi, parity, w*(1-m.p()))
	s.stretch(anywhere.lo, anywhere.hi, both, w*m.p())
}

func (m *random) fits(e *event) string {
	if m.fit(e) == 0 {
		return ""
	}
	return "within " + m.span.String()
}

// block draws from an aligned block of ports; a subscriber gets another one when his is
// used up.
type block struct {
	misfit
	scope        Scope
	size, origin int
	parity       bool
}

// around is the block that a port lies in.
func around(port, size, origin int) span {
	if port < origin {
		return span{1, origin - 1}
	}
	lo := origin + (port-origin)/size*size
	return span{max(lo, 1), min(lo+size-1, nPorts-1)}
}

func (m *block) fit(e *event) float64 {
	r := random{span: around(e.prev[m.scope].port, m.size, m.origin), parity: m.parity}
	return r.fit(e)
}

func (m *block) step(e *event) float64 {
	if e.prev[m.scope] == nil {
		if m.parity && (e.port^e.local)&1 != 0 {
			return usual.flat(e.port)*0.02 + 1e-9
		}
		return usual.flat(e.port) + 1e-9
	}
	p, _ := m.mix(m.fit(e), anywhere.flat(e.port))
	return p
}

func (m *block) spread(e *event, w float64, s *scratch) {
	prev := e.prev[m.scope]
	if prev == nil {
		s.stretch(usual.lo, usual.hi, both, w)
		return
	}
	r := random{misfit: m.misfit, span: around(prev.port, m.size, m.origin), parity: m.parity}
	r.spread(e, w, s)
}

func (m *block) fits(e *event) string {
	if e.prev[m.scope] == nil || m.fit(e) == 0 {
		return ""
	}
	return fmt.Sprintf("in the block %v", around(e.prev[m.scope].port, m.size, m.origin))
}

func (m *block) rescope(s Scope) model {
	c := *m
	c.scope = s
	return &c
}
