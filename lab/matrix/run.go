package matrix

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Chosen by us.
const (
	// DefaultAttempts is Config.Attempts where that is 0.
	DefaultAttempts = 100
	// DefaultTries is Config.Tries where that is 0.
	DefaultTries = 3
)

// ErrConfig is wrapped by every complaint about a Config.
var ErrConfig = errors.New("matrix")

// Config says what to measure. The zero value and nil are all kinds, a hundred
// attempts each.
type Config struct {
	Kinds    []Kind // rows (in front of A) and columns (in front of B); nil: All
	Attempts int    // of each pair; 0: DefaultAttempts
	Tries    int    // of an attempt, at most; 0: DefaultTries
	Seed     uint64 // of every draw
	Workers  int    // pairs at the same time; 0: runtime.GOMAXPROCS
	// Progress is told how many attempts of how many are done, from time to time. It
	// may be nil and is called by one goroutine at a time.
	Progress func(done, of int)
}

// Run makes the attempts. A pair's result depends on the seed and on its own two
// kinds only, in a simulation: neither on the other kinds nor on the workers. When ctx ends the run, Run
// returns what was done until then together with ctx.Err(). With any other
// error the Table is nil.
func Run(ctx context.Context, w World, cfg *Config) (*Table, error) {
	r, err := newRun(w, cfg)
	if err != nil {
		return nil, err
	}
	n := len(r.Kinds)
	next := make(chan int)
	run, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	for range min(r.Workers, n*n) {
		wg.Go(func() {
			for i := range next {
				if err := r.pair(run, &r.table.Cells[i]); err != nil {
					stop(err)
				}
			}
		})
	}
feed:
	for i := range r.table.Cells {
		select {
		case next <- i:
		case <-run.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	if err := context.Cause(run); err != nil && ctx.Err() == nil {
		return nil, err
	}
	return &r.table, ctx.Err()
}

// runner is a checked Config with its defaults.
type runner struct {
	Config
	world World
	table Table
	mu    sync.Mutex // of done and Progress
	done  int
}

func newRun(w World, cfg *Config) (*runner, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	r := &runner{Config: *cfg, world: w}
	for _, v := range []struct {
		name  string
		value *int
		zero  int
	}{{"attempts", &r.Attempts, DefaultAttempts}, {"tries", &r.Tries, DefaultTries}, {"workers", &r.Workers, runtime.GOMAXPROCS(0)}} {
		if *v.value < 0 {
			return nil, fmt.Errorf("%w: %d %s: want 1 or more", ErrConfig, *v.value, v.name)
		}
		if *v.value == 0 {
			*v.value = v.zero
		}
	}
	if r.Kinds == nil {
		r.Kinds = All()
	}
	r.table = Table{Setup: w.Setup(), Kinds: r.Kinds, Attempts: r.Attempts, Tries: r.Tries, Seed: r.Seed}
	for _, a := range r.Kinds {
		for _, b := range r.Kinds {
			r.table.Cells = append(r.table.Cells, Cell{Pair: Pair{a, b}, ByTry: make([]int, r.Tries), Outcomes: map[string]int{}})
		}
	}
	return r, nil
}

// pair fills a cell. That ctx ended it is no error.
func (r *runner) pair(ctx context.Context, c *Cell) error {
	if ctx.Err() != nil {
		return nil
	}
	defer func() { slices.Sort(c.times) }()
	bench, err := r.world.Open(ctx, &c.Pair)
	for n := 0; err == nil && n < r.Attempts; n += r.world.Batch() {
		err = r.batch(ctx, bench, c, n, min(r.world.Batch(), r.Attempts-n))
	}
	if bench != nil {
		err = errors.Join(err, bench.Close())
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s x %s: %w", c.A.Name, c.B.Name, err)
	}
	return nil
}

// batch makes n attempts together: those that did not connect are tried again
// together. The first of them has the number first. A batch that does not
// come to its end does not count, because its successes are known earlier than its failures.
func (r *runner) batch(ctx context.Context, bench Bench, c *Cell, first, n int) error {
	sum := newTally(r.Tries)
	open := n
	for try := range r.Tries {
		last, tried := try == r.Tries-1, open
		err := bench.Try(ctx, tried, cellSeed(r.Seed, &c.Pair, first, try), func(t Try) {
			if t.Outcome == established {
				open--
			}
			sum.add(&t, try, last)
		})
		if err != nil {
			return err
		}
		if open == 0 {
			break
		}
	}
	c.merge(n, sum)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done += n
	if r.Progress != nil {
		r.Progress(r.done, len(r.table.Cells)*r.Attempts)
	}
	return nil
}

// tally is what a batch gave.
type tally struct {
	byTry    []int
	outcomes map[string]int
	late     int
	times    []time.Duration
}

func newTally(tries int) *tally {
	return &tally{byTry: make([]int, tries), outcomes: map[string]int{}}
}

// add counts a try; of one that failed only if it is the attempt's last.
func (s *tally) add(t *Try, try int, last bool) {
	if t.Late {
		s.late++
	}
	if t.Outcome == established {
		s.byTry[try]++
		s.times = append(s.times, t.Established)
	}
	if last || t.Outcome == established {
		s.outcomes[t.Outcome]++
	}
}

// cellSeed derives a seed from everything that tells a batch of tries from others
// (FNV-1a, then the finalizer of SplitMix64).
func cellSeed(seed uint64, p *Pair, first, try int) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %q %q %d %d", seed, p.A.NAT, p.B.NAT, first, try)
	x := h.Sum64()
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
