package sim

import (
	"net/netip"
	"syscall"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// Given by Linux.
const (
	stockRTO        = time.Second            // TCP_TIMEOUT_INIT
	stockLinear     = 4                      // net.ipv4.tcp_syn_linear_timeouts
	stockSYNRetries = 6                      // net.ipv4.tcp_syn_retries
	stockRateLimit  = 500 * time.Millisecond // net.ipv4.tcp_invalid_ratelimit
	stockQuickSYN   = 2 * time.Millisecond   // TCP_TIMEOUT_MIN at HZ=1000
	stockWindow     = 64240
	stockWScale     = 7
	stockMSS4       = 1460
	stockMSS6       = 1440
)

// stock models what a Linux kernel socket does from connect() until it is
// established, as far as a peer can tell. Names of kernel functions stand where
// the model follows them. It is written from RFC 9293 and observed behaviour,
// and takes segments and times like a rawtcp.Handshake. It sends no data and
// no FIN.
type stock struct {
	local, remote netip.AddrPort
	isn           rawtcp.Seq
	tsBase        uint32
	ttl           uint8 // of every segment; 0: 64
	old           bool  // without commit 23e89e8ee7be ("tcp: Don't drop SYN+ACK for simultaneous connect()")

	state        rawtcp.State
	err          error // what SO_ERROR would say
	simultaneous bool

	start      time.Time
	rto        time.Duration
	rtoAt      time.Time // zero: not running
	retries    int
	challenged time.Time // last_oow_ack_time; zero: never

	sndUna, sndNxt rawtcp.Seq
	rcvNxt         rawtcp.Seq
	scaling        bool
	stamps         bool
	tsRecent       uint32

	syns, retransmissions int
}

func (t *stock) State() rawtcp.State         { return t.state }
func (t *stock) Err() error                  { return t.err }
func (t *stock) Simultaneous() bool          { return t.simultaneous }
func (t *stock) Deadline() (time.Time, bool) { return t.rtoAt, !t.rtoAt.IsZero() }

// Start is connect() (tcp_v4_connect, tcp_connect).
func (t *stock) Start(now time.Time, out []rawtcp.Segment) []rawtcp.Segment {
	t.start = now
	t.state = rawtcp.SynSent
	t.sndUna, t.sndNxt = t.isn, t.isn+1
	t.rto = stockRTO
	t.rtoAt = now.Add(t.rto)
	return append(out, t.syn(now))
}

// Tick is tcp_retransmit_timer.
func (t *stock) Tick(now time.Time, out []rawtcp.Segment) []rawtcp.Segment {
	if t.rtoAt.IsZero() || now.Before(t.rtoAt) {
		return out
	}
	t.retries++
	if t.retries > stockSYNRetries+stockLinear {
		t.die(syscall.ETIMEDOUT)
		return out
	}
	t.retransmissions++
	if t.retries > stockLinear || t.state == rawtcp.SynReceived {
		t.rto *= 2
	}
	t.rtoAt = now.Add(t.rto)
	if t.state == rawtcp.SynReceived {
		return append(out, t.synACK(now))
	}
	return append(out, t.syn(now))
}

// ReceiveICMP is tcp_v4_err: before ESTABLISHED an error ends the attempt.
func (t *stock) ReceiveICMP(_ time.Time, e *rawtcp.ICMPError, out []rawtcp.Segment) []rawtcp.Segment {
	opening := t.state == rawtcp.SynSent || t.state == rawtcp.SynReceived
	if !opening || e.Src != t.local || e.Dst != t.remote || !e.Seq.InWindow(t.sndUna, uint32(t.sndNxt-t.sndUna)) {
		return out
	}
	if errno := e.Errno(); errno != nil {
		t.die(errno)
	}
	return out
}

func (t *stock) die(err error) {
	t.state, t.err, t.rtoAt = rawtcp.Failed, err, time.Time{}
}

// Receive is tcp_v4_rcv and tcp_rcv_state_process.
func (t *stock) Receive(now time.Time, s *rawtcp.Segment, out []rawtcp.Segment) []rawtcp.Segment {
	switch {
	case s.Src != t.remote || s.Dst != t.local, t.state == rawtcp.Closed, t.state == rawtcp.Failed:
		return refuse(s, out)
	case t.state == rawtcp.SynSent:
		return t.synSent(now, s, out)
	}
	out, ok := t.validate(now, s, out)
	if !ok || s.Flags&rawtcp.ACK == 0 {
		return out
	}
	// tcp_ack
	switch {
	case t.state == rawtcp.SynReceived && s.Ack != t.sndNxt:
		return refuse(s, out)
	case s.Ack.Less(t.sndUna):
		return out
	case t.sndNxt.Less(s.Ack):
		return t.challenge(now, out)
	}
	if t.stamps && s.Options.HasTimestamps && s.Seq.LessEq(t.rcvNxt) {
		t.tsRecent = s.Options.TSVal
	}
	t.sndUna = s.Ack
	if t.state == rawtcp.SynReceived {
		t.established() // and commit 23e89e8ee7be: "an unnecessary ACK is no longer sent"
	}
	return out
}

// refuse is tcp_v4_send_reset: the answer of a host without a socket for the
// segment.
func refuse(s *rawtcp.Segment, out []rawtcp.Segment) []rawtcp.Segment {
	if s.Flags&rawtcp.RST != 0 {
		return out
	}
	r := rawtcp.Segment{Src: s.Dst, Dst: s.Src, DF: true, Flags: rawtcp.RST | rawtcp.ACK, Ack: s.End()}
	if s.Flags&rawtcp.ACK != 0 {
		r.Flags, r.Seq, r.Ack = rawtcp.RST, s.Ack, 0
	}
	return append(out, r)
}

// synSent is tcp_rcv_synsent_state_process.
func (t *stock) synSent(now time.Time, s *rawtcp.Segment, out []rawtcp.Segment) []rawtcp.Segment {
	f := s.Flags
	if f&rawtcp.ACK != 0 {
		if s.Ack != t.sndNxt {
			if t.retries == 0 {
				t.rtoAt = now.Add(stockQuickSYN)
			}
			return refuse(s, out)
		}
		if s.Options.HasTimestamps && s.Options.TSEcr != 0 &&
			(int32(s.Options.TSEcr-t.tsBase) < 0 || int32(t.tsval(now)-s.Options.TSEcr) < 0) {
			return refuse(s, out) // PAWSActiveRejected
		}
		if f&rawtcp.RST != 0 {
			t.die(syscall.ECONNREFUSED)
			return out
		}
		if f&rawtcp.SYN == 0 {
			return out
		}
		t.options(s)
		t.sndUna = s.Ack
		t.established()
		return append(out, t.ack(now))
	}
	if f&rawtcp.RST != 0 || f&rawtcp.SYN == 0 {
		return out
	}
	// "We see SYN without ACK. It is attempt of simultaneous connect with
	// crossed SYNs." The timer of the SYN goes on for the SYN-ACK.
	t.options(s)
	t.state, t.simultaneous = rawtcp.SynReceived, true
	return append(out, t.synACK(now))
}

// validate is tcp_validate_incoming; false means that the segment goes no
// further.
func (t *stock) validate(now time.Time, s *rawtcp.Segment, out []rawtcp.Segment) ([]rawtcp.Segment, bool) {
	f := s.Flags
	if t.stamps && s.Options.HasTimestamps && int32(s.Options.TSVal-t.tsRecent) < 0 && f&rawtcp.RST == 0 {
		return t.challenge(now, out), false // or tcp_send_dupack, the same ACK
	}
	// tcp_sequence
	if s.End().Less(t.rcvNxt) || t.rcvNxt.Add(stockWindow).Less(s.Seq) {
		if f&rawtcp.RST != 0 {
			return out, false
		}
		return t.challenge(now, out), false
	}
	switch {
	case f&rawtcp.RST != 0:
		if s.Seq != t.rcvNxt {
			return t.challenge(now, out), false
		}
		t.die(syscall.ECONNRESET)
		return out, false
	case f&rawtcp.SYN != 0:
		if t.state == rawtcp.SynReceived && !t.old &&
			f&rawtcp.ACK != 0 && s.Len() == 1 && s.Seq+1 == t.rcvNxt && s.Ack == t.sndNxt {
			return out, true
		}
		return t.challenge(now, out), false
	}
	return out, true
}

func (t *stock) established() {
	t.state, t.rtoAt = rawtcp.Established, time.Time{}
}

// options takes over the peer's SYN or SYN-ACK.
func (t *stock) options(s *rawtcp.Segment) {
	t.rcvNxt = s.Seq + 1
	t.stamps = s.Options.HasTimestamps
	t.scaling = s.Options.HasWScale
	if t.stamps {
		t.tsRecent = s.Options.TSVal
	}
}

// syn is what tcp_syn_options writes: always what this socket can do.
func (t *stock) syn(now time.Time) rawtcp.Segment {
	s := t.segment(rawtcp.SYN, t.isn)
	s.Window = stockWindow
	s.Options = rawtcp.Options{
		MSS: stockMSS4, SACKPermitted: true, HasWScale: true, WScale: stockWScale,
		HasTimestamps: true, TSVal: t.tsval(now), TSEcr: t.tsRecent,
	}
	if t.local.Addr().Is6() {
		s.Options.MSS = stockMSS6
	}
	t.syns++
	return s
}

// synACK is the SYN with an acknowledgment (tcp_send_synack).
func (t *stock) synACK(now time.Time) rawtcp.Segment {
	s := t.syn(now)
	t.syns--
	s.Flags, s.Ack = rawtcp.SYN|rawtcp.ACK, t.rcvNxt
	return s
}

func (t *stock) ack(now time.Time) rawtcp.Segment {
	s := t.segment(rawtcp.ACK, t.sndNxt)
	s.Ack = t.rcvNxt
	s.Window = stockWindow
	if t.scaling {
		s.Window >>= stockWScale
	}
	if t.stamps {
		s.Options = rawtcp.Options{HasTimestamps: true, TSVal: t.tsval(now), TSEcr: t.tsRecent}
	}
	return s
}

// challenge is tcp_send_challenge_ack.
func (t *stock) challenge(now time.Time, out []rawtcp.Segment) []rawtcp.Segment {
	if !t.challenged.IsZero() && now.Sub(t.challenged) < stockRateLimit {
		return out
	}
	t.challenged = now
	return append(out, t.ack(now))
}

func (t *stock) segment(f rawtcp.Flags, seq rawtcp.Seq) rawtcp.Segment {
	return rawtcp.Segment{Src: t.local, Dst: t.remote, TTL: t.ttl, Flags: f, Seq: seq, DF: true}
}

// tsval is the timestamp clock, 1 per millisecond.
func (t *stock) tsval(now time.Time) uint32 {
	return t.tsBase + uint32(now.Sub(t.start)/time.Millisecond)
}
