package live

import (
	"encoding/binary"
	"net/netip"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/lab"
)

// meetings pairs the SYNs of each flow. events are in the order of time.
func meetings(events []LinkEvent) []FlowMeeting {
	type flow struct{ a, b netip.AddrPort }
	var order []flow
	var flows = map[flow]*[2][]*lab.Passage{}  // the SYNs of A and of B
	var underway = map[string][]*lab.Passage{} // by identity
	for i := range events {
		e := &events[i]
		src, dst, flags, ok := endpoints(e.Data)
		if !ok || flags&(tcpSYN|tcpACK) != tcpSYN {
			continue
		}
		id := passageID(e.Data, e.Dir == capture.DirOut)
		if e.Dir == capture.DirIn {
			if u := underway[id]; len(u) > 0 {
				u[0].Arrived = e.Time
				underway[id] = u[1:]
			}
			continue
		}
		f, side := flow{src, dst}, 0
		if e.Where == LaneNATB {
			f, side = flow{dst, src}, 1
		}
		if flows[f] == nil {
			flows[f] = new([2][]*lab.Passage)
			order = append(order, f)
		}
		p := &lab.Passage{Left: e.Time}
		flows[f][side] = append(flows[f][side], p)
		underway[id] = append(underway[id], p)
	}
	var list []FlowMeeting
	for _, f := range order {
		if m, ok := lab.MeetAny(values(flows[f][0]), values(flows[f][1])); ok {
			list = append(list, FlowMeeting{A: f.a, B: f.b, Meeting: m})
		}
	}
	return list
}

func values(list []*lab.Passage) []lab.Passage {
	all := make([]lab.Passage, len(list))
	for i, p := range list {
		all[i] = *p
	}
	return all
}

// identity is the part of a packet that stays the same between the NATs, whatever
// the hops: its beginning without TTL, header checksum and TCP checksum, which a
// sender with offloads leaves unfinished.
func identity(ip []byte) string {
	var b [104]byte
	n := copy(b[:], ip)
	if n < 12 {
		return string(b[:n])
	}
	tcp, proto := 40, b[6]
	if b[0]>>4 == 4 {
		b[8], b[10], b[11] = 0, 0, 0
		tcp, proto = int(b[0]&0xf)*4, b[9]
	} else {
		b[7] = 0
	}
	if proto == protoTCP && n >= tcp+tcpChecksum+2 {
		b[tcp+tcpChecksum], b[tcp+tcpChecksum+1] = 0, 0
	}
	return string(b[:n])
}

// routersBetween is how many hops lie between the public sides of the two NATs:
// both providers' routers.
const routersBetween = 2

// passageID is what a packet that leaves one NAT (out) and the same packet where
// it comes to the other have in common: identity, and the TTL that arrives. It
// tells a priming SYN, which never does, from the real one.
func passageID(ip []byte, out bool) string {
	at := 8
	if len(ip) > 0 && ip[0]>>4 == 6 {
		at = 7
	}
	if len(ip) <= at {
		return identity(ip)
	}
	ttl := ip[at]
	if out {
		ttl -= routersBetween
	}
	return identity(ip) + string([]byte{ttl})
}

// endpoints reads ports and flags of a TCP packet that begins with its IP
// header.
func endpoints(b []byte) (src, dst netip.AddrPort, flags byte, ok bool) {
	if len(b) == 0 {
		return
	}
	ether, at, n := uint16(etherIPv4), 12, 4
	if b[0]>>4 == 6 {
		ether, at, n = etherIPv6, 8, 16
	}
	proto, tcp, ok := payload(b, ether)
	if !ok || proto != protoTCP || len(tcp) < 20 {
		return src, dst, 0, false
	}
	a, _ := netip.AddrFromSlice(b[at : at+n])
	c, _ := netip.AddrFromSlice(b[at+n : at+2*n])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(tcp)), netip.AddrPortFrom(c, binary.BigEndian.Uint16(tcp[2:])), tcp[tcpFlags], true
}
