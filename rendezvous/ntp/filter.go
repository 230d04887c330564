package ntp

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/synpunch/synpunch/timing"
)

// DefaultTolerance is how fast two clocks may drift apart, in parts per million:
// two crystals of 50 ppm each that nobody corrects. RFC 5905's 15 ppm (PHI) are
// for clocks that are kept.
const DefaultTolerance = 100

// Sample is one exchange.
type Sample struct {
	At     time.Time     // when its answer came, on the local clock
	Offset timing.Offset // server minus local, as of then
	Delay  time.Duration // on the way, both ways
}

// ErrClockSet says that one of the clocks was set between the exchanges: no
// offset fits them all.
var ErrClockSet = errors.New("a clock was set during the measurement")

// Filter says what several exchanges with one server say together about the offset at an
// instant, and which of them says most.
//
// Each sample holds the offset within an interval: half of its delay to either side,
// and more with age, because the clocks drift apart by up to tolerance ppm. All
// are right, so the offset is where all overlap (timing.Offset.Intersect). The bound
// is therefore never above that of the best sample alone, the one with the
// least delay of RFC 5905's clock filter (section 10), age allowed for, and below it when packets
// were held up now on the way there and now on the way back.
//
// The error is ErrClockSet when they do not overlap.
func Filter(samples []Sample, at time.Time, tolerance float64) (o timing.Offset, best int, err error) {
	if len(samples) == 0 {
		return o, 0, errors.New("filter: no samples")
	}
	for i, s := range samples {
		aged := Age(s.Offset, at.Sub(s.At), tolerance)
		if i == 0 {
			o = aged
		} else if o, err = o.Intersect(aged); err != nil {
			return o, best, fmt.Errorf("%w: %w", ErrClockSet, err)
		}
		if aged.Bound < Age(samples[best].Offset, at.Sub(samples[best].At), tolerance).Bound {
			best = i
		}
	}
	return o, best, nil
}

// Age is an offset some time before or after it was measured.
func Age(o timing.Offset, d time.Duration, tolerance float64) timing.Offset {
	o.Bound += time.Duration(math.Ceil(math.Abs(float64(d)) * tolerance / 1e6))
	return o
}

// Agree says what several servers say together about one clock: the interval
// in which most of theirs overlap (Marzullo's algorithm, as in RFC 5905,
// section 11.2.1), and which of them contain it; of two such intervals the narrower one. ok is false
// unless these are more than half: then some are wrong and nobody can say which.
func Agree(list []timing.Offset) (o timing.Offset, in []bool, ok bool) {
	type edge struct {
		at    time.Duration
		begin bool
	}
	var edges []edge
	for _, l := range list {
		edges = append(edges, edge{l.Offset - l.Bound, true}, edge{l.Offset + l.Bound, false})
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if a.at == b.at && a.begin != b.begin { // intervals that touch overlap
			if a.begin {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.at, b.at)
	})
	var depth, most int
	var lo, hi time.Duration
	for i, e := range edges {
		if !e.begin {
			depth--
			continue
		}
		depth++
		end := edges[i+1].at // there is one: each interval that begins ends
		if depth > most || depth == most && end-e.at < hi-lo {
			most, lo, hi = depth, e.at, end
		}
	}
	in = make([]bool, len(list))
	for i, l := range list {
		in[i] = l.Offset-l.Bound <= lo && hi <= l.Offset+l.Bound
	}
	half := (hi - lo + 1) / 2
	return timing.Offset{Offset: hi - half, Bound: half}, in, 2*most > len(list)
}
