package punch

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// Engine names how SYNs are sent and how the flow reaches the kernel.
type Engine string

const (
	Auto    Engine = "auto"    // the first of the three below whose needs are met
	Repair  Engine = "repair"  // rawtcp makes the handshake, TCP_REPAIR the socket: CAP_NET_RAW, CAP_NET_ADMIN
	Park    Engine = "park"    // the kernel makes the SYN, held back on lo, and we send its copies: CAP_NET_RAW
	Connect Engine = "connect" // connect() at the instant: no capability
)

// Engines lists the engines from the best to the baseline.
func Engines() []Engine { return []Engine{Repair, Park, Connect} }

// ParseEngine reads an engine's name; "" is Auto.
func ParseEngine(s string) (Engine, error) {
	if s == "" {
		return Auto, nil
	}
	if e := Engine(s); e == Auto || slices.Contains(Engines(), e) {
		return e, nil
	}
	return "", fmt.Errorf("engine %q: want auto, repair, park or connect", s)
}

// Strategy names what is sent.
type Strategy string

const (
	Cross Strategy = "cross" // one SYN, timed to cross the peer's
	Prime Strategy = "prime" // first a SYN whose TTL ends between the NATs, then Cross
	Fan   Strategy = "fan"   // many SYNs between many ports, one winner (FanOut)
)

// Strategies lists the strategies.
func Strategies() []Strategy { return []Strategy{Cross, Prime, Fan} }

// ParseStrategy reads a strategy's name; "" is Cross.
func ParseStrategy(s string) (Strategy, error) {
	if s == "" {
		return Cross, nil
	}
	if st := Strategy(s); slices.Contains(Strategies(), st) {
		return st, nil
	}
	return "", fmt.Errorf("strategy %q: want cross, prime or fan", s)
}

const (
	// DefaultTimeout is how long after the instant an attempt may go on.
	DefaultTimeout = 10 * time.Second
	// DefaultRetries is how often the repair and park engines send again after an RST or an ICMP error.
	DefaultRetries = rawtcp.DefaultRetries
	// PrimeTTL reaches the first router behind a NAT that is the first hop, the most common place.
	PrimeTTL = 2
	// PrimeLead is how long before the instant the priming SYN leaves: longer than an ICMP
	// error needs to come back from a hop inside the access network.
	PrimeLead = 250 * time.Millisecond
	// armLead is what opening the sockets and warming the path may take, chosen by us: 20 ms
	// are enough here, and a slow machine gets five times that.
	armLead = 100 * time.Millisecond
)

// Plan says what one attempt is to do. The zero value of each field but
// Remote means the default its comment gives.
type Plan struct {
	Local    netip.AddrPort // no address: chosen by the route to Remote; port 0: a free one
	Remote   netip.AddrPort // the peer's public endpoint; with RemotePorts the port may be 0
	At       time.Time      // when the SYN leaves (CLOCK_REALTIME); zero: as soon as everything is ready
	Engine   Engine         // zero: Auto
	Strategy Strategy       // zero: Cross

	TTL     uint8         // Cross: TTL or hop limit of our SYNs, zero 64; Prime: that of the priming SYN, zero PrimeTTL
	Retries int           // sends after an RST or ICMP error; zero: DefaultRetries (Connect: none); negative: none
	Timeout time.Duration // from At; zero: DefaultTimeout
	Early   bool          // hand off in SYN-RECEIVED, right after our SYN-ACK (Repair only)

	// For a peer whose port is not certain (Repair only). One SYN goes to each of
	// the ports at the instant, Remote's own first, RemotePorts in their order; at
	// most rawtcp.MaxCandidates, none twice. LearnPort takes a SYN that comes from
	// another port of Remote's address for the peer's, too. The flow on which both ends
	// agree wins (rawtcp.Candidates); nothing is sent to the others afterwards.
	RemotePorts []uint16
	LearnPort   bool

	// FanOut is for strategy Fan, which takes any number of RemotePorts.
	FanOut FanOut

	// Options of the raw SYN, for Repair only.
	ISN          *uint32 // nil: RFC 6528
	MSS          uint16  // zero: from the route's MTU
	WScale       *uint8  // window scale, 0 to 14; nil: what the kernel would offer
	NoTimestamps bool
	NoSACK       bool

	Interface string // capture and send here; zero: the interface of the route
	CPU       *int   // pin the sending thread to this processor; nil: no pin
	Realtime  bool   // SCHED_FIFO until the SYN has left (needs CAP_SYS_NICE)

	mss   uint16 // what Resolve found to offer
	probe uint16 // local port that asks what the peer's NAT answers; 0: none
	bound string // Interface as the caller gave it: sockets are bound to it
}

// ErrPlan is wrapped by every complaint about a plan that cannot be carried out as written.
var ErrPlan = errors.New("punch: plan")

func planErr(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrPlan, fmt.Errorf(format, args...))
}

// Validate checks what can be checked without asking the system. Errors wrap ErrPlan.
func (p *Plan) Validate() error {
	remote, local := p.Remote.Addr(), p.Local.Addr()
	switch {
	case !p.Remote.Addr().IsValid():
		return planErr("remote: an address and a port are needed, such as 203.0.113.7:40000 or [2001:db8::7]:40000")
	case p.Remote.Port() == 0 && len(p.RemotePorts) == 0:
		return planErr("remote %v: the port must not be 0", p.Remote)
	case remote.Is4In6() || local.Is4In6():
		return planErr("IPv4-mapped IPv6 addresses are not used on the wire: write %v as %v", remote, remote.Unmap())
	case !oneHost(remote):
		return planErr("remote %v: not the address of one host", remote)
	case local.IsValid() && local.IsMulticast():
		return planErr("local %v: not the address of one host", local)
	case local.IsValid() && !local.IsUnspecified() && local.Is4() != remote.Is4():
		return planErr("local %v and remote %v are of different address families", p.Local, p.Remote)
	case local == remote && p.Local.Port() == p.Remote.Port():
		return planErr("remote %v is the local endpoint itself", p.Remote)
	}
	if _, err := ParseEngine(string(p.Engine)); err != nil {
		return planErr("%w", err)
	}
	if _, err := ParseStrategy(string(p.Strategy)); err != nil {
		return planErr("%w", err)
	}
	if err := p.validateFan(); err != nil {
		return err
	}
	if err := p.validateCandidates(); err != nil {
		return err
	}
	if p.Timeout < 0 {
		return planErr("timeout %v is negative", p.Timeout)
	}
	if p.WScale != nil && *p.WScale > 14 {
		return planErr("window scale %d: RFC 7323 section 2.3 allows 0 to 14", *p.WScale)
	}
	if raw := p.rawOptions(); len(raw) > 0 && (p.Engine == Park || p.Engine == Connect) {
		return planErr("%s: only the repair engine makes its own SYN; with %s the kernel does", strings.Join(raw, ", "), p.Engine)
	}
	if p.Strategy == Prime && p.TTL == 1 {
		return planErr("ttl 1 ends at the first router, before a NAT there makes a mapping: want 2 or more to prime")
	}
	return nil
}

// rawOptions names the fields that only Repair can honour.
func (p *Plan) rawOptions() []string {
	var set []string
	for _, o := range []struct {
		name string
		on   bool
	}{
		{"isn", p.ISN != nil}, {"mss", p.MSS != 0}, {"wscale", p.WScale != nil},
		{"no-timestamps", p.NoTimestamps}, {"no-sack", p.NoSACK}, {"early", p.Early},
	} {
		if o.on {
			set = append(set, o.name)
		}
	}
	return set
}

// withDefaults fills in what does not depend on the system.
func (p Plan) withDefaults() Plan {
	if p.Strategy == "" {
		p.Strategy = Cross
	}
	if p.Engine == "" {
		p.Engine = Auto
	}
	if p.Engine == Auto && (len(p.rawOptions()) > 0 || p.uncertain()) {
		p.Engine = Repair
	}
	p.normalizeCandidates()
	if p.Strategy == Fan {
		p.FanOut = p.FanOut.withDefaults()
	}
	if p.Timeout == 0 {
		p.Timeout = DefaultTimeout + p.sending()
	}
	if p.TTL == 0 && (p.Strategy == Prime || p.Strategy == Fan) {
		p.TTL = PrimeTTL
	}
	return p
}

// retries is how often engine e may send again after an answer that kills.
func (p *Plan) retries(e Engine) int {
	switch {
	case p.Retries < 0 || (p.Retries == 0 && e == Connect):
		return 0
	case p.Retries == 0:
		return DefaultRetries
	}
	return p.Retries
}

// lead is how long before the instant the first packet leaves.
func (p *Plan) lead() time.Duration {
	switch {
	case p.Strategy == Prime:
		return PrimeLead
	case p.Strategy == Fan && p.FanOut.Prime == PrimeAuto:
		return fanProbeLead
	}
	return 0
}
