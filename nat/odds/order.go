package odds

import (
	"fmt"
	"math"
	"time"
)

// Order is who sends when.
type Order string

// The orders. To prime is to send with a TTL that ends between the NATs: it opens the own
// mapping and reaches nobody who could answer.
const (
	Together Order = "together"
	AFirst   Order = "A first"
	BFirst   Order = "B first"
	APrimes  Order = "A primes"
	BPrimes  Order = "B primes"
)

var orders = []Order{Together, AFirst, BFirst, APrimes, BPrimes}

// first is the side that sends first, -1 if none does; primes that it does with a low TTL.
func (r Order) first() (side int, primes bool) {
	switch r {
	case AFirst:
		return 0, false
	case BFirst:
		return 1, false
	case APrimes:
		return 0, true
	case BPrimes:
		return 1, true
	}
	return -1, false
}

// primed reports whether the side i sends with a low TTL.
func (r Order) primed(i int) bool {
	side, primes := r.first()
	return primes && side == i
}

// spells is when the two sides send: the second begins when the first is done, and what it sent has
// died or arrived.
func (o *Odds) spells(r Order, a, b float64, paceA, paceB float64) (sa, sb spell) {
	sa, sb = spell{0, a / paceA}, spell{0, b / paceB}
	switch side, _ := r.first(); side {
	case 0:
		sb.start = sa.end()
	case 1:
		sa.start = sb.end()
	}
	return sa, sb
}

// lasting is how long a mapping of the side i lets the peer in after its SYN passed, in
// seconds, and what ends it.
func (o *Odds) lasting(i int, r Order) (float64, string) {
	s, peer := o.side(i), o.side(1-i)
	life, why := s.Life, ""
	if r.primed(i) {
		if t := s.Behaviour.TTLExceeded; t.Close && t.After < life {
			life, why = t.After, fmt.Sprintf("the ICMP error that a low TTL draws ends the mapping at NAT %s", name(i))
		}
		return life.Seconds(), why
	}
	if ends, after, what := peer.answer(s); ends && 2*o.delay+after < life {
		life = 2*o.delay + after
		why = fmt.Sprintf("NAT %s answers a SYN that it does not let in with %s, which ends the mapping at NAT %s", name(1-i), what, name(i))
	}
	return life.Seconds(), why
}

// opening is when two SYNs that aim at each other lead to a connection; what says why that is
// less than it could be.
func (o *Odds) opening(p *play, r Order) (w window, what string) {
	way := o.delay.Seconds()
	w = window{math.Inf(-1), math.Inf(-1)}
	for i := range 2 {
		s := o.side(i) // the peer's SYN gets in here
		switch {
		case p.kind == learning && p.lead != i:
			continue // nobody aims at the guesser's port
		case p.kind != learning && !s.Crosses:
			what = fmt.Sprintf("NAT %s refuses a SYN that crosses one of its own host's", name(i))
			continue
		case r.primed(1 - i):
			continue // it does not get that far
		case o.side(1-i).Life <= 2*o.delay:
			what = fmt.Sprintf("a mapping of NAT %s ends before an answer can be there", name(1-i))
			continue
		}
		life, why := o.lasting(i, r)
		if why != "" {
			what = why
		}
		v := window{early: way, late: life - way}
		if i == 1 {
			v = window{early: v.late, late: v.early}
		}
		w = w.both(v)
	}
	return w, what
}

// banned is the side whose address the other NAT shuts out because of a SYN that nothing let in; -1 if none.
func (o *Odds) banned(p *play, r Order) int {
	if p.kind == crossing || p.kind == learning && p.law(1, 1, 0) >= 1 {
		return -1
	}
	for i := range 2 {
		if o.side(1-i).bans() && !r.primed(i) {
			return i
		}
	}
	return -1
}

func seconds(s float64) time.Duration {
	if s > 1e9 {
		s = 1e9
	}
	return time.Duration(s * float64(time.Second))
}
