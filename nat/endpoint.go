package nat

import (
	"encoding/binary"
	"net/netip"
)

// ip is an IPv4 or IPv6 address as a key of maps: it hashes as plain memory.
// IPv4 is in its mapped form (RFC 4291 section 2.5.5.2).
type ip struct{ hi, lo uint64 }

const mapped = 0xffff << 32

func ip4(v uint32) ip { return ip{0, mapped | uint64(v)} }

func (a ip) is4() bool { return a.hi == 0 && a.lo>>32 == 0xffff }

func ipFrom(a netip.Addr) ip {
	b := a.As16()
	return ip{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (a ip) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b).Unmap()
}

// endpoint is an address and a port.
type endpoint struct {
	ip
	port uint64 // 16 bits; a whole word leaves no gap in a key
}

func (e endpoint) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(e.addr(), uint16(e.port))
}

// pair is a key of two endpoints.
type key struct {
	a, b  ip
	ports uint64
}

func keyOf(a, b endpoint) key { return key{a.ip, b.ip, a.port<<16 | b.port} }
