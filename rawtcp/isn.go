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
	return isnOf(isnClock(now), g.hash(local, remote, 'i'))
}

func isnClock(now time.Time) uint32 { return uint32(now.UnixNano() / int64(isnTick)) }

// isnOf adds M and F.
func isnOf(m uint32, f uint64) Seq {
	isn := m + uint32(f)
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

// hash is SipHash-2-4 of 40 bytes: both addresses in 16-byte form, both ports, and
// use, which keeps the two kinds of numbers independent of each other.
func (g *ISNGenerator) hash(local, remote netip.AddrPort, use uint8) uint64 {
	return g.begin(local.Addr(), remote.Addr()).flow(local.Port(), remote.Port(), use)
}

// begin hashes the addresses.
func (g *ISNGenerator) begin(local, remote netip.Addr) sipState {
	s := newSipState(g.k0, g.k1)
	for _, a := range [2]netip.Addr{local, remote} {
		b := a.As16()
		s = s.word(binary.LittleEndian.Uint64(b[:8])).word(binary.LittleEndian.Uint64(b[8:]))
	}
	return s
}

// flow ends the hash that begin began. The ports are big-endian in the message.
func (s sipState) flow(local, remote uint16, use uint8) uint64 {
	ports := uint64(bits.ReverseBytes16(local)) | uint64(bits.ReverseBytes16(remote))<<16
	return s.word(ports | uint64(use)<<32).end(40 << 56)
}
