package predict

import (
	"cmp"
	"slices"
)

// candidates yields every hypothesis about new mappings that deserves a look, the
// broad ones first: those bound from below what is worth to be kept. priors has
// the weight for each scope; a model without scope has one weight.
func candidates(events []*event, yield func(kind Allocation, priors []float64, start func(Scope) model)) {
	plain := func(kind Allocation, prior float64, start func() model) {
		yield(kind, []float64{prior * allocationPrior[kind]}, func(Scope) model { return start() })
	}
	shared := func(kind Allocation, prior float64, scopes []float64, start func(Scope) model) {
		priors := make([]float64, len(scopes))
		for i, s := range scopes {
			priors[i] = prior * s * allocationPrior[kind]
		}
		yield(kind, priors, start)
	}
	parities := []struct {
		kept  bool
		prior float64
	}{{false, 1 - parityKept}, {true, parityKept}}

	for _, par := range parities {
		for _, sp := range spans {
			plain(Random, par.prior*sp.prior, func() model {
				return &random{misfit{0.1, 5}, sp.span, par.kept}
			})
		}
	}
	for c := range nCollisions {
		plain(Preserving, collisionPrior[c], func() model { return newPreserving(c) })
	}
	plain(Offset, 1, func() model { return newOffset() })
	shared(Band, 1, poolPrior[:], func(s Scope) model { return newBand(s) })
	for _, par := range parities {
		for _, b := range blockSizes {
			shared(Block, par.prior/float64(len(blockSizes)), poolPrior[:], func(s Scope) model {
				return &block{misfit: misfit{0.1, 5}, scope: s, size: b.size, origin: b.origin, parity: par.kept}
			})
		}
	}

	counters := func(delta int, prior float64, parity bool, sp span, size, origin int) {
		start := func(load load, mean float64) func(Scope) model {
			return func(s Scope) model {
				return &sequential{misfit: misfit{0.1, 5}, scope: s, delta: delta, span: sp, block: size, origin: origin, parity: parity,
					load: load, mean: mean, a: loadShape, b: loadShape / mean, c: burstEnds, d: burstGoesOn}
			}
		}
		shared(Sequential, prior*loadPrior[idle], counterPrior[:], start(idle, 1))
		for _, mean := range steadyRates {
			shared(Sequential, prior*loadPrior[steady]/float64(len(steadyRates)), counterPrior[:], start(steady, mean))
		}
		for _, mean := range burstRates {
			shared(Sequential, prior*loadPrior[bursts]/float64(len(burstRates)), counterPrior[:], start(bursts, mean))
		}
	}
	for _, d := range deltas(events) {
		for _, par := range parities {
			prior := d.prior
			if abs(d.delta) == 1 {
				prior *= par.prior
			} else if par.kept {
				continue
			}
			for _, sp := range spans {
				counters(d.delta, prior*sp.prior*(1-blockShare), par.kept, sp.span, 0, 0)
			}
			if par.kept || abs(d.delta) > 2 {
				continue
			}
			for _, b := range blockSizes {
				if inBlocks(events, b.size, b.origin) {
					counters(d.delta, prior*blockShare/float64(len(blockSizes)), false, span{}, b.size, b.origin)
				}
			}
		}
	}
	n := float64(len(clockNoise) * len(clockRate) * 2)
	for _, sp := range []span{spans[0].span, spans[2].span} {
		for _, noise := range clockNoise {
			for _, rate := range clockRate {
				plain(Clock, 1/n, func() model { return &clock{misfit: misfit{0.1, 5}, span: sp, noise: noise, sigma: rate} })
			}
		}
	}
}

// stepPrior is a delta that a counter may have, with its weight.
type stepPrior struct {
	delta int
	prior float64
}

// maxDeltas is how many deltas other than 1 and 2 are tried: those that were seen
// most often, because another one explains next to nothing.
const maxDeltas = 6

// deltas are the usual ones and those that are differences of successive ports.
func deltas(events []*event) []stepPrior {
	list := []stepPrior{{1, deltaPrior[1]}, {-1, deltaPrior[-1]}, {2, deltaPrior[2]}, {-2, deltaPrior[-2]}}
	seen := map[int]int{}
	for _, e := range events {
		for s, prev := range e.prev {
			if prev == nil || s > 0 && prev == e.prev[s-1] {
				continue
			}
			if gap := e.port - prev.port; abs(gap) > 2 && abs(gap) <= 1024 {
				seen[gap]++
			}
		}
	}
	var gaps []int
	for gap := range seen {
		gaps = append(gaps, gap)
	}
	slices.SortFunc(gaps, func(a, b int) int { return cmp.Or(seen[b]-seen[a], abs(a)-abs(b), b-a) })
	for _, gap := range gaps[:min(len(gaps), maxDeltas)] {
		const sum = 0.395 // of 1/d² from d = 3 on
		prior := otherDelta / (sum * float64(gap*gap)) * 2 / 3
		if gap < 0 {
			prior /= 2
		}
		list = append(list, stepPrior{gap, prior})
	}
	return list
}

// inBlocks reports whether ports that follow each other lie in one block at least
// half of the time, with some way to tell the counters apart.
func inBlocks(events []*event, size, origin int) bool {
	for s := range nScopes {
		pairs, within := 0, 0
		for _, e := range events {
			if prev := e.prev[s]; prev != nil {
				pairs++
				if around(prev.port, size, origin).has(e.port) {
					within++
				}
			}
		}
		if 2*within >= pairs {
			return true
		}
	}
	return false
}
