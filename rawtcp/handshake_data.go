package rawtcp

import "slices"

// maxSpans bounds how many pieces of data out of order are kept; more holes
// than that are left to the peer's retransmission. Chosen by us.
const maxSpans = 32

// receiver is the receiving half of a connection that nobody reads from yet: it
// keeps what comes within one window.
type receiver struct {
	base Seq // the sequence number of data[0], IRS+1
	nxt  Seq // RCV.NXT
	size uint32
	wup  Seq    // nxt when a window was last advertised
	wnd  uint32 // that window, bytes
	edge Seq    // the right edge of what was advertised; it never moves left
	data []byte // up to the latest byte that came
	gaps []span // what came beyond nxt, in order, not touching each other
	fin  bool   // a FIN was seen
}

// span is a piece of data beyond a hole, as offsets into receiver.data.
type span struct{ from, to int }

// recycled is an empty receiver with the memory of r.
func (r *receiver) recycled() receiver {
	return receiver{data: r.data[:0], gaps: r.gaps[:0]}
}

// open begins at the peer's ISN with a window of size bytes.
func (r *receiver) open(irs Seq, size uint16) {
	*r = r.recycled()
	r.base, r.nxt, r.size = irs+1, irs+1, uint32(size)
	r.edge = r.nxt
	r.advertised(r.size)
}

// advertised notes that a segment with this window, in bytes, goes out.
func (r *receiver) advertised(wnd uint32) {
	r.wup, r.wnd = r.nxt, wnd
	if edge := r.nxt.Add(int(wnd)); r.edge.Less(edge) {
		r.edge = edge
	}
}

// window returns the window field for a segment that goes out now. The window
// closes as data comes, because nobody takes the data out. It is rounded up to
// a unit of the scale, as Linux does (__tcp_select_window). So its right edge
// may move left by less than a unit, which RFC 7323 section 2.4 allows; what
// was advertised once is accepted all the same.
func (r *receiver) window(scale uint8) uint16 {
	left := max(r.base.Add(int(r.size)).Sub(r.nxt), 0)
	field := (uint32(left) + 1<<scale - 1) >> scale
	r.advertised(field << scale)
	return uint16(field)
}

// acceptable is the test of RFC 9293 section 3.10.7.4, first step.
func (r *receiver) acceptable(s *Segment) bool {
	open := uint32(r.edge - r.nxt)
	n := s.Len()
	switch {
	case n == 0 && open == 0:
		return s.Seq == r.nxt
	case n == 0:
		return s.Seq.InWindow(r.nxt, open)
	}
	return s.Seq.InWindow(r.nxt, open) || (s.Seq+Seq(n-1)).InWindow(r.nxt, open)
}

// take keeps the segment's data and FIN. ack says that the peer must be told
// where we stand; news that RCV.NXT moved.
func (r *receiver) take(s *Segment) (ack, news bool) {
	data, seq := s.Payload, s.Seq
	fin := s.Flags.Has(FIN) && len(data) >= s.PayloadLen
	ack = s.PayloadLen > 0 || len(data) > 0
	if old := r.nxt.Sub(seq); old > 0 {
		data = data[min(int(old), len(data)):]
		seq = r.nxt
	}
	if room := int(r.edge.Sub(seq)); len(data) > room {
		data, fin = data[:max(room, 0)], false
	}
	if fin {
		// Seen, but RCV.NXT stays before it: see Transfer.PeerFIN.
		r.fin = true
	}
	if len(data) == 0 {
		return ack, false
	}
	from := int(seq.Sub(r.base))
	to := from + len(data)
	done := int(r.nxt.Sub(r.base))
	if from > done && !r.remember(from, to) {
		return ack, false
	}
	if len(r.data) < to {
		r.data = slices.Grow(r.data, to-len(r.data))[:to]
	}
	copy(r.data[from:to], data)
	if from > done {
		return ack, false
	}
	done = to
	drop := 0
	for drop < len(r.gaps) && r.gaps[drop].from <= done {
		done = max(done, r.gaps[drop].to)
		drop++
	}
	r.gaps = slices.Delete(r.gaps, 0, drop)
	r.nxt = r.base.Add(done)
	return ack, true
}

// remember adds a span beyond the hole and joins it with those it touches. It
// returns false when there are too many already.
func (r *receiver) remember(from, to int) bool {
	i := 0
	for i < len(r.gaps) && r.gaps[i].to < from {
		i++
	}
	j := i
	for j < len(r.gaps) && r.gaps[j].from <= to {
		from, to = min(from, r.gaps[j].from), max(to, r.gaps[j].to)
		j++
	}
	if i == j && len(r.gaps) == maxSpans {
		return false
	}
	r.gaps = slices.Replace(r.gaps, i, j, span{from, to})
	return true
}

// inOrder is the data before RCV.NXT. It is r's memory.
func (r *receiver) inOrder() []byte {
	if r.nxt == r.base {
		return nil
	}
	return r.data[:r.nxt.Sub(r.base)]
}
