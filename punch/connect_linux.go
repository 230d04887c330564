package punch

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/synpunch/synpunch/handoff"
)

// connectEngine calls connect() at the instant: what every other puncher does,
// with better aim.
type connectEngine struct {
	a       *attempt
	guard   *handoff.Guard // Prime: our NAT is open to the peer before there is a socket
	socket  *handoff.Connect
	retries int
	resends int
}

func (e *connectEngine) prepare() error {
	e.retries = e.a.plan.retries(Connect)
	if e.a.plan.Strategy != Prime {
		return nil
	}
	var err error
	if e.guard, err = handoff.OpenGuard(e.a.plan.Local, nil); err != nil {
		e.a.note(fmt.Sprintf("a peer that is early gets a reset from this host's kernel: %v", err))
	}
	return nil
}

// prime connects with a low TTL and gives the socket up before the instant;
// closing it in SYN-SENT sends nothing.
func (e *connectEngine) prime(context.Context) error {
	p := &e.a.plan
	s, err := handoff.PrepareConnect(p.Local, p.Remote, &handoff.ConnectConfig{TTL: p.TTL, Interface: p.bound})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Start()
}

func (e *connectEngine) arm(context.Context) error {
	cfg := &handoff.ConnectConfig{Interface: e.a.plan.bound}
	if e.a.plan.Strategy == Cross {
		cfg.TTL = e.a.plan.TTL
	}
	var err error
	e.socket, err = handoff.PrepareConnect(e.a.plan.Local, e.a.plan.Remote, cfg)
	return err
}

// open has nothing to do: connect() itself opens.
func (e *connectEngine) open() error { return nil }

func (e *connectEngine) fire(time.Time) error { return fromErrno(e.socket.Start()) }

// receive has nothing to do: the kernel answers.
func (e *connectEngine) receive(*sighting) error { return nil }

func (e *connectEngine) step(time.Time) (bool, error) {
	done, err := e.socket.Poll()
	if err == nil {
		return done, nil
	}
	err = fromErrno(err)
	if e.resends >= e.retries || outcomeOf(err) == Failed || outcomeOf(err) == Timeout {
		return false, err
	}
	e.resends++
	e.a.noteResend(err)
	return false, e.fire(time.Now()) // Start begins anew
}

// idle has nothing to do: the kernel does what comes next.
func (e *connectEngine) idle(time.Time) {}

func (e *connectEngine) deadline() (time.Time, bool) { return time.Time{}, false }

func (e *connectEngine) handoff(time.Time) (*net.TCPConn, error) {
	conn, err := e.socket.Conn()
	if err != nil {
		return nil, err
	}
	e.socket = nil
	return conn, nil
}

// abort has nothing to do, as with park.
func (e *connectEngine) abort() {}

func (e *connectEngine) close() {
	e.a.report.Resends = e.resends
	if e.socket != nil {
		e.socket.Close()
	}
	if e.guard != nil {
		e.guard.Close()
	}
}
