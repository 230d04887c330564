package sweep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// Ports of live trials, chosen by us: each trial has its own, and none comes again
// before everything that a NAT or a host remembers of it is gone.
const (
	firstPortA, firstPortB = 10000, 33000
	portCycle              = 22000
)

// liveWorld makes trials with real packets, one by one.
type liveWorld struct {
	plan *plan
	labs labs
}

func newLiveWorld(p *plan) *liveWorld { return &liveWorld{plan: p} }

func (w *liveWorld) close() error { return w.labs.close() }

func (w *liveWorld) try(ctx context.Context, s *situation) (*Row, error) {
	began := time.Now()
	scenario := w.plan.scenario(&s.arm)
	l, err := w.labs.get(ctx, &scenario, w.plan.Seed)
	if err != nil {
		return nil, err
	}
	if err := l.ResetCount(); err != nil {
		return nil, err
	}
	port := uint16(s.n % portCycle)
	trial := live.Trial{
		Skew: s.skew, Bytes: w.plan.Bytes, Timeout: w.plan.Timeout,
		A: s.arm.A.live(firstPortA + port), B: s.arm.B.live(firstPortB + port),
	}
	r, err := trial.Run(ctx, l)
	if err != nil {
		return nil, err
	}
	row := s.row(Live)
	if err := liveRow(row, s, r, w.plan.Bytes); err != nil {
		return nil, err
	}
	if m, ok := firstMeeting(sights(l), s.instants(r.At)); ok {
		meet(row, &m)
	}
	row.OverheadNS = ns(time.Since(began) - lasted(s, r))
	return row, nil
}

// live is what a live trial is told of a side.
func (s *Side) live(port uint16) live.Side {
	return live.Side{
		Engine: punch.Engine(s.Engine), Strategy: punch.Strategy(s.Strategy), Port: port,
		Plan: func(p *punch.Plan) { p.TTL, p.Retries, p.Realtime = cmp.Or(s.TTL, p.TTL), s.Retries, s.Realtime },
	}
}

// sights are the SYNs that passed the public sides of the NATs.
func sights(l *live.Lab) []sight {
	var list []sight
	for _, e := range l.Events() {
		side := 0
		if e.Where == live.LaneNATB {
			side = 1
		}
		if seen, ok := newSight(e.Time, side, e.Dir == capture.DirOut, e.Data); ok {
			list = append(list, seen)
		}
	}
	return list
}

// liveRow puts into a row what the two ends reported. An end that cannot do its
// part on this machine ends the sweep.
func liveRow(row *Row, s *situation, r *live.TrialResult, bytes int64) error {
	row.At = r.At.UTC().Round(0)
	row.Outcome, row.Simultaneous = Established, true
	for i, end := range []*live.SideResult{&r.A, &r.B} {
		if errors.Is(end.Err, punch.ErrMissing) || errors.Is(end.Err, punch.ErrPlan) {
			return end.Err
		}
		outcome := Failed
		if end.Report != nil {
			outcome = string(end.Report.Outcome)
			row.Simultaneous = row.Simultaneous && end.Report.Simultaneous != nil && *end.Report.Simultaneous
			*[2]**int64{&row.SendErrorANS, &row.SendErrorBNS}[i] = end.Report.SendErrorNS
			*[2]*int{&row.SYNsA, &row.SYNsB}[i] = syns(end.Report)
		}
		if row.Outcome == Established && outcome != Established {
			row.Outcome = outcome
		}
		if row.Error == "" && end.Err != nil {
			row.Error = end.Err.Error()
		}
	}
	if row.Outcome == Established && !r.Connected(bytes) {
		row.Outcome = Failed
		row.Error = cmp.Or(row.Error, fmt.Sprintf("%d of %d bytes arrived", r.Verified, 2*bytes))
	}
	row.Simultaneous = row.Simultaneous && row.Outcome == Established
	if row.Outcome == Established {
		row.EstablishedNS = ns(established(s, r))
	}
	return nil
}

// established is when the later end was, after A's instant.
func established(s *situation, r *live.TrialResult) time.Duration {
	var last time.Duration
	for i, end := range []*live.SideResult{&r.A, &r.B} {
		if end.Report == nil || end.Report.Established == nil {
			continue
		}
		at := time.Duration(*end.Report.Established) - s.clock[i]
		if i == 1 {
			at += s.skew
		}
		last = max(last, at)
	}
	return last
}

// syns counts the SYNs that an end sent.
func syns(r *punch.Report) int {
	n := 0
	for i := range r.Events {
		if e := &r.Events[i]; e.Dir == capture.DirOut && e.ICMP == "" && e.Flags&(rawtcp.SYN|rawtcp.ACK) == rawtcp.SYN {
			n++
		}
	}
	return n
}

func lasted(s *situation, r *live.TrialResult) time.Duration { return 0 }
