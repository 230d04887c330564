package nat

import "fmt"

// Reason is why a packet was dropped.
type Reason uint8

// The reasons. The zero value is none.
const (
	Passed         Reason = iota
	Malformed             // not an IP packet, or lengths that contradict each other
	BadChecksum           // of IP, TCP or ICMP
	Fragment              // of an IP packet
	OtherProtocol         // neither TCP nor ICMP
	OtherICMP             // not an error about a TCP flow that is known
	NotOurs               // from outside, for an address that is not the NAT's
	NoMapping             // from outside, and nothing lets it in: unsolicited
	Filtered              // from outside: a mapping is there, its filter says no
	CrossingSYN           // knob inbound-syn
	CrossingSYNACK        // knob outbound-synack
	Invalid               // tracking linux: what the kernel calls INVALID
	NoConnection          // from inside, no SYN and no mapping
	NoPort                // no external port is free
	OverQuota             // knobs max-mappings, syn-rate, max-flows
	Blacklisted           // knob blacklist
	Expired               // the TTL ended here
	NotTranslated         // knobs drop-rst, drop-icmp
	NotHairpinned         // knob hairpinning
	reasons               // their number
)

var reasonWords = [reasons]string{
	"passed", "malformed", "bad checksum", "fragment", "other protocol", "other ICMP", "not ours", "no mapping",
	"filtered", "crossing SYN", "crossing SYN-ACK", "invalid", "no connection", "no port", "over quota", "blacklisted",
	"TTL ended", "not translated", "not hairpinned",
}

func (r Reason) String() string {
	if r < reasons {
		return reasonWords[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Counters is what a NAT has done so far, in packets, mappings and flows.
type Counters struct {
	Outbound, Inbound uint64          // packets taken
	Translated        uint64          // packets passed on; a hairpinned one counts twice
	Answered          uint64          // packets of the NAT's own
	Mappings, Flows   int             // alive now
	MappingsMade      uint64          // ever
	FlowsMade         uint64          // ever
	Dropped           [reasons]uint64 // packets by Reason
}

// Counters returns the counts.
func (n *NAT) Counters() Counters {
	c := n.counters
	c.Mappings, c.Flows = n.mappings, len(n.expiry)
	return c
}

// LastDrop is why the packet of the last Outbound or Inbound was dropped, or
// Passed.
func (n *NAT) LastDrop() Reason { return n.last }

// drop counts a dropped packet.
func (n *NAT) drop(r Reason) {
	n.last = r
	n.counters.Dropped[r]++
}
