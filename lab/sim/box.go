package sim

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
)

// box is one NAT of a world.
type box struct {
	n     uint16
	side  uint8
	nat   *nat.NAT
	outer int // the next one outwards: its index; -1: the provider

	// Who is inside: hosts, or other boxes with their addresses outside.
	hosts []uint16
	boxes []uint16
	addrs []netip.Addr

	gen uint32 // of the timer
	at  int64  // when it goes off
}

// build makes the NATs and the provider of site i.
func (w *world) build(i int) error {
	first := len(w.boxes)
	for _, plan := range w.set.sites[i].boxes {
		cfg := plan.config
		cfg.Alloc = w.arena.alloc
		n, err := nat.New(plan.behaviour, &cfg)
		if err != nil {
			return err
		}
		b := box{n: uint16(len(w.boxes)), side: uint8(i), nat: n, outer: -1}
		if plan.outer >= 0 {
			b.outer = first + plan.outer
		}
		w.boxes = append(w.boxes, b)
	}
	w.outermost[i] = uint16(len(w.boxes) - 1)
	for n := first; n < len(w.boxes); n++ {
		if out := w.boxes[n].outer; out >= 0 {
			outer := &w.boxes[out]
			outer.boxes = append(outer.boxes, uint16(n))
			outer.addrs = append(outer.addrs, outside(&w.set.sites[i], n-first))
		}
	}
	a := sites4[i]
	if w.set.Scenario.Family == lab.IP6 {
		a = sites6[i]
	}
	router, err := nat.Preset(lab.NATNone)
	if err != nil {
		return err
	}
	w.providers[i], err = nat.New(router, &nat.Config{
		Gateway: []netip.Addr{netip.MustParseAddr(a.isp)},
		Outer:   []netip.Addr{netip.MustParseAddr(a.ispCore)},
		Alloc:   w.arena.alloc,
	})
	return err
}

// outside is the address by which the next NAT knows the hosts behind box n of
// the site, which are one.
func outside(s *site, n int) netip.Addr {
	for _, e := range s.ends {
		addr, at := e.local.Addr(), e.box
		for {
			addr = s.boxes[at].outside(addr, 0)
			if at == n {
				return addr
			}
			if at = s.boxes[at].outer; at < 0 || at == len(s.boxes)-1 {
				break
			}
		}
	}
	return netip.Addr{}
}

// leave sends on what a NAT lets through or says, and sets its timer. from is
// the host that the packets come from if they go out.
func (w *world) leave(b *box, out []nat.Packet, from uint16) {
	w.passed = out[:0]
	for _, p := range out {
		switch {
		case p.To == nat.Inside:
			w.inwards(b, p.Data)
		case b.outer >= 0:
			w.post(event{at: w.now, kind: fromInside, who: uint16(b.outer), from: from, data: p.Data, syn: -1})
		default:
			w.see(LaneNATA+Lane(b.side), true, p.Data)
			syn := int32(-1)
			if isSYN(p.Data) {
				h := &w.hosts[from]
				syn = int32(len(h.syns))
				h.syns = append(h.syns, lab.Passage{Left: w.time()})
			}
			w.depart(b.side, p.Data, from, syn)
		}
	}
	at := never
	if d, ok := b.nat.Deadline(); ok {
		at = int64(d.Sub(Epoch))
	}
	if at != b.at {
		b.gen++
		b.at = at
		if at != never {
			w.q.push(event{at: at, kind: natTimer, who: b.n, gen: b.gen})
		}
	}
}

// inwards sends a packet to whom it is for behind a NAT.
func (w *world) inwards(b *box, data []byte) {
	dst := destination(data)
	if len(b.boxes) > 0 {
		if i := slices.Index(b.addrs, dst); i >= 0 {
			w.post(event{at: w.now, kind: fromOutside, who: b.boxes[i], data: data, syn: -1})
		}
		return
	}
	to := -1
	for _, n := range b.hosts {
		h := &w.hosts[n]
		if h.end.local.Addr() != dst {
			continue
		}
		// One host may have several flows, which differ in the port.
		if to < 0 || isTCP(data) && destinationPort(data) == h.end.local.Port() || !isTCP(data) && quotedPort(data) == h.end.local.Port() {
			to = int(n)
		}
	}
	if to >= 0 {
		w.post(event{at: w.now + int64(w.hosts[to].site.Access), kind: toHost, who: uint16(to), data: data, syn: -1})
	}
}

// enter is a packet that comes to a NAT from outside.
func (w *world) enter(e *event) {
	b := &w.boxes[e.who]
	if b.outer < 0 {
		w.see(LaneNATA+Lane(b.side), false, e.data)
		if e.syn >= 0 {
			if p := &w.hosts[e.from].syns[e.syn]; p.Arrived.IsZero() {
				p.Arrived = w.time()
			}
		}
	}
	w.leave(b, b.nat.Inbound(w.time(), e.data, w.passed[:0]), 0)
}

const protoTCP = 6

func isTCP(ip []byte) bool {
	if ip[0]>>4 == 4 {
		return ip[9] == protoTCP
	}
	return ip[6] == protoTCP
}

// isSYN reports whether a packet is a bare SYN. Nothing in this world has IP
// options or extension headers.
func isSYN(ip []byte) bool {
	flags := headerLen(ip) + 13
	const fin, syn, rst, ack = 1, 2, 4, 16
	return isTCP(ip) && len(ip) > flags && ip[flags]&(fin|syn|rst|ack) == syn
}

func headerLen(ip []byte) int {
	if ip[0]>>4 == 6 {
		return 40
	}
	return 20
}

func destination(ip []byte) netip.Addr {
	if ip[0]>>4 == 6 {
		return netip.AddrFrom16([16]byte(ip[24:40]))
	}
	return netip.AddrFrom4([4]byte(ip[16:20]))
}

func destinationPort(ip []byte) uint16 { return binary.BigEndian.Uint16(ip[headerLen(ip)+2:]) }

// quotedPort is the source port of the segment that an ICMP error quotes.
func quotedPort(ip []byte) uint16 {
	quote := ip[headerLen(ip)+8:]
	return binary.BigEndian.Uint16(quote[headerLen(quote):])
}
