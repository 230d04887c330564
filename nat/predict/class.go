package predict

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
)

// Class is what the observations say about the NAT: the likeliest hypothesis, and
// how sure it is. Probabilities are posterior probabilities, 0 to 1.
type Class struct {
	// Allocation is how ports are chosen, with the probability of that kind
	// whatever its parameters.
	Allocation  Allocation `json:"allocation"`
	AllocationP float64    `json:"allocation_p"`
	// Mapping is when a mapping is used again. Without two connections of one
	// local endpoint nothing is known about it, and MappingP is the prior.
	Mapping  Mapping `json:"mapping"`
	MappingP float64 `json:"mapping_p"`
	// Scope is who shares a counter, block or band; ScopeP is its probability among
	// the hypotheses of this allocation. Both are nil for allocations without one.
	Scope  *Scope   `json:"scope"`
	ScopeP *float64 `json:"scope_p"`
	// Delta is the step of a Sequential counter with its sign; the constant of an Offset. Else 0.
	Delta int `json:"delta"`
	// Low and High are the ends of the range, block or band; 0 when there is none.
	Low  int `json:"low"`
	High int `json:"high"`
	// Block is the size of the blocks; 0 when ports do not come in blocks.
	Block int `json:"block"`
	// Collision is what a Preserving NAT does when another mapping of the same host has the
	// port: "overload", "next", "random"; else "".
	Collision string `json:"collision"`
	// Parity: even ports for even local ports, odd for odd (RFC 4787 REQ-4).
	Parity bool `json:"parity"`
	// Load is the rate at which others make mappings, with a 90 % interval; all 0
	// unless the allocation is Sequential and others seem to share the counter.
	Load     float64 `json:"load_per_s"`
	LoadLow  float64 `json:"load_low_per_s"`
	LoadHigh float64 `json:"load_high_per_s"`
	// Rate is the speed of a Clock, ports per second.
	Rate float64 `json:"rate_per_s"`
	// Collisions is the share of new mappings that did not get the port which the
	// hypothesis says, as estimated (never 0: the next one may be the first).
	Collisions float64 `json:"collisions"`
	// Allocations and Mappings are the probabilities of all kinds, the first is
	// the one above; kinds below 0.1 % are left out.
	Allocations []Share `json:"allocations"`
	Mappings    []Share `json:"mappings"`
	// Externals are the public addresses that were seen, in order of appearance.
	Externals []netip.Addr `json:"externals"`
	// Evidence has an entry for each observation, in the order in which they were taken.
	Evidence []Evidence `json:"evidence"`
}

// Share is a kind and its probability.
type Share struct {
	Name string  `json:"name"`
	P    float64 `json:"p"`
}

// Evidence is what one observation says about the likeliest hypothesis.
type Evidence struct {
	// Line is where the observation stands in its file; without a file it is its place in what
	// New was given, from 1.
	Line int `json:"line"`
	// Local, Dest and Port are its local endpoint, destination and external port.
	Local string `json:"local"`
	Dest  string `json:"dest"`
	Port  uint16 `json:"port"`
	// Bits compares the hypothesis with 'any port from 1024 to 65535': positive speaks
	// for it, negative against.
	Bits float64 `json:"bits"`
	// Note says what the port was compared with.
	Note string `json:"note"`
	// Fits: the hypothesis explains the port.
	Fits bool `json:"fits"`
}

// Class names the likeliest hypothesis. Without observations it is the prior's.
func (p *Predictor) Class() Class {
	var alloc [len(allocationNames)]float64
	var best *hypothesis
	bestMapping := 0
	for i, f := range p.fresh {
		for _, h := range f.hyps {
			for m, w := range h.weight {
				if p.setOf[m] == i {
					alloc[h.kind] += w
				}
			}
		}
	}
	kind := Allocation(argmax(alloc[:]))
	bestMapping = argmax(p.mapping[:])
	set := p.setOf[bestMapping]
	var scopes [nScopes]float64
	for i, f := range p.fresh {
		for _, h := range f.hyps {
			if h.kind != kind {
				continue
			}
			for m, w := range h.weight {
				if p.setOf[m] == i {
					scopes[h.scope] += w
				}
			}
		}
	}
	scope := Scope(argmax(scopes[:]))
	for _, h := range p.fresh[set].hyps {
		if h.kind == kind && h.scope == scope && (best == nil || h.weight[bestMapping] > best.weight[bestMapping]) {
			best = h
		}
	}
	c := Class{
		Allocation: kind, AllocationP: min(1, alloc[kind]),
		Mapping: Mapping(bestMapping), MappingP: min(1, p.mapping[bestMapping]),
		Allocations: shares(alloc[:], allocationNames[:]), Mappings: shares(p.mapping[:], mappingNames[:]),
		Externals: []netip.Addr{}, Evidence: []Evidence{},
	}
	if kind == Sequential || kind == Block || kind == Band {
		share := min(1, scopes[scope]/alloc[kind])
		c.Scope, c.ScopeP = &scope, &share
	}
	for i := range p.obs {
		if a := p.obs[i].External.Addr(); a.IsValid() && !slices.Contains(c.Externals, a) {
			c.Externals = append(c.Externals, a)
		}
	}
	if best == nil { // the likeliest kind belongs to another mapping behaviour
		for m, i := range p.setOf {
			for _, h := range p.fresh[i].hyps {
				if h.kind == kind && h.scope == scope && (best == nil || h.weight[m] > best.weight[bestMapping]) {
					best, bestMapping, set = h, m, i
				}
			}
		}
	}
	c.describe(best, p.fresh[set])
	c.Evidence = p.evidence(best, bestMapping)
	return c
}

// argmax is the index of the largest value, the first of equal ones.
func argmax(v []float64) int {
	at := 0
	for i := range v {
		if v[i] > v[at] {
			at = i
		}
	}
	return at
}

func shares(p []float64, names []string) []Share {
	var list []Share
	for i, v := range p {
		if v >= 0.001 {
			list = append(list, Share{names[i], min(1, v)})
		}
	}
	slices.SortStableFunc(list, func(a, b Share) int {
		switch {
		case a.P > b.P:
			return -1
		case a.P < b.P:
			return 1
		}
		return 0
	})
	return list
}

// describe fills in the parameters.
func (c *Class) describe(h *hypothesis, f *freshSet) {
	var last *event
	if n := len(f.events); n > 0 {
		last = f.events[n-1]
	}
	within := func(s span) { c.Low, c.High = s.lo, s.hi }
	switch m := h.model.(type) {
	case *preserving:
		c.Collision, c.Collisions = [...]string{"overload", "next", "random"}[m.collision], m.p()
	case *offset:
		c.Delta, c.Collisions = m.value(), m.p()
	case *random:
		within(m.span)
		c.Parity, c.Collisions = m.parity, m.p()
	case *block:
		c.Block, c.Parity, c.Collisions = m.size, m.parity, m.p()
		if last != nil {
			within(around(last.port, m.size, m.origin))
		}
	case *band:
		if last != nil {
			if d := m.groups[last]; d != nil {
				within(span{d.lo, d.hi})
			}
		}
	case *sequential:
		c.Delta, c.Parity, c.Block, c.Collisions = m.delta, m.parity, m.block, m.p()
		if last != nil {
			within(m.within(last.port))
		} else {
			within(m.span)
		}
		c.Load, c.LoadLow, c.LoadHigh = m.rate()
	case *clock:
		within(m.span)
		c.Rate, c.Collisions = m.r, m.p()
	}
}

// evidence runs the likeliest hypothesis again and says at each observation what it
// thinks of it.
func (p *Predictor) evidence(h *hypothesis, mapping int) []Evidence {
	r := p.reuses[mapping]
	notes := make([]string, len(p.obs))
	logs := make([]float64, len(p.obs))
	copy(logs, r.each)
	fits := make([]bool, len(p.obs))
	var fresh model
	candidates(p.fresh[p.setOf[mapping]].events, func(kind Allocation, priors []float64, start func(Scope) model) {
		if kind != h.kind || int(h.scope) >= len(priors) || fresh != nil {
			return
		}
		if m := start(h.scope); sameParameters(m, h.model) {
			fresh = m
		}
	})
	for _, e := range p.fresh[p.setOf[mapping]].events {
		if fresh == nil {
			break
		}
		note := fresh.fits(e)
		fits[e.index] = note != ""
		switch {
		case note == "" && first(fresh, e):
			note, fits[e.index] = "the first: says where it starts", true
		case note == "":
			note = "does not fit"
		}
		if math.Abs(r.each[e.index]) > 1e-9 {
			note = "the mapping seen before was not used again; " + note
		}
		notes[e.index] = note
		logs[e.index] += math.Log(fresh.step(e))
	}
	chance := -math.Log(float64(usual.size()))
	list := make([]Evidence, len(p.obs))
	for i := range p.obs {
		o := &p.obs[i]
		if from := r.from[i]; from >= 0 {
			notes[i], fits[i] = fmt.Sprintf("the mapping of %s again", place(&p.obs[from])), true
		}
		list[i] = Evidence{
			Line: max(o.Line, -o.Line), Local: endpointString(o.Local), Dest: endpointString(o.Dest), Port: o.External.Port(),
			Bits: (logs[i] - chance) / math.Ln2, Note: notes[i], Fits: fits[i],
		}
	}
	return list
}

// first reports whether e only says where a counter, block, band or line begins.
func first(m model, e *event) bool {
	switch m := m.(type) {
	case *sequential:
		return e.prev[m.scope] == nil
	case *block:
		return e.prev[m.scope] == nil
	case *band:
		return e.prev[m.scope] == nil
	case *offset:
		return !m.known
	case *clock:
		return m.last == nil
	}
	return false
}

// sameParameters reports whether two models of one kind differ at most in what they
// have learned.
func sameParameters(a, b model) bool {
	switch x := a.(type) {
	case *preserving:
		y, ok := b.(*preserving)
		return ok && x.collision == y.collision
	case *random:
		y, ok := b.(*random)
		return ok && x.span == y.span && x.parity == y.parity
	case *block:
		y, ok := b.(*block)
		return ok && x.size == y.size && x.origin == y.origin && x.parity == y.parity
	case *sequential:
		y, ok := b.(*sequential)
		return ok && x.delta == y.delta && x.span == y.span && x.block == y.block && x.origin == y.origin && x.parity == y.parity &&
			x.load == y.load && x.mean == y.mean
	case *clock:
		y, ok := b.(*clock)
		return ok && x.span == y.span && x.noise == y.noise && x.sigma == y.sigma
	}
	return true // no parameters
}

// String is the class in words, one line.
func (c Class) String() string {
	var b strings.Builder
	b.WriteString(c.Describe())
	fmt.Fprintf(&b, " (%s); mappings %v (%s)", percent(c.AllocationP), c.Mapping, percent(c.MappingP))
	return b.String()
}

// Describe is the allocation and its parameters in words.
func (c Class) Describe() string {
	scope := func() string {
		if c.Scope == nil {
			return ""
		}
		return map[Scope]string{
			Global: ", one for all", PerHost: ", one for each internal host",
			PerAddress: ", one for each destination address", PerEndpoint: ", one for each destination address and port",
		}[*c.Scope]
	}
	parity := ""
	if c.Parity {
		parity = ", even for even and odd for odd local ports"
	}
	switch c.Allocation {
	case Preserving:
		way := map[string]string{"next": ", or the next free one", "random": ", or any if that is taken"}[c.Collision]
		return "preserving: the external port is the local port" + way
	case Offset:
		return fmt.Sprintf("fixed offset: the external port is the local port %s", signed(c.Delta))
	case Sequential:
		way := "upwards"
		if c.Delta < 0 {
			way = "downwards"
		}
		where := fmt.Sprintf("in %d-%d", c.Low, c.High)
		if c.Block > 0 {
			where = fmt.Sprintf("in blocks of %d, now %d-%d", c.Block, c.Low, c.High)
		}
		return fmt.Sprintf("sequential: %s by %d %s%s%s", way, abs(c.Delta), where, scope(), parity)
	case Clock:
		return fmt.Sprintf("clock: a counter that runs with time, %.3g ports a second", c.Rate)
	case Block:
		return fmt.Sprintf("block: any of %d ports, now %d-%d%s%s", c.Block, c.Low, c.High, scope(), parity)
	case Band:
		return fmt.Sprintf("band: any port of a range, seen %d-%d%s", c.Low, c.High, scope())
	}
	return fmt.Sprintf("random: any of %d-%d%s", c.Low, c.High, parity)
}

func percent(p float64) string {
	switch {
	case p > 0.999:
		return "> 99.9 %"
	case p < 0.001:
		return "< 0.1 %"
	case p >= 0.995 || p < 0.01:
		return fmt.Sprintf("%.1f %%", 100*p)
	}
	return fmt.Sprintf("%.0f %%", 100*p)
}
