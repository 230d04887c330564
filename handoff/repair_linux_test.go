package handoff_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// handedOff opens a flow to a listener of b's with raw packets and installs it.
// The listener's process sends early as soon as it accepts.
type handedOff struct {
	conn   *net.TCPConn
	peer   *net.TCPConn
	repair *handoff.Repair
	o      *opener
}

func handOff(tb testing.TB, w *wire, v6 bool, cfg rawtcp.HandshakeConfig, early []byte) *handedOff {
	tb.Helper()
	l := w.listen(tb, v6)
	defer l.Close()
	cfg.Local, cfg.Remote = w.local(tb, v6), addrPort(l.Addr())
	accepted := make(chan *net.TCPConn, 1)
	go func() {
		c, err := l.AcceptTCP()
		if err == nil {
			c.Write(early) // an error shows as missing bytes
		}
		accepted <- c
	}()
	guard, err := handoff.OpenGuard(cfg.Local, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer guard.Close()
	h := &handedOff{}
	if h.repair, err = handoff.PrepareRepair(cfg.Local, cfg.Remote, nil); err != nil {
		tb.Fatal(err)
	}
	h.o = newOpener(tb, cfg)
	h.o.tap.keep = true
	h.o.open(tb)
	t := h.o.hs.Transfer(time.Now())
	late := h.o.late
	wait := late
	if len(t.Data) == 0 && len(early) <= 14480 {
		// All that is early comes late.
		wait = func(from rawtcp.Seq) []byte {
			for deadline := time.Now().Add(10 * time.Second); ; {
				if data := late(from); len(data) == len(early) || time.Now().After(deadline) {
					wait = late
					return data
				}
			}
		}
	}
	tb.Cleanup(func() { h.repair.Close() })
	if h.conn, err = h.repair.Install(t, func(from rawtcp.Seq) []byte { return wait(from) }); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { h.conn.Close() })
	if h.peer = <-accepted; h.peer == nil {
		tb.Fatal("the peer's kernel accepted nothing")
	}
	tb.Cleanup(func() { h.peer.Close() })
	return h
}

// info reads TCP_INFO of both ends.
func (h *handedOff) info(tb testing.TB) (ours, peers handoff.TCPInfo) {
	tb.Helper()
	ours, err := handoff.Info(h.conn)
	if err != nil {
		tb.Fatal(err)
	}
	peers, err = handoff.Info(h.peer)
	if err != nil {
		tb.Fatal(err)
	}
	return ours, peers
}

func TestInstallKeepsTheFlow(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, c := range []struct {
		name   string
		v6     bool
		cfg    rawtcp.HandshakeConfig
		sndMSS int // of ours
		rcvMSS int // of the peer's
	}{
		{name: "ip4", cfg: rawtcp.HandshakeConfig{WScale: 7}, sndMSS: 1448, rcvMSS: 1448},
		{name: "ip6", v6: true, cfg: rawtcp.HandshakeConfig{WScale: 7}, sndMSS: 1428, rcvMSS: 1428},
		{name: "small segments", cfg: rawtcp.HandshakeConfig{MSS: 600, WScale: 3}, sndMSS: 1448, rcvMSS: 588},
		{name: "shift of 14", cfg: rawtcp.HandshakeConfig{WScale: 14}, sndMSS: 1448, rcvMSS: 1448},
		{name: "small window", cfg: rawtcp.HandshakeConfig{Window: 4000, WScale: 7}, sndMSS: 1448, rcvMSS: 1448},
		{name: "no window scale", cfg: rawtcp.HandshakeConfig{NoWScale: true}, sndMSS: 1448, rcvMSS: 1448},
		{name: "no selective acknowledgments", cfg: rawtcp.HandshakeConfig{NoSACK: true, WScale: 7}, sndMSS: 1448, rcvMSS: 1448},
		// mss_cache still counts the timestamps that this host's sysctl asks for
		// (tcp_connect_init); what is sent does not (tcp_current_mss).
		{name: "no timestamps", cfg: rawtcp.HandshakeConfig{NoTimestamps: true, WScale: 7}, sndMSS: 1448, rcvMSS: 1460},
		{name: "no options", cfg: rawtcp.HandshakeConfig{NoWScale: true, NoTimestamps: true, NoSACK: true}, sndMSS: 1448, rcvMSS: 1460},
	} {
		for _, early := range []int{0, 1, 3000, 60000} {
			t.Run(fmt.Sprintf("%s, %d early bytes", c.name, early), func(t *testing.T) {
				first := pattern(early, 3)
				h := handOff(t, w, c.v6, c.cfg, first)
				ours, peers := h.info(t)
				if ours.State != "ESTABLISHED" || peers.State != "ESTABLISHED" {
					t.Errorf("states %s and %s", ours.State, peers.State)
				}
				if ours.SndMSS != c.sndMSS || peers.SndMSS != c.rcvMSS {
					t.Errorf("segments of %d and %d bytes, want %d and %d", ours.SndMSS, peers.SndMSS, c.sndMSS, c.rcvMSS)
				}
				if ours.WScale != !c.cfg.NoWScale || ours.SACK == c.cfg.NoSACK || ours.Timestamps == c.cfg.NoTimestamps {
					t.Errorf("options: %+v", ours)
				}
				if ours.SndWScale != peers.RcvWScale || ours.RcvWScale != peers.SndWScale || ours.RcvWScale != c.cfg.WScale {
					t.Errorf("window shifts %d, %d; the peer has %d, %d", ours.SndWScale, ours.RcvWScale, peers.SndWScale, peers.RcvWScale)
				}
				if err := exchange(h.conn, h.peer, 4<<20, first); err != nil {
					t.Fatal(err)
				}
				h.o.tap.drain()
				checkStamps(t, h.o, !c.cfg.NoTimestamps)
				checkWindow(t, h.o.tap.log, ours.RcvWScale)
				checkLabel(t, h.o.tap.log, true)
			})
		}
	}
}

// This host's settings are for flows that its kernel opens. One that was opened
// otherwise keeps what was agreed.
func TestInstallWhateverTheSettings(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, c := range [][2]string{
		{"ipv4/tcp_timestamps", "0"},
		{"ipv4/tcp_window_scaling", "0"},
		{"ipv4/tcp_sack", "0"},
		{"ipv4/tcp_ecn", "1"},
		{"ipv4/tcp_mtu_probing", "2"},
		{"ipv4/tcp_moderate_rcvbuf", "0"},
		{"ipv4/tcp_rmem", "4096\t8192\t65536"},
		{"ipv4/tcp_congestion_control", "reno"},
		{"ipv4/tcp_slow_start_after_idle", "0"},
		{"ipv4/tcp_fastopen", "3"},
		{"ipv4/ip_local_port_range", "60000\t60100"},
	} {
		t.Run(c[0]+" "+c[1], func(t *testing.T) {
			setSysctl(t, c[0], c[1])
			first := pattern(3000, 3)
			h := handOff(t, w, false, rawtcp.HandshakeConfig{WScale: 7}, first)
			if ours, _ := h.info(t); !ours.Timestamps || !ours.SACK || !ours.WScale || ours.SndWScale == 0 || ours.RcvWScale != 7 {
				t.Errorf("%+v", ours)
			}
			if err := exchange(h.conn, h.peer, 1<<20, first); err != nil {
				t.Fatal(err)
			}
			h.o.tap.drain()
			checkStamps(t, h.o, true)
		})
	}
}

// checkStamps makes sure that what this host sent has timestamps that never run
// back and count milliseconds, before the handoff and after it.
func checkStamps(t *testing.T, o *opener, want bool) {
	t.Helper()
	var first, last *seen
	for i := range o.tap.log {
		s := &o.tap.log[i]
		if !s.out {
			continue
		}
		if s.seg.Options.HasTimestamps != want && !s.seg.Flags.Has(rawtcp.RST) {
			t.Fatalf("timestamps: want %v: %v", want, &s.seg)
		}
		if !want {
			continue
		}
		if last != nil && int32(s.seg.Options.TSVal-last.seg.Options.TSVal) < 0 {
			t.Fatalf("TSval runs back:\n%v\n%v", &last.seg, &s.seg)
		}
		if first == nil {
			first = s
		}
		last = s
	}
	if !want {
		return
	}
	// One up for the even number, and the two clocks tick at different moments. It
	// may be less: the time from Transfer to Install does not count. The first value is of when
	// the SYN was made, which may have left much later.
	took := last.at.Sub(o.begun).Milliseconds()
	if ticks := int64(last.seg.Options.TSVal - first.seg.Options.TSVal); ticks > took+3 {
		t.Errorf("TSval went on by %d in %d ms", ticks, took)
	}
}

// checkWindow makes sure that the right edge of our window never moves left
// (RFC 9293 section 3.8.6), but for what the scaling rounds off.
func checkWindow(t *testing.T, log []seen, shift uint8) {
	t.Helper()
	var edge rawtcp.Seq
	have := false
	for i := range log {
		s := &log[i]
		if !s.out || !s.seg.Flags.Has(rawtcp.ACK) || s.seg.Flags.Has(rawtcp.RST) {
			continue
		}
		now := s.seg.Ack.Add(int(s.seg.Window) << shift)
		if s.seg.Flags.Has(rawtcp.SYN) {
			now = s.seg.Ack.Add(int(s.seg.Window)) // never scaled, RFC 7323 section 2.2
		}
		if have && now.Sub(edge) < -int32(1)<<shift {
			t.Fatalf("packet %d: the window's edge moves from %d to %d: %v", i, edge, now, &s.seg)
		}
		if !have || edge.Less(now) {
			edge, have = now, true
		}
	}
}

// checkLabel makes sure that one end's packets have flow label 0 from the raw
// SYN to the end.
func checkLabel(t *testing.T, log []seen, out bool) {
	t.Helper()
	for i := range log {
		if s := &log[i]; s.out == out && s.label != 0 {
			t.Fatalf("packet %d has flow label %#x: %v", i, s.label, &s.seg)
		}
	}
}

// What the peer has sent while Install ran must be acknowledged, or the peer
// sends it again. Its data all come after Transfer and before the filter goes.
func TestInstallNeedsNoRetransmission(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		for _, size := range []int{1, 1000, 14000} { // at most the initial congestion window
			t.Run(fmt.Sprintf("%s, %d bytes", f.name, size), func(t *testing.T) {
				// The peer's tail loss probe comes after 8 ms on this path (RFC 8985
				// section 7). A busy machine may stop this process for longer, but
				// not time and again.
				const attempts = 10
				for i := 1; retransmitted(t, w, f.v6, size) > 0; i++ {
					if i == attempts {
						t.Fatalf("the peer had to retransmit in each of %d flows", attempts)
					}
				}
			})
		}
	}
}

// retransmitted returns how many segments a peer had to send again that speaks
// at once.
func retransmitted(t *testing.T, w *wire, v6 bool, size int) int {
	t.Helper()
	first := pattern(size, 3)
	h := handOff(t, w, v6, rawtcp.HandshakeConfig{WScale: 7}, first)
	defer h.conn.Close()
	defer h.peer.Close()
	got := make([]byte, len(first))
	if _, err := io.ReadFull(h.conn, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, first) {
		t.Fatal("other bytes than were sent")
	}
	_, peers := h.info(t)
	for deadline := time.Now().Add(10 * time.Second); peers.BytesAcked < int64(size); _, peers = h.info(t) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d bytes acknowledged", peers.BytesAcked, size)
		}
		runtime.Gosched()
	}
	h.o.tap.drain()
	checkStamps(t, h.o, true)
	checkWindow(t, h.o.tap.log, 7)
	return peers.TotalRetransmits
}

// A flow may be handed off in SYN-RECEIVED: the kernel's first segment stands
// for the acknowledgment of the peer's SYN.
func TestInstallEarly(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		for _, speaks := range []string{"we speak first", "the peer speaks first", "both speak"} {
			t.Run(f.name+", "+speaks, func(t *testing.T) {
				local := w.local(t, f.v6)
				guard, err := handoff.OpenGuard(local, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer guard.Close()
				var c *handoff.Connect
				if err := w.b.Do(func() (err error) {
					c, err = handoff.PrepareConnect(netip.AddrPortFrom(w.addrB(f.v6), 0), local, nil)
					return err
				}); err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				remote := c.LocalAddr()
				r, err := handoff.PrepareRepair(local, remote, nil)
				if err != nil {
					t.Fatal(err)
				}
				o := newOpener(t, rawtcp.HandshakeConfig{Local: local, Remote: remote, WScale: 7, Early: true})
				// The peer's SYN waits in the tap while ours goes out: they cross.
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				o.open(t)
				if o.hs.State() != rawtcp.SynReceived || !o.hs.Simultaneous() {
					t.Fatalf("state %v, simultaneous %v", o.hs.State(), o.hs.Simultaneous())
				}
				conn, err := r.Install(o.hs.Transfer(time.Now()), o.late)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := c.Wait(testContext(t)); err != nil {
					t.Fatal(err)
				}
				peer, err := c.Conn()
				if err != nil {
					t.Fatal(err)
				}
				defer peer.Close()
				if speaks != "the peer speaks first" {
					say(t, conn, peer)
				}
				if speaks != "we speak first" {
					say(t, peer, conn)
				}
				if err := exchange(conn, peer, 1<<20, nil); err != nil {
					t.Fatal(err)
				}
				if info, err := handoff.Info(conn); err != nil || info.State != "ESTABLISHED" {
					t.Errorf("%+v, %v", info, err)
				}
			})
		}
	}
}

// say sends a word and waits for it.
func say(t *testing.T, from, to net.Conn) {
	t.Helper()
	if _, err := from.Write([]byte("word")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(to, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
}

// A peer that says all it has to say and closes at once.
func TestInstallPeerFIN(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	l := w.listen(t, false)
	first := pattern(5000, 3)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write(first)
			c.Close()
		}
	}()
	for range 10 {
		local, remote := w.local(t, false), addrPort(l.Addr())
		guard, err := handoff.OpenGuard(local, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := handoff.PrepareRepair(local, remote, nil)
		if err != nil {
			t.Fatal(err)
		}
		o := newOpener(t, rawtcp.HandshakeConfig{Local: local, Remote: remote, WScale: 7})
		o.open(t)
		conn, err := r.Install(o.hs.Transfer(time.Now()), o.late)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, first) {
			t.Fatalf("read %d of %d bytes: %v", len(got), len(first), err)
		}
		conn.Close()
		guard.Close()
		o.close()
	}
}

// A flow of ours in TIME-WAIT gives way to the next one, which the kernel allows
// because of the timestamps (tcp_twsk_unique).
func TestInstallAfterTimeWait(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l := w.listen(t, f.v6)
			local := w.local(t, f.v6)
			for range 3 {
				conn, peer := openRepairedFrom(t, l, local)
				if err := exchange(conn, peer, 1000, nil); err != nil {
					t.Fatal(err)
				}
				if err := conn.CloseWrite(); err != nil { // first: TIME-WAIT is on our side
					t.Fatal(err)
				}
				if _, err := io.ReadAll(peer); err != nil {
					t.Fatal(err)
				}
				peer.Close()
				if _, err := io.ReadAll(conn); err != nil {
					t.Fatal(err)
				}
				conn.Close()
				const timeWait = "06" // state in /proc/net/tcp
				if left := sockets(t, local.Port()); len(left) != 1 || strings.Fields(left[0])[3] != timeWait {
					t.Errorf("want one socket in TIME-WAIT: %q", left)
				}
			}
		})
	}
}

// Until Install has succeeded nothing may go out, whatever is done.
func TestRepairIsSilent(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			local, remote := w.local(t, f.v6), netip.AddrPortFrom(w.addrB(f.v6), 9)
			tp := newTap(t, local, netip.AddrPort{})
			r, err := handoff.PrepareRepair(local, remote, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Warm(); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Errorf("second Close: %v", err)
			}
			if err := r.Warm(); !errors.Is(err, handoff.ErrClosed) {
				t.Errorf("Warm after Close: %v", err)
			}
			if r, err = handoff.PrepareRepair(local, remote, nil); err != nil {
				t.Fatal(err)
			}
			// An Install that fails half-way: the window's start is beyond the queue's end.
			bad := rawtcp.Transfer{
				Local: local, Remote: remote, ISN: 1000, SndNxt: 1001, PeerISN: 2000, RcvNxt: 2001, RcvWup: 2100,
				PeerMSS: 1460, SndWnd: 1000, RcvWnd: 1000,
			}
			if _, err := r.Install(bad, nil); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "TCP_REPAIR_WINDOW") {
				t.Errorf("Install with a window start beyond the queue: %v", err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			// A packet that must come ends the waiting.
			if r, err = handoff.PrepareRepair(local, remote, nil); err != nil {
				t.Fatal(err)
			}
			good := bad
			good.RcvWup = good.RcvNxt
			conn, err := r.Install(good, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			s, ok := tp.next(time.Now().Add(10 * time.Second))
			if !ok || s.seg.PayloadLen != 1 || s.seg.Seq != 1001 || s.seg.Ack != 2001 {
				t.Errorf("the first packet is %v", &s.seg)
			}
		})
	}
}

func TestInstallRefusesNonsense(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	local, remote := netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("127.0.0.2:9")
	l, err := net.Listen("tcp", local.String())
	if err != nil {
		t.Fatal(err)
	}
	local = addrPort(l.Addr())
	l.Close()
	good := rawtcp.Transfer{Local: local, Remote: remote, ISN: 1, SndNxt: 2, PeerISN: 3, RcvNxt: 4, RcvWup: 4, PeerMSS: 1460}
	for name, change := range map[string]func(*rawtcp.Transfer){
		"another local endpoint":  func(tr *rawtcp.Transfer) { tr.Local = netip.AddrPortFrom(local.Addr(), 1) },
		"another remote endpoint": func(tr *rawtcp.Transfer) { tr.Remote = netip.AddrPortFrom(remote.Addr(), 1) },
		"sequence number 0":       func(tr *rawtcp.Transfer) { tr.ISN, tr.SndNxt = ^rawtcp.Seq(0), 0 },
		"shift of 15":             func(tr *rawtcp.Transfer) { tr.WScaleOK, tr.SndWScale = true, 15 },
	} {
		t.Run(name, func(t *testing.T) {
			r, err := handoff.PrepareRepair(local, remote, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			tr := good
			change(&tr)
			if _, err := r.Install(tr, nil); err == nil {
				t.Fatal("accepted")
			}
			conn, err := r.Install(good, nil)
			if err != nil {
				t.Fatalf("and then the right one: %v", err)
			}
			conn.SetLinger(0)
			conn.Close()
			if _, err := r.Install(good, nil); !errors.Is(err, handoff.ErrClosed) {
				t.Errorf("a second Install: %v", err)
			}
		})
	}
	// The same flow twice.
	r, err := handoff.PrepareRepair(local, remote, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := r.Install(good, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if r, err := handoff.PrepareRepair(local, remote, nil); !errors.Is(err, unix.EADDRNOTAVAIL) {
		r.Close()
		t.Errorf("the same flow again: %v", err)
	}
	ours, peers := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	if ours != local || peers != remote {
		t.Errorf("the connection says it is %v to %v", ours, peers)
	}
}

func TestProbeRepair(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	if ok, err := handoff.ProbeRepair(); !ok || err != nil {
		t.Errorf("with every capability: %v, %v", ok, err)
	}
	local, remote := netip.MustParseAddrPort("127.0.0.1:4000"), netip.MustParseAddrPort("192.0.2.1:9")
	for name, c := range map[string]struct {
		capability uint
		call       func() error
	}{
		"ProbeRepair": {unix.CAP_NET_ADMIN, func() error {
			ok, err := handoff.ProbeRepair()
			if ok {
				return errors.New("yes")
			}
			return err
		}},
		"PrepareRepair": {unix.CAP_NET_ADMIN, func() error {
			_, err := handoff.PrepareRepair(local, remote, nil)
			return err
		}},
		"PreparePark": {unix.CAP_NET_RAW, func() error {
			_, err := handoff.PreparePark(local, remote, &handoff.ParkConfig{MSS: 1460})
			return err
		}},
	} {
		err := without(c.call, c.capability)
		want := map[uint]string{unix.CAP_NET_ADMIN: "cap_net_admin", unix.CAP_NET_RAW: "cap_net_raw"}[c.capability]
		if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "setcap "+want) {
			t.Errorf("%s without the capability: %v", name, err)
		}
	}
}
