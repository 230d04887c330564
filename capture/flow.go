package capture

import (
	"net/netip"
	"time"
)

// Flow names the two ends of a flow as the capture point saw their addresses.
// A is the end that opened it: the sender of the first SYN, or, where no SYN
// was captured, whom the first SYN-ACK answered or who sent the first packet.
// AnalyzeConfig.A overrules that.
type Flow struct {
	A netip.AddrPort `json:"a"`
	B netip.AddrPort `json:"b"`
}

// String is "10.0.0.1:4000 - 10.0.0.2:5000".
func (f Flow) String() string { return f.A.String() + " - " + f.B.String() }

// Number is the flow's number among those of its analysis, from 1: what
// Finding.Flows and SameAs mean. 0 = it comes from no analysis.
func (tl *Timeline) Number() int { return tl.number }

// Side is what one end of a flow sent.
type Side struct {
	ISN      uint32 `json:"isn"`       // initial sequence number, if ISNKnown
	ISNKnown bool   `json:"isn_known"` // from its SYN or SYN-ACK, or from a SYN-ACK that answers it
	Local    bool   `json:"local"`     // the capture was made on this end's host
	Packets  int64  `json:"packets"`
	SYNs     int    `json:"syns"`     // without ACK, retransmissions included
	SYNACKs  int    `json:"syn_acks"` // retransmissions included
	RSTs     int    `json:"rsts"`
	FIN      bool   `json:"fin"`

	// Offered in its SYN or SYN-ACK.
	MSS        uint16 `json:"mss,omitempty"`
	WScale     *uint8 `json:"wscale,omitempty"` // nil: no window scaling
	SACK       bool   `json:"sack,omitempty"`
	Timestamps bool   `json:"timestamps,omitempty"`

	// Data counted in sequence space, SYN and FIN excluded: Sent is as far as
	// its segments reached, Acked as far as the other end acknowledged, Missed
	// what was acknowledged though the capture never saw it.
	Sent   int64 `json:"sent_bytes"`
	Acked  int64 `json:"acked_bytes"`
	Missed int64 `json:"missed_bytes,omitempty"`

	Retransmissions int `json:"retransmissions"`       // segments that fill sequence space for the second time; SYNs included
	Reordered       int `json:"reordered,omitempty"`   // segments that were overtaken, not sent twice
	Duplicates      int `json:"duplicates,omitempty"`  // second sights of one packet: another interface, or copied on the way
	KeepAlives      int `json:"keep_alives,omitempty"` // probes of what was acknowledged already
	dataRetransmits int // the part of Retransmissions after the handshake
}

// How a flow ended, Timeline.Closed.
const (
	ClosedNot      = ""         // open, or the capture ended first
	ClosedHalf     = "half"     // one end sent FIN
	ClosedFIN      = "fin"      // both ends sent FIN
	ClosedResetA   = "reset-a"  // a sent RST after the flow was established
	ClosedResetB   = "reset-b"  //
	ClosedReplaced = "replaced" // a new SYN on the same addresses and ports
)

// Timeline is the story of one incarnation of a flow.
type Timeline struct {
	Flow        Flow    `json:"flow"`
	Incarnation int     `json:"incarnation"` // 1 for the first on these addresses and ports
	Verdict     Verdict `json:"verdict"`
	Detail      string  `json:"detail"` // the verdict in a sentence

	// Simultaneous: at least one end got a SYN while its own was outstanding
	// (RFC 9293 section 3.5): it sent SYN, then SYN-ACK with the same ISN.
	Simultaneous bool      `json:"simultaneous"`
	Crossing     *Crossing `json:"crossing,omitempty"` // where there were two SYNs and enough was seen

	// Reference is what every At counts from: AnalyzeConfig.Reference, or the
	// first packet.
	Reference time.Time `json:"reference"`
	Start     time.Time `json:"start"` // first and last packet
	End       time.Time `json:"end"`

	// Established: both SYNs were acknowledged on the wire at this place, the
	// second one at EstablishedAt after Reference.
	Established   bool          `json:"established"`
	EstablishedAt time.Duration `json:"established_ns,omitempty"`
	// RoundTrip between the two ends, the shortest seen; 0 = not known.
	RoundTrip time.Duration `json:"round_trip_ns,omitempty"`
	OneWay    bool          `json:"one_way,omitempty"` // packets of one end only were captured, though the other was there

	A Side `json:"a"`
	B Side `json:"b"`

	// Agreed by the two SYNs, where both were seen.
	WindowScaling bool `json:"window_scaling"`
	SACK          bool `json:"sack"`
	Timestamps    bool `json:"timestamps"`

	Retransmissions     int    `json:"retransmissions"`      // of both ends, the whole flow
	DataRetransmissions int    `json:"data_retransmissions"` // those after the flow was established
	RSTs                int    `json:"rsts"`
	ICMPs               int    `json:"icmps"`
	Closed              string `json:"closed,omitempty"`

	Events  []Event `json:"events"`            // oldest first, bounded: see AnalyzeConfig
	Omitted int     `json:"omitted,omitempty"` // packets left out after the last event

	// SameAs is the number (from 1) of the earlier timeline that shows the same
	// packets with other addresses: the capture was made on both sides of a NAT.
	// 0 = none.
	SameAs int `json:"same_as,omitempty"`

	order int64 // number of its first packet
	whole bool  // every packet is an event
	begun bool  // every packet of the opening is

	toA, toB time.Duration // Ladder.ToA, Ladder.ToB
	links    links
	number   int // among the flows of the analysis, from 1
}
