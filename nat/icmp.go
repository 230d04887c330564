package nat

import "encoding/binary"

// icmpIn handles an ICMP packet from outside (RFC 5508 REQ-4): an error about a
// segment that went out of a flow.
func (n *NAT) icmpIn(p *view, list []Packet) []Packet {
	q, ok := p.quoted()
	if !ok || q.src.ip != p.dst.ip {
		n.drop(OtherICMP)
		return list
	}
	f := n.byOut[keyOf(q.src, q.dst)]
	if f == nil || !translatable(f, &q) {
		n.drop(OtherICMP)
		return list
	}
	if n.ends(p) {
		n.drop(Expired) // no ICMP error about one (RFC 1122 section 3.2.2)
		return list
	}
	if p.ttlExceeded() {
		n.end(f, n.b.TTLExceeded)
	} else {
		n.end(f, n.b.ICMPIn)
	}
	if n.b.DropICMP {
		n.drop(NotTranslated)
		return list
	}
	n.translateICMP(p, &q, f.in, f.out, true, q.seq-f.seqShift)
	return n.pass(p, Inside, list)
}

// translatable reports whether enough is quoted to be changed; Linux passes on
// what it need not change.
func translatable(f *flow, q *quote) bool {
	return q.whole || f.in == f.out && f.seqShift == 0
}

// icmpOut handles an ICMP packet from inside (RFC 5508 REQ-5).
func (n *NAT) icmpOut(p *view, list []Packet) []Packet {
	f := n.quotedIn(p)
	if f == nil {
		return list
	}
	return n.pass(p, Outside, list)
}

// quotedIn translates an ICMP error from inside about a segment that came in; nil
// if it goes no further.
func (n *NAT) quotedIn(p *view) *flow {
	q, ok := p.quoted()
	if !ok || q.src.ip != p.dst.ip {
		n.drop(OtherICMP)
		return nil
	}
	f := n.byIn[keyOf(q.dst, q.src)]
	switch {
	case f == nil || !translatable(f, &q):
		n.drop(OtherICMP)
		return nil
	case n.ends(p):
		n.drop(Expired)
		return nil
	}
	n.end(f, n.b.ICMPOut)
	if n.b.DropICMP {
		n.drop(NotTranslated)
		return nil
	}
	n.translateICMP(p, &q, f.out, f.in, false, q.seq)
	return f
}

// translateICMP writes the endpoint e over the flow's other one: inward over the
// destination and the quoted source, else over the source and the quoted
// destination (RFC 5508 REQ-4 and REQ-5), whoever sent the error. IPv6 addresses
// stay as they are. A quoted checksum that was wrong stays wrong by as much.
func (n *NAT) translateICMP(p *view, q *quote, e, old endpoint, inward bool, seq uint32) {
	if e == old && seq == q.seq {
		return
	}
	quoted, t := p.b[q.off:], p.b[q.tcp:]
	var tcp change
	if e != old {
		addr, quotedAddr, port := 12, 16, 2
		if inward {
			addr, quotedAddr, port = 16, 12, 0
		}
		var outer, inner change
		outer.put32(p.b, addr, uint32(e.lo))
		outer.patch(p.b, 10)
		inner.put32(quoted, quotedAddr, uint32(e.lo))
		inner.patch(quoted, 10)
		tcp = inner
		tcp.put16(t, port, uint16(e.port))
	}
	if seq != q.seq {
		tcp.put32(t, 4, seq)
	}
	if len(t) >= headerTCP {
		tcp.patch(t, tcpChecksum)
	}
	p.sealICMP()
}

// sealICMP computes the checksum of an ICMP message.
func (p *view) sealICMP() {
	msg := p.b[p.off:]
	var pseudo uint64
	if p.v6 {
		pseudo = sum(0, p.b[8:40]) + protoICMP6 + uint64(len(msg))
	}
	binary.BigEndian.PutUint16(msg[icmpChecksum:], 0)
	binary.BigEndian.PutUint16(msg[icmpChecksum:], ^fold(sum(pseudo, msg)))
}
