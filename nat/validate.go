package nat

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// What is wrong with a Behaviour or a Config. Errors wrap one of these.
var (
	ErrBehaviour  = errors.New("impossible behaviour")
	ErrUnknownKey = errors.New("unknown key")
	ErrConfig     = errors.New("impossible configuration")
)

// KeyError is what is wrong with one knob.
type KeyError struct {
	Key  string // as Knobs names it
	What string
}

func (e *KeyError) Error() string { return "nat: " + e.Key + ": " + e.What }

func (e *KeyError) Unwrap() error { return ErrBehaviour }

// Validate reports knobs out of range and knobs that contradict each other. The
// error joins a *KeyError for each and wraps ErrBehaviour.
func (b Behaviour) Validate() error {
	c := checker{}
	for _, k := range knobs {
		if err := k.set(new(Behaviour), k.get(&b)); err != nil {
			c.fail(k.Name, "%v", err)
		}
	}
	b.checkPorts(&c)
	b.checkAllocation(&c)
	b.checkTimers(&c)
	if b.Translation == NAPT && b.Filtering == Open {
		c.fail("filtering", "open needs translation one-to-one or none: without a mapping there is nobody to pass a packet to")
	}
	if b.overloads() && b.Filtering != APDF && b.Translation == NAPT {
		c.fail("filtering", "with overloaded ports only address-and-port-dependent filtering tells whose packet it is")
	}
	if b.HairpinOpen && (b.Translation == None || b.Hairpinning != HairpinExternal && b.Hairpinning != HairpinInternal) {
		c.fail("hairpin-open", "no packet is hairpinned")
	}
	if b.HairpinOpen && b.overloads() {
		c.fail("hairpin-open", "with overloaded ports the filter tells whose packet it is")
	}
	if b.RewriteSACK != SACKFixed && !b.RewriteSequence {
		c.fail("rewrite-sack", "without rewrite-sequence there is nothing to fix")
	}
	if b.Tracking == TrackLinux {
		if b.OutboundSYNACK == SYNACKNew {
			c.fail("outbound-synack", "tracking linux never takes it for a new connection")
		}
		if b.Pickup {
			c.fail("pickup", "tracking linux decides by itself which segments begin a connection")
		}
	}
	for _, n := range []struct {
		key   string
		value int
	}{{"max-mappings", b.MaxMappings}, {"syn-rate", b.SYNRate}, {"max-flows", b.MaxFlows}, {"clock-rate", b.ClockRate}} {
		if n.value < 0 {
			c.fail(n.key, "%d is negative", n.value)
		}
	}
	if b.SYNRate > 1e9 {
		c.fail("syn-rate", "%d is more than a billion", b.SYNRate)
	}
	if b.ClockRate > 1e9 {
		c.fail("clock-rate", "%d is more than a billion", b.ClockRate)
	}
	if b.MSSClamp > 0 && b.MSSClamp < 64 {
		c.fail("mss-clamp", "%d bytes is below 64: RFC 791's smallest datagram without fragments has 68", b.MSSClamp)
	}
	return errors.Join(c.errs...)
}

type checker struct{ errs []error }

func (c *checker) fail(key, format string, args ...any) {
	c.errs = append(c.errs, &KeyError{key, fmt.Sprintf(format, args...)})
}

func (b *Behaviour) checkPorts(c *checker) {
	r := b.Ports.or1024()
	switch {
	case r.First == 0:
		c.fail("ports", "port 0 cannot be used")
	case r.First > r.Last:
		c.fail("ports", "%d is after %d", r.First, r.Last)
	case r.First == r.Last && (b.Parity == ParityEven && r.First%2 == 1 || b.Parity == ParityOdd && r.First%2 == 0):
		c.fail("parity", "no port of %v has it", r)
	}
	if b.Start != 0 && !r.contains(b.Start) {
		c.fail("start", "%d is outside of ports %v", b.Start, r)
	}
	if b.Allocation == Block && r.First <= r.Last {
		size := or(b.BlockSize, blockSize)
		switch {
		case b.BlockSize < 0:
			c.fail("block-size", "%d is negative", b.BlockSize)
		case size > r.size():
			c.fail("block-size", "%d ports do not fit into %v", size, r)
		case b.Parity != ParityAny && size == 1:
			c.fail("block-size", "a block of one port leaves no choice of parity")
		}
		if b.Blocks < 0 {
			c.fail("blocks", "%d is negative", b.Blocks)
		}
	}
}

// checkAllocation refuses knobs that the allocation would never read.
func (b *Behaviour) checkAllocation(c *checker) {
	unread := func(is bool, key string, of ...Allocation) {
		if !is {
			return
		}
		if slices.Contains(of, b.Allocation) {
			return
		}
		c.fail(key, "allocation %v does not use it", b.Allocation)
	}
	unread(b.Offset != 0, "offset", Offset)
	unread(b.Delta != 0, "delta", Sequential)
	unread(b.Counter != 0, "counter", Sequential)
	unread(b.Start != 0, "start", Sequential, Clock)
	unread(b.BlockSize != 0, "block-size", Block)
	unread(b.Blocks != 0, "blocks", Block)
	unread(b.BlockOrder != 0, "block-order", Block)
	unread(b.ClockRate != 0, "clock-rate", Clock)
	unread(b.Collision != 0, "collision", Preserving, Offset)
	if b.Allocation == Offset && (b.Offset < -65535 || b.Offset > 65535) {
		c.fail("offset", "%d is more than there are ports", b.Offset)
	}
	if b.Allocation == Sequential && (b.Delta < -65535 || b.Delta > 65535) {
		c.fail("delta", "%d is more than there are ports", b.Delta)
	}
	b.checkTranslation(c)
}

// checkTranslation refuses knobs about external ports where there are none.
func (b *Behaviour) checkTranslation(c *checker) {
	if b.Translation == NAPT {
		return
	}
	for _, k := range []struct {
		key string
		is  bool
	}{
		{"allocation", b.Allocation != Preserving}, {"ports", b.Ports != PortRange{}}, {"well-known", b.WellKnown}, {"parity", b.Parity != ParityAny},
		{"collision", b.Collision != CollisionRandom}, {"overloading", b.Overloading}, {"reuse-mapping", b.ReuseMapping}, {"pooling", b.Pooling != Paired},
	} {
		if k.is {
			c.fail(k.key, "translation %v leaves the ports as they are", b.Translation)
		}
	}
}

func (b *Behaviour) checkTimers(c *checker) {
	for _, t := range []struct {
		key string
		d   time.Duration
	}{
		{"unsolicited-wait", b.UnsolicitedWait}, {"answer-delay", b.AnswerDelay}, {"blacklist", b.Blacklist}, {"transitory", b.Transitory},
		{"established", b.Established}, {"closing", b.Closing}, {"hold-down", b.HoldDown},
		{"rst-out", b.RSTOut.After}, {"rst-in", b.RSTIn.After}, {"icmp-out", b.ICMPOut.After},
		{"icmp-in", b.ICMPIn.After}, {"ttl-exceeded", b.TTLExceeded.After},
	} {
		if t.d < 0 || t.d > maxTimer {
			c.fail(t.key, "%v is not between 0 and %v", t.d, maxTimer)
		}
	}
	if b.UnsolicitedWait != 0 && b.Unsolicited != UnsolicitedWait {
		c.fail("unsolicited-wait", "unsolicited %v does not wait", b.Unsolicited)
	}
	if b.AnswerDelay != 0 && !b.answersAtOnce() {
		c.fail("answer-delay", "unsolicited %v has no answer that could be late", b.Unsolicited)
	}
	if b.Blacklist != 0 && b.Unsolicited != UnsolicitedBlacklist {
		c.fail("blacklist", "unsolicited %v has none", b.Unsolicited)
	}
}

// answersAtOnce reports whether an unsolicited packet has an answer that leaves
// without a delay, unless AnswerDelay says so.
func (b *Behaviour) answersAtOnce() bool {
	switch b.Unsolicited {
	case UnsolicitedRST, UnsolicitedPort, UnsolicitedHost, UnsolicitedAdmin:
		return true
	}
	return false
}
