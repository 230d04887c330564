package sim

import (
	"context"
	"sync"
	"sync/atomic"
)

// Chosen by us: trials of one batch, few enough that Ctrl-C is heard and many
// enough that handing them over costs nothing; and batches for each worker.
const (
	batchSize     = 64
	workerBatches = 4
)

// batch is a number of consecutive trials.
type batch struct {
	n      int // number of the batch
	trials []Trial
	err    error // trials ends early
}

// Run runs the trials of cfg; nil is the zero Config. When ctx ends it, it
// returns what was done until then together with ctx.Err(). Any other error is
// about the configuration, and the Result is nil.
func Run(ctx context.Context, cfg *Config) (*Result, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	set, err := cfg.prepare()
	if err != nil {
		return nil, err
	}
	batches := (set.Trials + batchSize - 1) / batchSize
	workers := min(set.Workers, batches)
	worlds := make([]*world, workers)
	for i := range worlds {
		if worlds[i], err = newWorld(set); err != nil {
			return nil, err
		}
	}
	// A worker takes an empty batch before it takes a number, so that the
	// batch that comes next is always being worked on or done.
	empty := make(chan *batch, workers*workerBatches)
	full := make(chan *batch, workers*workerBatches)
	for range cap(empty) {
		empty <- &batch{trials: make([]Trial, 0, batchSize)}
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	run, stop := context.WithCancel(ctx)
	for _, w := range worlds {
		wg.Go(func() {
			for b := range empty {
				b.n = int(next.Add(1)) - 1
				if b.n >= batches {
					return
				}
				w.fill(run, b)
				full <- b
			}
		})
	}
	t := newTally()
	waiting := map[int]*batch{}
	for n := 0; n < batches && err == nil; {
		b := waiting[n]
		if b == nil {
			b = <-full
			waiting[b.n] = b
			continue
		}
		delete(waiting, n)
		n++
		for i := range b.trials {
			t.add(&b.trials[i])
			if set.Record != nil {
				set.Record(&b.trials[i])
			}
		}
		if err = b.err; err == nil {
			empty <- b
		}
	}
	stop()
	close(empty)
	wg.Wait()
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	return t.result(), err
}

// fill runs the trials of a batch.
func (w *world) fill(ctx context.Context, b *batch) {
	b.err = nil
	first := b.n * batchSize
	b.trials = b.trials[:min(batchSize, w.set.Trials-first)]
	for i := range b.trials {
		if b.err = ctx.Err(); b.err == nil {
			b.err = w.trial(first+i, &b.trials[i])
		}
		if b.err != nil {
			b.trials = b.trials[:i]
			return
		}
	}
}
