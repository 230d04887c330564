package lab

// MeetAny says how the SYNs of one flow met, of which each side may have sent
// several: the first two that crossed, else the two that came nearest to it. A
// SYN that never arrived, lost or ended by its TTL, counts only where its side has no
// other. It is false when a side sent none.
func MeetAny(as, bs []Passage) (found Meeting, ok bool) {
	arrivedA, arrivedB := anyArrived(as), anyArrived(bs)
	for _, a := range as {
		if arrivedA && a.Arrived.IsZero() {
			continue
		}
		for _, b := range bs {
			if arrivedB && b.Arrived.IsZero() {
				continue
			}
			m := Meet(a, b)
			if m.Crossed {
				return m, true
			}
			if !ok || m.Margin > found.Margin {
				found, ok = m, true
			}
		}
	}
	return found, ok
}

func anyArrived(list []Passage) bool {
	for _, p := range list {
		if !p.Arrived.IsZero() {
			return true
		}
	}
	return false
}
