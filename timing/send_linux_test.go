package timing

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/internal/testenv"
)

// wire is one end of a veth pair, a raw socket that sends through it and a
// packet socket that sees, with kernel stamps, what leaves.
type wire struct {
	src, dst netip.Addr
	peer     *netns.NS
	index    int // of the interface
	raw, tap int // descriptors
	buf, oob [256]byte
}

var leftAddr, rightAddr = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

const (
	dialPort  = 10  // nobody listens: the peer answers RST
	rawPort   = 9   // our crafted SYN has no TCP checksum: the peer says nothing
	probeProt = 253 // RFC 3692: for experiments
)

func newWire(b testing.TB) *wire {
	b.Helper()
	must := func(what string, err error) {
		b.Helper()
		if err != nil {
			b.Fatalf("%s: %v", what, err)
		}
	}
	w := &wire{src: leftAddr, dst: rightAddr}
	var err error
	w.peer, err = netns.New()
	must("peer namespace", err)
	b.Cleanup(func() { w.peer.Close() })
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "right", PeerNamespace: netlink.NsFd(w.peer.Fd())}
	veth.Name = "left"
	must("veth pair", netlink.LinkAdd(veth))
	up := func(name string, addr netip.Addr) error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(addr.String() + "/24")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	}
	must("left end", up("left", w.src))
	must("right end", w.peer.Do(func() error { return up("right", w.dst) }))
	w.open(b)
	return w
}

// open opens the sockets at an interface that is there.
func (w *wire) open(b testing.TB) {
	b.Helper()
	must := func(what string, err error) {
		b.Helper()
		if err != nil {
			b.Fatalf("%s: %v", what, err)
		}
	}
	ifi, err := net.InterfaceByName("left")
	must("left end", err)
	w.index = ifi.Index
	w.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	must("raw socket", err)
	b.Cleanup(func() { unix.Close(w.raw) })
	all := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
	w.tap, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all)
	must("packet socket", err)
	b.Cleanup(func() { unix.Close(w.tap) })
	must("bind the packet socket", unix.Bind(w.tap, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: w.index}))
	must("kernel stamps", unix.SetsockoptInt(w.tap, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
}

// packet is an IP packet to the peer: a SYN with that sequence number, or a
// probe without payload that the peer ignores.
func (w *wire) packet(proto uint8, ttl uint8, seq uint32) []byte {
	p := make([]byte, 20, 40)
	p[0], p[8], p[9] = 0x45, ttl, proto // the kernel fills in length, ID and checksum, raw(7)
	copy(p[12:], w.src.AsSlice())
	copy(p[16:], w.dst.AsSlice())
	if proto == unix.IPPROTO_TCP {
		p = p[:40]
		binary.BigEndian.PutUint16(p[20:], 40000)
		binary.BigEndian.PutUint16(p[22:], rawPort)
		binary.BigEndian.PutUint32(p[24:], seq)
		p[32], p[33] = 5<<4, 2 // data offset, SYN
	}
	return p
}

// seen is one packet of ours on its way out.
type seen struct {
	stamp time.Time
	proto uint8
	port  uint16 // TCP destination
	seq   uint32
	syn   bool
}

// next returns the next packet that left, without waiting.
func (w *wire) next() (seen, bool) {
	for {
		n, oobn, _, from, err := unix.Recvmsg(w.tap, w.buf[:], w.oob[:], unix.MSG_DONTWAIT)
		if err != nil {
			return seen{}, false
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype != unix.PACKET_OUTGOING || n < 20 || w.buf[0] != 0x45 {
			continue
		}
		s := seen{stamp: stampOf(w.oob[:oobn], unix.SO_TIMESTAMPNS), proto: w.buf[9]}
		if s.proto == unix.IPPROTO_TCP && n >= 40 {
			s.port = binary.BigEndian.Uint16(w.buf[22:])
			s.seq = binary.BigEndian.Uint32(w.buf[24:])
			s.syn = w.buf[33] == 2 || w.buf[33] == 2|0xc0
		}
		return s, true
	}
}

func stampOf(oob []byte, kind int32) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == kind && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			ts := *(*unix.Timespec)(unsafe.Pointer(&m.Data[0]))
			return time.Unix(ts.Unix())
		}
	}
	return time.Time{}
}

// stampOfSYN reads what left until the SYN to that port, and forgets the rest.
func (w *wire) stampOfSYN(b testing.TB, port uint16) time.Time {
	b.Helper()
	var stamp time.Time
	for s, ok := w.next(); ok; s, ok = w.next() {
		if s.syn && s.port == port && stamp.IsZero() {
			stamp = s.stamp
		}
	}
	if stamp.IsZero() {
		b.Fatal("no SYN was seen")
	}
	return stamp
}

// forget reads whatever has left so far.
func (w *wire) forget() {
	for _, ok := w.next(); ok; _, ok = w.next() {
		// Gone.
	}
}

// probe sends one packet that does no harm and adds the delay from the call to
// its stamp to the bias.
func (w *wire) probe(b testing.TB, bias *Bias, ttl uint8) {
	p := w.packet(probeProt, ttl, 0)
	called := time.Now()
	w.send(b, p)
	for s, ok := w.next(); ok; s, ok = w.next() {
		if s.proto == probeProt {
			bias.Add(s.stamp.Sub(called))
		}
	}
}

func (w *wire) send(b testing.TB, p []byte) {
	if err := unix.Sendto(w.raw, p, 0, &unix.SockaddrInet4{Addr: w.dst.As4()}); err != nil {
		b.Fatal(err)
	}
}

// warm is a recipe for the last moments before the instant: so many probes,
// evenly over that time. It is what package punch does.
type warm struct {
	probes int
	over   time.Duration
}

var fullWarm = warm{probes: 8, over: 3 * time.Millisecond}

// sendSYN sends one crafted SYN some milliseconds from now as one attempt does, and
// returns the error of its stamp.
func (w *wire) sendSYN(b testing.TB, cfg *Config, how warm) time.Duration {
	b.Helper()
	th, err := OpenThread(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer th.Close()
	ctx := context.Background()
	w.forget()                             // what others sent meanwhile is not ours
	at := time.Now().Round(0).Add(ahead()) // once the thread is what it shall be
	syn := w.packet(unix.IPPROTO_TCP, 64, 1)
	bias := NewBias()
	for i := range how.probes {
		left := how.over - time.Duration(i)*(how.over-300*time.Microsecond)/time.Duration(max(1, how.probes-1))
		if err := th.SleepUntil(ctx, at.Add(-left)); err != nil && !errors.Is(err, ErrPast) {
			b.Fatal(err)
		}
		w.probe(b, bias, 1)
	}
	if err := th.SleepUntil(ctx, at.Add(-bias.Median())); err != nil && !errors.Is(err, ErrPast) {
		b.Fatal(err)
	}
	w.send(b, syn)
	return w.stampOfSYN(b, rawPort).Sub(at)
}

// dial is how application punchers do it.
func (w *wire) dial(b *testing.B) time.Duration {
	b.Helper()
	w.forget()
	at := time.Now().Round(0).Add(ahead())
	time.Sleep(time.Until(at))
	c, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp4", netip.AddrPortFrom(w.dst, dialPort).String())
	if err == nil {
		c.Close()
	}
	return w.stampOfSYN(b, dialPort).Sub(at)
}

// BenchmarkSendError measures the kernel's TX stamp of a SYN minus the instant at
// which it was due: time.Sleep and net.Dialer against a Thread, a warmed path and
// a raw socket, in turn on the same machine, idle and with every processor busy.
func BenchmarkSendError(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	arms := []struct {
		name string
		send func() time.Duration
	}{
		{"dialer", func() time.Duration { return w.dial(b) }},
		{"thread", func() time.Duration { return w.sendSYN(b, nil, fullWarm) }},
		{"rt", func() time.Duration { return w.sendSYN(b, &Config{Realtime: true}, fullWarm) }},
	}
	w.sendSYN(b, nil, fullWarm) // the neighbour is known from here on
	for _, load := range loads[:2] {
		errs := make([][]time.Duration, len(arms))
		stop := load.start(b)
		for range rounds() {
			for i, arm := range arms {
				errs[i] = append(errs[i], arm.send())
			}
			runtime.GC() // a punch happens in a young process: no collection comes between
		}
		stop()
		for i, arm := range arms {
			var base []time.Duration
			if i > 0 {
				base = errs[0]
			}
			reportErrors(b, load.name+"/"+arm.name, errs[i], base)
		}
	}
}

// BenchmarkWarmUp measures what each part of warming the path gains: the error of
// a SYN with nothing before it, with some probes, and with a neighbour that has to
// be found first (the SYN waits for ARP); in a process that has sent before, and
// as the first packet of a new one.
func BenchmarkWarmUp(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	arms := []struct {
		name  string
		how   warm
		noARP bool
		fresh bool // in a process of its own
	}{
		{name: "none", how: warm{}},
		{name: "none/no-neighbour", how: warm{}, noARP: true},
		{name: "none/new-process", how: warm{}, fresh: true},
		{name: "none/new-process-no-neighbour", how: warm{}, noARP: true, fresh: true},
		{name: "1-300us-before", how: warm{1, 300 * time.Microsecond}},
		{name: "1-3ms-before", how: warm{1, 3 * time.Millisecond}},
		{name: "2-over-3ms", how: warm{2, 3 * time.Millisecond}},
		{name: "4-over-3ms", how: warm{4, 3 * time.Millisecond}},
		{name: "8-over-3ms", how: fullWarm},
		{name: "8-over-3ms/no-neighbour", how: fullWarm, noARP: true},
		{name: "8-over-3ms/new-process", how: fullWarm, fresh: true},
		{name: "8-over-3ms/new-process-no-neighbour", how: fullWarm, noARP: true, fresh: true},
		{name: "16-over-3ms", how: warm{16, 3 * time.Millisecond}},
	}
	w.sendSYN(b, nil, fullWarm)
	errs := make([][]time.Duration, len(arms))
	for range rounds() {
		for i, arm := range arms {
			if arm.noARP {
				w.forgetNeighbour(b)
			}
			if arm.fresh {
				errs[i] = append(errs[i], synFromNewProcess(b, arm.how))
				continue
			}
			errs[i] = append(errs[i], w.sendSYN(b, &Config{Realtime: true}, arm.how))
		}
		runtime.GC()
	}
	for i, arm := range arms {
		reportErrors(b, strings.ReplaceAll(arm.name, "/", "-"), errs[i], nil)
	}
}

// sendEnv in the environment makes TestFirstSend send.
const sendEnv = "SYNPUNCH_TEST_SEND"

func synFromNewProcess(b *testing.B, how warm) time.Duration {
	b.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestFirstSend$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", sendEnv, how.probes, how.over))
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "error_ns=")
	var ns int64
	if _, err := fmt.Sscan(rest, &ns); err != nil {
		b.Fatalf("%v in %s", err, out)
	}
	return time.Duration(ns)
}

// TestFirstSend is the new process of BenchmarkWarmUp; alone it does nothing.
func TestFirstSend(t *testing.T) {
	var how warm
	if n, _ := fmt.Sscan(os.Getenv(sendEnv), &how.probes, &how.over); n != 2 {
		return
	}
	w := &wire{src: leftAddr, dst: rightAddr}
	w.open(t)
	runtime.GC()
	fmt.Printf("error_ns=%d\n", w.sendSYN(t, &Config{Realtime: true}, how))
}

func (w *wire) forgetNeighbour(b testing.TB) {
	b.Helper()
	neighs, err := netlink.NeighList(w.index, netlink.FAMILY_V4)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range neighs {
		if err := netlink.NeighDel(&n); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStamps compares, for the same packet, the stamp that a packet socket
// sees with those that SO_TIMESTAMPING gives the sender.
func BenchmarkStamps(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	const flags = unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_TX_SOFTWARE |
		unix.SOF_TIMESTAMPING_TX_SCHED | unix.SOF_TIMESTAMPING_OPT_TSONLY | unix.SOF_TIMESTAMPING_OPT_ID
	if err := unix.SetsockoptInt(w.raw, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags); err != nil {
		b.Fatal(err)
	}
	w.sendSYN(b, nil, fullWarm)
	var called, sched, driver, returned []time.Duration
	for range rounds() {
		w.errorQueue(func(int, time.Time) {}) // empty it
		start := time.Now()
		w.send(b, w.packet(unix.IPPROTO_TCP, 64, 1))
		back := time.Now()
		tap := w.stampOfSYN(b, rawPort)
		called = append(called, tap.Sub(start))
		returned = append(returned, back.Round(0).Sub(tap))
		w.errorQueue(func(kind int, stamp time.Time) {
			switch kind {
			case unix.SCM_TSTAMP_SCHED:
				sched = append(sched, tap.Sub(stamp))
			case unix.SCM_TSTAMP_SND:
				driver = append(driver, stamp.Sub(tap))
			}
		})
	}
	if len(sched) == 0 || len(driver) == 0 {
		b.Fatalf("SO_TIMESTAMPING gave %d and %d stamps", len(sched), len(driver))
	}
	reportErrors(b, "call-to-tap", called, nil)
	reportErrors(b, "sched-to-tap", sched, nil)
	reportErrors(b, "tap-to-driver", driver, nil)
	reportErrors(b, "tap-to-return", returned, nil)
}

// errorQueue reads the stamps that came back to the sender.
func (w *wire) errorQueue(f func(kind int, stamp time.Time)) {
	var oob [512]byte
	for {
		_, n, _, _, err := unix.Recvmsg(w.raw, nil, oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil {
			return
		}
		kind := -1
		for _, m := range msgs {
			if m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR && len(m.Data) >= int(unsafe.Sizeof(unix.SockExtendedErr{})) {
				kind = int((*unix.SockExtendedErr)(unsafe.Pointer(&m.Data[0])).Info)
			}
		}
		f(kind, stampOf(oob[:n], unix.SO_TIMESTAMPING))
	}
}
