package nat

import "time"

// allocate chooses the external endpoint of a new mapping; false if none is free.
func (n *NAT) allocate(in, remote endpoint, h *host) (endpoint, bool) {
	if n.translation(in.ip) == None {
		return in, n.byOut[keyOf(in, remote)] == nil
	}
	if n.b.Translation == OneToOne {
		out := endpoint{n.public[h.public], in.port}
		owner, owned := n.owners[out.ip]
		if owned && owner != in.ip {
			return out, false
		}
		n.owners[out.ip] = in.ip
		return out, n.byOut[keyOf(out, remote)] == nil
	}
	if n.b.ReuseMapping {
		if m := n.sources[in]; m != nil && n.byOut[keyOf(m.out, remote)] == nil {
			return m.out, true
		}
	}
	first := h.public
	if n.b.Pooling == Arbitrary {
		first = n.intn(len(n.public))
	}
	for i := range n.public {
		a := n.public[(first+i)%len(n.public)]
		if port, ok := n.port(in, remote, h, a); ok {
			return endpoint{a, uint64(port)}, true
		}
		if n.b.Pooling == Paired {
			break
		}
	}
	return endpoint{}, false
}

// free reports whether a port of a public address may be given to a mapping.
func (n *NAT) free(a ip, port uint16, in, remote endpoint) bool {
	out := endpoint{a, uint64(port)}
	if n.b.HoldDown > 0 {
		if until, ok := n.held[out]; ok && n.now < until {
			return false
		} else if ok {
			delete(n.held, out)
		}
	}
	if n.b.overloads() {
		return n.byOut[keyOf(out, remote)] == nil
	}
	return n.externals[out] == nil
}

// fits reports whether the parity of a port is right.
func (n *NAT) fits(port uint16, in endpoint) bool {
	switch n.b.Parity {
	case ParityKeep:
		return port&1 == uint16(in.port)&1
	case ParityEven:
		return port&1 == 0
	case ParityOdd:
		return port&1 == 1
	}
	return true
}

// port chooses a port of the address a.
func (n *NAT) port(in, remote endpoint, h *host, a ip) (uint16, bool) {
	r := n.b.Ports.or1024()
	if n.b.WellKnown && in.port < 1024 {
		// As Linux keeps them apart: nf_nat_l4proto_unique_tuple in nf_nat_core.c.
		if r = (PortRange{600, 1023}); in.port < 512 {
			r = PortRange{1, 511}
		}
	}
	ok := func(port uint16) bool { return n.fits(port, in) && n.free(a, port, in, remote) }
	switch n.b.Allocation {
	case Preserving, Offset:
		want := n.preferred(r, int(in.port))
		keep := r.contains(uint16(in.port)) || n.b.WellKnown && in.port < 1024
		if (n.b.Allocation == Offset || keep) && ok(want) {
			return want, true
		}
		switch n.b.Collision {
		case CollisionNext:
			return scan(r, want, 1, ok)
		case CollisionFirst:
			return scan(r, r.First, 1, ok)
		}
		return n.random(r, ok)
	case Sequential:
		return n.sequential(r, in, remote, ok)
	case Block:
		return n.fromBlock(r, h, a, ok)
	case Clock:
		return scan(r, wrap(r, int(n.start(r))+n.ticks(r)), 1, ok)
	}
	return n.random(r, ok)
}

// ticks is how far the clock has driven the counter, in ports of the range.
func (n *NAT) ticks(r PortRange) int {
	rate, second := int64(max(n.b.ClockRate, 1)), int64(time.Second)
	whole := n.now / second % int64(r.size()) * (rate % int64(r.size()))
	return int((whole + n.now%second*rate/second) % int64(r.size()))
}

// preferred is the port that preserving and offset try first.
func (n *NAT) preferred(r PortRange, port int) uint16 {
	if n.b.Allocation == Offset {
		return wrap(r, port+n.b.Offset)
	}
	if !r.contains(uint16(port)) && !(n.b.WellKnown && port < 1024) {
		return wrap(r, port)
	}
	return uint16(port)
}

// wrap brings a number into a range of ports.
func wrap(r PortRange, port int) uint16 {
	size := r.size()
	i := (port - int(r.First)) % size
	if i < 0 {
		i += size
	}
	return uint16(int(r.First) + i)
}

// scan looks for a port from start on.
func scan(r PortRange, start uint16, step int, ok func(uint16) bool) (uint16, bool) {
	port := wrap(r, int(start))
	for range r.size() {
		if ok(port) {
			return port, true
		}
		port = wrap(r, int(port)+step)
	}
	return 0, false
}

// randomDraws is how often a port is drawn before the rest is searched from
// one place on, chosen by us: with nine tenths of the ports taken, one time in
// a thousand it is not enough.
const randomDraws = 64

func (n *NAT) random(r PortRange, ok func(uint16) bool) (uint16, bool) {
	for range randomDraws {
		if port := n.draw(r); ok(port) {
			return port, true
		}
	}
	return scan(r, n.draw(r), 1, ok)
}

func (n *NAT) draw(r PortRange) uint16 { return r.First + uint16(n.intn(r.size())) }

// intn is uniform over 0 to k-1, as closely as 32 bits allow.
func (n *NAT) intn(k int) int { return int(uint64(uint32(n.rng.Uint64())) * uint64(k) >> 32) }

// start is the first port of a counter.
func (n *NAT) start(r PortRange) uint16 {
	if n.b.Start != 0 {
		return n.b.Start
	}
	if n.first == 0 {
		n.first = n.draw(r)
	}
	return n.first
}

func (n *NAT) sequential(r PortRange, in, remote endpoint, ok func(uint16) bool) (uint16, bool) {
	var k key
	switch n.b.Counter {
	case CounterHost:
		k.a = in.ip
	case CounterDestination:
		k.a, k.b = in.ip, remote.ip
	}
	next, known := n.sequence[k]
	if !known {
		next = n.start(r)
		if n.b.Counter != CounterGlobal && n.b.Start == 0 {
			next = n.draw(r)
		}
	}
	delta := or(n.b.Delta, 1)
	port, found := scan(r, next, delta, ok)
	if found {
		n.sequence[k] = wrap(r, int(port)+delta)
	}
	return port, found
}

// fromBlock takes a port of the host's blocks, the one used last first, and of
// another block if they are full.
func (n *NAT) fromBlock(r PortRange, h *host, a ip, ok func(uint16) bool) (uint16, bool) {
	for i := range h.blocks {
		j := (h.block + i) % len(h.blocks)
		if port, found := n.inBlock(h.blocks[j], a, ok); found {
			h.block = j
			return port, true
		}
	}
	if !n.addBlock(r, h, a) {
		return 0, false
	}
	h.block = len(h.blocks) - 1
	return n.inBlock(h.blocks[h.block], a, ok)
}

func (n *NAT) inBlock(block endpoint, a ip, ok func(uint16) bool) (uint16, bool) {
	if block.ip != a {
		return 0, false
	}
	first := uint16(block.port)
	r := PortRange{first, first + uint16(or(n.b.BlockSize, blockSize)-1)}
	if n.b.BlockOrder == OrderSequential {
		return scan(r, first, 1, ok)
	}
	return scan(r, n.draw(r), 1, ok)
}

func (n *NAT) addBlock(r PortRange, h *host, a ip) bool {
	if len(h.blocks) >= max(n.b.Blocks, 1) {
		return false
	}
	size := or(n.b.BlockSize, blockSize)
	count := r.size() / size
	i := 0
	if n.b.BlockOrder == OrderRandom {
		i = n.intn(count)
	}
	for range count {
		block := endpoint{a, uint64(int(r.First) + i*size)}
		if n.blocks[block] == nil {
			n.blocks[block] = h
			h.blocks = append(h.blocks, block)
			return true
		}
		i = (i + 1) % count
	}
	return false
}
