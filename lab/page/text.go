package page

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/synpunch/synpunch/lab/sweep"
)

// count is a whole number with commas at the thousands.
func count[T int | int64 | uint64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "−", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// span is a duration with three significant digits or whole units: "20 ms", "−1.25 µs".
func span(d time.Duration) string {
	v, unit := float64(d), "ns"
	switch a := math.Abs(v); {
	case a >= 0.9995e9:
		v, unit = v/1e9, "s"
	case a >= 0.9995e6:
		v, unit = v/1e6, "ms"
	case a >= 0.9995e3:
		v, unit = v/1e3, "µs"
	}
	digits := 2
	switch a := math.Abs(v); {
	case a >= 99.95:
		digits = 0
	case a >= 9.995:
		digits = 1
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return strings.Replace(s, "-", "−", 1) + "\u00a0" + unit
}

// exact is a duration to the nanosecond: "20.013456 ms".
func exact(v int64) string {
	u := unit{1, "ns"}
	for _, larger := range []unit{{1e3, "µs"}, {1e6, "ms"}, {1e9, "s"}} {
		if math.Abs(float64(v)) >= larger.of {
			u = larger
		}
	}
	return strings.Replace(strconv.FormatFloat(float64(v)/u.of, 'f', -1, 64), "-", "−", 1) + "\u00a0" + u.name
}

type unit struct {
	of   float64
	name string
}

// known is exact, or says that nobody knows.
func known(v *int64) string {
	if v == nil {
		return "not known"
	}
	return exact(*v)
}

// percent is a share in per cent. 99.9 is not all, and 0.1 is not nothing.
func percent(s sweep.Share) string {
	if s.Of == 0 {
		return "–"
	}
	text := strconv.FormatFloat(100*s.Value(), 'f', 0, 64)
	switch {
	case text == "100" && s.Count < s.Of:
		text = ">99"
	case text == "0" && s.Count > 0:
		text = "<1"
	}
	return text + "\u00a0%"
}

// wilson is the interval of a share.
func wilson(s sweep.Share) string {
	if s.Of == 0 {
		return ""
	}
	lo, hi := s.Interval()
	return fmt.Sprintf("%.0f–%.0f\u00a0%%", 100*lo, 100*hi)
}

// middle is a median with the tenth and ninetieth percentile.
func middle(q sweep.Quantiles) string {
	if q.N == 0 {
		return "–"
	}
	return span(q.P50)
}

func tails(q sweep.Quantiles) string {
	if q.N == 0 {
		return ""
	}
	return span(q.P10) + " to " + span(q.P90)
}

// value of an axis, for people.
func value(a sweep.Axis, v int64) string {
	if a.IsTime() {
		return exact(v)
	}
	return count(v)
}

// commandLine is a command as a shell takes it.
func commandLine(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// quote puts a word in quotes where a POSIX shell needs them.
func quote(w string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./,:=@%+", r)
	}
	if w != "" && !strings.ContainsFunc(w, func(r rune) bool { return !plain(r) }) {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}

// regimeWords says how the SYNs met.
func regimeWords(regime string) string {
	switch regime {
	case "a-early":
		return "A early"
	case "b-early":
		return "B early"
	case "":
		return "a SYN never reached the other NAT"
	}
	return regime
}

// signed is a difference with its sign.
func signed(v float64) string {
	text := strings.Replace(strconv.FormatFloat(v, 'f', 1, 64), "-", "−", 1)
	if v > 0 {
		return "+" + text
	}
	return text
}

// spanOf is a difference of times in nanoseconds with its sign.
func spanOf(v float64) string {
	text := span(time.Duration(math.Round(v)))
	if v > 0 {
		return "+" + text
	}
	return text
}

func newQuantiles(n int, p10, p50, p90 int64) sweep.Quantiles {
	return sweep.Quantiles{N: n, P10: time.Duration(p10), P50: time.Duration(p50), P90: time.Duration(p90)}
}
