package handoff_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

func TestConnect(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			l := w.listen(t, f.v6)
			remote := addrPort(l.Addr())
			c, err := handoff.PrepareConnect(netip.AddrPortFrom(w.addrA(f.v6), 0), remote, &handoff.ConnectConfig{TTL: 9, MSS: 900, Interface: w.iface})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			tp := w.arrivals(t, c.LocalAddr(), remote)
			if done, err := c.Poll(); done || err != nil {
				t.Errorf("before Start: done %v, %v", done, err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); !errors.Is(err, unix.EALREADY) {
				t.Errorf("second Start: %v", err)
			}
			if err := c.Wait(testContext(t)); err != nil {
				t.Fatal(err)
			}
			conn, err := c.Conn()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			peer := accept(t, l)
			defer peer.Close()
			if err := exchange(conn, peer, 100000, nil); err != nil {
				t.Fatal(err)
			}
			tp.drain()
			first := true
			for _, s := range tp.log {
				if s.out {
					continue
				}
				// On this cable the handshake is over before connect returns, its
				// last ACK included.
				if first && (s.seg.TTL != 9 || s.seg.Options.MSS != 900) || s.seg.PayloadLen > 0 && s.seg.TTL != 64 {
					t.Fatalf("%v", &s.seg)
				}
				first = false
			}
			if err := c.Start(); !errors.Is(err, handoff.ErrClosed) {
				t.Errorf("Start after Conn: %v", err)
			}
		})
	}
}

// The unprivileged way to open a mapping first: a SYN that does not get far, of
// a socket that is given up at once; then the real one, on the same flow.
func TestConnectAfterPriming(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			local, remote := w.local(t, f.v6), netip.AddrPortFrom(w.addrB(f.v6), 7000)
			guard, err := handoff.OpenGuard(local, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer guard.Close()
			// b says nothing for now: the first SYN is lost on the way.
			var bGuard *handoff.Guard
			if err := w.b.Do(func() (err error) {
				bGuard, err = handoff.OpenGuard(remote, nil)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer bGuard.Close()
			tp := w.arrivals(t, local, remote)
			prime, err := handoff.PrepareConnect(local, remote, &handoff.ConnectConfig{TTL: 2})
			if err != nil {
				t.Fatal(err)
			}
			if err := prime.Start(); err != nil {
				t.Fatal(err)
			}
			if err := prime.Close(); err != nil {
				t.Fatal(err)
			}
			s, ok := tp.next(time.Now().Add(10 * time.Second))
			if !ok || s.seg.TTL != 2 || s.seg.Flags != rawtcp.SYN {
				t.Fatalf("the first SYN: %v", &s.seg)
			}
			nothing(t, tp, local, remote) // the socket was given up in silence

			// Both ends connect at once now, each beside its guard.
			a, err := handoff.PrepareConnect(local, remote, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			var b *handoff.Connect
			if err := w.b.Do(func() (err error) {
				b, err = handoff.PrepareConnect(remote, local, nil)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if err := errors.Join(a.Start(), b.Start()); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(a.Wait(testContext(t)), b.Wait(testContext(t))); err != nil {
				t.Fatal(err)
			}
			ca, err := a.Conn()
			if err != nil {
				t.Fatal(err)
			}
			defer ca.Close()
			cb, err := b.Conn()
			if err != nil {
				t.Fatal(err)
			}
			defer cb.Close()
			if err := exchange(ca, cb, 100000, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestConnectAgain(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	local, remote := w.local(t, false), netip.AddrPortFrom(w.bAddr, 9) // nobody listens
	c, err := handoff.PrepareConnect(local, remote, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(testContext(t)); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("%v", err)
		}
		if _, err := c.Conn(); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("Conn: %v", err)
		}
	}
	if c.LocalAddr() != local {
		t.Errorf("local endpoint is now %v, was %v", c.LocalAddr(), local)
	}
	// A peer that has the flow already is told when it is given up.
	l := w.listen(t, false)
	if c, err = handoff.PrepareConnect(local, addrPort(l.Addr()), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(testContext(t)); err != nil {
		t.Fatal(err)
	}
	peer := accept(t, l)
	defer peer.Close()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the peer read %v", err)
	}
}

func TestFlowInUse(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	l := w.listen(t, false)
	conn, peer := openConnected(t, w, false)
	defer conn.Close()
	defer peer.Close()
	local, remote := addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())
	c, err := handoff.PrepareConnect(local, remote, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Start(); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("the same flow: %v", err)
	}
	other, err := handoff.PrepareConnect(local, addrPort(l.Addr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Start(); err != nil {
		t.Errorf("another flow of the same local endpoint: %v", err)
	}
}
