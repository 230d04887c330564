package page

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
)

// questions that the axes ask.
var questions = map[sweep.Axis]string{
	sweep.Skew:       "How far apart may the two SYNs be?",
	sweep.Delay:      "What does the delay between the NATs change?",
	sweep.Asymmetry:  "What if one way takes longer than the other?",
	sweep.TTL:        "How far must a SYN go?",
	sweep.Jitter:     "What does jitter do to a crossing?",
	sweep.ClockError: "How wrong may the clocks be?",
	sweep.RSTDelay:   "What if the NATs take their time to answer?",
}

func question(c *sweep.Config) string {
	if len(c.Axes) > 1 {
		return fmt.Sprintf("Which %s and %s let two SYNs meet?", c.Axes[0].Axis, c.Axes[1].Axis)
	}
	return questions[c.Axes[0].Axis]
}

// over says what was varied.
func (s *Sweep) over() string {
	c := &s.Summary.Config
	var axes []string
	points := 1
	for _, g := range c.Axes {
		axes = append(axes, grid(g))
		points *= g.Len()
	}
	return fmt.Sprintf("Varied: %s. %s, %s of each arm at each point; a trial ends after %s.", strings.Join(axes, "; "),
		plural(points, "point"), plural(c.Trials, "trial"), exact(int64(c.Timeout)))
}

// grid is a grid in words.
func grid(g sweep.Grid) string {
	if g.Len() == 1 {
		return string(g.Axis) + " " + value(g.Axis, g.From)
	}
	return fmt.Sprintf("%s from %s to %s in steps of %s", g.Axis, value(g.Axis, g.From), value(g.Axis, g.Value(g.Len()-1)), value(g.Axis, g.Step))
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return count(n) + " " + word + "s"
}

// brief says in a few sentences what came out.
func (s *Sweep) brief() []string {
	var list []string
	if s.Summary.Done < s.Summary.Of {
		list = append(list, fmt.Sprintf("The sweep is not complete: %s of %s trials are there.", count(s.Summary.Done), count(s.Summary.Of)))
	}
	if s.Summary.Done == 0 {
		return list
	}
	for _, a := range s.arms() {
		if a.All.Of == "" {
			continue
		}
		text := fmt.Sprintf("%s: both ends established in %s trials (%s).", a.Name, a.All.Of, a.All.Percent)
		if a.In.Of != "" && a.Out.Of != "" {
			text = fmt.Sprintf("%s: both ends established in %s trials (%s): %s where theory says that the SYNs cross, %s elsewhere.", a.Name, a.All.Of, a.All.Percent, a.In.Of, a.Out.Of)
		}
		list = append(list, text)
	}
	all, _ := s.pairs()
	for _, d := range all {
		if d.ShareInterval == "" {
			continue
		}
		list = append(list, fmt.Sprintf("%s less %s: %s points of 100 connected (95 %% interval %s; %s pairs).", d.Arm, d.Base, d.Share, d.ShareInterval, d.Pairs))
	}
	return list
}

// scenario is the path from A to B as a picture of boxes.
type scenario struct {
	Name                     string // of the arm; "": all arms are alike
	HostA, NATA, NATB, HostB []string
	Delays, Link             []string
}

// scenarios are those of the arms; one, if only their names differ.
func scenarios(c *sweep.Config) []scenario {
	var list []scenario
	same := true
	for i := range c.Arms {
		list = append(list, newScenario(c, &c.Arms[i]))
		same = same && reflect.DeepEqual(list[i], list[0])
	}
	if same && len(list) > 0 {
		return list[:1]
	}
	for i := range list {
		list[i].Name = c.Arms[i].Name
	}
	return list
}

func newScenario(c *sweep.Config, arm *sweep.Arm) scenario {
	varied := map[sweep.Axis]bool{}
	for _, g := range c.Axes {
		varied[g.Axis] = true
	}
	s := scenario{
		HostA: host(&arm.A, varied), NATA: []string{arm.A.NAT}, NATB: []string{arm.B.NAT}, HostB: host(&arm.B, varied),
		Delays: []string{exact(int64(arm.DelayAB)) + " →", "← " + exact(int64(arm.DelayBA))},
	}
	if varied[sweep.Delay] {
		s.Delays = []string{"delay varied"}
	}
	if varied[sweep.Asymmetry] {
		s.Delays = append(s.Delays, "asymmetry varied")
	}
	link := func(axis sweep.Axis, words string, v time.Duration) {
		switch {
		case varied[axis]:
			s.Link = append(s.Link, words+" varied")
		case v != 0:
			s.Link = append(s.Link, words+" up to "+exact(int64(v)))
		}
	}
	link(sweep.Jitter, "jitter", arm.Jitter)
	link(sweep.ClockError, "clocks wrong by", arm.ClockError)
	switch {
	case varied[sweep.RSTDelay]:
		s.Link = append(s.Link, "delay of NATs' answers varied")
	case arm.RSTDelay != nil:
		s.Link = append(s.Link, "NATs answer after "+exact(int64(*arm.RSTDelay)))
	}
	if arm.Loss > 0 {
		s.Link = append(s.Link, fmt.Sprintf("loss %.3g %%", 100*arm.Loss))
	}
	switch {
	case varied[sweep.Skew]:
		s.Link = append(s.Link, "skew varied")
	case arm.Skew == nil:
		s.Link = append(s.Link, "aimed at the middle")
	default:
		s.Link = append(s.Link, "skew "+exact(int64(*arm.Skew)))
	}
	return s
}

// host says how a side punches.
func host(side *sweep.Side, varied map[sweep.Axis]bool) []string {
	list := []string{side.Engine + ", " + side.Strategy}
	if side.Timer != "" && side.Timer != sweep.TimerExact {
		list = append(list, "timer "+string(side.Timer))
	}
	if side.Realtime {
		list = append(list, "real-time priority")
	}
	switch {
	case varied[sweep.TTL]:
		list = append(list, "TTL varied")
	case side.TTL != 0:
		list = append(list, fmt.Sprintf("TTL %d", side.TTL))
	}
	if side.SendError != nil && *side.SendError != 0 {
		list = append(list, "send error σ "+exact(int64(*side.SendError)))
	}
	return list
}

// geometry draws the crossing of the first arm, if the delays are the same everywhere.
func geometry(sum *sweep.Summary) *figureView {
	if len(sum.Cells) == 0 {
		return nil
	}
	first := sum.Cells[0].Theory
	for i := range sum.Cells {
		if t := &sum.Cells[i].Theory; t.WindowFrom != first.WindowFrom || t.WindowTo != first.WindowTo {
			return nil
		}
	}
	if first.WindowTo <= first.WindowFrom {
		return nil
	}
	v := newFigure("figure-geometry", &figure.Crossing{Title: "When do the two SYNs cross?", AB: first.WindowTo, BA: -first.WindowFrom}, 0)
	v.Says = "Time runs down, from the instant at which A's SYN passes NAT A. Shaded: when B's SYN may pass NAT B so that each meets a mapping which its own side has just made. The window is as wide as the round trip between the NATs."
	return &v
}
