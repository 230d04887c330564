package punch

import (
	"context"
	"crypto/rand"
	"errors"
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
	e.repairFor = local
	return err
}

// prime asks what the peer's NAT says to SYNs that nobody expects, and whether the router
// behind our own answers those that end there.
func (e *fanEngine) prime(ctx context.Context) error {
	var err error
	if e.numbers, err = isnGenerator(); err != nil {
		return err
	}
	for i := range fanProbes + canaryFirst {
		ttl := uint8(0)
		if i >= fanProbes {
			ttl = e.a.plan.TTL
		}
		if err := e.sendProbe(ttl); err != nil {
			return err
		}
		if err := e.a.sleepUntil(ctx, time.Now().Add(fanProbeGap)); err != nil {
			return err
		}
	}
	return nil
}

// sendProbe sends one SYN on a flow of its own from the probe's port. With a TTL it is a canary.
func (e *fanEngine) sendProbe(ttl uint8) error {
	p := &e.a.plan
	ports := p.remotePorts()
	local := netip.AddrPortFrom(p.Local.Addr(), p.probe)
	// A golden step visits all ports in an order that is none.
	remote := netip.AddrPortFrom(p.Remote.Addr(), ports[(e.tally.probes*len(ports)*618/1000+e.tally.probes)%len(ports)])
	now := time.Now()
	syn := rawtcp.Segment{
		Src: local, Dst: remote, TTL: ttl, DF: true, Flags: rawtcp.SYN, Seq: e.numbers.ISN(local, remote, now), Window: 64240,
		Options: rawtcp.Options{MSS: p.mss},
	}
	e.tally.probes++
	if ttl != 0 {
		e.canary.left(now)
	}
	return e.transmit(&syn)
}

// sing sends a canary if one is due. One that tells nothing new is no reason to end.
func (e *fanEngine) sing(now time.Time) error {
	if e.phase != fanSending || e.tally.primed || e.hit() || !e.canary.works() {
		return nil
	}
	due, err := e.canary.due(now, e.tally.syns)
	if err != nil || !due {
		return err
	}
	return e.sendProbe(e.a.plan.TTL)
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

func (e *fanEngine) load(cfg rawtcp.FanConfig) (*rawtcp.Fan, *rawtcp.Blast, error) {
	fan, err := rawtcp.NewFan(cfg)
	if err != nil {
		return nil, nil, planErr("%w", err)
	}
	p := &e.a.plan
	blast, err := rawtcp.OpenBlast(e.ctx, fan, &rawtcp.BlastConfig{
		Path: fanPath(), Rate: rawtcp.Unpaced, Interface: p.Interface,
		Conn: rawtcp.Config{Local: p.Local.Addr(), Interface: p.bound},
	})
	return fan, blast, err
}

// fanPath is how SYNs leave. Where this host tracks connections they go through its tables, so that a
// stateful firewall here knows the flow when the peer's SYN comes: one that hears of the peer's SYN first calls
// our SYN-ACK invalid (nf_conntrack_proto_tcp.c).
func fanPath() rawtcp.Path {
	if count, _ := conntrackCount(); count > 0 {
		return rawtcp.PathRaw
	}
	return rawtcp.PathAuto
}

// readEarly takes what has come already.
func (e *fanEngine) readEarly() {
	var s sighting
	for e.a.wire.look(&s) {
		if !s.out && e.fan == nil {
			e.probeAnswer(&s)
		}
	}
}

// probeAnswer counts an answer to the probe, and reports whether s is one.
func (e *fanEngine) probeAnswer(s *sighting) bool {
	probe := e.a.plan.probe
	switch {
	case probe == 0:
		return false
	case s.icmp != nil:
		if s.icmp.Src.Port() != probe {
			return false
		}
		if kindOf(s.icmp) == icmpOther {
			e.canary.back()
			return true
		}
		e.tally.probed.addICMP(s.icmp, 1)
		return true
	case s.seg.Dst.Port() != probe:
		return false
	case s.seg.Flags&rawtcp.RST != 0:
		e.tally.probed.resets++
	}
	return true
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

func (e *fanEngine) begin(now time.Time, phase fanPhase) {
	e.phase, e.sent = phase, 0
	e.pace.start(now, e.law.rate)
	e.law.sent = 0
	if phase == fanSending {
		e.tally.began = now
	}
}

// send sends what is due.
func (e *fanEngine) send(now time.Time) error {
	blast, total := e.blast, e.a.plan.syns()
	switch e.phase {
	case fanPause:
		if now.Before(e.resume()) {
			return nil
		}
		e.begin(now, fanSending)
	case fanPriming:
		blast = e.primerBlast
	case fanSending:
	default:
		return nil
	}
	if now.Before(e.waitSend) || !e.a.plan.FanOut.Whole && now.Before(e.hold) {
		return nil
	}
	n := min(e.pace.batch(now), total-e.sent)
	if n <= 0 {
		return nil
	}
	left, err := blast.Send(e.ctx, uint64(e.sent), uint64(n))
	e.pace.spend(int(left))
	e.sent += int(left)
	if e.phase == fanPriming {
		e.tally.primers += int(left)
	} else {
		e.tally.syns += int(left)
		e.tally.ended = now
	}
	if err != nil {
		if err = e.notSent(now, err); err != nil {
			return err
		}
	} else {
		e.tally.refusedInRow = 0
	}
	e.progress(now)
	if e.sent >= total {
		e.phase++ // priming: pause; sending: spent
	}
	return e.judge(now)
}

// resume is when an end that has primed goes on: both have opened their NATs.
func (e *fanEngine) resume() time.Time { return e.a.plan.At.Add(e.a.plan.spread()) }

// maxRefused is how many SYNs in a row this host may refuse to send, chosen by us: a
// packet filter or a full table does not come and go.
const maxRefused = 64

// notSent says what to do about a SYN that could not be sent.
func (e *fanEngine) notSent(now time.Time, err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	switch errno {
	case unix.ENOBUFS, unix.EAGAIN: // the device's queue is full: the same SYN again, later
		e.waitSend = now.Add(time.Millisecond)
	case unix.EPERM: // this host's own netfilter has dropped it: the next one may pass
		e.sent++
		e.pace.spend(1)
	default:
		return err
	}
	e.tally.refused[errno]++
	if e.tally.refusedInRow++; errno == unix.EPERM && e.tally.refusedInRow >= maxRefused && !e.hit() {
		return fmt.Errorf("%w: this host's own packet filter refused %d SYNs in a row%s: %w", ErrExhausted, e.tally.refusedInRow, conntrackWords(), err)
	}
	return nil
}

// hit reports whether a flow is about to be agreed on.
func (e *fanEngine) hit() bool { return e.fan.State() != rawtcp.SynSent }

// judge applies the law of back-off.
func (e *fanEngine) judge(now time.Time) error {
	if !e.law.due(now, e.sent) || e.hit() {
		return nil
	}
	err := e.law.judge(now, e.sent, e.tally.seen)
	if e.law.rate != e.pace.rate {
		e.a.note(fmt.Sprintf("%+.3f s: %d RSTs and %d ICMP errors so far; slowed down to %.0f SYNs/s", now.Sub(e.a.plan.At).Seconds(), e.tally.seen.resets, e.tally.seen.icmps(), e.law.rate))
		e.pace.start(now, e.law.rate)
	}
	return err
}

func (e *fanEngine) progress(now time.Time) {
	p := &e.a.plan
	if p.FanOut.Progress == nil || now.Sub(e.progressed) < fanProgressGap {
		return
	}
	e.progressed = now
	total := p.syns()
	f := FanProgress{Sent: e.sent, Planned: total, Hits: len(e.fan.Hits()), Priming: e.phase == fanPriming}
	if since := now.Sub(e.a.fired).Seconds(); since > 0 {
		f.Rate = float64(e.tally.syns+e.tally.primers) / since
	}
	f.Left = e.pace.cost(total - e.sent)
	if f.Priming {
		f.Left += max(e.resume().Sub(now)-f.Left, 0) + e.pace.cost(total)
	} else {
		f.Probability = p.probability(e.sent)
	}
	p.FanOut.Progress(f)
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
	if len(out) > 0 {
		e.noteHit(s, before)
	}
	return nil
}

// noteHit remembers when flows came to life. A hit gets a moment without other traffic.
func (e *fanEngine) noteHit(s *sighting, before rawtcp.State) {
	t := &e.tally
	if t.firstHit.IsZero() {
		t.firstHit = s.time
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
	if e.hit() && now.Sub(e.warmed) > handoffPeriod {
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
	conn, err := e.repair.Install(e.fan.Transfer(now), e.late)
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

// finish spends the rest of the budget and counts what it hits, for fanTail longer than
// that.
func (e *fanEngine) finish() {
	var end time.Time
	var s sighting
	for e.ctx.Err() == nil {
		for e.a.wire.look(&s) {
			if !s.out && !e.kernels(&s) && e.receive(&s) != nil {
				return
			}
		}
		now := time.Now()
		if e.phase == fanSpent {
			if end.IsZero() {
				end = now.Add(fanTail)
			}
			if now.After(end) {
				return
			}
			if e.a.wire.wait(end) != nil {
				return
			}
			continue
		}
		if e.send(now) != nil {
			return
		}
		if next, ok := e.deadline(); ok && next.After(now) && e.a.wire.wait(next) != nil {
			return
		}
	}
}

// kernels reports whether a segment is one of the flow that the kernel has by now: two
// speakers on one flow would end it.
func (e *fanEngine) kernels(s *sighting) bool {
	if s.icmp != nil {
		return s.icmp.Src == e.tally.local && s.icmp.Dst == e.tally.remote
	}
	return s.seg.Dst == e.tally.local && s.seg.Src == e.tally.remote
}

func (e *fanEngine) transmitAll(out []rawtcp.Segment) error {
	for i := range out {
		if err := e.transmit(&out[i]); err != nil {
			return err
		}
	}
	return nil
}

func (e *fanEngine) transmit(s *rawtcp.Segment) error {
	var err error
	if e.buf, err = s.Append(e.buf[:0]); err != nil {
		return err
	}
	err = e.a.raw.Send(e.buf)
	if errors.Is(err, unix.EPERM) { // this host's own packet filter: another flow may fare better
		e.tally.refused[unix.EPERM]++
		return nil
	}
	return err
}
