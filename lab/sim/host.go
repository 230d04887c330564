package sim

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/rawtcp"
)

// engine is what a host runs: rawtcp's handshake or a stock TCP.
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
	_ engine = (*rawtcp.Candidates)(nil)
	_ engine = (*stock)(nil)
)

// host is one end of one flow.
type host struct {
	n    uint16
	side uint8
	box  uint16 // that it is behind
	site *site
	end  *end

	remote netip.AddrPort // of several the likeliest
	ports  []uint16       // of the peer that it tries, in order
	engine engine
	memory *memory
	stock  stock
	isn    uint32         // of a kernel socket, at clockZero
	tsBase uint32         // likewise
	syn    rawtcp.Segment // of the parked socket
	early  []arrival      // repair: what came before the instant

	observed []netip.AddrPort // its public endpoint as a third party saw it
	syns     []lab.Passage    // that left the outermost NAT

	open    bool // a socket, if the host has one, sees what comes
	started bool // the instant has passed
	over    bool // the attempt has failed; the port is free again
	res     End
	gen     uint32 // of the timer
	timer   int64  // when it goes off; never: not set
	expire  int64  // when the attempt of a kernel socket is given up
}

// memory is what the engine repair keeps from trial to trial.
type memory struct {
	handshake  rawtcp.Handshake
	candidates rawtcp.Candidates
}

// arrival is a packet and when it came.
type arrival struct {
	at   int64
	data []byte
}

// kernel reports whether the host's flow is a kernel socket from the beginning.
func (h *host) kernel() bool { return h.site.Engine != Repair }

// prepare makes the host ready for a trial, after observe.
func (w *world) prepare(h *host, instants [2]int64) error {
	instant := instants[h.side]
	aim, ports := w.aim(h)
	*h = host{
		n: h.n, side: h.side, box: h.box, site: h.site, end: h.end, memory: h.memory,
		remote: netip.AddrPortFrom(aim, ports[0]), ports: ports, timer: never,
		early: h.early[:0], observed: h.observed, syns: h.syns[:0],
	}
	primes := h.site.Strategy == Prime
	if primes {
		w.q.push(event{at: instant - int64(PrimeLead), kind: primeAt, who: h.n})
	}
	if h.site.Engine == Park {
		if !primes {
			w.q.push(event{at: instant - int64(armLead), kind: armAt, who: h.n})
		}
		w.q.push(event{at: instant - int64(openLead), kind: openAt, who: h.n})
	}
	w.q.push(event{at: instant, kind: start, who: h.n})
	if h.kernel() {
		h.engine = &h.stock
		h.isn, h.tsBase = w.rng.Uint32(), w.rng.Uint32()
		return nil
	}
	cfg := rawtcp.HandshakeConfig{
		Local: h.end.local, Remote: h.remote, ISN: w.isn(), TSBase: w.rng.Uint32(), WScale: stockWScale,
		Timeout: w.set.Timeout, Retries: retries(h.site.Retries),
	}
	if !primes {
		cfg.TTL = h.site.TTL
	}
	if !h.several() {
		h.engine = &h.memory.handshake
		return h.memory.handshake.Reset(cfg)
	}
	h.engine = &h.memory.candidates
	return h.memory.candidates.Reset(rawtcp.CandidatesConfig{HandshakeConfig: cfg, RemotePorts: ports[1:], LearnPort: h.site.LearnPort})
}

// several reports whether the peer's port is not certain to the host.
func (h *host) several() bool { return h.site.RemotePorts > 1 || h.site.LearnPort }

// retries is a number of retries as rawtcp.HandshakeConfig has it.
func retries(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// clockZero is before everything that happens in a trial.
const clockZero = -int64(2 * MaxTime)

// freshSocket is a socket for a connect() now. As in Linux its ISN grows by one in 64 ns
// (secure_tcp_seq) and its timestamp by one in a millisecond, whatever became of the
// sockets before it.
func (w *world) freshSocket(h *host) {
	since := uint64(w.now - clockZero)
	isn := rawtcp.Seq(h.isn + uint32(since>>6))
	if isn+1 <= 1 { // a kernel takes neither 0 nor the number before it
		isn += 2
	}
	h.stock = stock{
		local: h.end.local, remote: h.remote, isn: isn, tsBase: h.tsBase + uint32(since/uint64(time.Millisecond)),
		old: h.site.Engine == ConnectOld, syns: h.stock.syns, retransmissions: h.stock.retransmissions,
	}
	if h.site.Engine != Park && h.site.Strategy == Cross {
		h.stock.ttl = h.site.TTL
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

// act does what the host has planned.
func (w *world) act(h *host, what what) {
	switch what {
	case primeAt:
		w.prime(h)
	case armAt:
		w.park(h)
	case openAt:
		h.open = true
	case start:
		w.fire(h)
	}
}

// prime sends a SYN with a low TTL. Of the engine connect it is that of a socket which is closed
// at once, so that the real one has another ISN.
func (w *world) prime(h *host) {
	var out []rawtcp.Segment
	switch h.site.Engine {
	case Repair:
		if h.several() {
			out = h.memory.candidates.SYNs(w.segments[:0])
		} else {
			out = append(w.segments[:0], h.memory.handshake.SYN())
		}
	case Park:
		w.park(h)
		out = append(w.segments[:0], h.syn)
	default:
		w.freshSocket(h)
		out = h.engine.Start(w.time(), w.segments[:0])
		h.stock.rtoAt = time.Time{}
	}
	for i := range out {
		out[i].TTL = h.site.TTL
	}
	h.res.SYNs += len(out)
	w.send(h, out)
	h.stock.syns = 0 // counted above
}

// park makes a socket in SYN-SENT whose SYN does not leave the host.
func (w *world) park(h *host) {
	w.freshSocket(h)
	h.syn = h.engine.Start(w.time(), w.segments[:0])[0]
	h.stock.syns-- // it has not left
	w.setTimer(h)
}

// fire is the host's instant.
func (w *world) fire(h *host) {
	h.started, h.open = true, true
	h.expire = w.now + int64(w.set.Timeout)
	switch h.site.Engine {
	case Park:
		w.copySYN(h)
	case Repair:
		w.emit(h, h.engine.Start(w.time(), w.segments[:0]))
		for _, a := range h.early {
			if rawtcp.ParseInto(&w.incoming, a.data) == nil {
				w.emit(h, h.engine.Receive(Epoch.Add(time.Duration(a.at)), &w.incoming, w.segments[:0]))
			}
		}
	default:
		w.connect(h)
	}
}

func (w *world) connect(h *host) {
	w.freshSocket(h)
	w.emit(h, h.engine.Start(w.time(), w.segments[:0]))
}

// copySYN sends a copy of the SYN of the parked socket.
func (w *world) copySYN(h *host) {
	syn := h.syn
	if h.site.Strategy == Cross {
		syn.TTL = h.site.TTL
	}
	h.res.SYNs++
	w.emit(h, append(w.segments[:0], syn))
}

// mine reports whether a segment is of a flow that the host has in mind.
func (h *host) mine(s *rawtcp.Segment) bool {
	switch {
	case h.over || s.Dst != h.end.local:
		return false
	case h.several() && h.res.Outcome == Established:
		remote, _ := h.memory.candidates.Remote()
		return s.Src == remote
	case h.several():
		return s.Src.Addr() == h.remote.Addr() && (h.site.LearnPort || slices.Contains(h.ports, s.Src.Port()))
	}
	return s.Src == h.remote
}

// take gives a host a packet.
func (w *world) take(h *host, data []byte) {
	if !isTCP(data) {
		e, err := rawtcp.ParseICMP(data)
		if err != nil || h.over || e.Src != h.end.local || e.Dst != h.remote && !(h.several() && e.Dst.Addr() == h.remote.Addr()) {
			return
		}
		h.res.ICMPs++
		// What comes before the instant about a priming SYN finds no socket.
		if h.open && h.engine.State() != rawtcp.Closed {
			w.emit(h, h.engine.ReceiveICMP(w.time(), &e, w.segments[:0]))
		}
		return
	}
	s := &w.incoming
	if rawtcp.ParseInto(s, data) != nil {
		return
	}
	mine := h.mine(s)
	if mine && s.Flags&rawtcp.RST != 0 {
		h.res.RSTs++
	}
	switch {
	case mine && h.open:
		w.emit(h, h.engine.Receive(w.time(), s, w.segments[:0]))
	case mine && h.site.Engine == Repair:
		h.early = append(h.early, arrival{w.now, data}) // answered at the instant
	case h.site.guarded() && !h.settled():
	default: // a kernel that has no socket for it
		w.send(h, refuse(s, w.segments[:0]))
	}
}

// tick is the host's timer.
func (w *world) tick(h *host) {
	h.timer = never
	if h.over {
		return
	}
	if h.kernel() && h.started && w.now >= h.expire && h.engine.State() != rawtcp.Established {
		h.over, h.res.Outcome = true, Timeout
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
		if h.res.Outcome != Established {
			h.res.Outcome, h.res.Established = Established, time.Duration(w.now)
		}
	case rawtcp.Failed:
		h.res.Outcome = outcomeOf(h.engine.Err())
		if h.kernel() && h.res.Outcome != Timeout && h.res.Resends < h.site.Retries && h.started && w.now < h.expire {
			// The answer killed the socket: another one, on the same port, at once.
			h.res.Resends++
			if h.site.Engine == Park {
				w.park(h)
				w.copySYN(h)
			} else {
				w.connect(h)
			}
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
	if h.kernel() && h.started && !h.over && h.engine.State() != rawtcp.Established && h.expire < at {
		at = h.expire
	}
	if at == h.timer {
		return
	}
	h.gen++
	h.timer = at
	if at != never {
		w.q.push(event{at: at, kind: hostTimer, who: h.n, gen: h.gen})
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
func (h *host) settled() bool { return h.over || h.res.Outcome == Established }

// finish fills in the rest of the result.
func (h *host) finish() End {
	e := h.res
	e.Local, e.Remote = h.end.local, h.remote
	e.Simultaneous = h.engine.Simultaneous()
	if h.kernel() {
		e.SYNs += h.stock.syns
		e.Retransmitted = h.stock.retransmissions
		return e
	}
	n := h.memory.handshake.Counters()
	if h.several() {
		n = h.memory.candidates.Counters()
		if remote, _ := h.memory.candidates.Remote(); remote.IsValid() {
			e.Remote = remote
		}
	}
	e.SYNs += n.SYNs
	e.Retransmitted, e.Resends = n.Retransmissions, n.Resends
	return e
}
