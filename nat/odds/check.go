package odds

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Check is how a strategy is simulated.
type Check struct {
	Budgets []int  // of each side; nil: an eighth, a quarter, half and all of the budget
	Ports   int    // attempts of which only the ports are drawn (Draw), for each budget
	Packets int    // attempts that are simulated packet by packet (Packets), for each budget
	Seed    uint64 // of every draw

	// Progress is told how much of the work is done, in SYNs; it is called from one goroutine at a time. May be nil.
	Progress func(done, of int)
}

// Comparison is theory beside simulation for one budget.
type Comparison struct {
	Theory  Point   `json:"theory"`
	Ports   *Sample `json:"ports"`   // null: not simulated
	Packets *Sample `json:"packets"` // null: not simulated
}

// Sample is what simulated attempts gave.
type Sample struct {
	Trials    int           `json:"trials"`
	Connected int           `json:"connected"` // with a hit
	Low       float64       `json:"low"`       // Wilson's interval of 95 %
	High      float64       `json:"high"`
	Hits      float64       `json:"hits"`     // mean
	First     time.Duration `json:"first_ns"` // mean time to the first hit, of those that have one
	Agrees    bool          `json:"agrees"`   // with theory, in probability and in time
	Histogram []int         `json:"histogram"`
}

// Agrees reports whether nothing contradicts theory.
func (c *Comparison) Agrees() bool {
	return (c.Ports == nil || c.Ports.Agrees) && (c.Packets == nil || c.Packets.Agrees)
}

// Quantiles of the normal distribution: of the interval that is shown, 95 %, and of the one outside of
// which simulation and theory disagree. The second is 99.99 %, so that ten honest comparisons
// with a seed nobody has tried raise a false alarm once in a thousand runs; chosen by us.
const (
	zShown    = 1.959964
	zDisagree = 3.890592
)

// wilson is Wilson's score interval (Journal of the American Statistical Association 22, 1927).
func wilson(count, of int, z float64) (low, high float64) {
	if of == 0 {
		return 0, 1
	}
	n, p := float64(of), float64(count)/float64(of)
	middle := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	low, high = max(0, middle-half), min(1, middle+half)
	if count == 0 {
		low = 0
	}
	if count == of {
		high = 1
	}
	return low, high
}

// Run simulates a strategy and compares. It uses all processors; the result does not depend on
// how many. When ctx ends it returns ctx's error.
func (c *Check) Run(ctx context.Context, o *Odds, s *Strategy) ([]Comparison, error) {
	budgets := c.Budgets
	if budgets == nil {
		for _, part := range []int{8, 4, 2, 1} {
			if n := max(1, o.budget/part); len(budgets) == 0 || n > budgets[len(budgets)-1] {
				budgets = append(budgets, n)
			}
		}
	}
	list := make([]Comparison, len(budgets))
	work := 0
	for i, n := range budgets {
		list[i].Theory = o.at(&o.seen[s.play], s.Order, n)
		work += (c.Ports + c.Packets*packetWork) * (list[i].Theory.SYNs() + 1)
	}
	p := progress{report: c.Progress, of: work}
	for i, n := range budgets {
		theory := &list[i].Theory
		each := theory.SYNs() + 1
		draw := func() (func(uint64) (Trial, error), error) {
			return func(seed uint64) (Trial, error) { defer p.add(each); return o.Draw(s, n, seed), ctx.Err() }, nil
		}
		packets := func() (func(uint64) (Trial, error), error) {
			w, err := o.NewPackets()
			if err != nil {
				return nil, err
			}
			return func(seed uint64) (Trial, error) {
				defer p.add(each * packetWork)
				return w.Run(ctx, s, n, seed)
			}, nil
		}
		var err error
		if list[i].Ports, err = sampleOf(c.Ports, c.Seed, theory, draw); err != nil {
			return nil, err
		}
		if list[i].Packets, err = sampleOf(c.Packets, c.Seed^1<<63, theory, packets); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// packetWork is how much longer a SYN takes packet by packet: BenchmarkPackets and BenchmarkDraw.
const packetWork = 25

// progress counts the work of several goroutines.
type progress struct {
	mu       sync.Mutex
	report   func(done, of int)
	done, of int
}

func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done += n; p.report != nil {
		p.report(p.done, p.of)
	}
}

// sampleOf makes trials, each with a seed of its own, on all processors. Each has what open returns to itself.
func sampleOf(trials int, seed uint64, theory *Point, open func() (func(uint64) (Trial, error), error)) (*Sample, error) {
	if trials == 0 {
		return nil, nil
	}
	results := make([]Trial, trials)
	var next atomic.Int64
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	fail := func(err error) { once.Do(func() { failed = err }); next.Store(int64(trials)) }
	for range min(trials, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			run, err := open()
			if err != nil {
				fail(err)
				return
			}
			for {
				i := next.Add(1) - 1
				if i >= int64(trials) {
					return
				}
				// A distance of 2^64 divided by the golden ratio keeps seeds apart.
				if results[i], err = run(seed + uint64(i)*0x9e3779b97f4a7c15); err != nil {
					fail(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if failed != nil {
		return nil, failed
	}
	return summarize(results, theory), nil
}

func summarize(results []Trial, theory *Point) *Sample {
	s := &Sample{Trials: len(results)}
	var times []float64
	for _, r := range results {
		s.Hits += float64(r.Hits) / float64(len(results))
		for len(s.Histogram) <= r.Hits {
			s.Histogram = append(s.Histogram, 0)
		}
		s.Histogram[r.Hits]++
		if r.Hits > 0 {
			s.Connected++
			times = append(times, r.First.Seconds())
		}
	}
	s.Low, s.High = wilson(s.Connected, s.Trials, zShown)
	low, high := wilson(s.Connected, s.Trials, zDisagree)
	slack := zDisagree * theory.Error
	s.Agrees = theory.P >= low-slack && theory.P <= high+slack
	mean, sd := moments(times)
	s.First = seconds(mean)
	if len(times) >= 30 { // fewer tell too little of their own spread
		// Theory spreads the SYNs evenly; they leave one by one.
		step := 1/theory.A.Rate + 1/theory.B.Rate
		s.Agrees = s.Agrees && math.Abs(mean-theory.First.Seconds()) <= zDisagree*sd/math.Sqrt(float64(len(times)))+step
	}
	return s
}

// moments are the mean and the standard deviation.
func moments(list []float64) (mean, sd float64) {
	if len(list) == 0 {
		return 0, 0
	}
	for _, x := range list {
		mean += x / float64(len(list))
	}
	for _, x := range list {
		sd += (x - mean) * (x - mean) / float64(max(1, len(list)-1))
	}
	return mean, math.Sqrt(sd)
}
