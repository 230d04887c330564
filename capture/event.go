package capture

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// The two ends of a flow, as Event.From names them.
const (
	EndA = "a"
	EndB = "b"
)

// Event is one packet of a flow, seen at one place: what a report lists and a
// ladder draws. A packet that several capture points saw is one event for each.
type Event struct {
	// Time is when the packet passed the place, At the same relative to the
	// reference instant of the timeline (JSON: nanoseconds).
	Time time.Time     `json:"time"`
	At   time.Duration `json:"at_ns"`

	Where string    `json:"where,omitempty"` // place: lane ("a", "nat-a", "nat-b", "b") or file
	From  string    `json:"from"`            // end whose packet it is, "a" or "b"; ICMP: opposite the end that it is about
	Dir   Direction `json:"dir,omitzero"`    // relative to the capturing host, where known

	Src    netip.AddrPort `json:"src"` // as seen at the place; ICMP: port 0
	Dst    netip.AddrPort `json:"dst"`
	TTL    uint8          `json:"ttl,omitempty"`
	Flags  rawtcp.Flags   `json:"flags,omitzero"`
	Seq    uint32         `json:"seq"`           // ICMP: of the quoted segment
	Ack    uint32         `json:"ack,omitempty"` // means something with the ACK flag
	RelSeq int64          `json:"rel_seq"`       // Seq counted from the sender's ISN; 0 while that is unknown
	RelAck int64          `json:"rel_ack,omitempty"`
	Window uint16         `json:"window,omitempty"` // as on the wire, not scaled
	Len    int            `json:"len"`              // payload, bytes on the wire

	// Options is the text of OptionsText. The timestamps stand beside it:
	// together with the sequence numbers they identify a packet.
	Options string `json:"options,omitempty"`
	TSVal   uint32 `json:"tsval,omitempty"`
	TSEcr   uint32 `json:"tsecr,omitempty"`

	ICMP           string `json:"icmp,omitempty"`           // words of rawtcp.ICMPError; then Flags is zero
	Retransmission bool   `json:"retransmission,omitempty"` // sent before, as far as this place saw
	Note           string `json:"note,omitempty"`           // for people; parts are joined with "; "
	Omitted        int    `json:"omitted,omitempty"`        // packets of the flow left out just before this one

	end     int8   // index of From while the ends have no names yet
	id      uint16 // IP ID, for diagnosis
	index   int    // among the events of a ladder
	opening bool   // one that a timeline lists before all others
	loose   bool   // not to be expected at the next lane: that its sight is missing there means nothing
}

// SegmentEvent is the event of a segment that from ("a" or "b") sent and that
// passed a place at the time. RelSeq and RelAck stay 0.
func SegmentEvent(at time.Time, from string, s *rawtcp.Segment) Event {
	e := Event{
		Time: at, From: from, Src: s.Src, Dst: s.Dst, TTL: s.TTL, id: s.ID,
		Flags: s.Flags, Seq: uint32(s.Seq), Window: s.Window,
		Len: max(s.PayloadLen, len(s.Payload)),
	}
	if s.Flags&rawtcp.ACK != 0 {
		e.Ack = uint32(s.Ack)
	}
	if s.Flags&rawtcp.SYN != 0 {
		e.Options = OptionsText(&s.Options)
	}
	if s.Options.HasTimestamps {
		e.TSVal, e.TSEcr = s.Options.TSVal, s.Options.TSEcr
	}
	return e
}

// ICMPEvent is the event of an ICMP error about a segment that the end opposite
// from had sent.
func ICMPEvent(at time.Time, from string, ie *rawtcp.ICMPError) Event {
	return Event{
		Time: at, From: from, Src: netip.AddrPortFrom(ie.From, 0), Dst: ie.Src,
		Seq: uint32(ie.Seq), ICMP: ie.String(),
	}
}

// OptionsText lists the options of a SYN as a ladder shows them, without the
// values that only machines compare: "mss 1460, sack, ts, wscale 7".
func OptionsText(o *rawtcp.Options) string {
	var buf [96]byte
	b := buf[:0]
	item := func(words string) {
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		b = append(b, words...)
	}
	if o.MSS != 0 {
		item("mss ")
		b = strconv.AppendUint(b, uint64(o.MSS), 10)
	}
	if o.SACKPermitted {
		item("sack")
	}
	if o.HasTimestamps {
		item("ts")
	}
	if o.HasWScale {
		item("wscale ")
		b = strconv.AppendUint(b, uint64(o.WScale), 10)
	}
	if o.FastOpen {
		item("fast open")
	}
	if o.MPTCP {
		item("mptcp")
	}
	if o.Other {
		item("others")
	}
	return string(b)
}

// bareSYN reports whether the event is a SYN without ACK: one that opens.
func (e *Event) bareSYN() bool {
	return e.Flags&(rawtcp.SYN|rawtcp.ACK|rawtcp.RST) == rawtcp.SYN
}

// synACK reports whether the event is a SYN-ACK.
func (e *Event) synACK() bool {
	return e.Flags&(rawtcp.SYN|rawtcp.ACK|rawtcp.RST) == rawtcp.SYN|rawtcp.ACK
}
