package punch

import (
	"fmt"
	"runtime"
)

func newReport(p *Plan) *Report {
	r := &Report{
		Version: ReportVersion, Strategy: p.Strategy,
		Flow:      Flow{Local: p.Local, Remote: p.Remote},
		Scheduled: p.At, Notes: []string{}, Events: []Event{},
		Host: Host{OS: runtime.GOOS, Kernel: kernelRelease(), Version: moduleVersion()},
	}
	if p.uncertain() && p.Strategy != Fan {
		r.Candidates = &Candidates{Ports: p.remotePorts(), LearnPort: p.LearnPort}
	}
	return r
}

// fill completes the report from what the packet socket saw.
func (a *attempt) fill(err error) {
	r := a.report
	r.Engine, r.Outcome = a.plan.Engine, outcomeOf(err)
	if err != nil {
		r.Error = err.Error()
	}
	if a.won.IsValid() {
		r.won(a.won, a.learned)
	}
	if a.wire == nil {
		return
	}
	if a.wire.limit {
		a.note(fmt.Sprintf("more than %d packets: the later ones are not among the events", logLimit))
	}
	if tl := timeline(&a.plan, r.Flow.Remote, a.wire.log); tl != nil {
		r.describe(tl)
		up := a.established
		if up.IsZero() {
			up = establishedAt(tl.Timeline)
		}
		if r.Outcome == Established && !up.IsZero() {
			r.Established = ns(up.Sub(r.Scheduled))
			r.HandoffNS = ns(a.ready.Sub(up))
		}
	}
	if a.plan.Strategy == Fan {
		a.fillFan()
	}
}
