package live

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// Ladder draws the opening of the trial's flow as the two hosts and the two NATs
// saw it, relative to the agreed instant. The host's lanes come from the captures
// that the commands wrote, so Trial.Capture is needed for them.
func (r *TrialResult) Ladder(l *Lab) (*capture.Ladder, error) {
	natA, natB := r.laneEvents(l, LaneNATA), r.laneEvents(l, LaneNATB)
	hostA, err := r.hostEvents(&r.A, capture.LaneA, netip.AddrPortFrom(l.A.Addr, 0))
	if err != nil {
		return nil, err
	}
	hostB, err := r.hostEvents(&r.B, capture.LaneB, netip.AddrPortFrom(l.A.Public, 0))
	if err != nil {
		return nil, err
	}
	ladder := &capture.Ladder{
		Lanes:     []string{capture.LaneA, capture.LaneNATA, capture.LaneNATB, capture.LaneB},
		Notes:     []string{l.A.Addr.String(), l.A.Public.String(), l.B.Public.String(), l.B.Addr.String()},
		Reference: r.At,
	}
	for _, lane := range [][]capture.Event{hostA, natA, natB, hostB} {
		for _, e := range lane {
			if opening(&e) {
				ladder.Events = append(ladder.Events, e)
			}
		}
	}
	slices.SortStableFunc(ladder.Events, func(x, y capture.Event) int { return x.Time.Compare(y.Time) })
	if c, ok := capture.CrossingFromTwo(r.aimed(natA), r.aimed(natB)); ok {
		ladder.Crossing = &c
	}
	return ladder, nil
}

// aimed leaves out the priming SYNs, which were not meant to meet.
func (r *TrialResult) aimed(lane []capture.Event) []capture.Event {
	first := r.At.Add(-punch.PrimeLead / 2)
	return slices.DeleteFunc(slices.Clone(lane), func(e capture.Event) bool { return e.Time.Before(first) })
}

// opening reports whether the event belongs to the opening of the flow rather
// than to its data or its end.
func opening(e *capture.Event) bool {
	if e.ICMP != "" || e.Flags&(rawtcp.SYN|rawtcp.RST) != 0 {
		return true
	}
	return e.Len == 0 && e.Flags&rawtcp.FIN == 0 && e.RelSeq <= 1 && e.RelAck <= 1
}

// laneEvents are the packets at the public side of a NAT.
func (r *TrialResult) laneEvents(l *Lab, lane string) []capture.Event {
	z := capture.NewAnalyzer(&capture.AnalyzeConfig{
		A: netip.AddrPortFrom(l.A.Public, 0), Reference: r.At, AllPackets: true, Where: lane,
	})
	for _, e := range l.Events() {
		if e.Where == lane && !observed(e.Data) {
			e.Dir = capture.DirUnknown // neither end is here
			z.Add(&e.Packet)
		}
	}
	return events(z)
}

// observed reports whether a packet went to the observer, or is its network's.
func observed(ip []byte) bool {
	_, dst, _, ok := endpoints(ip)
	return ok && (observer4.Contains(dst.Addr()) || observer6.Contains(dst.Addr()))
}

// hostEvents are the packets of a host's capture.
func (r *TrialResult) hostEvents(s *SideResult, lane string, a netip.AddrPort) ([]capture.Event, error) {
	if s.Capture == "" {
		return nil, nil
	}
	f, err := os.Open(s.Capture)
	if err != nil {
		return nil, fmt.Errorf("the capture of host %s: %w", lane, err)
	}
	defer f.Close()
	rd, err := capture.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("the capture of host %s: %w", lane, err)
	}
	z := capture.NewAnalyzer(&capture.AnalyzeConfig{A: a, Reference: r.At, AllPackets: true, Where: lane})
	for {
		p, err := rd.Next()
		if err != nil {
			break // an attempt that was killed leaves a capture that ends in the middle
		}
		z.Add(&p)
	}
	return events(z), nil
}

// events lists all packets of all incarnations; an attempt with the park engine
// has one for each time that it parked.
func events(z *capture.Analyzer) []capture.Event {
	tls, _ := z.Finish(time.Time{})
	var all []capture.Event
	for _, tl := range tls {
		all = append(all, tl.Events...)
	}
	return all
}
