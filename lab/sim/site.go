package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
)

// setup is a checked Config with its defaults filled in.
type setup struct {
	Config
	ab, ba time.Duration
	flows  int // at the same time
	sites  [2]site
}

// site is the hosts of one side and their NATs, worked out.
type site struct {
	Side
	ends         []end // one for each flow
	boxes        []boxPlan
	public       netip.Addr // that the peers of ends aim at unless an observation says otherwise
	observations int
	crossTraffic float64 // SYNs a second
}

// end is one end of a flow.
type end struct {
	local  netip.AddrPort
	public netip.AddrPort // where ports are preserved
	box    int            // that the host is behind: its index
}

// boxPlan is one NAT. The last of a site is the outermost.
type boxPlan struct {
	behaviour nat.Behaviour
	config    nat.Config
	outer     int // the next one outwards: its index; -1: the provider
}

// The ports of the hosts, as in lab/live. Those of B differ from flow to flow, so
// that a NAT of A may give all flows the same public endpoint.
const (
	portA = 40000
	portB = 50000
)

// addresses of a site, as in lab/live: RFC 5737, RFC 1918, RFC 3849, and between
// NATs RFC 6598.
type addresses struct {
	private, gateway, shared            string // shared: of the network between two NATs
	wan, more, oneToOne                 string
	public, publicGateway, isp, ispCore string
}

var (
	sites4 = [2]addresses{
		{private: "10.0.1.2", gateway: "10.0.1.1", shared: "100.64.0.1", wan: "198.51.100.2", more: "198.51.100.64", oneToOne: "198.51.100.10",
			public: "198.51.100.130", publicGateway: "198.51.100.129", isp: "198.51.100.1", ispCore: "192.0.2.1"},
		{private: "10.0.2.2", gateway: "10.0.2.1", shared: "100.64.16.1", wan: "203.0.113.2", more: "203.0.113.64", oneToOne: "203.0.113.10",
			public: "203.0.113.130", publicGateway: "203.0.113.129", isp: "203.0.113.1", ispCore: "192.0.2.2"},
	}
	sites6 = [2]addresses{
		{public: "2001:db8:a:1::2", publicGateway: "2001:db8:a:1::1", wan: "2001:db8:a::2", isp: "2001:db8:a::1", ispCore: "2001:db8:c::1"},
		{public: "2001:db8:b:1::2", publicGateway: "2001:db8:b:1::1", wan: "2001:db8:b::2", isp: "2001:db8:b::1", ispCore: "2001:db8:c::2"},
	}
)

// nth is the n-th address from the first one on.
func nth(first string, n int) netip.Addr {
	a := netip.MustParseAddr(first)
	b := a.AsSlice()
	b[len(b)-1] += byte(n)
	a, _ = netip.AddrFromSlice(b)
	return a
}

func (c *Config) prepare() (*setup, error) {
	s := &setup{Config: *c}
	errs := c.check()
	set(&s.Timeout, DefaultTimeout)
	set(&s.Trials, DefaultTrials)
	set(&s.Workers, runtime.GOMAXPROCS(0))
	rest := c.Scenario // with NATs that can be read
	var chains [2]lab.Chain
	for i, at := range []*lab.Site{&rest.A, &rest.B} {
		chain, err := lab.ParseNAT(at.NAT)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: nat: %w", siteKeys[i], err))
			at.NAT, at.Addresses = lab.NATNone, 0
		}
		chains[i] = chain
	}
	if err := rest.Validate(); err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	s.ab, s.ba = rest.Link.Delays()
	s.flows = max(rest.A.Subscribers, rest.B.Subscribers, 1)
	for i, side := range []Side{c.A, c.B} {
		side, err := side.withDefaults()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", siteKeys[i], err))
			continue
		}
		s.sites[i].Side = side
		if len(errs) == 0 {
			s.sites[i].lay(i, &[]lab.Site{rest.A, rest.B}[i], chains[i], s.flows, rest.Family == lab.IP6)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

var siteKeys = [2]string{"a", "b"}

// lay works out the addresses of site i and its NATs.
func (s *site) lay(i int, from *lab.Site, chain lab.Chain, flows int, v6 bool) {
	a, port := sites4[i], []uint16{portA, portB}[i]
	if v6 {
		a = sites6[i]
	}
	hosts := max(from.Subscribers, 1)
	s.crossTraffic = from.CrossTraffic
	s.observations = max(s.Observations, 0)
	if s.Observations == 0 && (!chain.Preserves(port) || from.Addresses > 1) {
		s.observations = 1
	}
	inner := len(chain) - 1
	addrs := make([]netip.Addr, hosts) // of each subscriber, at the level at hand
	for h := range addrs {
		addrs[h] = nth(a.public, h)
		if chain.Translates() {
			addrs[h] = nth(a.private, h)
		}
	}
	locals := append([]netip.Addr(nil), addrs...)
	outermost := hosts * inner
	for level := range chain {
		beyond := chain[level+1:]
		for h := range hosts {
			if level == inner && h > 0 {
				break // there is one for all
			}
			box := boxPlan{behaviour: chain[level].Behaviour, outer: min(hosts*(level+1)+h, outermost)}
			mine := addrs[h : h+1]
			if level == inner {
				box.outer, mine = -1, addrs
			}
			box.place(&a, level, h, mine, chain.Translates(), beyond.Translates(), from.Addresses)
			s.boxes = append(s.boxes, box)
		}
		for h := range hosts {
			addrs[h] = s.boxes[min(hosts*level+h, outermost)].outside(addrs[h], h)
		}
	}
	s.public = addrs[0]
	for f := range flows {
		h := f % hosts
		local := port + uint16(f/hosts)
		if i == 1 {
			local = port + uint16(f)
		}
		s.ends = append(s.ends, end{
			local:  netip.AddrPortFrom(locals[h], local),
			public: netip.AddrPortFrom(addrs[h], local),
			box:    min(h, outermost),
		})
	}
}

// place gives a box its addresses. It is the one of host h, or of all; inside are
// the hosts' addresses as it sees them. private says that the hosts' own are; more that
// another NAT translates between this one and the provider.
func (b *boxPlan) place(a *addresses, level, h int, inside []netip.Addr, private, more bool, pool int) {
	gateway := a.publicGateway
	if private {
		gateway = a.gateway
	}
	b.config.Gateway = []netip.Addr{netip.MustParseAddr(gateway)}
	if level > 0 && private {
		b.config.Gateway = []netip.Addr{shared(a, level, 0)}
	}
	wan, oneToOne := nth(a.wan, h), func(n int) netip.Addr { return nth(a.oneToOne, h+n) }
	if more {
		wan = shared(a, level+1, h+2)
		oneToOne = func(n int) netip.Addr { return shared(a, level+1, h+n+2) }
	}
	b.config.Outer = []netip.Addr{wan}
	switch b.behaviour.Translation {
	case nat.NAPT:
		b.config.Public = []netip.Addr{wan}
		for n := 1; n < pool && !more; n++ {
			b.config.Public = append(b.config.Public, nth(a.more, n-1))
		}
	case nat.OneToOne:
		for n, host := range inside {
			b.config.Public = append(b.config.Public, oneToOne(n))
			b.config.Hosts = append(b.config.Hosts, host)
		}
	}
}

// outside is the address of host h behind the box, or that it has already.
func (b *boxPlan) outside(inside netip.Addr, h int) netip.Addr {
	switch b.behaviour.Translation {
	case nat.NAPT:
		return b.config.Public[0]
	case nat.OneToOne:
		return b.config.Public[min(h, len(b.config.Public)-1)]
	}
	return inside
}

// shared is the address of number n in the network inside the box of a level.
func shared(a *addresses, level, n int) netip.Addr {
	b := netip.MustParseAddr(a.shared).As4()
	b[2] += byte(level)
	if n > 0 {
		b[3] = byte(n)
	}
	return netip.AddrFrom4(b)
}
