package punch

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// ErrExhausted says that a NAT, or this host, has no room for more flows: a quota, a full
// table or no free port.
var ErrExhausted = errors.New("no room for more flows")

// The law by which a fan-out slows down, chosen by us; docs/responsible.md has it for people.
const (
	// judgeSYNs is how many SYNs are between two judgements; at low rates fewer will do
	// after judgeTime.
	judgeSYNs = 256
	judgeFew  = 32
	judgeTime = 200 * time.Millisecond
	// resetShare: more RSTs than one for so many SYNs, and resetFlood at least, are a flood.
	resetShare, resetFlood = 4, 32
	// prohibitedShare and prohibitedFlood are the same for ICMP 'administratively prohibited'.
	prohibitedShare, prohibitedFlood = 8, 8
	// maxProhibited is how many judgements in a row may find that before the fan-out ends.
	maxProhibited = 4
	// fullShare: more ICMP 'unreachable' than one for so many SYNs mean that somebody has no room.
	fullShare = 2
	// maxFull is how many judgements in a row may find that before the fan-out ends.
	maxFull = 2
)

// answers counts what came back for SYNs, apart from hits.
type answers struct {
	resets      int
	prohibited  int // ICMP: administratively prohibited
	unreachable int // ICMP: any other unreachable
	other       int // ICMP: TTL exceeded, and the rest
	from        netip.Addr
}

// addICMP counts an ICMP error, weight times.
func (a *answers) addICMP(e *rawtcp.ICMPError, weight int) {
	switch kindOf(e) {
	case icmpProhibited:
		a.prohibited += weight
		a.from = e.From
	case icmpUnreachable:
		a.unreachable += weight
		a.from = e.From
	default:
		a.other += weight
	}
}

func (a *answers) icmps() int { return a.prohibited + a.unreachable + a.other }

// kinds of ICMP errors.
const (
	icmpOther = iota
	icmpProhibited
	icmpUnreachable
)

// kindOf sorts an ICMP error. Given by RFC 792, RFC 1812 section 5.2.7.1 and RFC 4443.
func kindOf(e *rawtcp.ICMPError) int {
	const unreachable4, unreachable6 = 3, 1
	switch {
	case e.V6 && e.Type == unreachable6 && e.Code == 1,
		!e.V6 && e.Type == unreachable4 && (e.Code == 9 || e.Code == 10 || e.Code == 13):
		return icmpProhibited
	case e.V6 && e.Type == unreachable6, !e.V6 && e.Type == unreachable4:
		return icmpUnreachable
	}
	return icmpOther
}

// backOff is the law. Each judgement looks at the SYNs and answers since the one before:
//
//   - many RSTs: somebody answers for the ports. The rate is halved, down to DefaultFanRate,
//     unless both ends are one's own;
//   - ICMP 'administratively prohibited': somebody says that this is not wanted. The rate
//     is halved, and the fourth time in a row the fan-out ends;
//   - ICMP 'unreachable' for half of the SYNs and more: somebody has no room for another
//     flow. The second time in a row the fan-out ends.
type backOff struct {
	rate float64 // SYNs a second
	own  bool    // both ends are one's own: RSTs do not matter

	at   time.Time // of the last judgement
	sent int       // then
	seen answers   // likewise

	halvings         int
	prohibited, full int // judgements in a row
}

// due reports whether it is time for a judgement.
func (b *backOff) due(now time.Time, sent int) bool {
	n := sent - b.sent
	return n >= judgeSYNs || n >= judgeFew && now.Sub(b.at) >= judgeTime
}

// judge says what to do after so many SYNs and answers in all; an error ends the
// fan-out and wraps ErrUnreachable or ErrExhausted.
func (b *backOff) judge(now time.Time, sent int, seen answers) error {
	n := sent - b.sent
	resets, prohibited, unreachable := seen.resets-b.seen.resets, seen.prohibited-b.seen.prohibited, seen.unreachable-b.seen.unreachable
	b.at, b.sent, b.seen = now, sent, seen
	if n <= 0 {
		return nil
	}
	if prohibited >= prohibitedFlood && prohibited*prohibitedShare > n {
		b.halve(0)
		if b.prohibited++; b.prohibited >= maxProhibited {
			return fmt.Errorf("%w: %v says 'administratively prohibited' to %d of the last %d SYNs: it is not wanted there", ErrUnreachable, seen.from, min(prohibited, n), n)
		}
	} else {
		b.prohibited = 0
	}
	if unreachable*fullShare > n {
		if b.full++; b.full >= maxFull {
			return fmt.Errorf("%w: %v answers %d of the last %d SYNs with ICMP 'unreachable': its quota, its table or its ports are used up. Lower the budget or the rate; 'synpunch odds' says what a quota leaves", ErrExhausted, seen.from, min(unreachable, n), n)
		}
	} else {
		b.full = 0
	}
	if !b.own && resets >= resetFlood && resets*resetShare > n {
		b.halve(DefaultFanRate)
	}
	return nil
}

// halve halves the rate, but not below floor.
func (b *backOff) halve(floor float64) {
	if b.rate <= floor {
		return
	}
	b.rate = max(b.rate/2, floor, 1)
	b.halvings++
}
