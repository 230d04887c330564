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

// drawing: as guessing, but the ports held may be the same: the binomial distribution.
func drawing(n float64) law {
	return func(a, b, s float64) float64 { return (a - s) * b / n }
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

// sure is the number of hits from which on their absence is bounded and no longer
// summed up: exp(-20) is 2e-9. Chosen by us; the terms of the series reach 5e7 there, and a
// float64 keeps 16 digits.
const sure = 20

// none is the probability of no hit at all, if each pair is in time with
// probability share: the alternating sum of the factorial moments (Bonferroni; Feller,
// An Introduction to Probability Theory, volume 1, chapter IV). With many hits it is the
// upper bound exp(-E[H]), which holds because hits get in each other's way (they are
// negatively associated).
func (l law) none(a, b, share float64) float64 {
	mean := l(a, b, 0) * share
	if mean <= 0 {
		return 1
	}
	if mean > sure {
		return math.Exp(-mean)
	}
	sum, term := 1.0, 1.0
	for s := 0.0; s < 10*sure; s++ {
		ratio := l(a, b, s) * share
		if ratio <= 0 {
			break
		}
		term *= -ratio / (s + 1)
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

// distance bounds how far the number of hits is from Poisson's distribution with the
// same mean, in total variation: (1 - exp(-m)) (1 - v/m), Barbour, Holst and Janson,
// Poisson Approximation (1992), corollary 2.C.2, for indicators that get in each other's way.
func (l law) distance(a, b, share float64) float64 {
	m := l.mean(a, b, share)
	if m == 0 {
		return 0
	}
	return -math.Expm1(-m) * max(0, 1-l.variance(a, b, share)/m)
}
