package sim

import (
	"math"
	"slices"
	"time"

	"github.com/synpunch/synpunch/lab"
)

// way is one direction of the link.
type way struct {
	to     uint8 // side of the provider at its end
	delay  time.Duration
	faults map[int]lab.Fault // by packet number

	tcp  int   // TCP packets so far
	last int64 // when the latest packet arrives: packets do not overtake each other
	held []heldPacket
}

// heldPacket waits for later ones to overtake it.
type heldPacket struct {
	event
	after int   // goes behind the packet of this number
	limit int64 // or at this time
}

func newWay(to uint8, delay time.Duration, dir lab.Direction, faults []lab.Fault) way {
	w := way{to: to, delay: delay}
	for _, f := range faults {
		if f.Direction == dir {
			if w.faults == nil {
				w.faults = map[int]lab.Fault{}
			}
			w.faults[f.Packet] = f
		}
	}
	return w
}

func (l *way) reset() {
	clear(l.held)
	l.tcp, l.last, l.held = 0, math.MinInt64, l.held[:0]
}

// travel puts a packet that has left a provider on its way to the other.
func (w *world) travel(l *way, data []byte, from uint16, syn int32) {
	at := w.now + int64(l.delay)
	link := &w.set.Scenario.Link
	if j := link.Jitter; j > 0 {
		at += w.rng.Int64N(int64(j))
	}
	at = max(at, l.last)
	e := event{at: at, kind: fromLink, who: uint16(l.to), from: from, data: data, syn: syn}
	var f lab.Fault
	if isTCP(data) {
		l.tcp++
		f = l.faults[l.tcp]
	}
	if f.Action == "" && link.Loss > 0 && w.rng.Float64() < link.Loss {
		return
	}
	if !isTCP(data) {
		l.last = at
		w.post(e)
		return
	}
	switch f.Action {
	case lab.Lose:
		return
	case lab.Reorder:
		h := heldPacket{event: e, after: l.tcp + max(f.Behind, 1), limit: at + int64(lab.ReorderLimit)}
		l.held = append(l.held, h)
		w.moving++
		w.q.push(event{at: h.limit, kind: letGo, who: uint16(l.to)})
		return
	case lab.Duplicate:
		l.last = at
		again := w.arena.alloc(len(data))
		copy(again, data)
		w.post(e)
		e.data = again
		w.post(e)
	default:
		l.last = at
		w.post(e)
	}
	w.release(l, l.tcp, at)
}

// release lets the held packets follow that packet number n has overtaken, which
// arrives at the time at.
func (w *world) release(l *way, n int, at int64) {
	l.held = slices.DeleteFunc(l.held, func(h heldPacket) bool {
		if n < h.after || at > h.limit {
			return false
		}
		w.moving--
		h.at = at
		w.post(h.event)
		return true
	})
}

// expire lets the held packets go whose time is up.
func (w *world) expire(l *way) {
	l.held = slices.DeleteFunc(l.held, func(h heldPacket) bool {
		if w.now < h.limit {
			return false
		}
		w.moving--
		h.at = w.now
		w.post(h.event)
		return true
	})
}
