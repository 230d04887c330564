package sweep

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/lab/sim"
)

// Validate checks the configuration as Run does. Errors wrap ErrConfig,
// sim.ErrConfig or lab.ErrScenario.
func (c *Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

// withDefaults checks a Config and fills in what is zero.
func (c *Config) withDefaults() (*Config, error) {
	if c == nil {
		c = &Config{}
	}
	d := *c
	d.Arms = slices.Clone(c.Arms)
	set(&d.World, Sim)
	set(&d.Family, lab.IP4)
	set(&d.Timeout, DefaultTimeout)
	set(&d.Captures, CaptureNone)
	for i := range d.Arms {
		for _, s := range []*Side{&d.Arms[i].A, &d.Arms[i].B} {
			set(&s.NAT, lab.NATLinux)
			set(&s.Engine, string(sim.Repair))
			set(&s.Strategy, string(sim.Cross))
			set(&s.Timer, TimerExact)
		}
	}
	for _, check := range []func(*Config) error{(*Config).checkGrid, (*Config).checkWorld, (*Config).checkArms} {
		if err := check(&d); err != nil {
			return nil, err
		}
	}
	return &d, nil
}

func set[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

func (c *Config) checkGrid() error {
	if len(c.Axes) < 1 || len(c.Axes) > 2 {
		return fmt.Errorf("%w: %d axes: want one or two", ErrConfig, len(c.Axes))
	}
	points := 1
	for _, g := range c.Axes {
		if err := g.validate(); err != nil {
			return err
		}
		points *= g.Len()
	}
	switch {
	case len(c.Axes) == 2 && c.Axes[0].Axis == c.Axes[1].Axis:
		return fmt.Errorf("%w: %s is both axes", ErrConfig, c.Axes[0].Axis)
	case points > MaxPoints:
		return fmt.Errorf("%w: %d points: want %d or fewer", ErrConfig, points, MaxPoints)
	case c.Trials < 1:
		return fmt.Errorf("%w: %d trials at each point: want 1 or more", ErrConfig, c.Trials)
	case len(c.Arms) == 0:
		return fmt.Errorf("%w: no arm: want one or more", ErrConfig)
	case c.Trials > MaxTrials/points/len(c.Arms):
		return fmt.Errorf("%w: %d trials at each of %d points: more than %d", ErrConfig, c.Trials, points, MaxTrials)
	}
	return nil
}

func (c *Config) checkWorld() error {
	if c.World != Sim && c.World != Live {
		return fmt.Errorf("%w: world %q: want sim or live", ErrConfig, c.World)
	}
	if c.Timeout < 0 || c.Timeout > MaxTime {
		return fmt.Errorf("%w: timeout %v: want more than 0, at most %v", ErrConfig, c.Timeout, MaxTime)
	}
	if c.Bytes < 0 || c.Bytes > 0 && c.World == Sim {
		return fmt.Errorf("%w: %d bytes: want 0 or more, and only live", ErrConfig, c.Bytes)
	}
	switch c.Captures {
	case CaptureNone, CaptureFailed, CaptureAll:
		return nil
	}
	if n, err := strconv.Atoi(c.Captures); err != nil || n < 0 {
		return fmt.Errorf("%w: captures %q: want none, failed, all or a number", ErrConfig, c.Captures)
	}
	return nil
}

// checkArms checks each arm at the corners of the grid: whatever holds there holds
// between them, because each bound is one of a sum of what the axes vary.
func (c *Config) checkArms() error {
	names := map[string]bool{}
	for i := range c.Arms {
		a := &c.Arms[i]
		if names[a.Name] {
			return fmt.Errorf("%w: two arms have the name %q", ErrConfig, a.Name)
		}
		names[a.Name] = true
		for _, p := range c.corners() {
			at := *a
			at.at(c.Axes, p)
			if err := c.checkArm(&at); err != nil {
				return fmt.Errorf("arm %q: %w", a.Name, err)
			}
		}
	}
	return nil
}

func (c *Config) corners() []Point {
	var list []Point
	x := c.Axes[0]
	for _, i := range []int{0, x.Len() - 1} {
		if len(c.Axes) == 1 {
			list = append(list, Point{X: x.Value(i)})
			continue
		}
		y := c.Axes[1]
		for _, j := range []int{0, y.Len() - 1} {
			v := y.Value(j)
			list = append(list, Point{X: x.Value(i), Y: &v})
		}
	}
	return list
}

func (c *Config) checkArm(a *Arm) error {
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"clock error", a.ClockError}, {"send error of A", a.A.sendError()}, {"send error of B", a.B.sendError()}} {
		if d.d < 0 || d.d > MaxTime {
			return fmt.Errorf("%w: %s %v: want 0 to %v", ErrConfig, d.name, d.d, MaxTime)
		}
	}
	if a.Skew != nil && a.Skew.Abs() > MaxTime {
		return fmt.Errorf("%w: skew %v: longer than %v", ErrConfig, *a.Skew, MaxTime)
	}
	for i, s := range []*Side{&a.A, &a.B} {
		if err := c.checkSide(s); err != nil {
			return fmt.Errorf("%s: %w", [2]string{"A", "B"}[i], err)
		}
	}
	scenario := c.scenario(a)
	if c.World == Live {
		return live.Validate(&scenario)
	}
	cfg := c.simConfig(a)
	return cfg.Validate()
}

func (c *Config) checkSide(s *Side) error {
	engine, err := sim.ParseEngine(s.Engine)
	if err != nil {
		return err
	}
	if _, err := sim.ParseStrategy(s.Strategy); err != nil {
		return err
	}
	if c.World == Live {
		switch {
		case engine == sim.ConnectOld:
			return fmt.Errorf("%w: engine %s is a model: only in a simulation", ErrConfig, engine)
		case s.SendError != nil:
			return fmt.Errorf("%w: an error of the sending instant is drawn in a simulation only: live it is what it is", ErrConfig)
		}
	}
	switch s.Timer {
	case TimerExact:
	case TimerSleep:
		if engine != sim.Connect && engine != sim.ConnectOld || s.Strategy != string(sim.Cross) {
			return fmt.Errorf("%w: timer sleep is what applications do: engine connect and strategy cross, not %s and %s", ErrConfig, s.Engine, s.Strategy)
		}
	default:
		return fmt.Errorf("%w: timer %q: want exact or sleep", ErrConfig, s.Timer)
	}
	return nil
}

// scenario is what the packets of an arm travel through.
func (c *Config) scenario(a *Arm) lab.Scenario {
	return lab.Scenario{
		Family: c.Family,
		A:      lab.Site{NAT: a.nat(&a.A)}, B: lab.Site{NAT: a.nat(&a.B)},
		Link: lab.Link{AB: &a.DelayAB, BA: &a.DelayBA, Jitter: a.Jitter, Loss: a.Loss},
	}
}

// looks is how often third parties look at the external port of a host, for its peer to know
// as much as can be known.
func looks(nat string) int {
	chain, err := lab.ParseNAT(nat)
	if err != nil {
		return 0
	}
	return chain.Looks()
}
