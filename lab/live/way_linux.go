package live

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/lab"
)

// Chosen by us.
const (
	wakeUp     = 250 * time.Microsecond // what ppoll may be late on an idle virtual machine; see wait
	nap        = 50 * time.Microsecond
	spin       = 40 * time.Microsecond
	spinShare  = 8                      // one part in so many of all time may be spun,
	spinSaved  = time.Millisecond       // and this much at once after a quiet time
	flood      = 250 * time.Microsecond // how late frames may be when there are so many that this is used up
	shortSlice = 100 * time.Microsecond // the shortest that the kernel takes
	lookIn     = 2 * time.Millisecond   // before the smaller ring is full at a million frames a second
	headLen    = 160                    // bytes kept of a packet: the longest IP and TCP headers have 120
)

// way is one direction of a link, and its thread. Each has one, because to put out a frame takes
// some 50 microseconds, in which the kernel carries it on to the host, and two SYNs that cross are
// often due at the same time.
type way struct {
	dir          lab.Direction
	small, large ring // where its frames come in
	out          int  // packet socket that puts them out
	stop         *atomic.Bool
	spare        int64 // nanoseconds that may be spun, as it was at
	spareAt      int64

	mu      sync.Mutex // held by the thread while it moves frames; guards what follows, and the rings
	closed  bool
	law     law
	rng     rand.PCG
	q       queue
	lastDue int64
	tcp     int // packets since reset
	held    []heldFrame
	count   Counters
	gen     uint32 // of the records, goes up with reset
	records []record
	limit   int // of records
}

// record is a Transit without pointers.
type record struct {
	stamp, left int64
	number, len int32
	fate        uint8
	headLen     uint8
	head        [headLen]byte
}

var fates = [...]Fate{Waiting, Delivered, Lost, Duplicated, Reordered, Overflow}

const (
	isWaiting = iota
	isDelivered
	isLost
	isDuplicated
	isReordered
	isOverflow
)

// heldFrame is a frame that waits for later ones to overtake it.
type heldFrame struct {
	frame  []byte
	ticket ticket
	after  int   // the number of the packet that lets it go
	limit  int64 // or the time
}

// ticket is what the link knows of a frame besides its bytes.
type ticket struct {
	due    int64
	number int32 // of a TCP packet, else 0
	rec    int32 // index into records, or -1
	gen    uint32
	twice  bool
}

// prepare makes the calling thread a punctual one and returns what is not allowed.
func prepare(realtime bool) (notes []string) {
	// PR_SET_TIMERSLACK(2const): in nanoseconds, default 50,000.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		notes = append(notes, fmt.Sprintf("lab: timer slack stays at its default: %v", err))
	}
	var fifo error
	if realtime {
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
		if fifo = unix.SchedSetAttr(0, &attr, 0); fifo != nil {
			notes = append(notes, fmt.Sprintf("lab: no SCHED_FIFO, so other work can delay packets: %v (needs CAP_SYS_NICE, as root has it)", fifo))
		}
	}
	if !realtime || fifo != nil {
		// A short slice lets a thread that wakes up preempt one that computes (kernel 6.12,
		// PREEMPT_SHORT; older ones ignore it). With both processors busy it makes the
		// 90th percentile of the delay's error 20 times smaller.
		if attr, err := unix.SchedGetAttr(0, 0); err == nil && attr.Policy == unix.SCHED_NORMAL {
			attr.Runtime = uint64(shortSlice)
			// Refused: it stays as it is, and the note above says the rest.
			_ = unix.SchedSetAttr(0, attr, 0)
		}
	}
	return notes
}

// run carries frames until stop; wakeFD becomes readable then.
func (w *way) run(wakeFD int) {
	var fds []unix.PollFd
	for _, fd := range []int{wakeFD, w.small.fd, w.large.fd} {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	for !w.stop.Load() {
		w.mu.Lock()
		next, delay := w.work(), w.law.delay
		w.mu.Unlock()
		w.wait(next, delay, fds)
	}
}

// wait returns when a frame has come that is to be dealt with, when next is there, shortly before, or when
// the way is to end. An idle processor takes up to a quarter of a millisecond to wake from a longer sleep,
// so the last part of the wait is made of naps, between which it does not fall asleep in earnest, and the
// very last is spun. Naps leave the processor to others: two
// hosts may be spinning towards their own instants on a machine with two of them.
//
// In a flood of frames the next one is always due at once. Who spun for each would hold a processor that the
// senders need, so spinning has a budget, and frames then leave a few at a time. And while some wait, those that
// come, which are due later, need not wake anybody, if the delay is long enough to look at them in time.
func (w *way) wait(next, delay int64, fds []unix.PollFd) {
	var ts *unix.Timespec
	if next != math.MaxInt64 {
		now := time.Now().UnixNano()
		left := next - now
		switch {
		case left <= int64(spin) && w.maySpin(now):
			for left > 0 && !w.arrived() && !w.stop.Load() {
				left = next - time.Now().UnixNano()
			}
			w.spare -= next - left - now
			return
		case left <= int64(spin):
			left = int64(flood)
		case left <= int64(wakeUp):
			left = min(left-int64(spin), int64(nap))
		default:
			left -= int64(wakeUp)
		}
		if delay >= 4*int64(flood) {
			fds = fds[:1]
			left = min(left, delay/2, int64(lookIn))
		}
		t := unix.NsecToTimespec(left)
		ts = &t
	}
	// An error can only be EINTR: the loop asks again.
	_, _ = unix.Ppoll(fds, ts, nil)
}

// maySpin reports whether some of the time that may be spun is left.
func (w *way) maySpin(now int64) bool {
	w.spare = min(w.spare+(now-w.spareAt)/spinShare, int64(spinSaved))
	w.spareAt = now
	return w.spare > 0
}

func (w *way) arrived() bool {
	var s slot
	return w.small.head(&s) || w.large.head(&s)
}

// work moves every frame that can be moved now and returns when the next one is
// due, math.MaxInt64 when none waits.
func (w *way) work() int64 {
	for {
		next := w.putOut()
		if !w.takeIn() {
			return next
		}
	}
}

// What is moved before the next look at the clock and at the rings, chosen by us.
// To put 64 KiB out costs several times what taking them in costs, as the kernel carries
// them on to their socket within the call; where the link cannot keep up, frames
// shall pile up in the queue and not in the smaller rings.
const (
	batch      = 16 // frames
	batchLarge = 4  // of them large, taken in
)

// takeIn queues frames that have come, oldest first.
func (w *way) takeIn() bool {
	var a, b slot
	large := 0
	for n := range batch {
		haveA, haveB := w.small.head(&a), w.large.head(&b)
		switch {
		case haveA && (!haveB || a.stamp <= b.stamp):
			w.accept(&a)
			w.small.release()
		case haveB:
			w.accept(&b)
			w.large.release()
			if large++; large == batchLarge {
				return true
			}
		default:
			return n > 0
		}
	}
	return true
}

// accept decides what happens to a frame and queues it.
func (w *way) accept(s *slot) {
	p := classify(s.data[vnetLen:])
	w.count.Bytes += uint64(s.len)
	// In the order of arrival, also where stamps of two processors are not. No frame is held for longer than
	// delay and jitter from now: the clock may have been set since the last one.
	w.lastDue = min(max(w.lastDue, s.stamp+w.law.delay+w.jitter()), time.Now().UnixNano()+w.law.longest())
	t := ticket{due: w.lastDue, rec: -1, gen: w.gen}
	var f lab.Fault
	if p.tcp {
		w.count.TCP++
		w.tcp++
		t.number = int32(w.tcp)
		f = w.law.faults[w.tcp]
	} else {
		w.count.Other++
	}
	if p.tcp || p.icmp {
		t.rec = w.record(s, &p, t.number)
	}
	if f.Action == "" && w.unlucky() {
		f.Action = lab.Lose
	}
	switch f.Action {
	case lab.Lose:
		w.count.Lost++
		w.settle(&t, isLost, 0)
		return
	case lab.Reorder:
		w.held = append(w.held, heldFrame{frame: append([]byte(nil), s.data...), ticket: t,
			after: w.tcp + max(f.Behind, 1), limit: t.due + int64(lab.ReorderLimit)})
		return
	case lab.Duplicate:
		t.twice = true
	}
	if len(s.data) != vnetLen+s.len || !w.q.push(s.data, t) { // cut: longer than a slot
		w.count.Overflow++
		w.settle(&t, isOverflow, 0)
	}
}

// putOut sends what is due and returns when the next frame is.
func (w *way) putOut() int64 {
	large := false
	for n := 0; ; n++ {
		next := int64(math.MaxInt64)
		if t, ok := w.q.peek(); ok {
			next = t.due
		}
		var held *heldFrame
		for i := range w.held {
			if h := &w.held[i]; h.limit < next {
				next, held = h.limit, h
			}
		}
		if next == math.MaxInt64 || n == batch || large {
			return next
		}
		now := time.Now().UnixNano()
		if now < next && next-now <= w.law.longest()+int64(lab.ReorderLimit) { // else the clock was set back
			return next
		}
		if held != nil {
			w.letGo(math.MaxInt, max(now, next))
			continue
		}
		frame, t := w.q.front()
		w.send(frame, &t, isDelivered, now)
		number := int(t.number)
		large = len(frame) > splitLen
		w.q.pop()
		if len(w.held) > 0 && number > 0 {
			w.letGo(number, 0)
		}
	}
}

// letGo sends the held frames that packet number n has overtaken, or whose time is
// up at now.
func (w *way) letGo(n int, now int64) {
	rest := w.held[:0]
	for _, h := range w.held {
		if n != math.MaxInt && n >= h.after || now >= h.limit {
			w.send(h.frame, &h.ticket, isReordered, time.Now().UnixNano())
		} else {
			rest = append(rest, h)
		}
	}
	w.held = rest
}

// send puts a frame out, twice if so ordered.
func (w *way) send(frame []byte, t *ticket, fate uint8, now int64) {
	err := transmit(w.out, frame)
	if t.twice && err == 0 {
		fate = isDuplicated
		err = transmit(w.out, frame)
	}
	if err != 0 {
		w.count.Overflow++
		w.settle(t, isOverflow, 0)
		return
	}
	w.settle(t, fate, now)
}

// transmit is send(2). It does not tell the Go scheduler: it takes some ten microseconds, and
// to wait for a processor afterwards would take longer.
func transmit(fd int, frame []byte) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&frame[0])), uintptr(len(frame)), unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// record notes that a packet entered, if there is room, and returns its index. Half
// of the room is kept for packets that open or end a flow.
func (w *way) record(s *slot, p *packet, number int32) int32 {
	n := len(w.records)
	if n >= w.limit || !p.notable && n >= w.limit/2 {
		w.count.Unrecorded++
		return -1
	}
	r := record{stamp: s.stamp, number: number, len: int32(s.len - p.ip)}
	r.headLen = uint8(copy(r.head[:], s.data[vnetLen+p.ip:]))
	w.records = append(w.records, r)
	return int32(n)
}

// settle writes into its record what became of a packet.
func (w *way) settle(t *ticket, fate uint8, left int64) {
	if t.rec >= 0 && t.gen == w.gen {
		w.records[t.rec].fate = fate
		w.records[t.rec].left = left
	}
}

// reset forgets records and counters and counts anew.
func (w *way) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget()
}

func (w *way) forget() {
	w.gen++
	w.records = w.records[:0]
	w.tcp, w.count = 0, Counters{}
	for _, r := range []*ring{&w.small, &w.large} {
		_, _ = r.drops() // reading sets the kernel's counter to 0
	}
}

func (w *way) counters() Counters {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		for _, r := range []*ring{&w.small, &w.large} {
			if n, err := r.drops(); err == nil {
				w.count.Overflow += n
			}
		}
	}
	return w.count
}

func (w *way) transits() []Transit {
	w.mu.Lock()
	records := slices.Clone(w.records)
	w.mu.Unlock()
	list := make([]Transit, len(records))
	for i := range records {
		r := &records[i]
		list[i] = Transit{
			Direction: w.dir,
			Number:    int(r.number),
			Entered:   time.Unix(0, r.stamp),
			Fate:      fates[r.fate],
			Len:       int(r.len),
			Head:      r.head[:r.headLen:r.headLen],
		}
		if r.left != 0 {
			list[i].Left = time.Unix(0, r.left)
		}
	}
	return list
}

// end lets nobody use the sockets any more; the thread has ended.
func (w *way) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}
