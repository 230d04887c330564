package sweep

import (
	"math"
	"slices"

	"github.com/synpunch/synpunch/lab/sim"
)

// newcombe is the difference of two shares of the same n things, both + only of
// which have the first property and both + onlyNot the second, with an interval of
// 95 % confidence: Wilson's intervals of the two, put together with their correlation
// (R. G. Newcombe, Improved confidence intervals for the difference between binomial
// proportions based on paired data, Statistics in Medicine 17, 1998, method 10).
// It keeps to -1 and 1, and is not empty where all pairs agree.
func newcombe(both, only, onlyNot, neither int) Interval {
	n := both + only + onlyNot + neither
	if n == 0 {
		return Interval{}
	}
	first, second := sim.Share{Count: both + only, Of: n}, sim.Share{Count: both + onlyNot, Of: n}
	p, q := first.Value(), second.Value()
	pLow, pHigh := first.Interval()
	qLow, qHigh := second.Interval()
	phi := correlation(float64(both), float64(only), float64(onlyNot), float64(neither))
	add := func(x, y float64) float64 { return math.Sqrt(max(0, x*x-2*phi*x*y+y*y)) }
	value := p - q
	return interval(value, value-add(p-pLow, qHigh-q), value+add(pHigh-p, q-qLow))
}

// correlation is phi of a fourfold table, with Newcombe's correction for continuity.
func correlation(a, b, c, d float64) float64 {
	scale := math.Sqrt((a + b) * (c + d) * (a + c) * (b + d))
	if scale == 0 {
		return 0
	}
	x := a*d - b*c
	if x > 0 {
		x = max(x-(a+b+c+d)/2, 0)
	}
	return x / scale
}

// mcnemar is the probability of pairs that are at least as unequal as these, if
// neither property is the more frequent one: McNemar's test with mid-P (M. W.
// Fagerland, S. Lydersen, P. Laake, BMC Medical Research Methodology 13:91, 2013).
func mcnemar(only, onlyNot int) float64 {
	n, k := only+onlyNot, min(only, onlyNot)
	p := -binomial(n, k)
	for i := 0; i <= k; i++ {
		p += 2 * binomial(n, i)
	}
	return min(p, 1)
}

// binomial is the probability that k of n fair coins show heads.
func binomial(n, k int) float64 {
	ln := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	return math.Exp(ln(n) - ln(k) - ln(n-k) - float64(n)*math.Ln2)
}

// median is that of a sample, with an interval of at least 95 % confidence whatever the
// distribution: between two values of the sample, as far from its ends as the
// sign test allows (H. A. David and H. N. Nagaraja, Order Statistics, section
// 7.1). Fewer than six values have no such interval. It sorts the values.
func median(v []int64) Interval {
	n := len(v)
	if n == 0 {
		return Interval{}
	}
	slices.Sort(v)
	middle := (float64(v[(n-1)/2]) + float64(v[n/2])) / 2
	k, below := 0, binomial(n, 0) // the k lowest and highest are outside; below: the chance that the median is lower still
	for below <= (1-confidence)/2 {
		k++
		below += binomial(n, k)
	}
	if k == 0 {
		return Interval{Value: &middle}
	}
	return interval(middle, float64(v[k-1]), float64(v[n-k]))
}

const confidence = 0.95

func interval(value, low, high float64) Interval {
	return Interval{Value: &value, Low: &low, High: &high}
}
