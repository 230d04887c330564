package rawtcp

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"time"
)

// isnTick is the clock of RFC 6528 section 3: "M is the 4 microsecond timer".
const isnTick = 4 * time.Microsecond

// ISNGenerator chooses initial sequence numbers as RFC 6528 says: a clock plus
// a keyed hash of the flow, so that nobody without the secret can guess them,
// and numbers of successive connections of one flow still go forward. Nothing
// is stored: who has the secret and the time can compute a number again, which
// is what lets a fan-out of many SYNs recognise an answer to one of them.
//
// The hash is SipHash-2-4. Methods may be called from several goroutines.
type ISNGenerator struct{ k0, k1 uint64 }

// NewISNGenerator returns a generator keyed with secret, which should come from
// crypto/rand and be kept as long as flows may be used again (RFC 6528 section
// 3 on changing it).
func NewISNGenerator(secret [16]byte) *ISNGenerator {
	return &ISNGenerator{binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:])}
}

// ISN returns the initial sequence number of the flow for a SYN sent at now:
// M + F(local, remote, secret). It is never 0 or 2^32-1, since to a Linux socket
// in repair a write_seq of 0 means 'choose one' (tcp_v4_connect), and the
// write_seq that it gets is the ISN or the one after it.
func (g *ISNGenerator) ISN(local, remote netip.AddrPort, now time.Time) Seq {
	m := uint32(now.UnixNano() / int64(isnTick))
	isn := m + uint32(g.hash(local, remote, 'i'))
	if isn == 0 || isn == 1<<32-1 {
		isn = 1 // what follows in time, so numbers still do not go back
	}
	return Seq(isn)
}

// TSOffset returns what to add to a millisecond clock for the flow's timestamps
// (RFC 7323 section 7.1: "a random offset MAY be added"), so that they tell
// nothing about the host. It is even, because bit 0 of TCP_TIMESTAMP chooses
// the unit on Linux from 6.7 on.
func (g *ISNGenerator) TSOffset(local, remote netip.AddrPort) uint32 {
	return uint32(g.hash(local, remote, 't')) &^ 1
}

// hash is SipHash-2-4 of both addresses in 16-byte form, both ports, and use,
// which keeps the two kinds of numbers independent of each other.
func (g *ISNGenerator) hash(local, remote netip.AddrPort, use uint8) uint64 {
	var msg [40]byte
	l, r := local.Addr().As16(), remote.Addr().As16()
	copy(msg[0:], l[:])
	copy(msg[16:], r[:])
	binary.BigEndian.PutUint16(msg[32:], local.Port())
	binary.BigEndian.PutUint16(msg[34:], remote.Port())
	msg[36] = use
	return sipHash(g.k0, g.k1, msg[:])
}

// sipHash is SipHash-2-4 with a 64-bit result (Aumasson and Bernstein, 'SipHash:
// a fast short-input PRF', 2012).
func sipHash(k0, k1 uint64, msg []byte) uint64 {
	v0, v1 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d
	v2, v3 := k0^0x6c7967656e657261, k1^0x7465646279746573
	length := uint64(len(msg))
	for ; len(msg) >= 8; msg = msg[8:] {
		m := binary.LittleEndian.Uint64(msg)
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}
	last := length << 56
	for i, c := range msg {
		last |= uint64(c) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
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
