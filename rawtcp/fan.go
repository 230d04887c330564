package rawtcp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// MaxHits is how many hits a Fan remembers. Chosen by us: two full sweeps from each
// side through two NATs with random ports make 4 on average and more than 20 once
// in ten billion times. More are hit only where one would have sufficed.
const MaxHits = 64

// FanConfig is what a Fan sends and expects.
type FanConfig struct {
	// HandshakeConfig holds for each flow. The addresses of Local and Remote must be
	// there; their ports must be 0 where LocalPorts or RemotePorts say more. ISN and
	// Window must be 0, because both are chosen, and Early must be false. TSBase is
	// that of all flows of the attempt, rounded down to an even number. Timeout counts from
	// Start. Retries, 4 by default, is for each hit.
	HandshakeConfig

	// LocalPorts and RemotePorts are the ports of the flows, in order, none twice.
	LocalPorts, RemotePorts []PortRange

	// AnyRemotePort takes a SYN from Remote's address and a port that is not listed for
	// the peer's. It is answered as the others are.
	AnyRemotePort bool

	// Numbers makes the ISNs: that of a flow is Numbers.ISN(local, remote, Start).
	Numbers *ISNGenerator

	// Start is the instant of the attempt. ISNs and timestamps belong to it, so it
	// must be that of the first SYN or a little before.
	Start time.Time

	// Order is the key of the order in which the flows get their SYNs (see
	// Permutation). With the zero key the order is as listed: the first remote port
	// with all local ports, then the next one.
	Order [16]byte

	// Mirror counts the flows as the peer does who has our remote ports for its local ones and
	// the reverse. With the same Order at both ends and Mirror at one of them, the
	// i-th SYNs of both belong to the same flow, if the NATs between preserve ports.
	Mirror bool

	// Answers go on for losers too when CountAll is set, up to the SYN-ACK, so that both
	// ends come to know all hits: for experiments. Without it losers get silence.
	CountAll bool
}

// Fan is one end of a connection for which very many flows are tried at once, of
// which exactly one wins, the same at both ends. It has no state for a SYN that
// is out: SYN makes the i-th one, and an answer is checked against the ISN that
// its flow must have. Memory is constant, and it holds at most MaxHits flows on which the
// peer was heard. No I/O, no clock, no goroutine.
//
// The caller sends SYN(now, i) for as many i as the budget allows, gives what
// comes from the peer to Receive and sends what that returns, and calls Tick at
// Deadline. Once the state is Established, Winner names the flow and Transfer
// describes it for a kernel socket. Nothing is sent to the losers then, no reset
// either: a reset may take down a NAT's mapping.
//
// The peer may be a Fan, Candidates, a Handshake or a stock TCP, with connect() or
// with a listening socket.
//
// # Initial sequence numbers
//
// The ISN of a flow is M + F(flow, secret) (RFC 6528) with M, the clock, taken once
// at Start: within one attempt it can be computed from any segment of the flow,
// and from one attempt to the next it still moves forward, which the 2 MSL rule needs
// (RFC 9293 section 3.4.3), as long as the secret is the same. The flow is our own 4-tuple:
// what the peer calls the flow, behind two NATs, is not known here and not
// needed. NATs that move sequence numbers move them back in acknowledgments.
//
// # What is answered
//
//   - A SYN of the peer on one of our flows: with a SYN-ACK (simultaneous open,
//     RFC 9293 section 3.5) and, the first time, with our own SYN before it, for
//     the first one may have found the peer's NAT closed, or have gone past the
//     packet filter of our own host (see Blast). Nobody has to be believed for that.
//     Once MaxHits flows are known new ones get the SYN-ACK alone.
//   - A SYN-ACK that acknowledges our ISN: 1 forged segment in 2^32 does. It is a hit.
//   - An ACK that acknowledges our ISN, on a flow whose SYN was heard.
//   - Nothing else. Resets and ICMP errors are counted. Both are common when a NAT
//     answers for ports that nobody has opened, and none of the other flows is
//     concerned.
//
// # How both ends agree
//
// As with Candidates: the SYNs and SYN-ACKs of an end all have the same window, an odd
// number drawn at random; the end with the larger one leads, takes the first
// flow that it knows to work in both directions, and says so with an ACK, which
// it sends on no other flow. The other is established by that ACK only, and answers
// any number of hits with SYN-ACKs until then. So both are never established on
// different flows, whatever is lost, doubled, delayed or forged, and no time has
// to pass for things to settle. The leader's ACK to a Fan or Candidates follows
// a SYN-ACK, which has all that the ACK lacks: so the follower has to remember
// nothing unproven, and forged SYNs cannot push out a true one. Two equal windows, one in 16,383 times, make both
// follow, and both time out.
type Fan struct {
	cfg    FanConfig
	local  portList
	remote portList
	order  *Permutation // nil: as listed
	addrs  sipState     // the hash of the addresses, with which every flow begins
	m      uint32       // the clock at Start
	window uint16

	state  State
	err    error
	n      Counters
	hits   []hit
	winner int // index in hits; -1: none yet

	scratch Handshake // answers what need not be remembered
	discard []Segment

	expire time.Time
	due    time.Time
}

// NewFan makes a Fan in SYN-SENT. The error says which field of the configuration
// makes no sense.
func NewFan(cfg FanConfig) (*Fan, error) {
	f := &Fan{cfg: cfg, winner: -1, state: SynSent}
	if err := f.ports(); err != nil {
		return nil, fmt.Errorf("rawtcp: fan: %w", err)
	}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("rawtcp: fan: %w", err)
	}
	f.cfg.TSBase &^= 1
	set(&f.cfg.Retries, minRetries)
	set(&f.cfg.Timeout, defaultTimeout)
	f.expire = cfg.Start.Add(f.cfg.Timeout)
	f.due = f.expire
	f.addrs, f.m = f.cfg.Numbers.begin(cfg.Local.Addr(), cfg.Remote.Addr()), isnClock(cfg.Start)
	f.window = leadWindow(Seq(f.addrs.end(uint64(f.m))))
	f.cfg.Window = f.window
	if cfg.Order != [16]byte{} {
		f.order = NewPermutation(f.Len(), cfg.Order)
	}
	// Reset says what else is wrong, and here it is the same for all flows.
	if err := f.open(&f.scratch, f.local.at(0), f.remote.at(0)); err != nil {
		return nil, err
	}
	return f, nil
}

// ports reads the two lists.
func (f *Fan) ports() error {
	one := func(what string, end netip.AddrPort, ranges []PortRange) (portList, error) {
		switch {
		case end.Port() != 0 && len(ranges) > 0:
			return portList{}, fmt.Errorf("%s port %d and a list of %s ports: leave the port 0", what, end.Port(), what)
		case end.Port() != 0:
			ranges = []PortRange{{end.Port(), end.Port()}}
		}
		l, err := newPortList(ranges)
		if err != nil {
			return l, fmt.Errorf("%s ports: %w", what, err)
		}
		return l, nil
	}
	var err error
	if f.local, err = one("local", f.cfg.Local, f.cfg.LocalPorts); err != nil {
		return err
	}
	f.remote, err = one("remote", f.cfg.Remote, f.cfg.RemotePorts)
	return err
}

func (f *Fan) check() error {
	switch c := &f.cfg; {
	case c.Numbers == nil:
		return errors.New("no generator of sequence numbers")
	case c.Start.IsZero():
		return errors.New("no start: ISNs and timestamps belong to an instant")
	case c.ISN != 0:
		return fmt.Errorf("ISN %d: each flow has its own", c.ISN)
	case c.Window != 0:
		return fmt.Errorf("window %d: it is chosen, to say which end leads", c.Window)
	case c.Early:
		return errors.New("early handoff: which flow wins is not known before ESTABLISHED")
	}
	return nil
}

// Len returns how many flows there are: local ports times remote ports.
func (f *Fan) Len() uint64 { return uint64(f.local.n) * uint64(f.remote.n) }

// Flow returns the i-th flow. After Len flows they begin again.
func (f *Fan) Flow(i uint64) (local, remote netip.AddrPort) {
	l, r := f.flow(i)
	return f.ends(l, r)
}

// ISN returns our initial sequence number on a flow with these ports.
func (f *Fan) ISN(local, remote uint16) Seq { return f.isn(local, remote) }

// SYN returns the i-th SYN, to be sent at now. It does not allocate.
func (f *Fan) SYN(now time.Time, i uint64) Segment {
	l, r := f.flow(i)
	s := f.scratch.syn(f.tsval(now))
	s.Src, s.Dst = f.ends(l, r)
	s.Seq = f.isn(l, r)
	return s
}

// State returns where the attempt stands: SynReceived when there is a hit,
// Established or Failed when it is over.
func (f *Fan) State() State { return f.state }

// Err returns why the state is Failed, or Closed after Abort, and nil otherwise,
// as Handshake.Err.
func (f *Fan) Err() error { return f.err }

// Ready reports whether the winner may be handed off now.
func (f *Fan) Ready() bool { return f.state == Established }

// Winner returns the winner's endpoints.
func (f *Fan) Winner() (local, remote netip.AddrPort, ok bool) {
	if f.winner < 0 {
		return local, remote, false
	}
	h := &f.hits[f.winner]
	local, remote = f.ends(h.local, h.remote)
	return local, remote, true
}

// Transfer describes the winner's flow as Handshake.Transfer does, with what data of the peer's came
// early; without a winner it is the zero Transfer.
func (f *Fan) Transfer(now time.Time) Transfer {
	if f.winner < 0 {
		return Transfer{}
	}
	return f.hits[f.winner].hs.Transfer(now)
}

// Hit is a flow on which the peer was heard.
type Hit struct {
	Local, Remote netip.AddrPort
	First         time.Time // when it was heard
	Proven        bool      // the peer has acknowledged our ISN: it is no forgery
	Won           bool
}

// Hits returns the flows on which the peer was heard, the earliest first, MaxHits at
// most. Behind NATs that let in only what a mapping is for
// they are the hits of the fan; where anybody may send, those not Proven may be forged.
func (f *Fan) Hits() []Hit {
	hits := make([]Hit, 0, len(f.hits))
	for i := range f.hits {
		h := &f.hits[i]
		local, remote := f.ends(h.local, h.remote)
		hits = append(hits, Hit{Local: local, Remote: remote, First: h.first, Proven: h.hs != nil, Won: i == f.winner})
	}
	slices.SortStableFunc(hits, func(a, b Hit) int { return a.First.Compare(b.First) })
	return hits
}

// Counters returns what happened so far, on all flows together. SYNs are those
// that Receive and Tick returned; those of SYN are the caller's to count.
func (f *Fan) Counters() Counters {
	sum := f.n
	for i := range f.hits {
		if hs := f.hits[i].hs; hs != nil {
			sum.add(&hs.n)
		}
	}
	if f.winner >= 0 {
		sum.DataBytes = f.hits[f.winner].hs.n.DataBytes
	}
	return sum
}
