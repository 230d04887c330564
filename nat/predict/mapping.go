package predict

import (
	"fmt"
	"math"
	"net/netip"
)

// Mapping is when a NAT uses a mapping again for another connection of the same
// internal endpoint (RFC 4787 section 4.1).
type Mapping uint8

// The mapping behaviours.
const (
	EndpointIndependent  Mapping = iota // for every destination
	AddressDependent                    // for the same destination address
	AddressPortDependent                // for the same destination address and port
	PerConnection                       // never: a new port even for the same 5-tuple
)

var mappingNames = [...]string{"endpoint-independent", "address-dependent", "address-and-port-dependent", "per-connection"}

func (m Mapping) String() string { return nameOf(mappingNames[:], int(m)) }

// MarshalText writes the name.
func (m Mapping) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Allocation is how a NAT chooses the external port of a new mapping.
type Allocation uint8

// The ways to allocate.
const (
	Preserving Allocation = iota // the local port, if it is free
	Offset                       // the local port plus a constant
	Sequential                   // the last one given out plus a constant
	Clock                        // a counter that runs with time
	Block                        // any of a subscriber's block of ports
	Band                         // any of a range that is not known beforehand
	Random                       // any of a usual range
)

var allocationNames = [...]string{"preserving", "offset", "sequential", "clock", "block", "band", "random"}

func (a Allocation) String() string { return nameOf(allocationNames[:], int(a)) }

// MarshalText writes the name.
func (a Allocation) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Scope is who shares a counter, a block or a band.
type Scope uint8

// The scopes. An external address always has its own.
const (
	Global      Scope = iota // all mappings
	PerHost                  // the mappings of one internal address
	PerAddress               // the mappings to one destination address
	PerEndpoint              // the mappings to one destination address and port
	nScopes
)

var scopeNames = [...]string{"global", "per-host", "per-destination-address", "per-destination"}

func (s Scope) String() string { return nameOf(scopeNames[:], int(s)) }

// MarshalText writes the name.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("unknown (%d)", i)
}

// key is what mappings or counters are told apart by.
type key struct {
	local netip.AddrPort
	dest  netip.AddrPort
	ext   netip.Addr
}

// mappingKey is what two connections have in common when m gives them one mapping.
func (m Mapping) key(o *Observation) key {
	switch m {
	case EndpointIndependent:
		return key{local: o.Local}
	case AddressDependent:
		return key{local: o.Local, dest: netip.AddrPortFrom(o.Dest.Addr(), 0)}
	}
	return key{local: o.Local, dest: o.Dest}
}

// key is what two mappings have in common when they share a counter.
func (s Scope) key(o *Observation) key {
	k := key{ext: o.External.Addr()}
	switch s {
	case PerHost:
		k.local = netip.AddrPortFrom(o.Local.Addr(), 0)
	case PerAddress:
		k.dest = netip.AddrPortFrom(o.Dest.Addr(), 0)
	case PerEndpoint:
		k.dest = o.Dest
	}
	return k
}

// reuse is what a mapping behaviour says about the observations: which of them
// used a mapping again, and how probable that is.
type reuse struct {
	fresh   []int       // observations that made a new mapping
	from    []int       // for each observation: the one whose mapping it used again, or -1
	before  map[key]int // the last observation with each key
	logLik  float64
	each    []float64 // for each observation: the logarithm of the probability of using one again, or of not doing so
	repeats float64   // observations that could have used one again
	broken  float64   // those that did not
}

// reuse walks through the observations.
func (m Mapping) reuse(obs []Observation, times []float64) *reuse {
	r := &reuse{from: make([]int, len(obs)), each: make([]float64, len(obs)), before: make(map[key]int, len(obs))}
	for i := range obs {
		r.from[i] = -1
		prev, p := r.keep(m, &obs[i], times[i], times)
		if prev < 0 {
			r.fresh = append(r.fresh, i)
		} else {
			r.repeats++
			if obs[prev].External == obs[i].External {
				r.from[i] = prev
				r.each[i] = math.Log(p)
			} else {
				r.fresh = append(r.fresh, i)
				r.broken += p // an old mapping that has gone says little
				r.each[i] = math.Log1p(-p)
			}
			r.logLik += r.each[i]
		}
		if m != PerConnection {
			r.before[m.key(&obs[i])] = i
		}
	}
	return r
}

// keep finds the mapping that a connection would use again and the probability
// that it does; -1 when there is none.
func (r *reuse) keep(m Mapping, o *Observation, t float64, times []float64) (prev int, p float64) {
	prev, ok := r.before[m.key(o)]
	if !ok || m == PerConnection {
		return -1, 0
	}
	age := (t - times[prev]) / keepFor
	// Beta(1.9, 0.1) beforehand: 5 % of repeats break the rule.
	return prev, (1.9 + r.repeats - r.broken) / (2 + r.repeats) / (1 + age*age)
}
