package sweep

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
)

// labsOpen is how many labs are kept. Chosen by us: building one takes some 20 ms,
// and each costs threads.
const labsOpen = 4

// labs keeps the labs that were used last, one for each pair of NATs.
type labs struct {
	open  []openLab // the last used at the end
	stock []string  // Options.Stock
}

type openLab struct {
	key string
	*live.Lab
}

// get returns a lab with the scenario's NATs, with whatever link.
func (s *labs) get(ctx context.Context, scenario *lab.Scenario, seed uint64) (*live.Lab, error) {
	key := fmt.Sprintf("%s %q %q", scenario.Family, scenario.A.NAT, scenario.B.NAT)
	if i := slices.IndexFunc(s.open, func(l openLab) bool { return l.key == key }); i >= 0 {
		l := s.open[i]
		s.open = append(slices.Delete(s.open, i, i+1), l)
		return l.Lab, nil
	}
	if len(s.open) == labsOpen {
		oldest := s.open[0]
		s.open = slices.Delete(s.open, 0, 1)
		if err := oldest.Close(); err != nil {
			return nil, err
		}
	}
	l, err := live.Build(ctx, scenario, &live.Config{Seed: mix(seed) | 1, Link: true, Hosts: true, Stock: s.stock})
	if err != nil {
		return nil, err
	}
	s.open = append(s.open, openLab{key, l})
	return l, nil
}

func (s *labs) close() error {
	var errs []error
	for _, l := range s.open {
		errs = append(errs, l.Close())
	}
	s.open = nil
	return errors.Join(errs...)
}
