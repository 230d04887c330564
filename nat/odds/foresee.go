package odds

import (
	"fmt"
	"math"
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

// Draws over which a ranking is averaged, chosen by us: the standard error of a probability is 4 per cent of it at most,
// and much less where others' traffic is what is unknown.
const foresightDraws = 128

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

// look lets third parties look at count connections of the host through n. With rank the next port
// towards peer is predicted.
func (f *foresight) look(n *nat.NAT, host, peer netip.Addr, count int, rng *rand.Rand, rank bool) (seen, error) {
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
	v.order, err = p.Next(predict.Target{Local: netip.AddrPortFrom(host, firstLocal), Dest: netip.AddrPortFrom(peer, 40000), Time: now})
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

// ranking is a peer's order of guesses and what the next port then is.
type ranking struct {
	order *predict.Distribution
	truth []predict.Guess // ports with their probability
	count *counter
}

// draw is a port by its probability.
func (r *ranking) draw(rng *rand.Rand) uint16 {
	u := rng.Float64()
	for _, g := range r.truth {
		if u -= g.P; u < 0 {
			return g.Port
		}
	}
	return r.truth[len(r.truth)-1].Port
}

// rankings are those of a few NATs of the kind and crowds, and the average over them of the
// probability that the next port is among the first m guesses, by m.
func (f *foresight) rankings(b nat.Behaviour) (list []ranking, hits []float64, err error) {
	hits = make([]float64, 65536)
	rng := rand.New(rand.NewPCG(1, 2))
	for range foresightDraws {
		n, err := nat.New(b, &nat.Config{Public: []netip.Addr{publicA}, Seed: rng.Uint64()})
		if err != nil {
			return nil, nil, err
		}
		v, err := f.look(n, hostA, publicB, f.looks, rng, true)
		if err != nil {
			return nil, nil, err
		}
		r := ranking{v.order, f.truth(n, &v), newCounter(&b, v.port)}
		list = append(list, r)
		chance := map[uint16]float64{}
		for _, g := range r.truth {
			chance[g.Port] += g.P
		}
		m, p := 0, 0.0
		for port := range v.order.All() {
			m++
			p += chance[port]
			hits[m] += min(1, p) / foresightDraws
		}
	}
	return list, hits, nil
}

// truth is the distribution of the next port after what was seen. Of a counter that others drive
// it is Poisson's, of how many ports they took since the last look; else it is what n gives.
func (f *foresight) truth(n *nat.NAT, v *seen) []predict.Guess {
	b := n.Behaviour()
	mean := f.others * f.apart.Seconds()
	if b.Allocation != nat.Sequential || b.Counter != nat.CounterGlobal || b.Parity != nat.ParityAny || mean == 0 {
		ext, ok := external(n, v.now, netip.AddrPortFrom(hostA, firstLocal), netip.AddrPortFrom(publicB, 40000))
		if !ok {
			return []predict.Guess{{P: 1}}
		}
		return []predict.Guess{{Port: ext.Port(), P: 1}}
	}
	c := newCounter(&b, v.port)
	var list []predict.Guess
	p, left := math.Exp(-mean), 1.0
	for k := 1; left > 1e-9 && k < len(c.ports); k++ {
		list = append(list, predict.Guess{Port: c.port(k), P: p})
		left -= p
		p *= mean / float64(k)
	}
	return list
}

// aheadOf is the probability that a counter has moved no more than so many ports beside the
// next one, the average over rankings.
func aheadOf(list []ranking) []float64 {
	const most = 4096
	sum := make([]float64, most)
	for _, r := range list {
		for _, g := range r.truth {
			if k := r.count.steps(g.Port, most); k > 0 {
				sum[k-1] += g.P / float64(len(list))
			}
		}
	}
	for k := 1; k < most; k++ {
		sum[k] = min(1, sum[k]+sum[k-1])
	}
	return sum
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
