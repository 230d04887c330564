package punch

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/rawtcp"
)

// What a fan-out is doing.
type fanPhase uint8

const (
	fanReady   fanPhase = iota
	fanPriming          // SYNs leave that end between the NATs
	fanPause            // the peer opens its NAT, too
	fanSending          // SYNs leave
	fanSpent            // all have left, or no more may
)

// fanEngine sends very many SYNs, answers what comes back on any of their flows, and
// gives the one that both ends agree on to the kernel.
type fanEngine struct {
	a   *attempt
	ctx context.Context

	guards     *handoff.Guards
	probeGuard *handoff.Guard
	repair     *handoff.Repair
	repairFor  netip.AddrPort // local endpoint

	fan, primer *rawtcp.Fan // the same flows; primer's SYNs have the low TTL
	blast       *rawtcp.Blast
	primerBlast *rawtcp.Blast

	phase      fanPhase
	sent       int // SYNs of this phase
	pace       pacer
	law        backOff
	hold       time.Time // nothing is sent before: a hit is being answered
	held       int
	waitSend   time.Time // the device was full: nothing is sent before
	progressed time.Time

	tally   fanTally
	canary  canary
	numbers *rawtcp.ISNGenerator
	weight  int // of each RST and ICMP error that the filter lets through
	out     []rawtcp.Segment
	buf     []byte
	warmed  time.Time
}

// fanTally is what the report needs.
type fanTally struct {
	probes, primers, syns int
	probed, seen          answers
	primed                bool
	local, remote         netip.AddrPort // the winner's
	leads                 bool           // this end took it first
	simultaneous          bool
	firstHit, won         time.Time
	began, ended          time.Time // of the SYNs of full TTL
	refused               map[unix.Errno]int
	refusedInRow          int
	guards                time.Duration
	path                  rawtcp.Path
}

func (e *fanEngine) prepare() error {
	p := &e.a.plan
	e.out, e.buf = make([]rawtcp.Segment, 0, 16), make([]byte, 0, 2048)
	e.tally.refused = map[unix.Errno]int{}
	e.weight = p.answerSample()
	began := time.Now()
	var err error
	if e.guards, err = handoff.OpenGuards(p.Local, p.FanOut.LocalPorts, nil); err != nil {
		return err
	}
	e.tally.guards = time.Since(began)
	if p.probe != 0 {
		if e.probeGuard, err = handoff.OpenGuard(netip.AddrPortFrom(p.Local.Addr(), p.probe), nil); err != nil {
			return err
		}
	}
	return e.prepareRepair(p.Local, p.Remote)
}

// prepareRepair gets the socket for a winner with this local endpoint ready.
func (e *fanEngine) prepareRepair(local, remote netip.AddrPort) error {
	if e.repair != nil && e.repairFor == local {
		return nil
	}
	if e.repair != nil {
		if err := e.repair.Close(); err != nil {
			return err
		}
	}
	var err error
	e.repair, err = handoff.PrepareRepair(local, remote, &handoff.RepairConfig{Interface: e.a.plan.bound, AnyPort: true})
	if err != nil {
		e.repair = nil
		return err
	}
	e.repairFor = local
	return nil
}

// arm makes the fan and opens what sends it.
func (e *fanEngine) arm(ctx context.Context) error {
	e.ctx = ctx
	e.readEarly() // the probe's answers
	p := &e.a.plan
	e.tally.primed = p.FanOut.Prime == PrimeAlways ||
		p.FanOut.Prime == PrimeAuto && e.tally.probed.resets+e.tally.probed.prohibited+e.tally.probed.unreachable > 0
	if e.numbers == nil {
		var err error
		if e.numbers, err = isnGenerator(); err != nil {
			return err
		}
	}
	gen := e.numbers
	cfg := rawtcp.FanConfig{
		HandshakeConfig: rawtcp.HandshakeConfig{
			Local: netip.AddrPortFrom(p.Local.Addr(), 0), Remote: netip.AddrPortFrom(p.Remote.Addr(), 0),
			MSS: p.mss, WScale: windowScale(), NoTimestamps: p.NoTimestamps, NoSACK: p.NoSACK,
			TSBase: gen.TSOffset(p.Local, p.Remote) + uptimeMillis(p.At), Timeout: p.Timeout,
		},
		LocalPorts:    []rawtcp.PortRange{{Lo: p.Local.Port(), Hi: p.Local.Port() + uint16(p.FanOut.LocalPorts-1)}},
		RemotePorts:   ranges(p.remotePorts()),
		AnyRemotePort: true,
		Numbers:       gen, Start: p.At,
		CountAll: p.FanOut.Whole,
	}
	if p.WScale != nil {
		cfg.WScale = *p.WScale
	}
	if !p.FanOut.InOrder {
		if _, err := rand.Read(cfg.Order[:]); err != nil {
			return fmt.Errorf("punch: a key for the order of the SYNs: %w", err)
		}
	}
	var err error
	if e.fan, e.blast, err = e.load(cfg); err != nil {
		return err
	}
	e.tally.path = e.blast.Path()
	if e.tally.primed {
		cfg.TTL = p.TTL
		e.primer, e.primerBlast, err = e.load(cfg)
	}
	return err
}

func (e *fanEngine) open() error { return e.repair.Warm() }

func (e *fanEngine) fire(now time.Time) error {
	e.law = backOff{rate: float64(e.a.plan.FanOut.Rate), own: e.a.plan.FanOut.OwnBothEnds}
	if e.tally.primed {
		e.begin(now, fanPriming)
	} else {
		e.begin(now, fanSending)
	}
	return e.send(now)
}

func (e *fanEngine) receive(s *sighting) error {
	if e.fan == nil || e.probeAnswer(s) {
		return nil
	}
	if s.icmp != nil {
		e.tally.seen.addICMP(s.icmp, e.weight)
		return e.transmitAll(e.fan.ReceiveICMP(s.time, s.icmp, e.out[:0]))
	}
	if s.seg.Flags&rawtcp.RST != 0 {
		e.tally.seen.resets += e.weight
	}
	before := e.fan.State()
	out := e.fan.Receive(s.time, &s.seg, e.out[:0])
	if err := e.transmitAll(out); err != nil {
		return err
	}
	if len(out) > 0 || e.fan.State() != before {
		e.noteHit(s, before)
	}
	return nil
}

// noteHit remembers when flows came to life. A hit gets a moment without other traffic.
func (e *fanEngine) noteHit(s *sighting, before rawtcp.State) {
	t := &e.tally
	if t.firstHit.IsZero() {
		t.firstHit = s.time
		_ = e.prepareRepair(s.seg.Dst, s.seg.Src) // likely the winner; handoff meets the same error
	}
	if e.held < fanHolds {
		e.held++
		e.hold = s.time.Add(fanHold)
	}
	if e.fan.State() == rawtcp.Established && before != rawtcp.Established {
		t.local, t.remote, _ = e.fan.Winner()
		t.leads, t.won = s.seg.Flags&rawtcp.SYN != 0, s.time
		e.a.won, e.a.wonLocal, e.a.established = t.remote, t.local, s.time
	}
}

func (e *fanEngine) step(now time.Time) (bool, error) {
	if d, ok := e.fan.Deadline(); ok && !now.Before(d) {
		if err := e.transmitAll(e.fan.Tick(now, e.out[:0])); err != nil {
			return false, err
		}
	}
	if e.fan.Ready() {
		return true, nil
	}
	if err := e.fan.Err(); err != nil {
		return false, e.gaveUp(fromHandshake(err))
	}
	if err := e.sing(now); err != nil {
		return false, err
	}
	return false, e.send(now)
}

// gaveUp adds to a timeout what may be the reason.
func (e *fanEngine) gaveUp(err error) error {
	if p := &e.a.plan; e.phase == fanSpent && len(e.fan.Hits()) == 0 {
		err = fmt.Errorf("%w; by theory %.3g %% of such attempts hit, if %s", err, 100*p.probability(e.tally.syns), p.assumption())
	}
	if n := e.tally.refused[unix.EPERM]; n > 0 {
		return fmt.Errorf("%w; this host's own packet filter refused %d SYNs%s", err, n, conntrackWords())
	}
	return err
}

func (e *fanEngine) idle(now time.Time) {
	if e.hit() && e.repair != nil && now.Sub(e.warmed) > handoffPeriod {
		_ = e.repair.Warm() // Install meets the same error, and returns it
		e.warmed = now
	}
}

func (e *fanEngine) deadline() (time.Time, bool) {
	d, ok := e.fan.Deadline()
	var next time.Time
	switch e.phase {
	case fanPriming, fanSending:
		next = e.pace.next()
		for _, t := range []time.Time{e.hold, e.waitSend} {
			if t.After(next) {
				next = t
			}
		}
	case fanPause:
		next = e.resume()
	default:
		return d, ok
	}
	if c := e.canary.deadline(); e.phase == fanSending && e.canary.works() && c.Before(next) {
		next = c
	}
	if !ok || next.Before(d) {
		return next, true
	}
	return d, true
}

func (e *fanEngine) handoff(now time.Time) (*net.TCPConn, error) {
	if err := e.prepareRepair(e.tally.local, e.tally.remote); err != nil {
		return nil, err
	}
	t := e.fan.Transfer(now)
	e.tally.simultaneous = t.Simultaneous
	conn, err := e.repair.Install(t, e.late)
	if err != nil {
		return nil, fmt.Errorf("hand the flow to the kernel: %w", err)
	}
	e.a.report.EarlyBytes = e.fan.Counters().DataBytes
	return conn, nil
}

// late returns the peer's bytes from rcvNxt on that the packet socket has seen while the
// kernel socket was not ready for them. It is Install that acknowledges them.
func (e *fanEngine) late(rcvNxt rawtcp.Seq) []byte {
	var s sighting
	for e.a.wire.look(&s) {
		if !s.out && s.icmp == nil {
			e.out = e.fan.Receive(s.time, &s.seg, e.out[:0])
		}
	}
	t := e.fan.Transfer(time.Now())
	have := t.RcvNxt.Sub(rcvNxt)
	if have <= 0 || int(have) > len(t.Data) {
		return nil
	}
	return t.Data[len(t.Data)-int(have):]
}

func (e *fanEngine) abort() {
	if e.fan != nil {
		_ = e.transmitAll(e.fan.Abort(time.Now(), e.out[:0])) // the attempt's own error matters more
	}
}

func (e *fanEngine) close() {
	if e.a.won.IsValid() && e.a.plan.FanOut.Whole {
		e.finish()
	}
	if e.a.wire != nil { // what the connection carries from now on is not the attempt's
		e.readEarly()
		e.a.wire.live.Close()
	}
	for _, b := range []*rawtcp.Blast{e.blast, e.primerBlast} {
		if b != nil {
			b.Close()
		}
	}
	if e.repair != nil {
		e.repair.Close()
	}
	if e.guards != nil {
		outlast(e.a)
		e.guards.Close()
	}
	if e.probeGuard != nil {
		e.probeGuard.Close()
	}
	e.describe()
}
