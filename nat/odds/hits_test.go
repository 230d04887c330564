package odds

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// every calls f with every list of length n of numbers below k, and with distinct only those without repetition.
func every(n, k int, distinct bool, f func([]int)) {
	list := make([]int, n)
	var fill func(i int)
	fill = func(i int) {
		if i == n {
			f(list)
			return
		}
	next:
		for v := range k {
			for j := range i {
				if distinct && list[j] == v {
					continue next
				}
			}
			list[i] = v
			fill(i + 1)
		}
	}
	fill(0)
}

// The slow oracle: every way in which two small NATs can give out ports, counted.
func TestMatchingCounted(t *testing.T) {
	for _, c := range []struct {
		ports, a, b          int
		distinctA, distinctB bool
	}{
		{3, 3, 3, false, false}, {3, 2, 3, false, false}, {3, 1, 2, false, false}, {4, 3, 3, false, false},
		{3, 3, 3, true, true}, {4, 4, 4, true, true}, {4, 2, 3, true, true}, {5, 4, 3, true, true},
		{3, 3, 3, true, false}, {4, 3, 4, false, true}, {4, 2, 2, true, false},
	} {
		histogram := map[int]int{}
		all := 0
		// A's SYN i goes to port i of B and leaves by x[i]; B's SYN j goes to port j of A and leaves by y[j].
		every(c.a, c.ports, c.distinctA, func(x []int) {
			every(c.b, c.ports, c.distinctB, func(y []int) {
				hits := 0
				for i, port := range x {
					if port < c.b && y[port] == i {
						hits++
					}
				}
				histogram[hits]++
				all++
			})
		})
		l := matching(float64(c.ports), float64(c.ports), c.distinctA, c.distinctB)
		checkLaw(t, l, float64(c.a), float64(c.b), histogram, all)
	}
}

func TestGuessingCounted(t *testing.T) {
	const ports = 5
	for held := range ports + 1 {
		for guesses := range ports + 1 {
			histogram := map[int]int{}
			all := 0
			every(held, ports, true, func(x []int) {
				hits := 0
				for _, port := range x {
					if port < guesses {
						hits++
					}
				}
				histogram[hits]++
				all++
			})
			checkLaw(t, guessing(ports), float64(held), float64(guesses), histogram, all)
		}
	}
}

func checkLaw(t *testing.T, l law, a, b float64, histogram map[int]int, all int) {
	t.Helper()
	mean, square := 0.0, 0.0
	for hits, n := range histogram {
		p := float64(n) / float64(all)
		mean += float64(hits) * p
		square += float64(hits*hits) * p
	}
	near(t, "no hit", l.none(a, b, 1), float64(histogram[0])/float64(all))
	near(t, "mean", l.mean(a, b, 1), mean)
	near(t, "variance", l.variance(a, b, 1), square-mean*mean)
	distance, rest := 0.0, 1.0
	for hits := range 20 {
		p := float64(histogram[hits]) / float64(all)
		near(t, "hits", l.exactly(hits, a, b, 1), p)
		poisson := math.Exp(-mean) * math.Pow(mean, float64(hits)) / math.Gamma(float64(hits)+1)
		distance += math.Abs(poisson-p) / 2
		rest -= poisson
	}
	if d, ok := l.distance(a, b, 1); !ok || math.Abs(d-distance-rest/2) > 1e-9 {
		t.Errorf("%v SYNs and %v: %v from Poisson's distribution, want %v", a, b, d, distance+rest/2)
	}
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9*max(1, math.Abs(want)) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// The numbers of the project's issue and of the derangements.
func TestKnownNumbers(t *testing.T) {
	const n = usualPorts
	two := matching(n, n, false, false)
	d, ok := two.distance(2*n, 2*n, 1)
	if p := 1 - two.none(2*n, 2*n, 1); !ok || d > 1e-4 || math.Abs(p-(1-math.Exp(-4))) > d {
		t.Errorf("two sweeps: %v, %v from Poisson's distribution", p, d)
	}
	near(t, "expected hits of two sweeps", two.mean(2*n, 2*n, 1), 4)
	// Both NATs give each port once: a permutation without a fixed point.
	near(t, "derangement", matching(n, n, true, true).none(n, n, 1), math.Exp(-1))
	// 256 source ports and 1,024 guesses: 98.3 %, and the sampling without repetition makes it a little more.
	p := 1 - guessing(n).none(256, 1024, 1)
	if with := 1 - math.Pow(1-256.0/n, 1024); p < with || p > with+1e-3 || math.Abs(with-0.983) > 5e-4 {
		t.Errorf("one hard NAT: %v, with repetition %v", p, with)
	}
}

// The series against the hypergeometric distribution by logarithms of factorials.
func TestNoneAgainstFactorials(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, usualPorts).Draw(t, "ports")
		a := rapid.IntRange(1, n).Draw(t, "held")
		b := rapid.IntRange(1, n).Draw(t, "guesses")
		got, mean := guessing(float64(n)).none(float64(a), float64(b), 1), float64(a)*float64(b)/float64(n)
		if a+b > n {
			if got > 1e-7 && mean < sure {
				t.Fatalf("%d and %d of %d must meet, none is %v", a, b, n, got)
			}
			return
		}
		want := math.Exp(lchoose(n-a, b) - lchoose(n, b))
		if math.Abs(got-want) > 1e-7 {
			t.Fatalf("none of %d by %d of %d: %v, want %v", a, b, n, got, want)
		}
		if want > math.Exp(-mean)+1e-12 {
			t.Fatalf("exp(-%v) is no bound of %v", mean, want)
		}
	})
}

func lchoose(n, k int) float64 {
	f := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	return f(n) - f(k) - f(n-k)
}

// Pairs of SYNs in a window, counted.
func TestMeetCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 400
		number := func(from, to float64, name string) float64 { return rapid.Float64Range(from, to).Draw(t, name) }
		a := spell{number(0, 2, "a"), number(0.1, 3, "long a")}
		b := spell{number(0, 2, "b"), number(0.1, 3, "long b")}
		w := window{early: number(-2, 3, "early"), late: number(-2, 3, "late")}
		at := number(0, 6, "at")
		count := 0
		for i := range n {
			for j := range n {
				x, y := a.start+a.length*(float64(i)+0.5)/n, b.start+b.length*(float64(j)+0.5)/n
				if x <= at && y <= at && y-x < w.late && x-y < w.early {
					count++
				}
			}
		}
		want := float64(count) / (n * n)
		if w.shut() {
			want = 0
		}
		if got := meet(a, b, w, at); math.Abs(got-want) > 0.02 {
			t.Fatalf("%v of the pairs, counted %v", got, want)
		}
	})
}
