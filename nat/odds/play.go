package odds

import (
	"fmt"

	"github.com/synpunch/synpunch/nat"
)

// A play is who sends which SYNs, without the order in time.
type play struct {
	kind kind
	lead int // the side that holds ports which the other guesses (opener) or that draws its ports (hard); 0: A, 1: B
	how  string
	law  law
	// until is the probability after a and b of allA and allB SYNs; nil: the law's of a and b.
	until func(a, b, allA, allB float64) float64
	split func(n int) counts            // the SYNs with a budget of n for each side
	shape func(a, b int) (sa, sb Shape) // which ports they have
}

// counts is how many SYNs A and B send, and what bounds each; empty: the budget.
type counts struct {
	a, b       int
	whyA, whyB string
}

// led makes counts of those of the lead and of the other side.
func led(lead, own int, why string, others int, because string) counts {
	if lead == 0 {
		return counts{own, others, why, because}
	}
	return counts{others, own, because, why}
}

// kind is what the peer must get right.
type kind uint8

const (
	crossing kind = iota // one SYN each, to the ports that are known or likeliest
	learning             // the opener's filter lets any port of the peer in, so that the peer must only find an open port
	finding              // one side knows where to, the other must find from where it comes
	meeting              // neither knows
	counted              // a counter comes by a port that both know
)

// Shape is the flows of one side's SYNs: local ports times remote ports.
type Shape struct {
	Locals  int `json:"local_ports"`
	Remotes int `json:"remote_ports"`
}

// SYNs is how many flows there are.
func (s Shape) SYNs() int { return s.Locals * s.Remotes }

func oneEach(int) counts               { return counts{a: 1, b: 1} }
func oneShape(int, int) (sa, sb Shape) { return Shape{1, 1}, Shape{1, 1} }

func swap[T any](lead int, x, y T) (T, T) {
	if lead == 0 {
		return x, y
	}
	return y, x
}

// plays lists what can be tried with the two NATs.
func (o *Odds) plays() []play {
	list := []play{o.cross()}
	if p := list[0].law(1, 1, 0); p >= 1 {
		return list
	}
	for lead := range 2 {
		opener, guesser := o.side(lead), o.side(1-lead)
		if opener.Behaviour.Filtering == nat.ADF && opener.Knowledge != Known {
			list = append(list, o.learn(lead, opener, guesser))
		}
		if opener.Knowledge != Known && opener.Behaviour.Filtering == nat.APDF && guesser.Knowledge == Known {
			list = append(list, o.find(lead, opener, guesser))
		}
	}
	for lead := range 2 {
		s, other := o.side(lead), o.side(1-lead)
		if s.counts() && s.Behaviour.Filtering == nat.APDF && other.Behaviour.Filtering == nat.APDF && (other.Knowledge == Unknown || lead == 0 && other.counts()) {
			list = append(list, o.count(lead, s, other))
		}
	}
	if o.A.Knowledge != Known && o.B.Knowledge != Known && o.A.Behaviour.Filtering == nat.APDF && o.B.Behaviour.Filtering == nat.APDF {
		list = append(list, o.meet())
	}
	return list
}

func (o *Odds) side(i int) *Side {
	if i == 0 {
		return &o.A
	}
	return &o.B
}

// aim is the probability that a peer's best guess is the port of the side's next SYN.
func (s *Side) aim() float64 {
	switch s.Knowledge {
	case Known:
		return 1
	case Ranked:
		return s.hits[1]
	}
	return 1 / float64(s.Ports)
}

// open is the probability that a SYN of the peer, from whatever port, gets in by
// the best guess.
func (s *Side) open() float64 {
	switch s.Behaviour.Filtering {
	case nat.APDF:
		return 0
	case nat.ADF:
		return s.aim()
	}
	return 1 // the mapping that a third party saw lets anybody in
}

// cross is one SYN each.
func (o *Odds) cross() play {
	p, how, k := o.A.aim()*o.B.aim(), "one SYN each, to the port that is known", crossing
	if p < 1 {
		how = "one SYN each, to the likeliest port"
	}
	lead := 0
	for i := range 2 {
		if s := o.side(i); s.open() > p {
			p, k, lead = s.open(), learning, i
			how = fmt.Sprintf("one SYN each; %s takes the port that %s's SYN comes from", name(i), name(1-i))
		}
	}
	return play{kind: k, lead: lead, how: how, law: single(func(a, b float64) float64 { return p * min(1, a) * min(1, b) }), split: oneEach, shape: oneShape}
}

func name(i int) string { return string(rune('A' + i)) }

// spread makes a shape of count flows with as many local ports as there may be.
func (o *Odds) spread(count int) Shape {
	locals := min(count, o.localPorts)
	return Shape{locals, (count + locals - 1) / locals}
}

// learn: the opener sends SYNs to the peer's address from many ports, the guesser sends to many ports.
func (o *Odds) learn(lead int, opener, guesser *Side) play {
	p := play{kind: learning, lead: lead, law: guessing(float64(opener.Ports))}
	p.how = fmt.Sprintf("%s opens ports towards %s's address, %s tries ports, and %s takes the port that a SYN comes from", name(lead), name(1-lead), name(1-lead), name(lead))
	if opener.Knowledge == Ranked {
		p.law = ranked(lead, opener.hits)
	}
	p.split = func(n int) counts {
		open, why := opener.room(n, true)
		switch {
		case opener.Knowledge == Ranked:
			open, why = 1, ""
		case opener.Shared && open > o.localPorts:
			open, why = o.localPorts, o.localLimit()
		}
		guess, because := guesser.room(min(n, opener.Ports), !guesser.Shared)
		return led(lead, open, why, guess, because)
	}
	p.shape = func(a, b int) (Shape, Shape) {
		open, guess := swap(lead, a, b)
		return swap(lead, o.spread(open), Shape{1, guess})
	}
	return p
}

// ranked: one SYN of the side lead, and guesses in the order of their probability.
func ranked(lead int, hits []float64) law {
	return single(func(a, b float64) float64 {
		one, guesses := swap(lead, a, b)
		m := int(min(guesses, float64(len(hits)-1)))
		return min(1, one) * hits[m]
	})
}

// find: the guesser's port is known, so the hard side's SYNs all go there, from
// ports that nobody knows; the guesser sends to as many as it can.
func (o *Odds) find(lead int, hard, guesser *Side) play {
	p := play{kind: finding, lead: lead, law: guessing(float64(hard.Ports))}
	switch {
	case hard.Knowledge == Ranked:
		p.law = ranked(lead, hard.hits)
	case !guesser.Shared:
		p.law = oneChance(lead, float64(hard.Ports), hard.Distinct)
	}
	p.how = fmt.Sprintf("%s sends from many ports to the one that is known, %s to many ports", name(lead), name(1-lead))
	p.split = func(n int) counts {
		draw, why := hard.room(n, true)
		guess, because := guesser.room(min(n, hard.Ports), false)
		switch {
		case hard.Knowledge == Ranked:
			draw, why = 1, ""
		case !guesser.Shared && hard.Shared:
			draw, why, guess, because = min(draw, o.localPorts), o.localLimit(), 1, "one SYN is enough"
		case !guesser.Shared:
			guess, because = guesser.room(min((draw+o.localPorts-1)/o.localPorts, o.localPorts), true)
			draw = min(draw, guess*o.localPorts)
		case draw > o.localPorts:
			draw, why = o.localPorts, o.localLimit()
		}
		return led(lead, draw, why, guess, because)
	}
	p.shape = func(a, b int) (Shape, Shape) {
		draw, guess := swap(lead, a, b)
		if !guesser.Shared && hard.Knowledge == Unknown {
			return swap(lead, Shape{(draw + guess - 1) / guess, guess}, Shape{guess, 1})
		}
		return swap(lead, Shape{draw, 1}, Shape{1, guess})
	}
	return p
}

// oneChance: each of the guesser's flows has a known port of its own, so that each SYN of the hard
// side fits one of them, and has one chance. The guesser sends from all of its ports to
// the same port.
func oneChance(lead int, ports float64, distinct bool) law {
	if distinct {
		return single(func(a, b float64) float64 {
			many, few := swap(lead, a, b)
			return min(1, few) * min(1, many/ports)
		})
	}
	return func(a, b, s float64) float64 {
		many, few := swap(lead, a, b)
		if few = max(few, 1); few <= s {
			return 0
		}
		return (few - s) * many / (few * ports)
	}
}

func (o *Odds) localLimit() string {
	return fmt.Sprintf("%s local ports", thousands(o.localPorts))
}

// meet: each side draws a port for each flow, and neither knows the other's.
func (o *Odds) meet() play {
	a, b := &o.A, &o.B
	p := play{kind: meeting, law: matching(float64(a.Ports), float64(b.Ports), a.Distinct, b.Distinct), how: "both send to many ports, and neither knows the other's"}
	if a.Shared || b.Shared {
		// One local port, one external port, all remote ports: one pair of SYNs fits.
		all := float64(a.Ports) * float64(b.Ports)
		p.law = single(func(m, n float64) float64 { return m * n / all })
	}
	p.split = func(n int) counts {
		x, y := n, n
		if a.Shared || b.Shared {
			x, y = min(n, b.Ports), min(n, a.Ports)
		}
		x, why := a.room(x, !a.Shared)
		y, because := b.room(y, !b.Shared)
		return counts{x, y, why, because}
	}
	p.shape = func(x, y int) (Shape, Shape) { return sweep(x, b.Ports), sweep(y, a.Ports) }
	return p
}

// sweep sends to different ports first, and then from another local port.
func sweep(count, ports int) Shape {
	locals := (count + ports - 1) / ports
	return Shape{locals, (count + locals - 1) / locals}
}
