package live

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ring is a packet socket with a TPACKET_V2 receive ring (packet(7), kernel
// Documentation/networking/packet_mmap.rst). Unlike version 3 it shows each frame at
// once. Nobody needs to read it: it keeps the first frames and counts the others
// as dropped, until what was kept is taken out.
type ring struct {
	fd    int
	mem   []byte
	frame int // bytes of a slot
	slots int
	per   int // slots of a block
	block int // bytes of a block
	next  int // slot to read
	vnet  int // bytes of virtio_net_hdr before a frame
}

// ringConfig says what a ring takes in.
type ringConfig struct {
	cooked  bool // frames begin with the IP header
	vnet    bool // ... or have a virtio_net_hdr before the Ethernet header (linux/virtio_net.h)
	ingress bool // not what this namespace sends through the interface
	filter  []bpf.Instruction
	frame   int // bytes of a slot, a multiple of 16 (TPACKET_ALIGNMENT)
	slots   int // least number of slots
}

// packetSocket opens a packet socket in the namespace of the calling thread. It
// receives nothing before bindPacket.
func packetSocket(typ int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket (needs CAP_NET_RAW): %w", err)
	}
	return fd, nil
}

// setup makes the ring of a fresh packet socket, which it owns from then on, and
// may be called on any thread. It takes some ten milliseconds, because the
// kernel waits for an RCU grace period (packet_set_ring); several can be set up at once.
func (r *ring) setup(fd int, c ringConfig) (err error) {
	*r = ring{fd: fd, frame: c.frame}
	set := func(name string, level, opt, value int) {
		if err == nil {
			if err = unix.SetsockoptInt(fd, level, opt, value); err != nil {
				err = fmt.Errorf("%s on a packet socket: %w", name, err)
			}
		}
	}
	set("PACKET_VERSION", unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2)
	if c.vnet {
		r.vnet = vnetLen
		set("PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
	}
	if c.ingress {
		set("PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	// With it the stack stamps a frame where it enters, without it the socket does, later.
	set("SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	if err != nil {
		return err
	}
	if err := attach(fd, c.filter); err != nil {
		return err
	}
	r.per, r.block, r.slots = layout(c.frame, c.slots)
	blocks := r.slots / r.per
	req := unix.TpacketReq{Block_size: uint32(r.block), Block_nr: uint32(blocks), Frame_size: uint32(c.frame), Frame_nr: uint32(r.slots)}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("PACKET_RX_RING of %d bytes: %w", r.block*blocks, err)
	}
	if r.mem, err = unix.Mmap(fd, 0, r.block*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map a packet ring: %w", err)
	}
	return nil
}

// blockBytes is the size of a block that holds several slots: what the page allocator can
// usually give in one piece. Chosen by us.
const blockBytes = 1 << 20

// layout divides the memory of a ring: slots of a block, bytes of a block (whole pages),
// and all slots, at least as many as wanted.
func layout(frame, want int) (per, block, slots int) {
	page := os.Getpagesize()
	pages := func(n int) int { return (n + page - 1) / page * page }
	per = max(min(blockBytes/frame, want), 1)
	block = pages(per * frame)
	per = block / frame
	return per, block, (want + per - 1) / per * per
}

func attach(fd int, filter []bpf.Instruction) error {
	if len(filter) == 0 {
		return nil
	}
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return fmt.Errorf("assemble a packet filter: %w", err)
	}
	prog := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		prog[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	if err != nil {
		return fmt.Errorf("SO_ATTACH_FILTER on a packet socket: %w", err)
	}
	return nil
}

// bindPacket binds to an interface; protocol 0 only sends.
func bindPacket(fd int, protocol uint16, ifindex int) error {
	var be [2]byte
	binary.BigEndian.PutUint16(be[:], protocol)
	sa := &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(be[:]), Ifindex: ifindex}
	if err := unix.Bind(fd, sa); err != nil {
		return fmt.Errorf("bind a packet socket to interface %d: %w", ifindex, err)
	}
	return nil
}

// slot is one received frame. It stays valid until ring.release.
type slot struct {
	stamp int64  // kernel stamp, nanoseconds since 1970
	data  []byte // with the virtio_net_hdr, if the ring has one; cut where the slot ends
	len   int    // bytes on the wire, without it
	out   bool   // sent by this namespace
	// partial says that the checksum was left to hardware that is not there.
	partial bool
}

// head returns the oldest frame not yet released. It makes no system call.
func (r *ring) head(s *slot) bool {
	off := r.next/r.per*r.block + r.next%r.per*r.frame
	h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&r.mem[off]))
	if atomic.LoadUint32(&h.Status)&unix.TP_STATUS_USER == 0 {
		return false
	}
	s.partial = atomic.LoadUint32(&h.Status)&unix.TP_STATUS_CSUMNOTREADY != 0
	s.stamp = int64(h.Sec)*1e9 + int64(h.Nsec)
	s.len = int(h.Len)
	at := off + int(h.Mac)
	s.data = r.mem[at-r.vnet : at+int(h.Snaplen) : off+r.frame]
	// The socket address follows the header, at TPACKET_ALIGN(sizeof(header)).
	ll := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&r.mem[off+int(unsafe.Sizeof(*h)+15)&^15]))
	s.out = ll.Pkttype == unix.PACKET_OUTGOING
	return true
}

// release gives the oldest frame's slot back to the kernel.
func (r *ring) release() {
	off := r.next/r.per*r.block + r.next%r.per*r.frame
	h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&r.mem[off]))
	atomic.StoreUint32(&h.Status, unix.TP_STATUS_KERNEL)
	if r.next++; r.next == r.slots {
		r.next = 0
	}
}

// drops returns how many frames found the ring full since the last call
// (PACKET_STATISTICS resets its counters).
func (r *ring) drops() (uint64, error) {
	st, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("PACKET_STATISTICS: %w", err)
	}
	return uint64(st.Drops), nil
}

// close takes some ten milliseconds too (packet_release); a second call does nothing.
func (r *ring) close() error {
	if r.fd < 0 {
		return nil
	}
	if r.mem != nil {
		unix.Munmap(r.mem)
		r.mem = nil
	}
	err := unix.Close(r.fd)
	r.fd = -1
	return err
}
