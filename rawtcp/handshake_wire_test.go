package rawtcp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// end is one end of a wire: a Handshake, or the model of a kernel's TCP.
type end interface {
	Start(now time.Time, out []Segment) []Segment
	Receive(now time.Time, s *Segment, out []Segment) []Segment
	ReceiveICMP(now time.Time, e *ICMPError, out []Segment) []Segment
	Tick(now time.Time, out []Segment) []Segment
	Deadline() (time.Time, bool)
	State() State
}

var (
	_ end = (*Handshake)(nil)
	_ end = (*stockTCP)(nil)

	endpointA = netip.MustParseAddrPort("192.0.2.1:40001")
	endpointB = netip.MustParseAddrPort("198.51.100.2:40002")
	testEpoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// answer is what a testNAT does to a segment from outside that has no mapping.
type answer int

const (
	answerNothing answer = iota
	answerRST
	answerICMP // admin prohibited
)

// testNAT is a NAT for one flow that keeps ports as they are. Its mapping is
// made by a SYN from inside and taken down by a reset in either direction.
type testNAT struct {
	answer answer
	open   bool
}

// fault is what happens to the n-th packet (from 1) that a host sends.
type fault int

const (
	deliver   fault = iota
	lose            // it vanishes behind the sender's NAT
	duplicate       // it comes twice
	overtaken       // it comes just after the sender's next packet
)

// wire joins two hosts through their NATs in virtual time:
//
//	host 0 -access[0]- NAT 0 -path[0]-> <-path[1]- NAT 1 -access[1]- host 1
type wire struct {
	ends   [2]end
	start  [2]time.Duration // when each end starts
	access [2]time.Duration // host to NAT, one way
	path   [2]time.Duration // from this end's NAT to the other's, one way
	nat    [2]*testNAT      // nil: a public host
	faults map[int]fault    // by the number of the packet

	now    time.Time
	queue  []dueEvent
	events []event
	free   []int // indexes of events that are over
	order  int
	sent   int
	held   [2]*Segment // overtaken and waiting
	out    []Segment
	trace  *strings.Builder // nil: no trace
	timers [2]time.Time
	last   [2]fault         // what happened to the last packet of each end
	up     [2]time.Duration // when each end became established, from the epoch; negative: not yet
}

type place uint8

const (
	atStart place = iota
	atTimer
	atOwnNAT // on the way out
	atPeerNAT
	atHost
)

// event is something that reaches a place. who is the end whose place it is,
// except at atOwnNAT and atPeerNAT, where it is the sender.
type event struct {
	at    time.Time
	place place
	who   int
	seg   Segment
	icmp  *ICMPError
}

func (w *wire) post(e event) {
	w.order++
	i := len(w.events)
	if n := len(w.free); n > 0 {
		i, w.free = w.free[n-1], w.free[:n-1]
		w.events[i] = e
	} else {
		w.events = append(w.events, e)
	}
	// The queue is short, and its latest event comes first.
	due := dueEvent{e.at.Sub(testEpoch), w.order, i}
	at, _ := slices.BinarySearchFunc(w.queue, due, func(a, b dueEvent) int {
		return cmp.Or(cmp.Compare(b.at, a.at), cmp.Compare(b.order, a.order))
	})
	w.queue = slices.Insert(w.queue, at, due)
}

// dueEvent is an event in the queue; of two at the same instant the one posted
// first comes first.
type dueEvent struct {
	at    time.Duration // from the epoch
	order int
	index int // in wire.events
}

// run plays until nothing is left to happen, or until limit after the epoch. It
// reports whether the wire fell silent.
func (w *wire) run(limit time.Duration) bool {
	w.begin()
	return w.until(limit)
}

func (w *wire) begin() {
	w.now = testEpoch
	w.up = [2]time.Duration{-1, -1}
	for i := range w.ends {
		w.post(event{at: testEpoch.Add(w.start[i]), place: atStart, who: i})
	}
}

func (w *wire) until(limit time.Duration) bool {
	for len(w.queue) > 0 {
		next := w.queue[len(w.queue)-1]
		if next.at > limit {
			return false
		}
		w.queue = w.queue[:len(w.queue)-1]
		e := w.events[next.index]
		w.free = append(w.free, next.index)
		w.now = e.at
		w.step(&e)
		for i, end := range w.ends {
			if w.up[i] < 0 && end.State() == Established {
				w.up[i] = w.now.Sub(testEpoch)
			}
		}
	}
	return true
}

func (w *wire) step(e *event) {
	peer := 1 - e.who
	switch e.place {
	case atStart:
		w.send(e.who, w.ends[e.who].Start(w.now, w.out[:0]))
	case atTimer:
		if !w.timers[e.who].Equal(e.at) {
			return // overtaken by an earlier one
		}
		w.timers[e.who] = time.Time{}
		w.send(e.who, w.ends[e.who].Tick(w.now, w.out[:0]))
	case atOwnNAT:
		if nat := w.nat[e.who]; nat != nil {
			switch f := e.seg.Flags; {
			case f&(SYN|ACK) == SYN:
				nat.open = true
			case !nat.open:
				w.log(e, "invalid at its own NAT")
				return
			case f&RST != 0:
				nat.open = false
			}
		}
		w.post(event{at: w.now.Add(w.path[e.who]), place: atPeerNAT, who: e.who, seg: e.seg, icmp: e.icmp})
	case atPeerNAT:
		if nat := w.nat[peer]; nat != nil {
			if !nat.open {
				w.refuse(e, nat.answer)
				return
			}
			if e.icmp == nil && e.seg.Flags&RST != 0 {
				nat.open = false
			}
		}
		w.post(event{at: w.now.Add(w.access[peer]), place: atHost, who: peer, seg: e.seg, icmp: e.icmp})
	case atHost:
		w.log(e, "")
		if e.icmp != nil {
			w.send(e.who, w.ends[e.who].ReceiveICMP(w.now, e.icmp, w.out[:0]))
		} else {
			w.send(e.who, w.ends[e.who].Receive(w.now, &e.seg, w.out[:0]))
		}
	}
}

// refuse is the peer's NAT answering a segment that has no mapping. The answer
// comes from the peer's address.
func (w *wire) refuse(e *event, a answer) {
	s := &e.seg
	if e.icmp != nil || s.Flags&RST != 0 {
		a = answerNothing
	}
	back := event{at: w.now.Add(w.path[1-e.who]), place: atPeerNAT, who: 1 - e.who}
	switch a {
	case answerNothing:
		w.log(e, "dropped by the peer's NAT")
		return
	case answerRST:
		w.log(e, "reset by the peer's NAT")
		back.seg = resetFor(s)
	case answerICMP:
		w.log(e, "prohibited by the peer's NAT")
		back.icmp = &ICMPError{From: s.Dst.Addr(), Type: icmpUnreachable, Code: 13, Src: s.Src, Dst: s.Dst, Seq: s.Seq}
	}
	w.post(back)
}

// resetFor is the reset that a host without the connection answers with (RFC
// 9293 section 3.10.7.1).
func resetFor(s *Segment) Segment {
	r := Segment{Src: s.Dst, Dst: s.Src, Flags: RST | ACK, Ack: s.End()}
	if s.Flags&ACK != 0 {
		r.Flags, r.Seq, r.Ack = RST, s.Ack, 0
	}
	return r
}

// send puts what an end sends on the wire, with the faults, and sets its timer.
func (w *wire) send(who int, out []Segment) {
	w.out = out
	for i := range out {
		w.sent++
		s := out[i]
		s.PayloadLen = len(s.Payload)
		held := w.held[who]
		w.held[who] = nil
		w.last[who] = w.faults[w.sent]
		switch w.last[who] {
		case lose:
			w.log(&event{at: w.now, who: who, place: atOwnNAT, seg: s}, "lost")
			// Its own NAT has seen it all the same.
			if nat := w.nat[who]; nat != nil && s.Flags&(SYN|ACK) == SYN {
				nat.open = true
			}
		case overtaken:
			w.held[who] = &s
		case duplicate:
			w.leave(who, s)
			w.leave(who, s)
		default:
			w.leave(who, s)
		}
		if held != nil {
			w.leave(who, *held)
		}
	}
	if at, ok := w.ends[who].Deadline(); ok {
		if at.Before(w.now) {
			at = w.now
		}
		if !w.timers[who].Equal(at) {
			w.timers[who] = at
			w.post(event{at: at, place: atTimer, who: who})
		}
	} else {
		w.timers[who] = time.Time{}
	}
}

func (w *wire) leave(who int, s Segment) {
	w.post(event{at: w.now.Add(w.access[who]), place: atOwnNAT, who: who, seg: s})
}

func (w *wire) log(e *event, note string) {
	if w.trace == nil {
		return
	}
	what := fmt.Sprintf("%v seq %d ack %d len %d %v", e.seg.Flags, e.seg.Seq, e.seg.Ack, len(e.seg.Payload), e.seg.Options.String())
	if e.icmp != nil {
		what = e.icmp.String()
	}
	from := e.who
	if e.place == atHost {
		from = 1 - e.who
	}
	fmt.Fprintf(w.trace, "%12v  %c>%c  %s %s\n", w.now.Sub(testEpoch), 'A'+rune(from), 'B'-rune(from), what, note)
}

// bothEstablished reports whether both ends are connected.
func (w *wire) bothEstablished() bool {
	return w.ends[0].State() == Established && w.ends[1].State() == Established
}

// pair is two Handshakes of one flow, each with the configuration given except
// for what makes it this end's.
func pair(a, b HandshakeConfig) (*Handshake, *Handshake, error) {
	a.Local, a.Remote = endpointA, endpointB
	b.Local, b.Remote = endpointB, endpointA
	set(&a.ISN, 1000)
	set(&b.ISN, 900_000)
	ha, err := NewHandshake(a)
	if err != nil {
		return nil, nil, err
	}
	hb, err := NewHandshake(b)
	return ha, hb, err
}
