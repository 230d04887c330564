package rawtcp

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Chosen by us: all frames are in one ring, so that a free frame always finds room.
const (
	xdpFrames = 1024
	xdpChunk  = 2048 // the smallest that the kernel takes (XDP_UMEM_MIN_CHUNK_SIZE)

	// xdpStalls is for how many milliseconds a full device is waited for.
	xdpStalls = 1000

	// XDP_MAX_TX_SKB_BUDGET of linux/if_xdp.h (6.18): packets per system call in
	// copy mode, 32 by default and on older kernels.
	xdpMaxTxBudget = 9
)

// xdpVolley sends through an AF_XDP socket in copy mode: the kernel copies each frame
// into a packet and gives it straight to the driver (xsk_generic_xmit).
type xdpVolley struct {
	fd    int
	umem  []byte
	size  int
	tx    xdpRing
	done  xdpRing // the completion ring
	maps  [][]byte
	free  []uint64 // addresses of frames that the kernel does not hold
	slots [][]byte
	n     int // how many of them the next fire sends
	poll  [1]unix.PollFd
}

// xdpRing is one of the rings that are shared with the kernel.
type xdpRing struct {
	producer, consumer *uint32
	desc               unsafe.Pointer
	mask               uint32
}

// xdpDesc is struct xdp_desc.
type xdpDesc struct {
	addr         uint64
	len, options uint32
}

func openXDP(index int, template []byte) (volley, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, fmt.Errorf("this kernel has no AF_XDP: %w: %w", err, errors.ErrUnsupported)
	}
	if err != nil {
		return nil, socketError("AF_XDP", err)
	}
	v := &xdpVolley{fd: fd, size: len(template), free: make([]uint64, 0, xdpFrames), slots: make([][]byte, blastBatch)}
	if err := v.setUp(index); err != nil {
		v.close()
		return nil, fmt.Errorf("AF_XDP: %w", err)
	}
	for i := range uint64(xdpFrames) {
		copy(v.frame(i*xdpChunk), template)
		v.free = append(v.free, i*xdpChunk)
	}
	return v, nil
}

func (v *xdpVolley) setUp(index int) error {
	var err error
	if v.umem, err = unix.Mmap(-1, 0, xdpFrames*xdpChunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(&v.umem[0]))), Len: uint64(len(v.umem)), Size: xdpChunk}
	if err := v.setsockopt(unix.XDP_UMEM_REG, unsafe.Pointer(&reg), unsafe.Sizeof(reg)); err != nil {
		return fmt.Errorf("register %d KiB of memory (RLIMIT_MEMLOCK): %w", len(v.umem)>>10, err)
	}
	frames, few := uint32(xdpFrames), uint32(64)
	// bind wants a fill ring, though nothing is received.
	for _, ring := range []struct {
		name int
		size *uint32
	}{{unix.XDP_UMEM_FILL_RING, &few}, {unix.XDP_UMEM_COMPLETION_RING, &frames}, {unix.XDP_TX_RING, &frames}} {
		if err := v.setsockopt(ring.name, unsafe.Pointer(ring.size), unsafe.Sizeof(*ring.size)); err != nil {
			return fmt.Errorf("ring %d: %w", ring.name, err)
		}
	}
	var off unix.XDPMmapOffsets
	size := uint32(unsafe.Sizeof(off))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(v.fd), unix.SOL_XDP, unix.XDP_MMAP_OFFSETS, uintptr(unsafe.Pointer(&off)), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		return os.NewSyscallError("getsockopt XDP_MMAP_OFFSETS", errno)
	}
	if v.tx, err = v.ring(off.Tx, unix.XDP_PGOFF_TX_RING, unsafe.Sizeof(xdpDesc{})); err != nil {
		return err
	}
	if v.done, err = v.ring(off.Cr, unix.XDP_UMEM_PGOFF_COMPLETION_RING, 8); err != nil {
		return err
	}
	budget := uint32(xdpFrames)
	if err := v.setsockopt(xdpMaxTxBudget, unsafe.Pointer(&budget), unsafe.Sizeof(budget)); err != nil && !errors.Is(err, unix.ENOPROTOOPT) {
		return fmt.Errorf("packets per call: %w", err)
	}
	return os.NewSyscallError("bind", v.bind(index))
}

// bind binds to the device's first queue. The kernel gives a queue that a closed
// socket had back from a work queue (xp_put_pool), so it may be busy for a moment.
func (v *xdpVolley) bind(index int) error {
	for tries := 0; ; tries++ {
		err := unix.Bind(v.fd, &unix.SockaddrXDP{Flags: unix.XDP_COPY, Ifindex: uint32(index)})
		if !errors.Is(err, unix.EBUSY) || tries == xdpStalls {
			return err
		}
		v.pause()
	}
}

// pause sleeps a millisecond.
func (v *xdpVolley) pause() {
	_, _ = unix.Poll(nil, 1)
}

func (v *xdpVolley) setsockopt(name int, value unsafe.Pointer, size uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(v.fd), unix.SOL_XDP, uintptr(name), uintptr(value), size, 0)
	if errno != 0 {
		return os.NewSyscallError("setsockopt", errno)
	}
	return nil
}

func (v *xdpVolley) ring(off unix.XDPRingOffset, page int64, desc uintptr) (xdpRing, error) {
	m, err := unix.Mmap(v.fd, page, int(off.Desc)+int(desc)*xdpFrames, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return xdpRing{}, os.NewSyscallError("mmap a ring", err)
	}
	v.maps = append(v.maps, m)
	return xdpRing{
		producer: (*uint32)(unsafe.Pointer(&m[off.Producer])),
		consumer: (*uint32)(unsafe.Pointer(&m[off.Consumer])),
		desc:     unsafe.Pointer(&m[off.Desc]),
		mask:     xdpFrames - 1,
	}, nil
}

func (v *xdpVolley) frame(addr uint64) []byte { return v.umem[addr : addr+uint64(v.size)] }

// collect takes back the frames that the kernel is done with.
func (v *xdpVolley) collect() {
	from, to := *v.done.consumer, atomic.LoadUint32(v.done.producer)
	for ; from != to; from++ {
		v.free = append(v.free, *(*uint64)(unsafe.Add(v.done.desc, uintptr(from&v.done.mask)*8)))
	}
	atomic.StoreUint32(v.done.consumer, from)
}

func (v *xdpVolley) room(want int) [][]byte {
	v.collect()
	n := min(want, len(v.free), len(v.slots))
	for i := range n {
		v.slots[i] = v.frame(v.free[len(v.free)-1-i])
	}
	v.n = n
	return v.slots[:n]
}

// fire puts the frames into the ring and makes the kernel look until it has taken all.
func (v *xdpVolley) fire() (int, error) {
	before := *v.tx.producer
	at := before
	for i := range v.n {
		addr := v.free[len(v.free)-1-i]
		*(*xdpDesc)(unsafe.Add(v.tx.desc, uintptr(at&v.tx.mask)*unsafe.Sizeof(xdpDesc{}))) = xdpDesc{addr: addr, len: uint32(v.size)}
		at++
	}
	v.free = v.free[:len(v.free)-v.n]
	atomic.StoreUint32(v.tx.producer, at)
	stalls := 0
	for seen := before; seen != at; {
		_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(v.fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
		left := atomic.LoadUint32(v.tx.consumer)
		switch {
		case errno != 0 && errno != unix.EINTR && errno != unix.EAGAIN && !busy(errno):
			return int(left - before), os.NewSyscallError("sendto", errno)
		case left != seen:
			stalls = 0
		case stalls == xdpStalls:
			return int(left - before), os.NewSyscallError("sendto", unix.ENOBUFS)
		default:
			stalls++
			v.wait()
		}
		seen = left
	}
	return v.n, nil
}

// wait sleeps until the socket has room again, a millisecond at most.
func (v *xdpVolley) wait() {
	v.poll[0] = unix.PollFd{Fd: int32(v.fd), Events: unix.POLLOUT}
	// The result does not matter: fire looks at the ring.
	_, _ = unix.Poll(v.poll[:], 1)
}

func (v *xdpVolley) close() error {
	errs := []error{os.NewSyscallError("close", unix.Close(v.fd))}
	for _, m := range append(v.maps, v.umem) {
		if m != nil {
			errs = append(errs, os.NewSyscallError("munmap", unix.Munmap(m)))
		}
	}
	return errors.Join(errs...)
}
