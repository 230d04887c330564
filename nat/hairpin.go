package nat

import "github.com/synpunch/synpunch/rawtcp"

// turn handles a packet from inside for a public endpoint (RFC 4787 section 6).
func (n *NAT) turn(p *view, list []Packet) []Packet {
	switch n.b.Hairpinning {
	case HairpinExternal:
		if p.icmp {
			f := n.quotedIn(p)
			if f == nil {
				return list
			}
			p.src.ip = f.out.ip
			return n.icmpIn(p, list)
		}
		f, list := n.fromInside(p, list)
		if f == nil {
			return list
		}
		n.toOutside(f, p)
		p.src, p.seq = f.out, p.seq+f.seqShift
		n.hairpinned = true
		list = n.inbound(p, list)
		n.hairpinned = false
		return list
	case HairpinInternal:
		if !p.icmp {
			n.turned, n.hairpinned = true, true
			list = n.inbound(p, list)
			n.turned, n.hairpinned = false, false
			return list
		}
	case HairpinRefuse:
		if !p.icmp && p.flags&rawtcp.RST == 0 {
			n.drop(NotHairpinned)
			return n.reset(p, Inside, list)
		}
	}
	n.drop(NotHairpinned)
	return list
}
