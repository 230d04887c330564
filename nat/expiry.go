package nat

// expiry is a heap of flows by the time at which they may have to go. A flow
// that lives longer than that when its time comes is put back.
type expiry []*flow

func (h *expiry) add(f *flow) {
	f.heap = len(*h)
	*h = append(*h, f)
	h.up(f.heap)
}

func (h *expiry) remove(f *flow) {
	i, last := f.heap, len(*h)-1
	moved := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	if i == last {
		return
	}
	(*h)[i] = moved
	moved.heap = i
	h.down(i)
	h.up(moved.heap)
}

func (h expiry) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].due <= h[i].due {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h expiry) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if h[c].due < h[least].due {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h expiry) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heap, h[j].heap = i, j
}

// expire removes the flows whose time has come. The kernel, too, counts an entry
// as gone at its very timeout (nf_ct_is_expired).
func (n *NAT) expire() {
	for len(n.expiry) > 0 && n.expiry[0].due <= n.now {
		if f := n.expiry[0]; f.expires <= n.now {
			n.removeFlow(f)
		} else {
			f.due = f.expires
			n.expiry.down(0)
		}
	}
}

// live lets a flow live for d from now.
func (n *NAT) live(f *flow, d int64) {
	f.expires = n.now + d
	if f.expires < f.due {
		f.due = f.expires
		n.expiry.up(f.heap)
	}
}

// shorten lets a flow live for d from now at most.
func (n *NAT) shorten(f *flow, d int64) {
	if n.now+d < f.expires {
		n.live(f, d)
	}
}
