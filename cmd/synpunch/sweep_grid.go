package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/synpunch/synpunch/lab/sweep"
)

// sweepGrids are the values of an axis where the command line does not say. Chosen by us.
var sweepGrids = map[sweep.Axis][3]string{
	sweep.Skew:       {"-60ms", "60ms", "2ms"},
	sweep.Delay:      {"0s", "50ms", "2ms"},
	sweep.Asymmetry:  {"-40ms", "40ms", "2ms"},
	sweep.TTL:        {"2", "10", "1"},
	sweep.Jitter:     {"0s", "20ms", "1ms"},
	sweep.ClockError: {"0s", "50ms", "2ms"},
	sweep.RSTDelay:   {"0s", "60ms", "2ms"},
}

// grids is what --over, --from, --to and --step say.
func (f *sweepFlags) grids() ([]sweep.Grid, error) {
	names := strings.Split(f.over, ",")
	if len(names) > 2 {
		return nil, fmt.Errorf("--over %q: want one axis, or two as X,Y", f.over)
	}
	list := make([]sweep.Grid, len(names))
	for i, name := range names {
		axis, err := sweep.ParseAxis(strings.TrimSpace(name))
		if err != nil {
			return nil, fmt.Errorf("--over: %w", err)
		}
		list[i].Axis = axis
		for k, flag := range []struct {
			name, text string
			to         *int64
		}{{"from", f.from, &list[i].From}, {"to", f.to, &list[i].To}, {"step", f.step, &list[i].Step}} {
			text := sweepGrids[axis][k]
			if flag.text != "" {
				texts := strings.Split(flag.text, ",")
				if len(texts) != len(names) {
					return nil, fmt.Errorf("--%s %q: want a value for each of --over %s", flag.name, flag.text, f.over)
				}
				text = strings.TrimSpace(texts[i])
			}
			if *flag.to, err = axis.ParseValue(text); err != nil {
				return nil, fmt.Errorf("--%s: %w", flag.name, err)
			}
		}
	}
	return list, nil
}

// positive reads a duration above 0.
func positive(flag, s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("--%s %q: want a duration above 0, such as 2s", flag, s)
	}
	return d, nil
}
