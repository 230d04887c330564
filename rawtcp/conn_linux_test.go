package rawtcp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// What arrives at the other end of a wire, against what was built: see the
// documentation of Conn for each difference.
func TestSendArrivesAsBuilt(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	put16 := func(at int, v uint16) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint16(b[at:], v) }
	}
	for _, test := range []struct {
		name   string
		v6     bool
		change func(s *rawtcp.Segment)
		sent   func(b []byte)                // spoils the packet before it is sent
		want   func(sent, got []byte) []byte // what should arrive, given what did
	}{
		{name: "SYN"},
		{name: "SYN on IPv6", v6: true},
		{name: "low TTL", change: func(s *rawtcp.Segment) { s.TTL = 1 }},
		{name: "low hop limit", v6: true, change: func(s *rawtcp.Segment) { s.TTL = 1 }},
		{name: "traffic class and data", v6: true, change: func(s *rawtcp.Segment) { s.TOS, s.Payload = 0xb8, []byte("data") }},
		{name: "TOS, odd data, fragments allowed", change: func(s *rawtcp.Segment) { s.TOS, s.DF, s.Payload = 0xb8, false, []byte("odd") }},
		{name: "ID 0 stays with DF", change: func(s *rawtcp.Segment) { s.ID = 0 }},
		{
			name:   "ID 0 without DF is the kernel's",
			change: func(s *rawtcp.Segment) { s.ID, s.DF = 0, false },
			want: func(sent, got []byte) []byte {
				copy(sent[4:6], got[4:6])
				return finish(sent)
			},
		},
		{name: "wrong total length is put right", sent: put16(2, 4000), want: func(sent, _ []byte) []byte { return finish(sent) }},
		{name: "wrong IP checksum is put right", sent: put16(10, 0xdead), want: func(sent, _ []byte) []byte { return finish(sent) }},
		{name: "wrong TCP checksum stays", sent: put16(36, 0xdead)},
		{name: "wrong TCP checksum stays on IPv6", v6: true, sent: put16(56, 0xdead)},
		{
			name: "source 0.0.0.0 is filled in, the TCP checksum is not",
			sent: func(b []byte) { copy(b[12:16], make([]byte, 4)) },
			want: func(sent, _ []byte) []byte {
				copy(sent[12:16], w.local4.AsSlice())
				tcp := append([]byte(nil), sent[36:38]...)
				sent = finish(sent)
				copy(sent[36:38], tcp)
				return sent
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			local, remote := w.ends(test.v6)
			s := benchSYN(test.v6)
			s.Src, s.Dst = netip.AddrPortFrom(local, 40000), netip.AddrPortFrom(remote, 443)
			if test.change != nil {
				test.change(s)
			}
			pkt := mustAppend(t, s)
			if test.sent != nil {
				test.sent(pkt)
			}
			far := newTap(t, "far", mustFilter(t, netip.AddrPort{}, s.Dst))
			c := mustOpen(t, test.v6, nil)
			sent := append([]byte(nil), pkt...)
			if err := c.Send(pkt); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(pkt, sent) {
				t.Error("Send changed its argument")
			}
			got := far.next(t)
			if test.want != nil {
				sent = test.want(sent, got)
			}
			if !bytes.Equal(got, sent) {
				t.Errorf("arrived % x\n   want % x", got, sent)
			}
			if strings.HasPrefix(test.name, "ID 0 without") {
				t.Logf("the kernel chose ID %d", binary.BigEndian.Uint16(got[4:]))
			}
		})
	}
}

// Warm sends nothing: what arrives first is what Send sent after it.
func TestWarmSendsNothing(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, v6 := range []bool{false, true} {
		local, remote := w.ends(v6)
		s := benchSYN(v6)
		s.Src, s.Dst = netip.AddrPortFrom(local, 40000), netip.AddrPortFrom(remote, 443)
		far := newTap(t, "far", mustFilter(t, netip.AddrPort{}, s.Dst))
		c := mustOpen(t, v6, nil)
		for range 3 {
			if err := c.Warm(mustAppend(t, s)); err != nil {
				t.Fatal(err)
			}
		}
		s.Seq++
		if err := c.Send(mustAppend(t, s)); err != nil {
			t.Fatal(err)
		}
		if got := far.segment(t); got.Seq != s.Seq {
			t.Errorf("%v arrived, which was only warmed", &got)
		}
	}
}

// A stock listener takes our handshake for a real one.
func TestHandshakeWithKernelListener(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			loopback := netip.MustParseAddr("127.0.0.1")
			if f.v6 {
				loopback = netip.IPv6Loopback()
			}
			l, err := net.Listen("tcp", netip.AddrPortFrom(loopback, 0).String())
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			remote := l.Addr().(*net.TCPAddr).AddrPort()
			local := silentListener(t, loopback)
			seen := newTap(t, "lo", mustFilter(t, local, remote))
			c := mustOpen(t, f.v6, nil)
			send := func(s *rawtcp.Segment) {
				t.Helper()
				s.Src, s.Dst = local, remote
				if err := c.Send(mustAppend(t, s)); err != nil {
					t.Fatal(err)
				}
				if got := seen.segment(t); got.Src != local || got.Flags != s.Flags {
					t.Fatalf("lo shows %v, want our %v", &got, s.Flags)
				}
			}

			syn := benchSYN(f.v6)
			syn.Options.MSS, syn.Options.WScale, syn.Seq = 1337, 5, 1<<32-1
			send(syn)
			got := seen.segment(t)
			if got.Src != remote || got.Dst != local || got.Flags != rawtcp.SYN|rawtcp.ACK || got.Ack != syn.End() {
				t.Fatalf("the kernel answers %v, want SYN-ACK with ack %d", &got, syn.End())
			}
			o := got.Options
			if o.MSS == 0 || !o.SACKPermitted || !o.HasWScale || !o.HasTimestamps || o.TSEcr != syn.Options.TSVal {
				t.Errorf("the kernel agreed to <%v>, we offered <%v>", &o, &syn.Options)
			}

			send(&rawtcp.Segment{
				Seq: syn.End(), Ack: got.End(), Flags: rawtcp.PSH | rawtcp.ACK, Window: 100, Payload: []byte("hello"),
				Options: rawtcp.Options{HasTimestamps: true, TSVal: syn.Options.TSVal + 1, TSEcr: o.TSVal},
			})
			if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			conn, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if a := conn.RemoteAddr().(*net.TCPAddr).AddrPort(); a != local {
				t.Errorf("accepted from %v, want %v", a, local)
			}
			if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			data := make([]byte, 5)
			if _, err := io.ReadFull(conn, data); err != nil || string(data) != "hello" {
				t.Errorf("the kernel's socket read %q, %v", data, err)
			}
			ack := seen.segment(t)
			if ack.Flags != rawtcp.ACK || ack.Ack != syn.End()+5 || ack.Options.TSEcr != syn.Options.TSVal+1 {
				t.Errorf("the kernel acknowledges with %v", &ack)
			}
		})
	}
}

// Without something that holds the local port, the local kernel resets what it
// does not know: the reason for the guard.
func TestLocalKernelResetsUnknownFlow(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			loopback := netip.MustParseAddr("127.0.0.1")
			if f.v6 {
				loopback = netip.IPv6Loopback()
			}
			l, err := net.Listen("tcp", netip.AddrPortFrom(loopback, 0).String())
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			remote := l.Addr().(*net.TCPAddr).AddrPort()
			free, err := net.Listen("tcp", netip.AddrPortFrom(loopback, 0).String())
			if err != nil {
				t.Fatal(err)
			}
			local := free.Addr().(*net.TCPAddr).AddrPort()
			free.Close() // the namespace is ours alone: nobody takes the port

			seen := newTap(t, "lo", mustFilter(t, local, remote))
			syn := benchSYN(f.v6)
			syn.Src, syn.Dst = local, remote
			if err := mustOpen(t, f.v6, nil).Send(mustAppend(t, syn)); err != nil {
				t.Fatal(err)
			}
			for i, want := range []rawtcp.Flags{rawtcp.SYN, rawtcp.SYN | rawtcp.ACK, rawtcp.RST} {
				if got := seen.segment(t); got.Flags != want || want == rawtcp.RST && (got.Src != local || got.Seq != syn.End()) {
					t.Fatalf("packet %d is %v, want %v", i+1, &got, want)
				}
			}
		})
	}
}

// Errno is what the kernel's own socket in SYN-SENT gets.
func TestICMPErrnoIsTheKernels(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	type kind struct{ typ, code uint8 }
	kinds := map[bool][]kind{
		false: {{11, 0}, {11, 1}, {12, 0}, {12, 1}},
		true:  {{2, 0}, {3, 0}, {3, 1}, {4, 0}, {4, 1}, {4, 2}},
	}
	for code := range uint8(18) {
		kinds[false] = append(kinds[false], kind{3, code})
	}
	for code := range uint8(10) {
		kinds[true] = append(kinds[true], kind{1, code})
	}
	for _, f := range families {
		local, remote := w.ends(f.v6)
		dst := netip.AddrPortFrom(remote, 443)
		seen := newTap(t, "far", mustFilter(t, netip.AddrPort{}, dst))
		onLo := newTap(t, "lo", mustFilter(t, netip.AddrPort{}, dst))
		c := mustOpen(t, f.v6, nil)
		final := kind{3, 3} // port unreachable
		if f.v6 {
			final = kind{1, 4}
		}
		for _, k := range kinds[f.v6] {
			sock := connecting(t, dst)
			syn := seen.segment(t)
			if syn.Flags&^(rawtcp.ECE|rawtcp.CWR) != rawtcp.SYN {
				t.Fatalf("connect() sends %v", &syn)
			}
			quote := mustAppend(t, &syn)
			tell := func(k kind) rawtcp.ICMPError {
				pkt := icmpAbout(remote, local, k.typ, k.code, 1300, quote)
				e, err := rawtcp.ParseICMP(pkt)
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Send(pkt); err != nil {
					t.Fatal(err)
				}
				// The kernel's BPF agrees with the one in x/net that the other tests run.
				if got, err := rawtcp.ParseICMP(onLo.next(t)); got != e {
					t.Fatalf("the filter lets in %+v, %v, want %+v", got, err, e)
				}
				return e
			}
			e := tell(k)
			want := e.Errno()
			if want == nil {
				// Ignored: the next one decides.
				want = tell(final).Errno()
			}
			if got := socketError(t, sock); !errors.Is(want, got) {
				t.Errorf("%s: %v (type %d code %d): the kernel says %v, Errno %v", f.name, e, k.typ, k.code, got, e.Errno())
			}
			unix.Close(sock)
		}
	}
}

// connecting returns a socket in SYN-SENT.
func connecting(tb testing.TB, to netip.AddrPort) int {
	tb.Helper()
	family, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(to.Port())})
	if to.Addr().Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	} else {
		sa.(*unix.SockaddrInet4).Addr = to.Addr().As4()
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	if err := unix.Connect(fd, sa); err != unix.EINPROGRESS {
		tb.Fatalf("connect: %v", err)
	}
	return fd
}

// socketError waits until the socket has failed and says how.
func socketError(tb testing.TB, fd int) unix.Errno {
	tb.Helper()
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(p, int(patience.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			tb.Fatalf("the socket did not fail: %d, %v", n, err)
		}
		break
	}
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		tb.Fatal(err)
	}
	return unix.Errno(errno)
}

func TestSendDoesNotAllocate(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		local, remote := w.ends(f.v6)
		s := benchSYN(f.v6)
		s.Src, s.Dst = netip.AddrPortFrom(local, 40000), netip.AddrPortFrom(remote, 443)
		pkt := mustAppend(t, s)
		c := mustOpen(t, f.v6, nil)
		if n := testing.AllocsPerRun(100, func() {
			if err := c.Send(pkt); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: Send makes %v allocations, want none", f.name, n)
		}
	}
}

func TestSendFromManyGoroutines(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	const senders, each = 4, 25 // as much as a packet socket's receive buffer holds
	s := benchSYN(false)
	s.Src, s.Dst = netip.AddrPortFrom(w.local4, 40000), netip.AddrPortFrom(w.remote4, 443)
	far := newTap(t, "far", mustFilter(t, s.Src, s.Dst))
	c := mustOpen(t, false, &rawtcp.Config{SendBuffer: 1 << 20})
	var wg sync.WaitGroup
	for g := range senders {
		wg.Go(func() {
			s := *s
			buf := make([]byte, 0, rawtcp.MaxHeader)
			for i := range each {
				s.Seq = rawtcp.Seq(g*each + i)
				pkt, err := s.Append(buf)
				if err == nil {
					err = c.Send(pkt)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[rawtcp.Seq]bool{}
	for range senders * each {
		seen[far.segment(t).Seq] = true
	}
	if len(seen) != senders*each {
		t.Errorf("%d different segments arrived, want %d", len(seen), senders*each)
	}
}

func TestSendErrors(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			local, remote := w.ends(f.v6)
			s := benchSYN(f.v6)
			s.Src, s.Dst = netip.AddrPortFrom(local, 40000), netip.AddrPortFrom(remote, 443)
			good := mustAppend(t, s)
			c := mustOpen(t, f.v6, nil)

			long := *s
			long.Payload = make([]byte, 1500)
			nowhere := *s
			nowhere.Dst = benchSYN(f.v6).Dst
			for _, test := range []struct {
				name string
				pkt  []byte
				want error
				text string
			}{
				{"above the MTU", mustAppend(t, &long), unix.EMSGSIZE, remote.String()},
				{"no route", mustAppend(t, &nowhere), unix.ENETUNREACH, nowhere.Dst.Addr().String()},
				{"the other family", mustAppend(t, benchSYN(!f.v6)), rawtcp.ErrMalformed, "not an IP"},
				{"nothing", nil, rawtcp.ErrMalformed, "0 bytes"},
				{"half a header", good[:19], rawtcp.ErrMalformed, "19 bytes"},
			} {
				if err := c.Send(test.pkt); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
					t.Errorf("%s: %v, want %v with %q", test.name, err, test.want, test.text)
				}
			}
			if err := c.Send(good); err != nil {
				t.Errorf("after the errors: %v", err)
			}

			conn := &nftables.Conn{}
			family := nftables.TableFamilyIPv4
			if f.v6 {
				family = nftables.TableFamilyIPv6
			}
			table := conn.AddTable(&nftables.Table{Name: "test", Family: family})
			chain := conn.AddChain(&nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter})
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}})
			if err := conn.Flush(); err != nil {
				testenv.Skip(t, "nftables in a namespace: "+err.Error())
			}
			if err := c.Send(good); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "nft list ruleset") {
				t.Errorf("dropped by the host's own rules: %v", err)
			}
			conn.DelTable(table)
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}

			for range 2 {
				if err := c.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
			if err := c.Send(good); !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v, want net.ErrClosed", err)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, test := range []struct {
		network string
		cfg     *rawtcp.Config
		want    error
		text    string
	}{
		{"tcp", nil, nil, `"ip4" or "ip6"`},
		{"", nil, nil, `"ip4" or "ip6"`},
		{"ip4", &rawtcp.Config{Interface: "nosuch0"}, unix.ENODEV, "interface nosuch0"},
		{"ip4", &rawtcp.Config{Local: netip.MustParseAddr("192.0.2.200")}, unix.EADDRNOTAVAIL, "local address 192.0.2.200"},
		{"ip4", &rawtcp.Config{Local: netip.IPv6Loopback()}, nil, "other family"},
		{"ip6", &rawtcp.Config{Local: netip.MustParseAddr("127.0.0.1")}, nil, "other family"},
	} {
		before := openFiles(t)
		c, err := rawtcp.Open(test.network, test.cfg)
		if err == nil {
			c.Close()
			t.Errorf("%s, %+v: no error, want %q", test.network, test.cfg, test.text)
			continue
		}
		if test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s, %+v: %v, want %q", test.network, test.cfg, err, test.text)
		}
		if after := openFiles(t); after != before {
			t.Errorf("%s, %+v: %d descriptors open, before %d", test.network, test.cfg, after, before)
		}
	}
}

// openFiles counts the process's sockets: the runtime's own files come and go.
func openFiles(tb testing.TB) (n int) {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// Without the capability the error says which one and how to get it.
func TestOpenWithoutCapability(t *testing.T) {
	result := make(chan error)
	go func() {
		// Only this thread loses its capabilities, and it ends with the goroutine.
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			result <- err
			return
		}
		c, err := rawtcp.Open("ip4", nil)
		if err == nil {
			c.Close()
		}
		result <- err
	}()
	err := <-result
	if !errors.Is(err, unix.EPERM) {
		t.Fatalf("%v, want EPERM", err)
	}
	for _, part := range []string{"CAP_NET_RAW", "setcap cap_net_raw,cap_net_admin+ep /"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

// Interface, Local and Mark each decide on the route.
func TestConfigRoutes(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	t.Run("link-local", func(t *testing.T) {
		s := benchSYN(true)
		s.Src, s.Dst = netip.AddrPortFrom(w.linkLocal6, 1), netip.AddrPortFrom(w.remote6L, 2)
		far := newTap(t, "far", mustFilter(t, s.Src, s.Dst))
		for _, cfg := range []*rawtcp.Config{{Interface: "near"}, {Interface: "near", Local: w.linkLocal6}, {Local: w.linkLocal6.WithZone("near")}} {
			if err := mustOpen(t, true, cfg).Send(mustAppend(t, s)); err != nil {
				t.Errorf("%+v: %v", cfg, err)
				continue
			}
			if got := far.segment(t); got.Src != s.Src {
				t.Errorf("%+v: %v arrived", cfg, &got)
			}
		}
	})
	// Table 100 knows the way to the rest of the world, the main table does not.
	for _, f := range families {
		local, remote := w.ends(f.v6)
		world := benchSYN(f.v6).Dst.Addr()
		family, bits := netlink.FAMILY_V4, 32
		if f.v6 {
			family, bits = netlink.FAMILY_V6, 128
		}
		host := &net.IPNet{IP: world.AsSlice(), Mask: net.CIDRMask(bits, bits)}
		if err := netlink.RouteAdd(&netlink.Route{Table: 100, LinkIndex: w.near.Attrs().Index, Dst: host, Gw: remote.AsSlice()}); err != nil {
			t.Fatal(err)
		}
		from, mark := netlink.NewRule(), netlink.NewRule()
		from.Family, from.Table, from.Src = family, 100, &net.IPNet{IP: local.AsSlice(), Mask: net.CIDRMask(bits, bits)}
		mark.Family, mark.Table, mark.Mark = family, 100, 77
		for _, test := range []struct {
			name string
			rule *netlink.Rule
			cfg  *rawtcp.Config
		}{{"Local", from, &rawtcp.Config{Local: local}}, {"Mark", mark, &rawtcp.Config{Mark: 77}}} {
			t.Run(test.name+"/"+f.name, func(t *testing.T) {
				if err := netlink.RuleAdd(test.rule); err != nil {
					testenv.Skip(t, "policy routing: "+err.Error())
				}
				defer netlink.RuleDel(test.rule)
				s := benchSYN(f.v6)
				s.Src = netip.AddrPortFrom(local, 40000)
				pkt := mustAppend(t, s)
				// IPv6 looks for a source address itself, and finds the rule by it.
				if err := mustOpen(t, f.v6, nil).Send(pkt); !errors.Is(err, unix.ENETUNREACH) && !(f.v6 && test.name == "Local") {
					t.Errorf("without a Config: %v, want ENETUNREACH", err)
				}
				far := newTap(t, "far", mustFilter(t, s.Src, s.Dst))
				if err := mustOpen(t, f.v6, test.cfg).Send(pkt); err != nil {
					t.Fatal(err)
				}
				if got := far.next(t); !bytes.Equal(got, pkt) {
					t.Errorf("arrived % x\n   want % x", got, pkt)
				}
			})
		}
	}
}
