package rawtcp

import (
	"encoding/binary"
	"math/bits"
)

// permuteRounds is how often the two halves of a number are mixed; even, so that they
// end where they began. Chosen by us: TestPermutationLooksRandom sees structure
// after four rounds, not after six.
const permuteRounds = 6

// Permutation is the numbers from 0 to N-1 in an order that a key chooses. It is
// computed number by number (a Feistel network over the next power of two, walked
// until it ends below N), so it takes no memory for N numbers, and two ends that
// share a key go through them in the same order. It is made to look random, not to
// keep a secret.
type Permutation struct {
	n           uint64
	left, right uint                  // bits of the two halves
	mul, add    [permuteRounds]uint64 // the round functions: multiply, add, take the highest bits
}

// NewPermutation returns the order of the numbers below n, 2^62 at most, that key
// chooses.
func NewPermutation(n uint64, key [16]byte) *Permutation {
	width := uint(bits.Len64(max(n, 1) - 1))
	p := &Permutation{n: n, left: width / 2, right: width - width/2}
	k0, k1 := binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])
	for r := range p.mul {
		p.mul[r] = sipHash(k0, k1, []byte{'m', byte(r)}) | 1
		p.add[r] = sipHash(k0, k1, []byte{'a', byte(r)})
	}
	return p
}

// Len returns how many numbers there are.
func (p *Permutation) Len() uint64 { return p.n }

// At returns the i-th number, i from 0 to Len-1; each comes once. It does not
// allocate.
func (p *Permutation) At(i uint64) uint64 {
	if p.n <= 1 {
		return 0
	}
	// What lies beyond the end is put in again: since the network is a bijection, the
	// way from a number below n comes back below n, in less than two steps on average.
	for i = p.network(i); i >= p.n; i = p.network(i) {
	}
	return i
}

// network is a bijection of the numbers of left+right bits. In each round one half
// is changed by the other, and then they change places.
func (p *Permutation) network(x uint64) uint64 {
	a, b := p.left, p.right
	l, r := x>>b, x&(1<<b-1)
	for i := range p.mul {
		l, r = r, l^(r*p.mul[i]+p.add[i])>>(64-a)
		a, b = b, a
	}
	return l<<b | r
}
