package nat

import (
	"fmt"
	"strings"
)

// The words of each knob: the first is the zero value, which is what RFC 5382
// asks for. Each type reads and writes them as text.
type (
	// Translation is what is translated at all.
	Translation uint8
	// Mapping is how external endpoints are reused (RFC 4787 section 4.1; RFC 5382 REQ-1).
	Mapping uint8
	// Filtering is who may answer on a mapping (RFC 4787 section 5; RFC 5382 REQ-3).
	Filtering uint8
	// Allocation is how an external port is chosen (RFC 4787 section 4.2).
	Allocation uint8
	// Collision is what port preservation does when the port is taken (RFC 4787 section 4.2.1).
	Collision uint8
	// Parity is which ports are taken (RFC 4787 section 4.2.2).
	Parity uint8
	// Counter is what shares a counter of sequential allocation.
	Counter uint8
	// Order is the order in which blocks of ports are used (RFC 7422 calls them port ranges).
	Order uint8
	// Pooling is how a public address is chosen (RFC 4787 REQ-2).
	Pooling uint8
	// Hairpinning is what happens to packets between two inside hosts through their
	// public endpoints (RFC 5382 REQ-8, RFC 4787 REQ-9).
	Hairpinning uint8
	// Unsolicited is the answer to a SYN that no mapping lets in (RFC 5382 REQ-4).
	Unsolicited uint8
	// InboundSYN is the fate of a SYN from outside that meets our own outstanding SYN (RFC 5382 REQ-2).
	InboundSYN uint8
	// OutboundSYNACK is the fate of the inside's SYN-ACK after its own SYN (RFC 5382 REQ-2).
	OutboundSYNACK uint8
	// SACKFix is whether SACK blocks follow rewritten sequence numbers.
	SACKFix uint8
	// Tracking is how closely connections are followed.
	Tracking uint8
	// Full is the answer when there is no port, no room or no quota left (RFC 6888 REQ-11).
	Full uint8
	// Hop is whether the NAT counts as a router (RFC 1812 section 5.3.1).
	Hop uint8
)

// Translation's values.
const (
	NAPT     Translation = iota // addresses and ports of IPv4; IPv6 is filtered only (RFC 3022 section 2.2)
	OneToOne                    // a public address for each inside host, ports stay (Basic NAT, RFC 3022 section 2.1)
	None                        // nothing: a firewall
)

// Mapping's values.
const (
	EIM           Mapping = iota // endpoint-independent
	ADM                          // address-dependent
	APDM                         // address and port-dependent
	PerConnection                // a new one for each connection, a repeated 5-tuple included
)

// Filtering's values.
const (
	EIF  Filtering = iota // endpoint-independent: whoever meets a mapping
	ADF                   // address-dependent
	APDF                  // address and port-dependent
	Open                  // no filter at all: without any mapping too (needs OneToOne or None)
)

// Allocation's values.
const (
	Preserving Allocation = iota // the internal port, if it is free
	Offset                       // the internal port plus a constant
	Sequential                   // a counter
	Random                       // uniform over the range (RFC 6056 section 3.3.1)
	Block                        // from blocks of ports that belong to one inside host
	Clock                        // a counter that time drives
)

// Collision's values.
const (
	CollisionRandom   Collision = iota // another port at random
	CollisionNext                      // the next free port
	CollisionOverload                  // the same port, if the remote endpoint tells the two apart
	CollisionFirst                     // the first free port of the range
)

// Parity's values.
const (
	ParityAny  Parity = iota
	ParityKeep        // even stays even, odd stays odd
	ParityEven        // even ports only
	ParityOdd         // odd ports only
)

// Counter's values.
const (
	CounterGlobal      Counter = iota // one for the NAT
	CounterHost                       // one for each inside host
	CounterDestination                // one for each remote address and inside host
)

// Order's values.
const (
	OrderRandom     Order = iota // blocks, and ports in a block, at random
	OrderSequential              // one after the other
)

// Pooling's values.
const (
	Paired    Pooling = iota // an inside host keeps its public address
	Arbitrary                // any address for each mapping
)

// Hairpinning's values.
const (
	HairpinExternal Hairpinning = iota // works; the source is the public endpoint
	HairpinInternal                    // passes, but the source stays the inside endpoint
	HairpinNone                        // dropped
	HairpinRefuse                      // the NAT takes the packet as for itself and resets, as a Linux router does
)

// Unsolicited's values.
const (
	UnsolicitedWait      Unsolicited = iota // silence, then ICMP port unreachable, unless an outbound SYN came meanwhile
	UnsolicitedDrop                         // silence
	UnsolicitedRST                          // a reset
	UnsolicitedPort                         // ICMP port unreachable
	UnsolicitedHost                         // ICMP host unreachable
	UnsolicitedAdmin                        // ICMP administratively prohibited
	UnsolicitedBlacklist                    // silence, and nothing from this source passes for a time
)

// InboundSYN's values.
const (
	InboundSYNPass InboundSYN = iota
	InboundSYNDrop
	InboundSYNReset
)

// OutboundSYNACK's values.
const (
	SYNACKPass OutboundSYNACK = iota
	SYNACKDrop
	SYNACKNew // taken for a new connection: another mapping
)

// SACKFix's values.
const (
	SACKFixed SACKFix = iota
	SACKLeft
)

// Tracking's values.
const (
	TrackBasic Tracking = iota // flags only: enough for the timers
	TrackLinux                 // states and windows as Linux's nf_conntrack
)

// Full's values.
const (
	FullDrop Full = iota
	FullICMP      // ICMP host unreachable to the inside host
)

// Hop's values.
const (
	HopRouter Hop = iota // the TTL goes down by one and ends here if it was 1
	HopBridge            // the TTL stays
)

var (
	translationWords    = []string{"napt", "one-to-one", "none"}
	mappingWords        = []string{"endpoint-independent", "address-dependent", "address-and-port-dependent", "per-connection"}
	filteringWords      = []string{"endpoint-independent", "address-dependent", "address-and-port-dependent", "open"}
	allocationWords     = []string{"preserving", "offset", "sequential", "random", "block", "clock"}
	collisionWords      = []string{"random", "next", "overload", "first"}
	parityWords         = []string{"any", "keep", "even", "odd"}
	counterWords        = []string{"global", "host", "destination"}
	orderWords          = []string{"random", "sequential"}
	poolingWords        = []string{"paired", "arbitrary"}
	hairpinningWords    = []string{"external", "internal", "none", "refuse"}
	unsolicitedWords    = []string{"wait", "drop", "rst", "icmp-port", "icmp-host", "icmp-admin", "blacklist"}
	inboundSYNWords     = []string{"pass", "drop", "rst"}
	outboundSYNACKWords = []string{"pass", "drop", "new"}
	sackWords           = []string{"fixed", "left"}
	trackingWords       = []string{"basic", "linux"}
	fullWords           = []string{"drop", "icmp"}
	hopWords            = []string{"router", "bridge"}
)

// abbreviations are other names that are read.
var abbreviations = map[string]string{
	"eim": "endpoint-independent", "adm": "address-dependent", "apdm": "address-and-port-dependent",
	"eif": "endpoint-independent", "adf": "address-dependent", "apdf": "address-and-port-dependent",
	"address and port-dependent": "address-and-port-dependent",
}

func word[T ~uint8](words []string, v T) string {
	if int(v) < len(words) {
		return words[v]
	}
	return fmt.Sprintf("unknown (%d)", uint8(v))
}

func marshalWord[T ~uint8](words []string, v T) ([]byte, error) {
	if int(v) < len(words) {
		return []byte(words[v]), nil
	}
	return nil, fmt.Errorf("no value %d: there are %s", uint8(v), strings.Join(words, ", "))
}

func unmarshalWord[T ~uint8](words []string, v *T, text []byte) error {
	s := string(text)
	if long, ok := abbreviations[strings.ToLower(s)]; ok {
		s = long
	}
	for i, w := range words {
		if s == w {
			*v = T(i)
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", text, strings.Join(words, ", "))
}
