package odds

import (
	"fmt"
	"strings"
	"time"

	"github.com/synpunch/synpunch/nat"
)

// Knowledge is what a peer knows beforehand of the external port of a SYN.
type Knowledge string

// The kinds of knowledge.
const (
	Known   Knowledge = "known"   // the very port: preserved, or seen by a third party and kept
	Ranked  Knowledge = "ranked"  // which are likelier than others: package nat/predict
	Unknown Knowledge = "unknown" // any of Side.Ports, and none likelier than another
)

// Side is what of a NAT decides about many SYNs to one peer.
type Side struct {
	Behaviour nat.Behaviour `json:"behaviour"`
	Knowledge Knowledge     `json:"knowledge"`
	Ports     int           `json:"ports"`    // that a new mapping may get, as far as a peer can tell; 1 if it is known
	Shared    bool          `json:"shared"`   // all SYNs of one local port leave by one external port
	Distinct  bool          `json:"distinct"` // no external port is given twice
	Crosses   bool          `json:"crosses"`  // a SYN that crosses one of the own host gets in, and the answer out (RFC 5382 REQ-2)
	Mappings  int           `json:"mappings"` // most at a time; 0: no limit but the ports
	Life      time.Duration `json:"life_ns"`  // of a mapping that nobody answers

	hits     []float64 // ranked: the probability that the next port is among the first so many
	rankings []ranking // ranked: of a few NATs of the kind
	ahead    []float64 // counting: the probability that others have taken no more ports than so many
	looked   int       // how many mappings third parties saw
}

// Timers of Linux, net.netfilter.nf_conntrack_tcp_timeout_syn_sent, and of the model
// NAT with its own tracking (RFC 5382 REQ-5).
const (
	linuxSYNSent    = 2 * time.Minute
	basicTransitory = 4 * time.Minute
)

// usualPorts is how many there are of 1024-65535, and usualBlock the ports of a block
// where the Behaviour does not say.
const (
	usualPorts = 65536 - 1024
	usualBlock = 512
)

func newSide(b nat.Behaviour, f *foresight, quota int) (*Side, error) {
	s := &Side{Behaviour: b, Knowledge: Known, Ports: 1, Shared: true, Mappings: b.MaxMappings, Life: transitory(&b)}
	s.Crosses = b.InboundSYN == nat.InboundSYNPass && b.OutboundSYNACK == nat.SYNACKPass
	if quota > 0 && (s.Mappings == 0 || quota < s.Mappings) {
		s.Mappings = quota
		s.Behaviour.MaxMappings = quota
	}
	if b.Translation != nat.NAPT {
		return s, nil
	}
	s.Distinct = !overloads(&b)
	s.Shared = b.Mapping == nat.EIM || b.Mapping == nat.ADM || b.ReuseMapping ||
		!s.Distinct && (b.Allocation == nat.Preserving || b.Allocation == nat.Offset)
	switch {
	case b.Mapping == nat.EIM, b.ReuseMapping, b.Allocation == nat.Preserving:
		return s, nil
	case b.Allocation == nat.Random, b.Allocation == nat.Block, b.Allocation == nat.Sequential && b.Counter == nat.CounterDestination:
		s.Knowledge, s.Ports = Unknown, len(candidates(&b, 0))
		if b.Allocation == nat.Block {
			s.looked = 1 // it shows which block
		}
		return s, nil
	}
	s.Knowledge, s.Ports = Ranked, len(candidates(&b, 0))
	var err error
	s.looked = f.looks
	s.rankings, s.hits, err = f.rankings(b)
	if err == nil && b.Allocation == nat.Sequential && b.Parity == nat.ParityAny {
		s.ahead = aheadOf(s.rankings)
	}
	return s, err
}

// overloads reports whether endpoints share an external port (knobs overloading and collision).
func overloads(b *nat.Behaviour) bool {
	return b.Overloading || b.Collision == nat.CollisionOverload && (b.Allocation == nat.Preserving || b.Allocation == nat.Offset)
}

// candidates are the external ports that a new mapping of b may get. Of a NAT that
// gives blocks of ports a third party has seen the port seen, and the rest of its
// block follows; 0 stands for one of the first.
func candidates(b *nat.Behaviour, seen uint16) []uint16 {
	first, last := int(b.Ports.First), int(b.Ports.Last)
	if b.Ports == (nat.PortRange{}) {
		first, last = 1024, 65535
	}
	if b.Allocation == nat.Block {
		size := blockSize(b)
		if int(seen) > first {
			first += (int(seen) - first) / size * size
		}
		last = first + size - 1
	}
	ports := make([]uint16, 0, last-first+1)
	for p := first; p <= last; p++ {
		if b.Parity == nat.ParityAny || (p&1 == 0) == (b.Parity != nat.ParityOdd) {
			ports = append(ports, uint16(p)) // parity keep: the local ports of a fan are even
		}
	}
	return ports
}

func blockSize(b *nat.Behaviour) int {
	if b.BlockSize == 0 {
		return usualBlock
	}
	return b.BlockSize
}

// room is how many SYNs of one fan to one peer get through the NAT, if every SYN makes
// a mapping (each) or if those of one local port share one.
func (s *Side) room(want int, each bool) (int, string) {
	b, limit, why := &s.Behaviour, want, ""
	lower := func(to int, what string) {
		if to > 0 && to < limit {
			limit, why = to, what
		}
	}
	if each {
		lower(s.Mappings, fmt.Sprintf("a host may have %s mappings", thousands(s.Mappings)))
		if s.Distinct && s.Knowledge != Known {
			lower(max(1, s.Ports-s.looked), fmt.Sprintf("the NAT has %s ports to give", thousands(s.Ports)))
		}
	}
	lower(b.MaxFlows, fmt.Sprintf("the NAT holds %s flows", thousands(b.MaxFlows)))
	return limit, why
}

// answer is what an unsolicited SYN gets from the NAT: whether it ends the mapping from which
// it came at the NAT peer, how long after it arrived, and in words.
func (s *Side) answer(peer *Side) (ends bool, after time.Duration, what string) {
	b, p := &s.Behaviour, &peer.Behaviour
	switch b.Unsolicited {
	case nat.UnsolicitedRST:
		// Linux forgets a connection to which nothing but a reset ever came back: nf_conntrack_tcp_packet.
		if p.Tracking == nat.TrackLinux {
			return true, b.AnswerDelay, "an RST"
		}
		return p.RSTIn.Close, b.AnswerDelay + p.RSTIn.After, "an RST"
	case nat.UnsolicitedWait:
		wait := b.UnsolicitedWait
		if wait == 0 {
			wait = 6 * time.Second // RFC 5382 REQ-4
		}
		return p.ICMPIn.Close, wait + p.ICMPIn.After, "an ICMP error"
	case nat.UnsolicitedPort, nat.UnsolicitedHost, nat.UnsolicitedAdmin:
		return p.ICMPIn.Close, b.AnswerDelay + p.ICMPIn.After, "an ICMP error"
	}
	return false, 0, ""
}

// bans reports that the NAT lets nothing in from a source of an unsolicited SYN.
func (s *Side) bans() bool { return s.Behaviour.Unsolicited == nat.UnsolicitedBlacklist }

// String says what the side is, in the order of the questions that decide.
func (s *Side) String() string {
	var list []string
	switch {
	case s.Knowledge == Known:
		list = append(list, "the peer knows the external port")
	case s.Knowledge == Ranked:
		list = append(list, fmt.Sprintf("the likeliest port is right %.1f %% of the time", 100*s.hits[1]))
	default:
		list = append(list, fmt.Sprintf("any of %s ports", thousands(s.Ports)))
	}
	switch {
	case s.Shared && s.Behaviour.Translation == nat.NAPT:
		list = append(list, "one for each local port")
	case s.Shared:
	case s.Distinct:
		list = append(list, "another for each flow")
	default:
		list = append(list, "drawn for each flow")
	}
	switch s.Behaviour.Filtering {
	case nat.APDF:
		list = append(list, "lets in what was sent to, by address and port")
	case nat.ADF:
		list = append(list, "lets in what was sent to, by address")
	default:
		list = append(list, "lets anybody in")
	}
	if !s.Crosses {
		list = append(list, "refuses a SYN that crosses its own")
	}
	if s.Mappings > 0 {
		list = append(list, fmt.Sprintf("%s mappings", thousands(s.Mappings)))
	}
	return strings.Join(list, ", ")
}

// thousands writes 64512 as 64,512.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
