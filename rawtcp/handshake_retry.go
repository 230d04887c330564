package rawtcp

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
)

// refused handles an acceptable reset before ESTABLISHED.
func (h *Handshake) refused(now time.Time, out []Segment) []Segment {
	switch h.cfg.OnReset {
	case PolicyFail:
		h.fail(fmt.Errorf("%w: reset in %v", ErrRefused, h.state))
	case PolicyRetry:
		switch {
		case h.state == SynReceived && h.hasOther:
			// One of the two was forged or is no longer true: it was this.
			h.swap()
			h.hasOther = false
		case h.state == SynReceived:
			h.state = SynSent
			h.simultaneous = false
			h.other, h.hasOther, h.answered = h.peer, true, true
		}
		return h.again(now, out)
	}
	return out
}

// resetInSynReceived sorts out who a reset in SYN-RECEIVED is from.
func (h *Handshake) resetInSynReceived(now time.Time, s *Segment, out []Segment) []Segment {
	switch {
	case s.Seq == h.rcv.nxt: // RFC 5961 section 3.2
		return h.refused(now, out)
	case h.hasOther && s.Seq == h.other.irs+1:
		// ... or it was that one.
		h.hasOther = false
	case h.acksSYN(s) && h.cfg.OnReset == PolicyRetry:
		// It answers our SYN, not our SYN-ACK: the peer's NAT sent it before
		// the peer's SYN opened it.
	default:
		h.n.RSTsIgnored++
		if h.rcv.acceptable(s) {
			return h.challenge(now, out)
		}
		return out
	}
	// On its way it closed our NAT, which only a SYN opens again: not our
	// SYN-ACK, nor its retransmissions.
	return h.again(now, out)
}

// ReceiveICMP takes an ICMP error that came at now. It counts only if it quotes
// our SYN or SYN-ACK while that is in flight (RFC 5927 section 4.1); then
// OnICMP says what happens. In ESTABLISHED nothing is in flight.
func (h *Handshake) ReceiveICMP(now time.Time, e *ICMPError, out []Segment) []Segment {
	h.n.ICMPs++
	if h.state != SynSent && h.state != SynReceived ||
		e.Src != h.cfg.Local || e.Dst != h.cfg.Remote || e.Seq != h.cfg.ISN {
		h.n.ICMPsIgnored++
		return out
	}
	switch h.cfg.OnICMP {
	case PolicyFail:
		if errno := e.Errno(); errno != nil {
			h.fail(fmt.Errorf("%w: %v in %v: %w", ErrUnreachable, e, h.state, errno))
		}
	case PolicyRetry:
		if h.state == SynSent && !e.soft() {
			return h.again(now, out)
		}
	}
	return out
}

// soft reports whether sending the same segment again at once makes no sense:
// it would take the same hops, meet the same MTU and be just as wrong. The
// others are unreachables, which the peer's next SYN may cure.
func (e *ICMPError) soft() bool {
	if e.V6 {
		return e.Type != icmp6Unreachable
	}
	return e.Type != icmpUnreachable || e.Code == icmpFragNeeded
}

// again sends the SYN once more after bad news, at once or a moment later.
func (h *Handshake) again(now time.Time, out []Segment) []Segment {
	if h.resend || h.n.Resends >= h.cfg.Retries {
		return out
	}
	return h.sendAgain(now, h.pause(now), out)
}

func (h *Handshake) sendAgain(now time.Time, pause time.Duration, out []Segment) []Segment {
	h.n.Resends++
	if pause > 0 {
		h.resend, h.resendAt = true, now.Add(pause)
		return out
	}
	h.rtoAt = now.Add(h.rto)
	return h.sendSYN(now, out)
}

// pause is how long to wait before the SYN is sent again: not at all the first
// time, and later a keyed fraction of the round trip that the refused SYN made.
//
// The first resend cures most missed windows. Let R be the round trip between
// the two NATs and h that from a host to its NAT. A reset takes our NAT's
// mapping down, and h later our next SYN opens it again; the mapping stands for
// R of every R+h. B's late SYN most often finds A's NAT open. If it falls into
// the gap instead, B is refused too and resends after the same R+h, and with
// equal h both meet the gap for ever, though both knock all the time. The
// pauses, different at the two ends because their ISNs are, move B's next SYN
// to another part of A's period. They lengthen the gap as well: the square of
// a uniform fraction, which is most often small, does better than the fraction
// itself, and than a bound of half or twice the round trip. See TestResetNATs.
func (h *Handshake) pause(now time.Time) time.Duration {
	if h.n.Resends == 0 {
		return 0
	}
	trip := min(max(now.Sub(h.sentAt), 0), h.rto)
	local, remote := h.cfg.Local.Addr().As16(), h.cfg.Remote.Addr().As16()
	key := mix(uint64(h.cfg.ISN)<<32 | uint64(h.cfg.Local.Port())<<16 | uint64(h.cfg.Remote.Port()))
	key = mix(key ^ binary.BigEndian.Uint64(local[8:]))
	key = mix(key ^ binary.BigEndian.Uint64(remote[8:]))
	fraction := mix(key ^ uint64(h.n.Resends))
	square, _ := bits.Mul64(fraction, fraction) // of a number in [0, 1), in units of 2^-64
	pause, _ := bits.Mul64(square, uint64(trip))
	return time.Duration(pause)
}

// mix spreads every bit of x over all 64 (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
