package datagram_test

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/datagram"
)

// TestAnswersFromWhereAsked: a socket on all addresses tells to which one a
// packet came, and answers from there or from another.
func TestAnswersFromWhereAsked(t *testing.T) {
	for _, c := range []struct{ listen, ask, other string }{
		{"127.0.0.1:0", "127.0.0.1", ""},
		{"0.0.0.0:0", "127.0.0.1", "127.0.0.2"},
		{"[::]:0", "::1", ""},
	} {
		t.Run(c.listen, func(t *testing.T) {
			if c.ask == "::1" {
				if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
					t.Skip("this host has no IPv6: ", err)
				} else {
					l.Close()
				}
			}
			if c.other != "" && runtime.GOOS != "linux" {
				t.Skip("127.0.0.2 is an address on Linux only")
			}
			s, err := datagram.Listen(netip.MustParseAddrPort(c.listen))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			client, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(c.ask), 0)))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			client.SetDeadline(time.Now().Add(10 * time.Second))

			asked := netip.AddrPortFrom(netip.MustParseAddr(c.ask), s.Local().Port())
			sources := []netip.AddrPort{asked}
			if c.other != "" {
				sources = append(sources, netip.AddrPortFrom(netip.MustParseAddr(c.other), asked.Port()))
			}
			for _, from := range sources {
				before := time.Now()
				if _, err := client.WriteToUDPAddrPort([]byte("ask"), asked); err != nil {
					t.Fatal(err)
				}
				p, err := s.Read(make([]byte, 100))
				if err != nil {
					t.Fatal(err)
				}
				if string(p.Data) != "ask" || p.From != client.LocalAddr().(*net.UDPAddr).AddrPort() || p.To != asked {
					t.Errorf("got %q from %v to %v", p.Data, p.From, p.To)
				}
				if p.At.Before(before.Add(-time.Second)) || p.At.After(time.Now().Add(time.Second)) {
					t.Errorf("stamped %v, sent after %v", p.At, before)
				}
				if p.Stamped != (runtime.GOOS == "linux") {
					t.Errorf("stamped by the kernel: %v", p.Stamped)
				}
				if err := s.Write([]byte("answer"), from.Addr(), p.From); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, 100)
				n, came, err := client.ReadFromUDPAddrPort(buf)
				if err != nil {
					t.Fatal(err)
				}
				if string(buf[:n]) != "answer" || netip.AddrPortFrom(came.Addr().Unmap(), came.Port()) != from {
					t.Errorf("got %q from %v, want the answer from %v", buf[:n], came, from)
				}
			}
		})
	}
}

func TestListenNeedsAnAddress(t *testing.T) {
	if c, err := datagram.Listen(netip.AddrPort{}); err == nil {
		c.Close()
		t.Error("listened nowhere")
	}
}

// TestDial: a socket with one peer hears it and nobody else.
func TestDial(t *testing.T) {
	open := func() *datagram.Conn {
		s, err := datagram.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	peer, stranger := open(), open()
	c, err := datagram.Dial(t.Context(), peer.Local())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Write([]byte("ask"), netip.Addr{}, netip.AddrPort{}); err != nil {
		t.Fatal(err)
	}
	p, err := peer.Read(make([]byte, 10))
	if err != nil || p.From != c.Local() {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, s := range []*datagram.Conn{stranger, peer} {
		if err := s.Write([]byte("answer"), netip.Addr{}, c.Local()); err != nil {
			t.Fatal(err)
		}
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if p, err = c.Read(make([]byte, 10)); err != nil || p.From != peer.Local() || string(p.Data) != "answer" {
		t.Errorf("%+v, %v", p, err)
	}
}
