package sim

import "math"

// never is the time of a timer that is not set.
const never int64 = math.MaxInt64

// what is the kind of an event. Of events at the same time those with the
// lower kind come first: a packet from the link before one from the host, so that a
// SYN that reaches a NAT at the instant at which the other leaves it is
// early, as timing.Path.Regime has it.
type what uint8

const (
	fromLink    what = iota // a packet reaches a provider from the link
	fromOutside             // a packet reaches a NAT from outside
	letGo                   // the link lets a reordered packet go
	toHost                  // a packet reaches a host
	fromInside              // a packet reaches a NAT from inside
	natTimer                // a NAT has something to send
	others                  // another subscriber sends a SYN
	primeAt                 // a host sends its priming SYN
	armAt                   // a host parks its socket
	openAt                  // a parked socket is let go
	start                   // a host's instant
	hostTimer               // a host has something to do
)

// event is something that happens at a time.
type event struct {
	at   int64  // nanoseconds after Epoch
	n    uint64 // kind and order of making
	data []byte // a packet from the IP header on
	gen  uint32 // of a timer: an older one is void
	syn  int32  // of a packet between the NATs: the index of its passage; -1: none
	who  uint16 // the number of the host or NAT; of the link and others the side
	from uint16 // of a packet on its way out: the host that it comes from
	kind what
}

func (e *event) before(f *event) bool {
	if e.at != f.at {
		return e.at < f.at
	}
	return e.n < f.n
}

// queue is a binary heap of events.
type queue struct {
	list []event
	made uint64
}

func (q *queue) reset() {
	clear(q.list)
	q.list, q.made = q.list[:0], 0
}

func (q *queue) push(e event) {
	q.made++
	e.n = uint64(e.kind)<<56 | q.made
	q.list = append(q.list, e)
	i := len(q.list) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(&q.list[up]) {
			break
		}
		q.list[i] = q.list[up]
		i = up
	}
	q.list[i] = e
}

// pop removes the first event of a queue that is not empty.
func (q *queue) pop() event {
	first := q.list[0]
	n := len(q.list) - 1
	last := q.list[n]
	q.list[n] = event{}
	q.list = q.list[:n]
	if n == 0 {
		return first
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= n {
			break
		}
		if down+1 < n && q.list[down+1].before(&q.list[down]) {
			down++
		}
		if !q.list[down].before(&last) {
			break
		}
		q.list[i] = q.list[down]
		i = down
	}
	q.list[i] = last
	return first
}

// arena gives out memory for packets until it is reset.
type arena struct {
	block []byte
	used  int
}

const arenaBlock = 16 << 10 // bytes; more than most trials need

func (a *arena) alloc(n int) []byte {
	if a.used+n > len(a.block) {
		a.block, a.used = make([]byte, max(arenaBlock, n)), 0
	}
	b := a.block[a.used : a.used+n : a.used+n]
	a.used += n
	return b
}

func (a *arena) reset() { a.used = 0 }
