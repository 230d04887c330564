package matrix

import (
	"context"
	"fmt"
	"time"

	"github.com/synpunch/synpunch/punch"
)

// World is where tries are made.
type World interface {
	// Setup says how.
	Setup() Setup
	// Batch is how many attempts are made together at most.
	Batch() int
	// Open prepares a pair.
	Open(ctx context.Context, p *Pair) (Bench, error)
}

// Bench is a pair of NATs with a host behind each.
type Bench interface {
	// Try makes n tries, each from scratch with ports of its own, and reports
	// each of them once, in order. The seed is of every draw. An error means that not all were made.
	Try(ctx context.Context, n int, seed uint64, report func(Try)) error
	Close() error
}

// Pair is one cell's kinds.
type Pair struct{ A, B Kind }

// Try is what one try gave.
type Try struct {
	Outcome     string        // as punch.Outcome: of the pair, established only if both ends are
	Established time.Duration // from A's instant until both ends are; meaningful if Outcome is established
	Late        bool          // a host did not send on time: the machine was busy
}

const established = string(punch.Established)

// Setup is how a World makes its tries. A and B may differ.
type Setup struct {
	World      string        // "sim" or "live"
	Engines    [2]string     // of A and B
	Strategies [2]string     // of A and B
	Delay      time.Duration // of the link, each way
	Timeout    time.Duration // of a try
	LearnPort  bool          // a host whose peer is unpredictable takes the port that arrives for the peer's
	Budget     int           // SYNs that each side may send in a try; 0: one, or what the strategy needs
	Rate       float64       // SYNs a second, with a Budget
	Threshold  float64       // a share from which on a pair counts as connecting all the time; below 1 minus this, almost never
}

// String is the setup in words.
func (s Setup) String() string {
	words := "Strategy " + both(s.Strategies) + ", engine " + both(s.Engines)
	if s.LearnPort {
		words += ", the port of an unpredictable peer learned"
	}
	if s.Budget > 0 {
		return fmt.Sprintf("Strategy %s, the best with these NATs: as many SYNs as have a chance of 99 %%, up to %s from each side, %s a second; link %v each way",
			both(s.Strategies), count(s.Budget), count(int(s.Rate)), s.Delay)
	}
	return fmt.Sprintf("%s; link %v each way, a try ends after %v", words, s.Delay, s.Timeout)
}

func both(v [2]string) string {
	if v[0] == v[1] {
		return v[0]
	}
	return v[0] + " and " + v[1]
}
