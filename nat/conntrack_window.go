package nat

import (
	"encoding/binary"

	"github.com/synpunch/synpunch/rawtcp"
)

// before and after compare sequence numbers, RFC 9293 section 3.4.
func before(a, b uint32) bool { return int32(a-b) < 0 }
func after(a, b uint32) bool  { return int32(b-a) < 0 }

// begin starts a side with a segment of the given end and window.
func (s *ctSide) begin(end uint32, window uint16) {
	s.end, s.maxEnd, s.maxWin = end, end, max(1, uint32(window))
}

// window judges a segment by the sequence numbers and windows seen before, and
// updates them: tcp_in_window. The verdict is ctLearn, ctPass or ctDrop.
func (c *conntrack) window(dir uint8, kind ctKind, p *view) ctVerdict {
	from, to := &c.seen[dir], &c.seen[1-dir]
	syn, hasAck := p.flags&rawtcp.SYN != 0, p.flags&rawtcp.ACK != 0
	seq, end, win := p.seq, p.end(), uint32(p.window)
	ack := p.ack
	sack := ack
	if to.sack {
		sack = highestSACK(p.options(), sack)
	}

	switch {
	case from.maxWin == 0 && syn:
		c.open(dir, p)
		if !hasAck {
			return ctLearn
		}
	case from.maxWin == 0: // in the middle of a connection
		from.end = end
		from.maxWin = max(1, win<<from.scale)
		from.maxEnd = end + from.maxWin
		if to.maxWin == 0 {
			to.end, to.maxEnd = sack, sack
		} else if sack == to.end+1 {
			to.end++ // the answer to a keep-alive
		}
	case syn && after(end, from.end) && (c.state == ctSynSent || c.state == ctSynRecv):
		c.open(dir, p)
		if dir == 1 && !hasAck {
			return ctLearn
		}
	}

	if !hasAck || p.flags&rawtcp.RST != 0 && ack == 0 {
		ack, sack = to.end, to.end
	}
	if p.flags&rawtcp.RST != 0 && seq == 0 && c.state == ctSynSent {
		seq, end = from.end, from.end
	}

	lowest := to.end - max(from.maxWin, ctAckWindow) - 1
	if !before(seq, from.maxEnd+1) { // beyond what the other side allowed
		over := end - from.maxEnd + 1
		inWindow := to.maxWin != 0 && after(end, from.end-to.maxWin-1)
		if inWindow && after(sack, lowest) && over <= to.maxWin && before(sack, to.end+1) {
			from.end, from.unacked = end, true
			if !from.liberal {
				return ctPass
			}
			return ctLearn
		}
		return from.unless(ctDrop)
	}
	if !before(sack, to.end+1) { // acknowledges what was not sent
		return from.unless(ctDrop)
	}
	if to.maxWin != 0 && !after(end, from.end-to.maxWin-1) { // long acknowledged
		return from.unless(ctPass)
	}
	if !after(sack, lowest) { // a very late acknowledgement
		return from.unless(ctPass)
	}

	if !syn {
		win <<= from.scale
	}
	from.maxWin = max(from.maxWin, win+(sack-ack))
	if after(end, from.end) {
		from.end, from.unacked = end, true
	}
	if hasAck && (!from.maxAckSeen || after(ack, from.maxAck)) {
		from.maxAck, from.maxAckSeen = ack, true
	}
	if to.maxWin != 0 && after(end, from.maxEnd) {
		to.maxWin += end - from.maxEnd
	}
	if after(sack+win, to.maxEnd-1) {
		to.maxEnd = sack + win
		if win == 0 {
			to.maxEnd++
		}
	}
	if ack == to.end {
		to.unacked = false
	}
	if kind == kindACK {
		if c.lastDir == dir && c.lastSeq == seq && c.lastAck == ack && c.lastEnd == end && c.lastWin == p.window {
			c.retrans++
		} else {
			c.lastDir, c.lastSeq, c.lastAck, c.lastEnd, c.lastWin, c.retrans = dir, seq, ack, end, p.window, 0
		}
	}
	return ctLearn
}

// unless is the verdict, which a connection that was picked up in the middle escapes.
func (s *ctSide) unless(v ctVerdict) ctVerdict {
	if s.liberal {
		return ctLearn
	}
	return v
}

// open starts the side dir with its SYN or SYN-ACK (tcp_init_sender).
func (c *conntrack) open(dir uint8, p *view) {
	from, to := &c.seen[dir], &c.seen[1-dir]
	from.begin(p.end(), p.window)
	from.options(p.options())
	if dir == 1 && !(from.hasScale && to.hasScale) { // RFC 7323 section 2.2: both or none
		from.scale, to.scale = 0, 0
	}
}

// Numbers and lengths of options, from the IANA registry.
const (
	optEnd, optNOP                   = 0, 1
	optMSS, optMSSLen                = 2, 4
	optScale, optScaleLen            = 3, 3
	optSACKOK, optSACKOKLen          = 4, 2
	optSACK                          = 5
	optTimestamps, optTimestampsLen  = 8, 10
	optMPTCP                         = 30
	optFastOpen, optFastOpenExpLen   = 34, 4
	optExperiment1, optFastOpenMagic = 254, 0xf989 // RFC 7413 section 4.1.2
)

// eachOption calls fn with the place of each option, NOP and the end apart, as
// long as they are well formed. The offset is that of its kind.
func eachOption(opts []byte, fn func(at, length int)) {
	for i := 0; i < len(opts); {
		switch opts[i] {
		case optEnd:
			return
		case optNOP:
			i++
			continue
		}
		if i+1 >= len(opts) {
			return
		}
		n := int(opts[i+1])
		if n < 2 || i+n > len(opts) {
			return
		}
		fn(i, n)
		i += n
	}
}

// options reads those of a SYN; without any the side stays as it is, as in the
// kernel's tcp_options.
func (s *ctSide) options(opts []byte) {
	if len(opts) == 0 {
		return
	}
	s.scale, s.hasScale, s.sack = 0, false, false
	s.closeInit, s.unacked, s.maxAckSeen = false, false, false
	eachOption(opts, func(at, n int) {
		switch {
		case opts[at] == optSACKOK && n == optSACKOKLen:
			s.sack = true
		case opts[at] == optScale && n == optScaleLen:
			s.scale, s.hasScale = min(opts[at+2], ctMaxScale), true
		}
	})
}

// highestSACK is the highest right edge of the first SACK option (RFC 2018), or ack.
func highestSACK(opts []byte, ack uint32) uint32 {
	done := false
	eachOption(opts, func(at, n int) {
		if done || opts[at] != optSACK || n < 10 || (n-2)%8 != 0 {
			return
		}
		done = true
		for i := at + 2; i < at+n; i += 8 {
			if right := binary.BigEndian.Uint32(opts[i+4:]); after(right, ack) {
				ack = right
			}
		}
	})
	return ack
}
