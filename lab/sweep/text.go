package sweep

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synpunch/synpunch/lab/sim"
)

// Describe is an arm in words, without what the axes vary: "connect: engine
// connect, strategy cross, NATs linux-rst, 20ms each way".
func (c *Config) Describe(arm int) string {
	a := &c.Arms[arm]
	varies := func(list ...Axis) bool {
		return slices.ContainsFunc(c.Axes, func(g Grid) bool { return slices.Contains(list, g.Axis) })
	}
	words := []string{
		"engine " + both(a.A.Engine, a.B.Engine, string(sim.Repair)),
		"strategy " + both(a.A.Strategy, a.B.Strategy, string(sim.Cross)),
		"NATs " + both(a.A.NAT, a.B.NAT, "linux"),
	}
	if t := both(string(a.A.Timer), string(a.B.Timer), string(TimerExact)); t != string(TimerExact) {
		words = append(words, "timer "+t)
	}
	if !varies(TTL) && (a.A.TTL != 0 || a.B.TTL != 0) {
		words = append(words, fmt.Sprintf("TTL %s", both(fmt.Sprint(a.A.TTL), fmt.Sprint(a.B.TTL), "")))
	}
	if a.A.Realtime || a.B.Realtime {
		words = append(words, "real time")
	}
	delay := a.DelayAB.String() + " each way"
	if a.DelayAB != a.DelayBA {
		delay = fmt.Sprintf("%v from A to B and %v back", a.DelayAB, a.DelayBA)
	}
	if !varies(Delay, Asymmetry) {
		words = append(words, delay)
	}
	for _, d := range []struct {
		axis Axis
		name string
		d    time.Duration
	}{{Jitter, "jitter", a.Jitter}, {ClockError, "clocks wrong by up to", a.ClockError}} {
		if d.d != 0 && !varies(d.axis) {
			words = append(words, fmt.Sprintf("%s %v", d.name, d.d))
		}
	}
	if a.Loss > 0 {
		words = append(words, fmt.Sprintf("loss %v", a.Loss))
	}
	if a.RSTDelay != nil && !varies(RSTDelay) {
		words = append(words, fmt.Sprintf("answers of the NATs after %v", *a.RSTDelay))
	}
	switch {
	case varies(Skew):
	case a.Skew != nil:
		words = append(words, fmt.Sprintf("skew %v", *a.Skew))
	default:
		words = append(words, "aimed at the middle of the window")
	}
	return a.Name + ": " + strings.Join(words, ", ")
}

// both is what both sides have, or what each has.
func both(a, b, zero string) string {
	for _, s := range []*string{&a, &b} {
		if *s == "" {
			*s = zero
		}
	}
	if a == b {
		return a
	}
	return a + " and " + b
}
