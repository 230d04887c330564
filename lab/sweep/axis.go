package sweep

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrConfig is wrapped by every complaint about a Config that is not one about
// its scenario (lab.ErrScenario).
var ErrConfig = errors.New("sweep")

// Axis names the parameter that a sweep varies.
type Axis string

// The axes. Values are nanoseconds but for TTL, which counts hops.
const (
	Skew       Axis = "skew"        // B's instant minus A's, as ordered
	Delay      Axis = "delay"       // of the link: the mean of the two directions
	Asymmetry  Axis = "asymmetry"   // delay from A to B minus that from B to A; their mean stays
	TTL        Axis = "ttl"         // of both sides' SYNs; of their priming SYNs where the strategy is prime
	Jitter     Axis = "jitter"      // of the link: a packet takes up to this much longer
	ClockError Axis = "clock-error" // each side's clock is wrong by up to this much, either way, drawn for each pair of trials
	RSTDelay   Axis = "rst-delay"   // how long a NAT waits before it answers what it was not asked for
)

// Axes lists the axes.
func Axes() []Axis { return []Axis{Skew, Delay, Asymmetry, TTL, Jitter, ClockError, RSTDelay} }

// ParseAxis reads an axis by its name.
func ParseAxis(s string) (Axis, error) {
	if a := Axis(s); slices.Contains(Axes(), a) {
		return a, nil
	}
	var names []string
	for _, a := range Axes() {
		names = append(names, string(a))
	}
	return "", fmt.Errorf("%w: %q is not an axis: want %s", ErrConfig, s, strings.Join(names, ", "))
}

// IsTime reports whether values of the axis are durations.
func (a Axis) IsTime() bool { return a != TTL }

// signed reports whether a value below 0 means something.
func (a Axis) signed() bool { return a == Skew || a == Asymmetry }

// Format is a value of the axis in words: "-2.5ms", "3".
func (a Axis) Format(v int64) string {
	if a.IsTime() {
		return time.Duration(v).String()
	}
	return strconv.FormatInt(v, 10)
}

// ParseValue reads what Format writes.
func (a Axis) ParseValue(s string) (int64, error) {
	if a.IsTime() {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf("%w: %s %q: want a duration such as 2ms", ErrConfig, a, s)
		}
		return int64(d), nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s %q: want a number", ErrConfig, a, s)
	}
	return n, nil
}

// Grid is the values of one axis: From, From+Step and so on, up to To.
type Grid struct {
	Axis Axis  `json:"axis"`
	From int64 `json:"from"` // see Axis for the unit
	To   int64 `json:"to"`
	Step int64 `json:"step"` // more than 0; 0 where From is To
}

// Len is the number of values.
func (g Grid) Len() int {
	if g.Step <= 0 || g.To < g.From {
		return 1
	}
	return int((g.To-g.From)/g.Step) + 1
}

// Value is value number i, from 0.
func (g Grid) Value(i int) int64 { return g.From + int64(i)*g.Step }

// String is the grid in words: "skew from -60ms to 60ms in steps of 2ms".
func (g Grid) String() string {
	if g.Len() == 1 {
		return fmt.Sprintf("%s %s", g.Axis, g.Axis.Format(g.From))
	}
	return fmt.Sprintf("%s from %s to %s in steps of %s", g.Axis, g.Axis.Format(g.From), g.Axis.Format(g.To), g.Axis.Format(g.Step))
}

// validate says what is wrong with the grid.
func (g Grid) validate() error {
	if _, err := ParseAxis(string(g.Axis)); err != nil {
		return err
	}
	switch {
	case g.Step < 0 || g.Step == 0 && g.From != g.To:
		return fmt.Errorf("%w: a step of %s along %s: want more than 0", ErrConfig, g.Axis.Format(g.Step), g.Axis)
	case g.To < g.From:
		return fmt.Errorf("%w: %s from %s to %s: want the lower value first", ErrConfig, g.Axis, g.Axis.Format(g.From), g.Axis.Format(g.To))
	case g.From < 0 && !g.Axis.signed():
		return fmt.Errorf("%w: %s %s: want 0 or more", ErrConfig, g.Axis, g.Axis.Format(g.From))
	case g.Axis == TTL && (g.From < 1 || g.To > 255):
		return fmt.Errorf("%w: ttl from %d to %d: want 1 to 255", ErrConfig, g.From, g.To)
	case g.Axis.IsTime() && max(-g.From, g.To) > int64(MaxTime):
		return fmt.Errorf("%w: %s: longer than %v", ErrConfig, g, MaxTime)
	case (g.To-g.From)/max(g.Step, 1) >= MaxPoints:
		return fmt.Errorf("%w: %s: more than %d points", ErrConfig, g, MaxPoints)
	}
	return nil
}

// Point is a place on the grid.
type Point struct {
	N int    `json:"point"` // from 0, the first axis moving fastest
	X int64  `json:"x"`     // on the first axis
	Y *int64 `json:"y"`     // on the second; nil: there is one axis
}
