package lab

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// Crowd is the other subscribers of a NAT: they open connections all the time, and
// each takes an external port. Arrivals are a Poisson process, so that a NAT that counts its
// ports up moves by a number that nobody knows between an observation and a
// punch. The same rate and seed give the same SYNs.
type Crowd struct {
	rng  *rand.Rand
	gap  float64 // mean, in nanoseconds
	next time.Duration
	pkt  [crowdLen]byte
}

// Chosen by us.
const (
	// CrowdHosts is how many subscribers a Crowd has: few enough that a NAT which
	// gives each a block of ports has some left.
	CrowdHosts = 32
	crowdLen   = 40 // an IPv4 and a TCP header without options
	// crowdStream keeps a Crowd's draws apart from those of a nat.NAT with the same seed.
	crowdStream = 0x63726f7764
)

// NewCrowd makes a crowd that sends rate SYNs a second, more than 0.
func NewCrowd(rate float64, seed uint64) *Crowd {
	c := &Crowd{rng: rand.New(rand.NewPCG(seed, crowdStream)), gap: float64(time.Second) / rate}
	c.step()
	return c
}

func (c *Crowd) step() { c.next += time.Duration(c.rng.ExpFloat64() * c.gap) }

// At is when the next SYN comes to the inside of the NAT, after the beginning.
func (c *Crowd) At() time.Duration { return c.next }

// SYN returns the next SYN, from the IP header on, and moves on to the one behind
// it. Its source is one of CrowdHosts addresses from 100.127.0.1 on (RFC 6598) with any port
// from 1024 on, its destination port 443 of any address in 198.18.0.0/15 (RFC 2544), which lead
// nowhere. The bytes may be changed and are valid until the next call.
func (c *Crowd) SYN() []byte {
	c.step()
	r := c.rng.Uint64()
	b := c.pkt[:]
	clear(b)
	b[0], b[8], b[9] = 0x45, 64, 6 // RFC 791: version and length, TTL, TCP
	binary.BigEndian.PutUint16(b[2:], crowdLen)
	b[6] = 0x40 // don't fragment
	copy(b[12:], []byte{100, 127, 0, 1 + byte(r%CrowdHosts)})
	copy(b[16:], []byte{198, 18 + byte(r>>8&1), byte(r >> 16), byte(r >> 24)})
	binary.BigEndian.PutUint16(b[10:], ^sum(0, b[:20]))
	t := b[20:]
	binary.BigEndian.PutUint16(t, 1024+uint16(r>>32%(65536-1024)))
	binary.BigEndian.PutUint16(t[2:], 443)
	binary.BigEndian.PutUint32(t[4:], c.rng.Uint32())
	t[12], t[13] = 5<<4, 2 // RFC 9293: header length, SYN
	binary.BigEndian.PutUint16(t[14:], 64240)
	pseudo := sum(6+crowdLen-20, b[12:20])
	binary.BigEndian.PutUint16(t[16:], ^sum(uint32(pseudo), t))
	return b
}

// sum adds the 16-bit words of b to s in ones' complement (RFC 1071).
func sum(s uint32, b []byte) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}
