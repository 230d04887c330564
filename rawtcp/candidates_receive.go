package rawtcp

import (
	"fmt"
	"slices"
	"time"
)

// Start sends a SYN to each listed port. It does nothing but in CLOSED.
func (c *Candidates) Start(now time.Time, out []Segment) []Segment {
	if c.state != Closed || c.err != nil {
		return out
	}
	c.start, c.expire = now, now.Add(c.cfg.Timeout)
	for i := range c.flows {
		out = c.flows[i].hs.Start(now, out)
	}
	c.review()
	return out
}

// Deadline returns when Tick must be called at the latest; false means that
// nothing is due.
func (c *Candidates) Deadline() (time.Time, bool) {
	return c.due, c.state == SynSent || c.state == SynReceived
}

// Tick does what is due, as Handshake.Tick.
func (c *Candidates) Tick(now time.Time, out []Segment) []Segment {
	if at, ok := c.Deadline(); !ok || now.Before(at) {
		return out
	}
	if !now.Before(c.expire) {
		return c.timeout(out)
	}
	for i := range c.flows {
		h := &c.flows[i].hs
		if at, ok := h.Deadline(); ok && !now.Before(at) {
			out = h.Tick(now, out)
		}
	}
	c.review()
	return out
}

// Receive takes a segment that came at now. What belongs to none of the flows is
// counted and otherwise ignored, and so is what belongs to a loser.
func (c *Candidates) Receive(now time.Time, s *Segment, out []Segment) []Segment {
	i := -1
	if s.Src.Addr() == c.cfg.Remote.Addr() && s.Dst == c.cfg.Local {
		i = c.find(s.Src.Port())
	}
	switch {
	case c.winner >= 0 && c.winner == i:
		out = c.flows[i].hs.Receive(now, s, out)
	case c.state != SynSent && c.state != SynReceived:
		c.stray++
		return out
	case i >= 0:
		return c.take(now, i, s, out)
	case c.learnable(s):
		return c.learn(now, s, out)
	default:
		c.stray++
		return out
	}
	c.review()
	return out
}

// leadWindow is the window of an end whose first ISN this is: odd, from 32769 to 65533.
func leadWindow(isn Seq) uint16 { return 1<<15 | uint16(mix(uint64(isn))%(1<<14-1))<<1 | 1 }

// follows reports whether the sender of the window theirs leads an end with the window ours,
// or nobody does.
func follows(ours, theirs uint16) bool { return agrees(theirs) && theirs >= ours }

// agrees reports whether a window is that of an end that chooses among several flows.
func agrees(window uint16) bool { return window&1 != 0 && window != 65535 }

// take gives a segment to its flow as far as the rules of Candidates allow.
func (c *Candidates) take(now time.Time, i int, s *Segment, out []Segment) []Segment {
	h := &c.flows[i].hs
	was := h.state
	out = h.receiveOneOf(now, s, out)
	if h.state == Established {
		c.winner = i
		c.review()
		return out
	}
	c.touched(h, was)
	return out
}

// receiveOneOf is Receive for one of several flows.
func (h *Handshake) receiveOneOf(now time.Time, s *Segment, out []Segment) []Segment {
	switch s.Flags & (SYN | ACK | RST) {
	case SYN | ACK:
		if h.acksSYN(s) && follows(h.cfg.Window, s.Window) {
			return h.answerProven(now, s, out)
		}
	case SYN:
		if h.state == SynReceived && !h.answeredSYN(s.Seq) && h.n.Restarts >= maxRestarts {
			h.n.Dropped++
			return out
		}
	}
	before := len(out)
	out = h.Receive(now, s, out)
	if h.state == Established {
		return out
	}
	return h.withoutACKs(out, before)
}

// answerProven answers a SYN-ACK, which says the peer's true ISN, with a SYN-ACK.
// Only the first is answered: the peer may do the same.
func (h *Handshake) answerProven(now time.Time, s *Segment, out []Segment) []Segment {
	if h.answeredSYN(s.Seq) {
		h.n.Duplicates++
		return out
	}
	h.hasOther = false
	h.adopt(s)
	return h.synReceived(now, out)
}

// answeredSYN reports whether a SYN-ACK for this ISN of the peer is out.
func (h *Handshake) answeredSYN(isn Seq) bool {
	return h.state == SynReceived && (h.peer.irs == isn || h.hasOther && h.answered && h.other.irs == isn)
}

// withoutACKs removes the challenge ACKs from what a flow that is not
// established has sent.
func (h *Handshake) withoutACKs(out []Segment, before int) []Segment {
	kept := slices.DeleteFunc(out[before:], func(s Segment) bool { return s.Flags == ACK })
	h.n.ChallengesSent -= len(out) - before - len(kept)
	return out[:before+len(kept)]
}

// learnable reports whether a segment of no flow makes one.
func (c *Candidates) learnable(s *Segment) bool {
	return c.cfg.LearnPort && s.Flags&(SYN|ACK|RST|FIN) == SYN && s.Src.Port() != 0 &&
		s.Src.Addr() == c.cfg.Remote.Addr() && s.Dst == c.cfg.Local && len(c.flows)-c.listed < MaxCandidates
}

// learn makes a flow to the port that a SYN came from, and answers it. The
// Handshake is told that it has sent a SYN, which it has not; should a reset
// come, or the timer go off, it does send one.
func (c *Candidates) learn(now time.Time, s *Segment, out []Segment) []Segment {
	if err := c.add(s.Src.Port()); err != nil {
		c.stray++ // an ISN that a Handshake does not take
		return out
	}
	i := len(c.flows) - 1
	f := &c.flows[i]
	f.learned = true
	f.hs.cfg.TSBase += uint32(max(now.Sub(c.start), 0) / time.Millisecond)
	f.hs.tsSent = f.hs.cfg.TSBase
	before := len(out)
	out = f.hs.Start(now, out)[:before]
	return c.take(now, i, s, out)
}

// ReceiveICMP takes an ICMP error that came at now, as Handshake.ReceiveICMP, for
// the flow that it quotes.
func (c *Candidates) ReceiveICMP(now time.Time, e *ICMPError, out []Segment) []Segment {
	i := max(c.find(e.Dst.Port()), 0) // the Handshake looks at the rest
	if c.winner >= 0 {
		i = c.winner
	}
	out = c.flows[i].hs.ReceiveICMP(now, e, out)
	c.review()
	return out
}

// touched brings the state up to date with one flow, which was in another state or in
// the same. The deadline may stay earlier than need be; Tick looks again.
func (c *Candidates) touched(h *Handshake, was State) {
	if h.state < was || h.state > SynReceived {
		c.review()
		return
	}
	c.state = max(c.state, h.state)
	if at, ok := h.Deadline(); ok && at.Before(c.due) {
		c.due = at
	}
}

// review brings the state up to date with the flows.
func (c *Candidates) review() {
	if c.winner >= 0 {
		h := &c.flows[c.winner].hs
		c.state, c.err = h.state, h.err
		return
	}
	if c.state == Failed || c.err != nil {
		return
	}
	c.state, c.due = Failed, c.expire
	for i := range c.flows {
		h := &c.flows[i].hs
		switch {
		case h.state == SynReceived:
			c.state = SynReceived
		case h.state == SynSent && c.state == Failed:
			c.state = SynSent
		case h.err != nil:
			c.err = h.err
		}
		if at, ok := h.Deadline(); ok && at.Before(c.due) {
			c.due = at
		}
	}
	if c.state != Failed {
		c.err = nil
	}
}

// Abort gives up. Flows that the peer may believe in get a reset, as from
// Handshake.Abort; with a winner only that.
func (c *Candidates) Abort(now time.Time, out []Segment) []Segment {
	state := c.state
	for i := range c.flows {
		if c.winner < 0 || c.winner == i {
			out = c.flows[i].hs.Abort(now, out)
		}
	}
	if state != Failed {
		c.err = fmt.Errorf("rawtcp: handshake with %v: %w in %v", c.who(), ErrAborted, state)
		c.state = Closed
	}
	return out
}

func (c *Candidates) timeout(out []Segment) []Segment {
	for i := range c.flows {
		out = c.flows[i].hs.timeout(out)
	}
	state, n := c.state, c.Counters()
	detail := "nothing came back"
	switch {
	case state == SynReceived:
		detail = "the peer acknowledged none of our SYNs"
	case n.RSTs+n.ICMPs > 0:
		detail = fmt.Sprintf("%d resets and %d ICMP errors came back", n.RSTs, n.ICMPs)
	case n.Dropped+n.ChallengesSeen > 0:
		detail = "only segments that do not belong to this attempt came back"
	}
	c.state = Failed
	c.err = fmt.Errorf("rawtcp: handshake with %v: %w after %v in %v with %d SYNs: %s", c.who(), ErrTimeout, c.cfg.Timeout, state, n.SYNs, detail)
	return out
}

// who names the peer in errors.
func (c *Candidates) who() string {
	if len(c.flows) == 1 {
		return c.flows[0].hs.cfg.Remote.String()
	}
	return fmt.Sprintf("%d ports of %v", len(c.flows), c.cfg.Remote.Addr())
}
