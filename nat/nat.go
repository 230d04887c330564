package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Side is a side of a NAT.
type Side uint8

// The sides.
const (
	Inside Side = iota
	Outside
)

func (s Side) String() string {
	if s == Inside {
		return "inside"
	}
	return "outside"
}

// Packet is a packet that leaves a NAT.
type Packet struct {
	Data []byte // from the IP header on
	To   Side
}

// Config is what a NAT has besides its behaviour.
type Config struct {
	// Public are the addresses outside. With translation napt and one-to-one there must be one
	// or more; all are IPv4. With none, those that are given are the NAT's own.
	Public []netip.Addr
	// Gateway are the NAT's own addresses inside: ICMP errors to the inside come
	// from the one of their family. Without one they come from the first public
	// address of the family or, failing that, from the host that they are about.
	Gateway []netip.Addr
	// Seed of every draw.
	Seed uint64
	// Alloc returns n bytes for a packet that the NAT makes itself; nil: make.
	Alloc func(n int) []byte
}

// NAT is one NAT. It is not safe for concurrent use.
type NAT struct {
	b   Behaviour
	cfg Config
	rng rand.PCG
}

// New makes a NAT. The error wraps ErrBehaviour (see Behaviour.Validate) or ErrConfig.
func New(b Behaviour, cfg *Config) (*NAT, error) {
	if err := b.Validate(); err != nil {
		return nil, err
	}
	n := &NAT{b: b}
	if cfg != nil {
		n.cfg = *cfg
	}
	if b.Translation != None && len(n.cfg.Public) == 0 {
		return nil, fmt.Errorf("nat: %w: translation %v needs a public address", ErrConfig, b.Translation)
	}
	n.rng.Seed(n.cfg.Seed, 0)
	return n, nil
}

// Outbound takes a packet that comes from inside at the time now and appends
// what leaves the NAT because of it to out: nothing, the translated packet, an answer. The NAT
// changes pkt in place, and Data of what it returns may be a part of it.
// Times must not run backwards.
func (n *NAT) Outbound(now time.Time, pkt []byte, out []Packet) []Packet { return out }

// Inbound is Outbound for a packet that comes from outside.
func (n *NAT) Inbound(now time.Time, pkt []byte, out []Packet) []Packet { return out }

// Tick appends what is due at the time now.
func (n *NAT) Tick(now time.Time, out []Packet) []Packet { return out }

// Deadline is when Tick will next have something to send, and whether that is ever.
func (n *NAT) Deadline() (time.Time, bool) { return time.Time{}, false }
