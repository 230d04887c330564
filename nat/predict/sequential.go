package predict

import (
	"fmt"
	"math"
)

// sequential is a counter: the last port given out plus delta, past the ports that others took
// meanwhile, back to the beginning at the end of its range.
type sequential struct {
	misfit
	scope  Scope
	delta  int
	span   span // the range, unless block is set
	block  int  // size of the block that it counts in, 0 for none
	origin int
	parity bool // skips ports that have not the local port's parity (delta 1 or -1)

	idle bool    // nobody else takes ports
	mean float64 // of the others' rate, beforehand
	a, b float64 // Gamma distribution of the others' rate: shape, and rate in seconds
}

// within is the range that the counter which gave out port runs through.
func (m *sequential) within(port int) span {
	if m.block > 0 {
		return around(port, m.block, m.origin)
	}
	return m.span
}

// others is how many mappings others made if port follows prev; -1 if it cannot follow.
// share is the share of the possibilities with that number which are this port.
func (m *sequential) others(prev, local, port int) (k int, share float64) {
	in := m.within(prev)
	if !in.has(prev) || !in.has(port) {
		return -1, 0
	}
	if m.parity && (port^local)&1 != 0 {
		return -1, 0
	}
	step := abs(m.delta)
	gap := port - prev
	if m.delta < 0 {
		gap = -gap
	}
	share = 1
	wrapped := gap <= 0
	if wrapped {
		gap += in.size()
	}
	if m.parity {
		// The next port of the right parity is 1 or 2 away; each other mapping
		// takes 2, as if it had the same parity.
		return (gap - 1) / 2, 1
	}
	if gap%step != 0 {
		if !wrapped {
			return -1, 0
		}
		// Where a wide step lands after the wrap depends on the implementation.
		return gap / step, 1 / float64(step)
	}
	return gap/step - 1, share
}

// elapsed is the time in which others could take ports.
func elapsed(e, prev *event) float64 { return max(e.t-prev.t, resolution.Seconds()) }

// taken is the probability that others made k mappings in dt seconds: negative
// binomial, as the mean of Poisson over the Gamma distribution of the rate.
func (m *sequential) taken(k int, dt float64) float64 {
	if m.idle {
		if k == 0 {
			return 1
		}
		return 0
	}
	x := float64(k)
	g1, _ := math.Lgamma(x + m.a)
	g2, _ := math.Lgamma(m.a)
	g3, _ := math.Lgamma(x + 1)
	return math.Exp(g1 - g2 - g3 + m.a*math.Log(m.b/(m.b+dt)) + x*math.Log(dt/(m.b+dt)))
}

func (m *sequential) step(e *event) float64 {
	prev := e.prev[m.scope]
	if prev == nil {
		// Where a counter stands is anybody's guess.
		in := m.span
		if m.block > 0 {
			in = usual
		}
		return in.flat(e.port) + 1e-9
	}
	dt := elapsed(e, prev)
	fit := 0.0
	k, share := m.others(prev.port, e.local, e.port)
	if k >= 0 {
		fit = m.taken(k, dt) * share
	}
	p, fitted := m.mix(fit, anywhere.flat(e.port))
	if !m.idle {
		m.a, m.b = forget*m.a, forget*m.b
		if k >= 0 {
			m.a += fitted * float64(k)
		}
		m.b += fitted * dt
	}
	return p
}

func (m *sequential) spread(e *event, w float64, s *scratch) {
	prev := e.prev[m.scope]
	if prev == nil {
		in := m.span
		if m.block > 0 {
			in = usual
		}
		s.stretch(in.lo, in.hi, both, w)
		return
	}
	s.stretch(anywhere.lo, anywhere.hi, both, w*m.p())
	w *= 1 - m.p()
	in := m.within(prev.port)
	if !in.has(prev.port) {
		s.stretch(in.lo, in.hi, both, w)
		return
	}
	at := func(k int) int { return in.wrap(prev.port + m.delta*(k+1)) }
	room := in.size() / abs(m.delta)
	if m.parity {
		first := 1
		if (prev.port^e.local)&1 == 0 {
			first = 2
		}
		at = func(k int) int { return in.wrap(prev.port + m.delta*(first+2*k)) }
		room /= 2
	}
	if m.idle {
		s.point(at(0), w)
		return
	}
	// From the most probable number outwards, with the ratio of neighbours.
	dt := elapsed(e, prev)
	q := dt / (m.b + dt)
	mode := 0
	if m.a > 1 {
		mode = int((m.a - 1) * q / (1 - q))
	}
	if mode >= room {
		s.stretch(in.lo, in.hi, both, w) // once round or more
		return
	}
	rest := w
	put := func(k int, p float64) {
		s.point(at(k), w*p)
		rest -= w * p
	}
	p := m.taken(mode, dt)
	put(mode, p)
	end := max(p*1e-7, 1e-9/w) // what is left is spread over the range
	for k, pk := mode-1, p; k >= 0 && pk > end; k-- {
		pk *= float64(k+1) / ((float64(k) + m.a) * q)
		put(k, pk)
	}
	for k, pk := mode+1, p; k < room && pk > end; k++ {
		pk *= (float64(k-1) + m.a) * q / float64(k)
		put(k, pk)
	}
	if rest > 0 {
		s.stretch(in.lo, in.hi, both, rest)
	}
}

// load is the others' rate in mappings per second: mean, and an interval that
// holds it with 90 %.
func (m *sequential) load() (mean, lo, hi float64) {
	if m.idle || m.a <= 0 {
		return 0, 0, 0
	}
	// Wilson and Hilferty 1931: the cube root of a Gamma variable is nearly normal.
	cube := func(z float64) float64 {
		v := 1 / (9 * m.a)
		x := max(0, 1-v+z*math.Sqrt(v))
		return m.a * x * x * x / m.b
	}
	return m.a / m.b, cube(-1.645), cube(1.645)
}

func (m *sequential) fits(e *event) string {
	prev := e.prev[m.scope]
	if prev == nil {
		return ""
	}
	k, share := m.others(prev.port, e.local, e.port)
	if k < 0 || m.idle && k > 0 || m.taken(k, elapsed(e, prev))*share < 1e-6 {
		return ""
	}
	text := fmt.Sprintf("%d %s", prev.port, signed(e.port-prev.port))
	if gap := e.port - prev.port; gap != 0 && (gap > 0) != (m.delta > 0) {
		text = fmt.Sprintf("%d wrapped around in %v", prev.port, m.within(prev.port))
	}
	if k > 0 {
		text += fmt.Sprintf(": %s between", mappings(k))
	}
	return text
}

func mappings(k int) string {
	if k == 1 {
		return "1 other mapping"
	}
	return fmt.Sprintf("%d other mappings", k)
}

func (m *sequential) rescope(s Scope) model {
	c := *m
	c.scope = s
	return &c
}
