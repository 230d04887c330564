package rawtcp

import (
	"encoding/binary"
	"math/bits"
)

// sipHash is SipHash-2-4 with a 64-bit result (Aumasson and Bernstein, 'SipHash:
// a fast short-input PRF', 2012).
func sipHash(k0, k1 uint64, msg []byte) uint64 {
	s := newSipState(k0, k1)
	length := uint64(len(msg))
	for ; len(msg) >= 8; msg = msg[8:] {
		s = s.word(binary.LittleEndian.Uint64(msg))
	}
	last := length << 56
	for i, c := range msg {
		last |= uint64(c) << (8 * i)
	}
	return s.end(last)
}

// sipState is SipHash-2-4 in the middle of a message. A copy goes on from there,
// so that what many messages have in common is hashed once.
type sipState struct{ v0, v1, v2, v3 uint64 }

func newSipState(k0, k1 uint64) sipState {
	return sipState{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
}

// word returns the state after the next eight bytes of the message, the first in
// the lowest bits.
func (s sipState) word(m uint64) sipState {
	v0, v1, v2, v3 := sipRound(s.v0, s.v1, s.v2, s.v3^m)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	return sipState{v0 ^ m, v1, v2, v3}
}

// end takes the last word, with the length of the message in its highest byte, and
// returns the hash.
func (s sipState) end(last uint64) uint64 {
	v0, v1, v2, v3 := sipRound(s.v0, s.v1, s.v2, s.v3^last)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0^last, v1, v2^0xff, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
