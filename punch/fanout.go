package punch

import (
	"math"
	"time"

	"github.com/synpunch/synpunch/handoff"
)

// Numbers of the fan strategy, chosen by us. docs/responsible.md says why.
const (
	// DefaultFanBudget is how many SYNs a fan-out sends at most: against 256 source
	// ports it connects with 98 %, and it is a sixty-fourth of what sweeps all ports.
	DefaultFanBudget = 1024
	// DefaultFanRate is how many SYNs a second: the default budget takes two seconds.
	DefaultFanRate = 500
	// FreeSYNs is how many SYNs a fan-out may have in its budget without the peer's
	// consent or the word that both ends are one's own.
	FreeSYNs = 4096
	// MaxFanBudget is the largest budget: four tables of Linux's usual nf_conntrack_max, 262,144.
	MaxFanBudget = 1 << 20
	// MaxFanRate is the highest rate, SYNs a second.
	MaxFanRate = 2_000_000
)

const (
	// fanProbes SYNs ask what the peer's NAT answers, fanProbeGap apart; the answer has until the instant.
	fanProbes    = 4
	fanProbeGap  = 2 * time.Millisecond
	fanProbeLead = 350 * time.Millisecond
	// fanHold is how long sending stops when a flow comes to life, for it to be agreed on
	// without other traffic, fanHolds times at most: forged ones could be many.
	fanHold  = 250 * time.Millisecond
	fanHolds = 16
	// fanTail is how long hits are counted after the last SYN (FanOut.Whole).
	fanTail        = 500 * time.Millisecond
	fanProgressGap = 100 * time.Millisecond
	// fastAnswers: below this rate every RST and ICMP error is looked at, above it a sample.
	fastAnswers = 20_000
)

// FanOut says what strategy Fan sends. The zero value means the defaults.
//
// The flows are those of each local port to each remote port, in an order that looks
// random. At most Budget of them get a SYN, at most Rate a second, and none when both ends have
// agreed on one that works.
type FanOut struct {
	LocalPorts int // source ports, in a row from Plan.Local's on; zero: 1
	Budget     int // SYNs that may reach the peer; zero: DefaultFanBudget
	Rate       int // SYNs a second; zero: DefaultFanRate

	// InOrder takes the remote ports in the order of Plan.RemotePorts, the best guess first.
	InOrder bool

	// Prime says whether SYNs with Plan.TTL, zero PrimeTTL, that end between the NATs open our own
	// NAT for all flows before the instant. Zero: PrimeAuto.
	Prime PrimeMode

	// Spread is how long after the instant both ends have opened their NATs: an end
	// that primes sends SYNs of full TTL from then on. It should be the same at both ends. Zero: a
	// fifth more than what the slower of both (PeerSYNs) needs at Rate, and 100 ms.
	Spread time.Duration

	// Consent is the token that the peer gave (Consent.Token). It, or OwnBothEnds,
	// is needed for more than FreeSYNs.
	Consent     string
	OwnBothEnds bool // both ends and the NATs are one's own, or their owners agree
	// PeerChose says that the remote address was told by another party and not by
	// the person who answers for the SYNs: then a Consent is needed, however few they are.
	PeerChose bool

	// Whole goes on after a flow has won until the budget is spent, to count the hits:
	// for measurements.
	Whole bool

	// For the estimate that Progress gets, and for nothing else: how many SYNs the peer
	// sends (zero: as many as we), and among how many ports it looks for ours (zero: as
	// many as we look among; 1: our port is known).
	PeerSYNs, PeerPorts int

	// Progress is called a few times a second while SYNs leave, from the thread that
	// sends them, if not nil.
	Progress func(FanProgress)
}

// PrimeMode says when a fan-out primes.
type PrimeMode string

const (
	// PrimeAuto sends a few SYNs beforehand and primes if the peer's NAT, or its host, answers
	// unsolicited ones: such an answer may destroy our mapping.
	PrimeAuto PrimeMode = "auto"
	// PrimeAlways primes without asking.
	PrimeAlways PrimeMode = "always"
	// PrimeNever sends SYNs of full TTL at the instant.
	PrimeNever PrimeMode = "never"
)

// FanProgress is how far a fan-out is.
type FanProgress struct {
	Sent, Planned int           // SYNs
	Hits          int           // flows of which something came back
	Rate          float64       // SYNs a second, of late
	Left          time.Duration // until all are sent
	Priming       bool          // these SYNs end between the NATs
	// Probability of a hit with what has been sent so far, if the peer sends at the same
	// pace: HitProbability, with the assumptions of PeerSYNs and PeerPorts.
	Probability float64
}

// withDefaults fills in what is zero; ports is the number of remote ports.
func (f FanOut) withDefaults() FanOut {
	if f.LocalPorts == 0 {
		f.LocalPorts = 1
	}
	if f.Budget == 0 {
		f.Budget = DefaultFanBudget
	}
	if f.Rate == 0 {
		f.Rate = DefaultFanRate
	}
	if f.Prime == "" {
		f.Prime = PrimeAuto
	}
	return f
}

// syns is how many SYNs the fan-out of a plan may send to the peer.
func (p *Plan) syns() int {
	f := p.FanOut.withDefaults()
	return min(f.Budget, f.LocalPorts*len(p.remotePorts()))
}

// sending is how long all of it takes at most.
func (p *Plan) sending() time.Duration {
	f := p.FanOut.withDefaults()
	if p.Strategy != Fan {
		return 0
	}
	d := time.Duration(float64(p.syns()) / float64(f.Rate) * float64(time.Second))
	if f.Prime != PrimeNever {
		d += p.spread()
	}
	return d
}

// spread is FanOut.Spread or what it is by default.
func (p *Plan) spread() time.Duration {
	f := p.FanOut.withDefaults()
	if f.Spread > 0 {
		return f.Spread
	}
	return time.Duration(1.2*float64(max(p.syns(), f.PeerSYNs))/float64(f.Rate)*float64(time.Second)) + 100*time.Millisecond
}

// answerSample: of RSTs and ICMP errors one in so many is looked at. A NAT that answers
// does so for each SYN, and none of these answers matters by itself. It is a power of 2.
func (p *Plan) answerSample() int {
	if p.FanOut.withDefaults().Rate <= fastAnswers {
		return 1
	}
	return 16
}

// HitProbability is the probability that k SYNs of ours and m of the peer's contain one
// pair that fits, when ours are spread at random over peerAmong ports of the peer's,
// and the peer's over oursAmong of ours. Of two hard NATs both are 64,512, and it is
// 1-exp(-k m/(peerAmong oursAmong)); a port that is known counts as 1, and then it is 1-(1-k/oursAmong)^m.
func HitProbability(k, m, peerAmong, oursAmong int) float64 {
	among := func(n, of int) float64 { return min(float64(n)/float64(of), 1) }
	switch {
	case k <= 0 || m <= 0:
		return 0
	case peerAmong <= 1:
		return 1 - math.Pow(1-among(k, max(oursAmong, 1)), float64(m))
	case oursAmong <= 1:
		return 1 - math.Pow(1-among(m, peerAmong), float64(k))
	}
	return -math.Expm1(-float64(k) * float64(m) / float64(peerAmong) / float64(oursAmong))
}

// probability is that estimate after sent SYNs, with the plan's assumptions.
func (p *Plan) probability(sent int) float64 {
	f := &p.FanOut
	among := len(p.remotePorts())
	peerAmong := f.PeerPorts
	if peerAmong == 0 {
		peerAmong = among
	}
	peer := sent
	if total := p.syns(); f.PeerSYNs > 0 && total > 0 {
		peer = int(int64(f.PeerSYNs) * int64(sent) / int64(total))
	}
	return HitProbability(sent, peer, among, peerAmong)
}

// validateFan complains about the fan-out.
func (p *Plan) validateFan() error {
	f := &p.FanOut
	if p.Strategy != Fan {
		if f.LocalPorts != 0 || f.Budget != 0 || f.Rate != 0 || f.Consent != "" || f.OwnBothEnds || f.InOrder || f.Prime != "" || f.Whole || f.PeerSYNs != 0 || f.PeerPorts != 0 {
			return planErr("local ports, budget, rate, consent and what belongs to them are for strategy fan")
		}
		return nil
	}
	switch {
	case p.Engine == Park || p.Engine == Connect:
		return planErr("strategy fan is for the repair engine: the kernel has no socket for each of many SYNs. Leave engine %s out", p.Engine)
	case p.Early:
		return planErr("early: which flow of a fan-out wins is not known before the end; leave early out")
	case p.ISN != nil:
		return planErr("isn: the flows of a fan-out have an ISN each; leave isn out")
	case p.LearnPort:
		return planErr("learn-port: a fan-out takes a SYN from any of its remote ports; leave learn-port out, and give the range of ports")
	case f.LocalPorts < 0 || f.LocalPorts > handoff.MaxGuards:
		return planErr("%d local ports: want 1 to %d", f.LocalPorts, handoff.MaxGuards)
	case p.Local.Port() != 0 && int(p.Local.Port())+f.LocalPorts-1 > 65535:
		return planErr("%d local ports from %d on end above 65535: take a lower local port, or 0 to have them chosen", f.LocalPorts, p.Local.Port())
	case f.Budget < 0 || f.Budget > MaxFanBudget:
		return planErr("budget %d: want 1 to %d SYNs", f.Budget, MaxFanBudget)
	case f.Rate < 0 || f.Rate > MaxFanRate:
		return planErr("rate %d: want 1 to %d SYNs a second", f.Rate, MaxFanRate)
	case f.Spread < 0:
		return planErr("spread %v is negative", f.Spread)
	case f.PeerSYNs < 0 || f.PeerPorts < 0 || f.PeerPorts > 65536:
		return planErr("the peer's %d SYNs and %d ports: want no negative numbers", f.PeerSYNs, f.PeerPorts)
	case f.Prime != "" && f.Prime != PrimeAuto && f.Prime != PrimeAlways && f.Prime != PrimeNever:
		return planErr("prime %q: want auto, always or never", f.Prime)
	case p.TTL == 1:
		return planErr("ttl 1 ends at the first router, before a NAT there makes a mapping: want 2 or more to prime")
	case p.Local.Addr() == p.Remote.Addr():
		return planErr("remote %v is this host: a fan-out would guard the ports that it asks for", p.Remote.Addr())
	}
	if err := p.validateFanPorts(); err != nil {
		return err
	}
	return p.validateManners()
}

func (p *Plan) validateFanPorts() error {
	var seen [1 << 16]bool
	for _, port := range p.remotePorts() {
		switch {
		case port == 0:
			return planErr("remote ports: 0 is not a port")
		case seen[port]:
			return planErr("remote ports: %d is there twice", port)
		}
		seen[port] = true
	}
	return nil
}

// validateManners holds the rules of docs/responsible.md that need no clock.
func (p *Plan) validateManners() error {
	f := &p.FanOut
	syns := p.syns()
	switch {
	case f.Consent != "":
		c, err := ParseConsent(f.Consent)
		if err != nil {
			return planErr("%w", err)
		}
		if err := c.Permits(p.Remote.Addr(), syns, f.withDefaults().Rate, time.Time{}); err != nil {
			return planErr("%w", err)
		}
	case f.PeerChose:
		return planErr("%w: %v was chosen by another party: only with the token of whom it belongs to are SYNs sent there, however few", ErrConsent, p.Remote.Addr())
	case syns > FreeSYNs && !f.OwnBothEnds:
		return planErr("%w: up to %d SYNs may leave, and more than %d need the peer's consent (--consent TOKEN, which the peer makes with 'synpunch consent') or that both ends are yours (--i-own-both-ends)", ErrConsent, syns, FreeSYNs)
	}
	return nil
}

// consentNow complains about a consent that has ended.
func (p *Plan) consentNow(now time.Time) error {
	if p.Strategy != Fan || p.FanOut.Consent == "" {
		return nil
	}
	c, err := ParseConsent(p.FanOut.Consent)
	if err == nil {
		err = c.Permits(p.Remote.Addr(), p.syns(), p.FanOut.withDefaults().Rate, now)
	}
	if err != nil {
		return planErr("%w", err)
	}
	return nil
}
