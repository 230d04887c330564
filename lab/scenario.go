package lab

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/synpunch/synpunch/nat"
)

// Address families of a scenario.
const (
	IP4 = "ip4"
	IP6 = "ip6"
)

// ErrScenario is wrapped by every complaint about a scenario.
var ErrScenario = errors.New("scenario")

// Scenario describes two sites and the link between them. The zero value is
// two linux NATs joined without delay.
type Scenario struct {
	Name   string // for reports; may be empty
	Family string // IP4 or IP6; "" is IP4
	A, B   Site
	Link   Link
}

// Site is one host, or a few, and what stands between them and the network.
type Site struct {
	NAT string // what ParseNAT reads; "" is NATLinux
	// Subscribers is how many hosts there are behind the outermost NAT, each with
	// inner NATs of its own where NAT is a chain; 0 is 1. Package sim has one.
	Subscribers int
	// Addresses is how many public addresses the outermost NAT has, if it
	// translates addresses and ports; 0 is 1.
	Addresses int
	// CrossTraffic is how many SYNs a second the NAT's other subscribers send through the
	// outermost NAT, each of them a new connection, see Crowd. In package live only
	// the model NAT has it.
	CrossTraffic float64
	// Clock is how far the clocks of the site's hosts are ahead of the true time; negative:
	// behind. A host that is to send at T by its clock does so at T - Clock.
	// At most MaxClock either way.
	Clock time.Duration
}

// Link joins the providers of the two sites. The zero Link is a plain wire.
type Link struct {
	Delay  time.Duration  // each way, at most MaxDelay
	AB, BA *time.Duration // one direction, in place of Delay; nil: Delay
	// Jitter is how much longer than the delay a packet takes at most, drawn uniformly
	// for each packet; at most MaxDelay. Packets do not overtake each other.
	Jitter time.Duration
	// Loss is the probability, 0 to 1, that a packet is lost, drawn for each packet of either
	// direction that has none of Faults.
	Loss   float64
	Faults []Fault
}

// MaxDelay is the longest delay of a link in one direction: longer than what
// the initial retransmissions of TCP cover, chosen by us.
const MaxDelay = 10 * time.Second

// MaxClock bounds Site.Clock. Chosen by us: what is more than an hour out is not a clock
// that anybody would agree on an instant with.
const MaxClock = time.Hour

// Delays returns the one-way delays of the link.
func (l Link) Delays() (ab, ba time.Duration) {
	ab, ba = l.Delay, l.Delay
	if l.AB != nil {
		ab = *l.AB
	}
	if l.BA != nil {
		ba = *l.BA
	}
	return ab, ba
}

// Plain reports whether the link is a wire: no delay, no jitter, no loss, no faults.
func (l Link) Plain() bool {
	ab, ba := l.Delays()
	return ab == 0 && ba == 0 && l.Jitter == 0 && l.Loss == 0 && len(l.Faults) == 0
}

// Validate checks the link as Scenario.Validate does.
func (l *Link) Validate() error { return joined(l.check()) }

// Direction is a direction of the link.
type Direction string

// Directions.
const (
	AB Direction = "ab" // from A to B
	BA Direction = "ba" // from B to A
)

// Action is what a fault does to its packet.
type Action string

// Actions.
const (
	Lose      Action = "lose"      // the packet never arrives
	Duplicate Action = "duplicate" // it arrives twice, back to back
	Reorder   Action = "reorder"   // it arrives behind later ones, see Fault.Behind
)

// ReorderLimit bounds how long a reordered packet waits for those that are to
// overtake it; a handshake may have none. Chosen by us: below the shortest
// retransmission timer of Linux, 200 ms.
const ReorderLimit = 100 * time.Millisecond

// Fault happens to one packet of the link.
type Fault struct {
	Direction Direction
	Packet    int // counts the TCP packets of the direction from 1; others (ARP, ICMP) pass uncounted
	Action    Action
	Behind    int // for Reorder: how many later TCP packets overtake it; 0 is 1
}

// String returns the fault in a few words: "lose packet 1 a to b".
func (f Fault) String() string {
	s := fmt.Sprintf("%s packet %d %s", f.Action, f.Packet, strings.Join(strings.Split(string(f.Direction), ""), " to "))
	if f.Action == Reorder {
		s += fmt.Sprintf(" behind %d", max(f.Behind, 1))
	}
	return s
}

// Validate checks the scenario. Errors wrap ErrScenario and begin with the key
// as a file would have it: "link.faults[2].packet". All complaints are joined.
func (s *Scenario) Validate() error { return joined(s.check()) }

// problem is one complaint about the value at a key.
type problem struct{ key, what string }

// joined makes one error of complaints.
func joined(ps []problem) error {
	var errs []error
	for _, p := range ps {
		errs = append(errs, fmt.Errorf("%w: %s: %s", ErrScenario, p.key, p.what))
	}
	return errors.Join(errs...)
}

func (s *Scenario) check() []problem {
	var ps []problem
	add := func(key, format string, args ...any) {
		ps = append(ps, problem{key, fmt.Sprintf(format, args...)})
	}
	if s.Family != "" && s.Family != IP4 && s.Family != IP6 {
		add("family", "%q is not an address family: want ip4 or ip6", s.Family)
	}
	ps = append(ps, s.A.check("a", s.Family)...)
	ps = append(ps, s.B.check("b", s.Family)...)
	ps = append(ps, s.Link.check()...)
	return ps
}

func (s *Site) check(site, family string) []problem {
	var ps []problem
	add := func(key, format string, args ...any) {
		ps = append(ps, problem{site + "." + key, fmt.Sprintf(format, args...)})
	}
	within := func(key string, n, most int) {
		if n < 0 || n > most {
			add(key, "%d is not between 0 and %d", n, most)
		}
	}
	within("subscribers", s.Subscribers, MaxSubscribers)
	within("addresses", s.Addresses, MaxAddresses)
	if r := s.CrossTraffic; !(r >= 0 && r <= MaxCrossTraffic) { // NaN neither
		add("cross-traffic", "%v SYNs a second are not between 0 and %d", r, MaxCrossTraffic)
	}
	if s.Clock < -MaxClock || s.Clock > MaxClock {
		add("clock", "%v is more than %v ahead or behind", s.Clock, MaxClock)
	}
	c, err := ParseNAT(s.NAT)
	if err != nil {
		add("nat", "%s", strings.TrimPrefix(err.Error(), ErrScenario.Error()+": "))
		return ps
	}
	for i := range c {
		if family == IP6 && c[i].Translates() {
			add("nat", "%s translates IPv4 only; with family ip6 use %s", c[i].Text, strings.Join(kindNames(IP6), " or "))
		}
	}
	outer := c.Outer()
	if s.Addresses > 1 && (outer.Kernel != "" || outer.Behaviour.Translation != nat.NAPT) {
		add("addresses", "only a model NAT that translates addresses and ports has several, not %s", outer.Text)
	}
	return ps
}

func (l *Link) check() []problem {
	var ps []problem
	add := func(key, format string, args ...any) {
		ps = append(ps, problem{key, fmt.Sprintf(format, args...)})
	}
	for _, d := range []struct {
		key, name string
		delay     *time.Duration
	}{{"link.delay", "delay", &l.Delay}, {"link.ab", "delay", l.AB}, {"link.ba", "delay", l.BA}, {"link.jitter", "jitter", &l.Jitter}} {
		switch {
		case d.delay == nil:
		case *d.delay < 0:
			add(d.key, "a %s of %v is negative", d.name, *d.delay)
		case *d.delay > MaxDelay:
			add(d.key, "a %s of %v is longer than %v", d.name, *d.delay, MaxDelay)
		}
	}
	if !(l.Loss >= 0 && l.Loss <= 1) { // NaN neither
		add("link.loss", "%v is not a probability: want 0 to 1", l.Loss)
	}
	for _, p := range checkFaults(l.Faults) {
		ps = append(ps, problem{"link." + p.key, p.what})
	}
	return ps
}

// ValidateFaults checks faults as Scenario.Validate does.
func ValidateFaults(faults []Fault) error { return joined(checkFaults(faults)) }

func checkFaults(faults []Fault) []problem {
	var ps []problem
	type spot struct {
		dir Direction
		n   int
	}
	seen := map[spot]int{}
	for i, f := range faults {
		add := func(key, format string, args ...any) {
			ps = append(ps, problem{fmt.Sprintf("faults[%d].%s", i, key), fmt.Sprintf(format, args...)})
		}
		if f.Direction != AB && f.Direction != BA {
			add("direction", "%q is not a direction: want ab or ba", f.Direction)
		}
		if f.Packet < 1 {
			add("packet", "packets are counted from 1, not %d", f.Packet)
		}
		switch f.Action {
		case Lose, Duplicate, Reorder:
		default:
			add("action", "%q is not an action: want lose, duplicate or reorder", f.Action)
		}
		if f.Behind < 0 {
			add("behind", "%d packets cannot overtake", f.Behind)
		} else if f.Behind > 0 && f.Action != Reorder {
			add("behind", "only reorder takes it, not %s", f.Action)
		}
		s := spot{f.Direction, f.Packet}
		if j, ok := seen[s]; ok {
			add("packet", "packet %d in direction %s has a fault already, faults[%d]", f.Packet, f.Direction, j)
		}
		seen[s] = i
	}
	return ps
}
