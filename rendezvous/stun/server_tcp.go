package stun

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/synpunch/synpunch/internal/limit"
)

// serveTCP accepts until the listener is closed. Whatever else fails passes, as the lack of
// descriptors does, and must not end the server.
func (s *Server) serveTCP(l net.Listener, wg *sync.WaitGroup) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.trouble.Wait("accept", err)
			continue
		}
		from := addrPort(c.RemoteAddr())
		if !s.clients.add(c, from.Addr()) {
			s.count.turnedAway.Add(1)
			reset(c)
			continue
		}
		s.count.conns.Add(1)
		wg.Go(func() {
			defer s.clients.remove(c, from.Addr())
			s.serveConn(c, from)
		})
	}
}

// reset closes a connection without TIME-WAIT, which would cost the server and
// not the client that asked for too much.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

// serveConn answers one client until it leaves, errs, or is too slow.
func (s *Server) serveConn(c net.Conn, from netip.AddrPort) {
	in := s.arrival(from, addrPort(c.LocalAddr()), true)
	var m Message
	var ans Answer
	r := stream{c: c, buf: make([]byte, 0, 512)}
	for first := true; ; first = false {
		wait := s.cfg.IdleTimeout
		if first {
			wait = s.cfg.MessageTimeout
		}
		b, err := r.next(wait, s.cfg.MessageTimeout)
		if err == nil {
			err = m.Parse(b)
		}
		var late net.Error
		switch {
		case errors.As(err, &late) && late.Timeout():
			s.count.late.Add(1)
			reset(c)
			return
		case errors.Is(err, ErrNotSTUN), errors.Is(err, ErrMalformed), errors.Is(err, ErrFingerprint):
			s.count.malformed.Add(1) // a stream cannot be read on behind an error
			reset(c)
			return
		case err != nil:
			c.Close()
			return
		}
		if !s.limit.Allow(from.Addr(), time.Now()) {
			s.count.limited.Add(1)
			reset(c)
			return
		}
		if !Respond(&m, in, s.cfg.Software, &ans) {
			s.count.ignored.Add(1)
			continue
		}
		s.count.request(&m, &ans, &s.count.tcp)
		out, err := ans.Message.Append(nil)
		if err == nil {
			c.SetWriteDeadline(time.Now().Add(s.cfg.MessageTimeout))
			_, err = c.Write(out)
		}
		if err != nil {
			s.count.failed.Add(1)
			reset(c)
			return
		}
	}
}

// stream cuts messages out of a TCP stream (RFC 8489, section 6.2.2).
type stream struct {
	c    net.Conn
	buf  []byte // what was read and not yet used
	used int    // bytes of buf that the last message took
}

// next returns the next message, which is valid until the next call. Its first byte must
// come within idle, the rest within whole.
func (r *stream) next(idle, whole time.Duration) ([]byte, error) {
	r.buf = append(r.buf[:0], r.buf[r.used:]...)
	r.used = 0
	begun := len(r.buf) > 0
	if begun {
		idle = whole
	}
	r.c.SetReadDeadline(time.Now().Add(idle))
	for {
		want := headerSize
		if len(r.buf) >= headerSize {
			size, err := Length(r.buf)
			if err != nil {
				return nil, err
			}
			if binary.BigEndian.Uint32(r.buf[4:]) != cookie {
				return nil, ErrNotSTUN // the Binding requests of RFC 3489 are UDP only
			}
			if len(r.buf) >= size {
				r.used = size
				return r.buf[:size], nil
			}
			want = size
		}
		if cap(r.buf) < want {
			r.buf = append(make([]byte, 0, MaxSize), r.buf...)
		}
		n, err := r.c.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		if err != nil && n == 0 {
			return nil, err
		}
		if !begun {
			begun = true
			r.c.SetReadDeadline(time.Now().Add(whole))
		}
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// clients are the connections that are open.
type clients struct {
	mu         sync.Mutex
	open       map[net.Conn]struct{}
	of         map[netip.Prefix]int
	most, each int
	closed     bool
}

func (cl *clients) add(c net.Conn, a netip.Addr) bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	n := limit.Network(a)
	if cl.closed || len(cl.open) >= cl.most || cl.of[n] >= cl.each {
		return false
	}
	cl.open[c] = struct{}{}
	cl.of[n]++
	return true
}

func (cl *clients) remove(c net.Conn, a netip.Addr) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	n := limit.Network(a)
	delete(cl.open, c)
	if cl.of[n]--; cl.of[n] == 0 {
		delete(cl.of, n)
	}
}

func (cl *clients) len() int {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return len(cl.open)
}

func (cl *clients) closeAll() {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.closed = true
	for c := range cl.open {
		c.Close()
	}
}
