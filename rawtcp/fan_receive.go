package rawtcp

import (
	"fmt"
	"time"
)

// hit is a flow on which the peer was heard.
type hit struct {
	local, remote uint16
	first         time.Time
	syn           Segment    // the peer's SYN, without payload; Flags 0: none was heard
	hs            *Handshake // nil until the peer has acknowledged our ISN
}

// Receive takes a segment that came at now. What is of no use is counted and
// otherwise ignored. The segment is not kept.
func (f *Fan) Receive(now time.Time, s *Segment, out []Segment) []Segment {
	l, r := s.Dst.Port(), s.Src.Port()
	if s.Src.Addr() != f.cfg.Remote.Addr() || s.Dst.Addr() != f.cfg.Local.Addr() || r == 0 ||
		!f.local.contains(l) || !f.remote.contains(r) && !f.cfg.AnyRemotePort {
		f.n.Dropped++
		return out
	}
	i := f.find(l, r)
	switch {
	case f.winner >= 0 && i == f.winner:
		out = f.hits[i].hs.Receive(now, s, out)
		f.state, f.err = f.hits[i].hs.state, f.hits[i].hs.err
		return out
	case f.state != SynSent && f.state != SynReceived && f.state != Established:
		f.n.Dropped++
		return out
	case i >= 0 && f.hits[i].hs != nil:
		return f.take(now, i, s, out)
	}
	acked := s.Flags&ACK != 0 && s.Ack == f.isn(l, r)+1
	switch s.Flags & (SYN | ACK | RST | FIN) {
	case SYN:
		return f.heard(now, i, s, out)
	case SYN | ACK:
		if acked {
			return f.proven(now, i, s, out)
		}
	case ACK, ACK | FIN:
		if acked && i >= 0 {
			return f.confirmed(now, i, s, out)
		}
	case RST, RST | ACK:
		f.n.RSTs++
		if !acked {
			f.n.RSTsIgnored++
		}
		return out
	}
	f.n.Dropped++
	return out
}

// silent reports whether answers to a flow other than the winner's are not to be sent.
func (f *Fan) silent() bool { return f.winner >= 0 && !f.cfg.CountAll }

// heard answers a SYN.
func (f *Fan) heard(now time.Time, i int, s *Segment, out []Segment) []Segment {
	// No SYN for a SYN without end: two ends whose tables overflow would go on for ever.
	first := i < 0 && len(f.hits) < MaxHits
	if i < 0 {
		i = f.add(s.Dst.Port(), s.Src.Port(), now, false)
	}
	if i >= 0 && f.hits[i].syn.Flags == 0 {
		f.hits[i].syn = *s
		f.hits[i].syn.Payload = nil
	}
	h := &f.scratch
	if f.silent() || f.open(h, s.Dst.Port(), s.Src.Port()) != nil {
		f.n.Dropped++
		return out
	}
	if first {
		out = h.sendSYN(now, out)
	}
	out = h.Receive(now, s, out)
	f.n.add(&h.n)
	return out
}

// proven takes a SYN-ACK that acknowledges our ISN.
func (f *Fan) proven(now time.Time, i int, s *Segment, out []Segment) []Segment {
	first := i < 0
	if first {
		i = f.add(s.Dst.Port(), s.Src.Port(), now, true)
	}
	h := f.prove(i)
	if h == nil {
		f.n.Dropped++
		return out
	}
	loses := f.winner >= 0
	if f.silent() {
		return out
	}
	if first {
		out = h.sendSYN(now, out)
	}
	h.adopt(s)
	if loses || follows(f.window, s.Window) {
		out = h.synReceived(now, out)
		f.touched(h)
		return out
	}
	h.simultaneous = f.hits[i].syn.Flags != 0
	if agrees(s.Window) {
		out = h.sendSYNACK(now, out)
	}
	out = h.establish(now, s, out)
	f.win(i)
	return out
}

// confirmed takes an ACK of our ISN on a flow whose SYN was heard: the peer was
// established by our SYN-ACK.
func (f *Fan) confirmed(now time.Time, i int, s *Segment, out []Segment) []Segment {
	syn := &f.hits[i].syn
	if f.winner >= 0 || syn.Flags == 0 || !s.Seq.InWindow(syn.Seq+1, uint32(f.window)) {
		f.n.Dropped++
		return out
	}
	h := f.prove(i)
	f.discard = h.Receive(now, syn, f.discard[:0])
	h.n.SYNACKs = 0 // was sent and counted when the SYN was heard
	out = h.Receive(now, s, out)
	if h.state == Established {
		f.win(i)
		return out
	}
	f.touched(h)
	return out
}

// take gives a segment to a proven hit as far as the rules allow.
func (f *Fan) take(now time.Time, i int, s *Segment, out []Segment) []Segment {
	h := f.hits[i].hs
	if f.winner >= 0 {
		f.n.Dropped++
		return out
	}
	out = h.receiveOneOf(now, s, out)
	if h.state == Established {
		f.win(i)
		return out
	}
	f.touched(h)
	return out
}

// prove gives a hit its Handshake; nil if there is no such hit.
func (f *Fan) prove(i int) *Handshake {
	if i < 0 {
		return nil
	}
	h := new(Handshake)
	if f.open(h, f.hits[i].local, f.hits[i].remote) != nil {
		return nil
	}
	f.hits[i].hs = h
	return h
}

func (f *Fan) win(i int) {
	f.winner, f.state = i, Established
}

// touched brings state and deadline up to date with a hit.
func (f *Fan) touched(h *Handshake) {
	if f.winner >= 0 {
		return
	}
	f.state = SynReceived
	if at, ok := h.Deadline(); ok && at.Before(f.due) {
		f.due = at
	}
}

// find returns the index of a hit, -1 if there is none.
func (f *Fan) find(local, remote uint16) int {
	for i := range f.hits {
		if f.hits[i].local == local && f.hits[i].remote == remote {
			return i
		}
	}
	return -1
}

// add remembers a hit and returns its index, -1 if there is no room. One that is not proven
// gives way to any other; the oldest one to one that is proven, since the flow that
// the leader has taken is the one that it proved last.
func (f *Fan) add(local, remote uint16, now time.Time, proven bool) int {
	fresh := hit{local: local, remote: remote, first: now}
	if len(f.hits) < MaxHits {
		f.hits = append(f.hits, fresh)
		return len(f.hits) - 1
	}
	// Which one, nobody outside can foresee.
	from := int(f.addrs.flow(local, remote, 'v') % MaxHits)
	oldest := -1
	for k := range MaxHits {
		i := (from + k) % MaxHits
		if f.hits[i].hs == nil {
			oldest = i
			break
		}
		if proven && i != f.winner && (oldest < 0 || f.hits[i].first.Before(f.hits[oldest].first)) {
			oldest = i
		}
	}
	if oldest >= 0 {
		f.hits[oldest] = fresh
	}
	return oldest
}

// ReceiveICMP takes an ICMP error that came at now. Only one that quotes a SYN of
// ours, sequence number included, counts; a hit is treated as by
// Handshake.ReceiveICMP.
func (f *Fan) ReceiveICMP(now time.Time, e *ICMPError, out []Segment) []Segment {
	l, r := e.Src.Port(), e.Dst.Port()
	i := f.find(l, r)
	if i >= 0 && f.hits[i].hs != nil {
		return f.hits[i].hs.ReceiveICMP(now, e, out)
	}
	f.n.ICMPs++
	if e.Src.Addr() != f.cfg.Local.Addr() || e.Dst.Addr() != f.cfg.Remote.Addr() || e.Seq != f.isn(l, r) {
		f.n.ICMPsIgnored++
	}
	return out
}

// Deadline returns when Tick must be called at the latest; false means that
// nothing is due.
func (f *Fan) Deadline() (time.Time, bool) {
	return f.due, f.state == SynSent || f.state == SynReceived
}

// Tick does what is due: retransmissions on proven hits, and the timeout.
func (f *Fan) Tick(now time.Time, out []Segment) []Segment {
	if at, ok := f.Deadline(); !ok || now.Before(at) {
		return out
	}
	if !now.Before(f.expire) {
		return f.timeout(out)
	}
	f.due = f.expire
	for i := range f.hits {
		h := f.hits[i].hs
		if h == nil {
			continue
		}
		if at, ok := h.Deadline(); ok && !now.Before(at) {
			out = h.Tick(now, out)
		}
		f.touched(h)
	}
	return out
}

func (f *Fan) timeout(out []Segment) []Segment {
	state, proven := f.state, 0
	for i := range f.hits {
		if h := f.hits[i].hs; h != nil {
			proven++
			if _, ok := h.Deadline(); ok {
				out = h.timeout(out)
			}
		}
	}
	detail := "nothing came back"
	switch n := f.Counters(); {
	case proven > 0:
		detail = fmt.Sprintf("the peer acknowledged %d of our SYNs and took none of them", proven)
	case len(f.hits) > 0:
		detail = fmt.Sprintf("%d SYNs of the peer came and it acknowledged none of ours", len(f.hits))
	case n.RSTs+n.ICMPs > 0:
		detail = fmt.Sprintf("%d resets and %d ICMP errors came back", n.RSTs, n.ICMPs)
	case n.Dropped > 0:
		detail = "only segments that do not belong to this attempt came back"
	}
	f.state = Failed
	f.err = fmt.Errorf("rawtcp: fan to %v: %w after %v in %v: %s", f.cfg.Remote.Addr(), ErrTimeout, f.cfg.Timeout, state, detail)
	return out
}

// Abort gives up. Hits that the peer may believe in get a reset, as from
// Handshake.Abort; with a winner only that.
func (f *Fan) Abort(now time.Time, out []Segment) []Segment {
	for i := range f.hits {
		if h := f.hits[i].hs; h != nil && (f.winner < 0 || f.winner == i) {
			out = h.Abort(now, out)
		}
	}
	if f.state != Failed {
		f.err = fmt.Errorf("rawtcp: fan to %v: %w in %v", f.cfg.Remote.Addr(), ErrAborted, f.state)
		f.state = Closed
	}
	return out
}
