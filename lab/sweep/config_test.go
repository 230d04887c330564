package sweep

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
)

func TestConfigIsChecked(t *testing.T) {
	long := 2 * time.Minute
	for _, tt := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.World = "paper" }, `world "paper": want sim or live`},
		{func(c *Config) { c.Axes = nil }, "0 axes: want one or two"},
		{func(c *Config) { c.Axes = append(c.Axes, c.Axes[0]) }, "skew is both axes"},
		{func(c *Config) { c.Axes[0].Axis = "weather" }, `"weather" is not an axis: want skew, delay`},
		{func(c *Config) { c.Axes[0].Step = 0 }, "a step of 0s along skew: want more than 0"},
		{func(c *Config) { c.Axes[0].To = -60 * ms }, "want the lower value first"},
		{func(c *Config) { c.Axes[0].Step = 1 }, "more than 100000 points"},
		{func(c *Config) { c.Axes[0] = Grid{Delay, -ms, ms, ms} }, "delay -1ms: want 0 or more"},
		{func(c *Config) { c.Axes[0] = Grid{TTL, 0, 4, 1} }, "ttl from 0 to 4: want 1 to 255"},
		{func(c *Config) { c.Axes[0] = Grid{TTL, 1, 300, 1} }, "ttl from 1 to 300: want 1 to 255"},
		{func(c *Config) { c.Axes[0] = Grid{Skew, 0, math.MaxInt64, math.MaxInt64 / 2} }, "longer than 1m0s"},
		{func(c *Config) { c.Axes[0] = Grid{Asymmetry, -60 * ms, 60 * ms, ms} }, "link.ab: a delay of -10ms is negative"},
		{func(c *Config) { c.Trials = 0 }, "0 trials at each point: want 1 or more"},
		{func(c *Config) { c.Trials = math.MaxInt }, "more than 100000000"},
		{func(c *Config) { c.Arms = nil }, "no arm"},
		{func(c *Config) { c.Arms[1].Name = c.Arms[0].Name }, `two arms have the name "connect"`},
		{func(c *Config) { c.Arms[1].A.Engine = "steam" }, `"steam" is not an engine`},
		{func(c *Config) { c.Arms[1].A.Strategy = "fan" }, `"fan" is not a strategy`},
		{func(c *Config) { c.Arms[1].B.NAT = "magic" }, `"magic" is not a kind of NAT`},
		{func(c *Config) { c.Arms[1].A.Timer = TimerSleep }, "timer sleep is what applications do: engine connect"},
		{func(c *Config) { c.Arms[0].A.Timer = "egg" }, `timer "egg": want exact or sleep`},
		{func(c *Config) { c.Arms[0].Loss = math.NaN() }, "link.loss"},
		{func(c *Config) { c.Arms[0].Jitter = -1 }, "jitter"},
		{func(c *Config) { c.Arms[0].ClockError = -1 }, "clock error -1ns: want 0 to"},
		{func(c *Config) { c.Arms[0].Skew = &long; c.Axes[0] = Grid{Delay, 0, ms, ms} }, "skew 2m0s: longer than"},
		{func(c *Config) { c.Timeout = -1 }, "timeout -1ns"},
		{func(c *Config) { c.Bytes = 5 }, "5 bytes: want 0 or more, and only live"},
		{func(c *Config) { c.Captures = "some" }, `captures "some": want none, failed, all or a number`},
		{func(c *Config) { c.World = Live; c.Arms[1].A.Engine = "connect-old" }, "engine connect-old is a model"},
		{func(c *Config) { c.World = Live; c.Arms[1].A.SendError = new(time.Duration) }, "in a simulation only"},
		{func(c *Config) { c.Axes[0] = Grid{RSTDelay, 0, ms, ms}; c.Arms[0].A.NAT = "linux" }, "answer-delay"},
		{func(c *Config) { c.Family = lab.IP6 }, "linux-rst translates IPv4 only"},
	} {
		c := flagship("connect", "repair")
		tt.change(c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
		if _, rerr := Run(t.Context(), c, nil); rerr == nil || rerr.Error() != err.Error() {
			t.Errorf("Run says %v, Validate %v", rerr, err)
		}
	}
	for _, c := range []*Config{nil, {}} {
		if _, err := Run(t.Context(), c, nil); !errors.Is(err, ErrConfig) || !errors.Is(c.Validate(), ErrConfig) {
			t.Errorf("%v", err)
		}
	}
}

// TestAxisText: values are read as they are written.
func TestAxisText(t *testing.T) {
	for _, a := range Axes() {
		if got, err := ParseAxis(string(a)); err != nil || got != a {
			t.Errorf("%s: %v", a, err)
		}
		for _, v := range []int64{0, 3, -250_000, 2 * ms} {
			if got, err := a.ParseValue(a.Format(v)); err != nil || got != v {
				t.Errorf("%s %d: %d, %v", a, v, got, err)
			}
		}
		if _, err := a.ParseValue("soon"); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", a, err)
		}
	}
}
