package live

import (
	"context"
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
	if t.A.Strategy == punch.Prime || t.B.Strategy == punch.Prime {
		return trialLead + punch.PrimeLead
	}
	return trialLead
}

// Run makes the trial. Trials may run at the same time in one lab, with ports of
// their own; one that uses ports again wants Lab.ResetCount before. The error is about the lab; that a punch failed is a
// result. Both attempts have ended when Run returns; ctx ends them early.
func (t *Trial) Run(ctx context.Context, l *Lab) (*TrialResult, error) {
	ends, err := t.ends(ctx, l)
	if err != nil {
		return nil, err
	}
	at := t.At
	if at.IsZero() {
		at = time.Now().Add(t.Lead())
	}
	ends[0].at, ends[1].at = at, at.Add(t.Skew)
	r := &TrialResult{At: at}
	var wg sync.WaitGroup
	for i, to := range []*SideResult{&r.A, &r.B} {
		wg.Go(func() {
			if len(t.Command) > 0 {
				*to = t.command(ctx, &ends[i])
			} else {
				*to = t.inside(ctx, &ends[i])
			}
			to.Aim, to.AimErr = ends[i].aim, ends[i].aimErr
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
	at     time.Time
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
