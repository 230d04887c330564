package rawtcp

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestPermutationIsABijection: each number comes once.
func TestPermutationIsABijection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(0, 5000).Draw(t, "n")
		p := NewPermutation(n, drawKey(t))
		seen := make([]bool, n)
		for i := range n {
			switch x := p.At(i); {
			case x >= n:
				t.Fatalf("number %d of %d is %d", i, n, x)
			case seen[x]:
				t.Fatalf("%d comes twice", x)
			default:
				seen[x] = true
			}
		}
	})
}

func drawKey(t *rapid.T) [16]byte {
	return [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
}

// TestPermutationOfManyNumbers: two distinct numbers of a range too large to try
// out have distinct places, inside the range.
func TestPermutationOfManyNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(2, 1<<62).Draw(t, "n")
		p := NewPermutation(n, drawKey(t))
		i, j := rapid.Uint64Range(0, n-1).Draw(t, "i"), rapid.Uint64Range(0, n-1).Draw(t, "j")
		x, y := p.At(i), p.At(j)
		if x >= n || y >= n || (x == y) != (i == j) {
			t.Fatalf("%d of %d is %d, %d is %d", i, n, x, j, y)
		}
	})
}

// TestPermutationLooksRandom: over many keys every number is as often first, and as often
// next after it, as every other (chi-square, 63 degrees of freedom, 1 in a million above 127).
func TestPermutationLooksRandom(t *testing.T) {
	const n, keys = 64, 200_000
	var first, step [n]float64
	for k := range keys {
		p := NewPermutation(n, [16]byte{byte(k), byte(k >> 8), byte(k >> 16), 1})
		a, b := p.At(0), p.At(1)
		first[a]++
		step[(b-a)%n]++
	}
	if step[0] != 0 {
		t.Error("two places with the same number")
	}
	chi := func(counts []float64) (sum float64) {
		want := float64(keys) / float64(len(counts))
		for _, c := range counts {
			sum += (c - want) * (c - want) / want
		}
		return sum
	}
	if got := chi(first[:]); got > 127 {
		t.Errorf("the first number is not uniform: chi-square %.0f", got)
	}
	t.Logf("chi-square %.0f and %.0f", chi(first[:]), chi(step[1:]))
	if got := chi(step[1:]); got > 127 {
		t.Errorf("the step from the first to the second is not uniform: chi-square %.0f", got)
	}
	if bad := chi(make([]float64, n)); math.IsNaN(bad) || bad < 127 {
		t.Errorf("the test cannot fail: chi-square %.0f of nothing", bad)
	}
}

// TestPermutationIsAgreed: the order depends on the key and on nothing else.
func TestPermutationIsAgreed(t *testing.T) {
	const n = 129_024
	a, b, c := NewPermutation(n, [16]byte{1}), NewPermutation(n, [16]byte{1}), NewPermutation(n, [16]byte{2})
	same := 0
	for i := range uint64(n) {
		if a.At(i) != b.At(i) {
			t.Fatalf("two ends with one key differ at %d", i)
		}
		if a.At(i) == c.At(i) {
			same++
		}
	}
	// Two random orders agree in Poisson(1) places.
	if same > 20 {
		t.Errorf("two keys agree in %d places", same)
	}
	if a.Len() != n {
		t.Errorf("Len is %d", a.Len())
	}
	if got := testing.AllocsPerRun(100, func() { a.At(7) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}
