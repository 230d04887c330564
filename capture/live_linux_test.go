package capture_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

var modes = []capture.Mode{capture.ModeEvidence, capture.ModeReact}

// vethPair makes two connected interfaces, up and without IPv6 noise.
func vethPair(tb testing.TB) (a, b netlink.Link) {
	tb.Helper()
	for _, conf := range []string{"all", "default"} {
		// A kernel without IPv6 has no such file, and no noise.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+conf+"/disable_ipv6", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			tb.Fatal(err)
		}
	}
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "vb"}
	veth.Name = "va"
	if err := netlink.LinkAdd(veth); err != nil {
		tb.Fatal(err)
	}
	links := make([]netlink.Link, 2)
	for i, name := range []string{"va", "vb"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			tb.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			tb.Fatal(err)
		}
		links[i] = l
	}
	return links[0], links[1]
}

// injector puts frames on an interface.
type injector struct {
	fd   int
	head []byte // Ethernet header
	buf  []byte
}

func newInjector(tb testing.TB, from, to netlink.Link) *injector {
	tb.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: from.Attrs().Index}); err != nil {
		tb.Fatal(err)
	}
	i := &injector{fd: fd, head: cat(to.Attrs().HardwareAddr, from.Attrs().HardwareAddr, []byte{0x08, 0x00})}

	// The queue of a device drops everything until the kernel's linkwatch has seen
	// the carrier, some time after the device is up: try until a frame arrives.
	l := open(tb, to.Attrs().Name, &capture.Config{Mode: capture.ModeReact})
	defer l.Close()
	for range 3000 {
		if err := i.send(syn(0, 9)); err != nil {
			tb.Fatal(err)
		}
		ready, err := l.Wait(time.Now().Add(10 * time.Millisecond))
		if err != nil {
			tb.Fatal(err)
		}
		if ready {
			return i
		}
	}
	tb.Fatalf("no frame passes from %s to %s", from.Attrs().Name, to.Attrs().Name)
	return nil
}

// syn is a SYN with n as its sequence number.
func syn(n uint32, port uint16) *rawtcp.Segment {
	return &rawtcp.Segment{
		Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 5000), Dst: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, 2}), port),
		Seq: rawtcp.Seq(n), Flags: rawtcp.SYN, Window: 64240, DF: true,
		Options: rawtcp.Options{MSS: 1460, SACKPermitted: true, HasTimestamps: true, TSVal: 2, HasWScale: true, WScale: 7},
	}
}

func (i *injector) send(s *rawtcp.Segment) error {
	var err error
	i.buf, err = s.Append(append(i.buf[:0], i.head...))
	if err != nil {
		return err
	}
	return i.sendFrame(i.buf)
}

func (i *injector) sendFrame(frame []byte) error {
	for {
		err := unix.Send(i.fd, frame, 0)
		if err != unix.EINTR {
			return err
		}
	}
}

func open(tb testing.TB, iface string, cfg *capture.Config) *capture.Live {
	tb.Helper()
	l, err := capture.Open(iface, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
	})
	return l
}

func testContext(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // only a failing test gets there
	tb.Cleanup(cancel)
	return ctx
}

func nextSegment(tb testing.TB, ctx context.Context, l *capture.Live) (capture.Packet, rawtcp.Segment) {
	tb.Helper()
	p, err := l.Next(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	ip, err := p.IP()
	if err != nil {
		tb.Fatal(err)
	}
	s, err := rawtcp.Parse(ip)
	if err != nil {
		tb.Fatal(err)
	}
	return p, s
}

func TestLiveOrderTimesDirection(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	va, vb := vethPair(t)
	inject := newInjector(t, va, vb)
	const packets = 1000
	size := 60 // IP 20, TCP 20, options 20
	for _, mode := range modes {
		for _, cooked := range []bool{false, true} {
			for _, side := range []string{"va", "vb", ""} {
				t.Run(fmt.Sprintf("%v cooked %v on %q", mode, cooked, side), func(t *testing.T) {
					ctx := testContext(t)
					l := open(t, side, &capture.Config{Mode: mode, Cooked: cooked, BufferBytes: 16 << 20}) // has room for all
					begin := time.Now()
					for i := range uint32(packets) {
						if err := inject.send(syn(i, 6000)); err != nil {
							t.Fatal(err)
						}
					}
					end := time.Now()
					link, head := capture.LinkRaw, 0
					if cooked {
						link, head = capture.LinkLinuxSLL2, 20
					}
					var last time.Time
					expected := packets
					if side == "" {
						expected *= 2
					}
					next := map[capture.Direction]uint32{}
					left := map[rawtcp.Seq]time.Time{}
					for range expected {
						p, s := nextSegment(t, ctx, l)
						if s.Seq != rawtcp.Seq(next[p.Dir]) {
							t.Fatalf("%v: SYN %d, expected %d", p.Dir, s.Seq, next[p.Dir])
						}
						next[p.Dir]++
						if p.Time.Before(begin) || p.Time.After(end) || side != "" && p.Time.Before(last) {
							t.Fatalf("stamped %v, after %v; sent between %v and %v", p.Time, last, begin, end)
						}
						last = p.Time
						if p.Dir == capture.DirOut {
							left[s.Seq] = p.Time
						} else if p.Time.Before(left[s.Seq]) {
							t.Fatalf("SYN %d came %v, and left %v", s.Seq, p.Time, left[s.Seq])
						}
						if p.Link != link || p.Len != head+size || len(p.Data) != head+size {
							t.Fatalf("%+v", p)
						}
						if err := rawtcp.VerifyChecksums(p.Data[head:]); err != nil {
							t.Fatal(err)
						}
						name := map[capture.Direction]string{capture.DirOut: "va", capture.DirIn: "vb"}[p.Dir]
						if in := l.Interfaces()[p.Interface]; in.Name != name || in.Link != link {
							t.Fatalf("%v on %+v", p.Dir, in)
						}
						if cooked {
							attrs := map[string]netlink.Link{"va": va, "vb": vb}[name].Attrs()
							if n := binary.BigEndian.Uint32(p.Data[4:]); int(n) != attrs.Index {
								t.Fatalf("cooked header with interface %d, want %d", n, attrs.Index)
							}
							if !bytes.Equal(p.Data[12:18], va.Attrs().HardwareAddr) || p.Data[11] != 6 {
								t.Fatalf("cooked header with source % x", p.Data[11:20])
							}
						}
					}
					if side == "va" && next[capture.DirIn] != 0 || side == "vb" && next[capture.DirOut] != 0 {
						t.Errorf("directions %v", next)
					}
					if received, dropped, err := l.Stats(); received != uint64(expected) || dropped != 0 || err != nil {
						t.Errorf("received %d, dropped %d, %v", received, dropped, err)
					}
				})
			}
		}
	}
}

// What a capture holds can be written as it comes, and other programs agree
// about its checksums: see also TestOtherProgramsReadOurFiles.
func TestLiveToFile(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	va, vb := vethPair(t)
	inject := newInjector(t, va, vb)
	l := open(t, "", &capture.Config{Cooked: true, Snaplen: 44, FilterText: "everything"})
	var file bytes.Buffer
	w, err := capture.NewWriter(&file)
	if err != nil {
		t.Fatal(err)
	}
	known := 0
	for i := range uint32(10) {
		if err := inject.send(syn(i, 6000)); err != nil {
			t.Fatal(err)
		}
	}
	ctx := testContext(t)
	for range 20 {
		p, err := l.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range l.Interfaces()[known:] {
			if _, err := w.AddInterface(in); err != nil {
				t.Fatal(err)
			}
			known++
		}
		if err := w.WritePacket(p); err != nil {
			t.Fatal(err)
		}
	}
	got, r, err := readAll(t, &file)
	if err != io.EOF || len(got) != 20 {
		t.Fatalf("%d packets, %v", len(got), err)
	}
	for _, p := range got {
		if p.Len != 80 || len(p.Data) != 64 {
			t.Errorf("%d of %d bytes kept", len(p.Data), p.Len)
		}
	}
	for _, in := range r.Interfaces() {
		if in.Snaplen != 64 || in.Filter != "everything" || in.OS != "linux" {
			t.Errorf("%+v", in)
		}
	}
}

// startTcpdump starts tcpdump and returns it, and what it says, when it captures. It
// returns nil, and logs why, where tcpdump does not work: it cannot give up
// privileges in a namespace that an ordinary account made.
func startTcpdump(tb testing.TB, path string, args ...string) (*exec.Cmd, *bufio.Reader) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // it may wait for packets that it lost
	tb.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, append([]string{"-n", "-Z", "root"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	errs, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	r := bufio.NewReader(errs)
	var said strings.Builder
	for {
		line, err := r.ReadString('\n')
		said.WriteString(line)
		if strings.Contains(line, "listening on") {
			return cmd, r
		}
		if err != nil {
			tb.Logf("tcpdump does not capture here: %v, %s", cmd.Wait(), &said)
			return nil, nil
		}
	}
}

// The same packets, to the nanosecond, as tcpdump sees at the same time.
func TestLiveAgreesWithTcpdump(t *testing.T) {
	tcpdump := tool(t, "tcpdump")
	if !testenv.Isolate(t) {
		return
	}
	va, vb := vethPair(t)
	inject := newInjector(t, va, vb)
	for _, side := range []string{"va", "vb"} {
		const packets = 100
		path := filepath.Join(t.TempDir(), "tcpdump.pcap")
		cmd, said := startTcpdump(t, tcpdump, "-i", side, "--immediate-mode", "--time-stamp-precision=nano", "-s", "256", "-c", strconv.Itoa(packets), "-w", path, "tcp dst port 6000")
		if cmd == nil {
			return
		}
		live := map[capture.Mode]*capture.Live{}
		for _, mode := range modes {
			live[mode] = open(t, side, &capture.Config{Mode: mode, Filter: portFilter(t, 6000)})
		}
		for i := range uint32(packets) {
			if err := inject.send(syn(i, 6000)); err != nil {
				t.Fatal(err)
			}
		}
		if text, err := io.ReadAll(said); err != nil {
			t.Fatalf("%s, %v", text, err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		theirs := readFile(t, path)
		if len(theirs) != packets {
			t.Fatalf("tcpdump saw %d packets", len(theirs))
		}
		for mode, l := range live {
			ctx := testContext(t)
			for i := range theirs {
				p, err := l.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				ip, err := theirs[i].IP()
				if err != nil {
					t.Fatal(err)
				}
				if !p.Time.Equal(theirs[i].Time) || !bytes.Equal(p.Data, ip) {
					t.Fatalf("%v on %s, packet %d: %v % x, tcpdump %v % x", mode, side, i, p.Time, p.Data, theirs[i].Time, ip)
				}
			}
		}
	}
}

// portFilter takes TCP over IPv4 without options to one port.
func portFilter(tb testing.TB, port uint32) []bpf.RawInstruction {
	tb.Helper()
	prog, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 22, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: port, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return prog
}

// The filter is in place before the first packet can be queued.
func TestLiveFilterIsExact(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	va, vb := vethPair(t)
	noise, wanted := newInjector(t, va, vb), newInjector(t, va, vb)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := uint32(0); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := noise.send(syn(i, 7777)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	for _, mode := range modes {
		for range 20 {
			ctx := testContext(t)
			l := open(t, "vb", &capture.Config{Mode: mode, Filter: portFilter(t, 6000), BufferBytes: 1 << 20, Latency: time.Millisecond})
			const packets = 50
			for i := range uint32(packets) {
				if err := wanted.send(syn(i, 6000)); err != nil {
					t.Fatal(err)
				}
			}
			for i := range uint32(packets) {
				if _, s := nextSegment(t, ctx, l); s.Dst.Port() != 6000 || s.Seq != rawtcp.Seq(i) {
					t.Fatalf("%v: got %v", mode, &s)
				}
			}
			if received, dropped, err := l.Stats(); received != packets || dropped != 0 || err != nil {
				t.Fatalf("%v: received %d, dropped %d, %v", mode, received, dropped, err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Frames of other protocols are no packets, whatever a filter says.
func TestLiveOnlyIP(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	va, vb := vethPair(t)
	inject := newInjector(t, va, vb)
	all, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 1 << 18}})
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range modes {
		for _, filter := range [][]bpf.RawInstruction{nil, all} {
			l := open(t, "vb", &capture.Config{Mode: mode, Filter: filter})
			bpdu := cat(inject.head[:12], []byte{0, 38, 0x42, 0x42, 3}, make([]byte, 60)) // its first nibble looks like IPv4
			other := cat(inject.head[:12], []byte{0x88, 0xcc, 0x45, 0}, make([]byte, 60))
			for _, frame := range [][]byte{bpdu, other} {
				if err := inject.sendFrame(frame); err != nil {
					t.Fatal(err)
				}
			}
			if err := inject.send(syn(9, 6000)); err != nil {
				t.Fatal(err)
			}
			if p, s := nextSegment(t, testContext(t), l); s.Seq != 9 {
				t.Errorf("%v: %+v", mode, p)
			}
		}
	}
}

func TestLiveCountsDrops(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	va, vb := vethPair(t)
	inject := newInjector(t, va, vb)
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			l := open(t, "vb", &capture.Config{Mode: mode, BufferBytes: 64 << 10})
			const packets = 3000
			total := uint64(0)
			var read, lastReceived, lastDropped uint64
			for round := range uint64(3) {
				for i := range uint32(packets) {
					if err := inject.send(syn(i, 6000)); err != nil {
						t.Fatal(err)
					}
				}
				total += packets
				received, dropped, err := l.Stats()
				if err != nil {
					t.Fatal(err)
				}
				if received != total || dropped <= lastDropped || received <= lastReceived {
					t.Fatalf("round %d: received %d (want %d), dropped %d", round, received, total, dropped)
				}
				lastReceived, lastDropped = received, dropped
				for {
					_, ok := l.Poll()
					if !ok {
						break
					}
					read++
				}
			}
			// What is in a block that is not full comes with its timeout.
			ctx := testContext(t)
			for read < total-lastDropped {
				if _, err := l.Next(ctx); err != nil {
					t.Fatal(err)
				}
				read++
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			received, dropped, err := l.Stats() // still there after Close
			if err != nil || received != total || received-dropped != read {
				t.Errorf("received %d, dropped %d, read %d, %v", received, dropped, read, err)
			}
		})
	}
}

// Under a flood that a reader keeps up with or not, every packet is either read
// or counted as lost, and the order is kept.
func TestLiveFlood(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	va, vb := vethPair(t)
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			f := newFlood(t, va, vb)
			l := open(t, "vb", &capture.Config{Mode: mode})
			const packets = 100_000
			var wg sync.WaitGroup
			wg.Go(func() {
				for sent := 0; sent < packets; {
					n, err := f.send(packets - sent)
					if err != nil {
						t.Error(err)
						return
					}
					sent += n
				}
			})
			read, wraps, last := uint64(0), 0, rawtcp.Seq(0)
			giveUp := time.Now().Add(30 * time.Second) // only a failing test gets there
			for {
				p, ok := l.Poll()
				if ok {
					s, err := rawtcp.Parse(p.Data)
					if err != nil {
						t.Fatal(err)
					}
					if s.Seq < last { // the flood repeats its frames
						wraps++
					}
					last = s.Seq
					read++
					continue
				}
				received, dropped, err := l.Stats()
				if err != nil {
					t.Fatal(err)
				}
				if received == packets && read == received-dropped {
					break
				}
				if time.Now().After(giveUp) {
					t.Fatalf("read %d, received %d, dropped %d", read, received, dropped)
				}
				if _, err := l.Wait(time.Now().Add(20 * time.Millisecond)); err != nil {
					t.Fatal(err)
				}
			}
			wg.Wait()
			if _, dropped, _ := l.Stats(); dropped == 0 && wraps != (packets-1)/len(f.frames) {
				t.Errorf("the sequence numbers fall %d times", wraps)
			}
		})
	}
}

// The loopback device shows each packet twice, and its packets have no checksum
// on the way; ours do.
func TestLiveLoopback(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, mode := range modes {
		for _, network := range []string{"tcp4", "tcp6"} {
			for _, inbound := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v %s inbound only %v", mode, network, inbound), func(t *testing.T) {
					l := open(t, "lo", &capture.Config{Mode: mode, InboundOnly: inbound})
					address := map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"}[network]
					listener, err := net.Listen(network, address)
					if err != nil {
						t.Fatal(err)
					}
					defer listener.Close()
					var wg sync.WaitGroup
					const size = 1 << 20
					wg.Go(func() {
						c, err := listener.Accept()
						if err != nil {
							t.Error(err)
							return
						}
						defer c.Close()
						if n, err := io.Copy(io.Discard, c); n != size || err != nil {
							t.Error(n, err)
						}
					})
					c, err := net.Dial(network, listener.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					if _, err := c.Write(make([]byte, size)); err != nil {
						t.Fatal(err)
					}
					c.Close()
					wg.Wait()
					ctx := testContext(t)
					counts := map[capture.Direction]int{}
					var fins, snapped, large int
					for fins < 2 || !inbound && fins < 4 {
						p, s := nextSegment(t, ctx, l)
						counts[p.Dir]++
						if s.Flags&rawtcp.FIN != 0 {
							fins++
						}
						if len(p.Data) < p.Len {
							snapped++
							continue
						}
						if p.Len > 30000 {
							large++
						}
						if err := rawtcp.VerifyChecksums(p.Data); err != nil {
							t.Fatalf("%v %v: %v", p.Dir, &s, err)
						}
					}
					if inbound != (counts[capture.DirOut] == 0) || counts[capture.DirIn] < 4 {
						t.Errorf("%v", counts)
					}
					if mode == capture.ModeReact && snapped == 0 {
						t.Error("no large segment was snapped")
					}
					if mode == capture.ModeEvidence && (snapped > 0 || large == 0) {
						t.Errorf("%d snapped, %d large", snapped, large)
					}
				})
			}
		}
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Close wakes whoever waits, at any moment, and gives everything back.
func TestLiveClose(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	va, vb := vethPair(t)
	inject := newInjector(t, va, vb)
	runtime.GC() // finalizers of earlier tests
	before := openDescriptors(t)
	for round := range 60 {
		mode := modes[round%2]
		l, err := capture.Open("vb", &capture.Config{Mode: mode, BufferBytes: 128 << 10})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		waiting := make(chan struct{})
		wg.Go(func() {
			close(waiting)
			if round%3 == 0 {
				for {
					if ready, err := l.Wait(time.Time{}); err != nil {
						if ready || !errors.Is(err, net.ErrClosed) {
							t.Error("Wait:", ready, err)
						}
						return
					}
					l.Poll()
				}
			}
			var kept capture.Packet
			for {
				p, err := l.Next(context.Background())
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Error("Next:", err)
					}
					break
				}
				kept = p
			}
			if kept.Data != nil && kept.Data[0] != 0x45 { // still there, though the ring is not
				t.Error("the last packet has changed")
			}
		})
		<-waiting
		if round%4 > 1 { // close among packets
			for i := range uint32(200) {
				if err := inject.send(syn(i, 6000)); err != nil {
					t.Fatal(err)
				}
			}
		}
		var closers sync.WaitGroup
		for range 2 {
			closers.Go(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
			closers.Go(func() {
				if _, _, err := l.Stats(); err != nil {
					t.Error(err)
				}
				l.Interfaces()
			})
		}
		closers.Wait()
		wg.Wait()
		if _, ok := l.Poll(); ok {
			t.Error("Poll returns a packet after Close")
		}
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(maps), "socket:") {
		t.Error("a ring is still mapped")
	}
}

func TestLiveContextAndDeadline(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	va, vb := vethPair(t)
	inject := newInjector(t, va, vb)
	for _, mode := range modes {
		l := open(t, "vb", &capture.Config{Mode: mode})
		for range 20 {
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := l.Next(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("%v: %v", mode, err)
				}
			})
			cancel()
			wg.Wait()
			if _, err := l.Next(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, cancelled before: %v", mode, err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		if _, err := l.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v: %v", mode, err)
		}
		cancel()

		until := time.Now().Add(5 * time.Millisecond)
		if ready, err := l.Wait(until); ready || err != nil || time.Now().Before(until) {
			t.Errorf("%v: Wait = %v, %v, %v early", mode, ready, err, time.Until(until))
		}
		if ready, err := l.Wait(time.Now().Add(-time.Hour)); ready || err != nil {
			t.Errorf("%v: Wait in the past = %v, %v", mode, ready, err)
		}
		if err := inject.send(syn(1, 6000)); err != nil {
			t.Fatal(err)
		}
		if ready, err := l.Wait(time.Time{}); !ready || err != nil {
			t.Errorf("%v: Wait = %v, %v", mode, ready, err)
		}
		if ready, err := l.Wait(time.Now().Add(-time.Hour)); !ready || err != nil {
			t.Errorf("%v: Wait in the past with a packet = %v, %v", mode, ready, err)
		}
		if _, ok := l.Poll(); !ok {
			t.Errorf("%v: Wait promised a packet", mode)
		}
		// With a context that has ended, a packet that is there comes all the same.
		if err := inject.send(syn(2, 6000)); err != nil {
			t.Fatal(err)
		}
		if ready, err := l.Wait(time.Time{}); !ready || err != nil {
			t.Errorf("%v: Wait = %v, %v", mode, ready, err)
		}
		if p, err := l.Next(ctx); err != nil || len(p.Data) != 60 {
			t.Errorf("%v: %+v, %v", mode, p, err)
		}
	}
}

func TestLiveDoesNotAllocate(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	va, vb := vethPair(t)
	inject := newInjector(t, va, vb)
	for _, mode := range modes {
		for _, side := range []string{"vb", ""} {
			l := open(t, side, &capture.Config{Mode: mode})
			for i := range uint32(500) {
				if err := inject.send(syn(i, 6000)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // so that both interfaces have been seen
				if _, err := l.Next(testContext(t)); err != nil {
					t.Fatal(err)
				}
			}
			if n := testing.AllocsPerRun(400, func() {
				if ready, err := l.Wait(time.Now().Add(30 * time.Second)); !ready || err != nil {
					t.Error("no packet:", err)
				}
				if _, ok := l.Poll(); !ok {
					t.Error("no packet")
				}
			}); n != 0 {
				t.Errorf("%v on %q: Wait and Poll make %v allocations", mode, side, n)
			}
			for {
				if _, ok := l.Poll(); !ok {
					break
				}
			}
			if n := testing.AllocsPerRun(100, func() { l.Poll() }); n != 0 {
				t.Errorf("%v on %q: Poll without a packet makes %v allocations", mode, side, n)
			}
		}
	}
}

func TestLiveErrors(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	_, vb := vethPair(t)
	if err := netlink.LinkSetDown(vb); err != nil {
		t.Fatal(err)
	}
	before := openDescriptors(t)
	for _, tt := range []struct {
		name, iface string
		cfg         *capture.Config
		want        error
		text        string
	}{
		{"no such interface", "nowhere", nil, unix.ENODEV, "capture: open on nowhere"},
		{"name too long", "a-name-that-no-interface-can-have", nil, unix.ENODEV, "1 to 15 bytes"},
		{"interface down", "vb", nil, unix.ENETDOWN, "capture: open on vb"},
		{"empty filter", "lo", &capture.Config{Filter: []bpf.RawInstruction{}}, unix.EINVAL, "SO_ATTACH_FILTER"},
		{"filter without end", "lo", &capture.Config{Filter: []bpf.RawInstruction{{Op: 0x28, K: 2}}}, unix.EINVAL, "SO_ATTACH_FILTER"},
		{"filter too long", "lo", &capture.Config{Filter: make([]bpf.RawInstruction, 1<<16)}, unix.EINVAL, "65536 instructions"},
		{"mode", "lo", &capture.Config{Mode: 9}, nil, "mode 9"},
		{"snaplen", "lo", &capture.Config{Snaplen: -1}, nil, "snapshot length"},
		{"small buffer", "lo", &capture.Config{BufferBytes: 4096}, nil, "a buffer of 4096 bytes"},
		{"large buffer", "lo", &capture.Config{BufferBytes: 1<<30 + 1}, nil, "a buffer of"},
		{"latency", "lo", &capture.Config{Latency: -1}, nil, "a latency of"},
	} {
		l, err := capture.Open(tt.iface, tt.cfg)
		if err == nil {
			l.Close()
			t.Errorf("%s: no error", tt.name)
			continue
		}
		if tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// An interface that goes down while a capture waits is reported, and the capture goes on
// when it is up again.
func TestLiveInterfaceGoesDown(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	va, vb := vethPair(t)
	for _, mode := range modes {
		l := open(t, "vb", &capture.Config{Mode: mode, Filter: portFilter(t, 6000)})
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := l.Next(testContext(t)); !errors.Is(err, unix.ENETDOWN) {
				t.Errorf("%v: %v", mode, err)
			}
		})
		if err := netlink.LinkSetDown(vb); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if err := netlink.LinkSetUp(vb); err != nil {
			t.Fatal(err)
		}
		if err := newInjector(t, va, vb).send(syn(5, 6000)); err != nil {
			t.Fatal(err)
		}
		if _, s := nextSegment(t, testContext(t), l); s.Seq != 5 {
			t.Errorf("%v: %v", mode, &s)
		}
	}
}

func TestLiveNeedsNetRaw(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends without its capabilities
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&head, &none[0]); err != nil {
			errs <- err
			return
		}
		l, err := capture.Open("lo", nil)
		if err == nil {
			l.Close()
		}
		errs <- err
	}()
	err := <-errs
	if !errors.Is(err, unix.EPERM) || !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_RAW") || !strings.Contains(err.Error(), "setcap cap_net_raw") {
		t.Error(err)
	}
}
