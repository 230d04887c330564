package capture

import (
	"encoding/binary"
	"math/bits"
)

// fillTCPChecksum computes the checksum of the TCP segment in an IP packet whose
// sender left that to the adapter. It changes nothing unless the packet is TCP,
// whole, not a fragment and without IPv6 extension headers.
func fillTCPChecksum(ip []byte) {
	const tcp, tcpHeader, checksumAt = 6, 20, 16
	var addresses, segment []byte
	switch {
	case len(ip) >= 20 && ip[0]>>4 == 4:
		head := int(ip[0]&0xf) * 4
		total := int(binary.BigEndian.Uint16(ip[2:]))
		fragment := binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 // more fragments, or an offset
		if ip[9] != tcp || fragment || head < 20 || total < head || total > len(ip) {
			return
		}
		addresses, segment = ip[12:20], ip[head:total]
	case len(ip) >= 40 && ip[0]>>4 == 6:
		total := 40 + int(binary.BigEndian.Uint16(ip[4:]))
		if ip[6] != tcp || total > len(ip) {
			return
		}
		addresses, segment = ip[8:40], ip[40:total]
	}
	if len(segment) < tcpHeader {
		return
	}
	binary.BigEndian.PutUint16(segment[checksumAt:], 0)
	// The pseudo header (RFC 9293, section 3.1; RFC 8200, section 8.1).
	sum := uint64(tcp) + uint64(len(segment))
	sum = onesSum(sum, addresses)
	sum = onesSum(sum, segment)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(segment[checksumAt:], ^uint16(sum))
}

// onesSum adds big-endian 16-bit words to a one's complement sum, eight bytes at
// a time: 2^16 is 1 in that arithmetic, and so is 2^64.
func onesSum(sum uint64, b []byte) uint64 {
	var carry uint64
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), 0)
		sum += carry // cannot overflow again: a sum that carried is at most 2^64-2
		b = b[8:]
	}
	for len(b) >= 2 {
		sum, carry = bits.Add64(sum, uint64(binary.BigEndian.Uint16(b)), 0)
		sum += carry
		b = b[2:]
	}
	if len(b) == 1 {
		sum, carry = bits.Add64(sum, uint64(b[0])<<8, 0)
		sum += carry
	}
	return sum
}
