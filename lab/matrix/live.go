package matrix

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
)

var _ World = (*liveWorld)(nil)

// Chosen by us.
const (
	// LiveThreshold is the share that counts as all the time live: a busy machine
	// misses an instant now and then.
	LiveThreshold = 0.95
	// LateLimit is from which delay on of its SYN a host counts as late: a quarter of
	// the default link's.
	LateLimit = 5 * time.Millisecond
	// DefaultParallel is LiveConfig.Parallel where that is 0: most of a try is waiting.
	DefaultParallel = 8

	liveBytes = 512 // each way, to prove the connection
	// Ports of the tries, of A and of B.
	firstPortA, firstPortB = 20000, 40000
	portsApart             = 2 // parity stays
)

// LiveConfig says how to make live tries. The zero value and nil are one SYN each
// with the engine repair.
type LiveConfig struct {
	Engines    [2]punch.Engine   // of A and B; "": repair
	Strategies [2]punch.Strategy // of A and B; "": cross
	Delay      *time.Duration    // of the link, each way; nil: DefaultDelay
	Timeout    time.Duration     // of a try; 0: DefaultTimeout
	LearnPort  bool              // a host with engine repair whose peer is unpredictable takes the port that arrives for the peer's
	Parallel   int               // tries at the same time; 0: DefaultParallel
	// Command makes each attempt with this program, see live.Trial; nil: in this
	// process.
	Command []string
}

// liveWorld is the world of package lab/live.
type liveWorld struct {
	cfg   LiveConfig
	delay time.Duration
	setup Setup
}

// NewLive returns the world of package lab/live: real kernels, real packets, real
// clocks. Each batch of tries gets a lab of its own, and each of its tries has other
// ports. With a NAT that counts each try has its own lab. The privileges of live.Build
// are needed.
func NewLive(cfg *LiveConfig) (World, error) {
	if cfg == nil {
		cfg = &LiveConfig{}
	}
	w := &liveWorld{cfg: *cfg, delay: DefaultDelay}
	if cfg.Delay != nil {
		w.delay = *cfg.Delay
	}
	if w.cfg.Timeout == 0 {
		w.cfg.Timeout = DefaultTimeout
	}
	if w.cfg.Parallel == 0 {
		w.cfg.Parallel = DefaultParallel
	}
	if w.cfg.Parallel < 0 || w.cfg.Timeout < 0 {
		return nil, fmt.Errorf("%w: %d attempts at a time, timeout %v: want more than 0", ErrConfig, w.cfg.Parallel, w.cfg.Timeout)
	}
	w.setup = Setup{World: "live", Delay: w.delay, Timeout: w.cfg.Timeout, Threshold: LiveThreshold}
	for i := range w.cfg.Engines {
		if w.cfg.Engines[i] == "" {
			w.cfg.Engines[i] = punch.Repair
		}
		if w.cfg.Strategies[i] == "" {
			w.cfg.Strategies[i] = punch.Cross
		}
		w.setup.Engines[i], w.setup.Strategies[i] = string(w.cfg.Engines[i]), string(w.cfg.Strategies[i])
		w.setup.LearnPort = w.setup.LearnPort || w.learns(i)
	}
	return w, nil
}

// learns reports whether side i takes the port that arrives.
func (w *liveWorld) learns(i int) bool { return w.cfg.LearnPort && w.cfg.Engines[i] == punch.Repair }

func (w *liveWorld) Setup() Setup { return w.setup }

func (w *liveWorld) Batch() int { return w.cfg.Parallel }

func (w *liveWorld) Open(_ context.Context, p *Pair) (Bench, error) {
	b := &liveBench{liveWorld: w, pair: p}
	b.scenario = lab.Scenario{A: lab.Site{NAT: p.A.NAT}, B: lab.Site{NAT: p.B.NAT}, Link: lab.Link{Delay: w.delay}}
	return b, b.scenario.Validate()
}

type liveBench struct {
	*liveWorld
	pair     *Pair
	scenario lab.Scenario
}

func (b *liveBench) Close() error { return nil }

func (b *liveBench) Try(ctx context.Context, n int, seed uint64, report func(Try)) error {
	share := n // tries of one lab
	if b.counts() {
		share = 1
	}
	tries, errs := make([]Try, n), make([]error, n)
	var wg sync.WaitGroup
	for i := 0; i < n; i += share {
		wg.Go(func() { errs[i] = b.lab(ctx, tries[i:i+share], rand.NewPCG(seed, uint64(i)).Uint64()) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, t := range tries {
		report(t)
	}
	return nil
}

// lab builds a lab and makes tries in it side by side.
func (b *liveBench) lab(ctx context.Context, tries []Try, seed uint64) error {
	l, err := live.Build(ctx, &b.scenario, &live.Config{Seed: seed})
	if err != nil {
		return err
	}
	errs := make([]error, len(tries))
	var wg sync.WaitGroup
	for i := range tries {
		wg.Go(func() { tries[i], errs[i] = b.one(ctx, l, i) })
	}
	wg.Wait()
	return errors.Join(append(errs, l.Close())...)
}

// counts reports whether a NAT of the pair counts: another try would take the
// port that was predicted, so each has a lab of its own.
func (b *liveBench) counts() bool { return b.pair.A.Looks > 1 || b.pair.B.Looks > 1 }

// one makes try number i of a lab.
func (b *liveBench) one(ctx context.Context, l *live.Lab, i int) (Try, error) {
	t := live.Trial{Bytes: liveBytes, Timeout: b.cfg.Timeout, Command: b.cfg.Command}
	for side, s := range []*live.Side{&t.A, &t.B} {
		s.Engine, s.Strategy = b.cfg.Engines[side], b.cfg.Strategies[side]
		s.Port = uint16([2]int{firstPortA, firstPortB}[side] + i*portsApart)
		s.Observations = [2]*Kind{&b.pair.A, &b.pair.B}[side].Looks
		if b.learns(side) && [2]*Kind{&b.pair.B, &b.pair.A}[side].Class == Unpredictable {
			s.Args, s.Plan = []string{"--learn-port"}, learnPort
		}
	}
	r, err := t.Run(ctx, l)
	if err != nil {
		return Try{}, err
	}
	return newTry(r)
}

func learnPort(p *punch.Plan) { p.LearnPort = true }

// newTry sums a trial up. An end that could not even begin is an error.
func newTry(r *live.TrialResult) (Try, error) {
	t := Try{Outcome: established}
	for _, s := range []*live.SideResult{&r.A, &r.B} {
		if s.Report == nil {
			return t, fmt.Errorf("no report of an attempt: %w", s.Err)
		}
		if o := string(s.Report.Outcome); t.Outcome == established && o != established {
			t.Outcome = o
		}
		if ns := s.Report.Established; ns != nil {
			t.Established = max(t.Established, time.Duration(*ns))
		}
		if ns := s.Report.SendErrorNS; ns != nil && time.Duration(*ns).Abs() > LateLimit {
			t.Late = true
		}
	}
	if t.Outcome == established && !r.Connected(liveBytes) {
		t.Outcome = string(punch.Failed)
	}
	return t, nil
}
