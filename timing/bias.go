package timing

import (
	"slices"
	"time"
)

// biasKeep is how many measurements a Bias remembers: enough for a median that
// one slow packet does not move, few enough to follow a machine that changes.
const biasKeep = 256

// Bias learns how long a packet needs from the call that sends it to the stamp
// the kernel puts on it, so that the call can be made that much earlier:
//
//	th.SleepUntil(ctx, at.Add(-bias.Median()))
//
// The zero value is ready and knows nothing. A Bias is not safe for concurrent
// use.
type Bias struct {
	ring []time.Duration // the last biasKeep measurements
	next int
}

// NewBias returns a Bias that knows nothing.
func NewBias() *Bias { return &Bias{} }

// Add takes one measured pair: the kernel's TX stamp minus the instant at which
// SleepUntil was to return.
func (b *Bias) Add(d time.Duration) {
	if len(b.ring) < biasKeep {
		b.ring = append(b.ring, d)
		return
	}
	b.ring[b.next] = d
	b.next = (b.next + 1) % biasKeep
}

// N is the number of measurements that Median rests on, 256 at most: the oldest
// are forgotten.
func (b *Bias) N() int { return len(b.ring) }

// Median is the median of the measurements, 0 when there are none. It is the
// lower one of two middle values.
func (b *Bias) Median() time.Duration { return median(slices.Clone(b.ring)) }

// Spread is the standard deviation that a normal distribution with the same
// median absolute deviation has (MAD times 1.4826): what CrossProbability wants
// as Sigma, and hardly moved by outliers. It is 0 for fewer than two measurements.
func (b *Bias) Spread() time.Duration {
	if len(b.ring) < 2 {
		return 0
	}
	m := b.Median()
	dev := make([]time.Duration, len(b.ring))
	for i, d := range b.ring {
		dev[i] = max(d-m, m-d)
	}
	return time.Duration(1.4826 * float64(median(dev)))
}

// median sorts d and returns its middle.
func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[(len(d)-1)/2]
}
