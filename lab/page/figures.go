package page

import (
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep/draw"
)

// How wide figures are on a screen and on a phone, in points.
const (
	wide   = 800
	narrow = 360
)

// says is what can be seen in a figure of package draw, by the beginning of its name.
var says = []struct{ name, text string }{
	{"success-map", "The share of trials in which both ends were established. The line is the edge of the window that follows from the delays of the link alone."},
	{"success", "The share of trials in which both ends were established. Shaded: where the delays of the link alone let the SYNs cross."},
	{"crossing-map", "The share of trials in which each SYN passed the other on its way between the NATs."},
	{"crossing", "The share of trials in which each SYN passed the other on its way between the NATs."},
	{"outcomes", "Refused: an RST ended it. Unreachable: an ICMP error ended it. Timed out: nothing did. Error: a host could not do its part."},
	{"regimes", "Early: that SYN came to the other NAT before a mapping was there."},
	{"time", "From A's instant until the later of the two ends was established. A gap: no trial connected."},
	{"margin", "How much later, or earlier, one of the SYNs could have left before the crossing was lost."},
	{"difference", "Above 0 the arm connects more often than the first one, in pairs of trials that met the same."},
	{"send-error", "How much later than asked each first SYN left its host, in the host's own clock."},
	{"skew-error", "Errors of clocks and of timers together, and what the way to the NATs adds."},
	{"calibration", "Trials sorted by what was stated beforehand, against the share of them that crossed. On the diagonal both agree."},
}

// figures draws the sweep.
func (s *Sweep) figures() []figureView {
	var list []figureView
	for _, n := range draw.Figures(s.Summary, s.Rows) {
		if h, ok := n.Figure.(*figure.Histogram); ok && !varies(h) {
			continue // a simulation without errors
		}
		v := newFigure("figure-"+n.Name, n.Figure, 1+len(s.Summary.Config.Arms))
		if i := slices.IndexFunc(says, func(w struct{ name, text string }) bool { return strings.HasPrefix(n.Name, w.name) }); i >= 0 {
			v.Says = says[i].text
		}
		list = append(list, v)
	}
	return list
}

// newFigure draws a figure for a wide page and for a narrow one. The first notes are left
// out: the page says once what was tried.
func newFigure(id string, fig figure.Figure, notes int) figureView {
	at := func(width float64) template.HTML {
		return template.HTML(figure.Inline(resized(fig, width, notes)))
	}
	return figureView{ID: id, Wide: at(wide), Narrow: at(narrow)}
}

// resized is a figure in another width, without the first notes.
func resized(fig figure.Figure, width float64, notes int) figure.Figure {
	rest := func(list []string) []string { return list[min(notes, len(list)):] }
	switch f := fig.(type) {
	case *figure.Chart:
		c := *f
		c.Width, c.Notes = width, rest(f.Notes)
		return &c
	case *figure.Shares:
		c := *f
		c.Width, c.Notes = width, rest(f.Notes)
		return &c
	case *figure.Histogram:
		c := *f
		c.Width, c.Notes = width, rest(f.Notes)
		return &c
	case *figure.Map:
		c := *f
		c.Width, c.Notes = width, rest(f.Notes)
		return &c
	case *figure.Calibration:
		c := *f
		c.Width, c.Notes = min(width, 600), rest(f.Notes)
		return &c
	case *figure.Crossing:
		c := *f
		c.Width, c.Notes = min(width, 600), rest(f.Notes)
		return &c
	}
	return fig
}

// varies says whether a histogram has two values that differ.
func varies(h *figure.Histogram) bool {
	first := math.NaN()
	for _, s := range h.Sets {
		for _, v := range s.Values {
			switch {
			case math.IsNaN(v):
			case math.IsNaN(first):
				first = v
			case v != first:
				return true
			}
		}
	}
	return false
}
