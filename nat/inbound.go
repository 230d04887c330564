package nat

import "github.com/synpunch/synpunch/rawtcp"

// inbound handles a segment from outside, or from inside for a public endpoint.
func (n *NAT) inbound(p *view, list []Packet) []Packet {
	f := n.byOut[keyOf(p.dst, p.src)]
	if f != nil {
		q := *p // with the inside's numbers
		n.shiftIn(f, &q)
		switch v := n.note(f, Outside, &q); {
		case v == ctRepeat:
			n.removeFlow(f) // and on, as of an unknown flow
		case v == ctDrop:
			return n.refused(p, list)
		default:
			n.react(f, Outside, p, v)
			if n.ends(p) {
				return n.expired(p, Outside, list)
			}
			if p.flags&rawtcp.RST != 0 && n.b.DropRST {
				n.drop(NotTranslated)
				return list
			}
			n.toInside(f, p)
			return n.pass(p, Inside, list)
		}
	}
	m, why := n.admit(p)
	if why != Passed {
		return n.unsolicited(p, why, list)
	}
	return n.fromOutside(m, p, list)
}

// refused answers what the crossing knobs or the tracker refuse.
func (n *NAT) refused(p *view, list []Packet) []Packet {
	switch {
	case n.last == CrossingSYN && n.b.InboundSYN == InboundSYNReset:
		return n.reset(p, Outside, list)
	case n.last == Invalid && n.translation(p.dst.ip) == None && n.ends(p):
		return n.expired(p, Outside, list)
	case n.last == Invalid && n.b.UnsolicitedAny:
		// Untranslated, it is for the router itself, as if there were no mapping.
		return n.answer(p, list)
	}
	return list
}

// admit finds the mapping that lets in a segment of an unknown flow.
func (n *NAT) admit(p *view) (*mapping, Reason) {
	if !p.bareSYN() && !n.b.Pickup && n.b.Tracking != TrackLinux || p.flags&rawtcp.RST != 0 && n.b.Tracking != TrackLinux {
		if n.externals[p.dst] == nil {
			return nil, NoMapping
		}
		return nil, Filtered
	}
	if n.b.Filtering == Open {
		return n.openTo(p)
	}
	m := n.externals[p.dst]
	if m == nil {
		return nil, NoMapping
	}
	switch {
	case n.b.Filtering == EIF, n.hairpinned && n.b.HairpinOpen:
		return m, Passed
	case n.b.Filtering == ADF:
		for ; m != nil; m = m.nextOut {
			for f := m.flows; f != nil; f = f.next {
				if f.remote.ip == p.src.ip {
					return m, Passed
				}
			}
		}
	}
	return nil, Filtered
}

// openTo is the mapping of a segment that no filter stops: one that is there, or
// a new one if the host behind the address is known.
func (n *NAT) openTo(p *view) (*mapping, Reason) {
	if m := n.externals[p.dst]; m != nil {
		return m, Passed
	}
	if _, known := n.owners[p.dst.ip]; !known && n.translation(p.dst.ip) == OneToOne {
		return nil, NoMapping
	}
	return nil, Passed
}

// fromOutside begins a flow from outside.
func (n *NAT) fromOutside(m *mapping, p *view, list []Packet) []Packet {
	var track conntrack
	if n.b.Tracking == TrackLinux && (!ctValid(p.flags) || !track.begin(p)) {
		n.drop(Invalid)
		return n.refused(p, list)
	}
	if n.ends(p) {
		return n.expired(p, Outside, list)
	}
	if n.b.MaxFlows > 0 && len(n.expiry) >= n.b.MaxFlows {
		n.drop(OverQuota)
		return list
	}
	if m == nil {
		inside := p.dst
		if n.translation(inside.ip) == OneToOne {
			inside.ip = n.owners[p.dst.ip]
		}
		m = n.addMapping(inside, p.dst, p.src, n.hostOf(inside.ip))
	}
	f := n.addFlow(m, p.src, true)
	f.track = track
	f.basic.picked = !p.bareSYN()
	if !n.begin(f, Outside, p) {
		return list
	}
	n.toInside(f, p)
	return n.pass(p, Inside, list)
}

// unsolicited answers a segment that nothing lets in.
func (n *NAT) unsolicited(p *view, why Reason, list []Packet) []Packet {
	n.drop(why)
	if n.ends(p) && n.routed(p) {
		n.counters.Dropped[why]--
		return n.expired(p, Outside, list)
	}
	if !p.bareSYN() && !n.b.UnsolicitedAny {
		return list
	}
	return n.answer(p, list)
}

// routed reports whether a router would look at the TTL of an unsolicited segment
// before its filter drops it: it knows the host that the segment is for.
func (n *NAT) routed(p *view) bool {
	switch n.translation(p.dst.ip) {
	case None:
		return true
	case OneToOne:
		var track conntrack
		return n.b.Tracking != TrackLinux || ctValid(p.flags) && track.begin(p)
	}
	return false
}

func (n *NAT) answer(p *view, list []Packet) []Packet {
	if p.flags&rawtcp.RST != 0 && n.b.Unsolicited == UnsolicitedRST {
		return list
	}
	if n.b.AnswerDelay > 0 {
		n.keep(p, int64(n.b.AnswerDelay))
		return list
	}
	return n.respond(p, list)
}

// respond is the answer to an unsolicited packet.
func (n *NAT) respond(p *view, list []Packet) []Packet {
	switch n.b.Unsolicited {
	case UnsolicitedWait:
		n.later(p)
	case UnsolicitedRST:
		return n.reset(p, Outside, list)
	case UnsolicitedPort:
		return n.unreachable(p, Outside, portUnreachable, list)
	case UnsolicitedHost:
		return n.unreachable(p, Outside, hostUnreachable, list)
	case UnsolicitedAdmin:
		return n.unreachable(p, Outside, adminProhibited, list)
	case UnsolicitedBlacklist:
		n.banned[p.src.ip] = n.now + n.blacklist
	}
	return list
}

func (n *NAT) isBanned(a ip) bool {
	if n.b.Unsolicited != UnsolicitedBlacklist {
		return false
	}
	until, ok := n.banned[a]
	if ok && until <= n.now {
		delete(n.banned, a)
		return false
	}
	return ok
}
