package punch

import (
	"fmt"
	"time"
)

// Numbers of the canary, chosen by us. Linux answers a host with one 'TTL exceeded' a second
// and up to six at once (net.ipv4.icmp_ratelimit, XRLIM_BURST_FACTOR): the gaps stay below.
const (
	canaryFirst   = 2 // before the instant, canaryClose apart; all must come back
	canarySoon    = 3 // the next ones, canaryGap apart
	canaryGap     = 400 * time.Millisecond
	canaryLongGap = 1100 * time.Millisecond
	canaryClose   = 50 * time.Millisecond  // after one that did not come back
	canaryWait    = 250 * time.Millisecond // for an answer of the router behind our NAT
	canaryMisses  = 3                      // in a row: our NAT makes no more mappings
)

// canary tells whether our own NAT still makes mappings: now and then a SYN of a new flow, whose TTL ends
// at the router behind the NAT, should come back as 'TTL exceeded'. A NAT whose table or
// quota is full drops it, in silence mostly. Pure: times and events in, words out.
type canary struct {
	sent     int
	answered int
	last     time.Time // when the last one left
	waiting  bool      // ... and it has not come back yet
	misses   int       // in a row
	next     time.Time
}

// works reports whether the first ones came back, so that silence means something.
func (c *canary) works() bool { return c.sent >= canaryFirst && c.answered >= canaryFirst }

// left says that one was sent.
func (c *canary) left(now time.Time) { c.sent, c.last, c.waiting = c.sent+1, now, true }

// back says that one came back.
func (c *canary) back() {
	c.answered++
	c.misses, c.waiting = 0, false
	c.next = c.last.Add(canaryLongGap)
	if c.sent < canaryFirst+canarySoon {
		c.next = c.last.Add(canaryGap)
	}
}

// due reports whether one is to be sent now. An error, which wraps ErrExhausted, means that
// nothing comes through any more; syns is how many SYNs have been sent, for its words.
func (c *canary) due(now time.Time, syns int) (bool, error) {
	if c.waiting {
		if now.Sub(c.last) < canaryWait {
			return false, nil
		}
		c.waiting = false
		c.misses++
		c.next = now
		if c.misses >= canaryMisses {
			return false, fmt.Errorf("%w: after %d SYNs no new flow gets through our own NAT: the last %d that were to end at the router behind it did not, and before the fan-out they did. Its table, its ports or our quota are used up. Lower the budget", ErrExhausted, syns, c.misses)
		}
	}
	return !now.Before(c.next), nil
}

// deadline is when due wants to be asked again.
func (c *canary) deadline() time.Time {
	if c.waiting {
		return c.last.Add(canaryWait)
	}
	return c.next
}
