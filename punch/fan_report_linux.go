package punch

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// describe makes the fan-out's part of the report, as far as it went.
func (e *fanEngine) describe() {
	p, t := &e.a.plan, &e.tally
	r := &FanReport{
		LocalPorts:  PortSpan{p.Local.Port(), p.Local.Port() + uint16(p.FanOut.LocalPorts-1)},
		RemotePorts: len(p.remotePorts()), Planned: p.syns(),
		Probes: t.probes, Primers: t.primers, SYNs: t.syns,
		RateAsked: p.FanOut.Rate, Path: t.path.String(),
		Primed: t.primed, PeerAnswer: t.peerAnswer(),
		RSTs: t.seen.resets, ICMPs: t.seen.icmps(), Sampled: e.weight > 1, BackOffs: e.law.halvings,
		Hits: []FanHit{}, AllHits: p.FanOut.Whole && e.phase == fanSpent,
		simultaneous: t.simultaneous,
		GuardsNS:     t.guards.Nanoseconds(), Predicted: p.probability(t.syns), Assumed: p.assumption(),
	}
	for _, n := range t.refused {
		r.Refused += n
	}
	if !t.began.IsZero() {
		took := t.ended.Sub(t.began)
		r.SendingNS, r.RateReached = max(took.Nanoseconds(), 0), rate(t.syns, took)
	}
	e.describeHits(r)
	e.a.report.FanOut = r
}

func (e *fanEngine) describeHits(r *FanReport) {
	t := &e.tally
	if e.fan == nil || t.began.IsZero() && t.firstHit.IsZero() {
		return
	}
	zero := t.began
	if zero.IsZero() { // the peer was heard while we primed
		zero = t.firstHit
	}
	for _, h := range e.fan.Hits() {
		r.Hits = append(r.Hits, FanHit{Local: h.Local, Remote: h.Remote, AtNS: h.First.Sub(zero).Nanoseconds(), Proven: h.Proven, Won: h.Won})
	}
	if !t.firstHit.IsZero() {
		r.FirstHit = ns(t.firstHit.Sub(zero))
	}
	if t.won.IsZero() {
		return
	}
	r.Leads = &t.leads
	r.Socket = ns(e.a.ready.Sub(zero))
	r.Why = "the peer leads (its window is larger) and took this flow"
	if t.leads {
		r.Why = "we lead (our window is larger, or the peer has one flow), and this flow was the first to work in both directions"
	}
}

// peerAnswer is what came for the probe.
func (t *fanTally) peerAnswer() string {
	switch {
	case t.probes == 0:
		return ""
	case t.probed.resets > 0:
		return "rst"
	case t.probed.prohibited+t.probed.unreachable > 0:
		return "icmp"
	}
	return "none"
}

// fillFan puts right in the report what the packets cannot say of a fan-out: our SYNs
// are not among them.
func (a *attempt) fillFan() {
	r := a.report
	if a.wonLocal.IsValid() {
		r.Flow.Local = a.wonLocal
	}
	if f := r.FanOut; f != nil {
		r.RSTs, r.ICMPs = f.RSTs, f.ICMPs
		if f.Leads != nil {
			r.Simultaneous = new(f.simultaneous)
		}
	}
	if !a.fired.IsZero() {
		r.Sent, r.SendErrorNS = new(a.fired.Round(0)), ns(a.fired.Sub(a.plan.At))
	}
	r.Crossing = nil
}

// conntrackCount is how many connections this host tracks and how many it can; 0 if that
// cannot be read or it tracks none.
func conntrackCount() (count, limit int) {
	read := func(name string) int {
		b, err := os.ReadFile("/proc/sys/net/netfilter/" + name)
		if err != nil {
			return 0
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			return 0
		}
		return n
	}
	return read("nf_conntrack_count"), read("nf_conntrack_max")
}

// conntrackWords says how full that table is.
func conntrackWords() string {
	count, limit := conntrackCount()
	if count == 0 {
		return ""
	}
	return fmt.Sprintf(" (nf_conntrack_count %d of nf_conntrack_max %d)", count, limit)
}
