package rawtcp

import (
	"fmt"
	"time"
)

// Receive takes a segment that came at now. A segment of another flow is
// counted and otherwise ignored. The segment is not kept; its payload is
// copied.
func (h *Handshake) Receive(now time.Time, s *Segment, out []Segment) []Segment {
	if s.Src != h.cfg.Remote || s.Dst != h.cfg.Local {
		h.n.Dropped++
		return out
	}
	if s.Flags&RST != 0 {
		h.n.RSTs++
	}
	switch h.state {
	case SynSent:
		return h.inSynSent(now, s, out)
	case SynReceived:
		return h.inSynReceived(now, s, out)
	case Established:
		return h.inEstablished(now, s, out)
	}
	h.n.Dropped++
	return out
}

// acksSYN reports whether the segment acknowledges our SYN and nothing else:
// SND.UNA < SEG.ACK =< SND.NXT, which leaves one number as we send no data. A
// peer, or an attacker, who has not seen our SYN has to guess it.
func (h *Handshake) acksSYN(s *Segment) bool {
	return s.Flags&ACK != 0 && s.Ack == h.cfg.ISN+1
}

// inSynSent is RFC 9293 section 3.10.7.3.
func (h *Handshake) inSynSent(now time.Time, s *Segment, out []Segment) []Segment {
	f := s.Flags
	switch {
	case f&RST != 0:
		if !h.acksSYN(s) {
			h.n.RSTsIgnored++
			return out
		}
		return h.refused(now, out)
	case f&ACK != 0 && !h.acksSYN(s):
		return h.staleACK(now, s, out)
	case f&(SYN|ACK) == SYN|ACK:
		h.adopt(s)
		return h.establish(now, s, out)
	case f&SYN != 0:
		h.adopt(s)
		return h.synReceived(now, out)
	case f&ACK != 0 && h.hasOther && provesISN(&h.other, s, h.cfg.Window):
		// A reset from a NAT led us back here, but the peer had not sent it.
		h.swap()
		h.hasOther = false
		h.simultaneous = true
		return h.establish(now, s, out)
	case f&ACK != 0:
		h.n.ChallengesSeen++
	default:
		h.n.Dropped++
	}
	return out
}

// staleACK handles an acknowledgment of something we did not send: the peer
// takes part in an earlier attempt of ours, or somebody guesses.
func (h *Handshake) staleACK(now time.Time, s *Segment, out []Segment) []Segment {
	h.n.Dropped++
	switch h.cfg.OnReset {
	case PolicyFail:
		return h.sendRST(s.Ack, out) // RFC 9293 section 3.10.7.3, first step
	case PolicyRetry:
		// The reset would close the NATs, so it is the last resort. A peer that
		// sends a SYN-ACK is in SYN-RECEIVED and will take our SYN for what it
		// is. One that answers each of our SYNs with the same ACK believes to
		// be connected, and will do so until it is told.
		if s.Flags&SYN != 0 {
			return out
		}
		mark := staleMark{s.Seq, s.Ack, h.stale.syns}
		if mark != h.stale || mark.syns == 0 {
			mark.syns = h.n.SYNs
			h.stale = mark
			return out
		}
		if mark.syns == h.n.SYNs {
			return out
		}
		h.stale.syns = h.n.SYNs
		if h.n.Resends < h.cfg.Retries {
			out = h.sendRST(s.Ack, out)
			return h.sendAgain(now, 0, out)
		}
	}
	return out
}

// synReceived enters SYN-RECEIVED and answers the peer's SYN.
func (h *Handshake) synReceived(now time.Time, out []Segment) []Segment {
	h.state = SynReceived
	h.simultaneous = true
	h.resend = false
	h.rto = min(h.cfg.RTO, h.cfg.MaxRTO)
	h.rtoAt = now.Add(h.rto)
	return h.sendSYNACK(now, out)
}

// inSynReceived is RFC 9293 section 3.10.7.4 for SYN-RECEIVED.
func (h *Handshake) inSynReceived(now time.Time, s *Segment, out []Segment) []Segment {
	f := s.Flags
	switch {
	case f&RST != 0:
		return h.resetInSynReceived(now, s, out)

	case f&(SYN|ACK) == SYN|ACK:
		// What a crossing peer answers to our SYN (RFC 9293 section 3.5,
		// figure 7, line 7). It begins before RCV.NXT, so the general rule
		// would have it answered with an ACK and dropped, as Linux did until
		// commit 23e89e8ee7be.
		switch {
		case !h.acksSYN(s):
		case s.Seq == h.peer.irs:
			return h.establish(now, s, out)
		case h.hasOther && s.Seq == h.other.irs:
			h.swap()
			return h.establish(now, s, out)
		case h.cfg.OnReset == PolicyRetry:
			// The peer started anew and answers our SYN, as in SYN-SENT.
			h.n.Restarts++
			h.adopt(s)
			return h.establish(now, s, out)
		}
		return h.challenge(now, out)

	case f&SYN != 0:
		switch {
		case s.Seq == h.peer.irs:
			h.n.Duplicates++
			h.peer.update(s)
			return h.sendSYNACK(now, out)
		case h.cfg.OnReset == PolicyRetry:
			return h.newISN(now, s, out)
		}
		return h.challenge(now, out)

	case f&ACK == 0:
		h.n.Dropped++
		return out
	}

	if h.hasOther && h.acksSYN(s) && !h.attribute(s) {
		h.n.Dropped++
		return out
	}
	if !h.rcv.acceptable(s) {
		h.n.Dropped++
		return h.answer(now, s, out)
	}
	if !h.acksSYN(s) {
		h.n.Dropped++
		if h.cfg.OnReset == PolicyFail {
			return h.sendRST(s.Ack, out)
		}
		return out
	}
	if h.tooOld(s) {
		h.n.Dropped++
		return h.answer(now, s, out)
	}
	return h.establish(now, s, out)
}

// newISN answers a SYN with another ISN than that of the SYN which brought us
// into SYN-RECEIVED. RFC 5961 section 4.2 has it challenged, for two reasons
// that do not hold here. A connection with data would be lost: there is none
// yet. And a peer that started anew answers the challenge with a reset, after
// which the connection can be opened: that reset would go through both NATs
// and close them.
//
// So the peer gets our SYN once more. If it started anew it is in SYN-SENT, and
// answers with a SYN-ACK that says its ISN and proves, by acknowledging ours,
// that it is the peer; nothing needs to be believed or remembered before that,
// so somebody who forges SYNs achieves nothing, however many he sends. To any
// peer in another state the SYN is a duplicate.
//
// Two ends that both took the other's old SYN for the new one would send each
// other SYNs for ever: therefore a SYN with the same new ISN that comes again
// gets a SYN-ACK. From then on that ISN is kept until it is disproved, for the
// ACK that may come now.
func (h *Handshake) newISN(now time.Time, s *Segment, out []Segment) []Segment {
	if h.hasOther && s.Seq == h.other.irs {
		h.n.Duplicates++
		h.answered = true
		h.swap()
		h.peer.update(s)
		out = h.sendSYNACK(now, out)
		h.swap()
		return out
	}
	h.n.Restarts++
	if !h.hasOther || !h.answered {
		h.other, h.hasOther, h.answered = h.peerOf(s), true, false
	}
	return h.sendSYN(now, out)
}

// attribute makes h.peer the one of the two ISNs that a segment which
// acknowledges our SYN continues. It returns false when both are possible: a
// segment in the middle of the window that lies in the other's window, too.
func (h *Handshake) attribute(s *Segment) bool {
	if s.Seq == h.peer.irs+1 {
		return true
	}
	first := h.answered && s.Seq == h.other.irs+1
	other := provesISN(&h.other, s, h.cfg.Window)
	if !first && other && provesISN(&h.peer, s, h.cfg.Window) {
		return false
	}
	if other {
		h.swap()
	}
	return true
}

// provesISN reports whether an acknowledgment of our SYN is one that the peer
// with this ISN may send, with data or without.
func provesISN(p *peer, s *Segment, window uint16) bool {
	return s.Seq.InWindow(p.irs+1, uint32(window))
}

// swap exchanges the two ISNs that the peer may have.
func (h *Handshake) swap() {
	h.peer, h.other = h.other, h.peer
	h.opened()
}

// adopt takes over what the peer's SYN or SYN-ACK says.
func (h *Handshake) adopt(s *Segment) {
	h.peer = h.peerOf(s)
	if h.hasOther && h.other.irs == h.peer.irs {
		h.hasOther = false
	}
	h.opened()
}

// peerOf is what a SYN or SYN-ACK says about the peer.
func (h *Handshake) peerOf(s *Segment) peer {
	o := &s.Options
	p := peer{
		irs:     s.Seq,
		mss:     o.MSS,
		window:  s.Window,
		scaling: o.HasWScale && !h.cfg.NoWScale,
		sack:    o.SACKPermitted && !h.cfg.NoSACK,
		stamps:  o.HasTimestamps && !h.cfg.NoTimestamps,
	}
	if p.mss == 0 {
		p.mss = absentMSS4
		if h.cfg.Remote.Addr().Is6() {
			p.mss = absentMSS6
		}
	}
	if p.scaling {
		p.sndScale = min(o.WScale, maxWScale) // RFC 7323 section 2.3
	}
	if p.stamps {
		p.tsRecent = o.TSVal
	}
	return p
}

// opened sets what begins with the peer's SYN.
func (h *Handshake) opened() {
	h.rcv.open(h.peer.irs, h.cfg.Window)
	h.sndWl1 = h.peer.irs
	h.sndWnd = uint32(h.peer.window)
	h.maxWnd = h.sndWnd
}

// update is RFC 7323 section 4.3, for a segment that does not begin after what
// we acknowledged last.
func (p *peer) update(s *Segment) {
	if p.stamps && s.Options.HasTimestamps && int32(s.Options.TSVal-p.tsRecent) >= 0 {
		p.tsRecent = s.Options.TSVal
	}
}

// tooOld is PAWS (RFC 7323 section 5.3 R1). A segment without timestamps passes
// although both ends agreed on them: RFC 7323 section 3.2 would have it
// dropped, but Linux, to which the flow goes next, takes it.
func (h *Handshake) tooOld(s *Segment) bool {
	return h.peer.stamps && s.Options.HasTimestamps && int32(s.Options.TSVal-h.peer.tsRecent) < 0
}

// establish enters ESTABLISHED with a segment that acknowledges our SYN, and
// answers it: with the third segment of an ordinary open; in a simultaneous one
// with an ACK that is superfluous when both SYN-ACKs came through, but lets a
// peer finish who lost ours, or dropped it (Linux before commit 23e89e8ee7be).
func (h *Handshake) establish(now time.Time, s *Segment, out []Segment) []Segment {
	h.state = Established
	h.sndUna = h.sndNxt
	h.hasOther, h.resend = false, false
	h.peer.update(s)
	h.sndWl1 = s.Seq
	h.sndWnd = uint32(s.Window)
	if s.Flags&SYN == 0 {
		h.sndWnd <<= h.peer.sndScale
		h.take(s)
	}
	h.maxWnd = max(h.maxWnd, h.sndWnd)
	return h.sendACK(now, out)
}

// take keeps the segment's data and reports whether it has to be acknowledged.
func (h *Handshake) take(s *Segment) bool {
	ack, news := h.rcv.take(s)
	if ack && !news {
		h.n.Duplicates++
	}
	h.n.DataBytes = len(h.rcv.inOrder())
	return ack
}

// inEstablished is RFC 9293 section 3.10.7.4 for ESTABLISHED, with the changes
// of RFC 5961.
func (h *Handshake) inEstablished(now time.Time, s *Segment, out []Segment) []Segment {
	f := s.Flags
	switch {
	case f&RST != 0:
		// RFC 5961 section 3.2
		if s.Seq == h.rcv.nxt {
			h.fail(fmt.Errorf("%w in %v", ErrPeerClosed, h.state))
			return out
		}
		h.n.RSTsIgnored++
		if h.rcv.acceptable(s) {
			return h.challenge(now, out)
		}
		return out
	case f&SYN != 0:
		if s.Seq == h.peer.irs {
			// The peer has not seen our ACK. It gets one whatever the limit.
			h.n.Duplicates++
			return h.sendACK(now, out)
		}
		h.n.Dropped++
		return h.challenge(now, out) // RFC 5961 section 4.2
	case h.tooOld(s) || !h.rcv.acceptable(s):
		h.n.Dropped++
		return h.answer(now, s, out)
	case f&ACK == 0:
		h.n.Dropped++
		return out
	case !h.acksSYN(s):
		// RFC 5961 section 5.2 allows acknowledgments as old as the largest
		// window. Ours would be from before this connection.
		h.n.Dropped++
		return h.challenge(now, out)
	}
	// SEG.SEQ =< Last.ACK.sent: RCV.NXT is acknowledged whenever it moves.
	if s.Seq.LessEq(h.rcv.nxt) {
		h.peer.update(s)
	}
	// SND.WL1 < SEG.SEQ, or the same and SND.WL2 =< SEG.ACK, which always holds.
	if h.sndWl1.LessEq(s.Seq) {
		h.sndWl1 = s.Seq
		h.sndWnd = uint32(s.Window) << h.peer.sndScale
		h.maxWnd = max(h.maxWnd, h.sndWnd)
	}
	if s.Len() == 0 {
		h.n.ChallengesSeen++
		return out
	}
	if h.take(s) {
		return h.sendACK(now, out)
	}
	return out
}

// answer tells a peer whose segment was not acceptable where we stand (RFC 9293
// section 3.10.7.4). Data and FIN are always answered; empty segments within a
// limit, because two ends that disagree would answer each other for ever.
func (h *Handshake) answer(now time.Time, s *Segment, out []Segment) []Segment {
	if s.Len() == 0 {
		return h.challenge(now, out)
	}
	return h.sendACK(now, out)
}

// challenge sends a challenge ACK, unless there were too many (RFC 5961 section 7).
func (h *Handshake) challenge(now time.Time, out []Segment) []Segment {
	if now.Sub(h.challengesFrom).Abs() >= challengeEvery {
		h.challengesFrom, h.challenges = now, 0
	}
	if h.challenges >= challengeBurst {
		return out
	}
	h.challenges++
	h.n.ChallengesSent++
	return h.sendACK(now, out)
}
