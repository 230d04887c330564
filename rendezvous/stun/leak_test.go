package stun_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/synpunch/synpunch/rendezvous/stun"
)

// descriptors is how many this process has open; 0 where nobody tells.
func descriptors() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

// TestNothingStays: after clients of all kinds, good and bad, and after its end, a server
// leaves no descriptor and no goroutine behind.
func TestNothingStays(t *testing.T) {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil { // the runtime opens descriptors of its own at the first use
		l.Close()
	}
	fds, goroutines := descriptors(), runtime.NumGoroutine()
	s, err := stun.Listen(&stun.ServerConfig{Listen: on("127.0.0.1"), Rate: -1, ConnsPerClient: 50, MessageTimeout: 100 * time.Millisecond, IdleTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()

	msg, err := request().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var open []net.Conn
	for i := range 100 {
		c, err := net.Dial("tcp", s.Addrs()[i%2].String())
		if err != nil {
			continue // turned away
		}
		open = append(open, c)
		switch i % 5 {
		case 0: // silent
		case 1:
			c.Write(msg[:13])
		case 2:
			c.Write([]byte("no STUN message at all, but long enough"))
		case 3:
			c.Write(msg)
		case 4:
			c.Write(msg)
			c.Close()
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		for range 50 {
			if _, err := stun.Query(t.Context(), s.Addrs()[0], &stun.Config{Network: network}); err != nil && network == "udp" {
				t.Error(err)
			}
		}
	}
	for _, c := range open[:len(open)/2] {
		wantGone(t, c)
	}
	cancel() // while the others are open
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, c := range open {
		c.Close()
	}
	if n := s.Stats().Open; n != 0 {
		t.Errorf("%d connections", n)
	}
	end := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > goroutines && time.Now().Before(end) {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if n := descriptors(); n != fds {
		t.Errorf("%d descriptors, %d before", n, fds)
	}
}

// wantGone reads until the connection ends, in whatever way.
func wantGone(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 200)
	for {
		if _, err := c.Read(buf); err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() {
				t.Error("the server keeps a connection open")
			}
			return
		}
	}
}

// BenchmarkServe: requests that a server answers over loopback, one client that
// waits for each answer.
func BenchmarkServe(b *testing.B) {
	for _, network := range []string{"udp", "tcp"} {
		b.Run(network, func(b *testing.B) {
			s, err := stun.Listen(&stun.ServerConfig{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Rate: -1})
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- s.Serve(ctx) }()
			c, err := stun.Dial(ctx, s.Addrs()[0], &stun.Config{Network: network})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := c.Bind(ctx); err != nil {
					b.Fatal(err)
				}
			}
			c.Close()
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
