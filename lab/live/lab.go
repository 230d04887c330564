package live

import (
	"context"
	"io"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
)

var _ io.Closer = (*Lab)(nil)

// Config adjusts how a scenario is built. The zero value and nil mean the
// defaults.
type Config struct {
	// Records is how many packets each direction of the link and each NAT lane remember
	// between two calls of ResetCount; zero means 4,096. Later ones are only counted.
	Records int
	// NoRealtime keeps the link's threads out of SCHED_FIFO, which it otherwise
	// uses where the process may (root, CAP_SYS_NICE).
	NoRealtime bool
	// Seed of every draw of the model NATs, the link and cross traffic; zero: a random one.
	Seed uint64
	// Link puts a link there though the scenario's is a plain wire, for Lab.SetLink.
	Link bool
	// Hosts records what passes the interfaces of the hosts too, for Lab.HostEvents. It
	// costs each of their packets less than a microsecond.
	Hosts bool
	// Stock is a program that calls ServeStock, and its words: it makes the stock attempts (Side.Stock), with
	// a process for each host from its first one until Close. Empty: they are made in this process.
	Stock []string
}

// Lab is a built scenario. Its methods may be called by several goroutines.
type Lab struct {
	A, B *Host
	More []*Host // further subscribers of the sites, A's first
	net  *network

	stock stockPool
}

// Host is one of the hosts.
type Host struct {
	Name   string        // "a" or "b"; "a2" and so on for further subscribers
	Addr   netip.Addr    // its own address: private behind a NAT that translates
	Public netip.Addr    // what the other side sees: the NAT's, or Addr; of several the first
	Iface  string        // its one interface besides lo
	MTU    int           // of Iface, in bytes
	Clock  time.Duration // how far its clock is ahead, lab.Site.Clock; programs in it see the machine's

	net   *network
	at    *node
	chain lab.Chain
	pool  bool // the outermost NAT has several addresses
}

// Preserves reports whether a local port of the host is its external port too, unless
// another host has taken it there: a peer knows the public endpoint then.
func (h *Host) Preserves(port uint16) bool { return h.chain.Preserves(port) && !h.pool }

// Lanes of a Lab's events: the public sides of the two NATs.
const (
	LaneNATA = "nat-a"
	LaneNATB = "nat-b"
)

// Fate is what the link did to a packet.
type Fate string

// Fates. The fate of a packet that never came to the link is "".
const (
	Delivered  Fate = "delivered"
	Waiting    Fate = "waiting" // still on the link
	Lost       Fate = "lost"
	Duplicated Fate = "duplicated"
	Reordered  Fate = "reordered" // delivered behind later ones
	Overflow   Fate = "overflow"  // the link's queue was full, or the other end refused it
)

// LinkEvent is one TCP or ICMP packet as it passed the public side of a NAT, or the
// interface of a host.
// Time is the kernel's stamp, Data begins with the IP header and is cut after
// some 150 bytes, Dir is DirOut for packets that leave the site and DirIn for
// those that come.
type LinkEvent struct {
	capture.Packet
	Where string // LaneNATA or LaneNATB; of HostEvents the Host.Name
	Fate  Fate   // of packets that left: what the link did to them; "" on a plain wire
}

// Transit is one TCP or ICMP packet on the link.
type Transit struct {
	Direction lab.Direction
	Number    int       // of a TCP packet in its direction, counted from 1; 0 for ICMP
	Entered   time.Time // kernel stamp
	Left      time.Time // just before it was put out (of a duplicate: the first); zero when it never was
	Fate      Fate
	Len       int    // bytes on the wire, from the IP header on; with segmentation offload more than the MTU
	Head      []byte // from the IP header on, at most 160 bytes
}

// FlowMeeting says how the SYNs of one flow met.
type FlowMeeting struct {
	A, B netip.AddrPort // the public endpoints
	lab.Meeting
}

// Counters of the link in one direction, since ResetCount.
type Counters struct {
	TCP, Other uint64 // packets in, TCP and all else
	Bytes      uint64 // of both, with the link header
	Lost       uint64 // by order of a fault, or by chance
	Overflow   uint64 // because a queue was full: the link could not keep up
	Unrecorded uint64 // TCP and ICMP packets that Transits does not list
}

// Validate checks the scenario as Scenario.Validate does, and that this package can
// build it. Errors wrap lab.ErrScenario.
func Validate(s *lab.Scenario) error {
	if err := s.Validate(); err != nil {
		return err
	}
	_, err := newPlan(s, false)
	return err
}

// Build makes the scenario. ctx bounds the building only. It takes some 20 ms.
//
// While a lab is up, runtime.GOMAXPROCS is higher by four for a link (a delay or a fault) and
// by one for each model NAT, so that their threads do not wait behind goroutines that compute.
//
// The error wraps lab.ErrScenario when the scenario is at fault,
// errors.ErrUnsupported on other systems than Linux and where the kernel lacks a
// feature, and the errno of the call that failed otherwise.
func Build(ctx context.Context, s *lab.Scenario, cfg *Config) (*Lab, error) {
	if err := Validate(s); err != nil {
		return nil, err
	}
	if cfg == nil {
		cfg = &Config{}
	}
	c := *cfg
	if c.Records <= 0 {
		c.Records = 4096
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	l, err := build(ctx, s, &c)
	if err != nil {
		return nil, err
	}
	l.stock.program = c.Stock
	return l, nil
}

// Events lists what passed the public sides of the NATs since ResetCount, in
// the order of time.
func (l *Lab) Events() []LinkEvent { return l.net.events() }

// HostEvents lists what passed the interfaces of the hosts since ResetCount, in the order of
// time; nothing without Config.Hosts. DirOut is what the host sent.
func (l *Lab) HostEvents() []LinkEvent { return l.net.hostEvents() }

// Transits lists what came to the link since ResetCount, in the order in which
// it came; nothing when the link is a plain wire.
func (l *Lab) Transits() []Transit { return l.net.transits() }

// Meetings says for each flow with SYNs from both sides since ResetCount how they met
// between the NATs. Of several SYNs of a flow it takes the first two that
// crossed, or, when none did, the two that came nearest; SYNs that never arrived
// only where there are no others.
func (l *Lab) Meetings() []FlowMeeting { return meetings(l.Events()) }

// Counters returns the link's counters; zero when it is a plain wire.
func (l *Lab) Counters() (ab, ba Counters) { return l.net.counters() }

// NATCounters are the counts of one model NAT.
type NATCounters struct {
	nat.Counters
	Lost uint64 // frames that could not be taken or sent on
}

// NATs returns the counts of each model NAT, by the name of its namespace ("nat-a",
// "nat-a-1", see Enter). Cross traffic counts too.
func (l *Lab) NATs() map[string]NATCounters { return l.net.counts() }

// Observe sends one SYN from a port of the host to a third party on the public side, and
// returns the endpoint that it comes from there. The third party answers nothing.
// Its port is another one each time, so that a NAT whose mappings depend on the
// destination shows a new one. A SYN that does not arrive (the NAT refuses it) is
// os.ErrDeadlineExceeded after a second.
//
// The observer is joined to both providers: what it sees has not been on the link.
func (l *Lab) Observe(ctx context.Context, h *Host, port uint16) (netip.AddrPort, error) {
	return l.net.observe(ctx, h, port)
}

// SetLink replaces delays, jitter, loss and faults of the link while the lab is up, and, as
// ResetCount does, counts packets from 1 again. Packets that are on the link stay there as
// long as they would have, and nothing overtakes them. A lab that was built with a
// plain wire has no link to set, unless Config.Link asked for one: the error then says so.
func (l *Lab) SetLink(spec lab.Link) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	return l.net.setLink(&spec)
}

// Renew makes the lab as good as new, in a millisecond: it throws away what is on the link,
// empties the tables of all NATs (those of the model draw from another seed, and a
// counter begins somewhere else) and does what ResetCount does. Trials that use the same ports then know nothing of
// each other. No trial may be under way.
func (l *Lab) Renew() error { return l.net.renew() }

// SetFaults replaces the faults and, as ResetCount does, counts packets from 1
// again. A lab that was built without delay and faults has no link to put faults on: the
// error then says so.
func (l *Lab) SetFaults(faults []lab.Fault) error {
	if err := lab.ValidateFaults(faults); err != nil {
		return err
	}
	return l.net.setFaults(faults)
}

// ResetCount forgets events, transits and counters, counts packets from 1 again and
// arms every fault anew.
func (l *Lab) ResetCount() error { return l.net.resetCount() }

// Notes says in words what is not as good as it could be on this machine.
func (l *Lab) Notes() []string { return l.net.notes() }

// Entry is a way into one namespace for a person.
type Entry struct {
	// Name is "host-a", "nat-a", "isp-a", "isp-b", "nat-b", "host-b", "observer"; then the NATs
	// before the outermost, "nat-a-1" the host's own, and further subscribers, "host-a2", "nat-a2-1".
	Name string
	Line string // a shell command
}

// Enter lists a command line for each namespace that opens a shell in it, valid
// while the lab is up, for the account that started it.
func (l *Lab) Enter() []Entry { return l.net.enter() }

// Close ends the processes that were started in the lab and takes it down. A
// second call does nothing.
func (l *Lab) Close() error {
	err := l.net.close()
	l.stock.wait()
	return err
}

// Do runs fn on a thread of its own inside the host's namespace. Sockets that fn
// opens stay in it; goroutines that fn starts do not.
func (h *Host) Do(fn func() error) error { return h.do(fn) }

// Start starts cmd inside the host's namespace. The process gets SIGKILL when
// this process dies or the lab is closed; call cmd.Wait as usual.
func (h *Host) Start(cmd *exec.Cmd) error { return h.start(cmd) }

// Run starts cmd inside the host's namespace and waits for it, as cmd.Run does.
func (h *Host) Run(cmd *exec.Cmd) error {
	if err := h.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}
