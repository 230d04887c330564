package rawtcp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// portNAT is a NAT of one host whose peer has one address: what it does to the
// ports, and to the sequence numbers.
type portNAT struct {
	base, step uint16 // the external port of the first mapping, and from one to the next
	one        bool   // one mapping for all destinations (EIM)
	open       bool   // filters by the peer's address or not at all (ADF, EIF)
	resets     bool   // answers what it does not let in with a reset, and takes a mapping down with one
	rewrite    Seq    // added to the sequence numbers of each flow, times its remote port

	mappings []portMapping
}

type portMapping struct {
	remote, external uint16
	closed           bool // by a reset, until the next SYN from inside
}

// out returns the external port for a segment to a remote port.
func (n *portNAT) out(remote uint16) uint16 {
	for _, m := range n.mappings {
		if m.remote == remote {
			return m.external
		}
	}
	external := n.base
	if !n.one {
		external += n.step * uint16(len(n.mappings))
	}
	n.mappings = append(n.mappings, portMapping{remote: remote, external: external})
	return external
}

// in reports whether a segment from a remote port to an external one is let in.
func (n *portNAT) in(remote, external uint16) bool {
	return slices.ContainsFunc(n.mappings, func(m portMapping) bool {
		return !m.closed && m.external == external && (n.open || m.remote == remote)
	})
}

// note lets a SYN or a reset of a flow open or close its mapping, if the NAT does so.
func (n *portNAT) note(remote uint16, s *Segment) {
	for i := range n.mappings {
		if n.resets && n.mappings[i].remote == remote {
			n.mappings[i].closed = s.Flags&RST != 0 || n.mappings[i].closed && s.Flags != SYN
		}
	}
}

// shift is how far the sequence numbers of a flow are moved on the way out.
func (n *portNAT) shift(remote uint16) Seq { return n.rewrite * Seq(remote) }

// netLimit is more packets than two ends may ever send.
const netLimit = 3000

// flowNet joins two ends through two portNATs in virtual time. Each host has the
// address and the port of its endpoint, outside the NAT has the same address.
type flowNet struct {
	ends   [2]end
	local  [2]netip.AddrPort
	nats   [2]*portNAT
	start  [2]time.Duration
	delay  time.Duration
	faults map[int]netFault // by the number of the packet

	now   time.Time
	queue []netEvent
	order int
	sent  int
	trace *strings.Builder
	check func(who int, s *Segment) // is shown what is sent
	up    time.Duration             // when both were established, from the epoch
}

// netFault is what happens to one packet.
type netFault struct {
	copies int           // how often it arrives; 0: lost
	late   time.Duration // more than the delay
}

type netEvent struct {
	at    time.Time
	order int
	who   int // who receives, starts or ticks
	seg   *Segment
	start bool
}

func (n *flowNet) post(e netEvent) {
	n.order++
	e.order = n.order
	i, _ := slices.BinarySearchFunc(n.queue, e, func(a, b netEvent) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return a.order - b.order
	})
	n.queue = slices.Insert(n.queue, i, e)
}

// run plays until nothing is left to happen or limit has passed.
func (n *flowNet) run(limit time.Duration) {
	for i := range n.ends {
		n.post(netEvent{at: testEpoch.Add(n.start[i]), who: i, start: true})
	}
	var out []Segment
	for len(n.queue) > 0 && n.queue[0].at.Sub(testEpoch) <= limit && n.sent < netLimit {
		e := n.queue[0]
		n.queue = n.queue[1:]
		n.now = e.at
		switch {
		case e.start:
			out = n.ends[e.who].Start(n.now, out[:0])
		case e.seg != nil:
			if !n.enters(e.who, e.seg) {
				continue
			}
			out = n.ends[e.who].Receive(n.now, e.seg, out[:0])
		default:
			if at, ok := n.ends[e.who].Deadline(); !ok || at.After(n.now) {
				continue
			}
			out = n.ends[e.who].Tick(n.now, out[:0])
		}
		for i := range out {
			n.send(e.who, out[i])
		}
		if n.up == 0 && n.ends[0].State() == Established && n.ends[1].State() == Established {
			n.up = n.now.Sub(testEpoch)
		}
		if at, ok := n.ends[e.who].Deadline(); ok {
			n.post(netEvent{at: at, who: e.who})
		}
	}
}

func (n *flowNet) log(format string, args ...any) {
	if n.trace != nil {
		fmt.Fprintf(n.trace, "%10v ", n.now.Sub(testEpoch))
		fmt.Fprintf(n.trace, format+"\n", args...)
	}
}

// send takes a segment through its sender's NAT and the peer's.
func (n *flowNet) send(who int, s Segment) {
	n.sent++
	if n.check != nil {
		n.check(who, &s)
	}
	fault, ok := n.faults[n.sent]
	if !ok {
		fault.copies = 1
	}
	own := n.nats[who]
	remote := s.Dst.Port()
	n.log("%3d %c sends %v, %d copies %v late", n.sent, 'A'+rune(who), &s, fault.copies, fault.late)
	external := own.out(remote)
	own.note(remote, &s)
	s.Seq += own.shift(remote)
	s.Src = netip.AddrPortFrom(s.Src.Addr(), external)
	for range fault.copies {
		arrives := s
		n.post(netEvent{at: n.now.Add(n.delay + fault.late), who: 1 - who, seg: &arrives})
	}
}

// enters takes a segment through the receiver's NAT, if that lets it in.
func (n *flowNet) enters(who int, s *Segment) bool {
	nat, remote := n.nats[who], s.Src.Port()
	if !nat.in(remote, s.Dst.Port()) {
		n.log("    %c's NAT drops %v", 'A'+rune(who), s)
		if nat.resets && s.Flags&RST == 0 {
			rst := resetFor(s)
			n.post(netEvent{at: n.now.Add(n.delay), who: 1 - who, seg: &rst})
		}
		return false
	}
	if s.Flags&RST != 0 {
		nat.note(remote, s)
	}
	s.Dst = n.local[who]
	if s.Flags&ACK != 0 {
		s.Ack -= nat.shift(remote)
	}
	n.log("    %c gets %v", 'A'+rune(who), s)
	return true
}
