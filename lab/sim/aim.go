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
	syn := w.crowds[site].SYN()
	w.passed = w.boxes[w.outermost[site]].nat.Outbound(w.time(), syn, w.passed[:0])[:0]
}

// awaitCrowd makes the event of the crowd's next SYN.
func (w *world) awaitCrowd(site int) {
	w.q.push(event{at: w.crowds[site].at(), kind: others, who: uint16(site)})
}

// observe lets third parties see the public endpoints of the hosts, beginning at
// the time from, and starts the cross traffic.
func (w *world) observe(from int64) {
	for i := range w.hosts {
		w.hosts[i].observed = w.hosts[i].observed[:0]
	}
	for site := range w.set.sites {
		c := &w.crowds[site]
		c.from = from
		observations := w.set.sites[site].observations
		for n := range observations {
			at := from + int64(n)*int64(observationGap(observations))
			for c.Crowd != nil && c.at() < at {
				w.now = c.at()
				w.crowd(site)
			}
			w.now = at
			for i := site; i < len(w.hosts); i += 2 {
				w.ask(&w.hosts[i], n)
			}
		}
		if c.Crowd != nil {
			w.awaitCrowd(site)
		}
	}
}

func observationGap(n int) time.Duration { return min(askGap, askSpan/time.Duration(n)) }

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
func (w *world) aim(h *host) (netip.Addr, []uint16) {
	peer := &w.hosts[h.n^1]
	seen := peer.observed
	addr := peer.end.public.Addr()
	if len(seen) > 0 {
		addr = seen[len(seen)-1].Addr()
	}
	h.ports = h.ports[:0]
	switch want := h.site.RemotePorts; {
	case want == 1 && len(seen) == 0:
		h.ports = append(h.ports, peer.end.public.Port())
	case want == 1 && len(seen) == 1: // see Side.Observations
		h.ports = append(h.ports, seen[0].Port())
	default:
		w.guess(peer, h, want)
	}
	return addr, h.ports
}

// A prediction takes milliseconds, a trial microseconds. It hardly depends on
// where in the range of ports the observed ones lie, only on how far they are apart: so those of a
// counter that begins anywhere are moved to one place, and the guesses back, and a
// guess for a pattern that came before is remembered. Blocks of ports begin at
// multiples of powers of two, so for more than one guess the place within the largest
// usual block is kept; for the best guess it is enough to keep even ports even.
// A test compares with predictions at the true place.
const (
	patternPlace = 16384 // where ports are moved to
	patternBlock = 512   // largest block whose bounds are kept
	patternRoom  = 2048  // to the ends of the range and to the local port, and span of a pattern
)

// patternShift is how far the observed ports may be moved down; 0 where the place
// matters.
func patternShift(seen []netip.AddrPort, local uint16, want int) int {
	if len(seen) == 0 {
		return 0
	}
	lo, hi := 65535, 0
	for _, o := range seen {
		lo, hi = min(lo, int(o.Port())), max(hi, int(o.Port()))
	}
	near := lo-patternRoom < int(local) && int(local) < hi+patternRoom
	if near || hi-lo > patternRoom || lo < 1024+patternRoom || hi > 65535-patternRoom {
		return 0
	}
	unit := 2
	if want > 1 {
		unit = patternBlock
	}
	return lo - patternPlace - lo%unit
}

// guess predicts the ports of a peer.
func (w *world) guess(peer, h *host, want int) {
	local := peer.end.public.Port()
	shift := patternShift(peer.observed, local, want)
	key := binary.BigEndian.AppendUint16(append(w.scratch[:0], byte(want)), peer.n)
	for _, o := range peer.observed {
		a := o.Addr().As4()
		key = binary.BigEndian.AppendUint16(append(key, a[:]...), uint16(int(o.Port())-shift))
	}
	w.scratch = key
	ports, ok := w.guesses[string(key)]
	if !ok {
		ports = predictPorts(peer, h.end.public, shift, want)
		if len(w.guesses) < guessesKept {
			w.guesses[string(key)] = ports
		}
	}
	for _, p := range ports {
		moved := int(p) + shift
		if p == local {
			moved = int(p) // stays where it is
		}
		if moved > 0 && moved <= 65535 {
			h.ports = append(h.ports, uint16(moved))
		}
	}
}

// predictPorts asks package nat/predict for the ports of a peer, all observations
// being lower by shift.
func predictPorts(peer *host, toward netip.AddrPort, shift, want int) []uint16 {
	var obs []predict.Observation
	for i, o := range peer.observed {
		obs = append(obs, predict.Observation{
			Time:  Epoch.Add(time.Duration(i)*observationGap(peer.site.observations) - askLead),
			Local: peer.end.local, Dest: observer(i),
			External: netip.AddrPortFrom(o.Addr(), uint16(int(o.Port())-shift)),
		})
	}
	local := []uint16{peer.end.public.Port()}
	p, err := predict.New(obs)
	if err != nil { // observations that no NAT can have made together
		return local
	}
	target := predict.Target{Local: peer.end.local, Dest: toward}
	if len(obs) > 0 {
		target.Time = Epoch // the agreed instant, or when the peer primes
		if peer.site.Strategy == Prime {
			target.Time = Epoch.Add(-PrimeLead)
		}
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
