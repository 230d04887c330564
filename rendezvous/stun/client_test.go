package stun_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/synpunch/synpunch/rendezvous/stun"
)

// TestLocalPort: the port that was named is the one that is asked from, at two
// servers at once and beside a listening socket that shares it.
func TestLocalPort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("how ports are shared differs between systems")
	}
	s := serve(t, &stun.ServerConfig{Listen: on("127.0.0.1", "127.0.0.2")})
	for _, network := range []string{"tcp", "udp"} {
		first, err := stun.Dial(t.Context(), s.Addrs()[0], &stun.Config{Network: network})
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		local := netip.AddrPortFrom(netip.IPv4Unspecified(), first.Local().Port())
		for _, server := range s.Addrs()[1:] {
			o, err := stun.Query(t.Context(), server, &stun.Config{Network: network, Local: local})
			if err != nil {
				t.Fatal(err)
			}
			if o.Mapped.Port() != local.Port() {
				t.Errorf("%s from %v: seen as %v", network, local, o.Mapped)
			}
		}
		if o, err := first.Bind(t.Context()); err != nil || o.Mapped.Port() != local.Port() {
			t.Errorf("the first connection: %+v, %v", o, err)
		}
	}
}

// TestTimeWait: what is wrong is told when the same connection is made again.
func TestTimeWait(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("how long TIME-WAIT is kept differs between systems")
	}
	s := serve(t, &stun.ServerConfig{Listen: on("127.0.0.1")})
	cfg := &stun.Config{Network: "tcp"}
	c, err := stun.Dial(t.Context(), s.Addrs()[0], cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg.Local = c.Local()
	// The same flow, while it is still there.
	if _, err := stun.Query(t.Context(), s.Addrs()[0], cfg); !errors.Is(err, stun.ErrTimeWait) || !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("%v", err)
	}
}

// scripted is a server whose every answer the test makes.
func scripted(t *testing.T, answer func(n int, req *stun.Message) [][]byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for n := 1; ; n++ {
			size, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			var m stun.Message
			if err := m.Parse(buf[:size]); err != nil {
				t.Errorf("the client sent %x: %v", buf[:size], err)
				continue
			}
			for _, b := range answer(n, &m) {
				c.WriteToUDPAddrPort(b, from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

var seen = netip.MustParseAddrPort("203.0.113.7:50000")

func bytesOf(m stun.Message, edit func(*stun.Message)) []byte {
	m.Attributes = nil
	edit(&m)
	b, err := m.Append(nil)
	if err != nil {
		return nil
	}
	return b
}

// TestStrangers: what is not the answer does not end the question.
func TestStrangers(t *testing.T) {
	server := scripted(t, func(_ int, req *stun.Message) [][]byte {
		good := bytesOf(*req, func(m *stun.Message) { m.Class = stun.Success; m.AddAddress(stun.XORMappedAddress, seen) })
		broken := append([]byte{}, good...)
		broken[3]++
		return [][]byte{
			{}, []byte("not STUN at all"), broken,
			bytesOf(*req, func(m *stun.Message) { m.Class = stun.Success; m.Transaction[15]++ }),
			bytesOf(*req, func(m *stun.Message) {
				m.Class = stun.Failure
				m.Transaction[4]++
				m.Add(stun.ErrorCode, []byte{0, 0, 4, 0})
			}),
			bytesOf(*req, func(m *stun.Message) { m.Class = stun.Request }),
			bytesOf(*req, func(m *stun.Message) { m.Class = stun.Indication }),
			good,
		}
	})
	o, err := stun.Query(t.Context(), server, nil)
	if err != nil || o.Mapped != seen {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestRetransmission: the same request is sent again.
func TestRetransmission(t *testing.T) {
	var first stun.Transaction
	server := scripted(t, func(n int, req *stun.Message) [][]byte {
		if n == 1 {
			first = req.Transaction
		}
		if n < 3 {
			return nil
		}
		if req.Transaction != first {
			t.Error("the request is another one")
		}
		return [][]byte{bytesOf(*req, func(m *stun.Message) { m.Class = stun.Success; m.AddAddress(stun.MappedAddress, seen) })}
	})
	o, err := stun.Query(t.Context(), server, &stun.Config{RTO: 5 * time.Millisecond})
	if err != nil || o.Mapped != seen || o.Sends < 3 {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestRewritten: an ALG that finds the address in the payload gives itself away.
func TestRewritten(t *testing.T) {
	server := scripted(t, func(_ int, req *stun.Message) [][]byte {
		return [][]byte{bytesOf(*req, func(m *stun.Message) {
			m.Class = stun.Success
			m.AddAddress(stun.XORMappedAddress, seen)
			m.AddAddress(stun.MappedAddress, netip.MustParseAddrPort("192.168.1.2:40000"))
		})}
	})
	if o, err := stun.Query(t.Context(), server, nil); err != nil || o.Mapped != seen || !o.Rewritten {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestBadAnswers: errors that a caller can tell apart.
func TestBadAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(m *stun.Message)
		check  func(err error) bool
	}{
		"refused": {func(m *stun.Message) { m.Class = stun.Failure; m.Add(stun.ErrorCode, []byte{0, 0, 5, 0, 'n', 'o'}) },
			func(err error) bool {
				e, ok := errors.AsType[*stun.RefusedError](err)
				return ok && e.Code == 500 && e.Reason == "no"
			}},
		"elsewhere": {func(m *stun.Message) {
			m.Class = stun.Failure
			m.Add(stun.ErrorCode, []byte{0, 0, 3, 0})
			m.AddAddress(stun.AlternateServer, seen)
		}, func(err error) bool {
			e, ok := errors.AsType[*stun.RefusedError](err)
			return ok && e.Code == 300 && e.Alternate == seen
		}},
		"no code":       {func(m *stun.Message) { m.Class = stun.Failure }, isMalformed},
		"no address":    {func(m *stun.Message) { m.Class = stun.Success }, isMalformed},
		"short address": {func(m *stun.Message) { m.Class = stun.Success; m.Add(stun.XORMappedAddress, []byte{0, 1}) }, isMalformed},
		"wrong family":  {func(m *stun.Message) { m.Class = stun.Success; m.Add(stun.XORMappedAddress, make([]byte, 8)) }, isMalformed},
		"port 0": {func(m *stun.Message) {
			m.Class = stun.Success
			m.AddAddress(stun.MappedAddress, netip.AddrPortFrom(seen.Addr(), 0))
		}, isMalformed},
		"unknown, needed": {func(m *stun.Message) {
			m.Class = stun.Success
			m.AddAddress(stun.MappedAddress, seen)
			m.Add(0x7ABC, nil)
		}, isMalformed},
	} {
		server := scripted(t, func(_ int, req *stun.Message) [][]byte { return [][]byte{bytesOf(*req, c.answer)} })
		if _, err := stun.Query(t.Context(), server, nil); err == nil || !c.check(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func isMalformed(err error) bool { return errors.Is(err, stun.ErrMalformed) }

// TestNoAnswer: silence, and nobody there.
func TestNoAnswer(t *testing.T) {
	silent := scripted(t, func(int, *stun.Message) [][]byte { return nil })
	if _, err := stun.Query(t.Context(), silent, &stun.Config{Timeout: 50 * time.Millisecond, RTO: 10 * time.Millisecond}); !errors.Is(err, stun.ErrNoAnswer) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked := scripted(t, func(int, *stun.Message) [][]byte { cancel(); return nil })
	if _, err := stun.Query(ctx, asked, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server := l.Addr().(*net.TCPAddr).AddrPort()
	if _, err := stun.Query(t.Context(), server, &stun.Config{Network: "tcp", Timeout: 50 * time.Millisecond}); !errors.Is(err, stun.ErrNoAnswer) {
		t.Errorf("silent over TCP: %v", err)
	}
	l.Close()
	if _, err := stun.Query(t.Context(), server, &stun.Config{Network: "tcp"}); !errors.Is(err, syscall.ECONNREFUSED) && runtime.GOOS != "windows" {
		t.Errorf("nobody there: %v", err)
	}
}

func TestDialRefuses(t *testing.T) {
	at := netip.MustParseAddrPort
	for name, c := range map[string]struct {
		server netip.AddrPort
		cfg    stun.Config
	}{
		"no server":      {netip.AddrPort{}, stun.Config{}},
		"no port":        {at("127.0.0.1:0"), stun.Config{}},
		"network":        {at("127.0.0.1:1"), stun.Config{Network: "sctp"}},
		"change in TCP":  {at("127.0.0.1:1"), stun.Config{Network: "tcp", ChangeIP: true}},
		"other family":   {at("127.0.0.1:1"), stun.Config{Local: at("[::1]:1")}},
		"not an address": {at("127.0.0.1:1"), stun.Config{Local: at("192.0.2.1:0")}},
	} {
		if conn, err := stun.Dial(t.Context(), c.server, &c.cfg); err == nil {
			conn.Close()
			t.Errorf("%s: no error", name)
		}
	}
}
