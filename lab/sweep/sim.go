package sweep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/timing"
)

// simWorld makes trials in virtual time. It keeps nothing from one to the next.
type simWorld struct {
	plan *plan
	keep keeper
}

func (w *simWorld) try(ctx context.Context, s *situation) (*Row, error) {
	cfg := w.plan.simConfig(&s.arm)
	cfg.Seed, cfg.Skew = s.seed, s.skew
	// A clock that is behind and a timer that is late come to the same.
	cfg.Scenario.A.Clock, cfg.Scenario.B.Clock = s.clock[0]-s.noise[0], s.clock[1]-s.noise[1]
	row := s.row(Sim)
	row.At = sim.Epoch
	cfg.Record = func(t *sim.Trial) { simRow(row, s, &t.Flow) }
	var sights []sight
	var packets bytes.Buffer
	c, err := sim.NewCapture(&packets)
	if err != nil {
		return nil, err
	}
	cfg.Packet = func(p sim.Packet) {
		if w.keep.dir != "" && w.keep.policy != CaptureNone {
			c.Packet(p)
		}
		if p.Lane != sim.LaneNATA && p.Lane != sim.LaneNATB {
			return
		}
		if seen, ok := newSight(p.Time, int(p.Lane-sim.LaneNATA), p.Out, p.Data); ok {
			sights = append(sights, seen)
		}
	}
	if _, err := sim.Run(ctx, &cfg); err != nil {
		return nil, fmt.Errorf("simulation: %w", err)
	}
	due := s.instants(sim.Epoch)
	for i := range due {
		due[i] = due[i].Add(s.noise[i])
	}
	if m, ok := firstMeeting(sights, due); ok {
		meet(row, &m)
	}
	return row, w.keep.write(row, func(to io.Writer) error {
		_, err := packets.WriteTo(to)
		return errors.Join(c.Err(), err)
	})
}

func (w *simWorld) close() error { return nil }

// simConfig simulates one trial of an arm.
func (c *Config) simConfig(a *Arm) sim.Config {
	cfg := sim.Config{Scenario: c.scenario(a), Timeout: c.Timeout, Trials: 1, Workers: 1}
	for i, to := range []*sim.Side{&cfg.A, &cfg.B} {
		s := [2]*Side{&a.A, &a.B}[i]
		*to = sim.Side{Engine: sim.Engine(s.Engine), Strategy: sim.Strategy(s.Strategy), TTL: s.TTL, Retries: s.Retries, Observations: looks(s.NAT)}
	}
	return cfg
}

func simRow(row *Row, s *situation, f *sim.Flow) {
	row.Outcome = string(f.Outcome())
	row.SYNsA, row.SYNsB = f.A.SYNs, f.B.SYNs
	if f.Outcome() == sim.Established {
		row.Simultaneous = f.Simultaneous()
		row.EstablishedNS = ns(f.Established())
	}
	row.SendErrorANS, row.SendErrorBNS = ns(s.noise[0]), ns(s.noise[1])
}

// meet puts into a row how the SYNs met.
func meet(row *Row, m *lab.Meeting) {
	row.SkewMeasuredNS = ns(m.Skew)
	if m.A.Arrived.IsZero() || m.B.Arrived.IsZero() {
		return
	}
	row.MarginNS = ns(m.Margin)
	path := timing.Path{AB: m.A.Arrived.Sub(m.A.Left), BA: m.B.Arrived.Sub(m.B.Left)}
	row.Regime = path.Regime(m.Skew).String()
}

// ns is a time that is known.
func ns(d time.Duration) *int64 { v := int64(d); return &v }
