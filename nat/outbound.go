package nat

import "github.com/synpunch/synpunch/rawtcp"

// outbound handles a segment from inside.
func (n *NAT) outbound(p *view, list []Packet) []Packet {
	f, list := n.fromInside(p, list)
	if f == nil {
		return list
	}
	n.toOutside(f, p)
	return n.pass(p, Outside, list)
}

// fromInside finds or makes the flow of a segment from inside and lets it note
// the segment. A nil flow means that the segment goes no further.
func (n *NAT) fromInside(p *view, list []Packet) (*flow, []Packet) {
	f := n.byIn[keyOf(p.src, p.dst)]
	if f != nil && n.isNew(f, p) {
		f = nil
	}
	if f != nil {
		v := n.note(f, Inside, p)
		if v == ctRepeat {
			n.removeFlow(f)
			f = nil
		} else if v == ctDrop {
			return nil, n.invalid(p, list)
		} else {
			n.react(f, Inside, p, v)
			if n.ends(p) {
				return nil, n.expired(p, Inside, list)
			}
			return f, list
		}
	}
	return n.newFlow(p, list)
}

// ends reports that the TTL ends here.
func (n *NAT) ends(p *view) bool { return p.ttl() <= 1 && n.b.Hop == HopRouter }

// invalid handles a segment from inside that the tracker refuses. Linux looks at the TTL
// before its forward chain drops it.
func (n *NAT) invalid(p *view, list []Packet) []Packet {
	if n.last == Invalid && n.ends(p) {
		n.counters.Dropped[Invalid]--
		return n.expired(p, Inside, list)
	}
	return list
}

// isNew reports whether an outbound segment of a known flow begins another
// connection, which gets another mapping.
func (n *NAT) isNew(f *flow, p *view) bool {
	if n.b.Mapping == PerConnection && p.bareSYN() && f.hasISN && p.seq != f.isn {
		return true
	}
	return n.b.OutboundSYNACK == SYNACKNew && isSYNACK(p) && !f.reverse && !f.synack && f.basic.syn[Inside]
}

func isSYNACK(p *view) bool {
	return p.flags&(rawtcp.SYN|rawtcp.ACK|rawtcp.RST) == rawtcp.SYN|rawtcp.ACK
}

// newFlow makes the flow of a segment from inside, and its mapping if needed.
func (n *NAT) newFlow(p *view, list []Packet) (*flow, []Packet) {
	linux := n.b.Tracking == TrackLinux
	var track conntrack
	if linux {
		if !ctValid(p.flags) || !track.begin(p) {
			n.drop(Invalid)
			return nil, n.invalid(p, list)
		}
	} else if !p.bareSYN() && !n.b.Pickup && !(n.b.OutboundSYNACK == SYNACKNew && isSYNACK(p)) || p.flags&rawtcp.RST != 0 {
		n.drop(NoConnection)
		return nil, list
	}
	if n.ends(p) {
		return nil, n.expired(p, Inside, list)
	}
	m := n.findMapping(p.src, p.dst)
	if m == nil {
		h := n.hostOf(p.src.ip)
		why := OverQuota
		var external endpoint
		ok := (n.b.MaxFlows == 0 || len(n.expiry) < n.b.MaxFlows) && n.quota(h)
		if ok {
			why = NoPort
			external, ok = n.allocate(p.src, p.dst, h)
		}
		if !ok {
			if h.mappings == 0 {
				n.removeHost(h)
			}
			n.drop(why)
			return nil, n.full(p, list)
		}
		m = n.addMapping(p.src, external, p.dst, h)
	} else if n.b.MaxFlows > 0 && len(n.expiry) >= n.b.MaxFlows {
		n.drop(OverQuota)
		return nil, n.full(p, list)
	}
	f := n.addFlow(m, p.dst, false)
	f.track = track
	f.basic.picked = !p.bareSYN()
	f.synack = isSYNACK(p)
	if !n.begin(f, Inside, p) {
		return nil, list
	}
	n.forget(f.out, f.remote)
	return f, list
}

// begin starts the life of a new flow with its first segment.
func (n *NAT) begin(f *flow, side Side, p *view) bool {
	f.expires = n.now + n.transitory
	f.due = f.expires
	n.expiry.add(f)
	v := n.note(f, side, p)
	if v == ctDrop || v == ctRepeat {
		n.removeFlow(f)
		return false
	}
	n.react(f, side, p, v)
	return true
}

// note lets the flow's tracker see a segment from a side. What it says is what
// conntrack says; ctDrop has been counted.
func (n *NAT) note(f *flow, side Side, p *view) ctVerdict {
	if why := n.crossing(f, side, p); why != Passed {
		n.drop(why)
		return ctDrop
	}
	if n.b.Tracking == TrackLinux {
		v, life := f.track.packet(f.direction(side), p)
		switch v {
		case ctDrop:
			n.drop(Invalid)
			if life > 0 {
				n.shorten(f, int64(life))
			}
		case ctLearn:
			n.live(f, n.kernelTime(f, int64(life)))
		}
		if v == ctDrop || v == ctRepeat {
			return v
		}
		f.basic.packet(side, p)
		return v
	}
	if p.bareSYN() && side == Inside && f.basic.closing() {
		f.basic = basic{} // opened again (RFC 9293 section 3.6.1)
	}
	f.basic.packet(side, p)
	switch {
	case f.basic.closing():
		n.live(f, n.closed)
	case f.basic.established():
		n.live(f, n.open)
	default:
		n.live(f, n.transitory)
	}
	return ctLearn
}

// kernelTime puts the timers of the Behaviour in place of the kernel's.
func (n *NAT) kernelTime(f *flow, life int64) int64 {
	if life != int64(ctTimeouts[f.track.state]) {
		return life
	}
	switch f.track.state {
	case ctSynSent, ctSynSent2, ctSynRecv:
		if n.b.Transitory > 0 {
			return n.transitory
		}
	case ctEstablished:
		if n.b.Established > 0 {
			return n.open
		}
	default:
		if n.b.Closing > 0 {
			return n.closed
		}
	}
	return life
}

// crossing is the fate of a segment under the knobs of RFC 5382 REQ-2.
func (n *NAT) crossing(f *flow, side Side, p *view) Reason {
	switch {
	case side == Outside && p.bareSYN() && n.b.InboundSYN != InboundSYNPass && f.basic.outstanding(Inside):
		return CrossingSYN
	case side == Inside && isSYNACK(p) && n.b.OutboundSYNACK == SYNACKDrop && f.basic.syn[Inside] && !f.reverse:
		return CrossingSYNACK
	}
	return Passed
}

// react does what follows from a segment that passes: the end of the flow. It
// is called last, but what is written to the segment may still use the flow.
func (n *NAT) react(f *flow, side Side, p *view, v ctVerdict) {
	if side == Inside && p.bareSYN() {
		f.isn, f.hasISN = p.seq, true
	}
	if v == ctDelete {
		n.end(f, Reaction{Close: true})
		return
	}
	if p.flags&rawtcp.RST == 0 {
		return
	}
	if side == Inside {
		n.end(f, n.b.RSTOut)
	} else {
		n.end(f, n.b.RSTIn)
	}
}

// end lets a flow end as the reaction says. Its memory stays as it is until the
// next flow is made.
func (n *NAT) end(f *flow, r Reaction) {
	switch {
	case !r.Close:
	case r.After == 0:
		n.removeFlow(f)
	default:
		n.shorten(f, int64(r.After))
	}
}

// pass sends a translated packet on.
func (n *NAT) pass(p *view, to Side, list []Packet) []Packet {
	if n.b.Hop == HopRouter {
		p.hop()
	}
	n.counters.Translated++
	return append(list, Packet{p.b, to})
}
