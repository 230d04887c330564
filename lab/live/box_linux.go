package live

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
)

// box is a model NAT that stands in the way of real packets: one thread takes frames
// from its ports, gives the packets to the NAT with the kernel's stamps as times, and
// sends what comes out.
type box struct {
	name  string
	node  int
	ports []boxPort // the first is the one to the outside
	stop  atomic.Bool
	wake  int // eventfd, readable once the thread is to stop
	ended chan struct{}
	notes []string

	mu    sync.Mutex // held by the thread while it works; guards what follows
	nat   *nat.NAT
	crowd *lab.Crowd // nil: no cross traffic
	begin time.Time  // of the crowd
	out   []nat.Packet
	frame []byte // a packet, with room for the Ethernet header
	other []byte // one that the NAT made
	lost  uint64 // frames that could not be sent, or came with offloads
}

// boxPort is one interface of a box.
type boxPort struct {
	name   string
	ring   ring
	out    int            // packet socket that sends
	header [etherLen]byte // to the only neighbour, without the type
	behind []netip.Prefix
}

// Chosen by us.
const (
	boxSlots   = 2048                  // of the ring of a port: 13 ms of 150,000 SYNs a second
	boxBatch   = 32                    // frames before the next look at deadlines
	crowdCatch = 10 * time.Millisecond // cross traffic that nobody waits for is made up at the latest so much later
)

// newBox makes a box without sockets.
func newBox(p *plan, b *boxPlan, seed uint64) (*box, error) {
	cfg := nat.Config{Public: b.public, Gateway: []netip.Addr{b.gateway}, Outer: []netip.Addr{b.wan}, Seed: seed}
	if b.Behaviour.Translation == nat.OneToOne {
		for _, l := range b.lan {
			cfg.Hosts = append(cfg.Hosts, l.host)
		}
	}
	n, err := nat.New(b.Behaviour, &cfg)
	if err != nil {
		return nil, fmt.Errorf("NAT %s: %w", b.Text, err)
	}
	x := &box{name: p.nodes[b.node].name, node: b.node, nat: n, wake: -1,
		frame: make([]byte, smallFrame), other: make([]byte, 0, smallFrame)}
	if b.crowd > 0 {
		x.crowd = lab.NewCrowd(b.crowd, seed)
	}
	x.addPort(p, b, wanPort, nil)
	for _, l := range b.lan {
		x.addPort(p, b, l.port, l.behind)
	}
	return x, nil
}

func (x *box) addPort(p *plan, b *boxPlan, name string, behind []netip.Prefix) {
	bp := boxPort{name: name, ring: ring{fd: -1}, out: -1, behind: behind}
	for _, pt := range p.nodes[b.node].ports {
		if pt.name == name {
			copy(bp.header[:], pt.via)
			copy(bp.header[6:], pt.mac)
		}
	}
	x.ports = append(x.ports, bp)
}

// open opens the sockets in the namespace of the calling thread and returns what
// remains to be done on any thread.
func (x *box) open() (setup []func() error, err error) {
	if x.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	for i := range x.ports {
		bp := &x.ports[i]
		fd, err := packetSocket(unix.SOCK_RAW)
		if err != nil {
			return nil, err
		}
		bp.ring.fd = fd
		setup = append(setup, func() error {
			return bp.ring.setup(fd, ringConfig{ingress: true, frame: smallFrame, slots: boxSlots, filter: ipFilter()})
		})
		if bp.out, err = packetSocket(unix.SOCK_RAW); err != nil {
			return nil, err
		}
	}
	return setup, nil
}

// ipFilter takes IPv4 and IPv6: neighbours are permanent, so there is no ARP to
// answer.
func ipFilter() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv4, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv6, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: math.MaxUint32},
	}
}

func (x *box) bind(index map[string]int) error {
	for i := range x.ports {
		bp := &x.ports[i]
		if err := errors.Join(bindPacket(bp.ring.fd, unix.ETH_P_ALL, index[bp.name]), bindPacket(bp.out, 0, index[bp.name])); err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
	}
	return nil
}

// start runs the box until end.
func (x *box) start(realtime bool) {
	raiseProcs(boxProcs)
	x.begin = time.Now()
	x.ended = make(chan struct{})
	prepared := make(chan []string)
	go func() {
		defer close(x.ended)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		prepared <- prepare(realtime)
		x.run()
	}()
	x.notes = <-prepared
}

func (x *box) run() {
	fds := []unix.PollFd{{Fd: int32(x.wake), Events: unix.POLLIN}}
	for i := range x.ports {
		fds = append(fds, unix.PollFd{Fd: int32(x.ports[i].ring.fd), Events: unix.POLLIN})
	}
	for !x.stop.Load() {
		x.mu.Lock()
		moved := x.work()
		next, due := x.next()
		x.mu.Unlock()
		if moved {
			continue
		}
		var ts *unix.Timespec
		if due {
			t := unix.NsecToTimespec(max(int64(time.Until(next)), 0))
			ts = &t
		}
		// An error can only be EINTR: the loop asks again.
		_, _ = unix.Ppoll(fds, ts, nil)
	}
}

// work moves frames that have come, oldest first, and what is due. It reports
// whether there were any.
func (x *box) work() bool {
	var s slot
	n := 0
	for ; n < boxBatch; n++ {
		from, oldest := -1, int64(math.MaxInt64)
		for i := range x.ports {
			if x.ports[i].ring.head(&s) && s.stamp < oldest {
				from, oldest = i, s.stamp
			}
		}
		if from < 0 {
			break
		}
		r := &x.ports[from].ring
		r.head(&s)
		x.take(from, &s)
		r.release()
	}
	now := time.Now()
	x.others(now)
	if d, ok := x.nat.Deadline(); ok && !d.After(now) {
		x.send(x.nat.Tick(now, x.out[:0]))
	}
	return n > 0
}

// next is when there is something to do though no frame has come.
func (x *box) next() (at time.Time, ok bool) {
	at, ok = x.nat.Deadline()
	if x.crowd != nil {
		if c := x.begin.Add(x.crowd.At() + crowdCatch); !ok || c.Before(at) {
			return c, true
		}
	}
	return at, ok
}

// take gives a frame to the NAT.
func (x *box) take(from int, s *slot) {
	if len(s.data) != s.len || s.partial {
		x.lost++ // a sender's offloads are on again: somebody switched them
		return
	}
	n := copy(x.frame, s.data)
	pkt := x.frame[etherLen:n:n]
	at := time.Unix(0, s.stamp)
	x.others(at)
	if from == 0 {
		x.send(x.nat.Inbound(at, pkt, x.out[:0]))
	} else {
		x.send(x.nat.Outbound(at, pkt, x.out[:0]))
	}
}

// others lets the NAT see the cross traffic up to at. It leads nowhere, so what the NAT makes of
// it is not sent, and nobody can tell that it comes late as long as it comes
// before the next packet.
func (x *box) others(at time.Time) {
	if x.crowd == nil {
		return
	}
	for {
		t := x.begin.Add(x.crowd.At())
		if t.After(at) {
			return
		}
		x.out = x.nat.Outbound(t, x.crowd.SYN(), x.out[:0])
	}
}

// send puts out what leaves the NAT.
func (x *box) send(out []nat.Packet) {
	for _, p := range out {
		port := x.portTo(&p)
		if port == nil {
			continue // an answer to the crowd
		}
		f := x.frame
		if len(p.Data) == 0 || &p.Data[0] != &f[etherLen] {
			f = append(x.other[:etherLen], p.Data...)
		}
		f = f[:etherLen+len(p.Data)]
		copy(f, port.header[:])
		kind := uint16(etherIPv4)
		if p.Data[0]>>4 == 6 {
			kind = etherIPv6
		}
		binary.BigEndian.PutUint16(f[12:], kind)
		if transmit(port.out, f) != 0 {
			x.lost++
		}
	}
	x.out = out[:0]
}

// portTo finds the port that leads to where a packet goes.
func (x *box) portTo(p *nat.Packet) *boxPort {
	if p.To == nat.Outside {
		return &x.ports[0]
	}
	if len(x.ports) == 2 && x.crowd == nil {
		return &x.ports[1]
	}
	at, n := 16, 4
	if p.Data[0]>>4 == 6 {
		at, n = 24, 16
	}
	dst, _ := netip.AddrFromSlice(p.Data[at : at+n])
	for i := range x.ports {
		for _, prefix := range x.ports[i].behind {
			if prefix.Contains(dst) {
				return &x.ports[i]
			}
		}
	}
	return nil
}

// counters returns the NAT's counts, and the frames that were lost around it.
func (x *box) counters() (c nat.Counters, lost uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range x.ports {
		if r := &x.ports[i].ring; r.fd >= 0 {
			if n, err := r.drops(); err == nil {
				x.lost += n
			}
		}
	}
	return x.nat.Counters(), x.lost
}

// end stops the thread, if it runs.
func (x *box) end() error {
	if x.ended == nil {
		return nil
	}
	x.stop.Store(true)
	if _, err := unix.Write(x.wake, binary.NativeEndian.AppendUint64(nil, 1)); err != nil {
		return fmt.Errorf("wake %s: %w", x.name, err)
	}
	<-x.ended
	lowerProcs(boxProcs)
	return nil
}

// closers lists what gives the descriptors back, once the thread has ended.
func (x *box) closers() []func() error {
	list := []func() error{func() error { return closeFD(&x.wake) }}
	for i := range x.ports {
		bp := &x.ports[i]
		list = append(list, func() error {
			x.mu.Lock()
			defer x.mu.Unlock()
			return bp.ring.close()
		}, func() error { return closeFD(&bp.out) })
	}
	return list
}
