package handoff_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

var families = []struct {
	name string
	v6   bool
}{{"ip4", false}, {"ip6", true}}

// answers sends segments from b to an endpoint of a's and returns which of them
// a answered. A SYN to a port where nobody listens goes last: its RST tells
// that all before it have been dealt with.
func (w *wire) answers(tb testing.TB, to netip.AddrPort, flags ...rawtcp.Flags) []rawtcp.Flags {
	tb.Helper()
	v6 := to.Addr().Is6()
	network := "ip4"
	if v6 {
		network = "ip6"
	}
	nobody := w.local(tb, v6)
	tp := newTap(tb, netip.AddrPortFrom(w.addrA(v6), 0), netip.AddrPortFrom(w.addrB(v6), 4242))
	defer tp.close()
	if err := w.b.Do(func() error {
		raw, err := rawtcp.Open(network, nil)
		if err != nil {
			return err
		}
		defer raw.Close()
		send := func(to netip.AddrPort, f rawtcp.Flags) error {
			seg := rawtcp.Segment{Src: netip.AddrPortFrom(w.addrB(v6), 4242), Dst: to, Flags: f, Seq: 1000, Ack: 2000, Window: 1000}
			if f.Has(rawtcp.PSH) {
				seg.Payload = []byte("data")
			}
			pkt, err := seg.Append(nil)
			if err != nil {
				return err
			}
			return raw.Send(pkt)
		}
		for _, f := range flags {
			if err := send(to, f); err != nil {
				return err
			}
		}
		return send(nobody, rawtcp.SYN)
	}); err != nil {
		tb.Fatal(err)
	}
	var got []rawtcp.Flags
	for {
		s, ok := tp.next(time.Now().Add(10 * time.Second))
		if !ok {
			tb.Fatal("no RST from the port where nobody listens")
		}
		switch {
		case !s.out:
		case s.seg.Src == nobody:
			return got
		default:
			got = append(got, s.seg.Flags)
		}
	}
}

func TestGuardKeepsTheKernelSilent(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	all := []rawtcp.Flags{
		rawtcp.SYN, rawtcp.SYN | rawtcp.ACK, rawtcp.ACK, rawtcp.ACK | rawtcp.PSH, rawtcp.FIN | rawtcp.ACK,
		rawtcp.SYN | rawtcp.ECE | rawtcp.CWR, rawtcp.SYN | rawtcp.FIN, rawtcp.RST,
	}
	answered := len(all) - 1 // a RST never is
	for _, privileged := range []bool{true, false} {
		open := func(t *testing.T, local netip.AddrPort, cfg *handoff.GuardConfig) *handoff.Guard {
			t.Helper()
			var g *handoff.Guard
			call := func() (err error) {
				g, err = handoff.OpenGuard(local, cfg)
				return err
			}
			if !privileged {
				privilegedCall := call
				call = func() error { return without(privilegedCall, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW) }
			}
			if err := call(); err != nil {
				t.Fatal(err)
			}
			return g
		}
		for _, f := range families {
			t.Run(fmt.Sprintf("%s, privileged %v", f.name, privileged), func(t *testing.T) {
				g := open(t, netip.AddrPortFrom(w.addrA(f.v6), 0), nil)
				defer g.Close()
				if g.LocalAddr().Port() == 0 || g.LocalAddr().Addr() != w.addrA(f.v6) {
					t.Fatalf("guarded endpoint is %v", g.LocalAddr())
				}
				if got := w.answers(t, g.LocalAddr(), all...); len(got) != 0 {
					t.Errorf("the kernel answered %v", got)
				}
				if err := g.Close(); err != nil {
					t.Fatal(err)
				}
				if err := g.Close(); err != nil {
					t.Errorf("second Close: %v", err)
				}
				if got := w.answers(t, g.LocalAddr(), all...); len(got) != answered {
					t.Errorf("without the guard the kernel answered %v", got)
				}
			})
		}
		t.Run(fmt.Sprintf("every address, privileged %v", privileged), func(t *testing.T) {
			g := open(t, netip.MustParseAddrPort("0.0.0.0:0"), nil)
			defer g.Close()
			if got := w.answers(t, netip.AddrPortFrom(w.aAddr, g.LocalAddr().Port()), all...); len(got) != 0 {
				t.Errorf("the kernel answered %v", got)
			}
		})
		t.Run(fmt.Sprintf("one interface, privileged %v", privileged), func(t *testing.T) {
			for iface, want := range map[string]int{w.iface: 0, "lo": answered} {
				g := open(t, netip.AddrPortFrom(w.aAddr, 0), &handoff.GuardConfig{Interface: iface})
				if got := w.answers(t, g.LocalAddr(), all...); len(got) != want {
					t.Errorf("guard on %s: the kernel answered %v", iface, got)
				}
				g.Close()
			}
		})
	}
}

func TestGuardConflicts(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := addrPort(l.Addr())
	_, err = handoff.OpenGuard(at, nil)
	if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "ss -tanp") {
		t.Errorf("guard on a listening port: %v", err)
	}
	l.Close()

	g, err := handoff.OpenGuard(at, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if second, err := handoff.OpenGuard(at, nil); !errors.Is(err, unix.EADDRINUSE) {
		second.Close()
		t.Errorf("second guard: %v", err)
	}
	if l, err := net.Listen("tcp", at.String()); !errors.Is(err, unix.EADDRINUSE) {
		l.Close()
		t.Errorf("listen on a guarded port: %v", err)
	}
	// Our own sockets.
	remote := netip.MustParseAddrPort("127.0.0.2:9")
	c, err := handoff.PrepareConnect(at, remote, nil)
	if err != nil {
		t.Errorf("PrepareConnect beside a guard: %v", err)
	} else {
		c.Close()
	}
	r, err := handoff.PrepareRepair(at, remote, nil)
	if err != nil {
		t.Errorf("PrepareRepair beside a guard: %v", err)
	} else {
		r.Close()
	}
}

// A guard must come up on a port where a socket that it could share with was
// made first.
func TestGuardBesideOurSockets(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	l := w.listen(t, false)
	c, peer := openRepaired(t, w, false)
	local := addrPort(c.LocalAddr())
	check := func(when string) {
		t.Helper()
		g, err := handoff.OpenGuard(local, nil)
		if err != nil {
			t.Fatalf("guard %s: %v", when, err)
		}
		defer g.Close()
		for name, prepare := range map[string]func() error{
			"connect": func() error {
				s, err := handoff.PrepareConnect(local, addrPort(l.Addr()), nil)
				if err == nil {
					s.Close()
				}
				return err
			},
			"park": func() error {
				s, err := handoff.PreparePark(local, addrPort(l.Addr()), nil)
				if err == nil {
					s.Close()
				}
				return err
			},
			"repair": func() error {
				s, err := handoff.PrepareRepair(local, addrPort(l.Addr()), nil)
				if err == nil {
					s.Close()
				}
				return err
			},
		} {
			if err := prepare(); err != nil {
				t.Errorf("%s %s: %v", name, when, err)
			}
		}
	}
	check("beside an established flow")
	c.CloseWrite() // first: the TIME-WAIT is ours
	if _, err := peer.Read(make([]byte, 1)); err == nil {
		t.Fatal("no end of file")
	}
	peer.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("no end of file")
	}
	c.Close()
	check("in TIME-WAIT")
}
