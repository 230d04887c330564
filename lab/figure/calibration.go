package figure

import "cmp"

func (c *Calibration) sketch() *sketch {
	f := newFrame(c.Title, c.Notes, c.Width, 520)
	share := func(title string) Axis { return Axis{Title: title, Unit: Percent} }
	f.x = newScale(share(cmp.Or(c.Stated, "stated")), extent{}, ticksFor(f.w, 82), false)
	f.y = newScale(share(cmp.Or(c.Observed, "observed")), extent{}, ticksFor(f.w, 82), false)
	f.keysOf(c.Series)
	f.head()
	f.sides()
	f.area(f.right-f.left, false)
	f.group("diagonal", func() { f.dashed(f.left, f.bottom, f.right, f.top, 1, faint, 5, 3) })
	empty := true
	for i := range c.Series {
		f.series(&c.Series[i], i)
		empty = empty && len(c.Series[i].Points) == 0
	}
	if empty {
		f.nothing()
	}
	f.axisY()
	f.axisX()
	return f.foot()
}
