package odds

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/synpunch/synpunch/nat"
)

// Trial is what one simulated attempt gave.
type Trial struct {
	Hits  int           // flows that were hit
	First time.Duration // until the first hit, from the first SYN; meaningful if there was one
}

// Draw simulates one attempt with a budget of n SYNs for each side by drawing ports: without
// packets, but SYN by SYN. The same seed gives the same trial.
func (o *Odds) Draw(s *Strategy, n int, seed uint64) Trial {
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	p := &o.seen[s.play]
	pt, t := o.begin(p, s.Order, n)
	if o.banned(p, s.Order) >= 0 {
		return Trial{}
	}
	know := [2]*facts{o.A.imagine(rng), o.B.imagine(rng)}
	list := o.lists(p, s.Order, &pt, know, rng)
	ext := [2][]uint16{o.A.draw(list[0], know[0], rng), o.B.draw(list[1], know[1], rng)}
	w := t.window
	var trial Trial
	first := math.Inf(1)
	hit := func(a, b syn) {
		if d := b.at - a.at; d < w.late && -d < w.early {
			trial.Hits++
			first = min(first, max(a.at, b.at))
		}
	}
	if p.kind == learning {
		lead := p.lead
		o.enter(lead, list, ext, know[lead].open, func(x, y syn) { hit(swap(lead, x, y)) })
	} else {
		pairs(list, ext, hit)
	}
	if trial.Hits > 0 {
		trial.First = seconds(first + t.way)
	}
	return trial
}

// imagine makes up what is found out about a side.
func (s *Side) imagine(rng *rand.Rand) *facts {
	f := &facts{ports: candidates(&s.Behaviour, 0)}
	f.open = f.ports[rng.IntN(len(f.ports))]
	switch s.Knowledge {
	case Known:
		f.port = func(local uint16) uint16 { return local }
	case Ranked:
		r := &s.rankings[rng.IntN(len(s.rankings))]
		f.order, f.next, f.counter = r.order, r.draw(rng), r.count
	}
	return f
}

// draw gives each SYN of a side an external port.
func (s *Side) draw(list []syn, know *facts, rng *rand.Rand) []uint16 {
	ext := make([]uint16, len(list))
	switch {
	case s.Knowledge == Known:
		for i := range list {
			ext[i] = know.port(list[i].local)
		}
	case s.counts():
		k := know.counter.steps(know.next, len(know.counter.ports))
		for i := range list {
			ext[i] = know.counter.port(k + i)
		}
	case s.Knowledge == Ranked && len(list) == 1:
		ext[0] = know.next
	case s.Shared:
		fresh, of := sample(know.ports, len(list), rng), map[uint16]uint16{}
		for i := range list {
			if _, ok := of[list[i].local]; !ok {
				of[list[i].local] = fresh[len(of)]
			}
			ext[i] = of[list[i].local]
		}
	case s.Distinct:
		copy(ext, sample(know.ports, len(list), rng))
	default:
		taken := newIndex(len(list))
		for i := range list {
			k := key(list[i].remote, know.ports[rng.IntN(len(know.ports))])
			for taken.find(k) >= 0 {
				k = key(list[i].remote, know.ports[rng.IntN(len(know.ports))])
			}
			ext[i] = uint16(k)
			taken.add(k)
		}
	}
	return ext
}

// pairs finds the flows of both sides that are the same: A's SYN i and B's SYN j with the
// external port of each the remote port of the other.
func pairs(list [2][]syn, ext [2][]uint16, hit func(a, b syn)) {
	a, b := list[0], list[1]
	x := newIndex(len(a))
	for i := range a {
		x.add(key(ext[0][i], a[i].remote))
	}
	for j := range b {
		k := key(b[j].remote, ext[1][j])
		for i := x.find(k); i >= 0; i = x.again(i, k) {
			hit(a[i], b[j])
		}
	}
}

// enter finds the SYNs of the other side that go to an open port of the side lead.
func (o *Odds) enter(lead int, list [2][]syn, ext [2][]uint16, open uint16, hit func(own, other syn)) {
	if o.side(lead).Behaviour.Filtering != nat.ADF {
		hit(syn{}, list[1-lead][0])
		return
	}
	var by [65536]int32 // 1 + the first SYN that has the port
	for i := len(list[lead]) - 1; i >= 0; i-- {
		by[ext[lead][i]] = int32(i + 1)
	}
	for _, y := range list[1-lead] {
		if i := by[y.remote]; i > 0 {
			hit(list[lead][i-1], y)
		}
	}
}

// key is two ports in one.
func key(a, b uint16) uint32 { return uint32(a)<<16 | uint32(b) }

// index finds the numbers of what was added by its key: a hash table with chains.
type index struct {
	keys       []uint32
	head, next []int32 // 1 + a number; 0: none
	mask       uint32
}

func newIndex(n int) *index {
	size := uint32(16)
	for int(size) < 2*n {
		size *= 2
	}
	return &index{keys: make([]uint32, 0, n), head: make([]int32, size), next: make([]int32, 0, n), mask: size - 1}
}

func (x *index) slot(k uint32) *int32 {
	h := k * 2654435769 // Knuth's multiplicative hash
	return &x.head[(h^h>>15)&x.mask]
}

func (x *index) add(k uint32) {
	slot := x.slot(k)
	x.keys, x.next = append(x.keys, k), append(x.next, *slot)
	*slot = int32(len(x.keys))
}

// find is the number of one that has the key, -1 if there is none; again is another one.
func (x *index) find(k uint32) int { return x.walk(*x.slot(k), k) }

func (x *index) again(i int, k uint32) int { return x.walk(x.next[i], k) }

func (x *index) walk(at int32, k uint32) int {
	for at > 0 && x.keys[at-1] != k {
		at = x.next[at-1]
	}
	return int(at) - 1
}
