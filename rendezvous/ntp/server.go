package ntp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/synpunch/synpunch/internal/datagram"
	"github.com/synpunch/synpunch/internal/limit"
	"github.com/synpunch/synpunch/timing"
)

// DefaultPort is the port of NTP.
const DefaultPort = 123

// ServerConfig prepares a Server. Nil and the zero value are a server on all
// addresses of the host and DefaultPort.
type ServerConfig struct {
	// Listen are the addresses to listen on; port 0 takes a free one. Empty means
	// 0.0.0.0 and, where there is IPv6, [::], both with DefaultPort.
	Listen []netip.AddrPort
	// Clock says how well the clock is kept; nil means timing.Discipline. After an error the clock counts as not synchronised.
	Clock func() (timing.Clock, error)
	// Stratum is what the server says; 0 means DefaultStratum while the clock is
	// synchronised and 'not synchronised' while it is not: see StateFrom.
	Stratum uint8
	// Rate is how many answers a second a client gets on end, and Burst how many at
	// once; 0 means 20 and 64, a negative Rate no limit. A client is an IPv4 address or an IPv6 /64. One
	// that asks for more gets a kiss o' death every 10 s, and else nothing.
	Rate  float64
	Burst int
	// Log gets what an operator wants to know, nothing for each request; nil means nothing.
	Log *slog.Logger
}

// Server is an NTP server. It is made by Listen and runs in Serve. It reads the
// clock and never sets it.
type Server struct {
	cfg       ServerConfig
	udp       []*datagram.Conn
	limit     *limit.Table
	kiss      *limit.Table
	log       *slog.Logger
	trouble   *limit.Trouble
	precision uint8

	told atomic.Pointer[bool] // whether the log has it that the clock is synchronised

	count struct{ answered, kissed, limited, malformed, ignored, failed, unstamped atomic.Uint64 }
}

// Listen opens all sockets. Serve must follow, or Close.
func Listen(cfg *ServerConfig) (*Server, error) {
	s := &Server{log: slog.New(slog.DiscardHandler), precision: precision()}
	if cfg != nil {
		s.cfg = *cfg
	}
	c := &s.cfg
	if c.Clock == nil {
		c.Clock = timing.Discipline
	}
	if c.Rate == 0 {
		c.Rate = 20
	}
	if c.Burst <= 0 {
		c.Burst = 64
	}
	if c.Log != nil {
		s.log = c.Log
	}
	s.trouble = limit.NewTrouble(s.log)
	if c.Stratum >= maxStratum {
		return nil, fmt.Errorf("serve NTP with stratum %d: want 1 to %d", c.Stratum, maxStratum-1)
	}
	now := time.Now()
	s.limit, s.kiss = limit.New(c.Rate, c.Burst, now), limit.New(0.1, 1, now)
	listen, everywhere := c.Listen, len(c.Listen) == 0
	if everywhere {
		listen = []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), DefaultPort), netip.AddrPortFrom(netip.IPv6Unspecified(), DefaultPort)}
	}
	for _, at := range listen {
		u, err := datagram.Listen(at)
		if err != nil {
			if everywhere && at.Addr().Is6() && !errors.Is(err, syscall.EADDRINUSE) {
				s.log.Warn("no NTP over IPv6", "error", err)
				continue
			}
			s.Close()
			return nil, fmt.Errorf("serve NTP: %w", err)
		}
		s.udp = append(s.udp, u)
	}
	return s, nil
}

// precision is the time that it takes to read the clock, as a power of two:
// 2^-precision s, rounded up (RFC 5905, section 7.3).
func precision() uint8 {
	least := time.Second
	for range 50 {
		a := time.Now()
		if d := time.Since(a); d > 0 {
			least = min(least, d)
		}
	}
	return uint8(-math.Ceil(math.Log2(least.Seconds())))
}

// Addrs are the addresses that the server listens on.
func (s *Server) Addrs() (list []netip.AddrPort) {
	for _, u := range s.udp {
		list = append(list, u.Local())
	}
	return list
}

// Close closes all sockets; Serve returns then.
func (s *Server) Close() error {
	var errs []error
	for _, u := range s.udp {
		errs = append(errs, u.Close())
	}
	return errors.Join(errs...)
}

// Serve answers until ctx ends or Close is called, and returns when all its
// goroutines have ended. What fails meanwhile is counted and logged: it returns nil.
func (s *Server) Serve(ctx context.Context) error {
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	for _, u := range s.udp {
		wg.Go(func() { s.serve(u) })
	}
	wg.Wait()
	return nil
}

// maxRequest is the longest request that is looked at; extension fields are
// passed over.
const maxRequest = 1500

// serve answers until the socket is closed.
func (s *Server) serve(u *datagram.Conn) {
	buf := make([]byte, maxRequest)
	out := make([]byte, 0, packetSize)
	for {
		in, err := u.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.trouble.Wait("read", err)
			continue
		}
		if in.From.Port() == 0 {
			s.count.malformed.Add(1)
			continue
		}
		now := time.Now()
		kiss := false
		if !s.limit.Allow(in.From.Addr(), now) {
			s.count.limited.Add(1)
			if kiss = s.kiss.Allow(in.From.Addr(), now); !kiss {
				continue
			}
		}
		var req Packet
		if req.Parse(in.Data) != nil {
			s.count.malformed.Add(1)
			continue
		}
		ans, ok := Respond(&req, in.At, s.State())
		if !ok {
			s.count.ignored.Add(1)
			continue
		}
		if kiss {
			ans = Kiss(ans)
			s.count.kissed.Add(1)
		}
		if !in.Stamped {
			s.count.unstamped.Add(1)
		}
		s.count.answered.Add(1)
		ans.Transmit = At(time.Now())
		out = ans.Append(out[:0])
		if err := u.Write(out, in.To.Addr(), in.From); err != nil {
			s.count.failed.Add(1)
		}
	}
}

// State is what the server says about its clock now.
func (s *Server) State() *State {
	c, err := s.cfg.Clock()
	if err != nil {
		c = timing.Clock{}
	}
	st := StateFrom(c, time.Now(), s.cfg.Stratum, s.precision)
	was := s.told.Load()
	if (was == nil || *was != c.Synchronised) && s.told.CompareAndSwap(was, &c.Synchronised) {
		attrs := []any{"synchronised", c.Synchronised, "max_error", c.MaxError}
		if err != nil {
			attrs = []any{"synchronised", false, "error", err}
		}
		s.log.Info("clock", attrs...)
	}
	return &st
}

// Stats counts what a Server did since it was made.
type Stats struct {
	Answered  uint64 // requests answered, kisses included
	Kissed    uint64 // of these, with a kiss o' death
	Limited   uint64 // requests of clients that asked for too much
	Malformed uint64 // packets that were not NTP
	Ignored   uint64 // packets that get no answer: all but requests of clients
	Failed    uint64 // of those answered, the answers that could not be sent
	Unstamped uint64 // of those answered, without the kernel's receive stamp
}

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	c := &s.count
	return Stats{
		Answered: c.answered.Load(), Kissed: c.kissed.Load(), Limited: c.limited.Load(), Malformed: c.malformed.Load(),
		Ignored: c.ignored.Load(), Failed: c.failed.Load(), Unstamped: c.unstamped.Load(),
	}
}
