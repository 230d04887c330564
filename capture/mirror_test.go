package capture

import (
	"slices"
	"testing"
)

// The same opening from the other side: the ends exchanged, or the capture made
// at b instead of at a, 10 ms away. What happened stays the same.
func TestOpeningsFromBothSides(t *testing.T) {
	verdicts := func(shots []shot) []Verdict {
		var list []Verdict
		for _, tl := range analyze(t, nil, shots...) {
			list = append(list, tl.Verdict)
			checkFindings(t, tl.Diagnosis(), tl.Events, len(openings)*4)
		}
		return list
	}
	// Not seen at a in the first place, or with an answer that took less than the way.
	elsewhere := []string{
		"figure 8 at b: an old duplicate SYN arrives first", "figure 8 at a: the answer to another SYN",
		"figure 8 between: both SYNs, the old one second", "a blind RST is no answer", "closed, and opened again",
	}
	for _, o := range openings {
		mirrored := slices.Clone(o.shots)
		for i := range mirrored {
			mirrored[i].from = other(mirrored[i].from)
			mirrored[i].a, mirrored[i].b = o.shots[i].b, o.shots[i].a
		}
		if got := verdicts(mirrored); !slices.Equal(got, o.want) {
			t.Errorf("%s, ends exchanged: %v, want %v", o.name, got, o.want)
		}
		if slices.Contains(elsewhere, o.name) {
			continue
		}
		atB := slices.Clone(o.shots)
		for i := range atB {
			if atB[i].from == EndA {
				atB[i].at += 20 * ms // against b's, which are seen 10 ms earlier there
			}
		}
		slices.SortStableFunc(atB, func(x, y shot) int { return int(x.at - y.at) })
		if got := verdicts(atB); !slices.Equal(got, o.want) {
			t.Errorf("%s, captured at b: %v, want %v", o.name, got, o.want)
		}
	}
}
