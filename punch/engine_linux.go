package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/rawtcp"
)

// engine is one way to send the SYN and to get a kernel socket. Its methods
// are called by one thread, in the order in which they stand here.
type engine interface {
	prepare() error                              // well before the instant: sockets, memory
	prime(ctx context.Context) error             // Plan.lead before the instant: what comes first (strategies prime and fan)
	arm(ctx context.Context) error               // armLead before the instant: sockets in their last state but one
	open() error                                 // openLead before the instant: from now on the kernel may answer the peer
	fire(now time.Time) error                    // the instant: send the SYN
	receive(s *sighting) error                   // a packet of the peer's, or an ICMP error about ours
	step(now time.Time) (ready bool, err error)  // timers, and the state of the flow
	idle(now time.Time)                          // nothing has come: what is needed next may be warmed
	deadline() (time.Time, bool)                 // when step must be called next
	handoff(now time.Time) (*net.TCPConn, error) // after step said ready
	abort()                                      // the attempt is given up: tell the peer where TCP says so
	close()                                      // give everything back, silently
}

// newEngine picks the engine of the plan and says why.
func newEngine(a *attempt) (engine, string, error) {
	if a.plan.Strategy == Fan {
		return &fanEngine{a: a}, "", needRepair()
	}
	switch a.plan.Engine {
	case Repair:
		return &repairEngine{a: a}, "", needRepair()
	case Park:
		return &parkEngine{a: a}, "", needRaw()
	case Connect:
		return &connectEngine{a: a}, "", nil
	}
	repairErr := needRepair()
	if repairErr == nil {
		a.plan.Engine = Repair
		return &repairEngine{a: a}, "auto: CAP_NET_RAW and CAP_NET_ADMIN are there", nil
	}
	if rawErr := needRaw(); rawErr == nil {
		a.plan.Engine = Park
		return &parkEngine{a: a}, fmt.Sprintf("auto: no repair (%v)", repairErr), nil
	}
	a.plan.Engine = Connect
	return &connectEngine{a: a}, fmt.Sprintf("auto: no repair, no park (%v)", repairErr), nil
}

// needRaw says what keeps raw and packet sockets from working.
func needRaw() error {
	c, err := rawtcp.Open("ip4", nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return c.Close()
}

// needRepair says what keeps the repair engine from working.
func needRepair() error {
	if err := needRaw(); err != nil {
		return err
	}
	ok, err := handoff.ProbeRepair()
	if !ok {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return nil
}

// fromErrno turns what the kernel says about a connecting socket into an
// outcome, keeping the errno.
func fromErrno(err error) error {
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTDOWN),
		errors.Is(err, unix.ENONET), errors.Is(err, unix.ENOPROTOOPT), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	case errors.Is(err, unix.ETIMEDOUT):
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return err
}
