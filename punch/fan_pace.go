package punch

import (
	"math"
	"time"
)

// Chosen by us.
const (
	// fanBatch is how many SYNs leave between two looks at what came in: a tenth of a
	// millisecond's work.
	fanBatch = 64
	// fanSlack is how far behind its rate a sender may catch up; what is beyond is lost,
	// so that a machine that was busy elsewhere does not flood afterwards.
	fanSlack = 5 * time.Millisecond
)

// pacer says how many SYNs may leave: rate x time since the start, in batches, without a memory
// of more than fanSlack.
type pacer struct {
	rate float64   // SYNs a second
	from time.Time // when the credit was 0
}

// start begins anew at now.
func (p *pacer) start(now time.Time, rate float64) {
	p.rate = rate
	p.from = now.Add(-p.cost(1)) // the first one leaves at once
}

// cost is the time that n SYNs take at the rate.
func (p *pacer) cost(n int) time.Duration {
	return time.Duration(float64(n) / p.rate * float64(time.Second))
}

// batch returns how many may leave now.
func (p *pacer) batch(now time.Time) int {
	if slack := max(fanSlack, p.cost(1)); now.Sub(p.from) > slack {
		p.from = now.Add(-slack)
	}
	n := math.Floor(now.Sub(p.from).Seconds()*p.rate + 1e-6)
	return int(min(max(n, 0), fanBatch))
}

// spend takes n away.
func (p *pacer) spend(n int) { p.from = p.from.Add(p.cost(n)) }

// next is when it is worth asking again: a batch is due, or, at low rates, one SYN.
func (p *pacer) next() time.Time {
	n := min(max(int(p.rate*fanSlack.Seconds()/4), 1), fanBatch)
	return p.from.Add(p.cost(n))
}
