package matrix

import (
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
)

// Class is whether a peer can compute the external port of a NAT in advance.
type Class string

// The classes.
const (
	Predictable   Class = "predictable"
	Unpredictable Class = "unpredictable"
)

// ClassOf sorts what stands between a host and the network. It is predictable if
// each of its boxes is, and a box is predictable if one of these holds:
//
//   - it translates no ports: there is nothing to predict (also with an address for each host, RFC 3022 section 2.1);
//   - it preserves ports: the external port is the local one, and no third party is needed;
//   - its mapping is endpoint-independent (RFC 4787 section 4.1): what a third party sees of the very local
//     port holds for the peer too, however the port was chosen;
//   - it counts connections: the next port follows from those that third parties saw. It is not
//     predictable if it counts for each destination by itself, for they saw other counters then;
//   - it adds a constant to the local port and lets mappings share a port. If it does not, what a third
//     party sees has taken the very port that the peer was to be told.
//
// What is left draws the port, from all of them or from a block, and draws again
// for the peer, or takes it from a clock whose speed a few looks within a second
// do not tell. The class says nothing of whether a SYN that crosses gets in; see
// Kind.Accepts.
func ClassOf(c lab.Chain) Class {
	for i := range c {
		if !predictable(&c[i].Behaviour) {
			return Unpredictable
		}
	}
	return Predictable
}

func predictable(b *nat.Behaviour) bool {
	if b.Translation != nat.NAPT || b.Mapping == nat.EIM {
		return true
	}
	switch b.Allocation {
	case nat.Preserving:
		return true
	case nat.Offset:
		return b.Overloading || b.Collision == nat.CollisionOverload
	case nat.Sequential:
		return b.Counter != nat.CounterDestination
	}
	return false
}

// Filter is by what a NAT, or the strictest of several, lets packets in.
type Filter string

// The filters. By address and port is RFC 4787's address and port-dependent
// filtering.
const (
	ByNothing Filter = "nothing" // endpoint-independent filtering, or none at all
	ByAddress Filter = "address"
	ByPort    Filter = "address and port"
)

// FilterOf finds the strictest filter of the boxes.
func FilterOf(c lab.Chain) Filter {
	f := ByNothing
	for i := range c {
		switch c[i].Behaviour.Filtering {
		case nat.APDF:
			return ByPort
		case nat.ADF:
			f = ByAddress
		}
	}
	return f
}

// accepts reports whether every box lets the peer's SYN cross the host's own and
// the answer to it out: what the textbook asks of a NAT, and RFC 5382 REQ-2.
func accepts(c lab.Chain) bool {
	for i := range c {
		b := &c[i].Behaviour
		if b.InboundSYN != nat.InboundSYNPass || b.OutboundSYNACK != nat.SYNACKPass {
			return false
		}
	}
	return true
}
