package matrix

import (
	"context"
	"fmt"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
)

var _ World = (*simWorld)(nil)

// Chosen by us.
const (
	// DefaultDelay is the delay of the link, each way, where none is given.
	DefaultDelay = 20 * time.Millisecond
	// DefaultTimeout is the time of a try where none is given: fifty round trips of
	// the default link, with room for a retransmission.
	DefaultTimeout = 2 * time.Second
	// SimThreshold is the share that counts as all the time in a simulation.
	SimThreshold = 0.99

	simBatch = 1000
)

// SimConfig says how to simulate. The zero value and nil are one SYN each with
// the engine repair.
type SimConfig struct {
	Engines    [2]sim.Engine   // of A and B; "": repair
	Strategies [2]sim.Strategy // of A and B; "": cross
	Delay      *time.Duration  // of the link, each way; nil: DefaultDelay
	Timeout    time.Duration   // of a try; 0: DefaultTimeout
	LearnPort  bool            // a host with engine repair whose peer is unpredictable takes the port that arrives for the peer's
}

type simWorld struct {
	setup  Setup
	cfg    sim.Config
	learns [2]bool
}

// NewSim returns the world of package lab/sim. Its tries are independent of
// each other: each has NATs that were just switched on. Errors wrap sim.ErrConfig.
func NewSim(cfg *SimConfig) (World, error) {
	if cfg == nil {
		cfg = &SimConfig{}
	}
	delay, timeout := DefaultDelay, cfg.Timeout
	if cfg.Delay != nil {
		delay = *cfg.Delay
	}
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	w := &simWorld{
		cfg:   sim.Config{Scenario: lab.Scenario{Link: lab.Link{Delay: delay}}, Timeout: timeout, Workers: 1},
		setup: Setup{World: "sim", Delay: delay, Timeout: timeout, Threshold: SimThreshold},
	}
	for i, side := range []*sim.Side{&w.cfg.A, &w.cfg.B} {
		engine, err := sim.ParseEngine(string(cfg.Engines[i]))
		if err != nil {
			return nil, err
		}
		strategy, err := sim.ParseStrategy(string(cfg.Strategies[i]))
		if err != nil {
			return nil, err
		}
		w.learns[i] = cfg.LearnPort && engine == sim.Repair
		*side = sim.Side{Engine: engine, Strategy: strategy}
		w.setup.Engines[i], w.setup.Strategies[i] = string(engine), string(strategy)
	}
	w.setup.LearnPort = w.learns[0] || w.learns[1]
	return w, w.cfg.Validate()
}

func (w *simWorld) Setup() Setup { return w.setup }

func (w *simWorld) Batch() int { return simBatch }

func (w *simWorld) Open(_ context.Context, p *Pair) (Bench, error) {
	b := &simBench{w.cfg}
	b.cfg.Scenario.A.NAT, b.cfg.Scenario.B.NAT = p.A.NAT, p.B.NAT
	b.cfg.A.LearnPort = w.learns[0] && p.B.Class == Unpredictable
	b.cfg.B.LearnPort = w.learns[1] && p.A.Class == Unpredictable
	b.cfg.A.Observations, b.cfg.B.Observations = p.A.Looks, p.B.Looks
	return b, b.cfg.Validate()
}

type simBench struct{ cfg sim.Config }

func (b *simBench) Try(ctx context.Context, n int, seed uint64, report func(Try)) error {
	cfg := b.cfg
	cfg.Trials, cfg.Seed = n, seed
	cfg.Record = func(t *sim.Trial) {
		report(Try{Outcome: string(t.Outcome()), Established: t.Established()})
	}
	if _, err := sim.Run(ctx, &cfg); err != nil {
		return fmt.Errorf("simulation: %w", err)
	}
	return nil
}

func (b *simBench) Close() error { return nil }
