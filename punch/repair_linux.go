package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/rawtcp"
)

// maxOutlast bounds outlast. Chosen by us: most round trips are shorter, and the
// report waits for it.
const maxOutlast = 250 * time.Millisecond

// How often idle warms, chosen by us: a send takes two microseconds to warm, the
// handoff some thirty, in which a packet may come.
const (
	sendPeriod    = 100 * time.Microsecond
	handoffPeriod = 2 * time.Millisecond
)

// machine is a rawtcp.Handshake, or rawtcp.Candidates.
type machine interface {
	Start(now time.Time, out []rawtcp.Segment) []rawtcp.Segment
	Receive(now time.Time, s *rawtcp.Segment, out []rawtcp.Segment) []rawtcp.Segment
	ReceiveICMP(now time.Time, e *rawtcp.ICMPError, out []rawtcp.Segment) []rawtcp.Segment
	Tick(now time.Time, out []rawtcp.Segment) []rawtcp.Segment
	Abort(now time.Time, out []rawtcp.Segment) []rawtcp.Segment
	Deadline() (time.Time, bool)
	State() rawtcp.State
	Err() error
	Ready() bool
	Counters() rawtcp.Counters
	Transfer(now time.Time) rawtcp.Transfer
}

var (
	_ machine = (*rawtcp.Handshake)(nil)
	_ machine = (*rawtcp.Candidates)(nil)
)

// repairEngine makes the whole handshake itself and gives the result to a
// kernel socket with TCP_REPAIR.
type repairEngine struct {
	a       *attempt
	guard   *handoff.Guard
	repair  *handoff.Repair
	hs      machine
	several *rawtcp.Candidates // hs, where the remote port is not certain
	syns    [][]byte           // the SYNs as they will be on the wire
	out     []rawtcp.Segment
	last    []rawtcp.Segment // what completes the handshake at the peer's end: sent after the handoff
	buf     []byte

	warmedSend, warmedHandoff time.Time
}

func (e *repairEngine) prepare() error {
	p := &e.a.plan
	var err error
	if e.guard, err = handoff.OpenGuard(p.Local, nil); err != nil {
		return err
	}
	if e.repair, err = handoff.PrepareRepair(p.Local, p.Remote, &handoff.RepairConfig{Interface: p.bound, AnyPort: p.uncertain()}); err != nil {
		return err
	}
	e.out = make([]rawtcp.Segment, 0, 8+len(p.RemotePorts))
	e.buf = make([]byte, 0, 2048)
	return nil
}

// handshake builds the machine and the SYNs for the due instant.
func (e *repairEngine) handshake() error {
	if e.hs != nil {
		return nil
	}
	p := &e.a.plan
	gen, err := isnGenerator()
	if err != nil {
		return err
	}
	uptime := uptimeMillis(p.At)
	numbers := func(remote netip.AddrPort) (rawtcp.Seq, uint32) {
		return gen.ISN(p.Local, remote, p.At), gen.TSOffset(p.Local, remote) + uptime
	}
	cfg := rawtcp.HandshakeConfig{
		Local: p.Local, Remote: p.Remote,
		MSS: p.mss, WScale: windowScale(),
		NoTimestamps: p.NoTimestamps, NoSACK: p.NoSACK,
		Timeout: p.Timeout, Early: p.Early,
		OnReset: rawtcp.PolicyRetry, OnICMP: rawtcp.PolicyRetry,
		Retries: p.retries(Repair),
	}
	if cfg.Retries == 0 {
		cfg.Retries = -1
	}
	if p.WScale != nil {
		cfg.WScale = *p.WScale
	}
	if p.Strategy == Cross {
		cfg.TTL = p.TTL
	}
	if p.uncertain() {
		e.several, err = rawtcp.NewCandidates(rawtcp.CandidatesConfig{
			HandshakeConfig: cfg, RemotePorts: p.RemotePorts, LearnPort: p.LearnPort, Numbers: numbers,
		})
		if err != nil {
			return planErr("%w", err)
		}
		e.hs = e.several
		return e.write(e.several.SYNs(nil))
	}
	cfg.ISN, cfg.TSBase = numbers(p.Remote)
	if p.ISN != nil {
		cfg.ISN = rawtcp.Seq(*p.ISN)
	}
	hs, err := rawtcp.NewHandshake(cfg)
	if err != nil {
		return planErr("%w", err)
	}
	e.hs = hs
	return e.write([]rawtcp.Segment{hs.SYN()})
}

// write makes the packets of the SYNs.
func (e *repairEngine) write(syns []rawtcp.Segment) error {
	for i := range syns {
		packet, err := syns[i].Append(make([]byte, 0, rawtcp.MaxHeader))
		if err != nil {
			return err
		}
		e.syns = append(e.syns, packet)
	}
	return nil
}

// prime sends the SYNs with a TTL that ends between the NATs. They have the ISNs of
// the real ones, so that a NAT that tracks sequence numbers takes both.
func (e *repairEngine) prime(context.Context) error {
	if err := e.handshake(); err != nil {
		return err
	}
	for _, packet := range e.syns {
		syn, err := rawtcp.Parse(packet)
		if err != nil {
			return err
		}
		syn.TTL = e.a.plan.TTL
		if err := e.transmit(&syn); err != nil {
			return err
		}
	}
	return nil
}

func (e *repairEngine) arm(context.Context) error { return e.handshake() }

// open warms the handoff. The guard stays, and the machine answers once it has sent.
func (e *repairEngine) open() error { return e.repair.Warm() }

func (e *repairEngine) fire(now time.Time) error {
	err := e.a.raw.Send(e.syns[0])
	for _, syn := range e.syns[1:] {
		err = errors.Join(err, e.a.raw.Send(syn))
	}
	if e.a.plan.At.After(now) {
		now = e.a.plan.At // the machine's clock starts with the instant that the SYN's timestamp names
	}
	e.out = e.hs.Start(now, e.out[:0]) // these are e.syns
	return err
}

func (e *repairEngine) receive(s *sighting) error {
	if s.icmp != nil {
		return e.transmitAll(e.hs.ReceiveICMP(s.time, s.icmp, e.out[:0]))
	}
	e.out = e.hs.Receive(s.time, &s.seg, e.out[:0])
	if e.hs.State() == rawtcp.Established {
		if e.several != nil && !e.a.won.IsValid() {
			e.a.won, e.a.learned = e.several.Remote()
			e.a.established = s.time
			if s.seg.Flags&rawtcp.SYN != 0 { // the peer may wait for our ACK, see rawtcp.Candidates
				return e.transmitAll(e.out)
			}
		}
		// Sending costs more than all of the handoff, and the peer has been
		// established for longer than we have, or will hear of it from the kernel.
		e.last = append(e.last, e.out...)
		return nil
	}
	return e.transmitAll(e.out)
}

func (e *repairEngine) step(now time.Time) (bool, error) {
	if d, ok := e.hs.Deadline(); ok && !now.Before(d) {
		if err := e.transmitAll(e.hs.Tick(now, e.out[:0])); err != nil {
			return false, err
		}
	}
	if e.hs.Ready() {
		return true, nil
	}
	return false, fromHandshake(e.hs.Err())
}

// idle keeps warm what comes next: an answer and, once there is one, the handoff.
// Cold, the first takes twice as long and the second four times.
func (e *repairEngine) idle(now time.Time) {
	switch {
	case e.hs.State() == rawtcp.SynReceived && now.Sub(e.warmedHandoff) > handoffPeriod:
		_ = e.repair.Warm() // Install meets the same error, and returns it
		e.warmedHandoff = now
	case now.Sub(e.warmedSend) > sendPeriod:
		_ = e.a.raw.Warm(e.syns[0]) // likewise
		e.warmedSend = now
	}
}

func (e *repairEngine) deadline() (time.Time, bool) { return e.hs.Deadline() }

func (e *repairEngine) handoff(now time.Time) (*net.TCPConn, error) {
	t := e.hs.Transfer(now)
	if len(t.Data) > 0 { // it came with the handshake: what acknowledges it cannot wait
		if err := e.transmitAll(e.last); err != nil {
			return nil, err
		}
		e.last = nil
	}
	conn, err := e.repair.Install(t, e.late)
	if err != nil {
		return nil, fmt.Errorf("hand the flow to the kernel: %w", err)
	}
	if e.hs.Counters().DataBytes == len(t.Data) { // otherwise Install has acknowledged more
		if err := e.transmitAll(e.last); err != nil {
			e.a.note(err.Error())
		}
	}
	e.a.report.EarlyBytes = e.hs.Counters().DataBytes
	return conn, nil
}

// late returns the peer's bytes from rcvNxt on that the packet socket has seen
// while the kernel socket was not ready for them. It is Install that acknowledges them.
func (e *repairEngine) late(rcvNxt rawtcp.Seq) []byte {
	var s sighting
	for e.a.wire.look(&s) {
		if !s.out && s.icmp == nil {
			e.out = e.hs.Receive(s.time, &s.seg, e.out[:0])
		}
	}
	t := e.hs.Transfer(time.Now())
	have := t.RcvNxt.Sub(rcvNxt)
	if have <= 0 || int(have) > len(t.Data) {
		return nil
	}
	return t.Data[len(t.Data)-int(have):]
}

func (e *repairEngine) abort() {
	if e.hs != nil && e.a.raw != nil {
		_ = e.transmitAll(e.hs.Abort(time.Now(), e.out[:0])) // the attempt's own error matters more
	}
}

func (e *repairEngine) close() {
	if e.hs != nil {
		e.a.report.Resends = e.hs.Counters().Resends
	}
	if e.repair != nil {
		e.repair.Close()
	}
	if e.guard != nil {
		outlast(e.a)
		e.guard.Close()
	}
}

// outlast keeps the guard until what the peer has sent on flows that lost must
// have arrived: the kernel would answer it with resets, which may close a NAT. What
// crosses a network takes no longer than the handshake has.
func outlast(a *attempt) {
	if a.won.IsValid() {
		took := a.established.Sub(a.plan.At)
		time.Sleep(min(max(took, 0), maxOutlast) - time.Since(a.established))
	}
}

func (e *repairEngine) transmitAll(out []rawtcp.Segment) error {
	for i := range out {
		if err := e.transmit(&out[i]); err != nil {
			return err
		}
	}
	return nil
}

func (e *repairEngine) transmit(s *rawtcp.Segment) error {
	var err error
	if e.buf, err = s.Append(e.buf[:0]); err != nil {
		return err
	}
	return e.a.raw.Send(e.buf)
}

// fromHandshake turns the machine's verdict into an outcome.
func fromHandshake(err error) error {
	switch {
	case errors.Is(err, rawtcp.ErrRefused):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.Is(err, rawtcp.ErrUnreachable):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	case errors.Is(err, rawtcp.ErrTimeout):
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}
