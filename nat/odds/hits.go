package odds

import "math"

// A law is the distribution of the number of hits H after a SYNs of A and b SYNs
// of B, told by its factorial moments: the s-th call gives
// E[(H)_{s+1}] / E[(H)_s], where (H)_s = H(H-1)...(H-s+1) and (H)_0 = 1. A negative
// ratio stands for 0: there are no s+1 hits. docs/odds.md derives each.
type law func(a, b, s float64) float64

// matching: both draw a port for each flow. A hit is a pair of SYNs, each at the port
// that the other got; a SYN is in one hit at most. A NAT that never gives a port
// twice draws the s-th from what is left.
func matching(portsA, portsB float64, distinctA, distinctB bool) law {
	left := func(ports, s float64, distinct bool) float64 {
		if distinct {
			return ports - s
		}
		return ports
	}
	return func(a, b, s float64) float64 {
		if a <= s || b <= s {
			return 0
		}
		return (a - s) * (b - s) / (left(portsA, s, distinctA) * left(portsB, s, distinctB))
	}
}

// guessing: one side holds a different ports of n, the other guesses b different ones: the
// hypergeometric distribution.
func guessing(n float64) law {
	return func(a, b, s float64) float64 {
		if a <= s || b <= s || n <= s {
			return 0
		}
		return (a - s) * (b - s) / (n - s)
	}
}

// single: there is one pair of SYNs at most that can hit, and it does with
// probability p(a, b).
func single(p func(a, b float64) float64) law {
	return func(a, b, s float64) float64 {
		if s > 0 {
			return 0
		}
		return p(a, b)
	}
}

// sure is the number of hits from which on their absence is no longer summed up: exp(-20)
// is 2e-9. Chosen by us; the terms of the series reach 5e7 there, and a float64 keeps 16 digits.
const sure = 20

// none is the probability of no hit at all, if each pair is in time with
// probability share. With more than sure hits to expect it is taken for exp(-E[H]): what is left does
// not matter.
func (l law) none(a, b, share float64) float64 {
	mean := l(a, b, 0) * share
	if mean <= 0 {
		return 1
	}
	if mean > sure {
		return math.Exp(-mean)
	}
	return l.exactly(0, a, b, share)
}

// exactly is the probability of k hits: the alternating sum of the factorial moments
// (Feller, An Introduction to Probability Theory, volume 1, chapter IV, on the realization of
// m among n events).
func (l law) exactly(k int, a, b, share float64) float64 {
	term := 1.0
	for s := range k {
		term *= max(0, l(a, b, float64(s))*share) / float64(s+1)
	}
	sum := term
	for r := 1; r < 10*sure; r++ {
		term *= -max(0, l(a, b, float64(k+r-1))*share) / float64(r)
		sum += term
		if math.Abs(term) < 1e-17 {
			break
		}
	}
	return min(1, max(0, sum))
}

// mean and variance of the number of hits.
func (l law) mean(a, b, share float64) float64 { return max(0, l(a, b, 0)*share) }

func (l law) variance(a, b, share float64) float64 {
	m := l.mean(a, b, share)
	return max(0, m*max(0, l(a, b, 1)*share)+m-m*m)
}

// distance is how far the number of hits is from Poisson's distribution with the same mean, in total
// variation; false with more than sure hits.
func (l law) distance(a, b, share float64) (d float64, ok bool) {
	mean := l.mean(a, b, share)
	if mean > sure {
		return 0, false
	}
	poisson, rest, others := math.Exp(-mean), 1.0, 1.0
	for k := 0; k < 5*sure && (rest > 1e-12 || others > 1e-12); k++ {
		p := l.exactly(k, a, b, share)
		d += math.Abs(p-poisson) / 2
		rest, others = rest-poisson, others-p
		poisson *= mean / float64(k+1)
	}
	return min(1, d), true
}
