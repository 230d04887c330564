package nat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// step is one packet of an exchange, told by what it refers to, so that an exchange
// means the same on other ports and without one of its steps.
type step struct {
	side    Side
	who     int // flow of the exchange
	icmp    bool
	typ     uint8 // of ICMP
	code    uint8
	quote   int // ICMP: bytes of TCP quoted
	about   int // ICMP and repeat: which packet before, counted from the last
	repeat  bool
	hairpin bool // inside: to the public address
	flags   rawtcp.Flags
	seq     int // index of seqNames
	ack     int
	win     uint16
	opts    rawtcp.Options
	sack    int // 0: none, 1: of what was sent, 2: beyond
	data    int
	ttl     uint8
}

var seqNames = []string{"next", "isn", "next+1", "next+1000", "next+70000", "next-1", "next-70000", "0", "acked", "isn2", "next+100"}
var ackNames = []string{"peer's next", "peer's isn+1", "peer's next+1", "peer's next-1", "peer's next+70000", "peer's next-70000", "0", "peer's next-1000", "peer's isn2+1"}

func (s step) String() string {
	if s.icmp {
		return fmt.Sprintf("%v flow %d: ICMP type %d code %d about packet -%d, %d bytes, ttl %d", s.side, s.who, s.typ, s.code, s.about, s.quote, s.ttl)
	}
	if s.repeat {
		return fmt.Sprintf("%v flow %d: repeat packet -%d", s.side, s.who, s.about)
	}
	t := fmt.Sprintf("%v flow %d: %v seq %s win %d len %d", s.side, s.who, s.flags, seqNames[s.seq], s.win, s.data)
	if s.flags&rawtcp.ACK != 0 {
		t += " ack " + ackNames[s.ack]
	}
	if s.opts.HasWScale {
		t += fmt.Sprintf(" wscale %d", s.opts.WScale)
	}
	if s.opts.SACKPermitted {
		t += " sackOK"
	}
	if s.sack > 0 {
		t += fmt.Sprintf(" sack %d", s.sack)
	}
	if s.hairpin {
		t += " to the public address"
	}
	return fmt.Sprintf("%s ttl %d", t, s.ttl)
}

// randomExchange draws an exchange. Most of it is one connection that behaves badly
// now and then.
func randomExchange(rng *rand.Rand) []step {
	var steps []step
	n := 3 + rng.IntN(14)
	crowd := rng.IntN(5) == 0 // several flows
	script := rng.IntN(4)     // how an exchange begins
	plain := func(side Side, f rawtcp.Flags) step {
		s := step{side: side, flags: f, win: 1000, ttl: 64}
		if f&rawtcp.SYN != 0 {
			s.seq, s.opts = 1, randomOptions(rng)
		}
		return s
	}
	switch script {
	case 0: // an ordinary handshake
		steps = append(steps, plain(Inside, rawtcp.SYN), plain(Outside, rawtcp.SYN|rawtcp.ACK), plain(Inside, rawtcp.ACK))
	case 1: // crossing SYNs
		steps = append(steps, plain(Inside, rawtcp.SYN), plain(Outside, rawtcp.SYN), plain(Inside, rawtcp.SYN|rawtcp.ACK), plain(Outside, rawtcp.SYN|rawtcp.ACK), plain(Inside, rawtcp.ACK))
		steps = steps[:1+rng.IntN(len(steps))]
	case 2:
		steps = append(steps, plain(Inside, rawtcp.SYN))
	}
	flags := []rawtcp.Flags{rawtcp.SYN, rawtcp.SYN | rawtcp.ACK, rawtcp.ACK, rawtcp.ACK, rawtcp.ACK | rawtcp.PSH, rawtcp.ACK | rawtcp.PSH,
		rawtcp.FIN | rawtcp.ACK, rawtcp.RST, rawtcp.RST | rawtcp.ACK}
	for range n {
		s := step{side: Side(rng.IntN(2)), flags: flags[rng.IntN(len(flags))], ttl: 64}
		if crowd {
			s.who = rng.IntN(flowsOfExchange)
		}
		if rng.IntN(12) == 0 {
			s.ttl = uint8(1 + rng.IntN(2))
		}
		switch rng.IntN(14) {
		case 0:
			s.icmp = true
			s.typ = []uint8{3, 4, 11, 12}[rng.IntN(4)]
			s.code = uint8(rng.IntN(2))
			s.about = 1 + rng.IntN(4)
			s.quote = []int{8, 20, 19, 7, 40}[rng.IntN(5)]
		case 1:
			s.repeat, s.about = true, 1+rng.IntN(4)
		case 2:
			s.hairpin = rng.IntN(3) == 0 && s.side == Inside
		}
		s.win = []uint16{1000, 1000, 65535, 0, 1, 500}[rng.IntN(6)]
		if s.flags&rawtcp.SYN != 0 {
			s.seq, s.opts = 1, randomOptions(rng)
			if rng.IntN(6) == 0 {
				s.seq = rng.IntN(len(seqNames))
			}
		} else {
			if rng.IntN(4) == 0 {
				s.seq = rng.IntN(len(seqNames))
			}
			if rng.IntN(3) > 0 {
				s.data = []int{0, 1, 100, 1000, 1400}[rng.IntN(5)]
			}
			if rng.IntN(8) == 0 {
				s.sack = 1 + rng.IntN(2)
			}
			s.opts.HasTimestamps = rng.IntN(8) == 0 && s.sack == 0
		}
		if rng.IntN(4) == 0 {
			s.ack = rng.IntN(len(ackNames))
		}
		if s.flags == rawtcp.RST|rawtcp.ACK && rng.IntN(2) == 0 {
			s.seq, s.ack = 7, 1 // how a closed port answers
		}
		if rng.IntN(30) == 0 {
			s.flags = rawtcp.Flags(rng.IntN(256))
		}
		steps = append(steps, s)
	}
	return steps
}

func randomOptions(rng *rand.Rand) rawtcp.Options {
	if rng.IntN(4) == 0 {
		return rawtcp.Options{}
	}
	o := rawtcp.Options{MSS: 1460, SACKPermitted: rng.IntN(2) == 0, HasTimestamps: rng.IntN(3) == 0, TSVal: 4}
	if rng.IntN(3) > 0 {
		o.HasWScale, o.WScale = true, uint8(rng.IntN(16))
	}
	return o
}

// party is one side of a flow: what it has sent.
type party struct {
	isn, next uint32
	acked     uint32
}

// conversation is a flow of an exchange.
type conversation struct {
	in, remote    netip.AddrPort
	model, kernel uint16 // external ports, 0: not known yet
	parties       [2]party
	heard         [2][][2][]byte // packets that reached a side, as the model and the kernel made them
	sent          [2][]rawtcp.Segment
}

// flows of an exchange: two hosts with the same port, and other ports, towards
// the same remote and others.
const flowsOfExchange = 6

type exchange struct {
	flows  [flowsOfExchange]conversation
	random bool // every port is drawn
	plain  bool // no translation: the inside is addressed by its own endpoint
	v6     bool
}

func (k *kernelAndModel) newExchange(n int) *exchange {
	e := exchange{random: k.model.b.Allocation == Random, plain: k.model.b.Translation == None, v6: k.kernel.v6}
	port := uint16(2000 + n%15000*4)
	if n%16 == 0 {
		port = uint16(1 + n/16*2%1000) // the flows take this one and the next
	}
	remote := uint16(1000 + n%60000)
	for i := range e.flows {
		c := &e.flows[i]
		host, local, addr, far := hostA.Addr(), port, remote1.Addr(), remote3.Addr()
		other := hostB.Addr()
		if e.v6 {
			host, other, addr, far = host6.Addr(), host6.Addr().Next(), remote6.Addr(), remote6.Addr().Next()
		}
		if k.model.b.Translation == OneToOne {
			other = host
		}
		switch i {
		case 1:
			host = other // collides with flow 0
		case 2:
			local++
		case 3:
			addr = far
		case 4:
			host, addr = other, far
		case 5:
			host, local = other, port+1
		}
		c.in, c.remote = netip.AddrPortFrom(host, local), netip.AddrPortFrom(addr, remote)
		c.parties[Inside] = party{isn: 1_000_000 + uint32(i), next: 1_000_000 + uint32(i)}
		c.parties[Outside] = party{isn: 3_000_000_000, next: 3_000_000_000}
	}
	return &e
}

// build makes the packets of a step: for the model and for the kernel. They differ in the
// external port if it was drawn. False: the step means nothing here.
func (e *exchange) build(s step) (model, kernel []byte, ok bool) {
	c := &e.flows[s.who]
	me, peer := &c.parties[s.side], &c.parties[1-s.side]
	if s.icmp {
		return c.icmp(s)
	}
	if s.hairpin && e.plain {
		return nil, nil, false
	}
	var seg rawtcp.Segment
	if s.repeat {
		if len(c.sent[s.side]) < s.about {
			return nil, nil, false
		}
		seg = c.sent[s.side][len(c.sent[s.side])-s.about]
	} else {
		seg = rawtcp.Segment{TTL: s.ttl, ID: uint16(len(c.sent[0]) + 1), DF: s.data%2 == 0, Flags: s.flags, Window: s.win, Options: s.opts, Payload: bytes.Repeat([]byte{'x'}, s.data)}
		seg.Seq = rawtcp.Seq([]uint32{me.next, me.isn, me.next + 1, me.next + 1000, me.next + 70000, me.next - 1, me.next - 70000, 0, peer.acked, me.isn + 100000, me.next + 100}[s.seq])
		if s.flags&rawtcp.ACK != 0 {
			ack := []uint32{peer.next, peer.isn + 1, peer.next + 1, peer.next - 1, peer.next + 70000, peer.next - 70000, 0, peer.next - 1000, peer.isn + 100001}[s.ack]
			seg.Ack = rawtcp.Seq(ack)
			me.acked = ack
			switch s.sack {
			case 1:
				seg.Options.NSACK = 1
				seg.Options.SACK[0] = rawtcp.SACKBlock{Left: rawtcp.Seq(peer.next - 50), Right: rawtcp.Seq(peer.next)}
			case 2:
				seg.Options.NSACK = 2
				seg.Options.SACK[0] = rawtcp.SACKBlock{Left: rawtcp.Seq(peer.next - 50), Right: rawtcp.Seq(peer.next - 20)}
				seg.Options.SACK[1] = rawtcp.SACKBlock{Left: rawtcp.Seq(peer.next + 50), Right: rawtcp.Seq(peer.next + 200)}
			}
		}
		if int32(uint32(seg.End())-me.next) > 0 && int32(uint32(seg.End())-me.next) < 5000 || s.seq == 9 {
			me.next = uint32(seg.End())
		}
		c.sent[s.side] = append(c.sent[s.side], seg)
	}
	seg.Src, seg.Dst = c.in, c.remote
	if s.hairpin {
		seg.Dst = netip.AddrPortFrom(public, c.in.Port())
	}
	if s.side == Outside {
		seg.Src = c.remote
		seg.Dst = e.target(c, c.model)
	}
	model, err := seg.Append(nil)
	if err != nil {
		return nil, nil, false
	}
	if s.side == Outside {
		seg.Dst = e.target(c, c.kernel)
	}
	kernel, err = seg.Append(nil)
	return model, kernel, err == nil
}

// target is where the outside sends to.
func (e *exchange) target(c *conversation, port uint16) netip.AddrPort {
	switch {
	case e.plain:
		return c.in
	case port == 0:
		return netip.AddrPortFrom(public, c.in.Port())
	}
	return netip.AddrPortFrom(public, port)
}

// icmp makes an error about a packet that the side has received.
func (c *conversation) icmp(s step) (model, kernel []byte, ok bool) {
	heard := c.heard[s.side]
	if len(heard) < s.about {
		return nil, nil, false
	}
	both := heard[len(heard)-s.about]
	var made [2][]byte
	for i, about := range both {
		from := c.in.Addr()
		if s.side == Outside { // a router on the way
			from = netip.MustParseAddr(map[bool]string{false: "192.0.2.77", true: "2001:db8:77::1"}[from.Is6()])
		}
		made[i] = icmpAbout(from, about, s.typ, s.code, s.quote, s.ttl)
	}
	return made[0], made[1], true
}

// compare tells where what the model made differs from what the kernel made. own: packets to the
// side they came from are the NAT's own, and their IP ID is its own business.
func (e *exchange) compare(s step, model, kernel []Packet) error {
	if len(model) != len(kernel) {
		return fmt.Errorf("the model sent %d packets, the kernel %d", len(model), len(kernel))
	}
	for i := range model {
		if model[i].To != kernel[i].To {
			return fmt.Errorf("packet %d went to the %v in the model, to the %v in the kernel", i, model[i].To, kernel[i].To)
		}
		if err := e.comparePacket(s, model[i].Data, kernel[i].Data, model[i].To); err != nil {
			return err
		}
	}
	return nil
}

func (e *exchange) comparePacket(s step, model, kernel []byte, to Side) error {
	own := to == s.side // the NAT's own
	c := &e.flows[s.who]
	proto := 9
	if e.v6 {
		proto = 6
	}
	for who, b := range map[string][]byte{"model": model, "kernel": kernel} {
		if own && who == "kernel" && b[proto] == protoTCP {
			continue // left to the network card
		}
		if err := rawtcp.VerifyChecksums(b); err != nil {
			return fmt.Errorf("the %s's packet: %w", who, err)
		}
	}
	if !own {
		c.heard[1-s.side] = append(c.heard[1-s.side], [2][]byte{slices.Clone(model), slices.Clone(kernel)})
	}
	if model[proto] == protoTCP && kernel[proto] == protoTCP && !own && !e.plain {
		m, err1 := rawtcp.Parse(model)
		k, err2 := rawtcp.Parse(kernel)
		if err1 == nil && err2 == nil && s.side == Inside {
			if err := e.ports(c, m.Src.Port(), k.Src.Port()); err != nil {
				return err
			}
		}
	}
	model, kernel = slices.Clone(model), slices.Clone(kernel)
	for _, b := range [][]byte{model, kernel} {
		if own && e.v6 {
			clear(b[1:4]) // the flow label is the sender's business
		} else if own {
			copy(b[4:6], []byte{0, 0}) // ID
			copy(b[6:8], []byte{0, 0}) // DF
			copy(b[10:12], []byte{0, 0})
			if b[9] == protoTCP {
				clear(b[36:38])
			}
		}
	}
	if f := e.drawn(c, model, kernel, to); f != nil {
		hidePort(model, f.model, to)
		hidePort(kernel, f.kernel, to)
	}
	if !bytes.Equal(model, kernel) {
		return fmt.Errorf("the packets differ:\n  model  % x\n  kernel % x", model, kernel)
	}
	return nil
}

// ports learns the external ports of a flow.
func (e *exchange) ports(c *conversation, model, kernel uint16) error {
	if c.model == model && c.kernel == kernel {
		return nil
	}
	for _, p := range []uint16{model, kernel} {
		if low := c.in.Port(); low < 512 && p >= 512 || low >= 512 && low < 1024 && (p < 512 || p > 1023) || low >= 1024 && p < 1024 {
			return fmt.Errorf("port %d became %d in the model, %d in the kernel: another range", low, model, kernel)
		}
		for i := range e.flows {
			if (e.random || p != c.in.Port()) && p == e.flows[i].in.Port() {
				return errLuck
			}
		}
	}
	if !e.random && (model == c.in.Port()) != (kernel == c.in.Port()) {
		return fmt.Errorf("port %d became %d in the model, %d in the kernel", c.in.Port(), model, kernel)
	}
	for i := range e.flows {
		// Drawn by one of the two only: the port of a flow with this remote that is over.
		if f := &e.flows[i]; f != c && f.remote == c.remote && f.model != 0 && (model == f.model) != (kernel == f.kernel) {
			return errLuck
		}
	}
	c.model, c.kernel = model, kernel
	return nil
}

// errLuck: the port drawn is another flow's own, or was one's, which then meets a
// collision that the other side of the comparison does not have.
var errLuck = errors.New("a port drawn is that of another flow")

// drawn is the flow whose drawn external port stands in a pair of packets: the step's own one, or
// another of which an ICMP error quotes a packet. What a remote sends to the port that
// a flow would keep reaches the flow that has it.
func (e *exchange) drawn(c *conversation, model, kernel []byte, to Side) *conversation {
	if to == Outside && !e.v6 && model[9] == protoICMP && len(model) >= quotedPort+2 && len(kernel) >= quotedPort+2 {
		m, k := binary.BigEndian.Uint16(model[quotedPort:]), binary.BigEndian.Uint16(kernel[quotedPort:])
		for i := range e.flows {
			if f := &e.flows[i]; f.model != f.kernel && f.model == m && f.kernel == k {
				return f
			}
		}
	}
	if c.model != c.kernel {
		return c
	}
	return nil
}

// quotedPort is where an ICMP error quotes the destination port of a segment.
const quotedPort = header4 + icmpQuote + header4 + 2

// hidePort zeroes a drawn port where there is one, and the checksums over it. It is the
// source of an outbound segment, of the kernel's own RST to the outside, and the destination
// of a segment that came in and is quoted.
func hidePort(b []byte, port uint16, to Side) {
	at, segment := 20, 20
	if b[9] == protoICMP {
		clear(b[22:24])
		at, segment = quotedPort, quotedPort-2
	}
	if to == Outside && at+2 <= len(b) && uint16(b[at])<<8|uint16(b[at+1]) == port {
		clear(b[at : at+2])
	}
	if segment+18 <= len(b) {
		clear(b[segment+16 : segment+18])
	}
}

// run plays an exchange to both and returns the place and kind of the first difference.
func (k *kernelAndModel) run(steps []step) (at int, err error) {
	k.count++
	e := k.newExchange(k.count)
	for i, s := range steps {
		model, kernel, ok := e.build(s)
		if !ok {
			continue
		}
		now := time.Now()
		var out []Packet
		if s.side == Inside {
			out = k.model.Outbound(now, model, nil)
		} else {
			out = k.model.Inbound(now, model, nil)
		}
		k.packets++
		if len(out) == 0 {
			k.dropped++
		}
		got, err := k.kernel.through(s.side, kernel)
		if err != nil {
			return i, fmt.Errorf("%w: %v", errBroken, err)
		}
		if err := e.compare(s, out, k.leaving(got)); errors.Is(err, errLuck) {
			return i, nil
		} else if err != nil {
			return i, fmt.Errorf("%w (the model: %v)", err, k.model.LastDrop())
		}
		if err := k.compareEntries(e); err != nil {
			return i, err
		}
	}
	return len(steps), nil
}

// leaving leaves out what a router without a stateful forward chain sends untranslated:
// inside addresses, which no provider takes.
func (k *kernelAndModel) leaving(list []Packet) []Packet {
	if k.model.b.Translation != OneToOne || k.model.b.Filtering != Open {
		return list
	}
	return slices.DeleteFunc(list, func(p Packet) bool { return p.To == Outside && p.Data[12] == 10 })
}

// shrink leaves out steps as long as the rest differs too.
func (k *kernelAndModel) shrink(steps []step, at int, err error) ([]step, error) {
	steps = slices.Clone(steps[:at+1])
	for again := true; again; {
		again = false
		for i := len(steps) - 2; i >= 0; i-- {
			fewer := slices.Delete(slices.Clone(steps), i, i+1)
			if _, e := k.run(fewer); e != nil {
				steps, err, again = fewer, e, true
			}
		}
	}
	return steps, err
}

func lines(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "  %v\n", s)
	}
	return b.String()
}
