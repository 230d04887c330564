package draw

import (
	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
)

// SendErrors is how late the SYNs left, both sides together, a panel for each arm.
func SendErrors(s *sweep.Summary, rows []sweep.Row) *figure.Histogram {
	return histogram(s, rows, "How exactly do SYNs leave?", "first SYN on the wire, less its instant", func(r *sweep.Row) []*int64 {
		return []*int64{r.SendErrorANS, r.SendErrorBNS}
	})
}

// SkewErrors is how far the skew was from what was ordered.
func SkewErrors(s *sweep.Summary, rows []sweep.Row) *figure.Histogram {
	return histogram(s, rows, "How far is the skew from the one ordered?", "skew as measured on the link, less as ordered", func(r *sweep.Row) []*int64 {
		if r.SkewMeasuredNS == nil {
			return nil
		}
		d := *r.SkewMeasuredNS - r.SkewOrderedNS
		return []*int64{&d}
	})
}

func histogram(s *sweep.Summary, rows []sweep.Row, title, x string, values func(*sweep.Row) []*int64) *figure.Histogram {
	h := &figure.Histogram{
		Title: title, Notes: notes(s),
		X:     figure.Axis{Title: x, Unit: figure.Duration},
		Marks: []figure.Mark{{At: 0, Label: "as ordered"}},
	}
	set := map[string]int{}
	for i := range s.Config.Arms {
		name := s.Config.Arms[i].Name
		set[name] = i
		h.Sets = append(h.Sets, figure.Set{Name: name})
	}
	for i := range rows {
		to := &h.Sets[set[rows[i].Arm]]
		for _, v := range values(&rows[i]) {
			if v != nil {
				to.Values = append(to.Values, float64(*v))
			}
		}
	}
	return h
}
