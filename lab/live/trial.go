package live

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"sync"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/punch"
)

// Trial is one punch between two hosts of a lab, made by the real command.
type Trial struct {
	// Command is the synpunch program and the words that stand before its flags,
	// such as {"/usr/bin/synpunch", "punch"}. Empty: the attempts are made by package punch
	// in this process, each on a thread of its own in its host's namespace. That costs
	// less, and the two ends then share one Go runtime, garbage collector
	// and all, which two hosts never do.
	Command []string
	// At is the agreed instant; zero means as soon as both processes can be ready.
	At time.Time
	// Skew moves B's instant: positive, B is late.
	Skew time.Duration
	// Bytes is how much each side sends to the other over the established
	// connection, to be compared; zero sends nothing.
	Bytes int64
	// Timeout is that of both attempts; zero means punch.DefaultTimeout.
	Timeout time.Duration
	// LeadTime is how long before the instant the attempts begin, unless At says it; zero means 500 ms,
	// enough to start two processes on a busy machine. Attempts in this process need some 25 ms, most of
	// them for packet sockets: 40 ms on a machine that is not too busy (BenchmarkTrial). An attempt that is
	// not ready at its instant sends late, and its report says so.
	LeadTime time.Duration
	// Abort ends the connections without a word once both attempts are over, so that a trial takes no
	// longer than the punch; Lab.Renew then makes ports and NATs as good as new. It
	// excludes Bytes and Command.
	Abort bool
	// Dir gets the reports and captures: a.json, b.json, a.pcapng, b.pcapng. It must exist.
	// Without Command only captures go there.
	Dir string
	// Capture writes the pcapng files.
	Capture bool
	// A and B are what the sides do differently.
	A, B Side
}

// Side is one end of a Trial.
type Side struct {
	Engine   punch.Engine
	Strategy punch.Strategy
	Port     uint16 // the local port; zero means 40000 for A, 50000 for B
	Host     *Host  // another subscriber of the site; nil: Lab.A or Lab.B
	// Clock is how far the host's clock is ahead in this trial, besides lab.Site.Clock: it sends
	// that much too early. SideResult.Report has the true time.
	Clock time.Duration
	// Stock makes the attempt as applications do: time.Sleep until the instant, then net.Dialer with the local address
	// bound, and nothing of ours in between: in a process of the host where the lab has Config.Stock, else in this one,
	// where the timers of both hosts wake together. The report is made of what passed the host's interface, so the lab
	// needs Config.Hosts. It excludes Command and every Engine but punch.Connect.
	Stock bool
	// Aim is what this side takes for the other's public endpoint. Zero: what it can know. Where the
	// other's NATs preserve its port that is the public address with the local port, otherwise
	// what third parties see, or, if nothing came through, the former.
	Aim netip.AddrPort
	// Observations is how often third parties look at this side's public endpoint
	// before the attempt, unless its NATs preserve the port. 0 and 1: once, from the local port (Lab.Observe). More: from
	// other ports, and the other side aims where package nat/predict expects this one. See lab.Chain.Looks.
	Observations int
	Args         []string // more flags for the command
	// Started is called with the running process, if not nil.
	Started func(*exec.Cmd)
	// Plan changes the plan of an attempt in this process, if not nil.
	Plan func(*punch.Plan)
}

// TrialResult is what a Trial gave.
type TrialResult struct {
	At   time.Time // the agreed instant: A's
	A, B SideResult
	// Verified is how many bytes arrived at both ends together, if all that was
	// sent arrived there unchanged; less than 2 x Trial.Bytes otherwise.
	Verified int64
	// Meeting says how the SYNs met between the NATs; nil when they did not both
	// come there.
	Meeting *lab.Meeting
}

// Connected reports whether both ends have an established connection over
// which every byte arrived.
func (r *TrialResult) Connected(bytes int64) bool {
	return r.A.established() && r.B.established() && r.Verified == 2*bytes
}

// SideResult is what one end gave.
type SideResult struct {
	Report  *punch.Report // nil when the command wrote none
	Command []string      // as it was run
	Stderr  string
	Exit    int            // exit code, -1 when a signal ended it
	Bytes   int64          // that arrived unchanged from the beginning
	Host    string         // Host.Name
	Local   netip.AddrPort // its own end of the flow
	At      time.Time      // when it was to send, in true time: by its own clock that is its instant
	Aim     netip.AddrPort // what it took for the other's public endpoint
	AimErr  error          // why third parties could not tell that endpoint; nil also if they were not asked
	Err     error          // of running the command or of the bytes
	Capture string
}

func (s *SideResult) established() bool {
	return s.Report != nil && s.Report.Outcome == punch.Established
}

// trialLead is the time from the start of the processes to the instant, chosen
// by us: both must have opened their sockets by then, on a busy machine too.
const trialLead = 500 * time.Millisecond

// Lead is how long before the instant the trial should be started.
func (t *Trial) Lead() time.Duration {
	lead := t.LeadTime
	if lead == 0 {
		lead = trialLead
	}
	if t.A.Strategy == punch.Prime || t.B.Strategy == punch.Prime {
		lead += punch.PrimeLead
	}
	return lead
}

// ErrTrial is wrapped by every complaint about a Trial that cannot be made.
var ErrTrial = errors.New("lab/live: trial")

// Validate checks what the parts of the trial say about each other, as Run does. Errors
// wrap ErrTrial.
func (t *Trial) Validate() error {
	for i, s := range []*Side{&t.A, &t.B} {
		name := "ab"[i : i+1]
		switch {
		case !s.Stock:
		case len(t.Command) > 0:
			return fmt.Errorf("%w: %s: a stock attempt is time.Sleep and net.Dialer, which no command makes", ErrTrial, name)
		case s.Engine != "" && s.Engine != punch.Connect:
			return fmt.Errorf("%w: %s: a stock attempt is a connect(), not engine %s", ErrTrial, name, s.Engine)
		case s.Strategy != "" && s.Strategy != punch.Cross:
			return fmt.Errorf("%w: %s: a stock attempt sends one SYN, strategy %s more", ErrTrial, name, s.Strategy)
		}
	}
	switch {
	case t.Abort && len(t.Command) > 0:
		return fmt.Errorf("%w: only attempts in this process can be aborted, not a command's", ErrTrial)
	case t.Abort && t.Bytes > 0:
		return fmt.Errorf("%w: what is aborted carries no bytes, not %d", ErrTrial, t.Bytes)
	}
	return nil
}

// Run makes the trial. Trials may run at the same time in one lab, with ports of
// their own; one that uses ports again wants Lab.ResetCount before. The error is about the lab; that a punch failed is a
// result. Both attempts have ended when Run returns; ctx ends them early.
func (t *Trial) Run(ctx context.Context, l *Lab) (*TrialResult, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if (t.A.Stock || t.B.Stock) && !l.net.recordsHosts() {
		return nil, fmt.Errorf("%w: a stock attempt leaves no report of its own: build the lab with Config.Hosts", ErrTrial)
	}
	ends, err := t.ends(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := t.takeProcesses(ctx, l, &ends); err != nil {
		return nil, err
	}
	defer func() {
		for i := range ends {
			l.stock.give(ends[i].process)
		}
	}()
	at := t.At
	if at.IsZero() {
		at = time.Now().Add(t.Lead())
	}
	for i, due := range []time.Time{at, at.Add(t.Skew)} {
		e := &ends[i]
		e.at = due.Add(-e.host.Clock - e.Clock)
	}
	r := &TrialResult{At: at}
	var over, wg sync.WaitGroup // attempts, and all of the trial
	over.Add(len(ends))
	for i, to := range []*SideResult{&r.A, &r.B} {
		e := &ends[i]
		e.over = func() { over.Done(); over.Wait() }
		wg.Go(func() {
			if len(t.Command) > 0 {
				*to = t.command(ctx, e)
			} else {
				*to = t.inside(ctx, e)
			}
			to.Host, to.Local, to.At, to.Aim, to.AimErr = e.host.Name, e.local, e.at, e.aim, e.aimErr
		})
	}
	wg.Wait()
	if r.A.Err == nil && r.B.Err == nil {
		r.Verified = r.A.Bytes + r.B.Bytes
	}
	r.Meeting = meetingOf(l.Meetings(), ends[1].aim, ends[0].aim)
	return r, ctx.Err()
}

// end is one side of a trial under way.
type end struct {
	*Side
	name   string // "a" or "b"
	host   *Host
	local  netip.AddrPort
	aim    netip.AddrPort
	aimErr error
	at     time.Time // in true time
	// process makes the attempt, a stock one, if not nil.
	process *stockProcess
	// over says that the attempt is over, and returns when that of the other end is.
	over func()
}

// takeProcesses gets a process for each stock attempt, if the lab has a program for them.
func (t *Trial) takeProcesses(ctx context.Context, l *Lab, ends *[2]end) (err error) {
	for i := range ends {
		e := &ends[i]
		if !e.Stock || len(l.stock.program) == 0 {
			continue
		}
		if e.process, err = l.stock.take(ctx, e.host); err != nil {
			l.stock.give(ends[0].process) // of A, if it is B's that fails
			return fmt.Errorf("%s: %w", e.name, err)
		}
	}
	return nil
}

// ends finds out what each side aims at.
func (t *Trial) ends(ctx context.Context, l *Lab) ([2]end, error) {
	ends := [2]end{{Side: &t.A, name: "a", host: l.A}, {Side: &t.B, name: "b", host: l.B}}
	for i := range ends {
		e := &ends[i]
		port := [2]uint16{40000, 50000}[i]
		if e.Port != 0 {
			port = e.Port
		}
		if e.Host != nil {
			e.host = e.Host
		}
		e.local = netip.AddrPortFrom(e.host.Addr, port)
	}
	var wg sync.WaitGroup
	for i := range ends {
		e, other := &ends[i], &ends[1-i]
		if e.aim = e.Aim; e.aim.IsValid() {
			continue
		}
		wg.Go(func() { e.aim, e.aimErr = other.publicEndpoint(ctx, l, t.Lead()) })
	}
	wg.Wait()
	return ends, ctx.Err()
}

// meetingOf finds the flow between two public endpoints. Where nobody could name one
// of them the other must do.
func meetingOf(list []FlowMeeting, a, b netip.AddrPort) *lab.Meeting {
	var half *lab.Meeting
	for i := range list {
		switch m := &list[i]; {
		case m.A == a && m.B == b:
			return &m.Meeting
		case m.A == a || m.B == b:
			half = &m.Meeting
		}
	}
	return half
}
