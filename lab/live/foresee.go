package live

import (
	"context"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/nat/predict"
)

// Ports that third parties look at, chosen by us: no trial's own.
const (
	firstLook  = 10000
	lookRange  = 9000
	lookStride = 977 // a prime: not in the order of the numbers
)

// publicEndpoint is what a peer can know of the end, lead before the attempt. With an
// error, which says why third parties could not tell, it is a guess.
func (e *end) publicEndpoint(ctx context.Context, l *Lab, lead time.Duration) (netip.AddrPort, error) {
	known := netip.AddrPortFrom(e.host.Public, e.local.Port())
	if e.host.Preserves(e.local.Port()) {
		return known, nil
	}
	look := l.Observe
	if e.Observations > 1 {
		look = func(ctx context.Context, h *Host, port uint16) (netip.AddrPort, error) {
			return l.foresee(ctx, h, port, e.Observations, lead)
		}
	}
	seen, err := look(ctx, e.host, e.local.Port())
	if err != nil {
		return known, err
	}
	return seen, nil
}

// foresee is the likeliest public endpoint of a host's port. The looks are from other ports,
// so that the NAT makes a mapping for each of them whatever its mapping depends on. The attempt
// follows them by the lead.
func (l *Lab) foresee(ctx context.Context, h *Host, port uint16, looks int, lead time.Duration) (netip.AddrPort, error) {
	var list []predict.Observation
	for i := range looks {
		from := uint16(firstLook + (int(port)+i*lookStride)%lookRange)
		seen, err := l.Observe(ctx, h, from)
		if err != nil {
			return netip.AddrPort{}, err
		}
		list = append(list, predict.Observation{Time: time.Now(), Local: netip.AddrPortFrom(h.Addr, from), External: seen})
	}
	p, err := predict.New(list)
	if err != nil {
		return netip.AddrPort{}, err
	}
	d, err := p.Next(predict.Target{Local: netip.AddrPortFrom(h.Addr, port), Time: time.Now().Add(lead)})
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(list[0].External.Addr(), d.Top(1)[0].Port), nil
}
