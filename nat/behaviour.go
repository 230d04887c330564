package nat

import "time"

// Behaviour is what a NAT does: one field for each knob, named as in the RFCs.
// The zero value is a NAT as RFC 5382 asks for, with endpoint-independent
// mapping and filtering. Values can be compared with ==. The text form of each
// knob is in the table that Knobs returns; Parse, JSON and YAML read it.
type Behaviour struct {
	Translation Translation // what is translated; IPv6 never is (RFC 3022 section 2)

	Mapping   Mapping   // RFC 5382 REQ-1 (must: endpoint-independent)
	Filtering Filtering // RFC 5382 REQ-3 (recommended: endpoint-independent)

	// Allocation of the external port, RFC 4787 section 4.2.

	Allocation      Allocation
	Ports           PortRange // of the external ports, RFC 4787 REQ-3; zero: 1024-65535
	WellKnown       bool      // ports below 1024 keep one below 1024, RFC 4787 REQ-3a; false: they move into Ports
	Parity          Parity    // RFC 4787 section 4.2.2
	Collision       Collision // preserving and offset: the port is taken; RFC 4787 section 4.2.1
	Overloading     bool      // endpoints share an external port and the remote endpoint tells them apart: RFC 5382 REQ-7 forbids it, RFC 7857 section 3 allows it
	ReuseMapping    bool      // a new mapping prefers the external endpoint of the newest one of the same inside endpoint: what Linux does (find_appropriate_src in nf_nat_core.c)
	Offset          int       // allocation offset: external = internal + Offset, inside Ports
	Delta           int       // allocation sequential: the step, negative for down; 0: 1
	Counter         Counter   // allocation sequential: whose counter
	Start           uint16    // allocation sequential and clock: the first port; 0: drawn from the seed
	BlockSize       int       // allocation block: ports in a block; 0: 512
	Blocks          int       // allocation block: blocks that a host may have; 0: 1
	BlockOrder      Order     // allocation block
	ClockRate       int       // allocation clock: ports per second; 0: 1
	Pooling         Pooling   // RFC 4787 REQ-2 (recommended: paired)
	Hairpinning     Hairpinning
	HairpinOpen     bool          // the filter does not look at hairpinned packets
	Unsolicited     Unsolicited   // RFC 5382 REQ-4
	UnsolicitedWait time.Duration // of Unsolicited wait; 0: 6 s, RFC 5382 REQ-4
	UnsolicitedAny  bool          // not only a SYN is answered: any segment that nothing lets in. An RST never gets an RST
	AnswerDelay     time.Duration // of Unsolicited rst and icmp-*: how long after the packet the answer leaves. What the inside sends meanwhile does not stop it
	Blacklist       time.Duration // of Unsolicited blacklist; 0: 60 s, chosen by us

	// The crossing of SYNs, RFC 5382 REQ-2.

	InboundSYN     InboundSYN     // a bare SYN meets our own outstanding one
	OutboundSYNACK OutboundSYNACK // the inside answers that SYN
	Pickup         bool           // any outbound segment makes a mapping; false: only a SYN does (RFC 5382 is silent)

	// What ends a mapping.

	RSTOut      Reaction // RST from inside. Kept: the closing timer runs (RFC 7857 section 2.2)
	RSTIn       Reaction // RST from outside
	ICMPOut     Reaction // ICMP error from inside
	ICMPIn      Reaction // ICMP error from outside, except TTL exceeded; RFC 5382 REQ-10: must be kept
	TTLExceeded Reaction // ICMP TTL exceeded from outside; RFC 5382 REQ-10
	DropRST     bool     // an RST from outside is not passed in
	DropICMP    bool     // ICMP errors are not translated; RFC 5382 REQ-9: they should be

	// What is changed in a segment.

	RewriteSequence   bool      // the inside's sequence numbers get an offset, one for each flow
	RewriteSACK       SACKFix   // SACK blocks (RFC 2018) with RewriteSequence
	RewriteTimestamps bool      // so do its timestamps (RFC 7323)
	MSSClamp          uint16    // largest MSS (bytes) in a SYN of either side; 0: left
	StripOptions      OptionSet // overwritten with NOP in SYNs of either side
	Hop               Hop       // RFC 1812 section 5.3.1

	Tracking Tracking

	// Timers, RFC 5382 REQ-5, RFC 7857 section 2. 0 is the RFC's value or, with
	// tracking linux, the kernel's.

	Transitory  time.Duration // partially open; 0: 4 min
	Established time.Duration // 0: 2 h 4 min
	Closing     time.Duration // both FINs or an RST seen; 0: 4 min
	HoldDown    time.Duration // an external port rests so long before another mapping gets it, RFC 6888 REQ-8 (120 s); 0: not

	// Limits. 0 is none.

	MaxMappings int  // of one inside host, RFC 6888 REQ-4
	SYNRate     int  // new mappings per second of one inside host, with a burst of one second's worth; RFC 6888 REQ-4C
	MaxFlows    int  // of the whole NAT; RFC 6888 REQ-5 asks for limits of this kind
	Full        Full // RFC 6888 REQ-11
}

// Given by the RFCs.
const (
	transitoryTime  = 4 * time.Minute                  // RFC 5382 REQ-5b
	establishedTime = 2*time.Hour + 4*time.Minute      // RFC 5382 REQ-5a
	closingTime     = 4 * time.Minute                  // RFC 5382 REQ-5b: 2 MSL
	unsolicitedTime = 6 * time.Second                  // RFC 5382 REQ-4
	blacklistTime   = time.Minute                      // chosen by us
	blockSize       = 512                              // chosen by us: about 125 hosts share an address
	maxTimer        = 10 * 365 * 24 * 60 * time.Minute // chosen by us: no sum of two overflows
)

// Effective returns b with the defaults in place of what is zero. The timers
// Transitory, Established and Closing stay: with tracking linux each state has its own.
func (b Behaviour) Effective() Behaviour {
	b.UnsolicitedWait, b.Blacklist = or(b.UnsolicitedWait, unsolicitedTime), or(b.Blacklist, blacklistTime)
	b.Delta, b.BlockSize, b.Blocks, b.ClockRate = or(b.Delta, 1), or(b.BlockSize, blockSize), or(b.Blocks, 1), or(b.ClockRate, 1)
	b.Ports = b.Ports.or1024()
	return b
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// overloads reports whether endpoints may share an external port.
func (b *Behaviour) overloads() bool {
	return b.Overloading || b.Collision == CollisionOverload && (b.Allocation == Preserving || b.Allocation == Offset)
}
