package nat

import (
	"encoding"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Knob is one setting of a Behaviour in its text form.
type Knob struct {
	Name   string `json:"name"`   // as scenario files write it
	Values string `json:"values"` // what it takes
	Source string `json:"source"` // the requirement it is from
	About  string `json:"about"`  // one line for people

	get func(*Behaviour) string
	set func(*Behaviour, string) error
}

// Knobs lists every knob, in the order in which documentation shows them.
func Knobs() []Knob { return slices.Clone(knobs) }

// Set gives the knob called name the value that text says. The error names the
// knob and what it takes.
func (b *Behaviour) Set(name, text string) error {
	k, err := findKnob(name)
	if err != nil {
		return err
	}
	if err := k.set(b, text); err != nil {
		return fmt.Errorf("nat: %s: %w", name, err)
	}
	return nil
}

// Get returns the text of the knob called name.
func (b *Behaviour) Get(name string) (string, error) {
	k, err := findKnob(name)
	if err != nil {
		return "", err
	}
	return k.get(b), nil
}

func findKnob(name string) (*Knob, error) {
	for i := range knobs {
		if knobs[i].Name == name {
			return &knobs[i], nil
		}
	}
	return nil, fmt.Errorf("nat: %w %q: want %s", ErrUnknownKey, name, strings.Join(knobNames(), ", "))
}

func knobNames() []string {
	var names []string
	for _, k := range knobs {
		names = append(names, k.Name)
	}
	return names
}

var knobs = []Knob{
	words("translation", translationWords, "RFC 3022", "what is translated; IPv6 never is", func(b *Behaviour) *Translation { return &b.Translation }),
	words("mapping", mappingWords, "RFC 5382 REQ-1", "how external endpoints are reused", func(b *Behaviour) *Mapping { return &b.Mapping }),
	words("filtering", filteringWords, "RFC 5382 REQ-3", "who may answer on a mapping", func(b *Behaviour) *Filtering { return &b.Filtering }),
	words("allocation", allocationWords, "RFC 4787 section 4.2", "how the external port is chosen", func(b *Behaviour) *Allocation { return &b.Allocation }),
	text("ports", "FIRST-LAST", "RFC 4787 REQ-3", "range of the external ports", func(b *Behaviour) *PortRange { return &b.Ports }),
	boolean("well-known", "RFC 4787 REQ-3a", "ports below 1024 keep one below 1024", func(b *Behaviour) *bool { return &b.WellKnown }),
	words("parity", parityWords, "RFC 4787 section 4.2.2", "which ports are taken", func(b *Behaviour) *Parity { return &b.Parity }),
	words("collision", collisionWords, "RFC 4787 section 4.2.1", "preserving, offset: when the port is taken", func(b *Behaviour) *Collision { return &b.Collision }),
	boolean("overloading", "RFC 7857 section 3", "endpoints share a port, the remote endpoint tells them apart", func(b *Behaviour) *bool { return &b.Overloading }),
	boolean("reuse-mapping", "nf_nat_core.c", "a new mapping prefers the external endpoint of the newest one of the same inside endpoint", func(b *Behaviour) *bool { return &b.ReuseMapping }),
	number("offset", "", "offset: added to the internal port", func(b *Behaviour) *int { return &b.Offset }),
	number("delta", "", "sequential: step, negative for down; 0 is 1", func(b *Behaviour) *int { return &b.Delta }),
	words("counter", counterWords, "", "sequential: whose counter", func(b *Behaviour) *Counter { return &b.Counter }),
	number("start", "", "sequential, clock: first port; 0 is drawn", func(b *Behaviour) *uint16 { return &b.Start }),
	number("block-size", "RFC 7422", "block: ports in a block; 0 is 512", func(b *Behaviour) *int { return &b.BlockSize }),
	number("blocks", "", "block: blocks that a host may have; 0 is 1", func(b *Behaviour) *int { return &b.Blocks }),
	words("block-order", orderWords, "", "block: order of blocks and of the ports in them", func(b *Behaviour) *Order { return &b.BlockOrder }),
	number("clock-rate", "", "clock: ports per second; 0 is 1", func(b *Behaviour) *int { return &b.ClockRate }),
	words("pooling", poolingWords, "RFC 4787 REQ-2", "which public address a mapping gets", func(b *Behaviour) *Pooling { return &b.Pooling }),
	words("hairpinning", hairpinningWords, "RFC 5382 REQ-8", "between two inside hosts by their public endpoints", func(b *Behaviour) *Hairpinning { return &b.Hairpinning }),
	boolean("hairpin-open", "", "the filter does not look at hairpinned packets", func(b *Behaviour) *bool { return &b.HairpinOpen }),
	words("unsolicited", unsolicitedWords, "RFC 5382 REQ-4", "answer to a SYN that nothing lets in", func(b *Behaviour) *Unsolicited { return &b.Unsolicited }),
	duration("unsolicited-wait", "RFC 5382 REQ-4", "of unsolicited wait; 0s is 6s", func(b *Behaviour) *time.Duration { return &b.UnsolicitedWait }),
	boolean("unsolicited-any", "", "not only SYNs are answered; an RST never gets an RST", func(b *Behaviour) *bool { return &b.UnsolicitedAny }),
	duration("answer-delay", "", "of unsolicited rst and icmp-*: how long after the packet the answer leaves", func(b *Behaviour) *time.Duration { return &b.AnswerDelay }),
	duration("blacklist", "", "of unsolicited blacklist; 0s is 1m", func(b *Behaviour) *time.Duration { return &b.Blacklist }),
	words("inbound-syn", inboundSYNWords, "RFC 5382 REQ-2", "a SYN from outside meets our outstanding one", func(b *Behaviour) *InboundSYN { return &b.InboundSYN }),
	words("outbound-synack", outboundSYNACKWords, "RFC 5382 REQ-2", "the inside's SYN-ACK after its own SYN", func(b *Behaviour) *OutboundSYNACK { return &b.OutboundSYNACK }),
	boolean("pickup", "", "any outbound segment makes a mapping, not only a SYN", func(b *Behaviour) *bool { return &b.Pickup }),
	text("rst-out", "keep, close, close after DURATION", "RFC 7857 section 2.2", "after an RST from inside", func(b *Behaviour) *Reaction { return &b.RSTOut }),
	text("rst-in", "keep, close, close after DURATION", "RFC 7857 section 2.2", "after an RST from outside", func(b *Behaviour) *Reaction { return &b.RSTIn }),
	text("icmp-out", "keep, close, close after DURATION", "RFC 5382 REQ-10", "after an ICMP error from inside", func(b *Behaviour) *Reaction { return &b.ICMPOut }),
	text("icmp-in", "keep, close, close after DURATION", "RFC 5382 REQ-10", "after an ICMP error from outside, except TTL exceeded", func(b *Behaviour) *Reaction { return &b.ICMPIn }),
	text("ttl-exceeded", "keep, close, close after DURATION", "RFC 5382 REQ-10", "after ICMP TTL exceeded from outside", func(b *Behaviour) *Reaction { return &b.TTLExceeded }),
	boolean("drop-rst", "", "an RST from outside is not passed in", func(b *Behaviour) *bool { return &b.DropRST }),
	boolean("drop-icmp", "RFC 5382 REQ-9", "ICMP errors are not translated", func(b *Behaviour) *bool { return &b.DropICMP }),
	boolean("rewrite-sequence", "", "the inside's sequence numbers get an offset", func(b *Behaviour) *bool { return &b.RewriteSequence }),
	words("rewrite-sack", sackWords, "RFC 2018", "SACK blocks with rewrite-sequence", func(b *Behaviour) *SACKFix { return &b.RewriteSACK }),
	boolean("rewrite-timestamps", "RFC 7323", "the inside's timestamps get an offset", func(b *Behaviour) *bool { return &b.RewriteTimestamps }),
	number("mss-clamp", "RFC 9293 section 3.7.1", "largest MSS in a SYN; 0 leaves it", func(b *Behaviour) *uint16 { return &b.MSSClamp }),
	text("strip-options", "none, or "+strings.Join(optionWords, "+"), "", "overwritten with NOP in SYNs", func(b *Behaviour) *OptionSet { return &b.StripOptions }),
	words("hop", hopWords, "RFC 1812 section 5.3.1", "whether the TTL goes down", func(b *Behaviour) *Hop { return &b.Hop }),
	words("tracking", trackingWords, "nf_conntrack_proto_tcp.c", "how closely connections are followed", func(b *Behaviour) *Tracking { return &b.Tracking }),
	duration("transitory", "RFC 5382 REQ-5", "partially open; 0s is 4m, or the kernel's", func(b *Behaviour) *time.Duration { return &b.Transitory }),
	duration("established", "RFC 5382 REQ-5", "0s is 2h4m, or the kernel's", func(b *Behaviour) *time.Duration { return &b.Established }),
	duration("closing", "RFC 5382 REQ-5", "FINs or RST seen; 0s is 4m, or the kernel's", func(b *Behaviour) *time.Duration { return &b.Closing }),
	duration("hold-down", "RFC 6888 REQ-8", "rest of an external port; 0s is none", func(b *Behaviour) *time.Duration { return &b.HoldDown }),
	number("max-mappings", "RFC 6888 REQ-4", "of one inside host; 0 is no limit", func(b *Behaviour) *int { return &b.MaxMappings }),
	number("syn-rate", "RFC 6888 REQ-4C", "new mappings per second of one inside host; 0 is no limit", func(b *Behaviour) *int { return &b.SYNRate }),
	number("max-flows", "RFC 6888 REQ-5", "of the whole NAT; 0 is no limit", func(b *Behaviour) *int { return &b.MaxFlows }),
	words("full", fullWords, "RFC 6888 REQ-11", "answer when there is no port, room or quota", func(b *Behaviour) *Full { return &b.Full }),
}

// wordType is a pointer to a type of words.go or values.go.
type textType[T any] interface {
	*T
	encoding.TextMarshaler
	encoding.TextUnmarshaler
}

func text[T any, P textType[T]](name, values, source, about string, field func(*Behaviour) P) Knob {
	return Knob{name, values, source, about,
		func(b *Behaviour) string {
			s, err := field(b).MarshalText()
			if err != nil {
				return err.Error()
			}
			return string(s)
		},
		func(b *Behaviour, s string) error { return field(b).UnmarshalText([]byte(s)) },
	}
}

func words[T ~uint8, P textType[T]](name string, values []string, source, about string, field func(*Behaviour) P) Knob {
	return text[T, P](name, strings.Join(values, ", "), source, about, field)
}

func boolean(name, source, about string, field func(*Behaviour) *bool) Knob {
	return Knob{name, "true, false", source, about,
		func(b *Behaviour) string { return strconv.FormatBool(*field(b)) },
		func(b *Behaviour, s string) error {
			if s != "true" && s != "false" {
				return fmt.Errorf("%q is neither true nor false", s)
			}
			*field(b) = s == "true"
			return nil
		},
	}
}

func number[T int | uint16](name, source, about string, field func(*Behaviour) *T) Knob {
	return Knob{name, "NUMBER", source, about,
		func(b *Behaviour) string { return strconv.Itoa(int(*field(b))) },
		func(b *Behaviour, s string) error {
			n, err := strconv.Atoi(s)
			if err != nil || int(T(n)) != n {
				return fmt.Errorf("%q is no number that fits here", s)
			}
			*field(b) = T(n)
			return nil
		},
	}
}

func duration(name, source, about string, field func(*Behaviour) *time.Duration) Knob {
	return Knob{name, "DURATION", source, about,
		func(b *Behaviour) string { return shortDuration(*field(b)) },
		func(b *Behaviour, s string) error {
			d, err := parseDuration(s)
			if err != nil {
				return err
			}
			*field(b) = d
			return nil
		},
	}
}
