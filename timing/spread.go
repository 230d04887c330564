package timing

import (
	"math"
	"slices"
)

// spread is the distribution of a sum of independent errors around zero: one normal,
// and any number of uniform ones.
type spread struct {
	sigma  float64   // standard deviation of the normal one
	bounds []float64 // half widths of the uniform ones
}

// newSpread drops what is zero and counts the signs of nothing.
func newSpread(sigma float64, bounds ...float64) spread {
	s := spread{sigma: math.Abs(sigma)}
	for _, b := range bounds {
		if b != 0 {
			s.bounds = append(s.bounds, math.Abs(b))
		}
	}
	s.absorb()
	return s
}

// Given by the floating-point numbers: below these ratios the closed form loses more digits than
// it costs to take a narrow uniform error for a normal one of the same variance. The
// result is within 1e-6.
const (
	narrowForNormal  = 0.01 // of the normal error, where there are several uniform ones
	narrowestNormal  = 1e-4 // ... where there is one
	narrowForUniform = 5e-5 // of the widest uniform error
	reach            = 9.   // deviations beyond which nothing is left: 1e-19
)

// absorb makes narrow uniform errors a part of the normal one.
func (s *spread) absorb() {
	slices.SortFunc(s.bounds, func(a, b float64) int { // the widest first
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return 0
	})
	for n := len(s.bounds); n > 0; n = len(s.bounds) {
		b, ratio := s.bounds[n-1], narrowForNormal
		if n == 1 {
			ratio = narrowestNormal
		}
		if b >= ratio*s.sigma && b >= narrowForUniform*s.bounds[0] {
			return
		}
		s.sigma = math.Hypot(s.sigma, b/math.Sqrt(3))
		s.bounds = s.bounds[:n-1]
	}
}

// certain reports whether there is no error at all.
func (s *spread) certain() bool { return s.sigma == 0 && len(s.bounds) == 0 }

// below is the probability that the sum is y or less, of a spread that is not
// certain.
//
// With k uniform errors of half widths b, the distribution function is the k-fold
// difference quotient of the k-fold integral of the normal one:
//
//	sum over all signs of (product of the signs) I_k(y +- b_1 +- ... +- b_k) / (2 b_1 ... 2 b_k)
func (s *spread) below(y float64) float64 {
	width, scale := 0., 1.
	for _, b := range s.bounds {
		width += b
		scale *= 2 * b
	}
	switch {
	case y >= width+reach*s.sigma:
		return 1
	case y <= -width-reach*s.sigma:
		return 0
	case y > 0: // the distribution is symmetric, and digits are lost where the integrals are large
		return 1 - s.below(-y)
	}
	total, k := 0., len(s.bounds)
	for signs := range 1 << k {
		at, sign := y, 1.
		for i, b := range s.bounds {
			if signs>>i&1 == 0 {
				at += b
			} else {
				at, sign = at-b, -sign
			}
		}
		total += sign * s.integral(k, at)
	}
	return min(max(total/scale, 0), 1)
}

// integral is the k-fold integral of the distribution function of the normal error,
// from minus infinity to y. In units of sigma, with Phi_0 that function and Phi_-1 its
// density, k Phi_k(t) = t Phi_k-1(t) + Phi_k-2(t).
func (s *spread) integral(k int, y float64) float64 {
	if s.sigma == 0 {
		if y <= 0 {
			return 0
		}
		v := 1.
		for i := range k {
			v *= y / float64(i+1)
		}
		return v
	}
	t := y / s.sigma
	last, v := math.Exp(-t*t/2)/math.Sqrt(2*math.Pi), math.Erfc(-t/math.Sqrt2)/2
	unit := 1.
	for i := range k {
		last, v = v, (t*v+last)/float64(i+1)
		unit *= s.sigma
	}
	return max(v, 0) * unit
}
