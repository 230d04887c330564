package figure

import (
	"math"
	"strconv"
	"strings"
)

// scale is an axis with its ends, its ticks and its place.
type scale struct {
	Axis
	lo, hi   float64 // values at the ends
	from, to float64 // where those are, in points
	ticks    []tick
	step     float64 // between ticks of a linear axis
	unit     unit    // of the numbers at the ticks
	each     bool    // each tick names its own unit
}

type tick struct {
	at    float64
	label string
}

// unit is how a quantity is written.
type unit struct {
	name string
	of   float64
}

var durations = []unit{{"min", 60e9}, {"s", 1e9}, {"ms", 1e6}, {"µs", 1e3}, {"ns", 1}}

// unitOf is the unit in which a duration reads well.
func unitOf(ns float64) unit {
	for _, u := range durations {
		if math.Abs(ns) >= u.of*0.9995 && (u.name != "min" || math.Abs(ns) > 10*u.of) {
			return u
		}
	}
	return durations[len(durations)-1]
}

// extent collects the values that an axis must show.
type extent struct {
	lo, hi float64
	any    bool
}

func (e *extent) add(a *Axis, vs ...float64) {
	for _, v := range vs {
		if math.IsNaN(v) || math.IsInf(v, 0) || a.Log && v <= 0 {
			continue
		}
		if !e.any {
			e.lo, e.hi, e.any = v, v, true
		}
		e.lo, e.hi = min(e.lo, v), max(e.hi, v)
	}
}

// newScale fits an axis to the values. With round, the ends are at ticks; otherwise
// they are a little beyond the values.
func newScale(a Axis, e extent, count int, round bool) *scale {
	s := &scale{Axis: a}
	fixed := (a.Min != 0 || a.Max != 0) && !(a.Unit == Percent && a.Min == 0 && a.Max == 1)
	switch {
	case fixed && a.Max > a.Min && (!a.Log || a.Min > 0):
		s.lo, s.hi, round = a.Min, a.Max, false
	case a.Unit == Percent && !a.Log:
		s.lo, s.hi, round = 0, 1, false
		if e.any { // points at the ends stand clear of the frame
			s.lo, s.hi = -0.025, 1.025
		}
	case !e.any:
		s.lo, s.hi = 0, 1
		if a.Log {
			s.lo = 0.1
		}
		return s
	default:
		s.lo, s.hi = e.lo, e.hi
		if !round || s.lo == s.hi {
			s.pad()
		}
	}
	if a.Log {
		s.logTicks(count, round)
	} else {
		s.linearTicks(count, round)
	}
	return s
}

// pad makes room on both sides of the values.
func (s *scale) pad() {
	switch {
	case s.Log && s.lo == s.hi:
		s.lo, s.hi = s.lo/3, s.hi*3
	case s.Log:
		f := math.Pow(s.hi/s.lo, 0.02)
		s.lo, s.hi = s.lo/f, s.hi*f
	case s.lo == s.hi:
		d := math.Abs(s.lo) / 10
		if d == 0 {
			d = 1
		}
		s.lo, s.hi = s.lo-d, s.hi+d
	default:
		d := (s.hi - s.lo) * 0.025
		s.lo, s.hi = s.lo-d, s.hi+d
	}
}

func (s *scale) linearTicks(count int, round bool) {
	s.unit = unit{of: 1}
	switch s.Unit {
	case Duration:
		s.unit = unitOf(max(math.Abs(s.lo), math.Abs(s.hi)))
	case Percent:
		s.unit = unit{"%", 0.01}
	}
	lo, hi := s.lo/s.unit.of, s.hi/s.unit.of
	s.step = niceStep((hi - lo) / float64(max(count, 1)))
	first, last := math.Ceil(lo/s.step-1e-9), math.Floor(hi/s.step+1e-9)
	if round {
		first, last = math.Floor(lo/s.step+1e-9), math.Ceil(hi/s.step-1e-9)
		s.lo, s.hi = first*s.step*s.unit.of, last*s.step*s.unit.of
	}
	digits := max(0, int(math.Ceil(-math.Log10(s.step)-1e-9)))
	for i := first; i <= last; i++ {
		v := i * s.step
		s.ticks = append(s.ticks, tick{v * s.unit.of, decimal(v, digits)})
	}
}

// niceStep is the least of 1, 2 or 5 times a power of ten that is not below v.
func niceStep(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*p*(1+1e-9) {
			return m * p
		}
	}
	return 10 * p
}

// logTicks puts ticks at powers of ten, between them where there is room, or at fewer
// of them where there is none.
func (s *scale) logTicks(count int, round bool) {
	s.unit, s.each = unit{of: 1}, s.Unit != Number
	first, last := math.Ceil(math.Log10(s.lo)-1e-9), math.Floor(math.Log10(s.hi)+1e-9)
	if round {
		first, last = math.Floor(math.Log10(s.lo)+1e-9), math.Ceil(math.Log10(s.hi)-1e-9)
		s.lo, s.hi = math.Pow(10, first), math.Pow(10, last)
	}
	between := []float64{1}
	switch decades := math.Log10(s.hi / s.lo); {
	case decades*3 <= float64(count):
		between = []float64{1, 2, 5}
	case decades*2 <= float64(count):
		between = []float64{1, 3}
	}
	every := math.Ceil((last - first + 1) / float64(max(count, 1)))
	for i := first - 1; i <= last; i++ {
		if math.Mod(i, max(every, 1)) != 0 {
			continue
		}
		for _, m := range between {
			if v := m * math.Pow(10, i); v >= s.lo*(1-1e-9) && v <= s.hi*(1+1e-9) {
				s.ticks = append(s.ticks, tick{v, s.write(v)})
			}
		}
	}
	if len(s.ticks) == 0 {
		for _, v := range []float64{s.lo, s.hi} {
			s.ticks = append(s.ticks, tick{v, s.write(v)})
		}
	}
}

// title is the axis' title with the unit of its ticks.
func (s *scale) title() string {
	switch {
	case s.unit.name == "" || s.each:
		return s.Title
	case s.Title == "":
		return s.unit.name
	}
	return s.Title + " (" + s.unit.name + ")"
}

// in is where a value is, in points. Ends of ranges may be infinite.
func (s *scale) in(v float64) float64 {
	if s.Log {
		if v <= 0 {
			return s.from
		}
		return s.from + (s.to-s.from)*math.Log(v/s.lo)/math.Log(s.hi/s.lo)
	}
	return s.from + (s.to-s.from)*(v-s.lo)/(s.hi-s.lo)
}

// clamp is in, kept on the axis.
func (s *scale) clamp(v float64) float64 {
	if s.Log && v <= 0 {
		v = s.lo
	}
	return s.in(min(max(v, s.lo), s.hi))
}

// shows says whether a value is on the axis.
func (s *scale) shows(v float64) bool {
	slack := (s.hi - s.lo) * 1e-9
	return v >= s.lo-slack && v <= s.hi+slack
}

// write is a value of its own, with its unit.
func (a *Axis) write(v float64) string {
	switch {
	case v == 0 && a.Unit == Duration:
		return "0"
	case a.Unit == Duration:
		u := unitOf(v)
		return short(v/u.of, 3) + " " + u.name
	case a.Unit == Percent:
		return short(100*v, 3) + " %"
	}
	return short(v, 4)
}

// short is a number with up to so many significant digits behind the point.
func short(v float64, digits int) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strings.Replace(strconv.FormatFloat(v, 'g', -1, 64), "-", "−", 1)
	}
	size := math.Floor(math.Log10(math.Abs(v)))
	switch {
	case size < -4 || size >= 15:
		return strings.ReplaceAll(strconv.FormatFloat(v, 'g', 3, 64), "-", "−")
	case size >= 6:
		for _, u := range []unit{{" T", 1e12}, {" G", 1e9}, {" M", 1e6}} {
			if math.Abs(v) >= u.of {
				return short(v/u.of, digits) + u.name
			}
		}
	}
	text := decimal(v, max(0, digits-1-int(size)))
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// decimal is a number with digits behind the point, commas at the thousands and a true
// minus.
func decimal(v float64, digits int) string {
	text := strconv.FormatFloat(math.Abs(v), 'f', digits, 64)
	whole, rest, point := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if point {
		whole += "." + rest
	}
	if v < 0 && strings.Trim(text, "0.") != "" {
		whole = "−" + whole
	}
	return whole
}

func words(s string) []string { return strings.Fields(s) }
