package predict

import (
	"fmt"
	"math"
)

// clock is a counter that runs with time, whoever makes mappings: a straight line
// through port and time, modulo the range, with noise. Line and its uncertainty
// are followed by a Kalman filter. A clock that may have gone round more than a third
// of its range between two observations cannot be told from chance, and is not.
type clock struct {
	misfit
	span  span
	noise float64 // ports
	sigma float64 // rate beforehand: normal with mean 0 and this deviation, ports per second

	last *event
	c, r float64 // port at last, ports per second
	// Their covariance.
	pcc, pcr, prr float64
}

// at is where the line is at the time of e, with its variance, and whether that says anything.
func (m *clock) at(e *event) (port, variance float64, ok bool) {
	dt := max(e.t-m.last.t, 0)
	jitter := m.r * clockJitter
	variance = m.pcc + 2*dt*m.pcr + dt*dt*m.prr + m.noise*m.noise + jitter*jitter
	return m.c + m.r*dt, variance, variance < float64(m.span.size()*m.span.size())/36
}

// away is by how much port is off, the short way round.
func (m *clock) away(port, from float64) float64 {
	return math.Remainder(port-from, float64(m.span.size()))
}

// cell is the probability of a port whose middle is d away.
func cell(d, variance float64) float64 {
	z := math.Sqrt(2 * variance)
	d = math.Abs(d)
	return (math.Erfc((d-0.5)/z) - math.Erfc((d+0.5)/z)) / 2
}

func (m *clock) step(e *event) float64 {
	if m.last == nil {
		m.start(e)
		m.prr = m.sigma * m.sigma
		return m.span.flat(e.port) + 1e-9
	}
	c, v, ok := m.at(e)
	if !ok {
		m.start(e)
		p, _ := m.mix(m.span.flat(e.port), anywhere.flat(e.port))
		return p
	}
	d := m.away(float64(e.port), c)
	fit := 0.0
	if m.span.has(e.port) {
		fit = cell(d, v)
	}
	p, fitted := m.mix(fit, anywhere.flat(e.port))
	if fitted < 0.5 {
		m.start(e)
		return p
	}
	dt := max(e.t-m.last.t, 0)
	pcc, pcr := m.pcc+2*dt*m.pcr+dt*dt*m.prr, m.pcr+dt*m.prr
	kc, kr := pcc/v, pcr/v
	m.c, m.r = c+kc*d, m.r+kr*d
	m.pcc, m.pcr, m.prr = (1-kc)*pcc, (1-kc)*pcr, max(m.prr-kr*pcr, 0)
	m.last = e
	return p
}

// start begins a line at e; what is known of the rate is kept.
func (m *clock) start(e *event) {
	m.last, m.c = e, float64(e.port)
	m.pcc, m.pcr = m.noise*m.noise, 0
}

func (m *clock) spread(e *event, w float64, s *scratch) {
	if m.last == nil {
		s.stretch(m.span.lo, m.span.hi, both, w)
		return
	}
	s.stretch(anywhere.lo, anywhere.hi, both, w*m.p())
	w *= 1 - m.p()
	c, v, ok := m.at(e)
	if !ok {
		s.stretch(m.span.lo, m.span.hi, both, w)
		return
	}
	// Pieces of a sixteenth of the deviation, at least a port each, from the middle outwards.
	sd := math.Sqrt(v)
	width := max(1, int(sd/16))
	reach := min(int(6*sd)+2, m.span.size()/2)
	mid := int(math.Floor(c))
	for lo := mid - reach; lo <= mid+reach; lo += width {
		hi := lo + width - 1
		mass := (math.Erfc((float64(lo)-0.5-c)/(sd*math.Sqrt2)) - math.Erfc((float64(hi)+0.5-c)/(sd*math.Sqrt2))) / 2
		if a, b := m.span.wrap(lo), m.span.wrap(hi); a <= b {
			s.stretch(a, b, both, w*mass)
		} else {
			share := float64(m.span.hi-a+1) / float64(width)
			s.stretch(a, m.span.hi, both, w*mass*share)
			s.stretch(m.span.lo, b, both, w*mass*(1-share))
		}
	}
}

func (m *clock) fits(e *event) string {
	if m.last == nil {
		return ""
	}
	c, v, ok := m.at(e)
	d := m.away(float64(e.port), c)
	if !ok || d*d > 9*v {
		return ""
	}
	return fmt.Sprintf("the line was at %d (%.3g ports a second)", m.span.wrap(int(math.Round(c))), m.r)
}
