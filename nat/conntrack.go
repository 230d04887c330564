package nat

import (
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// conntrack follows one connection as Linux does: nf_conntrack_tcp_packet in
// net/netfilter/nf_conntrack_proto_tcp.c, as read in a tree of recent years and
// tried on Linux 6.18 by a test. Where the two differ (see reset) the running
// kernel is followed. Direction 0 is that of the packet that began the
// connection, as IP_CT_DIR_ORIGINAL.
type conntrack struct {
	state    ctState
	seen     [2]ctSide
	assured  bool // IPS_ASSURED: survives early eviction, and RSTs are checked exactly
	replied  bool // IPS_SEEN_REPLY
	simOpen  bool // IP_CT_TCP_SIMULTANEOUS_OPEN
	expChall bool // IP_CT_EXP_CHALLENGE_ACK

	// The last segment of note.
	lastKind             ctKind
	lastDir              uint8
	lastSeq, lastAck     uint32
	lastEnd              uint32
	lastWin              uint16
	lastScale            uint8
	lastSACK, lastScaled bool // options of a SYN that was let through unverified
	retrans              uint8
}

// ctSide is what is known of the sender of one direction (struct ip_ct_tcp_state).
type ctSide struct {
	end        uint32 // highest sequence number sent
	maxEnd     uint32 // highest that the other side allows
	maxWin     uint32 // largest window that it offered; 0: nothing seen yet
	maxAck     uint32
	scale      uint8
	hasScale   bool
	sack       bool
	closeInit  bool // sent the first FIN
	unacked    bool
	liberal    bool // picked up in the middle: no window checks
	maxAckSeen bool
}

// ctState is a state of the kernel's table.
type ctState uint8

const (
	ctNone ctState = iota
	ctSynSent
	ctSynRecv
	ctEstablished
	ctFinWait
	ctCloseWait
	ctLastAck
	ctTimeWait
	ctClose
	ctSynSent2
	ctInvalid
	ctIgnore
)

// ctKind is what the table looks at of the flags.
type ctKind uint8

const (
	kindSYN ctKind = iota
	kindSYNACK
	kindFIN
	kindACK
	kindRST
	kindNone
)

func kindOf(f rawtcp.Flags) ctKind {
	switch {
	case f&rawtcp.RST != 0:
		return kindRST
	case f&(rawtcp.SYN|rawtcp.ACK) == rawtcp.SYN|rawtcp.ACK:
		return kindSYNACK
	case f&rawtcp.SYN != 0:
		return kindSYN
	case f&rawtcp.FIN != 0:
		return kindFIN
	case f&rawtcp.ACK != 0:
		return kindACK
	}
	return kindNone
}

// ctTable says where a segment leads: by direction and kind, one letter for
// each state it may meet: none, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT,
// CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2. The letters are in ctLetters.
var ctTable = ctParse([2][6]string{
	{ // from the side that began
		kindSYN:    "SSiiiiiSS2",
		kindSYNACK: "xxRxxxxxxR",
		kindFIN:    "xxFFLLLTCx",
		kindACK:    "ExEEWWTTCx",
		kindRST:    "xCCCCCCCCC",
		kindNone:   "xxxxxxxxxx",
	},
	{ // from the other side
		kindSYN:    "x2xxxxxSx2",
		kindSYNACK: "xRiiiiiiiR",
		kindFIN:    "xxFFLLLTCx",
		kindACK:    "xiREWWTTCi",
		kindRST:    "xCCCCCCCCC",
		kindNone:   "xxxxxxxxxx",
	},
})

var ctLetters = map[byte]ctState{
	'S': ctSynSent, '2': ctSynSent2, 'R': ctSynRecv, 'E': ctEstablished, 'F': ctFinWait, 'W': ctCloseWait,
	'L': ctLastAck, 'T': ctTimeWait, 'C': ctClose, 'x': ctInvalid, 'i': ctIgnore,
}

func ctParse(rows [2][6]string) (t [2][6][10]ctState) {
	for dir := range rows {
		for kind := range rows[dir] {
			for state := range t[dir][kind] {
				t[dir][kind][state] = ctLetters[rows[dir][kind][state]]
			}
		}
	}
	return t
}

// Timeouts of the kernel: net.netfilter.nf_conntrack_tcp_timeout_*, defaults.
var ctTimeouts = [10]time.Duration{
	ctSynSent:     2 * time.Minute,
	ctSynRecv:     time.Minute,
	ctEstablished: 5 * 24 * time.Hour,
	ctFinWait:     2 * time.Minute,
	ctCloseWait:   time.Minute,
	ctLastAck:     30 * time.Second,
	ctTimeWait:    2 * time.Minute,
	ctClose:       10 * time.Second,
	ctSynSent2:    2 * time.Minute,
}

const (
	ctRetransTime = 5 * time.Minute // nf_conntrack_tcp_timeout_max_retrans
	ctUnackTime   = 5 * time.Minute // nf_conntrack_tcp_timeout_unacknowledged
	ctMaxRetrans  = 3               // nf_conntrack_tcp_max_retrans
	ctMaxScale    = 14              // RFC 7323 section 2.3
	ctAckWindow   = 66000           // MAXACKWINCONST
)

// ctVerdict is what happens to a segment.
type ctVerdict uint8

const (
	ctDrop   ctVerdict = iota // INVALID: a stateful ruleset drops it
	ctPass                    // let through; nothing is learned from it, its timer stays
	ctLearn                   // let through, and the timer is set
	ctDelete                  // let through, and the entry goes
	ctRepeat                  // the entry goes, and the segment is looked at as a new one
)

// ctValid are the combinations of flags that the kernel takes; PSH, ECE and CWR
// are always allowed (tcp_valid_flags).
func ctValid(f rawtcp.Flags) bool {
	switch f &^ (rawtcp.PSH | rawtcp.ECE | rawtcp.CWR) {
	case rawtcp.SYN, rawtcp.SYN | rawtcp.URG, rawtcp.SYN | rawtcp.ACK, rawtcp.RST, rawtcp.RST | rawtcp.ACK,
		rawtcp.FIN | rawtcp.ACK, rawtcp.FIN | rawtcp.ACK | rawtcp.URG, rawtcp.ACK, rawtcp.ACK | rawtcp.URG:
		return true
	}
	return false
}

// begin makes c the entry for a connection whose first segment is p; false if
// the kernel would make none (tcp_new). The segment is then given to packet.
func (c *conntrack) begin(p *view) bool {
	*c = conntrack{lastKind: kindNone}
	s := &c.seen[0]
	switch ctTable[0][kindOf(p.flags)][ctNone] {
	case ctSynSent:
		s.begin(p.end(), p.window)
		s.options(p.options())
	case ctEstablished:
		// In the middle of a connection (nf_conntrack_tcp_loose): SACK is assumed, windows are not checked.
		s.begin(p.end(), p.window)
		s.maxEnd += s.maxWin
		s.sack, s.liberal = true, true
		c.seen[1].sack, c.seen[1].liberal = true, true
	default:
		return false
	}
	return true
}

// packet follows the segment p of the direction dir. With ctLearn the entry
// lives for the duration returned from now on, with ctDrop no longer than that if
// it is not 0.
func (c *conntrack) packet(dir uint8, p *view) (ctVerdict, time.Duration) {
	if !ctValid(p.flags) {
		return ctDrop, 0
	}
	kind, old := kindOf(p.flags), c.state
	next := ctTable[dir][kind][old]
	check := true
	switch next {
	case ctInvalid:
		return ctDrop, 0
	case ctSynSent, ctIgnore:
		if next == ctSynSent {
			if old < ctTimeWait {
				break
			}
			if c.seen[0].closeInit || c.seen[1].closeInit || c.lastDir == dir && c.lastKind == kindRST {
				return ctRepeat, 0 // the closed connection is opened again
			}
		}
		if !c.resync(dir, kind, p) {
			c.overlook(dir, kind, p)
			c.replied = c.replied || dir == 1
			return ctPass, 0
		}
		old, next = ctSynSent, ctSynRecv
	case ctTimeWait:
		if old == ctLastAck && kind == kindACK && c.lastDir != dir && c.lastKind == kindSYN && c.expChall {
			c.expChall = false // a challenge ACK (RFC 5961), not the last ACK
			c.replied = c.replied || dir == 1
			return ctPass, 0
		}
	case ctSynSent2:
		c.simOpen = true
	case ctSynRecv:
		if dir == 1 && kind == kindACK && c.simOpen {
			next = ctEstablished
		}
	case ctClose:
		if kind == kindRST {
			var ok bool
			if next, check, ok = c.reset(dir, p, next); !ok {
				return ctDrop, 0
			}
		}
	}
	if check {
		switch c.window(dir, kind, p) {
		case ctPass:
			c.replied = c.replied || dir == 1
			return ctPass, 0
		case ctDrop:
			return ctDrop, c.outOfWindow(dir, kind)
		}
	}
	c.lastKind, c.lastDir = kind, dir
	c.state = next
	if old != next && next == ctFinWait {
		c.seen[dir].closeInit = true
	}
	life := c.lifetime(kind)
	replied := c.replied
	c.replied = c.replied || dir == 1
	switch {
	case !replied && kind == kindRST:
		return ctDelete, 0 // nothing but a reset ever came back
	case !replied && kind == kindSYN && old == ctSynSent:
		return ctPass, 0 // a repeated SYN does not prolong
	case !replied && next == ctEstablished:
		life = min(life, ctUnackTime)
	case replied && !c.assured && next == ctEstablished && (old == ctSynRecv || old == ctEstablished):
		c.assured = true
	}
	return ctLearn, life
}

// lifetime is the timeout after an accepted segment.
func (c *conntrack) lifetime(kind ctKind) time.Duration {
	t := ctTimeouts[c.state]
	switch {
	case c.retrans >= ctMaxRetrans && t > ctRetransTime:
		return ctRetransTime
	case kind == kindRST:
		return ctTimeouts[ctClose]
	case (c.seen[0].unacked || c.seen[1].unacked) && t > ctUnackTime:
		return ctUnackTime
	case c.lastWin == 0 && t > ctRetransTime:
		return ctRetransTime
	}
	return t
}

// resync takes over a SYN that was let through unverified, when the
// SYN-ACK p acknowledges it: both ends agree, so the entry was wrong.
func (c *conntrack) resync(dir uint8, kind ctKind, p *view) bool {
	if kind != kindSYNACK || c.lastKind != kindSYN || c.lastDir == dir || p.ack != c.lastEnd {
		return false
	}
	c.expChall = false
	s := &c.seen[c.lastDir]
	*s = ctSide{end: c.lastEnd, maxEnd: c.lastEnd, maxWin: max(1, uint32(c.lastWin)), maxAck: s.maxAck,
		scale: c.lastScale, hasScale: c.lastScaled, sack: c.lastSACK}
	c.seen[dir] = ctSide{liberal: c.seen[dir].liberal}
	return true
}

// overlook notes a segment that may be right although the entry says otherwise.
func (c *conntrack) overlook(dir uint8, kind ctKind, p *view) {
	old := c.state
	c.lastKind, c.lastDir = kind, dir
	c.lastSeq, c.lastEnd, c.lastWin = p.seq, p.end(), p.window
	if kind == kindSYN && dir == 0 {
		var s ctSide
		s.options(p.options())
		c.lastScale, c.lastScaled, c.lastSACK = s.scale, s.hasScale, s.sack
		c.simOpen = false
		c.expChall = old == ctLastAck
	}
	if old == ctSynSent && kind == kindACK && dir == 1 {
		c.lastAck = p.ack
	}
}

// reset judges an RST: the next state, whether the window is still to be
// checked, and false if it is invalid.
func (c *conntrack) reset(dir uint8, p *view, next ctState) (ctState, bool, bool) {
	switch c.state {
	case ctFinWait, ctLastAck, ctTimeWait, ctClose, ctCloseWait: // tcp_can_early_drop
		return next, false, true
	}
	other := &c.seen[1-dir]
	established := c.state == ctEstablished && c.assured
	if other.maxAckSeen && c.lastKind != kindSYN {
		if p.seq == 0 && !established {
			return next, true, true
		}
		if before(p.seq, other.maxAck) {
			return next, true, false
		}
		if !established || p.seq == other.maxAck ||
			c.lastKind == kindACK && c.lastDir == dir && p.seq == c.lastEnd {
			return next, true, true
		}
		next = c.state // a challenge ACK (RFC 5961) may follow
	}
	// Linux 6.18 asks for the other direction with a SYN; the source that was read does not.
	if (c.replied && c.lastKind == kindSYN && c.lastDir != dir || !c.assured && c.lastKind == kindACK) && p.ack == c.lastEnd {
		return next, false, true // the answer to a segment that was overlooked
	}
	if c.state == ctSynSent && c.lastKind == kindACK && c.lastDir == 1 && p.seq == c.lastAck {
		return next, false, true // the answer to a challenge ACK
	}
	return next, true, true
}

// outOfWindow notes a FIN or RST out of the window. When both sides have sent one, the
// ends have closed what the entry still holds open: it lives no longer than
// the duration returned, unless that is 0 (nf_tcp_handle_invalid).
func (c *conntrack) outOfWindow(dir uint8, kind ctKind) time.Duration {
	if !c.assured || kind != kindRST && kind != kindFIN {
		return 0
	}
	if c.lastDir != dir && (c.lastKind == kindFIN || c.lastKind == kindRST) {
		return ctUnackTime
	}
	c.lastKind, c.lastDir = kind, dir
	return 0
}
