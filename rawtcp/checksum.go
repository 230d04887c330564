package rawtcp

import (
	"encoding/binary"
	"math/bits"
)

// checksumAdd adds b, as big-endian 16-bit words, to a running Internet
// checksum (RFC 1071). The sum is kept modulo 2^64-1, of which 2^16-1 is a
// divisor, so that eight bytes are added at a time; b may have an odd length
// only if nothing follows it.
func checksumAdd(sum uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	var tail uint64
	if len(b) >= 4 {
		tail = uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	switch len(b) {
	case 3:
		tail += uint64(b[0])<<8 | uint64(b[1])
		tail += uint64(b[2]) << 8
	case 2:
		tail += uint64(b[0])<<8 | uint64(b[1])
	case 1:
		tail += uint64(b[0]) << 8
	}
	sum, carry = bits.Add64(sum, tail, carry)
	return sum + carry // cannot overflow: a carry leaves sum below 2^64-1
}

// checksumFold ends a sum: the ones' complement of the 16-bit sum.
func checksumFold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum)
}
