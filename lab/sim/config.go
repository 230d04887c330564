package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
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
)

// Engine names what a host runs.
type Engine string

// The engines.
const (
	Repair     Engine = "repair"      // rawtcp.Handshake, which outlives resets and ICMP errors
	Connect    Engine = "connect"     // connect() on Linux, which does not
	ConnectOld Engine = "connect-old" // the same on Linux from before mid-2024 (commit 23e89e8ee7be)
)

// Engines lists the engines from the best to the worst.
func Engines() []Engine { return []Engine{Repair, Connect, ConnectOld} }

// ParseEngine reads an engine's name; "" is Repair.
func ParseEngine(s string) (Engine, error) {
	if s == "" {
		return Repair, nil
	}
	for _, e := range Engines() {
		if s == string(e) {
			return e, nil
		}
	}
	return "", fmt.Errorf("%w: %q is not an engine: want repair, connect or connect-old", ErrConfig, s)
}

// Config says what to simulate. The zero value is a thousand attempts with the
// engine repair through two linux NATs joined without delay.
type Config struct {
	// Scenario is what the packets travel through. The kind of NAT of a site
	// is any text that nat.Parse reads; "" is linux.
	Scenario lab.Scenario
	A, B     Side

	// Skew is how much later than A's instant B's is; negative: earlier.
	Skew time.Duration
	// SkewError is added to Skew, drawn for each trial.
	SkewError timing.Uncertainty
	// Jitter is how much longer than the link's delay a packet takes at most,
	// drawn uniformly for each packet. Packets do not overtake each other.
	Jitter time.Duration

	Timeout time.Duration // of an attempt, from its side's instant; 0: DefaultTimeout
	Trials  int           // 0: DefaultTrials
	Seed    uint64        // of every draw
	Workers int           // that share the trials; 0: runtime.GOMAXPROCS

	// Record gets every trial, in the order of their numbers, on the goroutine
	// that called Run. The Trial is valid during the call only. It may be nil.
	Record func(*Trial)
	// Packet gets the packets of trial 0 in the order of time, on another
	// goroutine than Run's. It may be nil.
	Packet func(Packet)
}

// Side is one host and its way to its NAT.
type Side struct {
	Engine  Engine        // "": Repair
	Retries int           // SYNs sent because of an RST or ICMP error; 0: as live (repair 64, connect none); negative: none
	Access  time.Duration // from the host to its NAT, each way
}

// setup is a checked Config with its defaults filled in.
type setup struct {
	Config
	ab, ba time.Duration
	sites  [2]site
}

// site is one host and its NAT, worked out.
type site struct {
	Side
	behaviour nat.Behaviour
	config    nat.Config
	local     netip.AddrPort
	public    netip.Addr
	asks      bool // for its public port, because the NAT does not preserve it
}

// The ports of the hosts, as in lab/live.
const (
	portA = 40000
	portB = 50000
)

// addresses of a site, as in lab/live: RFC 5737, RFC 1918, RFC 3849.
type addresses struct{ private, gateway, wan, oneToOne, public, publicGateway string }

var (
	sites4 = [2]addresses{
		{"10.0.1.2", "10.0.1.1", "198.51.100.2", "198.51.100.10", "198.51.100.130", "198.51.100.129"},
		{"10.0.2.2", "10.0.2.1", "203.0.113.2", "203.0.113.10", "203.0.113.130", "203.0.113.129"},
	}
	sites6 = [2]addresses{
		{public: "2001:db8:a:1::2", publicGateway: "2001:db8:a:1::1", wan: "2001:db8:a::2"},
		{public: "2001:db8:b:1::2", publicGateway: "2001:db8:b:1::1", wan: "2001:db8:b::2"},
	}
	// observer is the third party that tells a host its public endpoint.
	observer = netip.MustParseAddrPort("192.0.2.53:3478")
)

// Validate checks the configuration as Run does.
func (c *Config) Validate() error {
	_, err := c.prepare()
	return err
}

func (c *Config) prepare() (*setup, error) {
	s := &setup{Config: *c}
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	for _, d := range []struct {
		name string
		d    time.Duration
		neg  bool
	}{{"skew", c.Skew, true}, {"sigma of the skew", c.SkewError.Sigma, false}, {"bound of the skew", c.SkewError.Bound, false},
		{"jitter", c.Jitter, false}, {"timeout", c.Timeout, false}, {"access of A", c.A.Access, false}, {"access of B", c.B.Access, false}} {
		switch {
		case d.d < 0 && !d.neg:
			fail("%s: %v is negative", d.name, d.d)
		case d.d > MaxTime || d.d < -MaxTime:
			fail("%s: %v is longer than %v", d.name, d.d, MaxTime)
		}
	}
	if c.Trials < 0 {
		fail("%d trials: want 1 or more", c.Trials)
	}
	if c.Workers < 0 {
		fail("%d workers: want 1 or more", c.Workers)
	}
	set(&s.Timeout, DefaultTimeout)
	set(&s.Trials, DefaultTrials)
	set(&s.Workers, runtime.GOMAXPROCS(0))

	plain := c.Scenario // without the NATs, which are not lab's to judge
	plain.A.NAT, plain.B.NAT = lab.NATNone, lab.NATNone
	if err := plain.Validate(); err != nil {
		errs = append(errs, err)
	}
	s.ab, s.ba = plain.Link.Delays()
	for i, side := range []struct {
		key  string
		kind string
		Side
	}{{"a", c.Scenario.A.NAT, c.A}, {"b", c.Scenario.B.NAT, c.B}} {
		if err := s.sites[i].prepare(i, side.kind, side.Side, c.Scenario.Family == lab.IP6); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", side.key, err))
		}
	}
	return s, errors.Join(errs...)
}

func set[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// prepare works a site out.
func (s *site) prepare(i int, kind string, side Side, v6 bool) error {
	engine, err := ParseEngine(string(side.Engine))
	if err != nil {
		return err
	}
	s.Side = side
	s.Engine = engine
	if kind == "" {
		kind = lab.NATLinux
	}
	if s.behaviour, err = nat.Parse(kind); err != nil {
		return err
	}
	translation := s.behaviour.Translation
	if v6 && translation != nat.None {
		return fmt.Errorf("%w: nat: %s translates IPv4 only; with family ip6 use firewall or none", lab.ErrScenario, kind)
	}
	a, port := sites4[i], []uint16{portA, portB}[i]
	if v6 {
		a = sites6[i]
	}
	host, gateway := a.public, a.publicGateway
	s.config.Outer = []netip.Addr{netip.MustParseAddr(a.wan)}
	switch translation {
	case nat.NAPT:
		host, gateway = a.private, a.gateway
		s.public = netip.MustParseAddr(a.wan)
		s.config.Public = []netip.Addr{s.public}
		s.asks = s.behaviour.Allocation != nat.Preserving
	case nat.OneToOne:
		host, gateway = a.private, a.gateway
		s.public = netip.MustParseAddr(a.oneToOne)
		s.config.Public = []netip.Addr{s.public}
		s.config.Hosts = []netip.Addr{netip.MustParseAddr(host)}
	default:
		s.public = netip.MustParseAddr(host)
	}
	s.config.Gateway = []netip.Addr{netip.MustParseAddr(gateway)}
	s.local = netip.AddrPortFrom(netip.MustParseAddr(host), port)
	return nil
}
