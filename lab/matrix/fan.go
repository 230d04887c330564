package matrix

import (
	"context"
	"fmt"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/nat/odds"
	"github.com/synpunch/synpunch/punch"
)

var _ World = (*fanWorld)(nil)

const fanBatch = 16 // chosen by us: a try of two sweeps takes 30 ms

// FanConfig says how to simulate many SYNs. Zero fields mean the default.
type FanConfig struct {
	Budget int            // SYNs that each side may send in a try; 0: two sweeps
	Rate   float64        // SYNs a second of each side; 0: odds.DefaultRate
	Delay  *time.Duration // of the link, each way; nil: DefaultDelay
}

// twoSweeps is the budget with which two NATs that draw any of the ports from
// 1024 on have 4 hits to expect.
const twoSweeps = 2 * (65536 - 1024)

// NewFan returns the world of package odds: in each try both sides do what is
// best with these two NATs, one SYN each or many, with no more SYNs than have a chance of 99 % or
// than the budget allows, and the ports that the NATs give them are drawn. Errors wrap odds.ErrConfig.
func NewFan(cfg *FanConfig) (World, error) {
	if cfg == nil {
		cfg = &FanConfig{}
	}
	w := &fanWorld{
		cfg:   odds.Config{Budget: cfg.Budget, Rate: cfg.Rate, Delay: DefaultDelay},
		setup: Setup{World: "sim", Engines: [2]string{"repair", "repair"}, Strategies: [2]string{"fan", "fan"}, LearnPort: true, Threshold: FanThreshold},
	}
	if cfg.Delay != nil {
		w.cfg.Delay = *cfg.Delay
	}
	if w.cfg.Budget == 0 {
		w.cfg.Budget = twoSweeps
	}
	if w.cfg.Rate == 0 {
		w.cfg.Rate = odds.DefaultRate
	}
	w.setup.Delay, w.setup.Budget, w.setup.Rate = w.cfg.Delay, w.cfg.Budget, w.cfg.Rate
	o, err := odds.Compute(&w.cfg) // of two NATs of RFC 5382: the other fields are right
	if err != nil {
		return nil, err
	}
	w.setup.Timeout = o.Best().Duration
	return w, nil
}

// FanThreshold is the share that counts as all the time with many SYNs: chosen by us, a little less than the
// 99 % for which they are counted, so that a fair sample does not miss it.
const FanThreshold = 0.95

type fanWorld struct {
	setup Setup
	cfg   odds.Config
}

func (w *fanWorld) Setup() Setup { return w.setup }

func (w *fanWorld) Batch() int { return fanBatch }

func (w *fanWorld) Open(_ context.Context, p *Pair) (Bench, error) {
	cfg := w.cfg
	var err error
	if cfg.A, err = oneNAT(p.A.NAT); err != nil {
		return nil, err
	}
	if cfg.B, err = oneNAT(p.B.NAT); err != nil {
		return nil, err
	}
	o, err := odds.Compute(&cfg)
	if err != nil {
		return nil, err
	}
	b := &fanBench{odds: o, best: o.Best(), budget: cfg.Budget, answer: cfg.Delay}
	if b.best.Order != odds.Together {
		b.answer *= 2 // the SYNs do not cross: an answer and an ACK
	}
	for _, n := range b.best.Needs {
		if n.P >= 0.99 && n.Point != nil && n.Point.Budget < b.budget {
			b.budget = n.Point.Budget
		}
	}
	return b, nil
}

// oneNAT reads what stands between a host and the network.
func oneNAT(text string) (nat.Behaviour, error) {
	chain, err := lab.ParseNAT(text)
	if err != nil {
		return nat.Behaviour{}, err
	}
	var list []nat.Behaviour
	for i := range chain {
		list = append(list, chain[i].Behaviour)
	}
	b, err := odds.Chain(list...)
	if err != nil {
		return b, fmt.Errorf("%s: %w", text, err)
	}
	return b, nil
}

type fanBench struct {
	odds   *odds.Odds
	best   *odds.Strategy
	budget int
	answer time.Duration // from the hit until both ends are established
}

func (b *fanBench) Try(ctx context.Context, n int, seed uint64, report func(Try)) error {
	for i := range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		t := b.odds.Draw(b.best, b.budget, seed+uint64(i))
		if t.Hits == 0 {
			report(Try{Outcome: string(punch.Timeout)})
			continue
		}
		report(Try{Outcome: established, Established: t.First + b.answer})
	}
	return nil
}

func (b *fanBench) Close() error { return nil }
