package live

import (
	"math"
	"math/rand/v2"

	"github.com/synpunch/synpunch/lab"
)

// law is what a way does to its frames.
type law struct {
	delay, extra int64             // nanoseconds: for each frame, and at most on top of it
	loss         float64           // probability
	faults       map[int]lab.Fault // by packet number
}

func newLaw(spec *lab.Link, dir lab.Direction) law {
	ab, ba := spec.Delays()
	if dir == lab.BA {
		ab = ba
	}
	return law{delay: int64(ab), extra: int64(spec.Jitter), loss: spec.Loss, faults: faultsOf(spec.Faults, dir)}
}

// faultsOf are those of a direction by packet number.
func faultsOf(list []lab.Fault, dir lab.Direction) map[int]lab.Fault {
	m := map[int]lab.Fault{}
	for _, f := range list {
		if f.Direction == dir {
			m[f.Packet] = f
		}
	}
	return m
}

// longest is how long a frame may take that no fault holds.
func (l *law) longest() int64 { return l.delay + l.extra }

// jitter draws how much longer than the delay a frame takes.
func (w *way) jitter() int64 {
	if w.law.extra == 0 {
		return 0
	}
	return rand.New(&w.rng).Int64N(w.law.extra)
}

// unlucky draws whether a frame is lost.
func (w *way) unlucky() bool {
	return w.law.loss > 0 && rand.New(&w.rng).Float64() < w.law.loss
}

// setLaw replaces delay, jitter, loss and faults and counts anew. What is on its way
// stays there as long as it would have, and nothing overtakes it.
func (w *way) setLaw(l law) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.law = l
	w.forget()
}

// setFaults replaces the faults and counts anew.
func (w *way) setFaults(faults []lab.Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.law.faults = faultsOf(faults, w.dir)
	w.forget()
}

// clear throws away what is on its way.
func (w *way) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if _, ok := w.q.peek(); !ok {
			break
		}
		w.q.pop()
	}
	w.held = nil
	w.lastDue = math.MinInt64
}
