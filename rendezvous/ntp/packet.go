package ntp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Given by RFC 5905, section 7.3.
const (
	packetSize  = 48
	version     = 4
	leapUnknown = 3  // the clock is not synchronised
	maxStratum  = 16 // not synchronised; 0 on the wire
	modeClient  = 3
	modeServer  = 4
)

// maxDistance is where a clock is as good as none: MAXDISP, 16 s (RFC 5905, figure 7).
const maxDistance = 16 * time.Second

// Packet is the header of an NTP packet (RFC 5905, section 7.3). Extension
// fields and authenticators behind it are neither read nor written.
type Packet struct {
	Leap           uint8 // 0 none, 1 a second more, 2 a second less at the end of the month, 3 not synchronised
	Version        uint8
	Mode           uint8 // 3 client, 4 server
	Stratum        uint8
	Poll           int8          // log2 of seconds
	Precision      int8          // log2 of seconds
	RootDelay      time.Duration // 0 to 65,536 s; written in steps of 15.3 µs, rounded up
	RootDispersion time.Duration
	RefID          [4]byte
	Reference      Timestamp
	Origin         Timestamp
	Receive        Timestamp
	Transmit       Timestamp
}

// ErrMalformed says that the bytes are not an NTP packet.
var ErrMalformed = errors.New("not an NTP packet")

// Parse reads the header that b begins with.
func (p *Packet) Parse(b []byte) error {
	if len(b) < packetSize {
		return fmt.Errorf("%w: %d bytes, less than %d", ErrMalformed, len(b), packetSize)
	}
	be := binary.BigEndian
	*p = Packet{
		Leap: b[0] >> 6, Version: b[0] >> 3 & 7, Mode: b[0] & 7,
		Stratum: b[1], Poll: int8(b[2]), Precision: int8(b[3]),
		RootDelay: fromShort(be.Uint32(b[4:])), RootDispersion: fromShort(be.Uint32(b[8:])), RefID: [4]byte(b[12:]),
		Reference: Timestamp(be.Uint64(b[16:])), Origin: Timestamp(be.Uint64(b[24:])),
		Receive: Timestamp(be.Uint64(b[32:])), Transmit: Timestamp(be.Uint64(b[40:])),
	}
	return nil
}

// Append appends the header to b.
func (p *Packet) Append(b []byte) []byte {
	be := binary.BigEndian
	b = append(b, p.Leap<<6|p.Version&7<<3|p.Mode&7, p.Stratum, byte(p.Poll), byte(p.Precision))
	b = be.AppendUint32(b, toShort(p.RootDelay))
	b = be.AppendUint32(b, toShort(p.RootDispersion))
	b = append(b, p.RefID[:]...)
	for _, t := range []Timestamp{p.Reference, p.Origin, p.Receive, p.Transmit} {
		b = be.AppendUint64(b, uint64(t))
	}
	return b
}

// fromShort reads the NTP short format, 16 bits of seconds and 16 of fraction,
// rounded up: what is written in it are bounds.
func fromShort(s uint32) time.Duration {
	return time.Duration((uint64(s)*uint64(time.Second) + 1<<16 - 1) >> 16)
}

func toShort(d time.Duration) uint32 {
	switch {
	case d <= 0:
		return 0
	case d >= 1<<16*time.Second:
		return math.MaxUint32
	}
	sec, rest := uint64(d/time.Second), uint64(d%time.Second)
	s := sec<<16 + (rest<<16)/uint64(time.Second)
	if fromShort(uint32(s)) < d {
		s++
	}
	return uint32(min(s, math.MaxUint32))
}

// Timestamp is the NTP timestamp format: seconds since 1900 modulo 2^32, and 32
// bits of fraction. 0 means 'none'.
type Timestamp uint64

// The NTP era 0 began 70 years, 17 of them leap years, before Unix time.
const unixToNTP = (70*365 + 17) * 86400

// At is the timestamp of an instant.
func At(t time.Time) Timestamp {
	// Rounded up to the next 2^-32 s, so that Time gives the same nanosecond.
	frac := (uint64(t.Nanosecond())<<32 + uint64(time.Second) - 1) / uint64(time.Second)
	return Timestamp(uint64(t.Unix()+unixToNTP)<<32 | frac)
}

// Time is the instant of a timestamp. Of the eras, which are 136 years long, it
// takes the one that brings it nearest to near.
func (ts Timestamp) Time(near time.Time) time.Time {
	sec := near.Unix() + unixToNTP
	sec += int64(int32(uint32(ts>>32) - uint32(sec)))
	return time.Unix(sec-unixToNTP, int64(uint64(uint32(ts))*uint64(time.Second)>>32))
}

// refWords shows a reference identifier: a name where it stands for one
// (stratum 0 and 1), else an address (RFC 5905, figure 12).
func refWords(stratum uint8, id [4]byte) string {
	if stratum > 1 {
		return fmt.Sprintf("%d.%d.%d.%d", id[0], id[1], id[2], id[3])
	}
	n := 0
	for ; n < 4 && id[n] != 0; n++ {
		if id[n] <= ' ' || id[n] > '~' {
			return fmt.Sprintf("%x", id)
		}
	}
	return string(id[:n])
}
