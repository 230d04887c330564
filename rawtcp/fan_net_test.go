package rawtcp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The hosts of the fan tests; outside its NAT a host has the same address.
var (
	fanHosts  = [2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.2")}
	fanSecret = [2][16]byte{{1: 'a'}, {1: 'b'}}
)

// fanConfig is one end of a fanNet; the secret is another for each seed.
func fanConfig(who int, seed uint64, local, remote PortRange) FanConfig {
	secret := fanSecret[who]
	for k := range 8 {
		secret[8+k] = byte(seed >> (8 * k))
	}
	return FanConfig{
		HandshakeConfig: HandshakeConfig{
			Local: netip.AddrPortFrom(fanHosts[who], 0), Remote: netip.AddrPortFrom(fanHosts[1-who], 0),
			TSBase: 1001, Timeout: 20 * time.Second,
		},
		LocalPorts: []PortRange{local}, RemotePorts: []PortRange{remote},
		Numbers: NewISNGenerator(secret), Start: testEpoch, Order: [16]byte{0: 1, 1: byte(who)},
	}
}

func mustFan(tb testing.TB, cfg FanConfig) *Fan {
	tb.Helper()
	f, err := NewFan(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// scatterNAT maps every flow of its host to a random port of a small range, as a NAT with
// APDM and random allocation does with 64,512.
type scatterNAT struct {
	ports   PortRange
	open    bool // filters by the peer's address only
	rewrite bool // moves sequence numbers
	rng     *rand.Rand
	out     map[[2]uint16]uint16 // local and remote port: external port
	in      map[[2]uint16]uint16 // external and remote port: local port
	any     map[uint16][2]uint16 // external port: some flow's local and remote port
}

func newScatterNAT(ports PortRange, rng *rand.Rand) *scatterNAT {
	return &scatterNAT{ports: ports, rng: rng, out: map[[2]uint16]uint16{}, in: map[[2]uint16]uint16{}, any: map[uint16][2]uint16{}}
}

// outbound returns the external port of a flow, 0 if there is none left.
func (n *scatterNAT) outbound(local, remote uint16) uint16 {
	flow := [2]uint16{local, remote}
	if x, ok := n.out[flow]; ok {
		return x
	}
	size := int(n.ports.Hi-n.ports.Lo) + 1
	from := n.rng.IntN(size)
	for k := range size {
		x := n.ports.Lo + uint16((from+k)%size)
		if _, taken := n.in[[2]uint16{x, remote}]; !taken {
			n.out[flow], n.in[[2]uint16{x, remote}] = x, local
			n.any[x] = flow
			return x
		}
	}
	return 0
}

// inbound returns the local port for what comes from a remote port to an external one.
func (n *scatterNAT) inbound(external, remote uint16) (local uint16, ok bool) {
	if local, ok = n.in[[2]uint16{external, remote}]; ok || !n.open {
		return local, ok
	}
	flow, ok := n.any[external]
	if _, taken := n.out[[2]uint16{flow[0], remote}]; ok && !taken {
		n.out[[2]uint16{flow[0], remote}], n.in[[2]uint16{external, remote}] = external, flow[0]
	}
	return flow[0], ok
}

// shift is how far sequence numbers of a flow are moved on the way out.
func (n *scatterNAT) shift(external, remote uint16) Seq {
	if !n.rewrite {
		return 0
	}
	return Seq(mix(uint64(external)<<16 | uint64(remote)))
}

// fanFaults is what the network does to a packet.
type fanFaults struct {
	lose, twice float64
	jitter      time.Duration // up to this late: packets overtake each other
}

// fanNet joins two ends, of which each may be a Fan, through two NATs in virtual time.
type fanNet struct {
	ends   [2]end
	fans   [2]*Fan // nil where the end is none
	nats   [2]*scatterNAT
	start  [2]time.Duration
	gap    time.Duration // from one SYN of a fan to its next
	delay  time.Duration
	faults fanFaults
	quiet  bool // no faults any more
	rng    *rand.Rand

	now   time.Time
	queue []fanEvent
	sent  int
	trace *strings.Builder
	check func(who int, s *Segment)
}

type fanEvent struct {
	at  time.Time
	who int
	syn uint64 // number of the SYN, from 1
	seg *Segment
}

func (n *fanNet) post(e fanEvent) {
	i := len(n.queue)
	for i > 0 && n.queue[i-1].at.After(e.at) {
		i--
	}
	n.queue = append(n.queue, fanEvent{})
	copy(n.queue[i+1:], n.queue[i:])
	n.queue[i] = e
}

// run plays until nothing is left to happen or limit has passed.
func (n *fanNet) run(limit time.Duration) {
	for who := range n.ends {
		n.post(fanEvent{at: testEpoch.Add(n.start[who]), who: who, syn: 1})
	}
	var out []Segment
	for len(n.queue) > 0 && n.queue[0].at.Sub(testEpoch) <= limit && n.sent < 50*netLimit {
		e := n.queue[0]
		n.queue = n.queue[1:]
		n.now = e.at
		out = n.play(e, out[:0])
		for i := range out {
			n.send(e.who, out[i])
		}
		if at, ok := n.ends[e.who].Deadline(); ok && len(out) > 0 || e.syn == 1 && ok {
			n.post(fanEvent{at: at, who: e.who})
		}
	}
}

func (n *fanNet) play(e fanEvent, out []Segment) []Segment {
	end, fan := n.ends[e.who], n.fans[e.who]
	switch {
	case e.syn > 0 && fan == nil:
		return end.Start(n.now, out)
	case e.syn > 0:
		if fan.Ready() {
			return out
		}
		if e.syn < fan.Len() {
			n.post(fanEvent{at: n.now.Add(n.gap), who: e.who, syn: e.syn + 1})
		}
		return append(out, fan.SYN(n.now, e.syn-1))
	case e.seg != nil:
		if !n.enters(e.who, e.seg) {
			return out
		}
		return end.Receive(n.now, e.seg, out)
	}
	if at, ok := end.Deadline(); ok {
		if at.After(n.now) {
			n.post(fanEvent{at: at, who: e.who})
			return out
		}
		return end.Tick(n.now, out)
	}
	return out
}

func (n *fanNet) log(format string, args ...any) {
	if n.trace != nil {
		fmt.Fprintf(n.trace, "%12v ", n.now.Sub(testEpoch))
		fmt.Fprintf(n.trace, format+"\n", args...)
	}
}

// send takes a segment out through its sender's NAT.
func (n *fanNet) send(who int, s Segment) {
	n.sent++
	if n.check != nil {
		n.check(who, &s)
	}
	x := n.nats[who].outbound(s.Src.Port(), s.Dst.Port())
	copies, late := 1, time.Duration(0)
	if !n.quiet {
		if n.rng.Float64() < n.faults.lose {
			copies = 0
		} else if n.rng.Float64() < n.faults.twice {
			copies = 2
		}
	}
	n.log("%c sends %v, external port %d, %d copies", 'A'+rune(who), &s, x, copies)
	if x == 0 {
		return
	}
	s.Seq += n.nats[who].shift(x, s.Dst.Port())
	s.Src = netip.AddrPortFrom(s.Src.Addr(), x)
	for range copies {
		if n.faults.jitter > 0 && !n.quiet {
			late = time.Duration(n.rng.Int64N(int64(n.faults.jitter)))
		}
		arrives := s
		n.post(fanEvent{at: n.now.Add(n.delay + late), who: 1 - who, seg: &arrives})
	}
}

// enters takes a segment in through the receiver's NAT.
func (n *fanNet) enters(who int, s *Segment) bool {
	local, ok := n.nats[who].inbound(s.Dst.Port(), s.Src.Port())
	if !ok {
		return false
	}
	if s.Flags&ACK != 0 {
		s.Ack -= n.nats[who].shift(s.Dst.Port(), s.Src.Port())
	}
	s.Dst = netip.AddrPortFrom(s.Dst.Addr(), local)
	n.log("    %c gets %v", 'A'+rune(who), s)
	return true
}

// same reports whether two own views are of one flow.
func (n *fanNet) same(aLocal, aRemote, bLocal, bRemote uint16) bool {
	return n.nats[0].out[[2]uint16{aLocal, aRemote}] == bRemote && n.nats[1].out[[2]uint16{bLocal, bRemote}] == aRemote
}

// fanEnd is a Fan as an end; the net sends the SYNs.
type fanEnd struct{ *Fan }

// Start is there for the interface.
func (fanEnd) Start(_ time.Time, out []Segment) []Segment { return out }

var _ end = fanEnd{}
