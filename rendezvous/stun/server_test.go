package stun_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/synpunch/synpunch/rendezvous/stun"
)

// serve runs a server until the test ends, and fails the test when a goroutine
// of it stays.
func serve(t *testing.T, cfg *stun.ServerConfig) *stun.Server {
	t.Helper()
	s, err := stun.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended: %v", err)
		}
		if n := s.Stats().Open; n != 0 {
			t.Errorf("%d connections are open behind the end", n)
		}
	})
	return s
}

func on(addrs ...string) (list []netip.AddrPort) {
	for _, a := range addrs {
		list = append(list, netip.AddrPortFrom(netip.MustParseAddr(a), 0))
	}
	return list
}

// loopback6 skips a test on a host without IPv6.
func loopback6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("this host has no IPv6: ", err)
	}
	l.Close()
}

// TestQuery: our client against our server.
func TestQuery(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "::1"} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(network+" "+addr, func(t *testing.T) {
				if addr == "::1" {
					loopback6(t)
				}
				s := serve(t, &stun.ServerConfig{Listen: on(addr), Software: "a server\nof two lines"})
				for _, server := range s.Addrs() {
					o, err := stun.Query(t.Context(), server, &stun.Config{Network: network})
					if err != nil {
						t.Fatal(err)
					}
					if o.Mapped != o.Local || o.Local.Addr().String() != addr || o.From != server || o.Origin != server || o.Other.IsValid() ||
						o.Sends != 1 || o.RTT <= 0 || o.Software != "a server?of two lines" || o.Network != network || o.Rewritten {
						t.Errorf("from %v: %+v", server, o)
					}
				}
			})
		}
	}
}

// TestUnspecified: a server on all addresses answers from the one that was asked
// and says so.
func TestUnspecified(t *testing.T) {
	for listen, ask := range map[string][]string{"0.0.0.0": {"127.0.0.1", "127.0.0.2"}, "::": {"::1"}} {
		if listen == "::" {
			loopback6(t)
		}
		s := serve(t, &stun.ServerConfig{Listen: on(listen)})
		for _, a := range ask {
			if a == "127.0.0.2" && runtime.GOOS != "linux" {
				continue
			}
			server := netip.AddrPortFrom(netip.MustParseAddr(a), s.Addrs()[0].Port())
			for _, network := range []string{"udp", "tcp"} {
				o, err := stun.Query(t.Context(), server, &stun.Config{Network: network})
				if err != nil {
					t.Fatal(err)
				}
				if o.Origin != server || o.From != server || o.Other.IsValid() {
					t.Errorf("%s to %v: %+v", network, server, o)
				}
			}
		}
	}
}

// TestBehaviour: the four places that RFC 5780 can be answered from.
func TestBehaviour(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("127.0.0.2 is an address on Linux only")
	}
	s := serve(t, &stun.ServerConfig{Listen: on("127.0.0.1", "127.0.0.2")})
	a, b := s.Addrs()[0], s.Addrs()[1]
	a2, b2 := s.Addrs()[2], s.Addrs()[3]
	for _, c := range []struct {
		ask      netip.AddrPort
		ip, port bool
		from     netip.AddrPort
		other    netip.AddrPort
	}{
		{a, false, false, a, b2}, {a, false, true, a2, b2}, {a, true, false, b, b2}, {a, true, true, b2, b2},
		{b, true, false, a, a2}, {b2, true, true, a, a}, {a2, false, true, a, b},
	} {
		o, err := stun.Query(t.Context(), c.ask, &stun.Config{ChangeIP: c.ip, ChangePort: c.port})
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if o.From != c.from || o.Origin != c.from || o.Other != c.other || o.Mapped.Port() != o.Local.Port() {
			t.Errorf("%+v: %+v", c, o)
		}
	}
	if got := s.Stats().Changed; got != 6 {
		t.Errorf("%d changed, want 6", got)
	}
	var refused *stun.RefusedError
	one := serve(t, &stun.ServerConfig{Listen: on("127.0.0.1")})
	if _, err := stun.Query(t.Context(), one.Addrs()[0], &stun.Config{ChangeIP: true}); !errors.As(err, &refused) || refused.Code != 420 {
		t.Errorf("a change that the server cannot make: %v", err)
	}
	if got := one.Stats(); got.Refused != 1 || got.UDP != 1 {
		t.Errorf("%+v", got)
	}
}

// TestManyOnOneConnection: messages in one segment and in many.
func TestManyOnOneConnection(t *testing.T) {
	s := serve(t, &stun.ServerConfig{Listen: on("127.0.0.1")})
	c, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := request(stun.Attribute{Type: stun.Padding, Value: make([]byte, 1500)}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		c.Write(append(append(append([]byte{}, b...), b...), b[:7]...))
		for _, x := range b[7:] {
			c.Write([]byte{x})
		}
	}()
	want := make([]byte, 3*(20+12+12+12+4+1500+12))
	if _, err := io.ReadFull(c, want); err != nil {
		t.Fatal(err)
	}
}

// wantClosed waits until the server closes the connection.
func wantClosed(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, err := io.Copy(io.Discard, c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection is open: %v", err)
	}
}

// TestBadClients: each is closed, and counted for what it did.
func TestBadClients(t *testing.T) {
	msg, err := request().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sends string
		count func(stun.Stats) uint64
	}{
		"silent":           {"", func(s stun.Stats) uint64 { return s.Late }},
		"half a header":    {string(msg[:11]), func(s stun.Stats) uint64 { return s.Late }},
		"half a message":   {"\x00\x01\x00\x10" + string(msg[4:]) + "1234", func(s stun.Stats) uint64 { return s.Late }},
		"idle":             {string(msg), func(s stun.Stats) uint64 { return s.Late }},
		"HTTP":             {"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", func(s stun.Stats) uint64 { return s.Malformed }},
		"TLS":              {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 30), func(s stun.Stats) uint64 { return s.Malformed }},
		"a long message":   {"\x00\x01\xff\xfc" + string(msg[4:]), func(s stun.Stats) uint64 { return s.Malformed }},
		"broken attribute": {"\x00\x01\x00\x04" + string(msg[4:]) + "\x12\x34\xff\xff", func(s stun.Stats) uint64 { return s.Malformed }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, &stun.ServerConfig{Listen: on("127.0.0.1"), MessageTimeout: 50 * time.Millisecond, IdleTimeout: 50 * time.Millisecond})
			conn, err := net.Dial("tcp", s.Addrs()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte(c.sends)); err != nil {
				t.Fatal(err)
			}
			wantClosed(t, conn)
			if c.count(s.Stats()) != 1 {
				t.Errorf("%+v", s.Stats())
			}
		})
	}
}

// TestTooManyConnections: one client cannot take them all, and all have an end.
func TestTooManyConnections(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("127.0.0.2 is an address on Linux only")
	}
	s := serve(t, &stun.ServerConfig{Listen: on("127.0.0.1"), Conns: 3, ConnsPerClient: 2})
	dial := func(from string) *stun.Conn {
		t.Helper()
		c, err := stun.Dial(t.Context(), s.Addrs()[0], &stun.Config{Network: "tcp", Local: netip.AddrPortFrom(netip.MustParseAddr(from), 0)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	turnedAway := func(from string) {
		t.Helper()
		o, err := stun.Query(t.Context(), s.Addrs()[0], &stun.Config{Network: "tcp", Local: netip.AddrPortFrom(netip.MustParseAddr(from), 0)})
		if err == nil {
			t.Errorf("answered: %+v", o)
		}
	}
	bind := func(c *stun.Conn) {
		t.Helper()
		if _, err := c.Bind(t.Context()); err != nil {
			t.Error(err)
		}
	}
	first, second := dial("127.0.0.1"), dial("127.0.0.1")
	bind(first)
	bind(second)
	turnedAway("127.0.0.1") // too many of this client
	bind(dial("127.0.0.2"))
	turnedAway("127.0.0.3") // too many in all
	if got := s.Stats(); got.Open != 3 || got.TurnedAway != 2 || got.Conns != 3 {
		t.Errorf("%+v", got)
	}
	bind(first)
}

// TestRate: a client that asks too often gets nothing, another does.
func TestRate(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("127.0.0.2 is an address on Linux only")
	}
	s := serve(t, &stun.ServerConfig{Listen: on("127.0.0.1"), Rate: 1e-6, Burst: 3})
	ask := func(network, from string) error {
		_, err := stun.Query(t.Context(), s.Addrs()[0], &stun.Config{Network: network, Local: netip.AddrPortFrom(netip.MustParseAddr(from), 0), Timeout: 100 * time.Millisecond})
		return err
	}
	for _, c := range []struct {
		network, from string
		want          error
	}{
		{"udp", "127.0.0.1", nil}, {"tcp", "127.0.0.1", nil}, {"udp", "127.0.0.1", nil},
		{"udp", "127.0.0.1", stun.ErrNoAnswer}, {"udp", "127.0.0.2", nil},
	} {
		if err := ask(c.network, c.from); !errors.Is(err, c.want) {
			t.Errorf("%s from %s: %v, want %v", c.network, c.from, err, c.want)
		}
	}
	if err := ask("tcp", "127.0.0.1"); err == nil {
		t.Error("answered over TCP beyond the limit")
	}
	if got := s.Stats(); got.UDP != 3 || got.TCP != 1 || got.Limited < 2 {
		t.Errorf("%+v", got)
	}
}

func TestListenRefuses(t *testing.T) {
	for name, cfg := range map[string]*stun.ServerConfig{
		"two ports":     {Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.2:2")}},
		"twice":         {Listen: on("127.0.0.1", "127.0.0.1")},
		"no address":    {Listen: []netip.AddrPort{{}}},
		"same alt port": {Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:40000")}, AltPort: 40000},
		"port 65536":    {Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:65535")}},
		"not ours":      {Listen: on("192.0.2.1")},
	} {
		if s, err := stun.Listen(cfg); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
	s := serve(t, &stun.ServerConfig{Listen: on("127.0.0.1")})
	if other, err := stun.Listen(&stun.ServerConfig{Listen: s.Addrs()[:1]}); !errors.Is(err, syscall.EADDRINUSE) {
		if err == nil {
			other.Close()
		}
		t.Errorf("a port in use: %v", err)
	}
}
