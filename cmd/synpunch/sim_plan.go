package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/lab/sim"
)

// simPlanFlags say how exact timers are and what peers know of their clocks.
type simPlanFlags struct {
	late, sigma          string
	plan                 bool
	clockError, exchange time.Duration
}

func (f *simPlanFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.late, "late", "0s", "how much later than its instant a host sends; `A,B` for one each")
	fl.StringVar(&f.sigma, "send-sigma", "0s", "standard deviation of a normal error of the instant at which a host sends; `A,B` for one each")
	fl.BoolVar(&f.plan, "plan", false, "let the peers choose their instants for the middle of the window, and say with which probability the SYNs cross")
	fl.DurationVar(&f.clockError, "clock-error", 0, "with --plan: a host's clock is wrong by up to this much, either way")
	fl.DurationVar(&f.exchange, "exchange", 0, "with --plan: the peers compare their clocks once, over a network with this mean delay each way (0: they do not)")
}

// apply puts the flags into a configuration.
func (f *simPlanFlags) apply(cfg *sim.Config) error {
	late, err := perSide("late", f.late, time.ParseDuration)
	if err != nil {
		return err
	}
	sigma, err := perSide("send-sigma", f.sigma, time.ParseDuration)
	if err != nil {
		return err
	}
	for i, s := range []*sim.Side{&cfg.A, &cfg.B} {
		s.Late, s.SendError.Sigma = late[i], sigma[i]
	}
	switch {
	case f.plan:
		cfg.Plan = &sim.Plan{ClockError: f.clockError, Exchange: f.exchange}
	case f.clockError != 0:
		return fmt.Errorf("--clock-error %v is drawn for each trial with --plan; a clock that is always wrong by as much is --clock", f.clockError)
	case f.exchange != 0:
		return fmt.Errorf("--exchange %v compares clocks for --plan: it is not here", f.exchange)
	}
	return nil
}

// simPlan is the part of the result about the peers' own expectation.
type simPlan struct {
	ClockErrorNS int64   `json:"clock_error_ns"`
	ExchangeNS   int64   `json:"exchange_ns"`
	Stated       float64 `json:"stated"` // mean probability of a crossing, as the peers state it
}

func newSimPlan(cfg *sim.Config, r *sim.Result) *simPlan {
	if cfg.Plan == nil {
		return nil
	}
	return &simPlan{cfg.Plan.ClockError.Nanoseconds(), cfg.Plan.Exchange.Nanoseconds(), r.Stated}
}
