package sim

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/nat/predict"
	"github.com/synpunch/synpunch/rawtcp"
)

// Chosen by us.
const (
	askLead     = time.Second            // how long before the first instant a third party first sees a host's public endpoint
	askSpan     = 500 * time.Millisecond // in which all observations are made
	askGap      = 100 * time.Millisecond // between two of them, if the span allows
	guessesKept = 1 << 12
)

// observers are third parties: the first of so many addresses in a row.
var observers = netip.MustParseAddrPort("192.0.2.53:3478")

// crowd is the other subscribers of a site's outermost NAT.
type crowd struct {
	*lab.Crowd       // nil: none
	from       int64 // its beginning
}

func (c *crowd) reset(w *world, rate float64) {
	c.Crowd = nil
	if rate > 0 {
		c.Crowd = lab.NewCrowd(rate, w.rng.Uint64())
	}
}

func (c *crowd) at() int64 { return c.from + int64(c.At()) }

// crowd sends the next SYN of a site's other subscribers.
func (w *world) crowd(site int) {
	c := &w.crowds[site]
	w.passed = w.boxes[w.outermost[site]].nat.Outbound(w.time(), c.SYN(), w.passed[:0])[:0]
	w.q.push(event{at: c.at(), kind: others, who: uint16(site)})
}

// observe lets third parties see the public endpoints of the hosts, beginning at
// the time from, and starts the cross traffic.
func (w *world) observe(from int64) {
	w.now = from
	most := 0
	for i := range w.crowds {
		if c := &w.crowds[i]; c.Crowd != nil {
			c.from = from
			w.q.push(event{at: c.at(), kind: others, who: uint16(i)})
		}
		most = max(most, w.set.sites[i].observations)
	}
	for i := range w.hosts {
		w.hosts[i].observed = w.hosts[i].observed[:0]
	}
	for n := range most {
		w.crowdUntil(from + int64(n)*int64(observationGap(most)))
		for i := range w.hosts {
			if h := &w.hosts[i]; n < h.site.observations {
				w.ask(h, n)
			}
		}
	}
}

func observationGap(n int) time.Duration { return min(askGap, askSpan/time.Duration(n)) }

// crowdUntil lets the other subscribers do what they do before the time at, and
// moves on to it.
func (w *world) crowdUntil(at int64) {
	for len(w.q.list) > 0 && w.q.list[0].at < at {
		e := w.q.pop()
		w.now = e.at
		w.crowd(int(e.who))
	}
	w.now = at
}

// ask sends a SYN to observer number n, who sees the host's public endpoint. It answers
// nothing.
func (w *world) ask(h *host, n int) {
	dst := observer(n)
	probe := rawtcp.Segment{Src: h.end.local, Dst: dst, Flags: rawtcp.SYN, Seq: w.isn(), DF: true, Window: stockWindow}
	b, err := probe.Append(w.scratch[:0])
	if err != nil {
		return
	}
	w.scratch = b
	data := w.arena.alloc(len(b))
	copy(data, b)
	for at := int(h.box); at >= 0; at = w.boxes[at].outer {
		out := w.boxes[at].nat.Outbound(w.time(), data, w.passed[:0])
		w.passed = out[:0]
		if len(out) != 1 || out[0].To != nat.Outside {
			return
		}
		data = out[0].Data
	}
	if rawtcp.ParseInto(&w.incoming, data) == nil {
		h.observed = append(h.observed, w.incoming.Src)
	}
}

func observer(n int) netip.AddrPort {
	b := observers.Addr().As4()
	b[3] += byte(n)
	return netip.AddrPortFrom(netip.AddrFrom4(b), observers.Port())
}

// aim is the peer's address and its likeliest ports, the best first.
func (w *world) aim(h *host, instants [2]int64) (netip.Addr, []uint16) {
	peer := &w.hosts[h.n^1]
	want := h.site.RemotePorts
	seen := peer.observed
	addr := peer.end.public.Addr()
	if len(seen) > 0 {
		addr = seen[len(seen)-1].Addr()
	}
	one := &w.one
	one[0] = peer.end.public.Port()
	switch {
	case want == 1 && len(seen) == 0:
		return addr, one[:]
	case want == 1 && len(seen) == 1: // see Side.Observations
		one[0] = seen[0].Port()
		return addr, one[:]
	}
	return addr, w.guess(peer, h, instants, want)
}

// guess predicts the ports of a peer. One that was computed before for the same
// observations is taken again.
func (w *world) guess(peer, h *host, instants [2]int64, want int) []uint16 {
	key := append(w.scratch[:0], byte(peer.n), byte(peer.n>>8), byte(want))
	for _, o := range peer.observed {
		a := o.Addr().As4()
		key = binary.BigEndian.AppendUint16(append(key, a[:]...), o.Port())
	}
	key = binary.BigEndian.AppendUint64(key, uint64(instants[1]))
	w.scratch = key
	if ports, ok := w.guesses[string(key)]; ok {
		return ports
	}
	at := instants[peer.side]
	if peer.site.Strategy == Prime {
		at -= int64(PrimeLead)
	}
	ports := predictPorts(peer, h.end.public, min(instants[0], instants[1])-int64(askLead), at, want)
	if len(w.guesses) < guessesKept {
		w.guesses[string(key)] = ports
	}
	return ports
}

// predictPorts asks package nat/predict. from is when the first observation was made, at when the
// mapping to be guessed will be.
func predictPorts(peer *host, toward netip.AddrPort, from, at int64, want int) []uint16 {
	var obs []predict.Observation
	gap := int64(0)
	if n := max(len(peer.observed), peer.site.observations); n > 0 {
		gap = int64(observationGap(n))
	}
	for i, o := range peer.observed {
		obs = append(obs, predict.Observation{
			Time: Epoch.Add(time.Duration(from + int64(i)*gap)), Local: peer.end.local, Dest: observer(i), External: o,
		})
	}
	local := []uint16{peer.end.public.Port()}
	p, err := predict.New(obs)
	if err != nil { // observations that no NAT can have made together
		return local
	}
	target := predict.Target{Local: peer.end.local, Dest: toward}
	if len(obs) > 0 {
		target.Time = Epoch.Add(time.Duration(at))
	}
	d, err := p.Next(target)
	if err != nil {
		return local
	}
	var ports []uint16
	for _, g := range d.Top(want) {
		ports = append(ports, g.Port)
	}
	return ports
}
