package sweep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// Chosen by us.
const (
	// Ports of live trials: each trial has its own, so that nothing in its capture is of another
	// one. What NATs remember is thrown away besides (live.Lab.Renew).
	firstPortA, firstPortB = 10000, 33000
	portCycle              = 22000
	// A trial begins so long before its first instant: at least minLead, in which both ends of an
	// idle machine are ready, and more after an exact SYN left later than lateLimit.
	minLead, maxLead = 30 * time.Millisecond, 250 * time.Millisecond
	lateLimit        = 5 * time.Millisecond
)

// liveWorld makes trials with real packets, one by one.
type liveWorld struct {
	plan *plan
	keep keeper
	labs labs
	lead time.Duration // of the next trial; 0: minLead
}

func (w *liveWorld) close() error { return w.labs.close() }

func (w *liveWorld) try(ctx context.Context, s *situation) (*Row, error) {
	began := time.Now()
	scenario := w.plan.scenario(&s.arm)
	l, err := w.lab(ctx, &scenario)
	if err != nil {
		return nil, err
	}
	port := uint16(s.n % portCycle)
	trial := live.Trial{
		Skew: s.skew, Bytes: w.plan.Bytes, Abort: w.plan.Bytes == 0, Timeout: w.plan.Timeout, LeadTime: max(w.lead, minLead) + s.ahead(),
		A: s.arm.A.live(firstPortA+port, s.clock[0]), B: s.arm.B.live(firstPortB+port, s.clock[1]),
	}
	r, err := trial.Run(ctx, l)
	if err != nil {
		return nil, err
	}
	row := s.row(Live)
	if err := liveRow(row, r, w.plan.Bytes); err != nil {
		return nil, err
	}
	w.adapt(s, row)
	if m, ok := firstMeeting(sights(l), [2]time.Time{r.A.At, r.B.At}); ok {
		meet(row, &m)
	}
	if err := w.keep.write(row, func(to io.Writer) error { return r.WriteCapture(to, l) }); err != nil {
		return nil, err
	}
	row.OverheadNS = ns(time.Since(began) - lasted(r, trial.Lead()-trial.LeadTime, w.plan.Timeout))
	return row, nil
}

// adapt begins trials earlier after one in which a SYN left late, and slowly later again.
func (w *liveWorld) adapt(s *situation, r *Row) {
	late := func(side *Side, e *int64) bool {
		return side.Timer == TimerExact && e != nil && time.Duration(*e) > lateLimit
	}
	if late(&s.arm.A, r.SendErrorANS) || late(&s.arm.B, r.SendErrorBNS) {
		w.lead = min(3*max(w.lead, minLead)/2, maxLead)
		return
	}
	w.lead = max(w.lead*7/8, minLead)
}

// ahead is how long before the agreed instant the first SYN is due.
func (s *situation) ahead() time.Duration { return max(0, s.clock[0], s.clock[1]-s.skew) }

// lab returns a lab that knows nothing of earlier trials.
func (w *liveWorld) lab(ctx context.Context, s *lab.Scenario) (*live.Lab, error) {
	l, err := w.labs.get(ctx, s, w.plan.Seed)
	if err != nil {
		return nil, err
	}
	if err := l.SetLink(s.Link); err != nil {
		return nil, err
	}
	return l, l.Renew()
}

// live is what a live trial is told of a side.
func (s *Side) live(port uint16, clock time.Duration) live.Side {
	return live.Side{
		Engine: punch.Engine(s.Engine), Strategy: punch.Strategy(s.Strategy), Port: port, Clock: clock, Stock: s.Timer == TimerSleep, Observations: looks(s.NAT),
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
func liveRow(row *Row, r *live.TrialResult, bytes int64) error {
	row.At = r.At.UTC().Round(0)
	row.Outcome, row.Simultaneous = Established, true
	var last time.Duration
	for i, end := range []*live.SideResult{&r.A, &r.B} {
		if errors.Is(end.Err, punch.ErrMissing) || errors.Is(end.Err, punch.ErrPlan) {
			return end.Err
		}
		outcome := Failed
		if rep := end.Report; rep != nil {
			outcome = string(rep.Outcome)
			row.Simultaneous = row.Simultaneous && rep.Simultaneous != nil && *rep.Simultaneous
			*[2]**int64{&row.SendErrorANS, &row.SendErrorBNS}[i] = rep.SendErrorNS
			*[2]*int{&row.SYNsA, &row.SYNsB}[i] = syns(rep)
			if rep.Established != nil {
				last = max(last, end.At.Sub(r.At)+time.Duration(*rep.Established))
			}
		}
		if row.Outcome == Established {
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
		row.EstablishedNS = ns(last)
	}
	return nil
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

// lasted is how long the punch itself took: from the first instant, or the priming SYN, until
// both ends were established or had failed.
func lasted(r *live.TrialResult, prime, timeout time.Duration) time.Duration {
	first, last := r.A.At, r.A.At
	for _, end := range []*live.SideResult{&r.A, &r.B} {
		if end.At.Before(first) {
			first = end.At
		}
		if over := endOf(end, timeout); over.After(last) {
			last = over
		}
	}
	return last.Sub(first) + prime
}

// endOf is when an end was established or had failed.
func endOf(end *live.SideResult, timeout time.Duration) time.Time {
	switch r := end.Report; {
	case r == nil:
		return end.At
	case r.Established != nil:
		return end.At.Add(time.Duration(*r.Established))
	case r.Outcome == punch.Timeout:
		return end.At.Add(timeout)
	case len(r.Events) > 0: // what ended it is the last that it saw
		return r.Events[len(r.Events)-1].Time
	}
	return end.At
}
