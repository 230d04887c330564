package sweep

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// Options is what a run has besides its Config. The zero value and nil make the
// trials and keep nothing but the Summary.
type Options struct {
	// Done are the rows of a run that was stopped, from its beginning: the trials are not
	// made again.
	Done []Row
	// Record gets each row as it is made, in the order of Row.N, on the goroutine that called Run.
	// Its error ends the run. The row stays as it is. It may be nil.
	Record func(*Row) error
	// Progress is told how many trials of how many are done, Done counted in. It may
	// be nil.
	Progress func(done, of int)
	// Dir is the directory of the sweep, in which CapturesName is there, for the
	// captures that the Config asks for. "": none are kept.
	Dir string
	// Workers is how many trials are simulated at the same time; 0:
	// runtime.GOMAXPROCS. The rows are the same. Live trials are made one by one.
	Workers int
	// Stock is a program that calls live.ServeStock, and its words, for the live hosts with TimerSleep: each
	// then has a process of its own, as live.Config.Stock says. Empty: both hosts are in this process, where
	// timers wake together, and the Summary says so in words.
	Stock []string
}

// world is where trials are made.
type world interface {
	// try makes one trial. An error ends the sweep: that a punch failed is none.
	try(context.Context, *situation) (*Row, error)
	close() error
}

// Run makes the trials of cfg and sums them up. When ctx ends the run, it returns
// the summary of what was done until then together with ctx.Err(). With any
// other error the Summary is nil.
//
// Live trials need the privileges of live.Build.
func Run(ctx context.Context, cfg *Config, opt *Options) (*Summary, error) {
	if opt == nil {
		opt = &Options{}
	}
	checked, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := newPlan(checked)
	if err := p.check(opt.Done); err != nil {
		return nil, err
	}
	tally := newTally(p)
	for i := range opt.Done {
		tally.add(&opt.Done[i])
	}
	err = p.run(ctx, opt, tally.add)
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	sum := tally.summary()
	sum.together = len(opt.Stock) == 0
	return sum, ctx.Err()
}

// run makes the trials that are not done, and hands them over in their order.
func (p *plan) run(ctx context.Context, opt *Options, add func(*Row)) (err error) {
	w, workers := p.open(opt)
	defer func() { err = errors.Join(err, w.close()) }()
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	work, order := make(chan *job), make(chan *job, workersAhead*workers)
	wg.Go(func() { p.feed(ctx, int64(len(opt.Done)), work, order) })
	for range workers {
		wg.Go(func() {
			for j := range work {
				j.row, j.err = w.try(ctx, p.situation(j.task))
				close(j.made)
			}
		})
	}
	done := len(opt.Done)
	for j := range order {
		<-j.made
		if j.err != nil {
			return j.err
		}
		add(j.row)
		if opt.Record != nil {
			if err := opt.Record(j.row); err != nil {
				return err
			}
		}
		if done++; opt.Progress != nil {
			opt.Progress(done, p.Len())
		}
	}
	return ctx.Err()
}

// workersAhead is how many trials for each worker wait for one that takes longer. Chosen by us.
const workersAhead = 16

// job is a trial that is being made.
type job struct {
	task
	made chan struct{} // closed when row and err are there
	row  *Row
	err  error
}

// feed hands out the trials from number first on: each to a worker and, in order, to
// who waits for it.
func (p *plan) feed(ctx context.Context, first int64, work, order chan<- *job) {
	defer close(order)
	defer close(work)
	for t := range p.tasks() {
		if t.n < first {
			continue
		}
		j := &job{task: t, made: make(chan struct{})}
		select {
		case work <- j:
		case <-ctx.Done():
			return
		}
		select {
		case order <- j:
		case <-ctx.Done():
			return
		}
	}
}

// open makes the world, and says how many trials it makes at the same time.
func (p *plan) open(opt *Options) (world, int) {
	keep := keeper{dir: opt.Dir, policy: p.Captures}
	if p.World == Live {
		return &liveWorld{plan: p, keep: keep, labs: labs{stock: opt.Stock}}, 1
	}
	workers := opt.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &simWorld{plan: p, keep: keep}, workers
}

// check says whether rows are the first that the plan makes.
func (p *plan) check(rows []Row) error {
	i := 0
	for t := range p.tasks() {
		if i == len(rows) {
			return nil
		}
		if err := p.matches(t, &rows[i]); err != nil {
			return err
		}
		i++
	}
	if i < len(rows) {
		return fmt.Errorf("%w: %d rows are there, and %d trials asked for", ErrConfig, len(rows), i)
	}
	return nil
}

// row is what is known of a trial before it is made.
func (s *situation) row(world string) *Row {
	return &Row{
		N: s.n, Point: s.point, Trial: s.trial, Arm: s.arm.Name, World: world, Seed: s.seed,
		X: s.X, Y: s.Y,
		ABNS: int64(s.path.AB), BANS: int64(s.path.BA), SkewOrderedNS: int64(s.skew),
		ClockANS: int64(s.clock[0]), ClockBNS: int64(s.clock[1]),
		PCross: s.pCross(world),
	}
}
