package rawtcp

import (
	"math/bits"
	"time"
)

// pace is a token clock: it says how many packets may leave now. It has no clock of
// its own and does not drift: the n-th packet is due n/rate after the beginning, however
// the times in between were rounded. What is late by more than burst packets is
// forgiven and never sent at once.
type pace struct {
	rate  uint64 // packets per second; 0: no limit
	burst uint64
	least uint64 // worth waking up for

	begin time.Time
	used  uint64 // of those due since begin
}

// newPace makes a pace; rate 0 is no limit, burst 0 a hundredth of a second's worth.
func newPace(rate, burst uint64) pace {
	if burst == 0 {
		burst = rate / 100
	}
	burst = max(burst, 1)
	// Timers are about a millisecond late. What comes due in that time goes out together.
	return pace{rate: rate, burst: burst, least: min(max(rate/1000, 1), max(burst/2, 1))}
}

// take returns how many of want packets may leave at now, or, when none may, how
// long to wait.
func (p *pace) take(now time.Time, want uint64) (n uint64, wait time.Duration) {
	if p.rate == 0 {
		return want, 0
	}
	if p.begin.IsZero() {
		p.begin, p.used = now.Add(-p.after(p.least)), 0
	}
	since := max(now.Sub(p.begin), 0)
	ready := p.due(since) - min(p.used, p.due(since))
	if ready > p.burst {
		p.used += ready - p.burst
		ready = p.burst
	}
	least := min(p.least, want)
	if ready < least {
		return 0, max(p.after(p.used+least)-since, 1)
	}
	n = min(want, ready)
	p.used += n
	return n, 0
}

// giveBack says that n of those taken did not leave.
func (p *pace) giveBack(n uint64) { p.used -= min(n, p.used) }

// due is how many packets are due d after the beginning.
func (p *pace) due(d time.Duration) uint64 {
	hi, lo := bits.Mul64(uint64(d), p.rate)
	n, _ := bits.Div64(hi%uint64(time.Second), lo, uint64(time.Second))
	return n
}

// after is when the n-th packet is due, from the beginning.
func (p *pace) after(n uint64) time.Duration {
	hi, lo := bits.Mul64(n, uint64(time.Second))
	d, _ := bits.Div64(hi%p.rate, lo, p.rate)
	if d*p.rate != lo { // compared modulo 2^64
		d++
	}
	return time.Duration(d)
}
