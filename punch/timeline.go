package punch

import (
	"net/netip"
	"slices"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/rawtcp"
)

// record is one packet of the attempt as the packet socket saw it.
type record struct {
	time time.Time
	dir  capture.Direction
	wire int // length on the wire
	n    int // bytes kept
	head [headBytes]byte
}

// headBytes is what is kept of each packet: the longest IPv4 and TCP headers are 120 bytes.
const headBytes = 192

func (r *record) data() []byte { return r.head[:r.n] }

// story is the timeline of the flow to one remote endpoint, with what happened on
// all flows of the attempt.
type story struct {
	*capture.Timeline
	all         []capture.Event // of every flow, oldest first
	rsts, icmps int
	again       int // SYNs and SYN-ACKs of ours sent again
}

// timeline tells the story of the packets, with this host as end "a" and times
// relative to the instant. It is nil when there are none.
func timeline(p *Plan, remote netip.AddrPort, log []record) *story {
	local := p.Local
	if p.Strategy == Fan {
		local = netip.AddrPortFrom(local.Addr(), 0)
	}
	z := capture.NewAnalyzer(&capture.AnalyzeConfig{A: local, Reference: p.At, AllPackets: true, Where: capture.EndA})
	for i := range log {
		r := &log[i]
		z.Add(&capture.Packet{Time: r.time, Data: r.data(), Len: r.wire, Link: capture.LinkRaw, Dir: r.dir})
	}
	tls, _ := z.Finish(time.Time{})
	if len(tls) == 0 {
		return nil
	}
	// The park engine's second socket has another ISN, which is another
	// incarnation; the last one is the attempt's outcome, the packets are all its events.
	var s story
	var events []capture.Event
	for _, tl := range tls {
		if s.Timeline == nil || tl.Flow.B == remote {
			s.Timeline = tl
		}
		if tl.Flow.B == remote {
			events = append(events, tl.Events...)
		}
		s.all = append(s.all, tl.Events...)
		s.rsts += tl.RSTs
		s.icmps += tl.ICMPs
		s.again += tl.A.Retransmissions
	}
	s.Timeline.Events = events
	slices.SortStableFunc(s.all, func(a, b capture.Event) int { return a.Time.Compare(b.Time) })
	return &s
}

// won makes the report one of the winner's flow.
func (r *Report) won(remote netip.AddrPort, learned bool) {
	r.Flow.Remote = remote
	if r.Candidates != nil {
		r.Candidates.Won, r.Candidates.Learned = new(remote.Port()), learned
	}
}

// describe copies what a story tells into the report.
func (r *Report) describe(tl *story) {
	r.Events = tl.all
	r.ISN, r.PeerISN = known(tl.A.ISN, tl.A.ISNKnown), known(tl.B.ISN, tl.B.ISNKnown)
	r.MSS = Pair[uint16]{tl.A.MSS, tl.B.MSS}
	r.WindowScale = Pair[*uint8]{tl.A.WScale, tl.B.WScale}
	r.SACK, r.Timestamps = tl.SACK, tl.Timestamps
	r.Crossing = r.crossing(tl.Timeline)
	r.RSTs, r.ICMPs, r.Retransmits = tl.rsts, tl.icmps, tl.again
	if r.Outcome == Established {
		simultaneous := simultaneousHere(tl.Timeline)
		r.Simultaneous = &simultaneous
	}
	for i := range r.Events {
		e := &r.Events[i]
		if e.From == capture.EndA && e.Flags == rawtcp.SYN && !r.primer(e) {
			r.Sent, r.SendErrorNS = &e.Time, ns(e.Time.Sub(r.Scheduled))
			break
		}
	}
}

// simultaneousHere reports whether this end went from SYN-SENT to SYN-RECEIVED: it
// answered a bare SYN with a SYN-ACK while its own was out. Only such an end does. (Timeline.Simultaneous
// speaks of either end, and a bare SYN may have come, unanswered, before ours left.)
func simultaneousHere(tl *capture.Timeline) bool {
	sent := false
	for i := range tl.Events {
		e := &tl.Events[i]
		if e.From != capture.EndA || e.ICMP != "" || !tl.A.ISNKnown || e.Seq != tl.A.ISN {
			continue
		}
		switch e.Flags {
		case rawtcp.SYN:
			sent = true
		case rawtcp.SYN | rawtcp.ACK:
			return sent
		}
	}
	return false
}

// crossing leaves the priming SYN out: it was not meant to meet the peer's.
func (r *Report) crossing(tl *capture.Timeline) *capture.Crossing {
	if r.Strategy != Prime {
		return tl.Crossing
	}
	events := slices.DeleteFunc(slices.Clone(tl.Events), func(e capture.Event) bool { return r.primer(&e) })
	c, ok := capture.CrossingFromOne(events)
	if !ok {
		return nil
	}
	return &c
}

// primer reports whether e is the SYN that was to end between the NATs.
func (r *Report) primer(e *capture.Event) bool {
	return r.Strategy == Prime && e.Flags == rawtcp.SYN && e.Time.Before(r.Scheduled.Add(-PrimeLead/2))
}

// establishedAt is when this end had the peer's SYN and the acknowledgment of
// its own; zero when it had not.
func establishedAt(tl *capture.Timeline) time.Time {
	var syn, ack bool
	for i := range tl.Events {
		e := &tl.Events[i]
		if e.From != capture.EndB || e.ICMP != "" || e.Flags&rawtcp.RST != 0 {
			continue
		}
		syn = syn || e.Flags&rawtcp.SYN != 0
		ack = ack || (e.Flags&rawtcp.ACK != 0 && e.Ack == tl.A.ISN+1)
		if syn && ack {
			return e.Time
		}
	}
	return time.Time{}
}

func known(v uint32, ok bool) *uint32 {
	if !ok {
		return nil
	}
	return &v
}

func ns(d time.Duration) *int64 {
	n := d.Nanoseconds()
	return &n
}
