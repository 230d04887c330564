package odds

import (
	"fmt"
	"time"

	"github.com/synpunch/synpunch/nat"
)

// Chain makes one behaviour of several NATs behind each other, the host's own first, as one peer
// meets them. The error wraps nat.ErrBehaviour where no one NAT does what they do together.
func Chain(list ...nat.Behaviour) (nat.Behaviour, error) {
	if len(list) == 0 {
		return nat.Behaviour{}, fmt.Errorf("odds: %w: no NAT", ErrConfig)
	}
	b := list[0]
	for _, outer := range list[1:] {
		b = behind(b, outer)
	}
	if err := b.Validate(); err != nil {
		return b, fmt.Errorf("odds are worked out for one NAT, and no one NAT does what these do together: %w", err)
	}
	return b, nil
}

// behind is what an inner NAT and the outer one in front of it do together, towards one peer.
func behind(inner, outer nat.Behaviour) nat.Behaviour {
	b := outer
	if outer.Translation != nat.NAPT {
		// The outer one leaves the ports as they are: those of the inner one are seen.
		b = inner
		b.Unsolicited, b.UnsolicitedAny, b.UnsolicitedWait, b.AnswerDelay, b.Blacklist = outer.Unsolicited, outer.UnsolicitedAny, outer.UnsolicitedWait, outer.AnswerDelay, outer.Blacklist
	} else if inner.Translation == nat.NAPT {
		b.Mapping = max(inner.Mapping, outer.Mapping) // each mapping of the inner one is an endpoint to the outer one
		b.ReuseMapping = inner.ReuseMapping && outer.ReuseMapping
		if outer.Allocation == nat.Preserving && inner.Allocation != nat.Preserving {
			b.Allocation, b.Ports, b.Parity, b.Offset, b.Delta, b.Counter, b.Start = inner.Allocation, inner.Ports, inner.Parity, inner.Offset, inner.Delta, inner.Counter, inner.Start
			b.BlockSize, b.Blocks, b.BlockOrder, b.ClockRate = inner.BlockSize, inner.Blocks, inner.BlockOrder, inner.ClockRate
			b.Collision, b.Overloading = inner.Collision, inner.Overloading
		}
	}
	b.Filtering = strictest(inner.Filtering, outer.Filtering)
	b.InboundSYN, b.OutboundSYNACK = max(inner.InboundSYN, outer.InboundSYN), max(inner.OutboundSYNACK, outer.OutboundSYNACK)
	b.RSTIn, b.ICMPIn, b.TTLExceeded = sooner(inner.RSTIn, outer.RSTIn), sooner(inner.ICMPIn, outer.ICMPIn), sooner(inner.TTLExceeded, outer.TTLExceeded)
	if (inner.Tracking == nat.TrackLinux || outer.Tracking == nat.TrackLinux) && inner.Tracking != outer.Tracking {
		// Linux forgets a flow that was only answered by a reset.
		b.Tracking, b.RSTIn = nat.TrackBasic, nat.Reaction{Close: true}
	}
	b.Transitory = min(transitory(&inner), transitory(&outer))
	b.MaxMappings, b.SYNRate, b.MaxFlows = least(inner.MaxMappings, outer.MaxMappings), least(inner.SYNRate, outer.SYNRate), least(inner.MaxFlows, outer.MaxFlows)
	return b
}

// strictest is the filter that a packet must pass at last. Open lets in the most.
func strictest(a, b nat.Filtering) nat.Filtering {
	if a == nat.Open {
		return b
	}
	if b == nat.Open {
		return a
	}
	return max(a, b)
}

func sooner(a, b nat.Reaction) nat.Reaction {
	if !a.Close || b.Close && b.After < a.After {
		return b
	}
	return a
}

// transitory is how long a mapping lives that nobody answers.
func transitory(b *nat.Behaviour) time.Duration {
	switch {
	case b.Transitory > 0:
		return b.Transitory
	case b.Tracking == nat.TrackLinux:
		return linuxSYNSent
	}
	return basicTransitory
}

// least is the lower of two limits; 0 is none.
func least(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
