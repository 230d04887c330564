package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Given by the kernel (include/uapi/linux/if_packet.h, and tpacket_rcv in
// net/packet/af_packet.c for the place of the data).
const (
	tpacketAlignment = 16
	v2HeaderLen      = (int(unsafe.Sizeof(unix.Tpacket2Hdr{})) + tpacketAlignment - 1) &^ (tpacketAlignment - 1)
	v3HeaderLen      = (int(unsafe.Sizeof(unix.Tpacket3Hdr{})) + tpacketAlignment - 1) &^ (tpacketAlignment - 1)
	// v2DataAt is where the data of a cooked frame begin: behind header and
	// address, aligned, and 16 bytes for a link header that is not there.
	v2DataAt = (v2HeaderLen+unix.SizeofSockaddrLinklayer+tpacketAlignment-1)&^(tpacketAlignment-1) + 16

	outgoing = unix.PACKET_OUTGOING
)

// Chosen by us.
const (
	reactFrame    = 2048      // holds any handshake segment whole
	evidenceBlock = 128 << 10 // many blocks, so that a slow reader with a trickle of packets loses none
	minBlock      = 16 << 10  // of a small buffer
	evidenceFrame = 2048      // TPACKET_V3 only checks it
	batchPackets  = 64        // taken under one lock; they and their data stay in a first level cache
	batchBytes    = 16 << 10
	napPackets    = 128       // fewer are not worth the delay
	napRate       = 400 << 20 // bytes of ring a second: 2.5 million SYNs, twice what one core sends
)

// ring is a packet socket with its ring of received frames.
//
// It is made with golang.org/x/sys and not with mdlayher/socket, which gives
// every socket to the runtime's poller: the kernel would then wake a thread of the
// runtime for each frame, on a machine where a spinning thread needs the CPUs, and
// the wait would end in the Go scheduler instead of on the calling thread.
type ring struct {
	v3   bool
	room int // for a cooked header before each packet; 0 = none

	// life holds the descriptors: read-locked while one is in use without mu,
	// locked to close them.
	life   sync.RWMutex
	closed atomic.Bool
	fd     int
	wake   int // eventfd: a ppoll has to look around

	// What the reader has taken out of the ring and not handed out: the ring is locked
	// once for a batch, not for each packet.
	batch   []Packet
	handed  int           // of batch
	slept   time.Time     // when it last found the ring empty; since then:
	taken   int           // packets
	blocks  int           // V3: blocks given back
	latency time.Duration // V3: half of what the caller allows, for the kernel's timeout and for ours

	mu   sync.Mutex // the mapping and all below
	mem  []byte     // nil when closed
	unit int        // bytes of a frame (V2) or block (V3)
	n    int        // how many
	at   int        // the one to be read next
	left int        // V3: packets left in that block
	off  int        // V3: where the next of them is in the block

	out      []byte // the data of batch
	ifaces   []Interface
	template Interface     // what a newly seen interface has in common
	ids      map[int32]int // interface number -> index into ifaces; nil when bound to one

	received, dropped uint64
}

func openRing(iface string, c *Config) (*ring, error) {
	what := "capture: open on every interface"
	if iface != "" {
		what = "capture: open on " + iface
	}
	r := &ring{fd: -1, wake: -1, v3: c.Mode == ModeEvidence}
	if err := r.open(iface, c); err != nil {
		r.release()
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return r, nil
}

func (r *ring) open(iface string, c *Config) error {
	var err error
	// Protocol 0: packet_create hooks nothing into the network stack before bind.
	if r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return explain(os.NewSyscallError("socket", err))
	}
	if r.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	index := 0
	if iface != "" {
		if index, err = r.interfaceIndex(iface); err != nil {
			return err
		}
	}
	link := LinkRaw
	if c.Cooked {
		link, r.room = LinkLinuxSLL2, sll2Len
	}
	r.template = Interface{Filter: c.FilterText, OS: runtime.GOOS, Link: link}
	if iface != "" {
		r.template.Name = iface
		r.ifaces = []Interface{r.template}
	} else {
		r.ids = make(map[int32]int)
	}

	snaplen := c.Snaplen
	if snaplen == 0 {
		snaplen = maxSnaplen
		if c.Mode == ModeReact {
			snaplen = reactFrame - v2DataAt
		}
	}
	r.template.Snaplen = snaplen
	if c.Cooked {
		r.template.Snaplen = min(snaplen+sll2Len, maxSnaplen)
	}
	for i := range r.ifaces {
		r.ifaces[i].Snaplen = r.template.Snaplen
	}
	if err := r.attach(c.Filter, snaplen); err != nil {
		return err
	}
	// Has the kernel stamp packets where they enter and leave the stack; without it
	// a packet gets its time only in tpacket_rcv.
	if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return os.NewSyscallError("setsockopt SO_TIMESTAMPNS", err)
	}
	if c.InboundOnly {
		if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return os.NewSyscallError("setsockopt PACKET_IGNORE_OUTGOING (Linux 4.20)", err)
		}
	}
	if err := r.makeRing(c, snaplen); err != nil {
		return err
	}
	if err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return r.pending()
}

// makeRing asks for the ring and maps it.
func (r *ring) makeRing(c *Config, snaplen int) error {
	version := unix.TPACKET_V2
	if r.v3 {
		version = unix.TPACKET_V3
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, version); err != nil {
		return os.NewSyscallError("setsockopt PACKET_VERSION", err)
	}
	var err error
	if r.v3 {
		r.unit = evidenceBlock
		for r.unit > minBlock && c.BufferBytes/r.unit < 8 {
			r.unit /= 2
		}
		r.n = c.BufferBytes / r.unit
		err = unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
			Block_size:     uint32(r.unit),
			Block_nr:       uint32(r.n),
			Frame_size:     evidenceFrame,
			Frame_nr:       uint32(r.unit / evidenceFrame * r.n),
			Retire_blk_tov: uint32(max(1, c.Latency/2/time.Millisecond)),
		})
		r.latency = c.Latency / 2
		r.batch = make([]Packet, 0, batchPackets)
		r.out = make([]byte, batchBytes)
	} else {
		r.unit = reactFrame
		for r.unit < snaplen+v2DataAt {
			r.unit *= 2
		}
		block := max(minBuffer, r.unit)
		r.n = max(2, c.BufferBytes/block) * (block / r.unit)
		err = unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
			Block_size: uint32(block),
			Block_nr:   uint32(r.n / (block / r.unit)),
			Frame_size: uint32(r.unit),
			Frame_nr:   uint32(r.n),
		})
		r.batch = make([]Packet, 0, 1)
		r.out = make([]byte, sll2Len+r.unit)
	}
	if err != nil {
		return fmt.Errorf("a ring of %d bytes: %w", r.unit*r.n, os.NewSyscallError("setsockopt PACKET_RX_RING", err))
	}
	// Populated, so that the first packets do not wait for page faults.
	r.mem, err = unix.Mmap(r.fd, 0, r.unit*r.n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	return os.NewSyscallError("mmap", err)
}

// attach sets the filter. What it returns for a packet is how much of that is
// kept.
func (r *ring) attach(filter []bpf.RawInstruction, snaplen int) error {
	if filter == nil {
		var err error
		filter, err = bpf.Assemble([]bpf.Instruction{
			bpf.LoadExtension{Num: bpf.ExtProto},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IPV6, SkipFalse: 1},
			bpf.RetConstant{Val: maxSnaplen},
			bpf.RetConstant{Val: 0},
		})
		if err != nil {
			return fmt.Errorf("assemble the filter: %w", err)
		}
	}
	if len(filter) > 1<<16-1 {
		return fmt.Errorf("a filter of %d instructions: %w", len(filter), unix.EINVAL)
	}
	prog := make([]unix.SockFilter, len(filter))
	for i, in := range filter {
		const retConstant = unix.BPF_RET | unix.BPF_K
		if in.Op == retConstant {
			in.K = min(in.K, uint32(snaplen))
		}
		prog[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(prog))}
	if len(prog) > 0 {
		fprog.Filter = &prog[0]
	}
	err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog)
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
}

// interfaceIndex looks a name up in the network namespace of the socket.
func (r *ring) interfaceIndex(name string) (int, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("an interface name has 1 to 15 bytes: %w", unix.ENODEV)
	}
	if err := unix.IoctlIfreq(r.fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, os.NewSyscallError("SIOCGIFINDEX", err)
	}
	return int(req.Uint32()), nil
}

// interfaceName is the opposite, "" when the interface is gone.
func (r *ring) interfaceName(index int32) string {
	req, err := unix.NewIfreq("x") // any: SIOCGIFNAME reads only the index
	if err != nil {
		return ""
	}
	req.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(r.fd, unix.SIOCGIFNAME, req); err != nil {
		return ""
	}
	return req.Name()
}

// pending returns and clears the error of the socket.
func (r *ring) pending() error {
	errno, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_ERROR", err)
	}
	if errno == 0 {
		return nil
	}
	return fmt.Errorf("the interface: %w", unix.Errno(errno))
}

// explain adds the remedy to an error of socket(2).
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (capturing needs CAP_NET_RAW: sudo setcap cap_net_raw+ep PROGRAM, or run as root)", err)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w (this kernel has no packet sockets: modprobe af_packet, CONFIG_PACKET)", err)
	}
	return err
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// next waits for a packet when poll has none.
func (r *ring) next(ctx context.Context) (*Packet, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("capture: next: %w", err)
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, r.signal)
		defer stop()
	}
	for {
		_, err := r.waitFor(ctx, time.Time{})
		if p := r.poll(); p != nil {
			return p, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// wait waits for a packet, for the instant or for Close.
func (r *ring) wait(until time.Time) (bool, error) {
	return r.waitFor(context.Background(), until)
}

// waitFor is the one place that sleeps. Whoever ends ctx calls signal too.
func (r *ring) waitFor(ctx context.Context, until time.Time) (bool, error) {
	r.life.RLock() // Close signals, then waits for this
	defer r.life.RUnlock()
	nap := r.nap()
	for {
		if r.closed.Load() {
			return false, fmt.Errorf("capture: wait: %w", net.ErrClosed)
		}
		r.mu.Lock()
		ready := r.ready()
		r.mu.Unlock()
		if ready {
			return true, nil
		}
		if err := ctx.Err(); err != nil {
			return false, fmt.Errorf("capture: wait: %w", err)
		}
		left := time.Duration(-1)
		if !until.IsZero() {
			if left = time.Until(until); left <= 0 {
				return false, nil
			}
		}
		fds := [2]unix.PollFd{{Fd: int32(r.wake), Events: unix.POLLIN}, {Fd: int32(r.fd), Events: unix.POLLIN}}
		set := fds[:]
		if nap > 0 {
			set = fds[:1]
			if left < 0 || left > nap {
				left = nap
			}
			nap = 0
		}
		var timeout *unix.Timespec
		if left >= 0 {
			ts := unix.NsecToTimespec(int64(left))
			timeout = &ts
		}
		if _, err := unix.Ppoll(set, timeout, nil); err != nil && err != unix.EINTR {
			return false, fmt.Errorf("capture: wait: %w", os.NewSyscallError("ppoll", err))
		}
		if fds[1].Revents&unix.POLLERR != 0 {
			if err := r.pending(); err != nil {
				return false, fmt.Errorf("capture: wait: %w", err)
			}
		}
		if fds[0].Revents != 0 && !r.closed.Load() {
			var count [8]byte
			if _, err := unix.Read(r.wake, count[:]); err != nil && err != unix.EAGAIN && err != unix.EINTR {
				return false, fmt.Errorf("capture: wait: %w", os.NewSyscallError("read eventfd", err))
			}
		}
	}
}

// nap returns how long not to look at the ring. At a high rate the reader would
// be woken for every block, at a cost that exceeds that of the packets: rather let
// as many pile up as fill a quarter of the ring at the rate since the last sleep,
// but no more than half of it should that rise to napRate.
func (r *ring) nap() time.Duration {
	now := time.Now()
	awake, taken, blocks := now.Sub(r.slept), r.taken, r.blocks
	r.slept, r.taken, r.blocks = now, 0, 0
	if !r.v3 || taken < napPackets || awake <= 0 {
		return 0
	}
	quarter := float64(awake) / float64(max(blocks, 1)) * float64(r.n) / 4
	half := float64(r.n) * float64(r.unit) / 2 / napRate * float64(time.Second)
	return min(r.latency, time.Duration(min(quarter, half)))
}

// signal makes a sleeping waitFor look around.
func (r *ring) signal() {
	r.life.RLock()
	defer r.life.RUnlock()
	if r.wake < 0 {
		return // closed
	}
	one := binary.NativeEndian.AppendUint64(nil, 1)
	// It fails only when the counter is full, and then the other side is awake.
	_, _ = unix.Write(r.wake, one)
}

func (r *ring) close() error {
	if r.closed.Swap(true) {
		return nil
	}
	r.signal()
	r.life.Lock()
	defer r.life.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	count := r.count()
	return errors.Join(count, r.release())
}

// release gives back what open took.
func (r *ring) release() error {
	var errs []error
	if r.mem != nil {
		errs = append(errs, os.NewSyscallError("munmap", unix.Munmap(r.mem)))
		r.mem = nil
	}
	for _, fd := range []*int{&r.fd, &r.wake} {
		if *fd >= 0 {
			errs = append(errs, os.NewSyscallError("close", unix.Close(*fd)))
			*fd = -1
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("capture: close: %w", err)
	}
	return nil
}

func (r *ring) stats() (uint64, uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.count()
	return r.received, r.dropped, err
}

// count adds the counters of the kernel, which reading resets, to ours. Its
// packet counter includes the drops (packet_getsockopt).
func (r *ring) count() error {
	if r.mem == nil {
		return nil
	}
	var packets, drops uint32
	if r.v3 {
		s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil {
			return fmt.Errorf("capture: statistics: %w", os.NewSyscallError("getsockopt PACKET_STATISTICS", err))
		}
		packets, drops = s.Packets, s.Drops
	} else {
		s, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err != nil {
			return fmt.Errorf("capture: statistics: %w", os.NewSyscallError("getsockopt PACKET_STATISTICS", err))
		}
		packets, drops = s.Packets, s.Drops
	}
	r.received += uint64(packets)
	r.dropped += uint64(drops)
	return nil
}

func (r *ring) interfaces() []Interface {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Interface(nil), r.ifaces...)
}

// ready says whether poll has something to look at. It needs mu.
func (r *ring) ready() bool {
	if r.handed < len(r.batch) {
		return true
	}
	if r.mem == nil {
		return false
	}
	if r.v3 {
		return r.left > 0 || atomic.LoadUint32(&r.block().Block_status)&unix.TP_STATUS_USER != 0
	}
	return atomic.LoadUint32(&r.frame().Status)&unix.TP_STATUS_USER != 0
}

// poll hands out the next packet, valid until the next call; nil when there is
// none.
func (r *ring) poll() *Packet {
	if r.closed.Load() || r.handed == len(r.batch) && !r.fill() {
		return nil
	}
	r.handed++
	return &r.batch[r.handed-1]
}

// fill makes a new batch.
func (r *ring) fill() bool {
	r.handed, r.batch = 0, r.batch[:0]
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.v3 {
		r.takeBlocks()
	} else {
		r.takeFrame()
	}
	r.taken += len(r.batch)
	return len(r.batch) > 0
}

func (r *ring) frame() *unix.Tpacket2Hdr {
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(&r.mem[r.at*r.unit]))
}

// takeFrame takes one packet from a TPACKET_V2 ring: who reacts wants it now, and
// not after the next.
func (r *ring) takeFrame() {
	for r.mem != nil && len(r.batch) == 0 {
		h := r.frame()
		status := atomic.LoadUint32(&h.Status)
		if status&unix.TP_STATUS_USER == 0 {
			return
		}
		frame := r.mem[r.at*r.unit:][:r.unit]
		a := address(frame, v2HeaderLen)
		if isIP(a) {
			data := frame[h.Net:][:h.Snaplen]
			r.batch = r.batch[:1]
			r.copy(&r.batch[0], r.out, data, a, status, h.Len, h.Sec, h.Nsec)
		}
		atomic.StoreUint32(&h.Status, unix.TP_STATUS_KERNEL)
		if r.at++; r.at == r.n {
			r.at = 0
		}
	}
}

func (r *ring) block() *unix.TpacketHdrV1 {
	d := (*unix.TpacketBlockDesc)(unsafe.Pointer(&r.mem[r.at*r.unit]))
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&d.Hdr))
}

// takeBlocks takes what fits into a batch from a TPACKET_V3 ring. A block is
// given back when its last packet has been copied.
func (r *ring) takeBlocks() {
	out := r.out
	for r.mem != nil {
		b := r.block()
		if r.left == 0 {
			if atomic.LoadUint32(&b.Block_status)&unix.TP_STATUS_USER == 0 {
				return
			}
			r.left, r.off = int(b.Num_pkts), int(b.Offset_to_first_pkt)
		}
		block := r.mem[r.at*r.unit:][:r.unit]
		off, left, n, batch := r.off, r.left, len(r.batch), r.batch[:cap(r.batch)]
		for ; left > 0; left-- {
			frame := block[off:]
			h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&frame[0]))
			if a := address(frame, v3HeaderLen); isIP(a) {
				data := frame[h.Net:][:h.Snaplen]
				if n == len(batch) || r.room+len(data) > len(out) {
					if n > 0 {
						break
					}
					out = make([]byte, r.room+len(data)) // a packet larger than any before
					r.out = out
				}
				out = r.copy(&batch[n], out, data, a, h.Status, h.Len, h.Sec, h.Nsec)
				n++
			}
			off += int(h.Next_offset)
		}
		r.off, r.left, r.batch = off, left, batch[:n]
		if left > 0 {
			return // the batch is full
		}
		atomic.StoreUint32(&b.Block_status, unix.TP_STATUS_KERNEL)
		r.blocks++
		if r.at++; r.at == r.n {
			r.at = 0
		}
	}
}

// address is where the kernel says from whom a frame came and where to.
func address(frame []byte, at int) *unix.RawSockaddrLinklayer {
	return (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&frame[at]))
}

// isIP rules out the protocols that a filter may let through and nothing in the
// data would tell apart.
func isIP(a *unix.RawSockaddrLinklayer) bool {
	return a.Protocol == protocolIPv4 || a.Protocol == protocolIPv6
}

// copy makes a Packet with a copy of its data, which outlive both the frame and
// the mapping, at the start of out, and returns the rest of out.
func (r *ring) copy(p *Packet, out, data []byte, a *unix.RawSockaddrLinklayer, status, length, sec, nsec uint32) []byte {
	n := r.room + copy(out[r.room:], data)
	if status&unix.TP_STATUS_CSUMNOTREADY != 0 && len(data) == int(length) {
		fillTCPChecksum(out[r.room:n])
	}
	if r.room > 0 {
		binary.NativeEndian.PutUint16(out, a.Protocol) // is in network order
		binary.BigEndian.PutUint16(out[2:], 0)
		binary.BigEndian.PutUint32(out[4:], uint32(a.Ifindex))
		binary.BigEndian.PutUint16(out[8:], a.Hatype)
		out[10], out[11] = a.Pkttype, a.Halen
		copy(out[12:sll2Len], a.Addr[:])
	}
	p.Time = time.Unix(int64(sec), int64(nsec))
	p.Data = out[:n:n]
	p.Len = r.room + int(length)
	p.Link = r.template.Link
	p.Dir = DirIn
	if a.Pkttype == outgoing {
		p.Dir = DirOut
	}
	if r.ids != nil {
		p.Interface = r.interfaceID(a.Ifindex)
	}
	return out[n:]
}

var (
	protocolIPv4 = htons(unix.ETH_P_IP)
	protocolIPv6 = htons(unix.ETH_P_IPV6)
)

// interfaceID numbers the interfaces in the order in which they are seen.
func (r *ring) interfaceID(index int32) int {
	if id, ok := r.ids[index]; ok {
		return id
	}
	in := r.template
	if in.Name = r.interfaceName(index); in.Name == "" {
		in.Name = fmt.Sprint("if", index) // it was removed since
	}
	id := len(r.ifaces)
	r.ids[index] = id
	r.ifaces = append(r.ifaces, in)
	return id
}
