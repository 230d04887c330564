package odds

import (
	"math/rand/v2"
	"slices"

	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/nat/predict"
)

// syn is one SYN of a plan.
type syn struct {
	local, remote uint16
	at            float64 // seconds after the beginning
}

// facts is what a peer has found out about one side before a fan.
type facts struct {
	port  func(local uint16) uint16 // the external port of a local one, if it is known
	open  uint16                    // the external port that a third party saw
	ports []uint16                  // that a new mapping may get
	order *predict.Distribution     // of the next port, if the side is ranked
	next  uint16                    // what it will be, if it is only drawn
	// Of a NAT that counts: its ports after the one that was seen.
	counter *counter
}

// guesses are m ports, the likeliest first.
func (f *facts) guesses(m int, rng *rand.Rand) []uint16 {
	if f.order == nil {
		return sample(f.ports, m, rng)
	}
	list := make([]uint16, 0, m)
	for p := range f.order.All() {
		if list = append(list, p); len(list) == m {
			break
		}
	}
	return list
}

// guess is one port: that of the first local port, or the likeliest, or any.
func (f *facts) guess(rng *rand.Rand) uint16 {
	if f.port != nil {
		return f.port(firstLocal)
	}
	return f.guesses(1, rng)[0]
}

// sample draws m different ports, in random order.
func sample(ports []uint16, m int, rng *rand.Rand) []uint16 {
	ports = slices.Clone(ports)
	m = min(m, len(ports))
	for i := range m {
		j := i + rng.IntN(len(ports)-i)
		ports[i], ports[j] = ports[j], ports[i]
	}
	return ports[:m]
}

// lists are the SYNs of A and B in the order in which they leave.
func (o *Odds) lists(p *play, r Order, pt *Point, know [2]*facts, rng *rand.Rand) (list [2][]syn) {
	efforts := [2]Effort{pt.A, pt.B}
	remotes := o.remotes(p, pt, know, rng)
	sa, sb := o.spells(r, float64(pt.A.SYNs), float64(pt.B.SYNs), pt.A.Rate, pt.B.Rate)
	for i, when := range [2]spell{sa, sb} {
		e := efforts[i]
		l := make([]syn, 0, e.Shape.SYNs())
		for local := range e.Locals {
			for remote := range e.Remotes {
				l = append(l, syn{local: firstLocal + 2*uint16(local), remote: remotes[i](local, remote)})
			}
		}
		if know[1-i].order == nil || p.kind == meeting { // guesses in a ranking keep their order
			rng.Shuffle(len(l), func(x, y int) { l[x], l[y] = l[y], l[x] })
		}
		l = l[:e.SYNs]
		for k := range l {
			l[k].at = when.start + float64(k)/e.Rate
		}
		list[i] = l
	}
	return list
}

// remotes says which port the SYN with these numbers goes to, for each side.
func (o *Odds) remotes(p *play, pt *Point, know [2]*facts, rng *rand.Rand) (to [2]func(local, remote int) uint16) {
	lead, other := p.lead, 1-p.lead
	shapes := [2]Shape{pt.A.Shape, pt.B.Shape}
	list := func(ports []uint16) func(int, int) uint16 {
		return func(_, remote int) uint16 { return ports[remote] }
	}
	switch {
	case p.kind == crossing || p.kind == learning && pt.SYNs() == 2:
		for i := range 2 {
			port := know[1-i].guess(rng)
			if p.kind == learning && i == other && o.side(lead).Behaviour.Filtering != nat.ADF {
				port = know[lead].open
			}
			to[i] = list([]uint16{port})
		}
	case p.kind == learning:
		to[lead] = func(_, remote int) uint16 { return 40_000 + uint16(remote) }
		to[other] = list(know[lead].guesses(shapes[other].Remotes, rng))
	case p.kind == finding:
		to[lead] = func(_, remote int) uint16 { return know[other].port(firstLocal + 2*uint16(remote)) }
		to[other] = list(know[lead].guesses(shapes[other].Remotes, rng))
		if shapes[other].Locals > 1 {
			same := o.side(lead).Distinct
			each := make([]uint16, shapes[other].Locals)
			for i := range each {
				each[i] = know[lead].ports[rng.IntN(len(know[lead].ports))]
			}
			to[other] = func(local, _ int) uint16 {
				if same {
					return each[0]
				}
				return each[local]
			}
		}
	case p.kind == meeting:
		to[0] = list(sample(know[1].ports, shapes[0].Remotes, rng))
		to[1] = list(sample(know[0].ports, shapes[1].Remotes, rng))
	case p.kind == counted:
		for i := range 2 {
			peer, port := know[1-i], know[1-i].ports[rng.IntN(len(know[1-i].ports))]
			if to[i] = list([]uint16{port}); peer.counter != nil {
				first := shapes[1-i].Locals - shapes[i].Remotes + 1
				to[i] = func(_, remote int) uint16 { return peer.counter.port(first + remote) }
			}
		}
	}
	return to
}
