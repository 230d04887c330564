package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/rawtcp"
)

// maxEvents is how many events a trial may have before it goes round in circles.
// Chosen by us.
const maxEvents = 1 << 22

// world is what one worker simulates trial after trial in.
type world struct {
	set   *setup
	pcg   rand.PCG
	rng   *rand.Rand
	q     queue
	arena arena
	now   int64 // nanoseconds after Epoch

	hosts     []host // A and B of the first flow, of the second, and so on
	boxes     []box  // A's, then B's
	outermost [2]uint16
	providers [2]*nat.NAT // a router is the NAT that translates nothing
	crowds    [2]crowd
	ways      [2]way // from A, from B
	moving    int    // packets under way
	packets   int
	tap       func(Packet)
	guesses   map[string][]uint16 // see world.guess

	// Memory that is used again.
	segments []rawtcp.Segment
	incoming rawtcp.Segment
	passed   []nat.Packet
	routed   []nat.Packet
	scratch  []byte
}

func newWorld(s *setup) (*world, error) {
	w := &world{set: s, guesses: map[string][]uint16{}}
	w.rng = rand.New(&w.pcg)
	for i := range s.sites {
		if err := w.build(i); err != nil {
			return nil, err
		}
	}
	for n := range 2 * s.flows {
		site := &s.sites[n%2]
		e := &site.ends[n/2]
		first := 0
		if n%2 == 1 {
			first = len(s.sites[0].boxes)
		}
		w.hosts = append(w.hosts, host{n: uint16(n), side: uint8(n % 2), site: site, end: e, box: uint16(first + e.box), memory: new(memory)})
	}
	for i := range w.hosts {
		h := &w.hosts[i]
		b := &w.boxes[h.box]
		b.hosts = append(b.hosts, h.n)
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
	others := t.Others[:0]
	*t = Trial{N: n}
	instants := w.instants(t)
	w.observe(min(instants[0], instants[1]) - int64(askLead))
	for i := range w.hosts {
		if err := w.prepare(&w.hosts[i], instants); err != nil {
			return err
		}
	}
	for events := 0; len(w.q.list) > 0 && !w.done(); events++ {
		if events == maxEvents {
			return fmt.Errorf("simulation: trial %d: more than %d events", n, maxEvents)
		}
		e := w.q.pop()
		w.now = e.at
		w.happen(&e)
	}
	t.Flow, t.Packets = w.flow(0), w.packets
	for f := 1; f < w.set.flows; f++ {
		others = append(others, w.flow(f))
	}
	t.Others = others
	return nil
}

// flow is what flow number f gave.
func (w *world) flow(f int) Flow {
	a, b := &w.hosts[2*f], &w.hosts[2*f+1]
	r := Flow{A: a.finish(), B: b.finish()}
	r.Meeting, r.Met = lab.MeetAny(a.syns, b.syns)
	return r
}

func (w *world) reset(n int) {
	w.pcg.Seed(w.set.Seed, uint64(n))
	w.q.reset()
	w.arena.reset()
	w.moving, w.packets = 0, 0
	w.tap = nil
	if n == w.set.PacketTrial {
		w.tap = w.set.Packet
	}
	for i := range w.boxes {
		b := &w.boxes[i]
		b.nat.Reset(w.rng.Uint64())
		b.gen, b.at = 0, never
	}
	for i := range w.ways {
		w.ways[i].reset()
		w.providers[i].Reset(0)
		w.crowds[i].reset(w, w.set.sites[i].crossTraffic)
	}
}

// done reports that all ends have come to an end and no packet can change it.
func (w *world) done() bool {
	if w.moving > 0 {
		return false
	}
	for i := range w.hosts {
		if !w.hosts[i].settled() {
			return false
		}
	}
	return true
}

func (w *world) happen(e *event) {
	switch e.kind {
	case primeAt, armAt, openAt, start:
		w.act(&w.hosts[e.who], e.kind)
	case hostTimer:
		if h := &w.hosts[e.who]; e.gen == h.gen {
			w.tick(h)
		}
	case natTimer:
		if b := &w.boxes[e.who]; e.gen == b.gen {
			b.at = never
			w.leave(b, b.nat.Tick(w.time(), w.passed[:0]), 0)
		}
	case others:
		w.crowd(int(e.who))
		w.awaitCrowd(int(e.who))
	case letGo:
		w.expire(&w.ways[1-e.who])
	case fromLink:
		w.moving--
		w.arrive(e)
	case fromOutside:
		w.moving--
		w.enter(e)
	case fromInside:
		w.moving--
		b := &w.boxes[e.who]
		w.leave(b, b.nat.Outbound(w.time(), e.data, w.passed[:0]), e.from)
	case toHost:
		w.moving--
		h := &w.hosts[e.who]
		w.see(3*Lane(h.side), false, e.data)
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
		w.post(event{at: w.now + int64(h.site.Access), kind: fromInside, who: h.box, from: h.n, data: data, syn: -1})
	}
}

func (w *world) see(l Lane, out bool, data []byte) {
	if w.tap != nil {
		w.tap(Packet{Time: w.time(), Lane: l, Out: out, Data: data})
	}
}
