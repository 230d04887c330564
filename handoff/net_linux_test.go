package handoff_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/rawtcp"
)

// wire is two hosts on one cable: a is the test's own network namespace, b
// another one.
type wire struct {
	b              *netns.NS
	iface          string // a's
	aAddr, bAddr   netip.Addr
	aAddr6, bAddr6 netip.Addr
}

func newWire(tb testing.TB) *wire {
	tb.Helper()
	w := &wire{
		iface: "wa0",
		aAddr: netip.MustParseAddr("192.0.2.1"), bAddr: netip.MustParseAddr("192.0.2.2"),
		aAddr6: netip.MustParseAddr("2001:db8::1"), bAddr6: netip.MustParseAddr("2001:db8::2"),
	}
	var err error
	if w.b, err = netns.New(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { w.b.Close() })
	attrs := netlink.NewLinkAttrs()
	attrs.Name = w.iface
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "wb0", PeerNamespace: netlink.NsFd(w.b.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		tb.Fatal(err)
	}
	// The cable goes at once: with the namespaces' end it would take a while.
	tb.Cleanup(func() { netlink.LinkDel(veth) })
	up(tb, w.iface, w.aAddr, w.aAddr6)
	if err := w.b.Do(func() error {
		if err := netns.LoopbackUp(); err != nil {
			return err
		}
		return linkUp("wb0", w.bAddr, w.bAddr6)
	}); err != nil {
		tb.Fatal(err)
	}
	w.settle(tb)
	return w
}

func up(tb testing.TB, name string, addrs ...netip.Addr) {
	tb.Helper()
	if err := linkUp(name, addrs...); err != nil {
		tb.Fatal(err)
	}
}

func linkUp(name string, addrs ...netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		bits := 24
		if a.Is6() {
			bits = 64
		}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}, Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(link)
}

// settle waits until both ends of the cable are up, so that no first packet is
// lost, and connects over both families, so that routes and neighbours are known.
func (w *wire) settle(tb testing.TB) {
	tb.Helper()
	ready := func(name string) error {
		for deadline := time.Now().Add(5 * time.Second); ; {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if link.Attrs().OperState == netlink.OperUp {
				return nil
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s does not come up", name)
			}
		}
	}
	if err := errors.Join(ready(w.iface), w.b.Do(func() error { return ready("wb0") })); err != nil {
		tb.Fatal(err)
	}
	for _, v6 := range []bool{false, true} {
		l := w.listen(tb, v6)
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			tb.Fatal(err)
		}
		c.Close()
		l.Close()
	}
}

// listen opens an ordinary listener on b.
func (w *wire) listen(tb testing.TB, v6 bool) *net.TCPListener {
	tb.Helper()
	var l *net.TCPListener
	err := w.b.Do(func() error {
		var err error
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.addrB(v6), 0)))
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l
}

func (w *wire) addrA(v6 bool) netip.Addr {
	if v6 {
		return w.aAddr6
	}
	return w.aAddr
}

func (w *wire) addrB(v6 bool) netip.Addr {
	if v6 {
		return w.bAddr6
	}
	return w.bAddr
}

// local is an endpoint of a's with a free port.
func (w *wire) local(tb testing.TB, v6 bool) netip.AddrPort {
	tb.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.addrA(v6), 0)))
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return addrPort(l.Addr())
}

func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// seen is a packet that a tap saw.
type seen struct {
	at    time.Time
	out   bool   // sent by this host
	label uint32 // IPv6 flow label
	seg   rawtcp.Segment
}

// tap sees a flow's packets on all devices of the namespace it was opened in.
type tap struct {
	fd      int
	buf     []byte
	control []byte
	log     []seen // with keep
	// keep records every segment, without its payload.
	keep bool
}

func newTap(tb testing.TB, local, remote netip.AddrPort) *tap {
	tb.Helper()
	t, err := openTap(local, remote)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(t.close)
	return t
}

func openTap(local, remote netip.AddrPort) (*tap, error) {
	prog, err := rawtcp.FlowFilter(local, remote)
	if err != nil {
		return nil, err
	}
	filter := make([]unix.SockFilter, len(prog))
	for i, ins := range prog {
		filter[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	t := &tap{fd: fd, buf: make([]byte, 1<<17), control: make([]byte, 128)}
	if err := errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})}),
	); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *tap) close() {
	if t.fd >= 0 {
		unix.Close(t.fd)
		t.fd = -1
	}
}

// next returns the next packet, waiting for it until the deadline. The segment's
// payload is valid until the next call.
func (t *tap) next(deadline time.Time) (seen, bool) {
	for {
		n, nc, _, from, err := unix.Recvmsg(t.fd, t.buf, t.control, unix.MSG_DONTWAIT)
		if err == nil {
			s := seen{at: stamp(t.control[:nc]), out: from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING}
			if rawtcp.ParseInto(&s.seg, t.buf[:n]) != nil {
				continue
			}
			if t.buf[0]>>4 == 6 {
				s.label = binary.BigEndian.Uint32(t.buf) & 0xfffff
			}
			if t.keep {
				kept := s
				kept.seg.Payload = nil
				t.log = append(t.log, kept)
			}
			return s, true
		}
		left := time.Until(deadline)
		if left <= 0 {
			return seen{}, false
		}
		fds := []unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, int(left.Milliseconds())+1)
	}
}

// stamp is the time at which the kernel saw a packet.
func stamp(control []byte) time.Time {
	h, data, _, err := unix.ParseOneSocketControlMessage(control)
	if err != nil || h.Type != unix.SCM_TIMESTAMPNS {
		return time.Now()
	}
	ts := *(*unix.Timespec)(unsafe.Pointer(&data[0]))
	return time.Unix(ts.Unix())
}

// drain reads what is there.
func (t *tap) drain() {
	for {
		if _, ok := t.next(time.Time{}); !ok {
			return
		}
	}
}

// opener makes a handshake with raw packets.
type opener struct {
	hs    *rawtcp.Handshake
	raw   *rawtcp.Conn
	tap   *tap
	begun time.Time // when the SYN was made
	out   []rawtcp.Segment
	pkt   []byte
}

func newOpener(tb testing.TB, cfg rawtcp.HandshakeConfig) *opener {
	tb.Helper()
	o, err := openerFor(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(o.close)
	return o
}

// newOpenerB is newOpener on b.
func (w *wire) newOpenerB(tb testing.TB, cfg rawtcp.HandshakeConfig) *opener {
	tb.Helper()
	var o *opener
	if err := w.b.Do(func() (err error) {
		o, err = openerFor(cfg)
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(o.close)
	return o
}

func openerFor(cfg rawtcp.HandshakeConfig) (*opener, error) {
	network := "ip4"
	if cfg.Local.Addr().Is6() {
		network = "ip6"
	}
	raw, err := rawtcp.Open(network, nil)
	if err != nil {
		return nil, err
	}
	if cfg.ISN == 0 {
		cfg.ISN = rawtcp.NewISNGenerator([16]byte{7}).ISN(cfg.Local, cfg.Remote, time.Now())
	}
	if cfg.TSBase == 0 {
		cfg.TSBase = uint32(time.Now().UnixMilli())
	}
	hs, err := rawtcp.NewHandshake(cfg)
	if err != nil {
		raw.Close()
		return nil, err
	}
	tp, err := openTap(cfg.Local, cfg.Remote)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return &opener{hs: hs, raw: raw, tap: tp}, nil
}

func (o *opener) send(segs []rawtcp.Segment) error {
	for i := range segs {
		var err error
		if o.pkt, err = segs[i].Append(o.pkt[:0]); err != nil {
			return err
		}
		if err := o.raw.Send(o.pkt); err != nil {
			return err
		}
	}
	return nil
}

func (o *opener) close() {
	o.raw.Close()
	o.tap.close()
}

// start sends the SYN.
func (o *opener) start() error {
	o.begun = time.Now()
	return o.send(o.hs.Start(o.begun, o.out[:0]))
}

// open runs the handshake until it is ready.
func (o *opener) open(tb testing.TB) {
	tb.Helper()
	if err := o.start(); err != nil {
		tb.Fatal(err)
	}
	if err := o.finish(); err != nil {
		tb.Fatal(err)
	}
}

// finish goes on until the handshake is ready.
func (o *opener) finish() error {
	for !o.hs.Ready() {
		if err := o.hs.Err(); err != nil {
			return err
		}
		due, _ := o.hs.Deadline() // there is one until the end
		if s, ok := o.tap.next(due); ok {
			if err := o.feed(&s); err != nil {
				return err
			}
		}
		if now := time.Now(); !now.Before(due) {
			if err := o.send(o.hs.Tick(now, o.out[:0])); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *opener) feed(s *seen) error { return o.send(o.receive(s)) }

// receive returns what the machine has to say to a packet.
func (o *opener) receive(s *seen) []rawtcp.Segment {
	if s.out {
		return nil
	}
	return o.hs.Receive(s.at, &s.seg, o.out[:0])
}

// late is what Install wants.
func (o *opener) late(from rawtcp.Seq) []byte {
	for {
		s, ok := o.tap.next(time.Time{})
		if !ok {
			break
		}
		o.receive(&s) // and be silent
	}
	t := o.hs.Transfer(time.Now())
	n := int(t.RcvNxt.Sub(from))
	if n <= 0 || n > len(t.Data) {
		return nil
	}
	return t.Data[len(t.Data)-n:]
}

// pattern returns n bytes that are the same for the same seed.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// exchange sends size bytes each way at once and compares what came. Bytes
// that a peer has sent before stand in early.
func exchange(a, b net.Conn, size int, earlyFromB []byte) error {
	limit := time.Now().Add(20 * time.Second)
	if err := errors.Join(a.SetDeadline(limit), b.SetDeadline(limit)); err != nil {
		return err
	}
	errs := make(chan error, 4)
	var wg sync.WaitGroup
	write := func(c net.Conn, seed byte) {
		defer wg.Done()
		if _, err := c.Write(pattern(size, seed)); err != nil {
			errs <- fmt.Errorf("write: %w", err)
		}
	}
	read := func(name string, c net.Conn, want []byte) {
		defer wg.Done()
		h := sha256.New()
		n, err := io.CopyN(h, c, int64(len(want)))
		if err != nil {
			errs <- fmt.Errorf("%s read %d of %d bytes: %w", name, n, len(want), err)
			return
		}
		if sum := sha256.Sum256(want); !bytes.Equal(h.Sum(nil), sum[:]) {
			errs <- fmt.Errorf("%s got other bytes than were sent", name)
		}
	}
	wg.Add(4)
	go write(a, 1)
	go write(b, 2)
	go read("a", a, slices.Concat(earlyFromB, pattern(size, 2)))
	go read("b", b, pattern(size, 1))
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	tb.Cleanup(cancel)
	return ctx
}
