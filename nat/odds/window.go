package odds

// window is when two SYNs that aim at each other meet: B's leaves its NAT no less
// than early before and no more than late after A's, in seconds.
type window struct{ early, late float64 }

// both is the window in which either of the two is open. Each of them is open
// when the SYNs leave together.
func (w window) both(v window) window { return window{max(w.early, v.early), max(w.late, v.late)} }

func (w window) shut() bool { return w.early+w.late <= 0 }

// spell is when a side sends: evenly from start on.
type spell struct{ start, length float64 } // seconds

func (s spell) end() float64 { return s.start + s.length }

// sent is the part of its SYNs that a side has sent at t.
func (s spell) sent(t float64) float64 {
	if s.length <= 0 {
		if t >= s.start {
			return 1
		}
		return 0
	}
	return min(1, max(0, (t-s.start)/s.length))
}

// meet is the part of all pairs of SYNs of A and B that have left at t and are in the
// window. SYNs are in a random order, so each pair is as probable as any other.
func meet(a, b spell, w window, t float64) float64 {
	a1, b1 := a.start+a.length*a.sent(t), b.start+b.length*b.sent(t)
	if t < a.start || t < b.start {
		return 0
	}
	// Below the length of a packet there is nothing to integrate over.
	const instant = 1e-9
	da, db := max(a1-a.start, instant), max(b1-b.start, instant)
	part := (below(a.start, da, b.start, db, w.late) - below(a.start, da, b.start, db, -w.early)) / (da * db)
	return min(1, max(0, part)) * a.sent(t) * b.sent(t)
}

// below is the area of the points (x, y) with x in [x0, x0+dx], y in [y0, y0+dy] and
// y - x < c.
func below(x0, dx, y0, dy, c float64) float64 {
	u := x0 + c - y0
	switch {
	case u >= dy:
		return dx * dy
	case u+dx <= 0:
		return 0
	}
	return ramp(u+dx, dy) - ramp(u, dy)
}

// ramp is the integral from 0 to u of v, but no more than top.
func ramp(u, top float64) float64 {
	switch {
	case u <= 0:
		return 0
	case u <= top:
		return u * u / 2
	}
	return top*top/2 + top*(u-top)
}
