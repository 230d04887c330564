package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Side is a side of a NAT.
type Side uint8

// The sides.
const (
	Inside Side = iota
	Outside
)

func (s Side) String() string {
	if s == Inside {
		return "inside"
	}
	return "outside"
}

// Packet is a packet that leaves a NAT.
type Packet struct {
	Data []byte // from the IP header on
	To   Side
}

// Config is what a NAT has besides its behaviour.
type Config struct {
	// Public are the addresses outside, IPv4. With translation napt and
	// one-to-one there must be one or more.
	Public []netip.Addr
	// Hosts are inside hosts that have a public address from the beginning,
	// for one-to-one: Hosts[i] has Public[i]. Others get theirs with their first packet.
	Hosts []netip.Addr
	// Gateway are the NAT's own addresses inside, at most one of each family: its
	// ICMP errors to the inside come from there. Without one they come from
	// the address that the host's packet went to.
	Gateway []netip.Addr
	// Outer are the NAT's own addresses outside besides Public, at most one of each family, for
	// ICMP errors to the outside. Without one they come from the first public
	// address or from the address that the packet went to.
	Outer []netip.Addr
	// Seed of every draw.
	Seed uint64
	// Alloc returns n bytes for a packet that the NAT makes itself; nil: make.
	Alloc func(n int) []byte
}

// NAT is one NAT. It is not safe for concurrent use.
type NAT struct {
	b                        Behaviour
	alloc                    func(int) []byte
	public                   []ip
	fixed                    []netip.Addr // Config.Hosts
	gateway4, gateway6       netip.Addr
	outer4, outer6           netip.Addr
	transitory, open, closed int64 // timers of tracking basic
	wait, blacklist          int64

	rng      rand.PCG
	started  bool
	base     time.Time // of the first packet
	now      int64     // nanoseconds since base
	last     Reason
	counters Counters
	mappings int

	byIn, byOut map[key]*flow // inside or external endpoint, and remote
	scopes      map[key]*mapping
	sources     map[endpoint]*mapping // by inside endpoint, if mappings are reused
	externals   map[endpoint]*mapping // by external endpoint
	hosts       map[ip]*host
	owners      map[ip]ip // one-to-one: the inside host of a public address
	blocks      map[endpoint]*host
	held        map[endpoint]int64 // ports at rest, until when
	banned      map[ip]int64       // sources on the blacklist, until when
	sequence    map[key]uint16     // counters of sequential allocation
	nextPublic  int
	first       uint16
	expiry      expiry
	waiting     []waiting

	freeFlows    []*flow
	freeMappings []*mapping
	freeHosts    []*host
	stateless    bool // a plain router
	turned       bool // the packet came from inside, and its source stayed
	hairpinned   bool // the packet came from inside
}

// New makes a NAT. A nil Config will do for translation none. The error wraps
// ErrBehaviour (see Behaviour.Validate) or ErrConfig.
func New(b Behaviour, cfg *Config) (*NAT, error) {
	if err := b.Validate(); err != nil {
		return nil, err
	}
	if cfg == nil {
		cfg = &Config{}
	}
	n := &NAT{b: b, alloc: cfg.Alloc}
	if n.alloc == nil {
		n.alloc = func(size int) []byte { return make([]byte, size) }
	}
	if err := n.addresses(cfg); err != nil {
		return nil, err
	}
	n.stateless = b.Translation == None && b.Filtering == Open && b.Tracking == TrackBasic && !b.RewriteSequence && !b.RewriteTimestamps
	n.transitory = int64(or(b.Transitory, transitoryTime))
	n.open = int64(or(b.Established, establishedTime))
	n.closed = int64(or(b.Closing, closingTime))
	n.wait = int64(or(b.UnsolicitedWait, unsolicitedTime))
	n.blacklist = int64(or(b.Blacklist, blacklistTime))
	n.byIn, n.byOut = map[key]*flow{}, map[key]*flow{}
	n.externals, n.hosts = map[endpoint]*mapping{}, map[ip]*host{}
	n.scopes, n.sources = map[key]*mapping{}, map[endpoint]*mapping{}
	n.owners, n.blocks = map[ip]ip{}, map[endpoint]*host{}
	n.held, n.banned, n.sequence = map[endpoint]int64{}, map[ip]int64{}, map[key]uint16{}
	n.Reset(cfg.Seed)
	return n, nil
}

// addresses takes over those of the Config.
func (n *NAT) addresses(cfg *Config) error {
	if n.b.Translation != None && len(cfg.Public) == 0 {
		return fmt.Errorf("nat: %w: translation %v needs a public address", ErrConfig, n.b.Translation)
	}
	seen := map[netip.Addr]bool{}
	for _, a := range cfg.Public {
		if a = a.Unmap(); !a.Is4() || a.IsUnspecified() || a.IsMulticast() || seen[a] {
			return fmt.Errorf("nat: %w: public address %v: want different IPv4 addresses", ErrConfig, a)
		}
		seen[a] = true
		n.public = append(n.public, ipFrom(a))
	}
	if len(cfg.Hosts) > 0 && (n.b.Translation != OneToOne || len(cfg.Hosts) > len(cfg.Public)) {
		return fmt.Errorf("nat: %w: %d hosts: only translation one-to-one has them, one for each public address at most", ErrConfig, len(cfg.Hosts))
	}
	for _, a := range cfg.Hosts {
		if !a.Unmap().Is4() {
			return fmt.Errorf("nat: %w: host %v is no IPv4 address", ErrConfig, a)
		}
	}
	n.fixed = cfg.Hosts
	for _, a := range cfg.Gateway {
		n.gateway4, n.gateway6 = either(a, n.gateway4, n.gateway6)
	}
	for _, a := range cfg.Outer {
		n.outer4, n.outer6 = either(a, n.outer4, n.outer6)
	}
	if !n.outer4.IsValid() && len(n.public) > 0 {
		n.outer4 = n.public[0].addr()
	}
	return nil
}

func either(a, four, six netip.Addr) (netip.Addr, netip.Addr) {
	if a = a.Unmap(); a.Is4() {
		return a, six
	}
	return four, a
}

// Reset makes n as New made it, with another seed, and keeps its memory: a
// simulation of many trials allocates nothing for its NATs.
func (n *NAT) Reset(seed uint64) {
	for _, f := range n.expiry {
		n.freeFlows = append(n.freeFlows, f)
		if f.m.flows == f { // once for each mapping
			n.freeMappings = append(n.freeMappings, f.m)
		}
	}
	for _, h := range n.hosts {
		n.freeHosts = append(n.freeHosts, h)
	}
	clear(n.expiry)
	n.expiry = n.expiry[:0]
	clear(n.byIn)
	clear(n.byOut)
	clear(n.scopes)
	clear(n.sources)
	clear(n.externals)
	clear(n.hosts)
	clear(n.owners)
	clear(n.blocks)
	clear(n.held)
	clear(n.banned)
	clear(n.sequence)
	clear(n.waiting)
	n.waiting = n.waiting[:0]
	n.rng.Seed(seed, 0)
	n.started, n.base, n.now, n.last = false, time.Time{}, 0, Passed
	n.counters, n.mappings, n.nextPublic, n.first = Counters{}, 0, 0, 0
	for _, a := range n.fixed {
		h := n.hostOf(ipFrom(a))
		n.owners[n.public[h.public]] = h.addr
	}
}

// Behaviour is what New was given.
func (n *NAT) Behaviour() Behaviour { return n.b }

// Outbound takes a packet that comes from inside at the time now and appends
// what leaves the NAT because of it to out: nothing, the translated packet, an
// answer. LastDrop says why it was nothing.
//
// The packet belongs to the NAT from then on: it is changed in place, and Data
// of what is returned may be a part of it. Times that run backwards count as
// the latest before.
func (n *NAT) Outbound(now time.Time, pkt []byte, out []Packet) []Packet {
	n.at(now)
	n.counters.Outbound++
	var p view
	if why := p.parse(pkt); why != Passed {
		n.drop(why)
		return out
	}
	if n.stateless {
		return n.route(&p, Outside, out)
	}
	if n.isPublic(p.dst.ip) && n.b.Translation != None {
		return n.turn(&p, out)
	}
	if p.icmp {
		return n.icmpOut(&p, out)
	}
	return n.outbound(&p, out)
}

// Inbound is Outbound for a packet that comes from outside.
func (n *NAT) Inbound(now time.Time, pkt []byte, out []Packet) []Packet {
	n.at(now)
	n.counters.Inbound++
	var p view
	if why := p.parse(pkt); why != Passed {
		n.drop(why)
		return out
	}
	if n.stateless {
		return n.route(&p, Inside, out)
	}
	if n.isBanned(p.src.ip) {
		n.drop(Blacklisted)
		return out
	}
	if !p.v6 && n.b.Translation != None && !n.isPublic(p.dst.ip) {
		n.drop(NotOurs)
		return out
	}
	if p.icmp {
		return n.icmpIn(&p, out)
	}
	return n.inbound(&p, out)
}

// Tick appends what is due at the time now: answers that the NAT held back.
func (n *NAT) Tick(now time.Time, out []Packet) []Packet {
	n.at(now)
	return n.overdue(out)
}

// Deadline is when Tick will next have a packet to send, and whether that is
// ever. Mappings need no Tick to end.
func (n *NAT) Deadline() (time.Time, bool) {
	if len(n.waiting) == 0 {
		return time.Time{}, false
	}
	return n.base.Add(time.Duration(n.waiting[0].due)), true
}

// at moves the clock and lets flows expire.
func (n *NAT) at(now time.Time) {
	if !n.started {
		n.started, n.base = true, now
	}
	n.now = max(n.now, int64(now.Sub(n.base)))
	n.last = Passed
	n.expire()
}

func (n *NAT) isPublic(a ip) bool {
	return slices.Contains(n.public, a)
}

// translation is what happens to flows of the host a: IPv6 is never translated.
func (n *NAT) translation(a ip) Translation {
	if !a.is4() {
		return None
	}
	return n.b.Translation
}

// route passes a packet on as a router without any state does.
func (n *NAT) route(p *view, to Side, out []Packet) []Packet {
	if n.ends(p) {
		if p.icmp {
			n.drop(Expired)
			return out
		}
		return n.expired(p, 1-to, out)
	}
	if !p.icmp {
		var c change
		n.trim(p, &c)
		c.patch(p.b[p.off:], tcpChecksum)
	}
	return n.pass(p, to, out)
}
