package sim

import (
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

// Trial is what one trial gave. All times are virtual; A's instant is Epoch.
type Trial struct {
	N    int           // its number, from 0
	Skew time.Duration // B's instant minus A's, SkewError included
	A, B End
	// Meeting says how the SYNs met between the NATs: the first two that
	// crossed, else the two that were nearest to it, as live. Met is false when a side's
	// SYN never left its NAT.
	Meeting lab.Meeting
	Met     bool
	Packets int // that hosts and NATs sent
}

// End is one end of a trial.
type End struct {
	Outcome       Outcome
	Simultaneous  bool          // the peer's bare SYN came while ours was out
	Established   time.Duration // after A's instant; only if Outcome is Established
	SYNs          int           // sent, every copy counted
	Retransmitted int           // times the retransmission timer went off
	Resends       int           // SYNs sent because of an RST or ICMP error
	RSTs, ICMPs   int           // that came in
}

// Outcome is Established when both ends are, and otherwise that of the end that
// is not, of A first.
func (t *Trial) Outcome() Outcome {
	if t.A.Outcome != Established {
		return t.A.Outcome
	}
	return t.B.Outcome
}

// Simultaneous reports whether both ends saw a simultaneous open.
func (t *Trial) Simultaneous() bool { return t.A.Simultaneous && t.B.Simultaneous }

// Established is when the later of the two ends was established, after A's
// instant. It is meaningful only if the Outcome is Established.
func (t *Trial) Established() time.Duration { return max(t.A.Established, t.B.Established) }

// Regime says which SYN was early, by what was seen at the NATs. It is false
// when one of them never arrived.
func (t *Trial) Regime() (timing.Regime, bool) {
	m := &t.Meeting
	if m.A.Arrived.IsZero() || m.B.Arrived.IsZero() {
		return 0, false
	}
	return timing.Path{AB: m.A.Arrived.Sub(m.A.Left), BA: m.B.Arrived.Sub(m.B.Left)}.Regime(m.Skew), true
}

// Epoch is the instant of A in virtual time.
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
