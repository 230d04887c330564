package rawtcp

import (
	"net/netip"
	"slices"
	"time"
)

// Transfer is everything that a kernel socket needs to continue a flow that a
// Handshake has opened (tcp(7) TCP_REPAIR; the kernel's names are given where
// they differ).
type Transfer struct {
	Local, Remote netip.AddrPort
	ISN, PeerISN  Seq

	SndNxt Seq // ISN+1: a Handshake sends no data (write_seq)
	SndUna Seq // SndNxt, or ISN when handed off before the peer acknowledged our SYN
	RcvNxt Seq // after Data

	PeerMSS uint16 // the largest segment to send, bytes; 536 or 1220 if the peer named none
	OurMSS  uint16 // as we offered it, bytes

	// What both ends offered (TCP_REPAIR_OPTIONS).
	WScaleOK             bool
	SndWScale, RcvWScale uint8 // the peer's shift and ours; 0 unless WScaleOK
	SACK, Timestamps     bool

	// TSVal is the timestamp to continue with at the time given to
	// Handshake.Transfer: not before any that was sent, 1 per millisecond, and
	// even, because bit 0 given to TCP_TIMESTAMP selects microseconds (Linux
	// 6.7, do_tcp_setsockopt).
	TSVal    uint32
	TSRecent uint32 // the peer's latest; 0 unless Timestamps

	// TCP_REPAIR_WINDOW, bytes, scaled as RFC 7323 section 2.2 says: the window
	// of a SYN or SYN-ACK never is, that of any other segment is.
	SndWl1         Seq    // the segment that SndWnd came with
	SndWnd, MaxWnd uint32 // how much the peer takes, and the most it ever took
	RcvWnd         uint32 // as we advertised it last
	RcvWup         Seq    // RcvNxt at that time

	// Data is the peer's payload that came before, in order and acknowledged:
	// it belongs in the receive queue.
	Data []byte
	// PeerFIN: the peer has finished sending, after Data or after more that is
	// missing. The FIN is not acknowledged, so it comes again.
	PeerFIN bool

	Simultaneous bool
}

// Transfer describes the flow as it stands at now. It is meant for a Handshake
// that is Ready; before, what only the peer could tell is zero. The caller owns
// Data.
func (h *Handshake) Transfer(now time.Time) Transfer {
	t := Transfer{
		Local: h.cfg.Local, Remote: h.cfg.Remote,
		ISN:    h.cfg.ISN,
		SndNxt: h.sndNxt, SndUna: h.sndUna,
		OurMSS:       h.cfg.MSS,
		Simultaneous: h.simultaneous,
	}
	v := h.timestamp(now)
	t.TSVal = v + v&1
	if h.state != SynReceived && h.state != Established {
		return t
	}
	t.PeerISN, t.RcvNxt = h.peer.irs, h.rcv.nxt
	t.PeerMSS = h.peer.mss
	t.WScaleOK, t.SndWScale, t.RcvWScale = h.peer.scaling, h.peer.sndScale, h.rcvScale()
	t.SACK, t.Timestamps, t.TSRecent = h.peer.sack, h.peer.stamps, h.peer.tsRecent
	t.SndWl1, t.SndWnd, t.MaxWnd = h.sndWl1, h.sndWnd, h.maxWnd
	t.RcvWnd, t.RcvWup = h.rcv.wnd, h.rcv.wup
	t.Data = slices.Clone(h.rcv.inOrder())
	t.PeerFIN = h.rcv.fin
	return t
}
