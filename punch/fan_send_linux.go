package punch

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/rawtcp"
)

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

// finish spends the rest of the budget and counts what it hits, for fanTail longer than
// that.
func (e *fanEngine) finish() {
	e.a.plan.FanOut.Progress = nil // the caller has a connection to look after
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
