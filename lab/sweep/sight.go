package sweep

import (
	"net/netip"
	"slices"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// sight is a SYN at the public side of a NAT.
type sight struct {
	time time.Time
	side int  // whose NAT: 0 is A's, 1 is B's
	out  bool // it left the side; otherwise it came there
	syn  synKey
}

// synKey is what a SYN keeps between the NATs and shares with no other one: a
// retransmission has another time stamp.
type synKey struct {
	src, dst netip.AddrPort
	seq      rawtcp.Seq
	id       uint16
	tsval    uint32
}

// newSight reads a packet. It is false if that is not a bare SYN.
func newSight(at time.Time, side int, out bool, packet []byte) (sight, bool) {
	s, err := rawtcp.Parse(packet)
	if err != nil || s.Flags&(rawtcp.SYN|rawtcp.ACK) != rawtcp.SYN {
		return sight{}, false
	}
	key := synKey{src: s.Src, dst: s.Dst, seq: s.Seq, id: s.ID, tsval: s.Options.TSVal}
	return sight{time: at, side: side, out: out, syn: key}, true
}

// firstMeeting says how the first SYN of each side met the other's, apart from
// those that prime the NATs: the instants say when each was due. Sights are in
// the order of time. It is false when a side sent none.
func firstMeeting(sights []sight, instants [2]time.Time) (lab.Meeting, bool) {
	var way [2]lab.Passage
	for side := range way {
		due := instants[side].Add(-punch.PrimeLead / 2)
		first := slices.IndexFunc(sights, func(s sight) bool { return s.side == side && s.out && !s.time.Before(due) })
		if first < 0 {
			return lab.Meeting{}, false
		}
		way[side].Left = sights[first].time
		arrived := slices.IndexFunc(sights[first:], func(s sight) bool {
			return s.side != side && !s.out && s.syn == sights[first].syn
		})
		if arrived >= 0 {
			way[side].Arrived = sights[first+arrived].time
		}
	}
	return lab.Meet(way[0], way[1]), true
}
