package punch

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/synpunch/synpunch/handoff"
)

// parkEngine lets the kernel make the SYN, holds it back on the loopback
// device, and sends exact copies of it at the instant.
type parkEngine struct {
	a       *attempt
	guard   *handoff.Guard // silent while no socket is parked: the peer may be early
	parked  *handoff.Parked
	primed  bool // parked by prime, not yet released
	syn     []byte
	retries int
	resends int
}

func (e *parkEngine) prepare() error {
	p := &e.a.plan
	e.retries = p.retries(Park)
	var err error
	if e.guard, err = handoff.OpenGuard(p.Local, nil); err != nil {
		return err
	}
	e.parked, err = handoff.PreparePark(p.Local, p.Remote, &handoff.ParkConfig{MSS: p.mss, Interface: p.bound})
	return err
}

// copyWith builds the copy of the parked socket's SYN with a TTL; 0 is the kernel's.
func (e *parkEngine) copyWith(ttl uint8) error {
	syn := e.parked.SYN()
	if ttl != 0 {
		syn.TTL = ttl
	}
	var err error
	e.syn, err = syn.Append(e.syn[:0])
	return err
}

// prime parks the socket early and sends a copy of its SYN with a low TTL. The
// socket stays on the loopback device, where the ICMP error that comes back does
// not find it. It is the one that arm releases: the NAT, which tracks sequence
// numbers, must not see a second ISN.
func (e *parkEngine) prime(ctx context.Context) error {
	if err := e.parked.Park(ctx); err != nil {
		return err
	}
	e.primed = true
	if err := e.copyWith(e.a.plan.TTL); err != nil {
		return err
	}
	return e.a.raw.Send(e.syn)
}

func (e *parkEngine) arm(ctx context.Context) error {
	if !e.primed {
		if err := e.parked.Park(ctx); err != nil {
			return err
		}
	}
	e.primed = false
	ttl := uint8(0)
	if e.a.plan.Strategy == Cross {
		ttl = e.a.plan.TTL
	}
	return e.copyWith(ttl)
}

// open lets the socket see the peer's segments. Earlier, the kernel would answer
// an early peer with a SYN-ACK, and our SYN after that would be stale.
func (e *parkEngine) open() error { return e.parked.Release() }

func (e *parkEngine) fire(time.Time) error { return e.a.raw.Send(e.syn) }

// receive has nothing to do: the kernel answers.
func (e *parkEngine) receive(*sighting) error { return nil }

func (e *parkEngine) step(time.Time) (bool, error) {
	done, err := e.parked.Poll()
	if err == nil {
		return done, nil
	}
	err = fromErrno(err)
	if e.resends >= e.retries || outcomeOf(err) == Failed || outcomeOf(err) == Timeout {
		return false, err
	}
	// The answer killed the socket. A new one on the same flow is sent at once:
	// the answer took one round trip, which is the width of the crossing window.
	e.resends++
	e.a.noteResend(err)
	perr := e.arm(context.Background())
	if perr == nil {
		perr = e.open()
	}
	if perr != nil {
		return false, fmt.Errorf("%w; parking again: %w", err, perr)
	}
	return false, e.fire(time.Now())
}

// idle has nothing to do: the kernel does what comes next.
func (e *parkEngine) idle(time.Time) {}

func (e *parkEngine) deadline() (time.Time, bool) { return time.Time{}, false }

func (e *parkEngine) handoff(time.Time) (*net.TCPConn, error) {
	return e.parked.Conn() // close closes the packet socket that is left
}

// abort has nothing to do: close in SYN-SENT is silent, later the kernel resets.
func (e *parkEngine) abort() {}

func (e *parkEngine) close() {
	e.a.report.Resends = e.resends
	if e.parked != nil {
		e.parked.Close()
	}
	if e.guard != nil {
		e.guard.Close()
	}
}
