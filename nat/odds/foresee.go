package odds

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/nat/predict"
	"github.com/synpunch/synpunch/rawtcp"
)

// foresight is how a peer comes to know which ports are likelier: third parties
// look at a few connections of the host, one after the other, and package predict
// computes the rest.
type foresight struct {
	looks  int
	apart  time.Duration // between two looks, and between the last look and the punch
	others float64       // SYNs per second of other subscribers
}

// Draws over which a ranking is averaged, chosen by us: the error of a probability is a few per cent.
const foresightDraws = 48

// Addresses of the simulation: documentation and benchmarking (RFC 5737, RFC 2544) outside, RFC 1918 and
// RFC 6598 inside.
var (
	publicA, publicB = netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("198.51.100.1")
	hostA, hostB     = netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.1.2")
	thirdParty       = netip.MustParseAddr("192.0.2.1")
	epoch            = time.Unix(1_700_000_000, 0)
)

// First local ports of the looks and of a fan. All local ports are even, for NATs that keep parity.
const (
	lookPort   = 1100
	firstLocal = 2000
)

// seen is what the looks at one NAT gave.
type seen struct {
	order *predict.Distribution // of the next port, if the NAT is ranked
	port  uint16                // that the last look saw
	now   time.Time             // after the looks
}

// look lets third parties look at count connections of the host through n, the peer
// being peer and the next local port next.
func (f *foresight) look(n *nat.NAT, host, peer netip.Addr, next uint16, count int, rng *rand.Rand, rank bool) (seen, error) {
	crowd := newCrowd(f.others, rng)
	now := epoch
	var obs []predict.Observation
	var v seen
	for i := range count {
		now = now.Add(f.apart)
		crowd.until(n, now)
		local := netip.AddrPortFrom(host, lookPort+2*uint16(i))
		dest := netip.AddrPortFrom(thirdParty, 443+uint16(i))
		ext, ok := external(n, now, local, dest)
		if !ok {
			return v, fmt.Errorf("odds: look %d at the NAT: it let no SYN out: %v", i+1, n.LastDrop())
		}
		v.port = ext.Port()
		obs = append(obs, predict.Observation{Time: now, Local: local, Dest: dest, External: ext})
	}
	now = now.Add(f.apart)
	crowd.until(n, now)
	v.now = now
	if !rank {
		return v, nil
	}
	p, err := predict.New(obs)
	if err != nil {
		return v, err
	}
	v.order, err = p.Next(predict.Target{Local: netip.AddrPortFrom(host, next), Dest: netip.AddrPortFrom(peer, 40000), Time: now})
	return v, err
}

// external sends one SYN through a NAT and says by which endpoint it left.
func external(n *nat.NAT, now time.Time, local, dest netip.AddrPort) (netip.AddrPort, bool) {
	s := rawtcp.Segment{Src: local, Dst: dest, Flags: rawtcp.SYN, Window: 64240, DF: true}
	b, err := s.Append(nil)
	if err != nil {
		return netip.AddrPort{}, false
	}
	for _, p := range n.Outbound(now, b, nil) {
		if p.To == nat.Outside {
			out, err := rawtcp.Parse(p.Data)
			return out.Src, err == nil
		}
	}
	return netip.AddrPort{}, false
}

// curve is the probability that the next port is among the first m guesses, by m, as the peer's own
// prediction has it: the average over NATs and crowds.
func (f *foresight) curve(b nat.Behaviour) ([]float64, error) {
	sum := make([]float64, 65536)
	rng := rand.New(rand.NewPCG(1, 2))
	for seed := range uint64(foresightDraws) {
		n, err := nat.New(b, &nat.Config{Public: []netip.Addr{publicA}, Seed: rng.Uint64() + seed})
		if err != nil {
			return nil, err
		}
		v, err := f.look(n, hostA, publicB, firstLocal, f.looks, rng, true)
		if err != nil {
			return nil, err
		}
		m, p := 0, 0.0
		for _, each := range v.order.All() {
			m++
			p += each
			sum[m] += min(1, p)
		}
	}
	for i := range sum {
		sum[i] /= foresightDraws
	}
	return sum, nil
}

// crowd is the other subscribers of a NAT: SYNs at random instants (a Poisson process) from
// addresses of RFC 6598.
type crowd struct {
	rate float64
	rng  *rand.Rand
	next time.Time
}

func newCrowd(rate float64, rng *rand.Rand) *crowd {
	c := &crowd{rate: rate, rng: rng, next: epoch}
	c.step()
	return c
}

func (c *crowd) step() {
	if c.rate > 0 {
		c.next = c.next.Add(time.Duration(c.rng.ExpFloat64() / c.rate * float64(time.Second)))
	}
}

// until sends what is due before t.
func (c *crowd) until(n *nat.NAT, t time.Time) {
	for c.rate > 0 && c.next.Before(t) {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 127, 0, byte(1 + c.rng.IntN(32))}), uint16(1024+c.rng.IntN(usualPorts)))
		dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(c.rng.IntN(256)), byte(c.rng.IntN(256))}), 443)
		external(n, c.next, src, dst)
		c.step()
	}
}
