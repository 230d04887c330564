package draw

import (
	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
	"github.com/synpunch/synpunch/timing"
)

// bins of a calibration plot. Chosen by us.
const bins = 20

// Calibration sets the probability of crossing that package timing stated for each
// trial against the share that crossed.
func Calibration(s *sweep.Summary, rows []sweep.Row) *figure.Calibration {
	f := &figure.Calibration{
		Title: "Does the stated probability come true?", Notes: notes(s, wilson),
		Stated: "probability of crossing, as stated beforehand", Observed: "share that crossed",
	}
	for i := range s.Config.Arms {
		f.Series = append(f.Series, calibration(s.Config.Arms[i].Name, rows))
	}
	return f
}

func calibration(arm string, rows []sweep.Row) figure.Series {
	var crossed [bins]sweep.Share
	var stated [bins]float64
	for i := range rows {
		r := &rows[i]
		if r.Arm != arm || r.PCross == nil {
			continue
		}
		k := min(int(*r.PCross*bins), bins-1)
		stated[k] += *r.PCross
		crossed[k].Of++
		if r.Regime == timing.Crossed.String() {
			crossed[k].Count++
		}
	}
	line := figure.Series{Name: arm}
	for k, c := range crossed {
		if c.Of > 0 {
			p := share(c)
			p.X = stated[k] / float64(c.Of)
			line.Points = append(line.Points, p)
		}
	}
	return line
}
