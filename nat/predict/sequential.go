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

	load load
	mean float64 // of the others' rate, beforehand
	a, b float64 // Gamma distribution of the others' rate: shape, and rate in seconds
	c, d float64 // bursts: Beta distribution of the chance that a burst ends with a mapping
}

// within is the range that the counter which gave out port runs through.
func (m *sequential) within(port int) span {
	if m.block > 0 {
		return around(port, m.block, m.origin)
	}
	return m.span
}

// others is how many mappings others made if port follows prev, counted once round at
// most; -1 if it cannot follow.
func (m *sequential) others(prev, local, port int) int {
	in := m.within(prev)
	if !in.has(prev) || !in.has(port) {
		return -1
	}
	if m.parity && (port^local)&1 != 0 {
		return -1
	}
	gap := port - prev
	if m.delta < 0 {
		gap = -gap
	}
	if gap <= 0 {
		gap += in.size()
	}
	switch step := abs(m.delta); {
	case m.parity:
		// The next port of the right parity is 1 or 2 away; each other mapping
		// takes 2, as if it had the same parity.
		return (gap - 1) / 2
	case gap%step != 0:
		return -1
	default:
		return gap/step - 1
	}
}

// elapsed is the time in which others could take ports.
func elapsed(e, prev *event) float64 { return max(e.t-prev.t, resolution.Seconds()) }

// load is what others do to a counter.
type load uint8

const (
	idle   load = iota // nothing
	steady             // mappings come one by one, at a rate: Poisson
	bursts             // several at once: bursts are Poisson, their sizes geometric
	nLoads
)

// gamma0 is the probability of no event in dt seconds, if their rate has the Gamma
// distribution a, b.
func gamma0(a, b, dt float64) float64 { return math.Exp(-a * math.Log1p(dt/b)) }

// taken is the probability that others made k mappings in dt seconds.
func (m *sequential) taken(k int, dt float64) float64 {
	switch m.load {
	case idle:
		if k == 0 {
			return 1
		}
		return 0
	case bursts:
		none := gamma0(m.a, m.b, dt)
		if k == 0 {
			return none
		}
		// If several bursts are due their sum is taken as one that is so many
		// times larger.
		scale := m.due(dt)
		return (1 - none) * m.size((k-1)/scale+1) / float64(scale)
	}
	// Negative binomial: the mean of Poisson over the Gamma distribution of the rate.
	x := float64(k)
	g1, _ := math.Lgamma(x + m.a)
	g2, _ := math.Lgamma(m.a)
	g3, _ := math.Lgamma(x + 1)
	return math.Exp(g1 - g2 - g3 + x*math.Log(dt/(m.b+dt)) - m.a*math.Log1p(dt/m.b))
}

// due is how many bursts are expected in dt seconds, 1 or more.
func (m *sequential) due(dt float64) int { return int(min(max(1, m.a/m.b*dt), nPorts)) }

// mode is the most probable number of mappings that others make one by one in dt
// seconds; 0 if they do not.
func (m *sequential) mode(dt float64) int {
	if m.load != steady || m.a <= 1 {
		return 0
	}
	return int(min((m.a-1)*dt/m.b, nPorts))
}

// room is how many mappings bring a counter once round. One that has probably
// been round is taken to be anywhere.
func (m *sequential) room(in span) int {
	n := in.size() / abs(m.delta)
	if m.parity {
		n /= 2
	}
	return n
}

// size is the probability of a burst of k mappings: the mean of the geometric
// distribution over the Beta distribution of its parameter.
func (m *sequential) size(k int) float64 {
	x := float64(k)
	g1, _ := math.Lgamma(m.d + x - 1)
	g2, _ := math.Lgamma(m.c + m.d + x)
	g3, _ := math.Lgamma(m.c + m.d)
	g4, _ := math.Lgamma(m.d)
	return m.c * math.Exp(g1-g2+g3-g4)
}

// learn takes in that others made k mappings in dt seconds, as far as share.
func (m *sequential) learn(k int, dt, share float64) {
	m.a, m.b = forget*m.a, forget*m.b+share*dt
	switch {
	case m.load == steady:
		m.a += share * float64(k)
	case k > 0:
		scale := float64(m.due(dt))
		m.a += share * scale
		m.c, m.d = forget*m.c+share, forget*m.d+share*(float64(k)/scale-1)
		m.d = max(m.d, 0.1)
	}
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
	k := m.others(prev.port, e.local, e.port)
	if in := m.within(prev.port); !in.has(prev.port) {
		fit = anywhere.flat(e.port) // a stray one: the counter is lost until the next
	} else if m.mode(dt) >= m.room(in) {
		fit, k = in.flat(e.port), -1
	} else if k >= 0 {
		fit = m.taken(k, dt)
	}
	p, fitted := m.mix(fit, anywhere.flat(e.port))
	if m.load != idle && k >= 0 {
		m.learn(k, dt, fitted)
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
		s.stretch(anywhere.lo, anywhere.hi, both, w)
		return
	}
	at := func(k int) int { return in.wrap(prev.port + m.delta*(k+1)) }
	room := m.room(in)
	if m.parity {
		first := 1
		if (prev.port^e.local)&1 == 0 {
			first = 2
		}
		at = func(k int) int { return in.wrap(prev.port + m.delta*(first+2*k)) }
	}
	if m.load == idle {
		s.point(at(0), w)
		return
	}
	if m.load == bursts {
		m.spreadBursts(elapsed(e, prev), w, at, room, in, s)
		return
	}
	// From the most probable number outwards, with the ratio of neighbours.
	dt := elapsed(e, prev)
	q := dt / (m.b + dt)
	mode := m.mode(dt)
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

// spreadBursts is spread for bursts: beyond room mappings all ports are alike.
func (m *sequential) spreadBursts(dt, w float64, at func(k int) int, room int, in span, s *scratch) {
	none := gamma0(m.a, m.b, dt)
	s.point(at(0), w*none)
	rest := 1 - none
	scale := m.due(dt)
	for k, size, p := 1, 0, 0.0; k < room && rest*w > 1e-9; k++ {
		for n := (k-1)/scale + 1; size < n; size++ {
			if size == 0 {
				p = (1 - none) * m.size(1) / float64(scale)
			} else {
				p *= (m.d + float64(size) - 1) / (m.c + m.d + float64(size))
			}
		}
		if p*w < 1e-8 {
			break
		}
		s.point(at(k), w*p)
		rest -= p
	}
	if rest > 0 {
		s.stretch(in.lo, in.hi, both, w*rest)
	}
}

// rate is the others' rate in mappings per second: mean, and an interval that
// holds it with 90 % (for bursts: as far as their frequency goes).
func (m *sequential) rate() (mean, lo, hi float64) {
	if m.load == idle || m.a <= 0 {
		return 0, 0, 0
	}
	each := 1.0
	if m.load == bursts {
		each = (m.c + m.d) / m.c // near the mean of the sizes, which need not exist
	}
	// Wilson and Hilferty 1931: the cube root of a Gamma variable is nearly normal.
	cube := func(z float64) float64 {
		v := 1 / (9 * m.a)
		x := max(0, 1-v+z*math.Sqrt(v))
		return m.a * x * x * x / m.b * each
	}
	return m.a / m.b * each, cube(-1.645), cube(1.645)
}

func (m *sequential) fits(e *event) string {
	prev := e.prev[m.scope]
	if prev == nil {
		return ""
	}
	k := m.others(prev.port, e.local, e.port)
	if k < 0 || m.taken(k, elapsed(e, prev)) < 1e-6 {
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
