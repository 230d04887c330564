package odds

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// Strategy is one way to use the budget, and what it gives.
type Strategy struct {
	Name  string                 `json:"name"` // cross or fan
	Order Order                  `json:"order"`
	How   string                 `json:"how"` // who sends what
	Why   string                 `json:"why"` // what makes it better or worse than others
	Point `json:"at_the_budget"` // with the whole budget
	Needs []Need                 `json:"needs"` // the smallest budgets

	play int // in Odds.seen
}

// Point is what a strategy gives with a number of SYNs.
type Point struct {
	Budget   int           `json:"budget"` // that each side was given
	A        Effort        `json:"a"`
	B        Effort        `json:"b"`
	P        float64       `json:"p"`           // of at least one hit
	Hits     float64       `json:"hits"`        // expected
	Variance float64       `json:"variance"`    // of the number of hits
	Distance *float64      `json:"distance"`    // from Poisson's distribution with the same mean, in total variation; null: more than 20 hits
	First    time.Duration `json:"first_ns"`    // expected time to the first hit, from the first SYN, if there is one
	Median   time.Duration `json:"median_ns"`   // until half of those that have one have it
	Duration time.Duration `json:"duration_ns"` // until the last SYN has arrived
	InTime   float64       `json:"in_time"`     // share of the pairs of SYNs that are close enough in time
	Error    float64       `json:"error"`       // standard error of P, where predictions were sampled; else 0
}

// SYNs is how many both sides send together.
func (p *Point) SYNs() int { return p.A.SYNs + p.B.SYNs }

// Effort is what one side sends.
type Effort struct {
	SYNs  int `json:"syns"`
	Shape `json:"ports"`
	Rate  float64 `json:"rate"`  // SYNs per second
	Limit string  `json:"limit"` // why there are no more; empty: the budget
}

// Need is the smallest budget of each side for a probability.
type Need struct {
	P     float64 `json:"p"`
	Point *Point  `json:"point"` // nil: no budget is enough
}

// needed are the probabilities for which budgets are recommended.
var needed = []float64{0.5, 0.9, 0.99}

// at computes what a play in an order gives with a budget of n SYNs for each side.
func (o *Odds) at(p *play, r Order, n int) Point {
	pt, t := o.begin(p, r, n)
	pt.Duration = seconds(t.end)
	a, b, share := t.a, t.b, pt.InTime
	pt.P = 1 - p.law.none(a, b, share)
	pt.Hits, pt.Variance = p.law.mean(a, b, share), p.law.variance(a, b, share)
	if d, ok := p.law.distance(a, b, share); ok {
		pt.Distance = &d
	}
	pt.First, pt.Median = t.first(pt.P)
	if o.A.Knowledge == Ranked || o.B.Knowledge == Ranked {
		pt.Error = math.Sqrt(pt.P * (1 - pt.P) / foresightDraws)
	}
	return pt
}

// chance is the probability alone.
func (o *Odds) chance(p *play, r Order, n int) float64 {
	pt, t := o.begin(p, r, n)
	return 1 - p.law.none(t.a, t.b, pt.InTime)
}

// begin shares out a budget.
func (o *Odds) begin(p *play, r Order, n int) (Point, timeline) {
	c := p.split(n)
	pt := Point{Budget: n, A: o.effort(0, p, c.a), B: o.effort(1, p, c.b)}
	pt.A.Shape, pt.B.Shape = p.shape(c.a, c.b)
	pt.A.Limit, pt.B.Limit = c.whyA, c.whyB
	t := o.timeline(p, r, &pt)
	pt.InTime = t.share(t.end)
	if o.banned(p, r) >= 0 {
		pt.InTime = 0 // the first SYN that misses ends it
	}
	return pt, t
}

// effort is how fast a side sends: no faster than its NAT makes mappings, if every SYN needs one.
func (o *Odds) effort(i int, p *play, count int) Effort {
	e := Effort{SYNs: count, Rate: o.rate}
	s := o.side(i)
	each := !s.Shared || (p.kind == finding || p.kind == learning) && p.lead == i
	if limit := float64(s.Behaviour.SYNRate); limit > 0 && each && count > 1 {
		e.Rate = min(e.Rate, limit)
	}
	return e
}

// timeline follows one play in time.
type timeline struct {
	law    law
	until  func(a, b, allA, allB float64) float64 // of the play; may be nil
	a, b   float64                                // SYNs
	sa, sb spell
	window window
	way    float64 // one-way delay
	end    float64 // when the last SYN has arrived
}

func (o *Odds) timeline(p *play, r Order, pt *Point) timeline {
	t := timeline{law: p.law, until: p.until, a: float64(pt.A.SYNs), b: float64(pt.B.SYNs), way: o.delay.Seconds()}
	t.sa, t.sb = o.spells(r, t.a, t.b, pt.A.Rate, pt.B.Rate)
	t.window, _ = o.opening(p, r)
	t.end = max(t.sa.end(), t.sb.end()) + t.way
	return t
}

// share is the part of the pairs that have left and arrived at the time at and were in
// the window, of those that have left and arrived.
func (t *timeline) share(at float64) float64 {
	at -= t.way
	sent := t.sa.sent(at) * t.sb.sent(at)
	if t.window.shut() || sent == 0 {
		return 0
	}
	return min(1, meet(t.sa, t.sb, t.window, at)/sent)
}

// by is the probability of a hit until the time at.
func (t *timeline) by(at float64) float64 {
	a, b := t.a*t.sa.sent(at-t.way), t.b*t.sb.sent(at-t.way)
	if t.until != nil {
		return t.until(a, b, t.a, t.b) * t.share(at)
	}
	return 1 - t.law.none(a, b, t.share(at))
}

// Steps of the integral of the time to the first hit, chosen by us: its error is below one part in a thousand.
const timeSteps = 512

// first is the mean and the median of the time to the first hit, given that there is one: the
// integral of the probability that it has not come yet.
func (t *timeline) first(p float64) (mean, median time.Duration) {
	if p <= 0 {
		return 0, 0
	}
	// Nothing comes before the second side has begun; where one hit is among very many
	// SYNs the probability is near 1 early, so the steps get longer as it rises.
	from := max(t.sa.start, t.sb.start) + t.way
	length := t.end - from
	sum, last, before, half := from, from, 1.0, math.NaN()
	for i := 1; i <= timeSteps; i++ {
		x := float64(i) / timeSteps
		at := from + length*x*x
		left := max(0, 1-t.by(at)/p)
		sum += (at - last) * (left + before) / 2
		if math.IsNaN(half) && left <= 0.5 {
			half = last + (at-last)*(before-0.5)/max(before-left, 1e-12)
		}
		last, before = at, left
	}
	return seconds(sum), seconds(half)
}

// rank tries every play in every order with the whole budget and sorts them.
func (o *Odds) rank() []Strategy {
	var list []Strategy
	for i := range o.seen {
		p := &o.seen[i]
		for _, r := range orders {
			if p.kind == crossing && r != Together || o.idle(p, r) {
				continue
			}
			s := Strategy{Name: "fan", Order: r, How: p.how, play: i, Point: o.at(p, r, o.budget)}
			if s.SYNs() == 2 {
				s.Name = "cross"
			}
			s.Why = o.why(p, r, &s.Point)
			s.Needs = o.needs(p, r)
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, compare)
	return list
}

// idle reports an order that makes no sense for a play: one side would only send what reaches nobody, or one SYN
// each would be put in a row.
func (o *Odds) idle(p *play, r Order) bool {
	side, primes := r.first()
	return p.kind == learning && (side == 1-p.lead || r == Together && p.law(1, 1, 0) < 1) ||
		p.law(1, 1, 0) >= 1 && primes
}

// compare puts the strategy with the better chance first; among equals the cheaper
// one, and then the faster one.
func compare(x, y Strategy) int {
	if c := cmp.Compare(alike(y.P), alike(x.P)); c != 0 {
		return c
	}
	if c := cmp.Compare(x.SYNs(), y.SYNs()); c != 0 {
		return c
	}
	return cmp.Compare(x.First, y.First)
}

// alike makes chances the same that differ by less than half a per cent, or, where they are small, in the third digit.
func alike(p float64) float64 {
	if p >= 0.05 || p == 0 {
		return math.Round(200*p) / 200
	}
	unit := math.Pow(10, math.Floor(math.Log10(p))-1)
	return math.Round(p/unit) * unit
}

// needs finds the smallest budgets: by doubling, because with mappings that end more SYNs can be worse, and
// then by bisection.
func (o *Odds) needs(p *play, r Order) []Need {
	var list []Need
	for _, want := range needed {
		low, high := 0, 1
		for high <= MaxBudget && o.chance(p, r, high) < want {
			low, high = high, 2*high
		}
		if high > MaxBudget {
			list = append(list, Need{P: want})
			continue
		}
		for high-low > 1 {
			if mid := (low + high) / 2; o.chance(p, r, mid) >= want {
				high = mid
			} else {
				low = mid
			}
		}
		pt := o.at(p, r, high)
		list = append(list, Need{want, &pt})
	}
	return list
}

// Curve computes the points of a strategy for these budgets.
func (o *Odds) Curve(s *Strategy, budgets []int) []Point {
	list := make([]Point, len(budgets))
	for i, n := range budgets {
		list[i] = o.at(&o.seen[s.play], s.Order, n)
	}
	return list
}

// Best is the strategy to take.
func (o *Odds) Best() *Strategy { return &o.Strategies[0] }

func percent(p float64) string {
	switch {
	case p > 0 && p < 1e-4:
		return fmt.Sprintf("%.1g %%", 100*p)
	case p < 0.1:
		return fmt.Sprintf("%.2g %%", 100*p)
	}
	return fmt.Sprintf("%.1f %%", 100*p)
}
