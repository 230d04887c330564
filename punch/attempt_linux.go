package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/rawtcp"
	"github.com/synpunch/synpunch/timing"
)

const (
	// armedWindow is how long the attempt polls without sleeping after its SYN has left and
	// after each packet that came in, so that it answers within microseconds. It gives
	// the processor away between looks. Chosen by us: longer than most round trips.
	armedWindow = 300 * time.Millisecond
	// openLead is what the last system call before the SYN may take; a peer that is
	// earlier than that is answered by our SYN.
	openLead = 300 * time.Microsecond
	// looksPerYield is how many looks at the ring (40 ns each) are made before other threads may run.
	looksPerYield = 8
	// napLimit bounds each wait, so that a cancelled context is noticed.
	napLimit = 20 * time.Millisecond
)

// attempt is one punch under way. All its work is done by one thread.
type attempt struct {
	plan   Plan
	report *Report
	thread *timing.Thread
	wire   *wire        // nil: no CAP_NET_RAW, the connect engine goes without
	raw    *rawtcp.Conn // nil likewise
	engine engine
	fired  time.Time // when the SYN was given to the kernel
	ready  time.Time // when the caller got the socket

	// Where the remote port was not certain:
	won         netip.AddrPort // the winner's remote endpoint; invalid: none
	wonLocal    netip.AddrPort // its local endpoint, if the plan has several
	learned     bool           // its port came with the peer's SYN
	established time.Time      // when the packet came that made it the winner
}

// Do carries out the plan. It blocks until the flow is established and handed
// to a kernel socket, or the attempt has failed. The Attempt tells what
// happened in both cases; it is nil only when the plan itself is wrong. Errors
// wrap ErrPlan, ErrMissing, ErrRefused, ErrUnreachable, ErrTimeout, or ctx.Err().
//
// The work is done on the calling goroutine's thread, so that the thread's
// network namespace counts.
func Do(ctx context.Context, plan Plan) (*net.TCPConn, *Attempt, error) {
	plan, err := plan.Resolve()
	if err != nil {
		return nil, nil, err
	}
	a := &attempt{plan: plan}
	a.report = newReport(&plan)
	conn, err := a.run(ctx)
	a.ready = time.Now()
	settled := make(chan struct{})
	go func() {
		a.settle()
		close(settled)
		a.release()
	}()
	return conn, &Attempt{fill: func() *Report {
		<-settled
		a.fill(err)
		return a.report
	}}, err
}

func (a *attempt) run(ctx context.Context) (*net.TCPConn, error) {
	engine, why, err := newEngine(a)
	if err != nil {
		return nil, err
	}
	a.engine = engine
	a.note(why)
	cfg := &timing.Config{Realtime: a.plan.Realtime}
	if a.plan.CPU != nil {
		cfg.CPUs = []int{*a.plan.CPU}
	}
	if a.thread, err = timing.OpenThread(cfg); err != nil {
		return nil, fmt.Errorf("punch: %w", err)
	}
	defer a.thread.Leave()
	a.report.Notes = append(a.report.Notes, a.thread.Notes()...)
	if err := a.openRaw(); err != nil {
		return nil, err
	}
	if err := engine.prepare(); err != nil {
		return nil, err
	}
	runtime.GC() // now rather than between the instant and the answer

	if a.plan.At.IsZero() {
		a.plan.At = time.Now().Add(a.plan.lead() + warmUp + time.Millisecond)
		a.report.Scheduled = a.plan.At
	}
	if err := a.send(ctx); err != nil {
		return nil, err
	}
	conn, err := a.watch(ctx)
	if err != nil {
		a.engine.abort()
		return nil, err
	}
	return conn, nil
}

// openRaw opens the sockets that need CAP_NET_RAW. Connect does without.
func (a *attempt) openRaw() error {
	network := "ip4"
	if a.plan.Local.Addr().Is6() {
		network = "ip6"
	}
	var err error
	if a.wire, err = openWire(&a.plan); err == nil {
		if a.raw, err = rawtcp.Open(network, &rawtcp.Config{Local: a.plan.Local.Addr(), Interface: a.plan.bound}); err == nil {
			return nil
		}
	}
	if a.plan.Engine == Connect {
		a.note(fmt.Sprintf("no capture, so the report has no packets: %v", err))
		return nil
	}
	return fmt.Errorf("%w: %w", ErrMissing, err)
}

// settle ends the engine and takes a last look, so that our last packets belong to the report
// too. It runs beside the caller, who has a connection to use.
func (a *attempt) settle() {
	if a.engine != nil {
		a.engine.close()
	}
	if a.wire != nil {
		var s sighting
		for a.wire.look(&s) {
		}
		if received, dropped, err := a.wire.live.Stats(); err == nil {
			a.report.Capture = &CaptureStats{Received: received, Dropped: dropped}
		}
	}
}

// release closes everything else that the attempt has opened. The report does not wait for it:
// the kernel needs some twenty milliseconds to close a packet socket (it waits for all
// processors, twice).
func (a *attempt) release() {
	if a.wire != nil {
		a.wire.live.Close()
	}
	if a.raw != nil {
		a.raw.Close()
	}
	if a.thread != nil {
		a.thread.Close()
	}
}

// send waits for the instants of the plan and sends what they ask for.
func (a *attempt) send(ctx context.Context) error {
	if lead := a.plan.lead(); lead > 0 {
		if err := a.sleepUntil(ctx, a.plan.At.Add(-lead)); err != nil {
			return err
		}
		if err := a.engine.prime(ctx); err != nil {
			return err
		}
	}
	if err := a.sleepUntil(ctx, a.plan.At.Add(-armLead)); err != nil {
		return err
	}
	if err := a.engine.arm(ctx); err != nil {
		return err
	}
	bias := a.warmUp(ctx)
	if err := a.thread.SleepUntil(ctx, a.plan.At.Add(-openLead)); err != nil && !errors.Is(err, timing.ErrPast) {
		return err
	}
	if err := a.engine.open(); err != nil {
		return err
	}
	if err := a.thread.SleepUntil(ctx, a.plan.At.Add(-bias)); err != nil && !errors.Is(err, timing.ErrPast) {
		return err
	}
	a.fired = time.Now()
	err := a.engine.fire(a.fired)
	if a.plan.Realtime {
		if err := a.thread.DropRealtime(); err != nil {
			a.note(err.Error())
		}
	}
	if late := a.fired.Sub(a.plan.At); late > time.Millisecond {
		a.note(fmt.Sprintf("the instant had passed by %v when everything was ready: sent at once", late.Round(time.Microsecond)))
	}
	return err
}

// sleepUntil waits for an instant of preparation; one that has passed is fine.
func (a *attempt) sleepUntil(ctx context.Context, at time.Time) error {
	d := time.Until(at)
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// watch follows the flow from the instant to the kernel socket.
func (a *attempt) watch(ctx context.Context) (*net.TCPConn, error) {
	if a.wire == nil {
		return a.watchBlind(ctx)
	}
	end := a.fired
	if a.plan.At.After(end) {
		end = a.plan.At
	}
	end = end.Add(a.plan.Timeout)
	if err := a.deliverEarly(); err != nil {
		return nil, err
	}
	armed := a.fired.Add(armedWindow)
	var s sighting
	for looks := 0; ; looks++ {
		seen := a.wire.look(&s)
		if seen && !s.out {
			if err := a.engine.receive(&s); err != nil {
				return nil, err
			}
			armed = s.time.Add(armedWindow)
		}
		now := time.Now()
		ready, err := a.engine.step(now)
		switch {
		case err != nil:
			return nil, err
		case ready:
			return a.engine.handoff(now)
		case !now.Before(end):
			return nil, fmt.Errorf("%w: no connection %v after the instant", ErrTimeout, a.plan.Timeout)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case seen:
		case now.Before(armed):
			a.engine.idle(now)
			if looks%looksPerYield == 0 {
				yield()
			}
		default:
			if err := a.wire.wait(a.nap(now, end)); err != nil {
				return nil, err
			}
		}
	}
}

// watchBlind is watch without a packet socket.
func (a *attempt) watchBlind(ctx context.Context) (*net.TCPConn, error) {
	end := a.fired.Add(a.plan.Timeout)
	for {
		now := time.Now()
		ready, err := a.engine.step(now)
		switch {
		case err != nil:
			return nil, err
		case ready:
			return a.engine.handoff(now)
		case !now.Before(end):
			return nil, fmt.Errorf("%w: no connection %v after the instant", ErrTimeout, a.plan.Timeout)
		}
		if err := a.sleepUntil(ctx, now.Add(min(napLimit/10, end.Sub(now)))); err != nil {
			return nil, err
		}
	}
}

// nap is how long to wait for a packet at the longest.
func (a *attempt) nap(now, end time.Time) time.Time {
	until := now.Add(napLimit)
	if until.After(end) {
		until = end
	}
	if d, ok := a.engine.deadline(); ok && d.Before(until) {
		until = d
	}
	return until
}

// deliverEarly gives the engine the peer's segments that came before our SYN
// left: a peer that was early is answered as soon as we have sent.
func (a *attempt) deliverEarly() error {
	for i := range a.wire.log {
		r := &a.wire.log[i]
		s := sighting{time: r.time}
		if r.dir == capture.DirOut || rawtcp.ParseInto(&s.seg, r.data()) != nil {
			continue
		}
		if err := a.engine.receive(&s); err != nil {
			return err
		}
	}
	return nil
}

// noteResend says why a kernel socket was made anew.
func (a *attempt) noteResend(err error) {
	a.note(fmt.Sprintf("%+.3f ms: %v; sent again", float64(time.Since(a.plan.At))/1e6, err))
}

func (a *attempt) note(text string) {
	if text != "" {
		a.report.Notes = append(a.report.Notes, text)
	}
}

// yield gives the processor to any other thread that can run (sched_yield(2)).
func yield() { unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
