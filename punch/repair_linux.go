package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/rawtcp"
)

// repairEngine makes the whole handshake itself and gives the result to a
// kernel socket with TCP_REPAIR.
type repairEngine struct {
	a      *attempt
	guard  *handoff.Guard
	repair *handoff.Repair
	hs     *rawtcp.Handshake
	syn    []byte // the SYN as it will be on the wire
	out    []rawtcp.Segment
	last   []rawtcp.Segment // what completes the handshake at the peer's end: sent after the handoff
	buf    []byte
}

func (e *repairEngine) prepare() error {
	p := &e.a.plan
	var err error
	if e.guard, err = handoff.OpenGuard(p.Local, nil); err != nil {
		return err
	}
	if e.repair, err = handoff.PrepareRepair(p.Local, p.Remote, &handoff.RepairConfig{Interface: p.bound}); err != nil {
		return err
	}
	e.out = make([]rawtcp.Segment, 0, 8)
	e.buf = make([]byte, 0, 2048)
	return nil
}

// handshake builds the machine and the SYN for the due instant.
func (e *repairEngine) handshake() error {
	if e.hs != nil {
		return nil
	}
	p := &e.a.plan
	gen, err := isnGenerator()
	if err != nil {
		return err
	}
	cfg := rawtcp.HandshakeConfig{
		Local: p.Local, Remote: p.Remote,
		ISN: gen.ISN(p.Local, p.Remote, p.At),
		MSS: p.mss, WScale: windowScale(),
		NoTimestamps: p.NoTimestamps, NoSACK: p.NoSACK,
		TSBase:  gen.TSOffset(p.Local, p.Remote) + uptimeMillis(p.At),
		Timeout: p.Timeout, Early: p.Early,
		OnReset: rawtcp.PolicyRetry, OnICMP: rawtcp.PolicyRetry,
		Retries: p.retries(Repair),
	}
	if cfg.Retries == 0 {
		cfg.Retries = -1
	}
	if p.ISN != nil {
		cfg.ISN = rawtcp.Seq(*p.ISN)
	}
	if p.WScale != nil {
		cfg.WScale = *p.WScale
	}
	if p.Strategy == Cross {
		cfg.TTL = p.TTL
	}
	if e.hs, err = rawtcp.NewHandshake(cfg); err != nil {
		return planErr("%w", err)
	}
	syn := e.hs.SYN()
	e.syn, err = syn.Append(make([]byte, 0, 128))
	return err
}

// prime sends the SYN with a TTL that ends between the NATs. It has the ISN of
// the real one, so that a NAT that tracks sequence numbers takes both.
func (e *repairEngine) prime(context.Context) error {
	if err := e.handshake(); err != nil {
		return err
	}
	syn := e.hs.SYN()
	syn.TTL = e.a.plan.TTL
	return e.transmit(&syn)
}

func (e *repairEngine) arm(context.Context) error { return e.handshake() }

// open warms the handoff. The guard stays, and the machine answers once it has sent.
func (e *repairEngine) open() error { return e.repair.Warm() }

func (e *repairEngine) fire(now time.Time) error {
	err := e.a.raw.Send(e.syn)
	if e.a.plan.At.After(now) {
		now = e.a.plan.At // the machine's clock starts with the instant that the SYN's timestamp names
	}
	e.out = e.hs.Start(now, e.out[:0]) // this is e.syn
	return err
}

func (e *repairEngine) receive(s *sighting) error {
	if s.icmp != nil {
		return e.transmitAll(e.hs.ReceiveICMP(s.time, s.icmp, e.out[:0]))
	}
	e.out = e.hs.Receive(s.time, &s.seg, e.out[:0])
	if e.hs.State() == rawtcp.Established {
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
		e.guard.Close()
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
