package punch

import (
	"context"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// prime asks what the peer's NAT says to SYNs that nobody expects, and whether the router
// behind our own answers those that end there.
func (e *fanEngine) prime(ctx context.Context) error {
	var err error
	if e.numbers, err = isnGenerator(); err != nil {
		return err
	}
	for i := range fanProbes + canaryFirst {
		ttl := uint8(0)
		if i >= fanProbes {
			ttl = e.a.plan.TTL
		}
		if err := e.sendProbe(ttl); err != nil {
			return err
		}
		if err := e.a.sleepUntil(ctx, time.Now().Add(fanProbeGap)); err != nil {
			return err
		}
	}
	return nil
}

// sendProbe sends one SYN on a flow of its own from the probe's port. With a TTL it is a canary.
func (e *fanEngine) sendProbe(ttl uint8) error {
	p := &e.a.plan
	ports := p.remotePorts()
	local := netip.AddrPortFrom(p.Local.Addr(), p.probe)
	// A golden step visits all ports in an order that is none.
	remote := netip.AddrPortFrom(p.Remote.Addr(), ports[(e.tally.probes*len(ports)*618/1000+e.tally.probes)%len(ports)])
	now := time.Now()
	syn := rawtcp.Segment{
		Src: local, Dst: remote, TTL: ttl, DF: true, Flags: rawtcp.SYN, Seq: e.numbers.ISN(local, remote, now), Window: 64240,
		Options: rawtcp.Options{MSS: p.mss},
	}
	e.tally.probes++
	if ttl != 0 {
		e.canary.left(now)
	}
	return e.transmit(&syn)
}

// sing sends a canary if one is due. One that tells nothing new is no reason to end.
func (e *fanEngine) sing(now time.Time) error {
	if e.phase != fanSending || e.tally.primed || e.hit() || !e.canary.works() {
		return nil
	}
	due, err := e.canary.due(now, e.tally.syns)
	if err != nil || !due {
		return err
	}
	return e.sendProbe(e.a.plan.TTL)
}

// readEarly takes what has come already.
func (e *fanEngine) readEarly() {
	var s sighting
	for e.a.wire.look(&s) {
		if !s.out && e.fan == nil {
			e.probeAnswer(&s)
		}
	}
}

// probeAnswer counts an answer to the probe, and reports whether s is one.
func (e *fanEngine) probeAnswer(s *sighting) bool {
	probe := e.a.plan.probe
	switch {
	case probe == 0:
		return false
	case s.icmp != nil:
		if s.icmp.Src.Port() != probe {
			return false
		}
		if kindOf(s.icmp) == icmpOther {
			e.canary.back()
			return true
		}
		e.tally.probed.addICMP(s.icmp, 1)
		return true
	case s.seg.Dst.Port() != probe:
		return false
	case s.seg.Flags&rawtcp.RST != 0:
		e.tally.probed.resets++
	}
	return true
}
