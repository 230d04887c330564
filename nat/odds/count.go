package odds

import (
	"fmt"
	"math"
	"slices"

	"github.com/synpunch/synpunch/nat"
)

// counts reports whether the NAT gives out its ports one after the other, so that a port a little
// ahead is sure to come.
func (s *Side) counts() bool { return s.ahead != nil }

// counter is a NAT's sequence of ports after the last one that was seen.
type counter struct {
	ports []uint16
	at    int
	delta int
}

func newCounter(b *nat.Behaviour, seen uint16) *counter {
	c := &counter{ports: candidates(b, 0), delta: b.Delta}
	if c.delta == 0 {
		c.delta = 1
	}
	c.at = max(0, slices.Index(c.ports, seen))
	return c
}

// port is the k-th after the one that was seen.
func (c *counter) port(k int) uint16 {
	n := len(c.ports)
	return c.ports[((c.at+k*c.delta)%n+n)%n]
}

// steps is how far port is from the one seen; -1 if it does not come among the next most.
func (c *counter) steps(port uint16, most int) int {
	for k := 1; k <= most; k++ {
		if c.port(k) == port {
			return k
		}
	}
	return -1
}

// reach is the probability that m SYNs reach the port m ahead: that others took fewer.
func (s *Side) reach(m int) float64 {
	if m < 1 {
		return 0
	}
	return s.ahead[min(m, len(s.ahead))-1]
}

// come is the probability that with the first sent of all SYNs the counter has come by the port all ahead.
func (s *Side) come(sent, all float64) float64 { return s.reach(int(all)) - s.reach(int(all-sent)) }

// enough is how many SYNs reach it as surely as any number.
func (s *Side) enough() int {
	const spare = 1e-4
	for m := 1; m < len(s.ahead); m++ {
		if s.reach(m) >= s.ahead[len(s.ahead)-1]-spare {
			return m
		}
	}
	return len(s.ahead)
}

// count: the lead's NAT counts. It sends so many SYNs, from different local ports, that the counter
// must come by a port a little ahead, and there the peer waits. A peer that counts too does the
// same; one that draws its ports sends many SYNs there.
func (o *Odds) count(lead int, counting, other *Side) play {
	p := play{kind: counted, lead: lead}
	p.how = fmt.Sprintf("%s sends until its NAT's counter has come by a port ahead, to which %s sends from many ports", name(lead), name(1-lead))
	if other.counts() {
		p.how = "both send until the NATs' counters have come by a port ahead, each to that of the other"
		p.law = single(func(a, b float64) float64 { return o.A.reach(int(a)) * o.B.reach(int(b)) })
		p.until = func(a, b, allA, allB float64) float64 { return o.A.come(a, allA) * o.B.come(b, allB) }
		p.split = func(n int) counts {
			a, b := min(n, o.localPorts, o.A.enough()), min(n, o.localPorts, o.B.enough())
			a, why := o.A.room(a, true)
			b, because := o.B.room(b, true)
			return counts{a, b, why, because}
		}
		p.shape = func(a, b int) (Shape, Shape) { return Shape{a, 1}, Shape{b, 1} }
		return p
	}
	targets := func(draws int) int { return (draws + o.localPorts - 1) / o.localPorts }
	meets := func(draws, j float64) float64 {
		if other.Distinct {
			return min(1, draws/float64(other.Ports))
		}
		return 1 - math.Pow(1-min(1, draws/j/float64(other.Ports)), j)
	}
	p.until = func(a, b, allA, allB float64) float64 {
		sent, draws := swap(lead, a, b)
		all, allDraws := swap(lead, allA, allB)
		j := float64(max(1, targets(int(allDraws))))
		return counting.come(sent, all+1-j) * meets(draws, j)
	}
	p.law = single(func(a, b float64) float64 { return p.until(a, b, a, b) })
	p.split = func(n int) counts {
		draws, why := other.room(n, true)
		if other.Shared && draws > o.localPorts {
			draws, why = o.localPorts, o.localLimit()
		}
		sent, because := counting.room(min(n, o.localPorts, counting.enough()+targets(draws)-1), true)
		if most := sent * o.localPorts; draws > most {
			draws = most
		}
		return led(lead, sent, because, draws, why)
	}
	p.shape = func(a, b int) (Shape, Shape) {
		sent, draws := swap(lead, a, b)
		j := max(1, targets(draws))
		return swap(lead, Shape{sent, 1}, Shape{(draws + j - 1) / j, j})
	}
	return p
}
