package capture

import (
	"math/bits"
	"math/rand/v2"
)

// table finds tuples by their keys. A Go map keeps the keys beside the values:
// here they are in the tuples, which have to be read anyway, so that a packet of
// one flow among very many touches less memory.
type table struct {
	slots []*tuple // chains, through tuple.chain
	n     int
	seed  uint64
}

func newTable() table { return table{slots: make([]*tuple, 256), seed: rand.Uint64()} }

// slot is where the chain of a key begins. The seed keeps it unknown to those
// who choose addresses and ports.
func (t *table) slot(key *tupleKey) uint64 {
	h := t.seed
	for _, w := range key {
		hi, lo := bits.Mul64(h^w, 0x9e3779b97f4a7c15) // 2^64 divided by the golden ratio
		h = hi ^ lo ^ bits.RotateLeft64(h, 29)
	}
	return h & uint64(len(t.slots)-1)
}

func (t *table) find(key *tupleKey) *tuple {
	for u := t.slots[t.slot(key)]; u != nil; u = u.chain {
		if u.key == *key {
			return u
		}
	}
	return nil
}

// add takes a tuple that is not in the table.
func (t *table) add(u *tuple) {
	if t.n == len(t.slots) {
		old := t.slots
		t.slots = make([]*tuple, 2*len(old))
		for _, v := range old {
			for v != nil {
				next := v.chain
				t.put(v)
				v = next
			}
		}
	}
	t.n++
	t.put(u)
}

func (t *table) put(u *tuple) {
	s := &t.slots[t.slot(&u.key)]
	u.chain, *s = *s, u
}

// remove takes a tuple out.
func (t *table) remove(u *tuple) {
	for s := &t.slots[t.slot(&u.key)]; *s != nil; s = &(*s).chain {
		if *s == u {
			*s, u.chain = u.chain, nil
			t.n--
			return
		}
	}
}

// each calls do for every tuple, in no order.
func (t *table) each(do func(u *tuple)) {
	for _, u := range t.slots {
		for ; u != nil; u = u.chain {
			do(u)
		}
	}
}
