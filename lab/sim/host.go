package sim

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// engine is what a host runs: a rawtcp.Handshake or a stock TCP.
type engine interface {
	Start(now time.Time, out []rawtcp.Segment) []rawtcp.Segment
	Receive(now time.Time, s *rawtcp.Segment, out []rawtcp.Segment) []rawtcp.Segment
	ReceiveICMP(now time.Time, e *rawtcp.ICMPError, out []rawtcp.Segment) []rawtcp.Segment
	Tick(now time.Time, out []rawtcp.Segment) []rawtcp.Segment
	Deadline() (time.Time, bool)
	State() rawtcp.State
	Err() error
	Simultaneous() bool
}

var (
	_ engine = (*rawtcp.Handshake)(nil)
	_ engine = (*stock)(nil)
)

// host is one end.
type host struct {
	side          uint8
	site          *site
	local, remote netip.AddrPort
	engine        engine
	handshake     *rawtcp.Handshake
	stock         stock

	started bool
	over    bool // the attempt has failed; the port is free again
	end     End
	gen     uint32 // of the timer
	timer   int64  // when it goes off; never: not set
	expire  int64  // when a stock attempt is given up
}

// stubborn reports whether the host runs a rawtcp.Handshake behind a guard,
// which keeps the kernel from answering.
func (h *host) stubborn() bool { return h.site.Engine == Repair }

// prepare makes the host ready for a trial.
func (w *world) prepare(h *host, remote netip.AddrPort) error {
	*h = host{side: h.side, site: h.site, local: h.site.local, remote: remote, handshake: h.handshake, timer: never}
	if !h.stubborn() {
		h.engine = &h.stock
		w.freshStock(h)
		return nil
	}
	cfg := rawtcp.HandshakeConfig{
		Local: h.local, Remote: remote, ISN: w.isn(), TSBase: w.rng.Uint32(), WScale: stockWScale,
		Timeout: w.set.Timeout, Retries: h.site.Retries,
	}
	h.engine = h.handshake
	return h.handshake.Reset(cfg)
}

// freshStock is a new socket for another connect().
func (w *world) freshStock(h *host) {
	h.stock = stock{
		local: h.local, remote: h.remote, isn: w.isn(), tsBase: w.rng.Uint32(), old: h.site.Engine == ConnectOld,
		syns: h.stock.syns, retransmissions: h.stock.retransmissions,
	}
}

// isn draws an initial sequence number; 0 and the one before mean something
// else to a kernel.
func (w *world) isn() rawtcp.Seq {
	for {
		if n := w.rng.Uint32(); n+1 > 1 {
			return rawtcp.Seq(n)
		}
	}
}

// fire is the host's instant.
func (w *world) fire(h *host) {
	h.started = true
	h.expire = w.now + int64(w.set.Timeout)
	w.emit(h, h.engine.Start(w.time(), w.segments[:0]))
}

// take gives a host a packet.
func (w *world) take(h *host, data []byte) {
	if !isTCP(data) {
		e, err := rawtcp.ParseICMP(data)
		if err != nil || !h.started || h.over {
			return
		}
		h.end.ICMPs++
		w.emit(h, h.engine.ReceiveICMP(w.time(), &e, w.segments[:0]))
		return
	}
	s := &w.incoming
	if rawtcp.ParseInto(s, data) != nil {
		return
	}
	mine := s.Src == h.remote && s.Dst == h.local
	if !mine || !h.started || h.over {
		// The guard is silent; a kernel without a socket for the segment is not.
		if !h.stubborn() {
			w.send(h, refuse(s, w.segments[:0]))
		}
		return
	}
	if s.Flags&rawtcp.RST != 0 {
		h.end.RSTs++
	}
	w.emit(h, h.engine.Receive(w.time(), s, w.segments[:0]))
}

// tick is the host's timer.
func (w *world) tick(h *host) {
	h.timer = never
	if h.over {
		return
	}
	if !h.stubborn() && w.now >= h.expire && h.engine.State() != rawtcp.Established {
		h.over, h.end.Outcome = true, Timeout
		return
	}
	w.emit(h, h.engine.Tick(w.time(), w.segments[:0]))
}

// emit sends what the engine wants to be sent, notes its state and sets its
// timer.
func (w *world) emit(h *host, out []rawtcp.Segment) {
	w.send(h, out)
	switch h.engine.State() {
	case rawtcp.Established:
		if h.end.Outcome != Established {
			h.end.Outcome, h.end.Established = Established, time.Duration(w.now)
		}
	case rawtcp.Failed:
		h.end.Outcome = outcomeOf(h.engine.Err())
		if !h.stubborn() && h.end.Outcome != Timeout && h.end.Resends < h.site.Retries && w.now < h.expire {
			// connect() once more, on the same port.
			h.end.Resends++
			w.freshStock(h)
			w.emit(h, h.engine.Start(w.time(), w.segments[:0]))
			return
		}
		h.over = true
	}
	w.setTimer(h)
}

// setTimer makes the next timer event, if it is not there already.
func (w *world) setTimer(h *host) {
	at := never
	if d, ok := h.engine.Deadline(); ok && !h.over {
		at = int64(d.Sub(Epoch))
	}
	if !h.stubborn() && !h.over && h.engine.State() != rawtcp.Established && h.expire < at {
		at = h.expire
	}
	if at == h.timer {
		return
	}
	h.gen++
	h.timer = at
	if at != never {
		w.q.push(event{at: at, kind: hostTimer, who: h.side, gen: h.gen})
	}
}

// outcomeOf sorts an engine's error, as package punch does.
func outcomeOf(err error) Outcome {
	switch {
	case errors.Is(err, rawtcp.ErrTimeout), errors.Is(err, syscall.ETIMEDOUT):
		return Timeout
	case errors.Is(err, rawtcp.ErrPeerClosed), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return Refused
	}
	return Unreachable
}

// settled reports whether nothing but a packet changes the host any more.
func (h *host) settled() bool { return h.over || h.end.Outcome == Established }

// finish fills in the counters.
func (h *host) finish() End {
	e := h.end
	e.Simultaneous = h.engine.Simultaneous()
	if h.stubborn() {
		n := h.handshake.Counters()
		e.SYNs, e.Retransmitted, e.Resends = n.SYNs, n.Retransmissions, n.Resends
	} else {
		e.SYNs, e.Retransmitted = h.stock.syns, h.stock.retransmissions
	}
	return e
}
