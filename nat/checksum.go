package nat

import "encoding/binary"

// sum adds the bytes of b to a ones' complement sum as RFC 1071 does, as if
// they began at an even offset.
func sum(s uint64, b []byte) uint64 {
	for len(b) >= 4 {
		s += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

// fold brings a sum down to 16 bits.
func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// change is what edits do to a ones' complement sum: the new words and the
// complements of the old ones.
type change uint64

// patch brings the checksum at b[at:] up to date, HC' = ~(~HC + ~m + m') of RFC
// 1624. A sum that was wrong stays wrong by as much.
func (c change) patch(b []byte, at int) {
	if c == 0 {
		return
	}
	old := binary.BigEndian.Uint16(b[at:])
	binary.BigEndian.PutUint16(b[at:], ^fold(uint64(^old)+uint64(c)))
}

// put16 writes v at the even offset at.
func (c *change) put16(b []byte, at int, v uint16) {
	*c += change(^binary.BigEndian.Uint16(b[at:])) + change(v)
	binary.BigEndian.PutUint16(b[at:], v)
}

// put32 writes v at the even offset at.
func (c *change) put32(b []byte, at int, v uint32) {
	*c += change(^binary.BigEndian.Uint32(b[at:])) + change(v)
	binary.BigEndian.PutUint32(b[at:], v)
}

// put8 writes v at any offset.
func (c *change) put8(b []byte, at int, v uint8) {
	shift := 8 * uint(1-at&1)
	*c += change(^(uint16(b[at]) << shift)) + change(v)<<shift
	b[at] = v
}

// putAny writes v at any offset: TCP options are not aligned.
func (c *change) putAny(b []byte, at int, v uint32) {
	for i := range 4 {
		c.put8(b, at+i, uint8(v>>(24-8*i)))
	}
}
