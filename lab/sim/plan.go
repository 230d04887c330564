package sim

import (
	"math"
	"time"

	"github.com/synpunch/synpunch/timing"
)

// Plan says how well the peers know each other's clock, and lets them choose the
// instants of each trial as live peers would: by timing.Appointment, so that the SYNs pass
// their NATs with the skew in the middle of the window, from the delays of
// the scenario, and the errors of sending and of their clocks. Trial.Planned is what they knew.
type Plan struct {
	// ClockError is by how much each host's clock is wrong at most, either way, besides
	// lab.Site.Clock; drawn for each trial, uniformly.
	ClockError time.Duration
	// Exchange is the mean delay, each way, of the one exchange of timestamps in which A
	// measures B's clock (timing.FromExchange), a minute before the instant. Both delays are drawn
	// exponentially: then the error is anywhere within the bound, uniformly, as timing.Appointment takes
	// it to be. 0: there is none, and each host takes its clock for right within
	// ClockError.
	Exchange time.Duration
}

// exchangeLead is how long before the instant the clocks are compared. Chosen by us: the
// clocks of a simulation do not drift, so it does not matter.
const exchangeLead = time.Minute

// instants are when A and B send in trial t, after Epoch.
func (w *world) instants(t *Trial) [2]int64 {
	skew := w.set.Skew + w.draw(w.set.SkewError)
	clocks := [2]time.Duration{w.set.Scenario.A.Clock, w.set.Scenario.B.Clock}
	due := [2]time.Time{Epoch, Epoch.Add(skew)} // by the hosts' clocks
	if p := w.set.Plan; p != nil {
		for i := range clocks {
			clocks[i] += w.uniform(p.ClockError)
		}
		t.Planned = w.appointment(p, clocks)
		due[0], due[1] = t.Planned.Instants(Epoch)
		due[1] = due[1].Add(skew)
		t.Probability = t.Planned.Probability(t.Planned.Aim() + w.set.Skew)
	}
	for i := range t.Sent {
		s := &w.set.sites[i]
		t.Sent[i] = due[i].Sub(Epoch) - clocks[i] + s.Late + w.draw(s.SendError)
	}
	t.Skew = t.Sent[1] - t.Sent[0]
	return [2]int64{int64(t.Sent[0]), int64(t.Sent[1])}
}

// appointment is what the hosts know whose clocks are ahead by so much.
func (w *world) appointment(p *Plan, clocks [2]time.Duration) timing.Appointment {
	half := w.set.Scenario.Link.Jitter / 2
	m := timing.Appointment{
		Path: timing.Path{AB: w.set.ab + half, BA: w.set.ba + half},
		AB:   timing.Uncertainty{Bound: half}, BA: timing.Uncertainty{Bound: half},
	}
	for i, to := range []*timing.Party{&m.A, &m.B} {
		s := &w.set.sites[i]
		// A uniform error of sending counts with its standard deviation.
		sigma := math.Hypot(float64(s.SendError.Sigma), float64(s.SendError.Bound)/math.Sqrt(3))
		*to = timing.Party{Access: s.Access + s.Late, Sigma: time.Duration(sigma)}
		if p.Exchange == 0 {
			to.Clock.Bound = p.ClockError
		}
	}
	if p.Exchange > 0 {
		m.B.Clock = w.exchange(p.Exchange, clocks[1]-clocks[0])
	}
	return m
}

// exchange measures a clock that is ahead of the own one by so much.
func (w *world) exchange(mean, ahead time.Duration) timing.Offset {
	there, back := w.exponential(mean), w.exponential(mean)
	t1 := Epoch.Add(-exchangeLead)
	at := t1.Add(there + ahead)
	o, err := timing.FromExchange(t1, at, at, t1.Add(there+back))
	if err != nil { // no delay is negative
		return timing.Offset{}
	}
	return o
}

// draw draws an error.
func (w *world) draw(u timing.Uncertainty) time.Duration {
	if u == (timing.Uncertainty{}) {
		return 0
	}
	return time.Duration(w.rng.NormFloat64()*float64(u.Sigma) + (2*w.rng.Float64()-1)*float64(u.Bound))
}

func (w *world) uniform(bound time.Duration) time.Duration {
	return w.draw(timing.Uncertainty{Bound: bound})
}

func (w *world) exponential(mean time.Duration) time.Duration {
	return time.Duration(w.rng.ExpFloat64() * float64(mean))
}
