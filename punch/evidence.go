package punch

import (
	"net/netip"

	"github.com/synpunch/synpunch/capture"
)

// Evidence is what is known of an attempt that Do did not make, such as a
// simulated one.
type Evidence struct {
	Outcome Outcome
	Error   string // of an attempt that failed
	Resends int    // SYNs sent because of an RST or ICMP error
	// Won is the winner's remote endpoint, where the plan leaves the port open, and Learned
	// says that its port came with the peer's SYN. Zero: no winner.
	Won     netip.AddrPort
	Learned bool
	Packets []capture.Packet // of the flow, as the host saw them, each with its direction
	Notes   []string
	Host    Host
}

// Report makes the report of an attempt from its packets, with the code that
// makes those of Do. Of the plan it takes Local, Remote, At, Engine and Strategy. What
// only a kernel socket knows (the handoff, transfers, counters of the packet socket)
// is left out.
func (e *Evidence) Report(plan Plan) *Report {
	plan = plan.withDefaults()
	r := &Report{
		Version: ReportVersion, Outcome: e.Outcome, Error: e.Error, Engine: plan.Engine, Strategy: plan.Strategy,
		Flow: Flow{Local: plan.Local, Remote: plan.Remote}, Scheduled: plan.At, Resends: e.Resends,
		Notes: append([]string{}, e.Notes...), Host: e.Host, Events: []Event{},
	}
	if plan.uncertain() && plan.Strategy != Fan {
		r.Candidates = &Candidates{Ports: plan.remotePorts(), LearnPort: plan.LearnPort}
		if e.Won.IsValid() {
			r.won(e.Won, e.Learned)
		}
	}
	log := make([]record, len(e.Packets))
	for i := range e.Packets {
		p := &e.Packets[i]
		log[i] = record{time: p.Time, dir: p.Dir, wire: p.Len}
		log[i].n = copy(log[i].head[:], p.Data)
	}
	if tl := timeline(&plan, r.Flow.Remote, log); tl != nil {
		r.describe(tl)
		if up := establishedAt(tl.Timeline); r.Outcome == Established && !up.IsZero() {
			r.Established = ns(up.Sub(r.Scheduled))
		}
	}
	return r
}
