package draw

import (
	"fmt"
	"path/filepath"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
)

// Named is a figure and the name of its file, without an extension.
type Named struct {
	Name   string
	Figure figure.Figure
}

// Figures lists the figures of a sweep: those for which there are data.
func Figures(s *sweep.Summary, rows []sweep.Row) []Named {
	var list []Named
	add := func(name string, f figure.Figure) { list = append(list, Named{name, f}) }
	arms := len(s.Config.Arms)
	if len(s.Config.Axes) > 1 {
		for i := range arms {
			add(numbered("success-map", i, arms), SuccessMap(s, i))
			add(numbered("crossing-map", i, arms), CrossingMap(s, i))
		}
	} else {
		add("success", Success(s))
		add("crossing", Crossing(s))
		if s.Config.Axes[0].Axis == sweep.Skew && some(rows, func(r *sweep.Row) bool { return r.SkewMeasuredNS != nil }) {
			add("success-measured", SuccessMeasured(s, rows))
		}
		for i := range arms {
			add(numbered("outcomes", i, arms), Outcomes(s, i))
			add(numbered("regimes", i, arms), Regimes(s, i))
		}
		add("time", Time(s))
		add("margin", Margin(s))
		if arms > 1 {
			add("difference", Difference(s))
		}
	}
	if some(rows, func(r *sweep.Row) bool { return r.SendErrorANS != nil || r.SendErrorBNS != nil }) {
		add("send-error", SendErrors(s, rows))
	}
	if some(rows, func(r *sweep.Row) bool { return r.SkewMeasuredNS != nil }) {
		add("skew-error", SkewErrors(s, rows))
	}
	if some(rows, func(r *sweep.Row) bool { return r.PCross != nil && *r.PCross > 0 && *r.PCross < 1 }) {
		add("calibration", Calibration(s, rows))
	}
	return list
}

// numbered tells the figures of several arms apart.
func numbered(name string, arm, arms int) string {
	if arms == 1 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, arm+1)
}

func some(rows []sweep.Row, hit func(*sweep.Row) bool) bool {
	for i := range rows {
		if hit(&rows[i]) {
			return true
		}
	}
	return false
}

// Save draws figures into files in a directory, and returns their paths.
func Save(dir string, list []Named, f figure.Format) ([]string, error) {
	var paths []string
	for _, n := range list {
		path := filepath.Join(dir, n.Name+"."+string(f))
		if err := figure.Save(path, n.Figure); err != nil {
			return paths, fmt.Errorf("draw %s: %w", n.Name, err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}
