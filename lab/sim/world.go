package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/rawtcp"
)

// Chosen by us.
const (
	askLead   = time.Second // how long before the first instant a host asks for its public endpoint
	maxEvents = 1 << 20     // of one trial: it goes round in circles
)

// world is what one worker simulates trial after trial in.
type world struct {
	set   *setup
	pcg   rand.PCG
	rng   *rand.Rand
	q     queue
	arena arena
	now   int64 // nanoseconds after Epoch

	hosts   [2]host
	nats    [2]*nat.NAT
	natGen  [2]uint32
	natAt   [2]int64
	ways    [2]way // from A, from B
	syns    [2][]lab.Passage
	moving  int // packets under way
	packets int
	tap     func(Packet)

	// Memory that is used again.
	segments []rawtcp.Segment
	incoming rawtcp.Segment
	passed   []nat.Packet
	scratch  []byte
}

func newWorld(s *setup) (*world, error) {
	w := &world{set: s}
	w.rng = rand.New(&w.pcg)
	for i := range w.hosts {
		site := &s.sites[i]
		cfg := site.config
		cfg.Alloc = w.arena.alloc
		n, err := nat.New(site.behaviour, &cfg)
		if err != nil {
			return nil, err
		}
		w.nats[i] = n
		w.hosts[i] = host{side: uint8(i), site: site, handshake: new(rawtcp.Handshake)}
	}
	faults := s.Scenario.Link.Faults
	w.ways = [2]way{newWay(1, s.ab, lab.AB, faults), newWay(0, s.ba, lab.BA, faults)}
	return w, nil
}

func (w *world) time() time.Time { return Epoch.Add(time.Duration(w.now)) }

// post puts a packet under way.
func (w *world) post(e event) {
	w.moving++
	w.q.push(e)
}

// trial runs trial number n.
func (w *world) trial(n int, t *Trial) error {
	w.reset(n)
	skew := w.set.Skew
	if u := w.set.SkewError; u.Sigma > 0 || u.Bound > 0 {
		skew += time.Duration(w.rng.NormFloat64()*float64(u.Sigma) + (2*w.rng.Float64()-1)*float64(u.Bound))
	}
	w.now = min(0, int64(skew)) - int64(askLead)
	var publics [2]netip.AddrPort
	for i := range w.hosts {
		publics[i] = w.ask(i)
	}
	for i := range w.hosts {
		if err := w.prepare(&w.hosts[i], publics[1-i]); err != nil {
			return err
		}
	}
	w.q.push(event{at: 0, kind: start, who: 0})
	w.q.push(event{at: int64(skew), kind: start, who: 1})
	for events := 0; len(w.q.list) > 0 && !w.done(); events++ {
		if events == maxEvents {
			return fmt.Errorf("simulation: trial %d: more than %d events", n, maxEvents)
		}
		e := w.q.pop()
		w.now = e.at
		w.happen(&e)
	}
	*t = Trial{N: n, Skew: skew, A: w.hosts[0].finish(), B: w.hosts[1].finish(), Packets: w.packets}
	t.Meeting, t.Met = meet(w.syns[0], w.syns[1])
	return nil
}

func (w *world) reset(n int) {
	w.pcg.Seed(w.set.Seed, uint64(n))
	w.q.reset()
	w.arena.reset()
	w.moving, w.packets = 0, 0
	w.tap = nil
	if n == 0 {
		w.tap = w.set.Packet
	}
	for i := range w.nats {
		w.nats[i].Reset(w.rng.Uint64())
		w.natGen[i], w.natAt[i] = 0, never
		w.ways[i].reset()
		w.syns[i] = w.syns[i][:0]
	}
}

// done reports that both ends have come to an end and no packet can change it.
func (w *world) done() bool {
	return w.moving == 0 && w.hosts[0].settled() && w.hosts[1].settled()
}

func (w *world) happen(e *event) {
	h := &w.hosts[e.who]
	switch e.kind {
	case start:
		w.fire(h)
	case hostTimer:
		if e.gen == h.gen {
			w.tick(h)
		}
	case natTimer:
		if e.gen == w.natGen[e.who] {
			w.natAt[e.who] = never
			w.leave(e.who, w.nats[e.who].Tick(w.time(), w.passed[:0]))
		}
	case letGo:
		w.expire(&w.ways[1-e.who])
	case fromLink:
		w.moving--
		w.see(LaneNATA+Lane(e.who), false, e.data)
		if e.syn >= 0 {
			if p := &w.syns[1-e.who][e.syn]; p.Arrived.IsZero() {
				p.Arrived = w.time()
			}
		}
		w.leave(e.who, w.nats[e.who].Inbound(w.time(), e.data, w.passed[:0]))
	case fromHost:
		w.moving--
		w.leave(e.who, w.nats[e.who].Outbound(w.time(), e.data, w.passed[:0]))
	case toHost:
		w.moving--
		w.see(3*Lane(e.who), false, e.data)
		w.take(h, e.data)
	}
}

// send puts a host's segments on their way to its NAT.
func (w *world) send(h *host, out []rawtcp.Segment) {
	w.segments = out[:0]
	for i := range out {
		b, err := out[i].Append(w.scratch[:0])
		if err != nil {
			continue // no engine makes a segment that does not fit
		}
		w.scratch = b
		data := w.arena.alloc(len(b))
		copy(data, b)
		w.packets++
		w.see(3*Lane(h.side), true, data)
		w.post(event{at: w.now + int64(h.site.Access), kind: fromHost, who: h.side, data: data, syn: -1})
	}
}

// leave sends on what a NAT lets through or says, and sets its timer.
func (w *world) leave(who uint8, out []nat.Packet) {
	w.passed = out[:0]
	for _, p := range out {
		if p.To == nat.Inside {
			w.post(event{at: w.now + int64(w.hosts[who].site.Access), kind: toHost, who: who, data: p.Data, syn: -1})
			continue
		}
		w.see(LaneNATA+Lane(who), true, p.Data)
		syn := int32(-1)
		if isSYN(p.Data) {
			syn = int32(len(w.syns[who]))
			w.syns[who] = append(w.syns[who], lab.Passage{Left: w.time()})
		}
		w.travel(&w.ways[who], p.Data, syn)
	}
	at := never
	if d, ok := w.nats[who].Deadline(); ok {
		at = int64(d.Sub(Epoch))
	}
	if at != w.natAt[who] {
		w.natGen[who]++
		w.natAt[who] = at
		if at != never {
			w.q.push(event{at: at, kind: natTimer, who: who, gen: w.natGen[who]})
		}
	}
}

func (w *world) see(l Lane, out bool, data []byte) {
	if w.tap != nil {
		w.tap(Packet{Time: w.time(), Lane: l, Out: out, Data: data})
	}
}

// ask returns the public endpoint of a host as its peer knows it: the local port
// where the NAT preserves it, otherwise what a third party saw.
func (w *world) ask(i int) netip.AddrPort {
	site := &w.set.sites[i]
	known := netip.AddrPortFrom(site.public, site.local.Port())
	if !site.asks {
		return known
	}
	probe := rawtcp.Segment{Src: site.local, Dst: observer, Flags: rawtcp.SYN, Seq: w.isn(), DF: true, Window: stockWindow}
	b, err := probe.Append(w.scratch[:0])
	if err != nil {
		return known
	}
	w.scratch = b
	data := w.arena.alloc(len(b))
	copy(data, b)
	out := w.nats[i].Outbound(w.time(), data, w.passed[:0])
	w.passed = out[:0]
	for _, p := range out {
		if p.To == nat.Outside && rawtcp.ParseInto(&w.incoming, p.Data) == nil {
			return w.incoming.Src
		}
	}
	return known
}

// meet is how lab/live judges the SYNs of a flow: the first two that crossed,
// else the nearest two that arrived; one that never arrived counts only where
// its side has no other.
func meet(as, bs []lab.Passage) (found lab.Meeting, ok bool) {
	arrivedA, arrivedB := anyArrived(as), anyArrived(bs)
	for _, a := range as {
		if arrivedA && a.Arrived.IsZero() {
			continue
		}
		for _, b := range bs {
			if arrivedB && b.Arrived.IsZero() {
				continue
			}
			m := lab.Meet(a, b)
			if m.Crossed {
				return m, true
			}
			if !ok || m.Margin > found.Margin {
				found, ok = m, true
			}
		}
	}
	return found, ok
}

func anyArrived(list []lab.Passage) bool {
	for _, p := range list {
		if !p.Arrived.IsZero() {
			return true
		}
	}
	return false
}
