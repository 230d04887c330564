package handoff_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// arrivals is a tap on b, which sees what the cable brings and nothing of a's
// loopback device.
func (w *wire) arrivals(tb testing.TB, local, remote netip.AddrPort) *tap {
	tb.Helper()
	var tp *tap
	if err := w.b.Do(func() (err error) {
		tp, err = openTap(remote, local)
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(tp.close)
	tp.keep = true
	return tp
}

// nothing makes sure that b has seen nothing of a flow so far. A segment on the
// same flow with a sequence number that none else has ends the waiting.
func nothing(t *testing.T, tp *tap, local, remote netip.AddrPort) {
	t.Helper()
	const mark = 4711
	sendSegment(t, &rawtcp.Segment{Src: local, Dst: remote, Flags: rawtcp.RST, Seq: mark})
	for {
		s, ok := tp.next(time.Now().Add(10 * time.Second))
		switch {
		case !ok:
			t.Fatal("the mark did not come")
		case s.seg.Seq == mark:
			return
		case !s.out:
			t.Errorf("on the wire: %v", &s.seg)
		}
	}
}

func TestParkedSYNIsTheKernels(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			local, remote := w.local(t, f.v6), netip.AddrPortFrom(w.addrB(f.v6), 9)
			tp := w.arrivals(t, local, remote)
			p, err := handoff.Park(testContext(t), local, remote, nil)
			if err != nil {
				t.Fatal(err)
			}
			parked := p.SYN()
			if err := p.Release(); err != nil {
				t.Fatal(err)
			}
			nothing(t, tp, local, remote)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			nothing(t, tp, local, remote)

			c, err := handoff.PrepareConnect(local, remote, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			s, ok := tp.next(time.Now().Add(10 * time.Second))
			if !ok {
				t.Fatal("no SYN")
			}
			own := s.seg
			own.Payload = nil
			if parked.Seq == own.Seq {
				t.Error("two sockets with one ISN")
			}
			// What two sockets differ in.
			own.Seq, own.ID, own.Options.TSVal = parked.Seq, parked.ID, parked.Options.TSVal
			if diff := cmp.Diff(own, parked, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("the kernel's own SYN (-) and the parked one (+):\n%s", diff)
			}
		})
	}
}

// A host that forwards packets must not forward the parked SYN.
func TestParkOnRouter(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	setSysctl(t, "ipv4/ip_forward", "1")
	setSysctl(t, "ipv6/conf/all/forwarding", "1")
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			local, remote := w.local(t, f.v6), netip.AddrPortFrom(w.addrB(f.v6), 9)
			tp := w.arrivals(t, local, remote)
			p, err := handoff.Park(testContext(t), local, remote, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			nothing(t, tp, local, remote)
		})
	}
}

func TestParkOpens(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			for _, cfg := range []*handoff.ParkConfig{nil, {MSS: 1000}, {Interface: w.iface}} {
				l := w.listen(t, f.v6)
				local, remote := w.local(t, f.v6), addrPort(l.Addr())
				tp := w.arrivals(t, local, remote)
				guard, err := handoff.OpenGuard(local, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer guard.Close()
				p, err := handoff.Park(testContext(t), local, remote, cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				if err := p.Release(); err != nil {
					t.Fatal(err)
				}
				if done, err := p.Poll(); done || err != nil {
					t.Fatalf("before the SYN is out: done %v, %v", done, err)
				}
				syn := p.SYN()
				sendSegment(t, &syn)
				if err := p.Wait(testContext(t)); err != nil {
					t.Fatal(err)
				}
				conn, err := p.Conn()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := p.Poll(); !errors.Is(err, handoff.ErrClosed) {
					t.Errorf("Poll after Conn: %v", err)
				}
				peer := accept(t, l)
				defer peer.Close()
				plain, err := net.Dial("tcp", remote.String())
				if err != nil {
					t.Fatal(err)
				}
				defer plain.Close()
				if err := exchange(conn, peer, 1<<20, nil); err != nil {
					t.Fatal(err)
				}
				ours, err := handoff.Info(conn)
				if err != nil {
					t.Fatal(err)
				}
				want, err := handoff.Info(plain.(*net.TCPConn))
				if err != nil {
					t.Fatal(err)
				}
				if cfg != nil && cfg.MSS != 0 {
					want.SndMSS = int(cfg.MSS) - 12
					want.AdvMSS = want.SndMSS
				}
				if ours.SndMSS != want.SndMSS || ours.AdvMSS != want.AdvMSS || ours.PMTU != want.PMTU || ours.RcvWScale != want.RcvWScale || ours.SndWScale != want.SndWScale {
					t.Errorf("parked: %+v\nplain:  %+v", ours, want)
				}
				tp.drain()
				checkLabel(t, tp.log, false)
				syns := 0
				for _, s := range tp.log {
					if !s.out && s.seg.Flags.Has(rawtcp.SYN) {
						syns++
					}
				}
				if syns != 1 {
					t.Errorf("%d SYNs were sent", syns)
				}
			}
		})
	}
}

// Nobody sends a copy: the kernel's own retransmission goes to the peer, with
// the segment size of the path, one second after Park.
func TestParkedKernelRetransmits(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l := w.listen(t, f.v6)
			local, remote := w.local(t, f.v6), addrPort(l.Addr())
			tp := w.arrivals(t, local, remote)
			p, err := handoff.Park(testContext(t), local, remote, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if err := p.Release(); err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(testContext(t)); err != nil {
				t.Fatal(err)
			}
			first, ok := tp.next(time.Time{})
			syn := p.SYN()
			if !ok || first.seg.Seq != syn.Seq || first.seg.Options.MSS != syn.Options.MSS {
				t.Errorf("retransmitted: %v\nparked: %v", &first.seg, &syn)
			}
			if ticks := first.seg.Options.TSVal - syn.Options.TSVal; ticks < 900 || ticks > 5000 {
				t.Errorf("retransmitted %d ms later, by its timestamp", ticks)
			}
		})
	}
}

func TestParkedSocketsCross(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			a := w.local(t, f.v6)
			b := netip.AddrPortFrom(w.addrB(f.v6), a.Port())
			type end struct {
				p   *handoff.Parked
				raw *rawtcp.Conn
			}
			open := func(local, remote netip.AddrPort) (e end, err error) {
				network := "ip4"
				if f.v6 {
					network = "ip6"
				}
				if e.raw, err = rawtcp.Open(network, nil); err != nil {
					return e, err
				}
				if e.p, err = handoff.Park(testContext(t), local, remote, nil); err != nil {
					return e, err
				}
				return e, e.p.Release()
			}
			ea, err := open(a, b)
			if err != nil {
				t.Fatal(err)
			}
			var eb end
			if err := w.b.Do(func() (err error) {
				eb, err = open(b, a)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			for _, e := range []end{ea, eb} {
				syn := e.p.SYN()
				pkt, err := syn.Append(nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := e.raw.Send(pkt); err != nil {
					t.Fatal(err)
				}
				e.raw.Close()
			}
			var conns []*net.TCPConn
			for _, e := range []end{ea, eb} {
				if err := e.p.Wait(testContext(t)); err != nil {
					t.Fatal(err)
				}
				c, err := e.p.Conn()
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				conns = append(conns, c)
			}
			if err := exchange(conns[0], conns[1], 1<<20, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// unreachable sends an ICMP error about a segment from b.
func (w *wire) unreachable(tb testing.TB, about *rawtcp.Segment) {
	tb.Helper()
	pkt, err := about.Append(nil)
	if err != nil {
		tb.Fatal(err)
	}
	v6 := about.Src.Addr().Is6()
	if err := w.b.Do(func() error {
		msg := icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: 1, Body: &icmp.DstUnreach{Data: pkt}}
		network := "ip4:icmp"
		var pseudo []byte
		if v6 {
			msg.Type, msg.Code = ipv6.ICMPTypeDestinationUnreachable, 3
			network = "ip6:ipv6-icmp"
			pseudo = icmp.IPv6PseudoHeader(w.bAddr6.AsSlice(), w.aAddr6.AsSlice())
		}
		b, err := msg.Marshal(pseudo)
		if err != nil {
			return err
		}
		c, err := net.ListenPacket(network, w.addrB(v6).String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.WriteTo(b, &net.IPAddr{IP: w.addrA(v6).AsSlice()})
		return err
	}); err != nil {
		tb.Fatal(err)
	}
}

// What the network answers ends the socket with the errno, and Park begins anew
// on the same flow.
func TestParkAgain(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l := w.listen(t, f.v6)
			local, remote := w.local(t, f.v6), addrPort(l.Addr())
			p, err := handoff.PreparePark(local, remote, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if done, err := p.Poll(); done || err != nil {
				t.Errorf("prepared: done %v, %v", done, err)
			}
			if _, err := p.Conn(); err == nil {
				t.Error("Conn of a socket that was not parked")
			}
			var isns []rawtcp.Seq
			park := func() rawtcp.Segment {
				t.Helper()
				if err := p.Park(testContext(t)); err != nil {
					t.Fatal(err)
				}
				if err := p.Release(); err != nil {
					t.Fatal(err)
				}
				syn := p.SYN()
				isns = append(isns, syn.Seq)
				return syn
			}
			syn := park()
			rst := rawtcp.Segment{Src: remote, Dst: local, Flags: rawtcp.RST | rawtcp.ACK, Ack: syn.Seq + 1}
			if err := w.b.Do(func() error { return sendRaw(&rst) }); err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(testContext(t)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("after a RST: %v", err)
			}
			if _, err := p.Poll(); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("asked again: %v", err)
			}
			syn = park()
			w.unreachable(t, &syn)
			if err := p.Wait(testContext(t)); !errors.Is(err, unix.EHOSTUNREACH) {
				t.Errorf("after an ICMP error: %v", err)
			}
			park() // and again without any answer
			syn = park()
			sendSegment(t, &syn)
			if err := p.Wait(testContext(t)); err != nil {
				t.Fatal(err)
			}
			conn, err := p.Conn()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			peer := accept(t, l)
			defer peer.Close()
			if err := exchange(conn, peer, 1000, nil); err != nil {
				t.Fatal(err)
			}
			for i := 1; i < len(isns); i++ {
				if !isns[i-1].Less(isns[i]) {
					t.Errorf("ISNs of one flow do not grow: %v", isns)
				}
			}
			if err := p.Park(testContext(t)); !errors.Is(err, handoff.ErrClosed) {
				t.Errorf("Park after Conn: %v", err)
			}
		})
	}
}

func TestWaitEnds(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	local, remote := w.local(t, false), netip.AddrPortFrom(w.bAddr, 9)
	p, err := handoff.Park(testContext(t), local, remote, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	why := errors.New("the caller has had enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go cancel(why)
	if err := p.Wait(ctx); !errors.Is(err, why) {
		t.Errorf("Wait: %v", err)
	}
	if done, err := p.Poll(); done || err != nil {
		t.Errorf("and then: done %v, %v", done, err)
	}
	// Park with a context that is over may still succeed: the SYN is there.
	if err := p.Park(ctx); err != nil && !errors.Is(err, why) {
		t.Error(err)
	}
}

func TestParkRefuses(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	own := netip.AddrPortFrom(w.aAddr, 4000)
	for name, c := range map[string]struct {
		local, remote string
		say           string
	}{
		"own address":      {own.String(), "192.0.2.1:9", "own"},
		"loopback":         {own.String(), "127.0.0.1:9", "own"},
		"foreign local":    {"198.51.100.1:4000", "192.0.2.2:9", "no interface"},
		"no local address": {"0.0.0.0:4000", "192.0.2.2:9", "want an address and a port"},
		"no local port":    {"192.0.2.1:0", "192.0.2.2:9", "want an address and a port"},
		"no route":         {own.String(), "203.0.113.1:9", "route to"},
		"two families":     {own.String(), "[2001:db8::2]:9", "two address families"},
		"mapped":           {own.String(), "[::ffff:192.0.2.2]:9", "Unmap"},
		"multicast":        {own.String(), "224.0.0.1:9", "multicast"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := handoff.PreparePark(netip.MustParseAddrPort(c.local), netip.MustParseAddrPort(c.remote), nil)
			if err == nil {
				p.Close()
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("loopback device down", func(t *testing.T) {
		ns, err := netns.New() // lo is down there, and everything else is missing
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		err = ns.Do(func() error {
			_, err := handoff.Park(testContext(t), netip.MustParseAddrPort("127.0.0.1:4000"), netip.MustParseAddrPort("192.0.2.2:9"), &handoff.ParkConfig{MSS: 1460})
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "ip link set lo up") {
			t.Errorf("%v", err)
		}
	})
	for name, c := range map[string]struct {
		v6  bool
		set []string
		say string
	}{
		"segment routing":      {true, []string{"ipv6/conf/all/seg6_enabled", "ipv6/conf/lo/seg6_enabled"}, "seg6_enabled=0"},
		"own sources accepted": {false, []string{"ipv4/ip_forward", "ipv4/conf/all/accept_local"}, "accept_local=0"},
	} {
		t.Run(name, func(t *testing.T) {
			for i, file := range c.set {
				p, err := handoff.PreparePark(netip.AddrPortFrom(w.addrA(c.v6), 4000), netip.AddrPortFrom(w.addrB(c.v6), 9), nil)
				if err != nil {
					t.Fatalf("after %d settings: %v", i, err)
				}
				p.Close()
				setSysctl(t, file, "1")
			}
			_, err := handoff.PreparePark(netip.AddrPortFrom(w.addrA(c.v6), 4000), netip.AddrPortFrom(w.addrB(c.v6), 9), nil)
			if err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v", err)
			}
		})
	}
}

// setSysctl changes a setting for the rest of the test.
func setSysctl(t *testing.T, name, value string) {
	t.Helper()
	file := "/proc/sys/net/" + name
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile(file, old, 0) })
}
