package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/timing"
)

// ErrConfig is wrapped by every complaint about a Config that is not one about
// its scenario (lab.ErrScenario) or a NAT's behaviour (nat.ErrBehaviour,
// nat.ErrUnknownKey).
var ErrConfig = errors.New("simulation")

// Chosen by us.
const (
	// DefaultTrials is Config.Trials where that is 0.
	DefaultTrials = 1000
	// DefaultTimeout is Config.Timeout where that is 0: that of a live attempt.
	DefaultTimeout = 10 * time.Second
	// MaxTime bounds each time of a Config.
	MaxTime = time.Hour
	// maxPlan bounds the times of a Plan.
	maxPlan = time.Minute
	// MaxPorts is the largest Side.RemotePorts, that of a live attempt.
	MaxPorts = 64
	// MaxObservations is the largest Side.Observations.
	MaxObservations = 64
)

// Config says what to simulate. The zero value is a thousand attempts with the
// engine repair through two linux NATs joined without delay.
type Config struct {
	// Scenario is what the packets travel through. Of its NATs the model is
	// taken, whether or not a text begins with lab.Model. A site with several
	// subscribers, or whose peer has several, has several flows at once: see
	// Trial.Others.
	Scenario lab.Scenario
	A, B     Side

	// Skew is how much later than A's instant B's is, each by its own clock (lab.Site.Clock);
	// negative: earlier. With Plan it is added to what the peers aim at.
	Skew time.Duration
	// SkewError is added to Skew, drawn for each trial.
	SkewError timing.Uncertainty
	// Plan lets the peers choose their instants by timing.Appointment. nil: A's is Epoch.
	Plan *Plan

	Timeout time.Duration // of an attempt, from its side's instant; 0: DefaultTimeout
	Trials  int           // 0: DefaultTrials
	Seed    uint64        // of every draw
	Workers int           // that share the trials; 0: runtime.GOMAXPROCS

	// Record gets every trial, in the order of their numbers, on the goroutine
	// that called Run. The Trial is valid during the call only. It may be nil.
	Record func(*Trial)
	// Packet gets the packets of the trial number PacketTrial in the order of
	// time, on another goroutine than Run's. It may be nil.
	Packet      func(Packet)
	PacketTrial int
}

// Side is one host, what it does, and its way to its NAT.
type Side struct {
	Engine   Engine        // "": Repair
	Strategy Strategy      // "": Cross
	TTL      uint8         // Cross: of our SYNs, 0: 64; Prime: of the priming SYN, 0: PrimeTTL
	Retries  int           // SYNs sent because of an RST or ICMP error; 0: as live (repair and park 64, connect none); negative: none
	Access   time.Duration // from the host to its NAT, each way

	// Late is how much later than its instant the host sends, and SendError what comes on
	// top of it, either way, drawn for each trial.
	Late      time.Duration
	SendError timing.Uncertainty

	// Observations is how often a third party sees the host's public endpoint
	// before the attempt, for the peer to aim at: each time a SYN to another
	// address from the port of the attempt, the first a second before the first
	// instant. 0: once if the NAT does not preserve ports or has several addresses, else not at all, and the peer
	// takes the local port; negative: not at all.
	//
	// What the peer aims at is the best guess of package nat/predict from all
	// observations. From a single one that is the port observed.
	Observations int
	// RemotePorts is at how many of the peer's likeliest ports this side sends
	// a SYN at the instant; 0: 1. More than one needs the engine Repair.
	RemotePorts int
	// LearnPort takes the port that a SYN from the peer's address comes from as the
	// peer's. It needs the engine Repair.
	LearnPort bool
}

// Validate checks the configuration as Run does.
func (c *Config) Validate() error {
	_, err := c.prepare()
	return err
}

// check lists what is wrong apart from the scenario.
func (c *Config) check() []error {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	for _, d := range []struct {
		name string
		d    time.Duration
		neg  bool
	}{{"skew", c.Skew, true}, {"sigma of the skew", c.SkewError.Sigma, false}, {"bound of the skew", c.SkewError.Bound, false},
		{"timeout", c.Timeout, false}, {"access of A", c.A.Access, false}, {"access of B", c.B.Access, false},
		{"lateness of A", c.A.Late, false}, {"lateness of B", c.B.Late, false},
		{"sigma of A's sending", c.A.SendError.Sigma, false}, {"sigma of B's sending", c.B.SendError.Sigma, false},
		{"bound of A's sending", c.A.SendError.Bound, false}, {"bound of B's sending", c.B.SendError.Bound, false}} {
		switch {
		case d.d < 0 && !d.neg:
			fail("%s: %v is negative", d.name, d.d)
		case d.d > MaxTime || d.d < -MaxTime:
			fail("%s: %v is longer than %v", d.name, d.d, MaxTime)
		}
	}
	if s := c.Skew.Abs() + max(c.Scenario.A.Clock.Abs(), c.Scenario.B.Clock.Abs()); s > MaxTime {
		fail("skew and clock: %v together are longer than %v", s, MaxTime)
	}
	if p := c.Plan; p != nil {
		if c.SkewError != (timing.Uncertainty{}) {
			fail("error of the skew: peers that plan have errors of clock and of sending instead")
		}
		for _, d := range []struct {
			name string
			d    time.Duration
		}{{"clock error", p.ClockError}, {"exchange", p.Exchange}} {
			if d.d < 0 || d.d > maxPlan {
				fail("%s: %v is not between 0 and %v", d.name, d.d, maxPlan)
			}
		}
	}
	for _, n := range []struct {
		n    int
		what string
	}{{c.Trials, "trials"}, {c.Workers, "workers"}} {
		if n.n < 0 {
			fail("%d %s: want 1 or more", n.n, n.what)
		}
	}
	trials := c.Trials
	set(&trials, DefaultTrials)
	if c.PacketTrial < 0 || c.PacketTrial > 0 && c.PacketTrial >= trials {
		fail("packets of trial %d: there is no such trial", c.PacketTrial)
	}
	return errs
}

// withDefaults checks a side and fills in what is zero.
func (s Side) withDefaults() (Side, error) {
	var err error
	if s.Engine, err = ParseEngine(string(s.Engine)); err != nil {
		return s, err
	}
	if s.Strategy, err = ParseStrategy(string(s.Strategy)); err != nil {
		return s, err
	}
	switch {
	case s.Observations > MaxObservations:
		return s, fmt.Errorf("%w: %d observations: want %d or fewer", ErrConfig, s.Observations, MaxObservations)
	case s.RemotePorts < 0 || s.RemotePorts > MaxPorts:
		return s, fmt.Errorf("%w: %d remote ports: want 1 to %d", ErrConfig, s.RemotePorts, MaxPorts)
	case s.Engine != Repair && s.RemotePorts > 1:
		return s, fmt.Errorf("%w: %d remote ports: only the engine repair tries several, not %s", ErrConfig, s.RemotePorts, s.Engine)
	case s.Engine != Repair && s.LearnPort:
		return s, fmt.Errorf("%w: only the engine repair learns the peer's port, not %s", ErrConfig, s.Engine)
	case s.Strategy == Prime && s.TTL == 1:
		return s, fmt.Errorf("%w: TTL 1 ends at the first NAT, before it makes a mapping: want 2 or more to prime", ErrConfig)
	}
	set(&s.RemotePorts, 1)
	if s.Strategy == Prime {
		set(&s.TTL, PrimeTTL)
	}
	if s.Retries == 0 && s.Engine.stubborn() {
		s.Retries = DefaultRetries
	}
	s.Retries = max(s.Retries, 0)
	return s, nil
}

// guarded reports whether a host keeps its kernel from answering what no socket
// knows, until its attempt is over.
func (s *Side) guarded() bool { return s.Engine.stubborn() || s.Strategy == Prime }

func set[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}
