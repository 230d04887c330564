package rawtcp

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Chosen by us.
const (
	// MaxCandidates is how many remote ports Candidates takes, and how many more
	// LearnPort may add. A fan-out of more is not for a machine with a state for
	// each.
	MaxCandidates = 64

	// minRetries is what each of several candidates has at least of the Retries,
	// which they share: most ports are wrong, and each may be answered with a
	// reset every round trip.
	minRetries = 4

	// maxRestarts is how many SYNs with another ISN of the peer's one flow answers
	// with its SYN (see Handshake). Behind NATs that let any port of the peer in, several
	// flows of the peer's may end in one of ours, and such answers go in circles.
	maxRestarts = 4
)

// CandidatesConfig is what Candidates try.
type CandidatesConfig struct {
	// HandshakeConfig holds for each candidate. Remote is the first one; with
	// port 0 RemotePorts has them all. Window must be 0, because it says who leads,
	// and Early must be false: before the end nobody knows which flow it will
	// be. Several candidates share the Retries, four for each at least.
	HandshakeConfig

	// RemotePorts are more ports of Remote's address in the order in which they
	// get their SYNs, MaxCandidates at most with Remote's own, none twice.
	RemotePorts []uint16

	// LearnPort takes a SYN from Remote's address and a port that is not listed for
	// the peer's: it is answered with a SYN-ACK, as in LISTEN (RFC 9293 section
	// 3.10.7.2), without a SYN of our own. MaxCandidates ports are learned at most.
	LearnPort bool

	// Numbers returns the initial sequence number of the flow to remote and its
	// TSval at the time of Start; ISN and TSBase above are not used then. Nil makes
	// numbers from ISN and TSBase, which go to the first candidate as they are:
	// good for experiments, but whoever knows some can compute the others.
	Numbers func(remote netip.AddrPort) (isn Seq, tsBase uint32)
}

// Candidates is one end of a connection whose remote port is not certain: a
// Handshake for each port that it may be, of which exactly one wins, the same at
// both ends. It has the methods of a Handshake and is used in the same way, no
// I/O, no clock, no goroutine. Start sends one SYN to each candidate, in order;
// Receive takes segments of all flows; once the state is Established, Remote is
// the winner's endpoint and Transfer describes its flow. Nothing is sent to the
// losers then, no reset either: a reset may take down a NAT's mapping, which the
// winner may need.
//
// The peer may be Candidates, a Handshake, or a stock TCP with one connect(),
// which has one flow and agrees to any.
//
// # How both ends agree
//
// Between NATs whose ports are predicted exactly all flows may cross. One of the
// two ends leads: it takes the first flow that it knows to work in both
// directions, and the other follows. In detail:
//
//  1. Every SYN is answered with a SYN-ACK.
//  2. The SYNs and SYN-ACKs of an end all have the same window, an odd number drawn
//     at random. The end with the larger one leads. (Of all that is in a SYN the
//     window is what NATs leave alone. They rewrite ports, and some of them
//     sequence numbers.) An even window, or 65535, is that of a peer with a single
//     flow, and the end that sees it leads.
//  3. A SYN-ACK that acknowledges our SYN establishes its flow if we lead. If not,
//     it is answered as a SYN is, once.
//  4. A segment with ACK and without SYN that acknowledges our SYN establishes its
//     flow, whoever leads: an end sends one only when it is established. (So there
//     are no challenge ACKs before.)
//
// Both ends are never established on different flows, whatever is lost, doubled,
// delayed or forged: by rule 3 only the one that leads can be, since the windows
// come with proof, and by rule 4 one follows the other. Nor can a flow that works
// in one direction only, or a forged SYN, keep them from agreeing on one that
// works. The follower is established one way of the network later than in a plain
// crossing. Two windows may be the same, once in 16,383 times: then nobody leads
// and both time out.
type Candidates struct {
	cfg    CandidatesConfig
	flows  []candidate // listed ones, then learned ones
	listed int
	winner int // index in flows; -1: none yet
	window uint16
	state  State
	err    error
	stray  int // segments of no flow, or of a loser

	start, expire time.Time
	due           time.Time // when the first of the flows, or the timeout, is due
}

// candidate is one flow.
type candidate struct {
	hs      Handshake
	learned bool
}

// NewCandidates makes Candidates in CLOSED. The error says which field of the
// configuration makes no sense.
func NewCandidates(cfg CandidatesConfig) (*Candidates, error) {
	c := new(Candidates)
	if err := c.Reset(cfg); err != nil {
		return nil, err
	}
	return c, nil
}

// Reset makes c as new with another configuration and reuses its memory. After
// an error, the same as NewCandidates gives, c is of no use until a Reset succeeds.
func (c *Candidates) Reset(cfg CandidatesConfig) error {
	*c = Candidates{cfg: cfg, flows: c.flows[:0], winner: -1, state: Failed}
	var err error
	if c.cfg.HandshakeConfig, err = cfg.check(); err != nil {
		return err
	}
	if port := cfg.Remote.Port(); port != 0 {
		err = c.add(port)
	}
	for _, port := range cfg.RemotePorts {
		if err != nil {
			return err
		}
		err = c.add(port)
	}
	if err != nil {
		return err
	}
	c.listed = len(c.flows)
	c.state = Closed
	return nil
}

// check complains about what concerns the candidates as a whole and returns the
// configuration of each.
func (c *CandidatesConfig) check() (HandshakeConfig, error) {
	each := c.HandshakeConfig
	n := len(c.RemotePorts)
	if c.Remote.Port() != 0 {
		n++
	}
	switch {
	case n == 0:
		return each, errors.New("rawtcp: candidates: no remote port")
	case n > MaxCandidates:
		return each, fmt.Errorf("rawtcp: candidates: %d remote ports, at most %d", n, MaxCandidates)
	case c.Window != 0:
		return each, fmt.Errorf("rawtcp: candidates: window %d: it is chosen, to say which end leads", c.Window)
	case c.Early:
		return each, errors.New("rawtcp: candidates: early handoff: which flow wins is not known before ESTABLISHED")
	case c.Retries == 0:
		each.Retries = DefaultRetries
	}
	if each.Retries > 0 && n > 1 {
		each.Retries = max(each.Retries/n, min(each.Retries, minRetries))
	}
	set(&each.Timeout, defaultTimeout)
	return each, nil
}

// add makes a flow to a port, with the memory of an earlier life.
func (c *Candidates) add(port uint16) error {
	remote := netip.AddrPortFrom(c.cfg.Remote.Addr(), port)
	if c.find(port) >= 0 {
		return fmt.Errorf("rawtcp: candidates: remote port %d is listed twice", port)
	}
	n := len(c.flows)
	if n < cap(c.flows) {
		c.flows = c.flows[:n+1]
	} else {
		c.flows = append(c.flows, candidate{})
	}
	f := &c.flows[n]
	f.learned = false
	cfg := c.cfg.HandshakeConfig
	cfg.Remote = remote
	cfg.ISN, cfg.TSBase = c.numbers(n, remote)
	if n == 0 {
		c.window = leadWindow(cfg.ISN)
	}
	cfg.Window = c.window
	if err := f.hs.Reset(cfg); err != nil {
		c.flows = c.flows[:n]
		return err
	}
	return nil
}

// numbers are the ISN and the first TSval of the n-th flow.
func (c *Candidates) numbers(n int, remote netip.AddrPort) (Seq, uint32) {
	switch {
	case c.cfg.Numbers != nil:
		return c.cfg.Numbers(remote)
	case n == 0:
		return c.cfg.ISN, c.cfg.TSBase
	}
	gen := ISNGenerator{uint64(c.cfg.ISN)<<32 | uint64(c.cfg.TSBase), 0}
	isn := Seq(gen.hash(c.cfg.Local, remote, 'i'))
	if isn == 0 || isn+1 == 0 {
		isn = 1
	}
	return isn, c.cfg.TSBase + gen.TSOffset(c.cfg.Local, remote)
}

// find returns the index of the flow to a remote port, -1 if there is none.
func (c *Candidates) find(port uint16) int {
	for i := range c.flows {
		if c.flows[i].hs.cfg.Remote.Port() == port {
			return i
		}
	}
	return -1
}

// State returns where the attempt stands: SynReceived when at least one flow is
// there, Established or Failed when the attempt is over.
func (c *Candidates) State() State { return c.state }

// Err returns why the state is Failed, or Closed after Abort, and nil otherwise,
// as Handshake.Err.
func (c *Candidates) Err() error { return c.err }

// Ready reports whether the winner may be handed off now.
func (c *Candidates) Ready() bool { return c.state == Established }

// Simultaneous reports whether the winner's is a simultaneous open. That of a
// learned port is not: our side has sent no SYN.
func (c *Candidates) Simultaneous() bool {
	return c.winner >= 0 && !c.flows[c.winner].learned && c.flows[c.winner].hs.Simultaneous()
}

// Remote returns the winner's remote endpoint and whether its port was learned;
// before there is a winner the zero AddrPort.
func (c *Candidates) Remote() (remote netip.AddrPort, learned bool) {
	if c.winner < 0 {
		return netip.AddrPort{}, false
	}
	f := &c.flows[c.winner]
	return f.hs.cfg.Remote, f.learned
}

// Ports returns the listed remote ports in order and those learned so far.
func (c *Candidates) Ports() (listed, learned []uint16) {
	for i := range c.flows {
		port := c.flows[i].hs.cfg.Remote.Port()
		if i < c.listed {
			listed = append(listed, port)
		} else {
			learned = append(learned, port)
		}
	}
	return listed, learned
}

// Counters returns what happened so far, on all flows together. A segment that
// belongs to none of them, or to a loser, is among Dropped.
func (c *Candidates) Counters() Counters {
	var sum Counters
	for i := range c.flows {
		sum.add(&c.flows[i].hs.n)
		if c.flows[i].learned {
			sum.SYNs-- // not sent: see learn
		}
	}
	sum.Dropped += c.stray
	if c.winner >= 0 {
		sum.DataBytes = c.flows[c.winner].hs.n.DataBytes
	}
	return sum
}

func (n *Counters) add(m *Counters) {
	n.SYNs += m.SYNs
	n.SYNACKs += m.SYNACKs
	n.Retransmissions += m.Retransmissions
	n.Resends += m.Resends
	n.RSTs += m.RSTs
	n.RSTsIgnored += m.RSTsIgnored
	n.ICMPs += m.ICMPs
	n.ICMPsIgnored += m.ICMPsIgnored
	n.ChallengesSent += m.ChallengesSent
	n.ChallengesSeen += m.ChallengesSeen
	n.Restarts += m.Restarts
	n.Duplicates += m.Duplicates
	n.Dropped += m.Dropped
	n.DataBytes += m.DataBytes
}

// SYNs appends the segments that Start will send, for callers who make the packets
// beforehand.
func (c *Candidates) SYNs(out []Segment) []Segment {
	for i := range c.flows[:c.listed] {
		out = append(out, c.flows[i].hs.SYN())
	}
	return out
}

// Transfer describes the winner's flow as Handshake.Transfer does; without a winner
// it is that of the first candidate.
func (c *Candidates) Transfer(now time.Time) Transfer {
	t := c.flows[max(c.winner, 0)].hs.Transfer(now)
	t.Simultaneous = c.Simultaneous()
	return t
}
