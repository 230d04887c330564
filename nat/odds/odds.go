package odds

import (
	"errors"
	"fmt"
	"time"

	"github.com/synpunch/synpunch/nat"
)

// ErrConfig is wrapped by every complaint about a Config.
var ErrConfig = errors.New("impossible configuration")

// Config is what the answer depends on besides chance.
type Config struct {
	A, B nat.Behaviour

	Budget     int           // SYNs that each side may send, 1 to MaxBudget
	Rate       float64       // SYNs per second of each side; 0: DefaultRate
	Quota      int           // mappings that each NAT allows its host, in place of a higher max-mappings; 0: what the Behaviour says
	LocalPorts int           // that a side may send from, up to MaxLocalPorts; 0: DefaultLocalPorts
	Delay      time.Duration // between the NATs, each way
	Looks      int           // at a NAT that counts, by third parties, beforehand; 0: DefaultLooks
	Apart      time.Duration // between two looks, and between the last one and the punch; 0: DefaultApart
	Others     float64       // SYNs per second of each NAT's other subscribers
}

// Chosen by us.
const (
	DefaultRate       = 500
	DefaultLocalPorts = 1024
	DefaultLooks      = 3
	DefaultApart      = 100 * time.Millisecond

	MaxBudget     = 1 << 24
	MaxRate       = 10_000_000
	MaxLocalPorts = 30_000
	MaxDelay      = 10 * time.Second
	MaxLooks      = 16
	MaxOthers     = 100_000
)

// Odds is the answer for two NATs.
type Odds struct {
	A, B       Side
	Strategies []Strategy // the best first
	Hopeless   string     // why, if even the best has next to no chance within the budget; else ""

	budget     int
	rate       float64
	localPorts int
	delay      time.Duration
	foresight  foresight
	seen       []play // by Strategy.play
}

// Compute works out the odds. Errors wrap ErrConfig or nat.ErrBehaviour.
func Compute(cfg *Config) (*Odds, error) {
	o, err := newOdds(cfg)
	if err != nil {
		return nil, err
	}
	for _, s := range []struct {
		name string
		side *Side
		b    nat.Behaviour
	}{{"A", &o.A, cfg.A}, {"B", &o.B, cfg.B}} {
		if err := s.b.Validate(); err != nil {
			return nil, fmt.Errorf("odds: NAT %s: %w", s.name, err)
		}
		side, err := newSide(s.b, &o.foresight, cfg.Quota)
		if err != nil {
			return nil, fmt.Errorf("odds: NAT %s: %w", s.name, err)
		}
		*s.side = *side
	}
	o.seen = o.plays()
	o.Strategies = o.rank()
	o.Hopeless = o.hopeless()
	return o, nil
}

func newOdds(cfg *Config) (*Odds, error) {
	o := &Odds{budget: cfg.Budget, rate: cfg.Rate, localPorts: cfg.LocalPorts, delay: cfg.Delay}
	o.foresight = foresight{looks: cfg.Looks, apart: cfg.Apart, others: cfg.Others}
	or(&o.rate, DefaultRate)
	or(&o.localPorts, DefaultLocalPorts)
	or(&o.foresight.looks, DefaultLooks)
	or(&o.foresight.apart, DefaultApart)
	for _, c := range []struct {
		what     string
		is       float64
		from, to float64
	}{
		{"budget", float64(o.budget), 1, MaxBudget},
		{"rate", o.rate, 1e-3, MaxRate},
		{"quota", float64(cfg.Quota), 0, MaxBudget},
		{"local ports", float64(o.localPorts), 1, MaxLocalPorts},
		{"delay, in seconds,", o.delay.Seconds(), 0, MaxDelay.Seconds()},
		{"looks", float64(o.foresight.looks), 1, MaxLooks},
		{"time between looks, in seconds,", o.foresight.apart.Seconds(), 1e-6, 3600},
		{"others' SYNs per second", o.foresight.others, 0, MaxOthers},
	} {
		if !(c.is >= c.from && c.is <= c.to) {
			return nil, fmt.Errorf("odds: %w: %s %v is not between %v and %v", ErrConfig, c.what, c.is, c.from, c.to)
		}
	}
	return o, nil
}

func or[T comparable](v *T, instead T) {
	var zero T
	if *v == zero {
		*v = instead
	}
}
