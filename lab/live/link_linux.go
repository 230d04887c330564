package live

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/lab"
)

// Chosen by us.
const (
	smallFrame = 2048  // slot of a frame within the MTU, with headers of ring and virtio
	smallSlots = 2048  // 13 ms of 150,000 SYNs a second
	largeFrame = 69632 // slot of a frame with segmentation offload: 64 KiB and headers, in whole pages
	largeSlots = 60
	splitLen   = 1600 // bytes; longer frames have segmentation offload

	queueRate  = 2 << 30  // bytes a second a link's queue is made for
	queueLeast = 16 << 20 // bytes
	queueMost  = 64 << 20 // bytes
	queueLen   = 1 << 16  // frames

	wakeUp     = 250 * time.Microsecond // what ppoll may be late on an idle virtual machine; see wait
	nap        = 50 * time.Microsecond
	spin       = 40 * time.Microsecond
	shortSlice = 100 * time.Microsecond // the shortest that the kernel takes
	headLen    = 160                    // bytes kept of a packet: the longest IP and TCP headers have 120
)

// vnetLen is the length of struct virtio_net_hdr (linux/virtio_net.h).
const vnetLen = 10

// link is the thread that carries frames between the providers.
type link struct {
	ways   [2]way // from A to B, from B to A
	wakeFD int
	stop   atomic.Bool
	done   chan struct{}
	note   []string // set before the link is used

	mu      sync.Mutex // held by the thread while it moves frames; guards the ways too
	closed  bool
	gen     uint32 // of the records, goes up with reset
	records []record
	limit   int
}

// way is one direction.
type way struct {
	small, large ring // where its frames come in
	out          int  // packet socket that puts them out
	delay        int64
	q            queue
	lastDue      int64
	faults       map[int]lab.Fault // by packet number
	tcp          int               // packets since reset
	held         []heldFrame
	count        Counters
}

// record is a Transit without pointers.
type record struct {
	stamp, left int64
	number, len int32
	fate        uint8
	way         uint8
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

// newLink makes a link without sockets.
func newLink(spec *lab.Link, records int) *link {
	l := &link{wakeFD: -1, limit: records}
	ab, ba := spec.Delays()
	for i, delay := range []time.Duration{ab, ba} {
		w := &l.ways[i]
		w.delay, w.out, w.small.fd, w.large.fd = int64(delay), -1, -1, -1
	}
	return l
}

// open opens the sockets of a link in the namespace of the calling thread, and
// returns what remains to be done on any thread.
func (l *link) open() (setup []func() error, err error) {
	if l.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	for i := range l.ways {
		w := &l.ways[i]
		for _, r := range []struct {
			*ring
			c ringConfig
		}{
			{&w.small, ringConfig{vnet: true, ingress: true, frame: smallFrame, slots: smallSlots, filter: lengthFilter(false)}},
			{&w.large, ringConfig{vnet: true, ingress: true, frame: largeFrame, slots: largeSlots, filter: lengthFilter(true)}},
		} {
			fd, err := packetSocket(unix.SOCK_RAW)
			if err != nil {
				return nil, err
			}
			r.fd = fd
			setup = append(setup, func() error { return r.setup(fd, r.c) })
		}
		if w.out, err = packetSocket(unix.SOCK_RAW); err != nil {
			return nil, err
		}
		if err := unix.SetsockoptInt(w.out, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return nil, fmt.Errorf("PACKET_VNET_HDR on a packet socket: %w", err)
		}
		if err := w.q.open(queueBytes(time.Duration(w.delay))); err != nil {
			return nil, err
		}
	}
	return setup, nil
}

// bind joins the link to its two interfaces.
func (l *link) bind(a, b int) error {
	for i, c := range [2]struct{ in, out int }{{a, b}, {b, a}} {
		w := &l.ways[i]
		err := errors.Join(bindPacket(w.small.fd, unix.ETH_P_ALL, c.in), bindPacket(w.large.fd, unix.ETH_P_ALL, c.in),
			bindPacket(w.out, 0, c.out))
		if err != nil {
			return err
		}
	}
	return nil
}

// lengthFilter takes long frames, or short ones. The filter sees the Ethernet
// header.
func lengthFilter(long bool) []bpf.Instruction {
	skip := uint8(0)
	if long {
		skip = 1
	}
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: splitLen, SkipTrue: 1 - skip, SkipFalse: skip},
		bpf.RetConstant{Val: math.MaxUint32},
		bpf.RetConstant{Val: 0},
	}
}

func queueBytes(delay time.Duration) int {
	return int(min(max(int64(delay)*(queueRate>>10)/(1e9>>10), queueLeast), queueMost))
}

// start runs the link until close.
func (l *link) start(realtime bool) {
	l.done = make(chan struct{})
	prepared := make(chan struct{})
	raiseProcs()
	go func() {
		defer close(l.done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		l.note = prepare(realtime)
		close(prepared)
		l.run()
	}()
	<-prepared
}

// prepare makes the calling thread a punctual one and returns what is not allowed.
func prepare(realtime bool) (notes []string) {
	// PR_SET_TIMERSLACK(2const): in nanoseconds, default 50,000.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		notes = append(notes, fmt.Sprintf("link: timer slack stays at its default: %v", err))
	}
	var fifo error
	if realtime {
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
		if fifo = unix.SchedSetAttr(0, &attr, 0); fifo != nil {
			notes = append(notes, fmt.Sprintf("link: no SCHED_FIFO, so other work can delay packets: %v (needs CAP_SYS_NICE, as root has it)", fifo))
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

func (l *link) run() {
	fds := []unix.PollFd{{Fd: int32(l.wakeFD), Events: unix.POLLIN}}
	for i := range l.ways {
		w := &l.ways[i]
		fds = append(fds, unix.PollFd{Fd: int32(w.small.fd), Events: unix.POLLIN}, unix.PollFd{Fd: int32(w.large.fd), Events: unix.POLLIN})
	}
	for !l.stop.Load() {
		l.mu.Lock()
		next := l.work()
		l.mu.Unlock()
		l.wait(next, fds)
	}
}

// wait returns when a frame has come, when next is there, shortly before, or when
// the link is to stop. An idle processor takes up to a quarter of a millisecond to wake from a longer sleep,
// so the last part of the wait is made of naps, between which it does not fall asleep in earnest, and the
// very last is spun. Naps leave the processor to others: two
// hosts may be spinning towards their own instants on a machine with two of them.
func (l *link) wait(next int64, fds []unix.PollFd) {
	var ts *unix.Timespec
	if next != math.MaxInt64 {
		left := next - time.Now().UnixNano()
		switch {
		case left <= int64(spin):
			for left > 0 && !l.arrived() && !l.stop.Load() {
				left = next - time.Now().UnixNano()
			}
			return
		case left <= int64(wakeUp):
			left = min(left-int64(spin), int64(nap))
		default:
			left -= int64(wakeUp)
		}
		t := unix.NsecToTimespec(left)
		ts = &t
	}
	// An error can only be EINTR: the loop asks again.
	_, _ = unix.Ppoll(fds, ts, nil)
}

func (l *link) arrived() bool {
	var s slot
	for i := range l.ways {
		if l.ways[i].small.head(&s) || l.ways[i].large.head(&s) {
			return true
		}
	}
	return false
}

// work moves every frame that can be moved now and returns when the next one is
// due, math.MaxInt64 when none waits.
func (l *link) work() int64 {
	for {
		next := int64(math.MaxInt64)
		for i := range l.ways {
			next = min(next, l.putOut(&l.ways[i]))
		}
		took := false
		for i := range l.ways {
			took = l.takeIn(i) || took
		}
		if !took {
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
func (l *link) takeIn(i int) bool {
	w := &l.ways[i]
	var a, b slot
	large := 0
	for n := range batch {
		haveA, haveB := w.small.head(&a), w.large.head(&b)
		switch {
		case haveA && (!haveB || a.stamp <= b.stamp):
			l.accept(i, &a)
			w.small.release()
		case haveB:
			l.accept(i, &b)
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
func (l *link) accept(i int, s *slot) {
	w := &l.ways[i]
	p := classify(s.data[vnetLen:])
	w.count.Bytes += uint64(s.len)
	t := ticket{due: s.stamp + w.delay, rec: -1, gen: l.gen}
	// A clock that was set back or ahead since the stamp must not hold a frame for long.
	if now := time.Now().UnixNano(); t.due > now+w.delay {
		t.due = now + w.delay
	}
	w.lastDue = max(w.lastDue, t.due)
	t.due = w.lastDue
	var f lab.Fault
	if p.tcp {
		w.count.TCP++
		w.tcp++
		t.number = int32(w.tcp)
		if w.faults != nil {
			f = w.faults[w.tcp]
		}
	} else {
		w.count.Other++
	}
	if p.tcp || p.icmp {
		t.rec = l.record(i, s, &p, t.number)
	}
	switch f.Action {
	case lab.Lose:
		w.count.Lost++
		l.settle(&t, isLost, 0)
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
		l.settle(&t, isOverflow, 0)
	}
}

// putOut sends what is due and returns when the next frame is.
func (l *link) putOut(w *way) int64 {
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
		if now < next {
			return next
		}
		if held != nil {
			l.letGo(w, math.MaxInt, now)
			continue
		}
		frame, t := w.q.front()
		l.send(w, frame, &t, isDelivered, now)
		number := int(t.number)
		large = len(frame) > splitLen
		w.q.pop()
		if len(w.held) > 0 && number > 0 {
			l.letGo(w, number, 0)
		}
	}
}

// letGo sends the held frames that packet number n has overtaken, or whose time is
// up at now.
func (l *link) letGo(w *way, n int, now int64) {
	rest := w.held[:0]
	for _, h := range w.held {
		if n != math.MaxInt && n >= h.after || now >= h.limit {
			l.send(w, h.frame, &h.ticket, isReordered, time.Now().UnixNano())
		} else {
			rest = append(rest, h)
		}
	}
	w.held = rest
}

// send puts a frame out, twice if so ordered.
func (l *link) send(w *way, frame []byte, t *ticket, fate uint8, now int64) {
	err := transmit(w.out, frame)
	if t.twice && err == 0 {
		fate = isDuplicated
		err = transmit(w.out, frame)
	}
	if err != 0 {
		w.count.Overflow++
		l.settle(t, isOverflow, 0)
		return
	}
	l.settle(t, fate, now)
}

// transmit is send(2). It does not tell the Go scheduler: it takes some ten microseconds, and
// to wait for a processor afterwards would take longer.
func transmit(fd int, frame []byte) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&frame[0])), uintptr(len(frame)), unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// record notes that a packet entered, if there is room, and returns its index. Half
// of the room is kept for packets that open or end a flow.
func (l *link) record(i int, s *slot, p *packet, number int32) int32 {
	n := len(l.records)
	if n >= l.limit || !p.notable && n >= l.limit/2 {
		l.ways[i].count.Unrecorded++
		return -1
	}
	r := record{stamp: s.stamp, number: number, len: int32(s.len - p.ip), way: uint8(i)}
	r.headLen = uint8(copy(r.head[:], s.data[vnetLen+p.ip:]))
	l.records = append(l.records, r)
	return int32(n)
}

// settle writes into its record what became of a packet.
func (l *link) settle(t *ticket, fate uint8, left int64) {
	if t.rec >= 0 && t.gen == l.gen {
		l.records[t.rec].fate = fate
		l.records[t.rec].left = left
	}
}

// setFaults replaces the faults and counts anew.
func (l *link) setFaults(faults []lab.Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, d := range []lab.Direction{lab.AB, lab.BA} {
		w := &l.ways[i]
		w.faults = nil
		for _, f := range faults {
			if f.Direction == d {
				if w.faults == nil {
					w.faults = map[int]lab.Fault{}
				}
				w.faults[f.Packet] = f
			}
		}
	}
	l.forget()
}

// reset forgets records and counters and counts anew.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget()
}

func (l *link) notes() []string { return slices.Clone(l.note) }

func (l *link) forget() {
	l.gen++
	l.records = l.records[:0]
	for i := range l.ways {
		w := &l.ways[i]
		w.tcp, w.count = 0, Counters{}
		for _, r := range []*ring{&w.small, &w.large} {
			_, _ = r.drops() // reading sets the kernel's counter to 0
		}
	}
}

func (l *link) counters(i int) Counters {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.ways[i]
	if !l.closed {
		for _, r := range []*ring{&w.small, &w.large} {
			if n, err := r.drops(); err == nil {
				w.count.Overflow += n
			}
		}
	}
	return w.count
}

func (l *link) transits() []Transit {
	l.mu.Lock()
	records := append([]record(nil), l.records...)
	l.mu.Unlock()
	list := make([]Transit, len(records))
	for i := range records {
		r := &records[i]
		list[i] = Transit{
			Direction: [...]lab.Direction{lab.AB, lab.BA}[r.way],
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

// end stops the thread, if it runs, and lets nobody use the sockets any more.
func (l *link) end() error {
	defer func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
	}()
	if l.done == nil {
		return nil
	}
	l.stop.Store(true)
	if _, err := unix.Write(l.wakeFD, binary.NativeEndian.AppendUint64(nil, 1)); err != nil {
		return fmt.Errorf("wake the link: %w", err)
	}
	<-l.done
	lowerProcs()
	return nil
}

// closers lists what gives the link's descriptors and memory back, once the thread has
// ended.
func (l *link) closers() []func() error {
	list := []func() error{func() error { return closeFD(&l.wakeFD) }}
	for i := range l.ways {
		w := &l.ways[i]
		list = append(list, w.small.close, w.large.close, w.q.close, func() error { return closeFD(&w.out) })
	}
	return list
}

func closeFD(fd *int) error {
	if *fd < 0 {
		return nil
	}
	err := unix.Close(*fd)
	*fd = -1
	return err
}
