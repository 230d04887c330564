package rawtcp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Why a Handshake failed. Err wraps one of these with the details.
var (
	// ErrRefused: a reset came before the connection was established, and the
	// policy was PolicyFail.
	ErrRefused = errors.New("connection refused")
	// ErrUnreachable: an ICMP error came before the connection was
	// established, and the policy was PolicyFail.
	ErrUnreachable = errors.New("peer unreachable")
	// ErrTimeout: not established within HandshakeConfig.Timeout.
	ErrTimeout = errors.New("handshake timed out")
	// ErrPeerClosed: the peer reset the connection after it was established.
	ErrPeerClosed = errors.New("connection reset by peer")
	// ErrAborted: the caller gave up with Abort.
	ErrAborted = errors.New("handshake aborted")
)

// Given by the specifications.
const (
	initialRTO = time.Second // RFC 6298 section 2.1

	// What a host that offers no MSS can take, in bytes (RFC 9293 section 3.7.1).
	absentMSS4 = 536
	absentMSS6 = 1220

	// RFC 5961 section 7 leaves the numbers to us and suggests these.
	challengeBurst = 10
	challengeEvery = 5 * time.Second
)

// Chosen by us.
const (
	defaultMaxRTO  = 60 * time.Second // RFC 6298 section 2.4: "at least 60 seconds"
	defaultTimeout = 10 * time.Second // as long as a person waits for a punch
	defaultWindow  = 64240            // 44 segments of 1,460 bytes: what Linux sends in a SYN

	defaultMSS4 = 1460 // Ethernet's 1,500 bytes less 40 (RFC 6691)
	defaultMSS6 = 1440 // ... less 60
)

// DefaultRetries is HandshakeConfig.Retries where that is 0. Chosen by us: with
// NATs that answer RST it is enough for hosts that are five times farther from
// their NATs than these are from each other, in 99.5 of 100 missed windows
// (TestResetNATs); with 8 every second one would fail.
const DefaultRetries = 64

// Policy is what a Handshake does about bad news: a reset or an ICMP error
// that is acceptable, before the connection is established.
type Policy uint8

const (
	// PolicyRetry notes the news and sends the SYN again, at most Retries
	// times. It is for hole punching, where the news most often comes from the
	// peer's NAT, a moment before the peer's own SYN opens it.
	PolicyRetry Policy = iota
	// PolicyFail gives up, as RFC 9293 and every kernel do.
	PolicyFail
	// PolicyIgnore only counts the news; the retransmission timer goes on.
	PolicyIgnore
)

var policyNames = [...]string{"retry", "fail", "ignore"}

func (p Policy) String() string {
	if int(p) < len(policyNames) {
		return policyNames[p]
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// State is where a Handshake stands. The zero value is Closed.
type State uint8

const (
	Closed      State = iota // not started, or aborted
	SynSent                  // our SYN is out
	SynReceived              // the peer's SYN came while ours was out; our SYN-ACK is out
	Established              // the peer has acknowledged our SYN and we have its SYN
	Failed                   // see Err
)

var stateNames = [...]string{"CLOSED", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FAILED"}

// String returns the state in the words of RFC 9293 section 3.3.2, and
// "FAILED" for Failed.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// HandshakeConfig is what a Handshake offers and how stubborn it is. Local,
// Remote and ISN must be set; every other zero field means its default.
type HandshakeConfig struct {
	Local, Remote netip.AddrPort // both IPv4 or both IPv6, ports not 0

	// ISN is our initial sequence number. 0, and the number before it, are
	// refused: a kernel that takes over the flow reads a sequence number of 0
	// as 'choose one' (tcp_v4_connect: write_seq). ISNGenerator makes none.
	ISN Seq

	MSS                            uint16 // offered, bytes; 0 = 1460 (IPv4) or 1440 (IPv6)
	WScale                         uint8  // window shift offered, at most 14 (RFC 7323 section 2.3); 0 is offered too
	NoWScale, NoTimestamps, NoSACK bool   // leave the option out
	Window                         uint16 // in SYN and SYN-ACK, bytes, never scaled; 0 = 64240. Also the most early data that is taken
	TSBase                         uint32 // TSval at the time of Start; it advances by 1 per millisecond
	TTL                            uint8  // of every segment; 0 = 64

	RTO     time.Duration // first retransmission, doubled each time; 0 = 1 s (RFC 6298 section 2.1)
	MaxRTO  time.Duration // 0 = 60 s
	Timeout time.Duration // from Start to ESTABLISHED; 0 = 10 s

	OnReset, OnICMP Policy
	// Retries is how many SYNs PolicyRetry may send because of bad news in the
	// whole life of the Handshake, the first at once, each later one within the
	// round trip that the refused SYN made. 0 = DefaultRetries; negative = none.
	// Retransmissions by timer are not counted: Timeout bounds them.
	Retries int

	// Early makes Ready true in SYN-RECEIVED already, right after our SYN-ACK.
	Early bool
}

// withDefaults checks the configuration and fills in what is zero.
func (c HandshakeConfig) withDefaults() (HandshakeConfig, error) {
	l, r := c.Local.Addr(), c.Remote.Addr()
	switch {
	case !c.Local.IsValid() || c.Local.Port() == 0:
		return c, fmt.Errorf("rawtcp: handshake: local endpoint %v: want an address and a port", c.Local)
	case !c.Remote.IsValid() || c.Remote.Port() == 0:
		return c, fmt.Errorf("rawtcp: handshake: remote endpoint %v: want an address and a port", c.Remote)
	case l.Is4In6() || r.Is4In6():
		return c, fmt.Errorf("rawtcp: handshake: %v and %v: want plain IPv4 addresses, not IPv4-mapped ones (netip.Addr.Unmap)", c.Local, c.Remote)
	case l.Is4() != r.Is4():
		return c, fmt.Errorf("rawtcp: handshake: %v and %v are of two address families", c.Local, c.Remote)
	case c.Local == c.Remote:
		return c, fmt.Errorf("rawtcp: handshake: local and remote endpoint are the same, %v", c.Local)
	case c.ISN == 0 || c.ISN+1 == 0:
		return c, fmt.Errorf("rawtcp: handshake: ISN %d: a kernel takes sequence number 0 for 'choose one'", c.ISN)
	case c.WScale > maxWScale:
		return c, fmt.Errorf("rawtcp: handshake: window shift %d, at most %d (RFC 7323 section 2.3)", c.WScale, maxWScale)
	case c.RTO < 0 || c.MaxRTO < 0 || c.Timeout < 0:
		return c, fmt.Errorf("rawtcp: handshake: negative time: RTO %v, MaxRTO %v, Timeout %v", c.RTO, c.MaxRTO, c.Timeout)
	case c.OnReset > PolicyIgnore || c.OnICMP > PolicyIgnore:
		return c, fmt.Errorf("rawtcp: handshake: no such policy: OnReset %v, OnICMP %v", c.OnReset, c.OnICMP)
	}
	set(&c.Window, defaultWindow)
	set(&c.RTO, initialRTO)
	set(&c.MaxRTO, max(defaultMaxRTO, c.RTO))
	set(&c.Timeout, defaultTimeout)
	set(&c.Retries, DefaultRetries)
	c.Retries = max(c.Retries, 0)
	if l.Is4() {
		set(&c.MSS, defaultMSS4)
	} else {
		set(&c.MSS, defaultMSS6)
	}
	return c, nil
}

func set[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Counters is what happened to a Handshake so far.
type Counters struct {
	SYNs, SYNACKs   int // sent, every copy counted
	Retransmissions int // times the retransmission timer went off
	Resends         int // SYNs sent because of a reset, an ICMP error or a stale ACK (PolicyRetry)
	RSTs            int // seen
	RSTsIgnored     int // of these, not acceptable (RFC 9293 section 3.10.7.3, RFC 5961 section 3.2)
	ICMPs           int // seen
	ICMPsIgnored    int // of these, not about a sequence number in flight (RFC 5927 section 4.1)
	ChallengesSent  int // RFC 5961
	ChallengesSeen  int // bare ACKs that brought nothing new, as a challenge does
	Restarts        int // times the peer came back with another ISN
	Duplicates      int // segments that we had already
	Dropped         int // segments of no use: another flow, wrong ACK, outside the window, too old (PAWS)
	DataBytes       int // early data taken in order, as in Transfer.Data
}

// Handshake is one end of a TCP connection from CLOSED to ESTABLISHED (RFC
// 9293 section 3.10), ordinary or simultaneous. It does no I/O, reads no clock
// and starts no goroutine: segments and times go in, segments to send and a
// deadline come out, and the same input gives the same output. What it
// establishes is handed to a kernel socket through Transfer.
//
// Every method that sends appends the segments to out and returns the longer
// slice, so that a caller who reuses it allocates nothing. Times must come from
// one clock; a step back holds the timers up but never makes TSval run back.
//
// # Where it leaves RFC 9293
//
// Under PolicyRetry, made for peers behind NATs, it differs from a kernel in
// these points. None lets a peer in that does not know our ISN.
//
//   - An acceptable reset or ICMP error does not end the attempt: see Retries.
//     From SYN-RECEIVED a reset leads back to SYN-SENT, but the peer's ISN is
//     remembered in case that the reset came from a NAT and the peer goes on.
//   - A SYN with another ISN in SYN-RECEIVED is a peer that started anew (park
//     and connect do so after a reset), not an intruder to be challenged: it
//     gets our SYN again. Its answer is a SYN-ACK that acknowledges our ISN,
//     and with that proof the new ISN counts. Forged SYNs change nothing.
//   - The retransmission timer sends the SYN before the SYN-ACK. If a reset, on
//     its way to us or to the peer, closed our NAT, only a SYN opens it again;
//     and if the SYN-ACK goes to a forged SYN, only the SYN is of use. To a
//     peer that has it, it is a duplicate.
//   - An acknowledgment of an earlier ISN of ours is not answered with a reset,
//     which would take down the NATs' mappings; the peer learns the new ISN
//     from our SYN. Only a peer that answers one SYN after the other with the
//     same ACK, because it believes to be connected, gets the reset, and the
//     SYN again at once, which counts as one of the Retries.
//
// Whatever the policy:
//
//   - A duplicate SYN in SYN-RECEIVED is answered with the SYN-ACK and not with
//     a challenge ACK, which a peer in SYN-SENT would drop.
//   - The crossed SYN-ACK is accepted and answered with an ACK. Linux before
//     mid-2024 (commit 23e89e8ee7be) drops the crossed SYN-ACK with a challenge
//     ACK, and this ACK is what lets it finish.
//   - Data on a SYN or SYN-ACK is left to be retransmitted, as on Linux. An
//     URG is ignored: urgent data is ordinary data.
//   - A FIN is noted (Transfer.PeerFIN) but not acknowledged, so that the peer
//     sends it again to the kernel socket.
//   - No SACK blocks are sent, because data out of order is forgotten at the
//     handoff.
//   - A timeout in SYN-RECEIVED sends a reset, since the peer may believe that
//     the connection stands.
type Handshake struct {
	cfg   HandshakeConfig
	state State
	err   error
	n     Counters

	start  time.Time
	expire time.Time // Start + Timeout

	rto      time.Duration
	rtoAt    time.Time // when to retransmit; SYN-SENT and SYN-RECEIVED only
	sentAt   time.Time // when the last SYN went out
	resendAt time.Time // when to send the SYN again after bad news, if resend
	resend   bool

	simultaneous bool

	sndUna, sndNxt Seq
	tsSent         uint32 // the latest TSval sent

	peer     peer // valid from SYN-RECEIVED on
	other    peer // another ISN that the peer may have; valid if hasOther
	hasOther bool
	answered bool // other got a SYN-ACK
	stale    staleMark

	sndWl1         Seq
	sndWnd, maxWnd uint32

	rcv receiver

	challenges     int // sent since challengesFrom
	challengesFrom time.Time
}

// staleMark is the latest ACK that acknowledged something we did not send.
type staleMark struct {
	seq, ack Seq
	syns     int // Counters.SYNs when it first came
}

// peer is what the other end's SYN said, and what follows for the connection.
type peer struct {
	irs      Seq
	mss      uint16
	window   uint16
	sndScale uint8 // how far its windows are to be shifted; 0 unless scaling
	scaling  bool  // both ends offered it
	sack     bool  // ...
	stamps   bool  // ...
	tsRecent uint32
}

// NewHandshake makes a Handshake in CLOSED. The error says which field of the
// configuration makes no sense.
func NewHandshake(cfg HandshakeConfig) (*Handshake, error) {
	h := new(Handshake)
	if err := h.Reset(cfg); err != nil {
		return nil, err
	}
	return h, nil
}

// Reset makes h as new with another configuration and reuses its memory. On an
// error, the same as NewHandshake gives, h is as it was.
func (h *Handshake) Reset(cfg HandshakeConfig) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	*h = Handshake{
		cfg:    cfg,
		sndUna: cfg.ISN,
		sndNxt: cfg.ISN,
		tsSent: cfg.TSBase,
		rcv:    h.rcv.recycled(),
	}
	return nil
}

// State returns where the handshake stands.
func (h *Handshake) State() State { return h.state }

// Err returns why the state is Failed, or Closed after Abort, and nil
// otherwise. It wraps ErrRefused, ErrUnreachable, ErrTimeout, ErrPeerClosed or
// ErrAborted.
func (h *Handshake) Err() error { return h.err }

// Simultaneous reports whether this is a simultaneous open: the peer's SYN,
// not its SYN-ACK, came while ours was out.
func (h *Handshake) Simultaneous() bool { return h.simultaneous }

// Ready reports whether the flow may be handed off now.
func (h *Handshake) Ready() bool {
	return h.state == Established || h.cfg.Early && h.state == SynReceived
}

// Counters returns what happened so far.
func (h *Handshake) Counters() Counters { return h.n }

// SYN returns the segment that Start will send, for callers who make the
// packet beforehand.
func (h *Handshake) SYN() Segment { return h.syn(h.cfg.TSBase) }

// Start sends the SYN. It does nothing but in CLOSED.
func (h *Handshake) Start(now time.Time, out []Segment) []Segment {
	if h.state != Closed || h.err != nil {
		return out
	}
	h.state = SynSent
	h.start = now
	h.expire = now.Add(h.cfg.Timeout)
	h.rto = min(h.cfg.RTO, h.cfg.MaxRTO)
	h.rtoAt = now.Add(h.rto)
	h.sndNxt = h.cfg.ISN + 1
	return h.sendSYN(now, out)
}

// Deadline returns when Tick must be called at the latest; false means that
// nothing is due.
func (h *Handshake) Deadline() (time.Time, bool) {
	if h.state != SynSent && h.state != SynReceived {
		return time.Time{}, false
	}
	at := h.expire
	if h.rtoAt.Before(at) {
		at = h.rtoAt
	}
	if h.resend && h.resendAt.Before(at) {
		at = h.resendAt
	}
	return at, true
}

// Tick does what is due: retransmissions, resends and the timeout. A call that
// comes early does nothing.
func (h *Handshake) Tick(now time.Time, out []Segment) []Segment {
	if h.state != SynSent && h.state != SynReceived {
		return out
	}
	if !now.Before(h.expire) {
		return h.timeout(out)
	}
	if h.resend && !now.Before(h.resendAt) {
		h.rtoAt = now.Add(h.rto)
		return h.sendSYN(now, out)
	}
	if now.Before(h.rtoAt) {
		return out
	}
	h.n.Retransmissions++
	h.rto = min(2*h.rto, h.cfg.MaxRTO) // RFC 6298 section 5.5
	h.rtoAt = now.Add(h.rto)
	if h.state == SynSent || h.cfg.OnReset == PolicyRetry {
		out = h.sendSYN(now, out)
	}
	if h.state == SynReceived {
		out = h.sendSYNACK(now, out)
	}
	return out
}

// Abort gives up. In SYN-RECEIVED and ESTABLISHED it sends a reset, in
// SYN-SENT nothing (RFC 9293 section 3.10.5). The state is Closed afterwards
// and Err wraps ErrAborted, unless it has failed before.
func (h *Handshake) Abort(now time.Time, out []Segment) []Segment {
	if h.state == SynReceived || h.state == Established {
		out = h.sendRST(h.sndNxt, out)
	}
	if h.state != Failed {
		h.err = fmt.Errorf("rawtcp: handshake with %v: %w in %v", h.cfg.Remote, ErrAborted, h.state)
		h.state = Closed
	}
	return out
}

func (h *Handshake) timeout(out []Segment) []Segment {
	if h.state == SynReceived {
		out = h.sendRST(h.sndNxt, out)
	}
	detail := "nothing came back"
	switch {
	case h.n.RSTs+h.n.ICMPs > 0:
		detail = fmt.Sprintf("%d resets and %d ICMP errors came back", h.n.RSTs, h.n.ICMPs)
	case h.state == SynReceived:
		detail = "the peer did not acknowledge our SYN"
	case h.n.Dropped+h.n.ChallengesSeen > 0:
		detail = "only segments that do not belong to this attempt came back"
	}
	h.fail(fmt.Errorf("%w after %v in %v with %d SYNs: %s", ErrTimeout, h.cfg.Timeout, h.state, h.n.SYNs, detail))
	return out
}

func (h *Handshake) fail(err error) {
	h.state = Failed
	h.err = fmt.Errorf("rawtcp: handshake with %v: %w", h.cfg.Remote, err)
}

// sendSYN sends the SYN. It does not touch the retransmission timer: an answer
// to somebody else's segment must not put off our own.
func (h *Handshake) sendSYN(now time.Time, out []Segment) []Segment {
	h.resend = false
	h.sentAt = now
	h.n.SYNs++
	return append(out, h.syn(h.tsval(now)))
}

func (h *Handshake) syn(tsval uint32) Segment {
	s := h.segment(SYN, h.cfg.ISN)
	s.Window = h.cfg.Window
	s.Options = Options{
		MSS:           h.cfg.MSS,
		HasWScale:     !h.cfg.NoWScale,
		SACKPermitted: !h.cfg.NoSACK,
		HasTimestamps: !h.cfg.NoTimestamps,
	}
	if s.Options.HasWScale {
		s.Options.WScale = h.cfg.WScale
	}
	if s.Options.HasTimestamps {
		s.Options.TSVal = tsval
	}
	return s
}

// sendSYNACK sends the SYN-ACK of a simultaneous open, which repeats our SYN's
// options. What the peer did not offer is left out: RFC 7323 section 2.2 and 3.2 allow window scale and timestamps on a
// SYN-ACK only if the SYN had them. The retransmission timer goes on.
func (h *Handshake) sendSYNACK(now time.Time, out []Segment) []Segment {
	s := h.syn(h.tsval(now))
	s.Flags |= ACK
	s.Ack = h.rcv.nxt
	if !h.peer.scaling {
		s.Options.HasWScale, s.Options.WScale = false, 0
	}
	if !h.peer.stamps {
		s.Options.HasTimestamps, s.Options.TSVal = false, 0
	} else {
		s.Options.TSEcr = h.peer.tsRecent
	}
	s.Options.SACKPermitted = h.peer.sack
	h.n.SYNACKs++
	h.rcv.advertised(uint32(h.cfg.Window))
	return append(out, s)
}

// sendACK sends <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>.
func (h *Handshake) sendACK(now time.Time, out []Segment) []Segment {
	s := h.segment(ACK, h.sndNxt)
	s.Ack = h.rcv.nxt
	s.Window = h.rcv.window(h.rcvScale())
	if h.peer.stamps {
		s.Options = Options{HasTimestamps: true, TSVal: h.tsval(now), TSEcr: h.peer.tsRecent}
	}
	return append(out, s)
}

// sendRST sends <SEQ=seq><CTL=RST>.
func (h *Handshake) sendRST(seq Seq, out []Segment) []Segment {
	return append(out, h.segment(RST, seq))
}

func (h *Handshake) segment(flags Flags, seq Seq) Segment {
	return Segment{Src: h.cfg.Local, Dst: h.cfg.Remote, TTL: h.cfg.TTL, DF: true, Flags: flags, Seq: seq}
}

// rcvScale is how far the window in our segments is shifted: never in a SYN or
// SYN-ACK (RFC 7323 section 2.2).
func (h *Handshake) rcvScale() uint8 {
	if h.peer.scaling {
		return h.cfg.WScale
	}
	return 0
}

// tsval is the timestamp for a segment that goes out now.
func (h *Handshake) tsval(now time.Time) uint32 {
	h.tsSent = h.timestamp(now)
	return h.tsSent
}

// timestamp is the timestamp clock, 1 per millisecond as on Linux; it never
// runs back (RFC 7323 section 5.4), whatever now does.
func (h *Handshake) timestamp(now time.Time) uint32 {
	if h.start.IsZero() {
		return h.cfg.TSBase
	}
	v := h.cfg.TSBase + uint32(max(now.Sub(h.start), 0)/time.Millisecond)
	if int32(v-h.tsSent) < 0 {
		return h.tsSent
	}
	return v
}
