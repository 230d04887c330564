package sim

import (
	"github.com/synpunch/synpunch/nat"
)

// The providers are routers, as live: a TTL of 2 at a host behind one NAT ends at its own
// provider, 3 at the other one, 4 at the other NAT.

// depart is a packet that leaves the outermost NAT of a site.
func (w *world) depart(side uint8, data []byte, from uint16, syn int32) {
	out := w.providers[side].Outbound(w.time(), data, w.routed[:0])
	w.routed = out[:0]
	for _, p := range out {
		if p.To == nat.Inside { // it ended here
			w.post(event{at: w.now, kind: fromOutside, who: w.outermost[side], data: p.Data, syn: -1})
			continue
		}
		w.travel(&w.ways[side], p.Data, from, syn)
	}
}

// arrive is a packet that comes off the link.
func (w *world) arrive(e *event) {
	side := uint8(e.who)
	out := w.providers[side].Inbound(w.time(), e.data, w.routed[:0])
	w.routed = out[:0]
	for _, p := range out {
		if p.To == nat.Outside { // it ended here
			w.travel(&w.ways[side], p.Data, e.from, -1)
			continue
		}
		w.post(event{at: w.now, kind: fromOutside, who: w.outermost[side], from: e.from, data: p.Data, syn: e.syn})
	}
}
