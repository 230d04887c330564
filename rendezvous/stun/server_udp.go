package stun

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/internal/datagram"
)

// serveUDP answers until the socket is closed.
func (s *Server) serveUDP(u *datagram.Conn) {
	buf := make([]byte, MaxSize+1) // one more: what is too long is seen to be
	var m Message
	var ans Answer
	var out []byte
	for {
		p, err := u.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.trouble.Wait("read", err)
			continue
		}
		// Refuse before parsing: that is what a flood costs.
		if p.From.Port() == 0 || !s.limit.Allow(p.From.Addr(), time.Now()) {
			s.count.limited.Add(1)
			continue
		}
		if err := m.Parse(p.Data); err != nil {
			s.count.malformed.Add(1)
			continue
		}
		if !Respond(&m, s.arrival(p.From, p.To, false), s.cfg.Software, &ans) {
			s.count.ignored.Add(1)
			continue
		}
		s.count.request(&m, &ans, &s.count.udp)
		if out, err = ans.Message.Append(out[:0]); err != nil {
			s.count.failed.Add(1)
			continue
		}
		if err := s.from(ans.From, u).Write(out, ans.From.Addr(), ans.To); err != nil {
			s.count.failed.Add(1)
		}
	}
}

// from is the socket that an answer leaves from; u is the one its request came in at.
func (s *Server) from(at netip.AddrPort, u *datagram.Conn) *datagram.Conn {
	for _, c := range s.udp {
		l := c.Local()
		all := l.Addr().IsUnspecified() && l.Addr().Is4() == u.Local().Addr().Is4()
		if l.Port() == at.Port() && (l.Addr() == at.Addr() || all) {
			return c
		}
	}
	return u
}
