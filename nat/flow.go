package nat

import "time"

// flow is one TCP connection through the NAT.
type flow struct {
	m          *mapping
	in, out    endpoint // of the inside host: as it knows itself, as the outside knows it
	remote     endpoint
	number     uint64 // of those ever made
	reverse    bool   // begun from outside
	isn        uint32 // of the inside's SYN, as it sent it
	hasISN     bool
	synack     bool   // begun with a SYN-ACK: knob outbound-synack new
	seqShift   uint32 // added to the inside's sequence numbers
	tsShift    uint32 // added to the inside's timestamps
	basic      basic
	track      conntrack
	expires    int64 // nanoseconds since the NAT's first packet
	due        int64 // key in the heap; never after expires
	heap       int   // place in the heap
	next, prev *flow // of the mapping
}

// direction is that of a packet from side, as the tracker counts: 0 as the first packet.
func (f *flow) direction(side Side) uint8 {
	if f.reverse {
		return uint8(1 - side)
	}
	return uint8(side)
}

// mapping binds an inside endpoint to an external one for a scope of remotes.
type mapping struct {
	in, out endpoint
	scope   endpoint // the remotes it is for: zero, an address, an endpoint
	scoped  bool     // it is in n.scopes
	host    *host
	flows   *flow
	// Of the lists of those with the same inside and the same external endpoint, the newest first.
	nextIn, nextOut *mapping
}

// host is an inside host that has mappings: RFC 6888's subscriber.
type host struct {
	addr     ip
	public   int // index of its address
	mappings int
	blocks   []endpoint // first port of each block
	block    int        // index of the one used last
	tat      int64      // theoretical arrival time of the rate limit (as in GCRA)
}

// scope is what of the remote a mapping depends on.
func (n *NAT) scope(remote endpoint) endpoint {
	switch n.b.Mapping {
	case EIM:
		return endpoint{}
	case ADM:
		return endpoint{ip: remote.ip}
	}
	return remote
}

// shares reports whether flows share mappings. Otherwise each has its own.
func (n *NAT) shares() bool { return n.b.Mapping == EIM || n.b.Mapping == ADM }

// findMapping is the mapping that a new flow from inside uses, if there is one.
func (n *NAT) findMapping(in, remote endpoint) *mapping {
	if n.shares() {
		if m := n.scopes[keyOf(in, n.scope(remote))]; m != nil && n.byOut[keyOf(m.out, remote)] == nil {
			return m
		}
	}
	return nil
}

// addMapping makes a mapping.
func (n *NAT) addMapping(in, out, remote endpoint, h *host) *mapping {
	m := take(&n.freeMappings)
	*m = mapping{in: in, out: out, scope: n.scope(remote), host: h}
	if n.shares() {
		k := keyOf(in, m.scope)
		if n.scopes[k] == nil {
			n.scopes[k], m.scoped = m, true
		}
	}
	if n.b.ReuseMapping {
		m.nextIn = n.sources[in]
		n.sources[in] = m
	}
	m.nextOut = n.externals[out]
	n.externals[out] = m
	h.mappings++
	n.mappings++
	n.counters.MappingsMade++
	return m
}

func (n *NAT) removeMapping(m *mapping) {
	if m.scoped {
		delete(n.scopes, keyOf(m.in, m.scope))
	}
	if n.b.ReuseMapping {
		unlink(n.sources, m.in, m, func(m *mapping) **mapping { return &m.nextIn })
	}
	unlink(n.externals, m.out, m, func(m *mapping) **mapping { return &m.nextOut })
	if n.b.HoldDown > 0 && m.out != m.in && n.externals[m.out] == nil {
		n.held[m.out] = n.now + int64(n.b.HoldDown)
	}
	n.mappings--
	m.host.mappings--
	if m.host.mappings == 0 {
		n.removeHost(m.host)
	}
	n.freeMappings = append(n.freeMappings, m)
}

// unlink takes m out of the list that begins in lists[at].
func unlink(lists map[endpoint]*mapping, at endpoint, m *mapping, next func(*mapping) **mapping) {
	first := lists[at]
	if first == m {
		if rest := *next(m); rest != nil {
			lists[at] = rest
		} else {
			delete(lists, at)
		}
		return
	}
	for first != nil {
		if p := next(first); *p == m {
			*p = *next(m)
			return
		}
		first = *next(first)
	}
}

// addFlow makes a flow on a mapping.
func (n *NAT) addFlow(m *mapping, remote endpoint, reverse bool) *flow {
	f := take(&n.freeFlows)
	*f = flow{m: m, in: m.in, out: m.out, remote: remote, number: n.counters.FlowsMade, reverse: reverse, next: m.flows}
	if m.flows != nil {
		m.flows.prev = f
	}
	m.flows = f
	if n.b.RewriteSequence {
		f.seqShift = uint32(n.rng.Uint64())
	}
	if n.b.RewriteTimestamps {
		f.tsShift = uint32(n.rng.Uint64())
	}
	n.byOut[keyOf(f.out, remote)] = f
	if k := keyOf(f.in, remote); !reverse || n.byIn[k] == nil {
		n.byIn[k] = f
	}
	n.counters.FlowsMade++
	return f
}

func (n *NAT) removeFlow(f *flow) {
	delete(n.byOut, keyOf(f.out, f.remote))
	n.expiry.remove(f)
	if k := keyOf(f.in, f.remote); n.byIn[k] == f {
		delete(n.byIn, k)
		n.heir(k)
	}
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		f.m.flows = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	}
	if f.m.flows == nil {
		n.removeMapping(f.m)
	}
	n.freeFlows = append(n.freeFlows, f)
}

// heir finds another flow of the same inside endpoint and remote: from
// outside on another mapping, or of an earlier connection. The latest is it.
func (n *NAT) heir(k key) {
	if len(n.expiry) == len(n.byIn) {
		return // each flow has a key of its own
	}
	var heir *flow
	for _, f := range n.expiry {
		if keyOf(f.in, f.remote) == k && (heir == nil || f.number > heir.number) {
			heir = f
		}
	}
	if heir != nil {
		n.byIn[k] = heir
	}
}

// take reuses what was given back, or allocates.
func take[T any](free *[]*T) *T {
	if l := len(*free); l > 0 {
		x := (*free)[l-1]
		*free = (*free)[:l-1]
		return x
	}
	return new(T)
}

// hostOf finds the host of an inside address or makes it.
func (n *NAT) hostOf(a ip) *host {
	if h := n.hosts[a]; h != nil {
		return h
	}
	h := take(&n.freeHosts)
	*h = host{addr: a, blocks: h.blocks[:0], public: n.nextPublic}
	if len(n.public) > 0 {
		n.nextPublic = (n.nextPublic + 1) % len(n.public)
	}
	n.hosts[a] = h
	return h
}

// removeHost forgets a host, unless something is to be remembered of it: its
// public address, or how fast it makes mappings.
func (n *NAT) removeHost(h *host) {
	for _, b := range h.blocks {
		delete(n.blocks, b)
	}
	h.blocks, h.block = h.blocks[:0], 0
	if len(n.public) > 1 || n.b.SYNRate > 0 || n.b.Translation == OneToOne {
		return
	}
	delete(n.hosts, h.addr)
	n.freeHosts = append(n.freeHosts, h)
}

// quota reports whether h may have one more mapping.
func (n *NAT) quota(h *host) bool {
	if n.b.MaxMappings > 0 && h.mappings >= n.b.MaxMappings {
		return false
	}
	if n.b.SYNRate > 0 {
		// One token each 1/rate seconds, a bucket of one second's worth.
		step := int64(time.Second) / int64(n.b.SYNRate)
		tat := max(h.tat, n.now)
		if tat-n.now > int64(time.Second)-step {
			return false
		}
		h.tat = tat + step
	}
	return true
}
