package handoff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/rawtcp"
)

// Given by include/uapi/linux/tcp.h.
const (
	tcpRecvQueue = 1 // TCP_REPAIR_QUEUE
	tcpSendQueue = 2

	// Codes of struct tcp_repair_opt: the kinds of TCP options.
	repairMSS           = 2
	repairWScale        = 3
	repairSACKPermitted = 4
	repairTimestamps    = 8

	membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL, include/uapi/linux/membarrier.h
)

// Chosen by us.
const (
	// maxRounds bounds how often the drop filter is put back. Nearly always one
	// round does, in which nothing arrives within a microsecond. Each further one takes in all that
	// has come before, and the peer may send no more than one window of early data,
	// so that a few are enough for any peer.
	maxRounds = 64
	// catchUp is how long a segment may take from the packet socket's tap to the
	// TCP socket's queue. It is a microsecond or two, unless the processor was taken
	// away in between; a wrong guess costs time and nothing else.
	catchUp = 30 * time.Microsecond
)

// repairSocket is the socket of a Repair, from the beginning to the end.
type repairSocket struct {
	conn     *net.TCPConn // nil when closed or given away
	fd       int          // conn's descriptor
	routeMSS int          // largest segment that the route takes, bytes
	rounds   int          // of the drop filter, in Install
}

// prepare makes the *net.TCPConn already, which takes the net package longer
// than all of Install: net.FileConn reads the remote address of a connected
// socket, so the socket is connected in repair mode and disconnected again.
func (r *Repair) prepare() error {
	fd, err := openRepair(r.local, r.cfg.Interface)
	if err != nil {
		return err
	}
	if err := r.pretend(fd); err != nil {
		unix.Close(fd)
		return err
	}
	if r.conn, err = tcpConn(fd); err != nil {
		return err
	}
	if err := r.complete(); err != nil {
		return errors.Join(err, r.Close())
	}
	return nil
}

// complete is the second half of prepare, from which on Close is responsible.
func (r *Repair) complete() error {
	sc, err := r.conn.SyscallConn()
	if err != nil {
		return err
	}
	if err := sc.Control(func(fd uintptr) { r.fd = int(fd) }); err != nil { // valid as long as r has conn
		return err
	}
	network := "ip6"
	if r.local.Addr().Is4() {
		network = "ip4"
	}
	if r.raw, err = rawtcp.Open(network, &rawtcp.Config{Interface: r.cfg.Interface, Local: r.local.Addr()}); err != nil {
		return err
	}
	if err := errors.Join(disconnect(r.fd), arm(r.fd)); err != nil {
		return err
	}
	return r.warm()
}

// warm leaves the socket as it found it: in CLOSE, with the filter.
func (r *Repair) warm() error {
	if r.conn == nil {
		return ErrClosed
	}
	// In CLOSE no segment finds the socket, so the filter may go for a moment.
	if err := detachDrop(r.fd); err != nil {
		return err
	}
	if err := attachDrop(r.fd); err != nil {
		return err
	}
	return errors.Join(r.pretend(r.fd), disconnect(r.fd), arm(r.fd))
}

// pretend is continueFlow with made-up numbers. It reads what the route takes.
func (r *Repair) pretend(fd int) error {
	r.routeMSS = maxMaxSeg
	err := r.continueFlow(fd, &rawtcp.Transfer{
		SndNxt: 1, RcvNxt: 2, RcvWup: 1, Data: []byte{0},
		PeerMSS: maxMaxSeg, WScaleOK: true, SACK: true, Timestamps: true,
		SndWnd: 65535, MaxWnd: 65535, RcvWnd: 65535,
	})
	if err != nil {
		return err
	}
	mss, err := connectedMSS(fd, r.remote.Addr())
	r.routeMSS = int(mss)
	return err
}

// disconnect takes a socket in repair mode back to CLOSE, where it stays bound
// and keeps its filter, but forgets its TCP options (tcp_disconnect; in repair
// mode it sends nothing).
func disconnect(fd int) error {
	unspec := unix.RawSockaddr{Family: unix.AF_UNSPEC} // connect(2)
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspec)), unix.SizeofSockaddrInet4)
	if errno != 0 {
		return fmt.Errorf("disconnect: %w", errno)
	}
	// It has left ECONNABORTED on the socket, until connect is half done. A poll in between would
	// see nothing but an error, and Go's poller would call the connection not pollable.
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
		return fmt.Errorf("clear the error of disconnect: %w", err)
	}
	return nil
}

// openRepair makes a bound socket in repair mode that lets nothing in.
func openRepair(local netip.AddrPort, iface string) (int, error) {
	fd, err := newSocket(local.Addr(), 0)
	if err != nil {
		return -1, err
	}
	if err := enterRepair(fd, local, iface); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func enterRepair(fd int, local netip.AddrPort, iface string) error {
	// TCP_REPAIR also sets SK_FORCE_REUSE: bind succeeds beside anything.
	if err := repairMode(fd, unix.TCP_REPAIR_ON); err != nil {
		return err
	}
	if err := attachDrop(fd); err != nil {
		return err
	}
	if err := plainFlowLabel(fd, local.Addr()); err != nil {
		return err
	}
	if err := bindToDevice(fd, iface); err != nil {
		return err
	}
	if err := bind(fd, local); err != nil {
		return err
	}
	return arm(fd)
}

// arm does in CLOSE what continueFlow relies on.
func arm(fd int) error {
	if err := selectQueue(fd, tcpSendQueue); err != nil {
		return err
	}
	// connect computes the segment size from the route and TCP_MAXSEG (tcp_sync_mss),
	// and nothing does so after TCP_REPAIR_OPTIONS until the path MTU changes.
	// Without TCP_MAXSEG it would be 536 bytes, less the options.
	return limitMSS(fd, maxMaxSeg)
}

func repairMode(fd, mode int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_REPAIR, mode)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("set TCP_REPAIR to %d: %w: needs CAP_NET_ADMIN: 'setcap cap_net_admin,cap_net_raw+ep PROGRAM', or run as root, or in a namespace of your own ('unshare -Urn')", mode, err)
	}
	return fmt.Errorf("set TCP_REPAIR to %d: %w", mode, err)
}

func probeRepair() error {
	fd, err := newSocket(netip.IPv4Unspecified(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := repairMode(fd, unix.TCP_REPAIR_ON); err != nil {
		return err
	}
	return repairMode(fd, unix.TCP_REPAIR_OFF_NO_WP)
}

func (r *Repair) install(t *rawtcp.Transfer, late func(rawtcp.Seq) []byte) (*net.TCPConn, error) {
	if err := r.continueFlow(r.fd, t); err != nil {
		return nil, err
	}
	if err := r.letIn(t, late); err != nil {
		return nil, err
	}
	// With TCP_REPAIR_OFF the kernel would send a window probe, which is of no use:
	// it lies outside the peer's window, so not even its acknowledgment counts.
	if err := repairMode(r.fd, unix.TCP_REPAIR_OFF_NO_WP); err != nil {
		return nil, err
	}
	// Leaving repair has cleared it, and without it this flow's TIME-WAIT would
	// keep the port from the next guard.
	if err := setInt(r.fd, "SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, err
	}
	c := r.conn
	r.conn = nil
	return c, nil
}

// continueFlow puts an armed socket into the flow's state, as far as it has been
// acknowledged. The filter stays.
func (r *Repair) continueFlow(fd int, t *rawtcp.Transfer) error {
	// TCP_QUEUE_SEQ works in CLOSE only.
	if err := setQueueSeq(fd, t.SndNxt); err != nil {
		return err
	}
	if err := selectQueue(fd, tcpRecvQueue); err != nil {
		return err
	}
	if err := setQueueSeq(fd, t.RcvNxt.Add(-len(t.Data))); err != nil {
		return err
	}
	if int(t.PeerMSS) < r.routeMSS {
		if err := limitMSS(fd, t.PeerMSS); err != nil {
			return err
		}
	}
	if !t.WScaleOK {
		// connect also chooses our window shift, by the largest receive buffer,
		// and no option says 'none'. Under this clamp, which a connection without
		// scaling has anyway (tcp_rcv_synsent_state_process), it chooses 0.
		if err := setInt(fd, "TCP_WINDOW_CLAMP", unix.SOL_TCP, unix.TCP_WINDOW_CLAMP, 65535); err != nil {
			return err
		}
	}
	if err := connect(fd, r.remote); err != nil { // sends nothing and leads to ESTABLISHED
		return err
	}
	if err := setRepairOptions(fd, t); err != nil {
		return err
	}
	if t.Timestamps {
		// An even number: bit 0 would select microseconds (Linux 6.7, do_tcp_setsockopt).
		tsval := t.TSVal + t.TSVal&1
		if err := setInt(fd, "TCP_TIMESTAMP", unix.SOL_TCP, unix.TCP_TIMESTAMP, int(int32(tsval))); err != nil {
			return err
		}
	}
	if err := push(fd, t.RcvNxt.Add(-len(t.Data)), t.Data); err != nil {
		return err
	}
	w := repairWindow{
		sndWl1: uint32(t.SndWl1), sndWnd: t.SndWnd, maxWindow: max(t.MaxWnd, t.SndWnd),
		// Windows are rounded up to a unit of the scale, so that what acknowledge
		// promises may lie up to a unit beyond what the transfer says.
		rcvWnd: t.RcvWnd + 1<<t.RcvWScale - 1, rcvWup: uint32(t.RcvWup),
	}
	return w.set(fd) // last: it wants rcv_wup not above rcv_nxt
}

func selectQueue(fd, queue int) error {
	return setInt(fd, "TCP_REPAIR_QUEUE", unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, queue)
}

func setQueueSeq(fd int, seq rawtcp.Seq) error {
	return setInt(fd, "TCP_QUEUE_SEQ", unix.SOL_TCP, unix.TCP_QUEUE_SEQ, int(int32(seq)))
}

// queueSeq returns rcv_nxt; the receive queue was selected by continueFlow.
func queueSeq(fd int) (rawtcp.Seq, error) {
	v, err := unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_QUEUE_SEQ)
	if err != nil {
		return 0, fmt.Errorf("get TCP_QUEUE_SEQ: %w", err)
	}
	return rawtcp.Seq(uint32(v)), nil
}

// setRepairOptions says what both ends offered (struct tcp_repair_opt).
func setRepairOptions(fd int, t *rawtcp.Transfer) error {
	b := make([]byte, 0, 4*8)
	opt := func(code, value uint32) {
		b = binary.NativeEndian.AppendUint32(b, code)
		b = binary.NativeEndian.AppendUint32(b, value)
	}
	if t.PeerMSS != 0 {
		opt(repairMSS, uint32(t.PeerMSS))
	}
	if t.WScaleOK {
		opt(repairWScale, uint32(t.SndWScale)|uint32(t.RcvWScale)<<16)
	}
	if t.SACK {
		opt(repairSACKPermitted, 0)
	}
	if t.Timestamps {
		opt(repairTimestamps, 0)
	}
	if len(b) == 0 {
		return nil
	}
	if err := unix.SetsockoptString(fd, unix.SOL_TCP, unix.TCP_REPAIR_OPTIONS, string(b)); err != nil {
		return fmt.Errorf("set TCP_REPAIR_OPTIONS: %w", err)
	}
	return nil
}

// repairWindow is struct tcp_repair_window.
type repairWindow struct{ sndWl1, sndWnd, maxWindow, rcvWnd, rcvWup uint32 }

// set is needed after connect: snd_wnd is 0 then, and the first data would wait
// for a window probe.
func (w *repairWindow) set(fd int) error {
	b := unsafe.String((*byte)(unsafe.Pointer(w)), unsafe.Sizeof(*w))
	if err := unix.SetsockoptString(fd, unix.SOL_TCP, unix.TCP_REPAIR_WINDOW, b); err != nil {
		return fmt.Errorf("set TCP_REPAIR_WINDOW: %w", err)
	}
	return nil
}

func getRepairWindow(fd int) (w repairWindow, err error) {
	n := uint32(unsafe.Sizeof(w))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_TCP, unix.TCP_REPAIR_WINDOW, uintptr(unsafe.Pointer(&w)), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return w, fmt.Errorf("get TCP_REPAIR_WINDOW: %w", errno)
	}
	return w, nil
}

// tsval is the timestamp of a segment that the kernel would send now.
func tsval(fd int) (uint32, error) {
	v, err := unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_TIMESTAMP)
	if err != nil {
		return 0, fmt.Errorf("get TCP_TIMESTAMP: %w", err)
	}
	return uint32(v), nil
}

// acknowledge tells the peer what was put in the receive queue, which the kernel
// does not do. The segment is what the kernel would send: with its clock's
// timestamp, and with the window that it will honour.
func (r *Repair) acknowledge(t *rawtcp.Transfer, rcvNxt rawtcp.Seq) error {
	w, err := getRepairWindow(r.fd)
	if err != nil {
		return err
	}
	open := max(rawtcp.Seq(w.rcvWup).Add(int(w.rcvWnd)).Sub(rcvNxt), 0)
	s := rawtcp.Segment{
		Src: r.local, Dst: r.remote, DF: true, Flags: rawtcp.ACK,
		Seq: t.SndNxt, Ack: rcvNxt, Window: uint16(min(open>>t.RcvWScale, 65535)),
	}
	if t.Timestamps {
		now, err := tsval(r.fd)
		if err != nil {
			return err
		}
		s.Options = rawtcp.Options{HasTimestamps: true, TSVal: now, TSEcr: t.TSRecent}
	}
	pkt, err := s.Append(make([]byte, 0, rawtcp.MaxHeader))
	if err != nil {
		return err
	}
	return r.raw.Send(pkt)
}

// push appends bytes to the receive queue. The queue must end at seq, and no
// segment may be on its way to the socket: the kernel puts the bytes where the
// queue ends at that moment (tcp_send_rcvq).
func push(fd int, seq rawtcp.Seq, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	end := seq.Add(len(data))
	for len(data) > 0 {
		n, err := unix.SendmsgN(fd, data, nil, nil, unix.MSG_NOSIGNAL)
		if err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return fmt.Errorf("put %d bytes in the receive queue: %w", len(data), err)
		}
		data = data[n:] // one call takes 17 pages and a bit
	}
	got, err := queueSeq(fd)
	if err != nil {
		return err
	}
	if got != end {
		return fmt.Errorf("%w: the receive queue ends at %d, not at %d", ErrDesync, got, end)
	}
	return nil
}

// letIn takes the drop filter away in such a way that nothing the peer sent is
// missing from the receive queue, which ends at t.RcvNxt.
//
// The packet socket's tap comes before the TCP socket, on the same processor and
// in the same softirq, so what the filter drops has been captured before:
//
//  1. With the filter on, only we move the queue, and the kernel says nothing.
//     late's bytes are put in and acknowledged: two speakers at once would let
//     timestamps and the window run back. The right edge of the window stays.
//  2. The filter goes. What arrived between the two is dropped; late knows it.
//  3. If late has something beyond the queue's end, either it was dropped, or
//     the kernel is just about to take it. In the second case the queue moves by
//     itself in a moment. In the first the filter is put back, and it is step 1
//     again. Segments that the kernel got in the meantime are in its out-of-order
//     queue. late's bytes cover them as well, and the kernel drops what lies
//     below the queue's end when it next looks there (tcp_ofo_queue).
//
// A softirq that was past the filter when it was put back may still move the
// queue for a moment. It is given that moment. If it takes longer and the queue
// moves between our look and our insertion, the insertion is in the wrong place,
// which push notices: then the socket is built anew.
func (r *Repair) letIn(t *rawtcp.Transfer, late func(rawtcp.Seq) []byte) error {
	if late == nil {
		return detachDrop(r.fd)
	}
	rcvNxt, acked := t.RcvNxt, t.RcvNxt
	for r.rounds = 1; r.rounds <= maxRounds; r.rounds++ {
		data := late(rcvNxt)
		err := push(r.fd, rcvNxt, data)
		if errors.Is(err, ErrDesync) {
			rcvNxt, err = r.rebuild(t, late)
			data = nil
		}
		if err != nil {
			return err
		}
		rcvNxt = rcvNxt.Add(len(data))
		if rcvNxt != acked {
			if err := r.acknowledge(t, rcvNxt); err != nil {
				return err
			}
			acked = rcvNxt
		}
		if err := detachDrop(r.fd); err != nil {
			return err
		}
		if len(late(rcvNxt)) == 0 {
			return nil
		}
		missing, err := r.missing(late)
		if err != nil || !missing {
			return err
		}
		if rcvNxt, err = r.shut(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: after %d rounds there is still something on its way", ErrDesync, maxRounds)
}

// missing reports whether late has bytes that the kernel does not get by itself.
func (r *Repair) missing(late func(rawtcp.Seq) []byte) (bool, error) {
	rcvNxt, err := queueSeq(r.fd)
	if err != nil {
		return false, err
	}
	data := late(rcvNxt)
	if len(data) == 0 {
		return false, nil
	}
	end := rcvNxt.Add(len(data))
	rcvNxt, err = r.settle(end)
	return rcvNxt.Less(end), err
}

// settle returns the queue's end when it has come to end, or a moment has passed.
func (r *Repair) settle(end rawtcp.Seq) (rawtcp.Seq, error) {
	for deadline := time.Now().Add(catchUp); ; {
		now := time.Now()
		rcvNxt, err := queueSeq(r.fd)
		if err != nil || end.LessEq(rcvNxt) || now.After(deadline) {
			return rcvNxt, err
		}
	}
}

// shut puts the filter back and returns where the queue ends a moment later.
func (r *Repair) shut() (rawtcp.Seq, error) {
	if err := attachDrop(r.fd); err != nil {
		return 0, err
	}
	rcvNxt, err := queueSeq(r.fd)
	if err != nil {
		return 0, err
	}
	return r.settle(rcvNxt + 1<<31 - 1) // far ahead: for the whole moment
}

// rebuild makes the socket anew, with the filter on, after bytes were put in
// the wrong place: late still has all of them. The kernel has sent nothing but
// acknowledgments so far. It returns the queue's end.
func (r *Repair) rebuild(t *rawtcp.Transfer, late func(rawtcp.Seq) []byte) (rawtcp.Seq, error) {
	// membarrier(2) with MEMBARRIER_CMD_GLOBAL is synchronize_rcu, some
	// milliseconds: when it returns all softirqs that passed the filter are over. Without
	// it (nohz_full) they get the same time.
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		ts := unix.NsecToTimespec(int64(20 * time.Millisecond))
		_ = unix.Nanosleep(&ts, nil)
	}
	w, err := getRepairWindow(r.fd) // the peer's window and our promises are of now
	if err != nil {
		return 0, err
	}
	again := *t
	if again.TSVal, err = tsval(r.fd); err != nil {
		return 0, err
	}
	again.Data = append(again.Data[:len(again.Data):len(again.Data)], late(t.RcvNxt)...)
	again.RcvNxt = t.RcvNxt.Add(len(again.Data) - len(t.Data))
	if err := errors.Join(disconnect(r.fd), arm(r.fd)); err != nil {
		return 0, err
	}
	if err := r.continueFlow(r.fd, &again); err != nil {
		return 0, err
	}
	w.rcvWnd += w.rcvWup - uint32(t.RcvWup) // the same right edge; rcv_wup may be beyond what we have
	w.rcvWup = uint32(t.RcvWup)
	return again.RcvNxt, w.set(r.fd)
}
