package live

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// queue holds frames in the order in which they came. Its memory is outside the Go
// heap and the system gives it page by page as it is used.
type queue struct {
	mem         []byte
	put         int // where the next frame goes
	used        int // bytes, with what was skipped at the end of mem
	items       []item
	first, size int // of items, a ring
}

type item struct {
	ticket
	off, len, used int
}

func (q *queue) open(bytes int) error {
	mem, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("map %d bytes for a link's queue: %w", bytes, err)
	}
	q.mem, q.items = mem, make([]item, queueLen)
	return nil
}

// push copies a frame to the end; false means that there is no room.
func (q *queue) push(frame []byte, t ticket) bool {
	if q.size == len(q.items) {
		return false
	}
	off, n := q.put, len(frame)
	if off+n > len(q.mem) { // frames do not wrap around
		n += len(q.mem) - off
		off = 0
	}
	if q.used+n > len(q.mem) {
		return false
	}
	copy(q.mem[off:], frame)
	q.put = off + len(frame)
	q.used += n
	q.items[(q.first+q.size)%len(q.items)] = item{t, off, len(frame), n}
	q.size++
	return true
}

// peek returns the ticket of the first frame.
func (q *queue) peek() (*ticket, bool) {
	if q.size == 0 {
		return nil, false
	}
	return &q.items[q.first].ticket, true
}

// front returns the first frame; it stays valid until pop.
func (q *queue) front() ([]byte, ticket) {
	it := &q.items[q.first]
	return q.mem[it.off : it.off+it.len : it.off+it.len], it.ticket
}

func (q *queue) pop() {
	q.used -= q.items[q.first].used
	q.first = (q.first + 1) % len(q.items)
	if q.size--; q.size == 0 {
		q.put, q.used = 0, 0 // touch as few pages as possible
	}
}

func (q *queue) close() error {
	if q.mem == nil {
		return nil
	}
	err := unix.Munmap(q.mem)
	q.mem = nil
	return err
}
