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

	queueSize = 64 << 20 // bytes of a link's queue: 30 ms of 2 GiB a second
	queueLen  = 1 << 16  // frames
)

// linkStream keeps the draws of a link apart from those of the NATs, which have the same
// seed.
const linkStream = 0x6c696e6b

// vnetLen is the length of struct virtio_net_hdr (linux/virtio_net.h).
const vnetLen = 10

// link carries frames between the providers, in a thread for each direction.
type link struct {
	ways    [2]way // from A to B, from B to A
	wakeFD  int    // readable once the threads are to stop
	stop    atomic.Bool
	running bool
	threads sync.WaitGroup
	note    []string // set before the link is used
}

// newLink makes a link without sockets.
func newLink(spec *lab.Link, records int, seed uint64) *link {
	l := &link{wakeFD: -1}
	for i, dir := range []lab.Direction{lab.AB, lab.BA} {
		w := &l.ways[i]
		w.dir, w.limit, w.stop = dir, records, &l.stop
		w.law = newLaw(spec, dir)
		w.rng.Seed(seed, linkStream+uint64(i))
		w.out, w.small.fd, w.large.fd = -1, -1, -1
		w.records = make([]record, 0, records) // so that the thread need not allocate
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
		if err := w.q.open(queueSize); err != nil {
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

// start runs the link until end.
func (l *link) start(realtime bool) {
	l.running = true
	raiseProcs(linkProcs)
	prepared := make(chan []string)
	for i := range l.ways {
		l.threads.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			prepared <- prepare(realtime)
			l.ways[i].run(l.wakeFD)
		})
	}
	for range l.ways {
		l.note = <-prepared // both say the same
	}
}

// set replaces what the link does to packets and counts anew.
func (l *link) set(spec *lab.Link) {
	for i := range l.ways {
		l.ways[i].setLaw(newLaw(spec, l.ways[i].dir))
	}
}

// clear throws away what is on the link.
func (l *link) clear() {
	for i := range l.ways {
		l.ways[i].clear()
	}
}

func (l *link) setFaults(faults []lab.Fault) {
	for i := range l.ways {
		l.ways[i].setFaults(faults)
	}
}

func (l *link) reset() {
	for i := range l.ways {
		l.ways[i].reset()
	}
}

func (l *link) notes() []string { return slices.Clone(l.note) }

func (l *link) counters() (ab, ba Counters) { return l.ways[0].counters(), l.ways[1].counters() }

// transits lists those of both ways in the order in which they entered.
func (l *link) transits() []Transit {
	list := append(l.ways[0].transits(), l.ways[1].transits()...)
	slices.SortStableFunc(list, func(a, b Transit) int { return a.Entered.Compare(b.Entered) })
	return list
}

// end stops the threads, if they run, and lets nobody use the sockets any more.
func (l *link) end() error {
	if l.running {
		l.stop.Store(true)
		if _, err := unix.Write(l.wakeFD, binary.NativeEndian.AppendUint64(nil, 1)); err != nil {
			return fmt.Errorf("wake the link: %w", err)
		}
		l.threads.Wait()
		lowerProcs(linkProcs)
	}
	for i := range l.ways {
		l.ways[i].end()
	}
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
