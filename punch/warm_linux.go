package punch

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/timing"
)

const (
	// warmUp is the time before the instant in which the path is warmed and measured.
	warmUp = 5 * time.Millisecond
	// warmProbes is the number of probes, spread over warmUp; the last leaves warmQuiet before the instant.
	warmProbes = 12
	warmQuiet  = 700 * time.Microsecond
	// coldProbes are the first ones, which wait for all that is to be warmed and are not measured.
	coldProbes = 4
	probeTTL   = 1 // dies at the first router, before a NAT makes anything of it
)

// warmUp sends a few tiny IP packets of an experimental protocol towards the
// peer that end at the first router. They fill what a first packet would wait
// for (routes, neighbour, caches, code pages) and measure the delay from the call
// to the kernel's stamp, which it returns: the SYN must be sent that much earlier.
func (a *attempt) warmUp(ctx context.Context) time.Duration {
	if a.raw == nil || time.Until(a.plan.At) < warmUp {
		return 0
	}
	probe := probePacket(a.plan.Local.Addr(), a.plan.Remote.Addr(), a.wire.probeID)
	bias := timing.NewBias()
	var called time.Time
	var s sighting
	step := (warmUp - warmQuiet) / (warmProbes - 1)
	for i := range warmProbes {
		err := a.thread.SleepUntil(ctx, a.plan.At.Add(-warmUp+time.Duration(i)*step))
		if err != nil && !errors.Is(err, timing.ErrPast) {
			break
		}
		if i == coldProbes {
			a.wire.probe = func(stamp time.Time) {
				if d := stamp.Sub(called); d > 0 { // else the one before, seen late
					bias.Add(d)
				}
			}
		}
		called = time.Now()
		if a.raw.Send(probe) != nil {
			break
		}
		for a.wire.look(&s) {
			// The peer's early packets are remembered; deliverEarly finds them.
		}
	}
	a.wire.probe = nil
	return bias.Median()
}

// probePacket is an IP packet of protocol 253 (RFC 3692) and TTL 1, whose
// payload tells it from those of other processes.
func probePacket(src, dst netip.Addr, id [8]byte) []byte {
	var p []byte
	if src.Is4() {
		p = make([]byte, 20, 20+len(id))
		p[0], p[3], p[8], p[9] = 0x45, 20+byte(len(id)), probeTTL, probeProtocol // the kernel fills in the checksum, raw(7)
		copy(p[12:], src.AsSlice())
		copy(p[16:], dst.AsSlice())
	} else {
		p = make([]byte, 40, 40+len(id))
		p[0], p[5], p[6], p[7] = 0x60, byte(len(id)), probeProtocol, probeTTL
		copy(p[8:], src.AsSlice())
		copy(p[24:], dst.AsSlice())
	}
	return append(p, id[:]...)
}
