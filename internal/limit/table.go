package limit

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// slots is the size of every table: 512 KiB. Two networks share a bucket with
// a probability of one in 65,536, and which ones nobody can arrange: the hash
// has a secret of its own in each table.
const slots = 1 << 16

// Table is a set of token buckets. It is safe for concurrent use and has no
// clock. A nil Table allows everything.
type Table struct {
	seed  maphash.Seed
	every int64               // ns between two tokens
	depth int64               // ns that a full bucket is ahead of an empty one
	due   [slots]atomic.Int64 // ns after base when the bucket will be full again
	base  time.Time
}

// New makes a table in which each network may have burst answers at once and
// rate answers a second on end. base is any instant not after the first Allow,
// with a monotonic reading. A rate of 0 or less gives nil, which allows everything.
func New(rate float64, burst int, base time.Time) *Table {
	if rate <= 0 {
		return nil
	}
	every := max(1, int64(float64(time.Second)/rate))
	return &Table{seed: maphash.MakeSeed(), every: every, depth: every * int64(max(burst, 1)), base: base}
}

// Allow takes a token from the bucket of a's network, if there is one. Several
// hosts of one subscriber share a network: see Network.
func (t *Table) Allow(a netip.Addr, now time.Time) bool {
	if t == nil {
		return true
	}
	slot := &t.due[maphash.Comparable(t.seed, Network(a))%slots]
	at := int64(now.Sub(t.base))
	for {
		due := slot.Load()
		next := max(due, at) + t.every
		if next-at > t.depth {
			return false
		}
		if slot.CompareAndSwap(due, next) {
			return true
		}
	}
}

// Network is what counts as one client: an IPv4 address, or the /64 of an IPv6
// address, which is the least that a subscriber gets (RFC 6177).
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero Prefix for the zero Addr
	return p
}
