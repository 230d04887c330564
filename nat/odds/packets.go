package odds

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/rawtcp"
)

// Packets simulates attempts packet by packet: two model NATs of package nat, a link with
// the delay of the Config, and hosts that send the SYNs of a fan and answer what comes in. It keeps its
// memory from one attempt to the next, and is not safe for concurrent use.
type Packets struct {
	odds     *Odds
	site     [2]site
	middle   *nat.NAT // the router where a low TTL ends
	way      time.Duration
	free     [][]byte
	out, ans []nat.Packet
	flows    map[flow]*entry
}

// site is a host and its NAT.
type site struct {
	nat          *nat.NAT
	host, public netip.Addr
	link         []flight // on the way to the other side's NAT, the earliest first
	from         int      // index of the first that has not arrived
}

// flight is a packet on the link.
type flight struct {
	at   time.Duration // of arrival
	data []byte
}

// flow is what the link sees of a connection: the ports of A's and B's NAT.
type flow struct{ a, b uint16 }

// entry is what happened on a flow.
type entry struct {
	syn time.Duration // when the last SYN was there, since one got in
	hit bool          // and a host has got the answer to its own
}

// NewPackets builds the two NATs.
func (o *Odds) NewPackets() (*Packets, error) {
	w := &Packets{odds: o, way: o.delay, flows: map[flow]*entry{}}
	for i := range 2 {
		s, b := &w.site[i], o.side(i).Behaviour
		s.host, s.public = [2]netip.Addr{hostA, hostB}[i], [2]netip.Addr{publicA, publicB}[i]
		cfg := &nat.Config{Alloc: w.alloc}
		switch b.Translation {
		case nat.None:
			s.host = s.public
		case nat.OneToOne:
			cfg.Hosts = []netip.Addr{s.host}
			fallthrough
		default:
			cfg.Public = []netip.Addr{s.public}
		}
		var err error
		if s.nat, err = nat.New(b, cfg); err != nil {
			return nil, fmt.Errorf("odds: NAT %s: %w", name(i), err)
		}
	}
	var err error
	w.middle, err = nat.New(nat.Behaviour{Translation: nat.None, Filtering: nat.Open}, &nat.Config{Alloc: w.alloc})
	return w, err
}

// alloc gives memory for a packet; what has arrived comes back.
func (w *Packets) alloc(n int) []byte {
	if l := len(w.free); l > 0 && cap(w.free[l-1]) >= n {
		b := w.free[l-1][:n]
		w.free = w.free[:l-1]
		return b
	}
	return make([]byte, n, max(n, 128))
}

// Run simulates one attempt with a budget of n SYNs for each side. The same seed gives
// the same trial. An error is a NAT that lets no look of a third party through, or ctx's.
func (w *Packets) Run(ctx context.Context, s *Strategy, n int, seed uint64) (Trial, error) {
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	p := &w.odds.seen[s.play]
	pt, _ := w.odds.begin(p, s.Order, n)
	clear(w.flows)
	var know [2]*facts
	start := epoch
	for i := range w.site {
		w.site[i].nat.Reset(rng.Uint64())
		w.site[i].link, w.site[i].from = w.site[i].link[:0], 0
		f, now, err := w.lookAt(i, rng)
		if err != nil {
			return Trial{}, err
		}
		know[i] = f
		if now.After(start) {
			start = now
		}
	}
	list := w.odds.lists(p, s.Order, &pt, know, rng)
	if err := w.play(ctx, start, list, s.Order); err != nil {
		return Trial{}, err
	}
	var trial Trial
	first := time.Duration(math.MaxInt64)
	for _, m := range w.flows {
		if m.hit {
			trial.Hits++
			first = min(first, m.syn)
		}
	}
	if trial.Hits > 0 {
		trial.First = first
	}
	return trial, nil
}

// lookAt finds out about a side what third parties can.
func (w *Packets) lookAt(i int, rng *rand.Rand) (*facts, time.Time, error) {
	s, side, o := &w.site[i], w.odds.side(i), w.odds
	b := &side.Behaviour
	count := 1
	if side.Knowledge == Ranked {
		count = o.foresight.looks
	} else if b.Filtering == nat.APDF && side.looked == 0 {
		count = 0
	}
	if b.Translation == nat.None {
		count = 0
	}
	f := &facts{}
	v, err := o.foresight.look(s.nat, s.host, w.site[1-i].public, count, rng, side.Knowledge == Ranked)
	if err != nil {
		return nil, v.now, err
	}
	f.open, f.order, f.ports = v.port, v.order, candidates(b, v.port)
	if f.open == 0 {
		f.open = firstLocal
	}
	switch {
	case side.counts():
		f.counter = newCounter(b, v.port)
	case side.Knowledge != Known:
	case b.Translation == nat.NAPT && (b.Allocation != nat.Preserving || b.Mapping == nat.EIM):
		ext, ok := external(s.nat, v.now, netip.AddrPortFrom(s.host, firstLocal), netip.AddrPortFrom(thirdParty, 443))
		if !ok {
			return nil, v.now, fmt.Errorf("odds: NAT %s let no SYN out to a third party: %v", name(i), s.nat.LastDrop())
		}
		f.port = func(uint16) uint16 { return ext.Port() }
	default:
		f.port = func(local uint16) uint16 { return local }
	}
	return f, v.now, nil
}

// play lets everything happen, in the order of time.
func (w *Packets) play(ctx context.Context, start time.Time, list [2][]syn, r Order) error {
	var next [2]int
	for step := 0; ; step++ {
		if step%8192 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		at, side, arrives := time.Duration(math.MaxInt64), -1, false
		for i := range 2 {
			s := &w.site[i]
			if s.from < len(s.link) && s.link[s.from].at < at {
				at, side, arrives = s.link[s.from].at, i, true
			}
			if next[i] < len(list[i]) {
				if t := time.Duration(list[i][next[i]].at * float64(time.Second)); t < at {
					at, side, arrives = t, i, false
				}
			}
		}
		if side < 0 {
			return nil
		}
		w.tick(start, at)
		switch {
		case arrives:
			s := &w.site[side]
			f := s.link[s.from]
			s.from++
			w.arrive(1-side, start, at, f.data)
			w.free = append(w.free, f.data[:0])
		default:
			y := list[side][next[side]]
			next[side]++
			w.send(side, start, at, w.segment(side, y.local, y.remote, rawtcp.SYN, 0), r.primed(side))
		}
	}
}

// tick lets the NATs send the errors that they held back.
func (w *Packets) tick(start time.Time, at time.Duration) {
	for i := range w.site {
		s := &w.site[i]
		if due, ok := s.nat.Deadline(); !ok || due.After(start.Add(at)) {
			continue
		}
		w.out = s.nat.Tick(start.Add(at), w.out[:0])
		for _, p := range w.out {
			s.link = append(s.link, flight{at + w.way, p.Data})
		}
	}
}

// segment is one of the handshake.
func (w *Packets) segment(i int, local, remote uint16, flags rawtcp.Flags, ack rawtcp.Seq) *rawtcp.Segment {
	s := &rawtcp.Segment{
		Src: netip.AddrPortFrom(w.site[i].host, local), Dst: netip.AddrPortFrom(w.site[1-i].public, remote),
		DF: true, Flags: flags, Window: 64240, Seq: isn(local, remote), Ack: ack,
	}
	if flags&rawtcp.SYN != 0 {
		s.Options.MSS = 1460
	} else {
		s.Seq = s.Seq.Add(1)
	}
	return s
}

// isn is the sequence number of a flow: nothing is kept for it.
func isn(local, remote uint16) rawtcp.Seq {
	return rawtcp.Seq((uint32(local)<<16 | uint32(remote)) * 2654435769)
}

// send takes a segment of a host through its NAT; a low TTL ends at the router behind it.
func (w *Packets) send(i int, start time.Time, at time.Duration, seg *rawtcp.Segment, low bool) {
	s := &w.site[i]
	if low {
		seg.TTL = 2
		if s.nat.Behaviour().Hop == nat.HopBridge {
			seg.TTL = 1
		}
	}
	b, err := seg.Append(w.alloc(128)[:0])
	if err != nil {
		return // port 0: nobody asks for it
	}
	w.out = s.nat.Outbound(start.Add(at), b, w.out[:0])
	if len(w.out) == 0 {
		w.free = append(w.free, b[:0])
	}
	for _, p := range w.out {
		switch {
		case p.To == nat.Inside:
			w.free = append(w.free, p.Data[:0]) // the NAT is full; the host cannot help it
		case low:
			w.ans = w.middle.Outbound(start.Add(at), p.Data, w.ans[:0])
			for _, icmp := range w.ans {
				w.ans = s.nat.Inbound(start.Add(at), icmp.Data, nil)
			}
		default:
			s.link = append(s.link, flight{at + w.way, p.Data})
		}
	}
}

// arrive takes a packet into the NAT of the side i, and to its host if it gets in.
func (w *Packets) arrive(i int, start time.Time, at time.Duration, b []byte) {
	s := &w.site[i]
	seg, err := rawtcp.Parse(b)
	f := flow{seg.Dst.Port(), seg.Src.Port()}
	if i == 1 {
		f = flow{f.b, f.a}
	}
	if m := w.flows[f]; m != nil && seg.Flags&(rawtcp.SYN|rawtcp.ACK) == rawtcp.SYN {
		m.syn = at
	}
	w.out = s.nat.Inbound(start.Add(at), b, w.out[:0])
	for _, p := range w.out {
		switch {
		case p.To == nat.Outside:
			s.link = append(s.link, flight{at + w.way, p.Data})
		case err == nil:
			w.receive(i, start, at, p.Data, f)
			return
		}
	}
}

// receive is the host: it answers as rawtcp's fan does, from the segment alone.
func (w *Packets) receive(i int, start time.Time, at time.Duration, b []byte, f flow) {
	seg, err := rawtcp.Parse(b)
	if err != nil {
		return
	}
	local, remote := seg.Dst.Port(), seg.Src.Port()
	acked := seg.Flags&rawtcp.ACK != 0 && seg.Ack == isn(local, remote).Add(1)
	m := w.flows[f]
	switch {
	case seg.Flags&rawtcp.RST != 0:
	case seg.Flags&(rawtcp.SYN|rawtcp.ACK) == rawtcp.SYN:
		if m == nil {
			m = &entry{}
			w.flows[f] = m
		}
		m.syn = at
		w.send(i, start, at, w.segment(i, local, remote, rawtcp.SYN|rawtcp.ACK, seg.Seq.Add(1)), false)
	case acked && m != nil:
		m.hit = true
	}
}
