package predict

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"
)

// maxObservations is how many observations count, the latest: a NAT that
// changed its ways an hour ago is not the NAT of now, and time is spent on each.
const maxObservations = 1024

// negligible is the weight, relative to the heaviest, at which a hypothesis is
// left out (natural logarithm).
const negligible = -25

// Predictor holds what observations say about a NAT. It does not change and is safe
// for concurrent use.
type Predictor struct {
	obs   []Observation
	times []float64 // s since the first observation
	timed bool

	reuses  [len(mappingNames)]*reuse
	mapping [len(mappingNames)]float64 // posterior
	fresh   []*freshSet                // one for each different set of new mappings
	setOf   [len(mappingNames)]int     // the set of each mapping behaviour
}

// freshSet is a series of new mappings and what each hypothesis says about them.
type freshSet struct {
	events []*event
	last   [nScopes]map[key]*event // the last event of each counter
	hyps   []*hypothesis           // those that are not negligible
}

// hypothesis is one way to allocate, with its parameters.
type hypothesis struct {
	kind   Allocation
	scope  Scope
	model  model
	prior  float64 // logarithm
	logLik float64
	root   int                        // equal for those that differ in scope only and share their state
	weight [len(mappingNames)]float64 // posterior, together with each mapping behaviour
}

// Target is a connection whose external port is asked for.
type Target struct {
	// Local is the internal endpoint. Zero: that of the last observation.
	Local netip.AddrPort
	// Dest is the endpoint that will be connected to. Zero: one that was not
	// seen before.
	Dest netip.AddrPort
	// External is the NAT's public address. Zero: the one that Local's host was
	// last seen with, or else anybody.
	External netip.Addr
	// Time is when the SYN will leave. Zero: as long after the last observation as
	// observations are apart in the median (1 s if there is one).
	Time time.Time
}

// New computes what obs say. Observations with times may be in any order; without times they
// must be in the order in which they happened. No observations are fine: the
// answer is then what is known about NATs in general. Of more than 1024 the latest 1024
// count. Errors wrap [ErrObservation] or [ErrContradiction].
func New(obs []Observation) (*Predictor, error) {
	sorted, timed, err := check(obs)
	if err != nil {
		return nil, fmt.Errorf("predict: %w", err)
	}
	if len(sorted) > maxObservations {
		sorted = sorted[len(sorted)-maxObservations:]
	}
	p := &Predictor{obs: sorted, timed: timed, times: make([]float64, len(sorted))}
	for i := range sorted {
		if timed {
			p.times[i] = sorted[i].Time.Sub(sorted[0].Time).Seconds()
		} else {
			p.times[i] = float64(i) * assumedGap.Seconds()
		}
	}
	for m := range p.reuses {
		r := Mapping(m).reuse(p.obs, p.times)
		p.reuses[m] = r
		p.setOf[m] = -1
		for other := range m {
			if slices.Equal(p.reuses[other].fresh, r.fresh) {
				p.setOf[m] = p.setOf[other]
			}
		}
		if p.setOf[m] < 0 {
			p.setOf[m] = len(p.fresh)
			p.fresh = append(p.fresh, p.newSet(r.fresh))
		}
	}
	p.weigh()
	return p, nil
}

// newSet evaluates every hypothesis on the observations that made new mappings.
func (p *Predictor) newSet(fresh []int) *freshSet {
	f := &freshSet{}
	for s := range f.last {
		f.last[s] = map[key]*event{}
	}
	for _, i := range fresh {
		o := &p.obs[i]
		e := &event{index: i, t: p.times[i], local: int(o.Local.Port()), port: int(o.External.Port())}
		for s := range nScopes {
			k := s.key(o)
			e.prev[s] = f.last[s][k]
			f.last[s][k] = e
		}
		f.events = append(f.events, e)
	}
	best := math.Inf(-1)
	var twins [nScopes]Scope // the first scope that groups the events in the same way
	for s := range nScopes {
		for twins[s] = 0; twins[s] < s; twins[s]++ {
			if !slices.ContainsFunc(f.events, func(e *event) bool { return e.prev[s] != e.prev[twins[s]] }) {
				break
			}
		}
	}
	root := 0
	candidates(f.events, func(kind Allocation, priors []float64, start func(Scope) model) {
		var done [nScopes]*hypothesis
		root++
		for s, prior := range priors {
			h := &hypothesis{kind: kind, scope: Scope(s), prior: math.Log(prior), root: root}
			if twin := twins[s]; int(twin) < s {
				// The likelihood is the same; what is said about a destination or a
				// host that was not seen is not.
				if done[twin] == nil {
					continue
				}
				h.logLik, h.model = done[twin].logLik, done[twin].model.(scoped).rescope(Scope(s))
			} else {
				h.model = start(Scope(s))
				for _, e := range f.events {
					h.logLik += math.Log(h.model.step(e))
					if h.prior+h.logLik < best+2*negligible {
						break
					}
				}
			}
			if h.prior+h.logLik < best+2*negligible {
				continue
			}
			best = max(best, h.prior+h.logLik)
			done[s] = h
			f.hyps = append(f.hyps, h)
		}
	})
	return f
}

// weigh computes the posterior probabilities.
func (p *Predictor) weigh() {
	weight := func(m int, h *hypothesis) float64 {
		return math.Log(mappingPrior[m]) + p.reuses[m].logLik + h.prior + h.logLik
	}
	best := math.Inf(-1)
	for m, f := range p.setOf {
		for _, h := range p.fresh[f].hyps {
			best = max(best, weight(m, h))
		}
	}
	sum := 0.0
	for m, f := range p.setOf {
		for _, h := range p.fresh[f].hyps {
			if w := weight(m, h) - best; w > negligible {
				h.weight[m] = math.Exp(w)
				sum += h.weight[m]
			}
		}
	}
	for m, f := range p.setOf {
		for _, h := range p.fresh[f].hyps {
			h.weight[m] /= sum
			p.mapping[m] += h.weight[m]
		}
	}
	for _, f := range p.fresh {
		f.hyps = slices.DeleteFunc(f.hyps, func(h *hypothesis) bool { return h.weight == [len(mappingNames)]float64{} })
	}
}

// unseen is a destination that no observation has.
var unseen = netip.MustParseAddrPort("[fe80::1%unseen]:1")

// Next is the distribution over the external port of the connection t, if it is
// the next one of its host. Errors wrap [ErrTarget].
func (p *Predictor) Next(t Target) (*Distribution, error) {
	o, at, err := p.target(t)
	if err != nil {
		return nil, fmt.Errorf("predict: %w", err)
	}
	var alone [len(mappingNames)]float64 // share of each mapping behaviour that makes a new mapping
	s := scratches.Get().(*scratch)
	for m, r := range p.reuses {
		prev, keep := r.keep(Mapping(m), o, at, p.times)
		if prev < 0 || p.obs[prev].External.Addr() != o.External.Addr() {
			keep = 0
		} else {
			s.point(int(p.obs[prev].External.Port()), keep*p.mapping[m])
		}
		alone[m] = 1 - keep
	}
	for i, f := range p.fresh {
		e := &event{index: -1, t: at, local: int(o.Local.Port())}
		for sc := range nScopes {
			e.prev[sc] = f.last[sc][sc.key(o)]
		}
		var lead *hypothesis
		w := 0.0
		flush := func() {
			if w > 1e-9 { // the rest is made up for by normalising
				lead.model.spread(e, w, s)
			}
			w = 0
		}
		for _, h := range f.hyps {
			if lead == nil || h.root != lead.root || e.prev[h.scope] != e.prev[lead.scope] {
				flush()
				lead = h
			}
			for m := range alone {
				if p.setOf[m] == i {
					w += h.weight[m] * alone[m]
				}
			}
		}
		flush()
	}
	return s.distribution(), nil
}

// target fills what t leaves open and returns it as an observation without port, with
// its time on the models' scale.
func (p *Predictor) target(t Target) (*Observation, float64, error) {
	o := &Observation{Local: unmap(t.Local), Dest: unmap(t.Dest), External: netip.AddrPortFrom(t.External.Unmap(), 0)}
	if o.Dest == (netip.AddrPort{}) {
		o.Dest = unseen
	}
	n := len(p.obs)
	if n == 0 {
		if o.Local.Port() == 0 {
			return nil, 0, fmt.Errorf("no observations and no local port: %w", ErrTarget)
		}
		return o, 0, nil
	}
	last := &p.obs[n-1]
	switch {
	case o.Local == (netip.AddrPort{}):
		o.Local = last.Local
	case o.Local.Port() == 0:
		return nil, 0, fmt.Errorf("local port 0: %w", ErrTarget)
	case !o.Local.Addr().IsValid():
		// A port alone: of the host that was seen last.
		o.Local = netip.AddrPortFrom(last.Local.Addr(), o.Local.Port())
	}
	if !t.External.IsValid() {
		o.External = netip.AddrPortFrom(p.External(o.Local), 0)
	}
	if t.Time.IsZero() {
		return o, p.times[n-1] + p.Gap().Seconds(), nil
	}
	if !p.timed {
		return nil, 0, fmt.Errorf("the observations carry no time, so none can be asked for: %w", ErrTarget)
	}
	at := t.Time.Sub(p.obs[0].Time).Seconds()
	if at < p.times[n-1] {
		return nil, 0, fmt.Errorf("%s is before the last observation (%s): %w", t.Time.Format(time.RFC3339Nano), last.Time.Format(time.RFC3339Nano), ErrTarget)
	}
	return o, at, nil
}

// External is the public address that the host of local was last seen with, or
// else that of the last observation: what Next assumes when Target has none. It is invalid when no
// observation has one.
func (p *Predictor) External(local netip.AddrPort) netip.Addr {
	if len(p.obs) == 0 {
		return netip.Addr{}
	}
	last := &p.obs[len(p.obs)-1]
	host := local.Addr().Unmap()
	if !host.IsValid() {
		host = last.Local.Addr()
	}
	for i := len(p.obs) - 1; i >= 0; i-- {
		if p.obs[i].Local.Addr() == host {
			return p.obs[i].External.Addr()
		}
	}
	return last.External.Addr()
}

// Gap is the median time between observations, 1 s if there are fewer than two or if they carry
// no time: what Next assumes when it is not told a time.
func (p *Predictor) Gap() time.Duration {
	if len(p.obs) < 2 || !p.timed {
		return assumedGap
	}
	gaps := make([]time.Duration, len(p.obs)-1)
	for i := range gaps {
		gaps[i] = p.obs[i+1].Time.Sub(p.obs[i].Time)
	}
	slices.SortFunc(gaps, cmp.Compare[time.Duration])
	return gaps[len(gaps)/2]
}

// Observations returns those that count, in the order in which they were taken; the caller must not
// change them.
func (p *Predictor) Observations() []Observation { return p.obs }

// Last is the time of the latest observation; zero if there is none or if they carry no time.
func (p *Predictor) Last() time.Time {
	if len(p.obs) == 0 {
		return time.Time{}
	}
	return p.obs[len(p.obs)-1].Time
}
