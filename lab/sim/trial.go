package sim

import (
	"iter"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/timing"
)

// Outcome is how an attempt ended, in the words of live reports.
type Outcome string

// The outcomes.
const (
	Established Outcome = "established" // connected when all packets had arrived
	Refused     Outcome = "refused"     // an RST ended it
	Unreachable Outcome = "unreachable" // an ICMP error ended it
	Timeout     Outcome = "timeout"     // Config.Timeout ended it
)

// Outcomes lists the outcomes.
func Outcomes() []Outcome { return []Outcome{Established, Refused, Unreachable, Timeout} }

// Trial is what one trial gave. All times are virtual. The agreed instant, A's by a clock
// that is right, is Epoch; with Config.Plan the SYNs are to pass their NATs around it.
type Trial struct {
	N    int              // its number, from 0
	Sent [2]time.Duration // when A and B sent, after Epoch: with what is wrong with clocks and timers
	Skew time.Duration    // of these: B's minus A's
	// With Config.Plan: what the peers knew, and the probability that they would give for the
	// crossing of their SYNs.
	Planned     timing.Appointment
	Probability float64
	Flow
	// Others are the flows besides the first, where a site has several subscribers: the
	// second of A's with the second of B's, and so on, all at once. The site that has
	// fewer takes part with ports of its own. Valid during the call of Record only.
	Others  []Flow
	Packets int // that hosts and NATs sent
}

// Flow is what became of one flow.
type Flow struct {
	A, B End
	// Meeting says how the SYNs met between the NATs: the first two that
	// crossed, else the two that were nearest to it, as live. Met is false when a side's
	// SYN never left its NAT.
	Meeting lab.Meeting
	Met     bool
}

// End is one end of a flow.
type End struct {
	Outcome       Outcome
	Simultaneous  bool           // the peer's bare SYN came while ours was out
	Established   time.Duration  // after Epoch; only if Outcome is Established
	Local, Remote netip.AddrPort // the flow as the host sees it; Remote is what it settled on
	SYNs          int            // sent, every copy counted
	Retransmitted int            // times the retransmission timer went off
	Resends       int            // SYNs sent because of an RST or ICMP error
	RSTs, ICMPs   int            // that came in
}

// Outcome is Established when both ends are, and otherwise that of the end that
// is not, of A first.
func (f *Flow) Outcome() Outcome {
	if f.A.Outcome != Established {
		return f.A.Outcome
	}
	return f.B.Outcome
}

// Simultaneous reports whether both ends saw a simultaneous open.
func (f *Flow) Simultaneous() bool { return f.A.Simultaneous && f.B.Simultaneous }

// Established is when the later of the two ends was established, after
// Epoch. It is meaningful only if the Outcome is Established.
func (f *Flow) Established() time.Duration { return max(f.A.Established, f.B.Established) }

// Regime says which SYN was early, by what was seen at the NATs. It is false
// when one of them never arrived.
func (f *Flow) Regime() (timing.Regime, bool) {
	m := &f.Meeting
	if m.A.Arrived.IsZero() || m.B.Arrived.IsZero() {
		return 0, false
	}
	return timing.Path{AB: m.A.Arrived.Sub(m.A.Left), BA: m.B.Arrived.Sub(m.B.Left)}.Regime(m.Skew), true
}

// Flows lists the flows, the first one first.
func (t *Trial) Flows() iter.Seq[*Flow] {
	return func(yield func(*Flow) bool) {
		if !yield(&t.Flow) {
			return
		}
		for i := range t.Others {
			if !yield(&t.Others[i]) {
				return
			}
		}
	}
}

// Epoch is the agreed instant in virtual time.
var Epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// Lane is where a packet was seen.
type Lane uint8

// The lanes, from A to B.
const (
	LaneA    Lane = iota // at host A
	LaneNATA             // at the public side of NAT A
	LaneNATB             // at the public side of NAT B
	LaneB                // at host B
)

var laneNames = [...]string{"a", "nat-a", "nat-b", "b"}

// Lanes lists the lanes.
func Lanes() []Lane { return []Lane{LaneA, LaneNATA, LaneNATB, LaneB} }

// String is "a", "nat-a", "nat-b" or "b".
func (l Lane) String() string {
	if int(l) < len(laneNames) {
		return laneNames[l]
	}
	return "no lane"
}

// Packet is a packet as it was seen at a lane.
type Packet struct {
	Time time.Time
	Lane Lane
	Out  bool   // it left the host, or the NAT towards the link; otherwise it came in
	Data []byte // from the IP header on; valid during the call only
}
