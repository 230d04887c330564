package predict

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sync"
)

// Guess is a port and the probability that it is the next one.
type Guess struct {
	Port uint16
	P    float64
}

// Distribution is a probability for each port from 1 to 65535; the sum is 1. It
// is made by [Predictor.Next], does not change, and is safe for concurrent use. It
// is kept as single ports and stretches of equal probability, so that an answer
// such as 'any port' is small.
type Distribution struct {
	points []Guess   // in the order of guesses
	runs   []stretch // in the order of guesses; they may contain ports of points, which do not count
	ports  []uint16  // the ports of points, ascending
	probs  []float64 // theirs
}

// stretch is the ports lo, lo+step ... hi, each with probability p.
type stretch struct {
	lo, hi, step int
	p            float64
	n            int // ports in it, points left out
}

// level is a probability rounded so that floating point units which differ in the
// last bits put ports into the same order: 2^-20 of a factor of two.
func level(p float64) int64 { return int64(math.RoundToEven(math.Log2(p) * (1 << 20))) }

// All yields every port, the most probable first and ports of equal probability in
// ascending order, with its probability. It needs no memory that grows with the
// number of ports taken.
func (d *Distribution) All() iter.Seq2[uint16, float64] { return d.Order(0) }

// Order is All with ports of equal probability in an order that depends on key:
// guesses of many hosts do not all begin at the same end. Key 0 is the ascending
// order. The same key gives the same order.
func (d *Distribution) Order(key uint64) iter.Seq2[uint16, float64] {
	return func(yield func(uint16, float64) bool) {
		points, runs := d.points, d.runs
		for len(points)+len(runs) > 0 {
			if len(runs) == 0 || len(points) > 0 && level(points[0].P) >= level(runs[0].p) {
				if !yield(points[0].Port, points[0].P) {
					return
				}
				points = points[1:]
				continue
			}
			r := runs[0]
			runs = runs[1:]
			size := (r.hi-r.lo)/r.step + 1
			mul, add := scramble(size, key)
			for i := range size {
				port := uint16(r.lo + (i*mul+add)%size*r.step)
				if _, isPoint := slices.BinarySearch(d.ports, port); isPoint {
					continue
				}
				if !yield(port, r.p) {
					return
				}
			}
		}
	}
}

// scramble gives i -> (i*mul + add) mod n, a permutation of 0..n-1.
func scramble(n int, key uint64) (mul, add int) {
	if key == 0 || n < 2 {
		return 1, 0
	}
	// splitmix64: neighbouring keys give orders that have nothing in common.
	mix := func(x uint64) int {
		x += 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return int((x ^ x>>31) % uint64(n))
	}
	mul, add = mix(key), mix(^key)
	for gcd(mul, n) != 1 {
		mul = (mul + 1) % n
	}
	return mul, add
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Top returns the m most probable ports, best first; all of them if there are
// fewer than m.
func (d *Distribution) Top(m int) []Guess {
	if m <= 0 {
		return nil
	}
	top := make([]Guess, 0, min(m, 65535))
	for port, p := range d.All() {
		top = append(top, Guess{port, p})
		if len(top) == m {
			break
		}
	}
	return top
}

// Tries is how many of the most probable ports have to be tried until the next
// port is among them with probability p. It is 0 for p <= 0 and 65535 for p >= 1.
func (d *Distribution) Tries(p float64) int {
	if p <= 0 {
		return 0
	}
	tries, sum := 0, 0.0
	for g, n := range d.groups() {
		if sum+float64(n)*g >= p {
			return tries + min(n, max(1, int(math.Ceil((p-sum)/g-1e-9))))
		}
		sum += float64(n) * g
		tries += n
	}
	return tries
}

// Hit is the probability that the next port is among the m most probable ones.
func (d *Distribution) Hit(m int) float64 {
	sum := 0.0
	for g, n := range d.groups() {
		if m <= n {
			return min(1, sum+float64(max(m, 0))*g)
		}
		sum += float64(n) * g
		m -= n
	}
	return min(1, sum)
}

// groups yields probability and number of ports, in the order of guesses.
func (d *Distribution) groups() iter.Seq2[float64, int] {
	return func(yield func(float64, int) bool) {
		points, runs := d.points, d.runs
		for len(points)+len(runs) > 0 {
			if len(runs) == 0 || len(points) > 0 && level(points[0].P) >= level(runs[0].p) {
				if !yield(points[0].P, 1) {
					return
				}
				points = points[1:]
				continue
			}
			if !yield(runs[0].p, runs[0].n) {
				return
			}
			runs = runs[1:]
		}
	}
}

// P is the probability that port is the next one: 0 for port 0 only.
func (d *Distribution) P(port uint16) float64 {
	if i, ok := slices.BinarySearch(d.ports, port); ok {
		return d.probs[i]
	}
	x := int(port)
	for _, r := range d.runs {
		if x >= r.lo && x <= r.hi && (x-r.lo)%r.step == 0 {
			return r.p
		}
	}
	return 0
}

// LogLikelihood is the natural logarithm of P(port): -Inf for port 0 only.
func (d *Distribution) LogLikelihood(port uint16) float64 { return math.Log(d.P(port)) }

// Entropy is the uncertainty in bits: 0 for a certain port, 15.98 for any of
// 1024 to 65535.
func (d *Distribution) Entropy() float64 {
	h := 0.0
	for p, n := range d.groups() {
		h -= float64(n) * p * math.Log2(p)
	}
	return h
}

// Sample draws a port: u is uniform in [0, 1), from a source of the caller's
// choice. The same u gives the same port.
func (d *Distribution) Sample(u float64) uint16 {
	sum := 0.0
	var last uint16
	points, runs := d.points, d.runs
	for len(points)+len(runs) > 0 {
		if len(runs) == 0 || len(points) > 0 && level(points[0].P) >= level(runs[0].p) {
			sum += points[0].P
			last = points[0].Port
			points = points[1:]
			if u < sum {
				return last
			}
			continue
		}
		r := runs[0]
		runs = runs[1:]
		if mass := float64(r.n) * r.p; u >= sum+mass && len(points)+len(runs) > 0 {
			sum += mass
			continue
		}
		for x := r.lo; x <= r.hi; x += r.step {
			if _, isPoint := slices.BinarySearch(d.ports, uint16(x)); isPoint {
				continue
			}
			sum += r.p
			last = uint16(x)
			if u < sum {
				return last
			}
		}
	}
	return last // u is within rounding of 1
}

// scratch collects the mixture while it is computed: a mass for single ports, and
// for stretches the change of density where they begin and end, even and odd ports
// apart. It is dense because that is fastest; what is kept of it is not.
type scratch struct {
	mass [nPorts]float64
	edge [2][nPorts + 2]float64
	done [nPorts]bool // kept as part of a stretch
}

const nPorts = 65536

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// point adds w to a port; what lies outside 1..65535 is lost and made up for in
// the end.
func (s *scratch) point(port int, w float64) {
	if port >= 1 && port < nPorts {
		s.mass[port] += w
	}
}

// Parities of ports in a stretch.
const (
	even = iota
	odd
	both
)

// stretch spreads w evenly over lo..hi, or over the ports of one parity in it.
func (s *scratch) stretch(lo, hi, parity int, w float64) {
	lo, hi = max(lo, 1), min(hi, nPorts-1)
	n := count(lo, hi, parity)
	if n == 0 {
		return
	}
	w /= float64(n)
	for side := range 2 {
		if parity == both || parity == side {
			s.edge[side][lo] += w
			s.edge[side][hi+1] -= w
		}
	}
}

// count is the number of ports of a parity in lo..hi.
func count(lo, hi, parity int) int {
	switch {
	case hi < lo:
		return 0
	case parity == both:
		return hi - lo + 1
	}
	if lo&1 != parity {
		lo++
	}
	if hi < lo {
		return 0
	}
	return (hi-lo)/2 + 1
}

const (
	alike  = 0.02 // neighbours that differ by less are one stretch: at most 2 % off in probability, which no count of tries notices
	runMin = 8    // shorter stretches are single ports
	least  = 1e-15
)

// distribution turns what was collected into a Distribution and empties s.
func (s *scratch) distribution() *Distribution {
	sum := 0.0
	for side := range 2 {
		density := 0.0
		for port := range nPorts {
			density += s.edge[side][port]
			if port > 0 && port&1 == side {
				s.mass[port] += max(density, least)
				sum += s.mass[port]
			}
		}
	}
	for port := 1; port < nPorts; port++ {
		s.mass[port] /= sum
	}
	d := &Distribution{}
	s.runs(d, 1, 1)
	s.runs(d, 1, 2)
	s.runs(d, 2, 2)
	for port := 1; port < nPorts; port++ {
		if !s.done[port] {
			d.points = append(d.points, Guess{uint16(port), s.mass[port]})
		}
	}
	slices.SortFunc(d.points, func(a, b Guess) int { return int(a.Port) - int(b.Port) })
	for _, g := range d.points {
		d.ports, d.probs = append(d.ports, g.Port), append(d.probs, g.P)
	}
	for i := range d.runs {
		r := &d.runs[i]
		r.n = (r.hi-r.lo)/r.step + 1
		at, _ := slices.BinarySearch(d.ports, uint16(r.lo))
		for _, port := range d.ports[at:] {
			if int(port) > r.hi {
				break
			}
			if (int(port)-r.lo)%r.step == 0 {
				r.n--
			}
		}
	}
	slices.SortFunc(d.points, func(a, b Guess) int { return cmp.Or(cmp.Compare(level(b.P), level(a.P)), int(a.Port)-int(b.Port)) })
	slices.SortFunc(d.runs, func(a, b stretch) int { return cmp.Or(cmp.Compare(level(b.p), level(a.p)), a.lo-b.lo) })
	*s = scratch{}
	scratches.Put(s)
	return d
}

// runs cuts the ports lo, lo+step ... that are not done into stretches of nearly
// equal probability. A port that stands out of a stretch is left in it to be a point.
func (s *scratch) runs(d *Distribution, lo, step int) {
	near := func(port int, p float64) bool {
		return port < nPorts && !s.done[port] && math.Abs(s.mass[port]-p) <= alike*p
	}
	for next := 0; lo < nPorts; lo = next {
		first := s.mass[lo]
		next = lo + step
		if s.done[lo] {
			continue
		}
		hi, n, mass, out := lo, 1, first, 0
		for port := next; port < nPorts && !s.done[port]; port += step {
			if near(port, first) {
				hi, mass = port, mass+s.mass[port]
				n++
				continue
			}
			// Where every other port stands out the stretch is one of a parity.
			if out++; 4*out > n || !near(port+step, first) {
				break
			}
		}
		if n < runMin {
			continue
		}
		for port := lo; port <= hi; port += step {
			if !near(port, first) {
				d.points = append(d.points, Guess{uint16(port), s.mass[port]})
			}
			s.done[port] = true
		}
		d.runs = append(d.runs, stretch{lo: lo, hi: hi, step: step, p: mass / float64(n)})
		next = hi + step
	}
}

func abs(x int) int { return max(x, -x) }
