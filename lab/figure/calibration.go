package figure

import (
	"cmp"
	"slices"
)

func (c *Calibration) sketch() *sketch {
	f := newFrame(c.Title, c.Notes, c.Width, 520)
	share := func(title string) Axis { return Axis{Title: title, Unit: Percent} }
	f.x = newScale(share(cmp.Or(c.Stated, "stated")), extent{any: true}, f.acrossTicks(), false)
	f.y = newScale(share(cmp.Or(c.Observed, "observed")), extent{any: true}, f.acrossTicks(), false)
	list := slices.Clone(c.Series)
	for i := range list {
		if list[i].Style != Outline { // neighbours have nothing to do with each other
			list[i].Style = Dots
		}
	}
	f.keysOf(list)
	f.head()
	f.sides()
	f.area(f.right-f.left, false)
	if slices.ContainsFunc(c.Series, func(s Series) bool { return len(s.Points) > 0 }) {
		f.group("diagonal", func() { f.dashed(f.x.in(0), f.y.in(0), f.x.in(1), f.y.in(1), 1, faint, 5, 3) })
	} else {
		f.nothing()
	}
	for i := range list {
		f.series(&list[i], i)
	}
	f.axisY()
	f.axisX()
	return f.foot()
}
