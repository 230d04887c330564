package rawtcp

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

// stockConfig says which TCP a stockTCP is.
type stockConfig struct {
	Local, Remote netip.AddrPort
	ISN           Seq
	MSS           uint16 // 0 = 1460
	WScale        uint8  // 0 = 7
	Window        uint16 // in SYN and SYN-ACK; 0 = 64240
	NoTimestamps  bool
	NoSACK        bool
	NoWScale      bool
	TSBase        uint32

	// Listen makes it a listening socket for the one flow, otherwise it is one
	// that calls connect().
	Listen bool
	// Before2024: without commit 23e89e8ee7be ("tcp: Don't drop SYN+ACK for
	// simultaneous connect()"): the crossed SYN-ACK is challenged and dropped.
	Before2024 bool
	// Send is written to the socket as soon as it is connected.
	Send []byte
}

// Given by Linux.
const (
	stockInitRTO      = time.Second            // TCP_TIMEOUT_INIT
	stockMinRTO       = 200 * time.Millisecond // TCP_RTO_MIN
	stockLinear       = 4                      // net.ipv4.tcp_syn_linear_timeouts
	stockSYNRetries   = 6                      // net.ipv4.tcp_syn_retries
	stockRateLimit    = 500 * time.Millisecond // net.ipv4.tcp_invalid_ratelimit
	stockQuickSYN     = 2 * time.Millisecond   // TCP_TIMEOUT_MIN at HZ=1000
	stockInitialBurst = 10                     // TCP_INIT_CWND, segments
)

// stockTCP models what a Linux kernel socket does from connect() or listen()
// until its first data is delivered, as far as a peer can tell. Names of kernel
// functions stand where the model follows them. It is written from RFC 9293 and
// observed behaviour, takes segments and times like a Handshake, and is a good
// deal simpler than either: data is sent in one window and gone back to the
// first unacknowledged byte on a timeout; received data is taken in order only;
// there is no FIN.
type stockTCP struct {
	cfg   stockConfig
	state State
	err   error // what SO_ERROR would say

	start      time.Time
	rto        time.Duration
	rtoAt      time.Time // zero: not running
	retries    int
	challenged time.Time // last_oow_ack_time; zero: never

	sndUna, sndNxt Seq
	sndWnd         uint32
	sndScale       uint8
	scaling, sack  bool
	stamps         bool
	mss            uint16

	irs, rcvNxt Seq
	tsRecent    uint32
	received    []byte
}

func newStockTCP(cfg stockConfig) *stockTCP {
	set(&cfg.MSS, 1460)
	set(&cfg.WScale, 7)
	set(&cfg.Window, 64240)
	return &stockTCP{cfg: cfg, sndUna: cfg.ISN, sndNxt: cfg.ISN}
}

func (t *stockTCP) State() State { return t.state }
func (t *stockTCP) Err() error   { return t.err }

// Start is connect() (tcp_v4_connect, tcp_connect), or listen().
func (t *stockTCP) Start(now time.Time, out []Segment) []Segment {
	t.start = now
	if t.cfg.Listen {
		return out
	}
	t.state = SynSent
	t.sndNxt = t.cfg.ISN + 1
	t.rto = stockInitRTO
	t.rtoAt = now.Add(t.rto)
	return append(out, t.syn(now))
}

func (t *stockTCP) Deadline() (time.Time, bool) { return t.rtoAt, !t.rtoAt.IsZero() }

// Tick is tcp_retransmit_timer.
func (t *stockTCP) Tick(now time.Time, out []Segment) []Segment {
	if t.rtoAt.IsZero() || now.Before(t.rtoAt) {
		return out
	}
	t.retries++
	switch t.state {
	case SynSent, SynReceived:
		if t.retries > stockSYNRetries+stockLinear {
			t.die(syscall.ETIMEDOUT)
			return out
		}
		if t.retries > stockLinear || t.state == SynReceived {
			t.rto *= 2
		}
		t.rtoAt = now.Add(t.rto)
		if t.state == SynReceived {
			return append(out, t.synACK(now))
		}
		return append(out, t.syn(now))
	}
	t.rto *= 2
	t.sndNxt = t.sndUna
	return t.push(now, out)
}

// ReceiveICMP is tcp_v4_err: before ESTABLISHED an error ends the attempt.
func (t *stockTCP) ReceiveICMP(now time.Time, e *ICMPError, out []Segment) []Segment {
	errno := e.Errno()
	if e.Seq.InWindow(t.sndUna, uint32(t.sndNxt-t.sndUna)) && (t.state == SynSent || t.state == SynReceived) && errno != nil {
		t.die(errno)
	}
	return out
}

func (t *stockTCP) die(err error) {
	t.state, t.err, t.rtoAt = Failed, err, time.Time{}
}

// Receive is tcp_v4_rcv and tcp_rcv_state_process.
func (t *stockTCP) Receive(now time.Time, s *Segment, out []Segment) []Segment {
	if s.Src != t.cfg.Remote || s.Dst != t.cfg.Local {
		return out
	}
	switch t.state {
	case Closed:
		if t.cfg.Listen && s.Flags&(SYN|ACK|RST) == SYN {
			return t.accept(now, s, out)
		}
		fallthrough
	case Failed: // tcp_v4_send_reset
		if s.Flags&RST != 0 {
			return out
		}
		return append(out, resetFor(s))
	case SynSent:
		return t.synSent(now, s, out)
	}
	if out, ok := t.validate(now, s, out); !ok {
		return out
	}
	if s.Flags&ACK == 0 {
		return out
	}
	// tcp_ack
	if s.Ack.Less(t.sndUna) && t.state != SynReceived {
		return out
	}
	if t.sndNxt.Less(s.Ack) || t.state == SynReceived && s.Ack != t.sndNxt {
		if t.state == SynReceived {
			return append(out, resetFor(s))
		}
		return t.challenge(now, out)
	}
	if t.stamps && s.Options.HasTimestamps && s.Seq.LessEq(t.rcvNxt) {
		t.tsRecent = s.Options.TSVal
	}
	t.sndWnd = uint32(s.Window)
	if s.Flags&SYN == 0 {
		t.sndWnd <<= t.sndScale
	}
	progress := t.sndUna.Less(s.Ack)
	t.sndUna = s.Ack
	if t.sndNxt.Less(t.sndUna) {
		t.sndNxt = t.sndUna
	}
	if t.state == SynReceived {
		t.state = Established
		if s.Flags&SYN != 0 {
			// Commit 23e89e8ee7be: "an unnecessary ACK is no longer sent".
			return t.established(now, out)
		}
		out = t.established(now, out)
	} else if progress {
		t.rto = stockMinRTO
		t.arm(now)
		out = t.push(now, out)
	}
	return t.data(now, s, out)
}

// accept is a listening socket (tcp_conn_request).
func (t *stockTCP) accept(now time.Time, s *Segment, out []Segment) []Segment {
	t.state = SynReceived
	t.sndNxt = t.cfg.ISN + 1
	t.options(s)
	t.rto = stockInitRTO
	t.rtoAt = now.Add(t.rto)
	return append(out, t.synACK(now))
}

// synSent is tcp_rcv_synsent_state_process.
func (t *stockTCP) synSent(now time.Time, s *Segment, out []Segment) []Segment {
	f := s.Flags
	if f&ACK != 0 {
		if s.Ack != t.sndNxt {
			if t.retries == 0 {
				t.rtoAt = now.Add(stockQuickSYN)
			}
			if f&RST != 0 {
				return out
			}
			return append(out, resetFor(s))
		}
		if s.Options.HasTimestamps && s.Options.TSEcr != 0 && !t.cfg.NoTimestamps &&
			(int32(s.Options.TSEcr-t.cfg.TSBase) < 0 || int32(t.tsval(now)-s.Options.TSEcr) < 0) {
			return append(out, resetFor(s)) // PAWSActiveRejected
		}
		if f&RST != 0 {
			t.die(syscall.ECONNREFUSED)
			return out
		}
		if f&SYN == 0 {
			return out
		}
		t.options(s)
		t.sndUna = s.Ack
		t.state = Established
		out = append(out, t.ack(now))
		return t.established(now, out)
	}
	if f&RST != 0 || f&SYN == 0 {
		return out
	}
	// "We see SYN without ACK. It is attempt of simultaneous connect with
	// crossed SYNs." The timer of the SYN goes on for the SYN-ACK.
	t.options(s)
	t.state = SynReceived
	return append(out, t.synACK(now))
}

// validate is tcp_validate_incoming; false means that the segment goes no
// further.
func (t *stockTCP) validate(now time.Time, s *Segment, out []Segment) ([]Segment, bool) {
	f := s.Flags
	listening := t.cfg.Listen && t.state == SynReceived // a request socket: tcp_check_req
	if listening && f&(SYN|ACK|RST) == SYN && s.Seq == t.irs {
		return append(out, t.synACK(now)), false // inet_rtx_syn_ack
	}
	if t.stamps && s.Options.HasTimestamps && int32(s.Options.TSVal-t.tsRecent) < 0 && f&RST == 0 {
		if f&SYN != 0 {
			return t.challenge(now, out), false
		}
		return t.duplicateACK(now, s, out), false
	}
	// tcp_sequence
	if s.End().Less(t.rcvNxt) || t.rcvNxt.Add(65535).Less(s.Seq) {
		switch {
		case f&RST != 0:
			return out, false
		case f&SYN != 0:
			return t.challenge(now, out), false
		}
		return t.duplicateACK(now, s, out), false
	}
	switch {
	case f&RST != 0:
		if s.Seq != t.rcvNxt {
			return t.challenge(now, out), false
		}
		t.die(syscall.ECONNRESET)
		return out, false
	case f&SYN != 0:
		if t.state == SynReceived && !t.cfg.Listen && !t.cfg.Before2024 &&
			f&ACK != 0 && s.Len() == 1 && s.Seq+1 == t.rcvNxt && s.Ack == t.sndNxt {
			return out, true
		}
		return t.challenge(now, out), false
	}
	return out, true
}

// data is tcp_data_queue without the out-of-order queue.
func (t *stockTCP) data(now time.Time, s *Segment, out []Segment) []Segment {
	if len(s.Payload) == 0 || t.state != Established {
		return out
	}
	if skip := int(t.rcvNxt.Sub(s.Seq)); skip >= 0 && skip < len(s.Payload) {
		t.received = append(t.received, s.Payload[skip:]...)
		t.rcvNxt = s.Seq.Add(len(s.Payload))
	}
	return append(out, t.ack(now))
}

// established stops the timer of the SYN and writes what there is to send.
func (t *stockTCP) established(now time.Time, out []Segment) []Segment {
	t.retries = 0
	t.rto = stockMinRTO
	t.rtoAt = time.Time{}
	return t.push(now, out)
}

// push is tcp_write_xmit.
func (t *stockTCP) push(now time.Time, out []Segment) []Segment {
	first := t.cfg.ISN + 1
	mss := int(t.mss)
	if t.stamps {
		mss -= 12
	}
	for range stockInitialBurst {
		from := int(t.sndNxt.Sub(first))
		flight := int(t.sndNxt.Sub(t.sndUna))
		n := min(mss, len(t.cfg.Send)-from, int(t.sndWnd)-flight)
		if n <= 0 || flight >= stockInitialBurst*mss {
			break
		}
		s := t.ack(now)
		s.Flags |= PSH
		s.Seq = t.sndNxt
		s.Payload = t.cfg.Send[from : from+n]
		t.sndNxt = t.sndNxt.Add(n)
		out = append(out, s)
	}
	t.arm(now)
	return out
}

// arm is tcp_rearm_rto.
func (t *stockTCP) arm(now time.Time) {
	t.rtoAt = time.Time{}
	if t.sndUna != t.sndNxt {
		t.rtoAt = now.Add(t.rto)
	}
}

// delivered reports whether all that was to be sent is acknowledged.
func (t *stockTCP) delivered() bool {
	return t.sndUna == t.cfg.ISN.Add(1+len(t.cfg.Send))
}

// options takes over the peer's SYN or SYN-ACK.
func (t *stockTCP) options(s *Segment) {
	o := &s.Options
	t.irs, t.rcvNxt = s.Seq, s.Seq+1
	t.sndWnd = uint32(s.Window)
	t.mss = min(t.cfg.MSS, max(o.MSS, absentMSS4))
	t.sack = o.SACKPermitted && !t.cfg.NoSACK
	t.stamps = o.HasTimestamps && !t.cfg.NoTimestamps
	t.scaling = o.HasWScale && !t.cfg.NoWScale
	t.sndScale = 0
	if t.scaling {
		t.sndScale = min(o.WScale, maxWScale)
	}
	if t.stamps {
		t.tsRecent = o.TSVal
	}
}

// syn is what tcp_syn_options writes: always what this socket can do.
func (t *stockTCP) syn(now time.Time) Segment {
	s := t.segment(SYN, t.cfg.ISN)
	s.Window = t.cfg.Window
	s.Options = Options{MSS: t.cfg.MSS, SACKPermitted: !t.cfg.NoSACK, HasWScale: !t.cfg.NoWScale, HasTimestamps: !t.cfg.NoTimestamps}
	if s.Options.HasWScale {
		s.Options.WScale = t.cfg.WScale
	}
	if s.Options.HasTimestamps {
		s.Options.TSVal, s.Options.TSEcr = t.tsval(now), t.tsRecent
	}
	return s
}

// synACK is the SYN with an acknowledgment (tcp_send_synack); a listening
// socket leaves out what the peer did not offer (tcp_synack_options).
func (t *stockTCP) synACK(now time.Time) Segment {
	s := t.syn(now)
	s.Flags, s.Ack = SYN|ACK, t.rcvNxt
	if t.cfg.Listen {
		s.Options.SACKPermitted = t.sack
		if !t.scaling {
			s.Options.HasWScale, s.Options.WScale = false, 0
		}
		if !t.stamps {
			s.Options.HasTimestamps, s.Options.TSVal, s.Options.TSEcr = false, 0, 0
		}
	}
	return s
}

func (t *stockTCP) ack(now time.Time) Segment {
	s := t.segment(ACK, t.sndNxt)
	s.Ack = t.rcvNxt
	s.Window = t.cfg.Window
	if t.scaling {
		s.Window = t.cfg.Window >> t.cfg.WScale
	}
	if t.stamps {
		s.Options = Options{HasTimestamps: true, TSVal: t.tsval(now), TSEcr: t.tsRecent}
	}
	return s
}

// challenge is tcp_send_challenge_ack.
func (t *stockTCP) challenge(now time.Time, out []Segment) []Segment {
	if !t.challenged.IsZero() && now.Sub(t.challenged) < stockRateLimit {
		return out
	}
	t.challenged = now
	return append(out, t.ack(now))
}

// duplicateACK is tcp_send_dupack behind tcp_oow_rate_limited: data is always
// answered.
func (t *stockTCP) duplicateACK(now time.Time, s *Segment, out []Segment) []Segment {
	if s.Len() > 0 {
		return append(out, t.ack(now))
	}
	return t.challenge(now, out)
}

func (t *stockTCP) segment(f Flags, seq Seq) Segment {
	return Segment{Src: t.cfg.Local, Dst: t.cfg.Remote, Flags: f, Seq: seq, DF: true}
}

func (t *stockTCP) tsval(now time.Time) uint32 {
	return t.cfg.TSBase + uint32(now.Sub(t.start)/time.Millisecond)
}

func (t *stockTCP) String() string {
	return fmt.Sprintf("stock TCP %v, %d of %d bytes acknowledged, %v", t.state, t.sndUna.Sub(t.cfg.ISN+1), len(t.cfg.Send), t.err)
}
