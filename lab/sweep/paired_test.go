package sweep

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestNewcombePublished: the interval and the test of airway hyper-responsiveness in
// Fagerland, Lydersen and Laake, Recommended tests and confidence intervals for
// paired binomial proportions, Statistics in Medicine 33, 2014: (-0.507, -0.026),
// mid-P 0.039.
func TestNewcombePublished(t *testing.T) {
	i := newcombe(1, 1, 7, 12)
	round := func(x float64) float64 { return math.Round(x*1000) / 1000 }
	if round(*i.Value) != -0.286 || round(*i.Low) != -0.507 || round(*i.High) != -0.026 {
		t.Errorf("%.4f, %.4f to %.4f", *i.Value, *i.Low, *i.High)
	}
	if p := mcnemar(1, 7); round(p) != 0.039 {
		t.Errorf("mid-P %.4f", p)
	}
}

// TestNewcombeProperties: the estimate lies inside, exchanging the two turns the
// interval round, and nothing leaves -1 to 1.
func TestNewcombeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(0, 60)
		a, b, c, d := count.Draw(t, "both"), count.Draw(t, "only"), count.Draw(t, "onlyNot"), count.Draw(t, "neither")
		i, turned := newcombe(a, b, c, d), newcombe(a, c, b, d)
		if a+b+c+d == 0 {
			if i.Value != nil {
				t.Fatalf("of nothing %v", *i.Value)
			}
			return
		}
		const tiny = 1e-12
		if *i.Low > *i.Value+tiny || *i.High < *i.Value-tiny || *i.Low < -1-tiny || *i.High > 1+tiny || *i.High-*i.Low < tiny {
			t.Fatalf("%v, %v to %v", *i.Value, *i.Low, *i.High)
		}
		if math.Abs(*i.Low+*turned.High) > tiny || math.Abs(*i.High+*turned.Low) > tiny {
			t.Fatalf("%v to %v, turned %v to %v", *i.Low, *i.High, *turned.Low, *turned.High)
		}
	})
}

// TestNewcombeCovers: how often the interval holds the truth, added up over every outcome of
// 20 pairs. Newcombe gives a mean of 0.95 or more and a worst case of 0.86 or so.
func TestNewcombeCovers(t *testing.T) {
	const n = 20
	fact := make([]float64, n+1)
	for i := range fact {
		fact[i], _ = math.Lgamma(float64(i) + 1)
	}
	rng := rand.New(rand.NewPCG(4, 4))
	sum, worst := 0., 1.
	const worlds = 60
	for range worlds {
		p := [4]float64{rng.ExpFloat64(), rng.ExpFloat64(), rng.ExpFloat64(), rng.ExpFloat64()}
		whole := p[0] + p[1] + p[2] + p[3]
		for i := range p {
			p[i] /= whole
		}
		covered := 0.
		for a := 0; a <= n; a++ {
			for b := 0; a+b <= n; b++ {
				for c := 0; a+b+c <= n; c++ {
					d := n - a - b - c
					i := newcombe(a, b, c, d)
					if truth := p[1] - p[2]; *i.Low <= truth && truth <= *i.High {
						covered += math.Exp(fact[n] - fact[a] - fact[b] - fact[c] - fact[d] +
							float64(a)*math.Log(p[0]) + float64(b)*math.Log(p[1]) + float64(c)*math.Log(p[2]) + float64(d)*math.Log(p[3]))
					}
				}
			}
		}
		sum += covered / worlds
		worst = min(worst, covered)
	}
	if sum < 0.945 || worst < 0.86 {
		t.Errorf("coverage %.4f in the mean, %.4f at worst", sum, worst)
	}
	t.Logf("coverage %.4f in the mean, %.4f at worst", sum, worst)
}

// TestMcNemarSlow compares with coins thrown one by one, in whole numbers.
func TestMcNemarSlow(t *testing.T) {
	for only := range 14 {
		for onlyNot := range 14 {
			n := only + onlyNot
			likelier := 0. // outcomes at least as unequal, those just as unequal by half
			far := max(only, onlyNot) - min(only, onlyNot)
			for bits := range 1 << min(n, 18) {
				if n > 18 {
					break
				}
				heads := 0
				for b := bits; b > 0; b &= b - 1 {
					heads++
				}
				switch d := max(heads, n-heads) - min(heads, n-heads); {
				case d > far:
					likelier++
				case d == far:
					likelier += 0.5
					if far == 0 {
						likelier += 0.5
					}
				}
			}
			if n > 18 {
				continue
			}
			if want, got := likelier/float64(int(1)<<n), mcnemar(only, onlyNot); math.Abs(want-got) > 1e-9 {
				t.Errorf("%d and %d: %v, want %v", only, onlyNot, got, want)
			}
		}
	}
	if p := mcnemar(100_000, 100_500); !(p > 0.25 && p < 0.28) { // z = 500/sqrt(200500) = 1.117
		t.Errorf("of many: %v", p)
	}
}

// TestMedianCovers: the interval holds the true median in at least 95 % of samples of a lopsided
// distribution, and in not many more.
func TestMedianCovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	truth := math.Ln2 * 1e9
	for _, n := range []int{6, 7, 20, 51} {
		const samples = 4000
		hit := 0
		for range samples {
			v := make([]int64, n)
			for i := range v {
				v[i] = int64(rng.ExpFloat64() * 1e9)
			}
			if i := median(v); *i.Low <= truth && truth <= *i.High {
				hit++
			}
		}
		if share := float64(hit) / samples; share < 0.935 || share > 0.99 {
			t.Errorf("%d values: %.4f of the intervals hold the median", n, share)
		}
	}
}

func TestMedianOfFew(t *testing.T) {
	if i := median(nil); i.Value != nil {
		t.Errorf("of nothing %v", *i.Value)
	}
	for n := 1; n < 6; n++ {
		if i := median(make([]int64, n)); i.Value == nil || i.Low != nil {
			t.Errorf("of %d: %+v", n, i)
		}
	}
	if i := median([]int64{4, 1, 3, 2, 6, 5}); *i.Value != 3.5 || *i.Low != 1 || *i.High != 6 {
		t.Errorf("%v, %v to %v", *i.Value, *i.Low, *i.High)
	}
}

// TestWilsonSlow: the ends of the interval are the shares that a test of the normal
// approximation just does not refuse, found by halving.
func TestWilsonSlow(t *testing.T) {
	const z = 1.959963984540054
	refuses := func(p float64, s Share) bool {
		n := float64(s.Of)
		return math.Abs(s.Value()-p) > z*math.Sqrt(p*(1-p)/n)
	}
	edge := func(in, out float64, s Share) float64 {
		for range 100 {
			if mid := (in + out) / 2; refuses(mid, s) {
				out = mid
			} else {
				in = mid
			}
		}
		return in
	}
	for of := 1; of <= 40; of++ {
		for count := 0; count <= of; count++ {
			s := Share{count, of}
			lo, hi := s.Interval()
			if a, b := edge(s.Value(), 0, s), edge(s.Value(), 1, s); math.Abs(a-lo) > 1e-9 || math.Abs(b-hi) > 1e-9 {
				t.Fatalf("%d of %d: %v to %v, want %v to %v", count, of, lo, hi, a, b)
			}
		}
	}
}

// TestDifferences counts pairs of a made-up sweep in whatever order its rows come, and
// compares with a slow count.
func TestDifferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := anyConfig(t)
		p := newPlan(c)
		var rows []Row
		for x := range p.tasks() {
			s := p.situation(x)
			r := s.row(Sim)
			if r.Outcome = "refused"; rapid.Bool().Draw(t, "connected") {
				r.Outcome, r.EstablishedNS = Established, ns(time.Duration(rapid.Int64Range(0, 9).Draw(t, "time")))
			}
			if rapid.IntRange(0, 9).Draw(t, "made") > 0 {
				rows = append(rows, *r)
			}
		}
		rng := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "order")))
		rng.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		sum, err := Summarize(c, rows)
		if err != nil {
			t.Fatal(err)
		}
		if want := (len(c.Arms) - 1) * (len(p.grid) + 1); len(sum.Paired) != want || sum.Done != len(rows) {
			t.Fatalf("%d differences, want %d; %d of %d rows", len(sum.Paired), want, sum.Done, len(rows))
		}
		for _, d := range sum.Paired {
			var both, only, onlyNot, neither int
			var times []int64
			for _, x := range rows {
				if x.Arm != d.Arm || d.Point != nil && d.Point.N != x.Point {
					continue
				}
				i := slices.IndexFunc(rows, func(y Row) bool { return y.Arm == d.Base && y.Point == x.Point && y.Trial == x.Trial })
				switch {
				case i < 0:
				case x.Outcome == Established && rows[i].Outcome == Established:
					both++
					times = append(times, *x.EstablishedNS-*rows[i].EstablishedNS)
				case x.Outcome == Established:
					only++
				case rows[i].Outcome == Established:
					onlyNot++
				default:
					neither++
				}
			}
			if d.Both != both || d.Only != only || d.OnlyNot != onlyNot || d.Neither != neither || d.Pairs != both+only+onlyNot+neither {
				t.Fatalf("%+v, want %d %d %d %d", d, both, only, onlyNot, neither)
			}
			if slices.Sort(times); len(times) > 0 && *d.Time.Value != *median(times).Value {
				t.Fatalf("median %v of %v", *d.Time.Value, times)
			}
		}
	})
}
