package stun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/synpunch/synpunch/internal/datagram"
	"github.com/synpunch/synpunch/internal/limit"
)

// DefaultPort is the port of STUN over UDP and TCP (RFC 8489, section 19.4).
const DefaultPort = 3478

// ServerConfig prepares a Server. Nil and the zero value are a server on all
// addresses of the host and DefaultPort.
type ServerConfig struct {
	// Listen are the addresses to listen on, all with the same port; port 0 takes
	// a free one. Empty means 0.0.0.0 and, where there is IPv6, [::], both with DefaultPort.
	//
	// Two addresses of one family are each other's OTHER-ADDRESS (RFC 5780). Of an unspecified address
	// the host's public addresses are; private ones must be named, because the
	// server cannot know whether its clients can reach both.
	Listen []netip.AddrPort
	// AltPort is the second port; 0 means the one after the first, or a free one
	// when that was to be a free one.
	AltPort uint16
	// Software is what SOFTWARE says; empty means DefaultSoftware. It makes every answer longer:
	// the 2.6 times of the package comment are for a text no longer than that.
	Software string
	// Rate is how many answers a second a client gets on end, and Burst how many at
	// once; 0 means 50 and 100, a negative Rate no limit. A client is an IPv4
	// address or an IPv6 /64. Over UDP no answer is given beyond that, over TCP the
	// connection is closed.
	Rate  float64
	Burst int
	// Conns and ConnsPerClient bound the TCP connections that are open at once; 0
	// means 4096 and 64. One more is closed at once.
	Conns, ConnsPerClient int
	// MessageTimeout is how long a TCP client may take for one message, the first
	// one counted from the connection; 0 means 10 s.
	MessageTimeout time.Duration
	// IdleTimeout is how long a TCP client may be silent between two messages; 0 means 60 s.
	IdleTimeout time.Duration
	// Log gets what an operator wants to know, nothing for each request; nil means nothing.
	Log *slog.Logger
}

// Server is a STUN server. It is made by Listen and runs in Serve.
type Server struct {
	cfg     ServerConfig
	port    uint16
	alt     uint16
	named   []netip.Addr // those of ServerConfig.Listen
	udp     []*datagram.Conn
	tcp     []net.Listener
	limit   *limit.Table
	log     *slog.Logger
	trouble *limit.Trouble
	count   counters
	clients clients

	publicMu sync.Mutex
	public   []netip.Addr
	publicAt time.Time
}

// Listen opens all sockets. Serve must follow, or Close.
func Listen(cfg *ServerConfig) (*Server, error) {
	s := &Server{log: slog.New(slog.DiscardHandler)}
	if cfg != nil {
		s.cfg = *cfg
	}
	s.defaults()
	if len(s.cfg.Listen) == 0 {
		if err := s.open([]netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, DefaultPort, true); err != nil {
			return nil, err
		}
		return s, nil
	}
	var addrs []netip.Addr
	port := s.cfg.Listen[0].Port()
	for _, ap := range s.cfg.Listen {
		if !ap.Addr().IsValid() || ap.Port() != port {
			return nil, fmt.Errorf("listen for STUN on %v: want addresses with one port", s.cfg.Listen)
		}
		if slices.Contains(addrs, ap.Addr().Unmap()) {
			return nil, fmt.Errorf("listen for STUN on %v: %v is there twice", s.cfg.Listen, ap.Addr())
		}
		addrs = append(addrs, ap.Addr().Unmap())
	}
	if err := s.open(addrs, port, false); err != nil {
		return nil, err
	}
	s.named = addrs
	return s, nil
}

func (s *Server) defaults() {
	c := &s.cfg
	c.Listen = slices.Clone(c.Listen)
	if c.Software == "" {
		c.Software = DefaultSoftware
	}
	if c.Rate == 0 {
		c.Rate = 50
	}
	if c.Burst <= 0 {
		c.Burst = 100
	}
	if c.Conns <= 0 {
		c.Conns = 4096
	}
	if c.ConnsPerClient <= 0 {
		c.ConnsPerClient = 64
	}
	if c.MessageTimeout <= 0 {
		c.MessageTimeout = 10 * time.Second
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = time.Minute
	}
	if c.Log != nil {
		s.log = c.Log
	}
	s.trouble = limit.NewTrouble(s.log)
	s.limit = limit.New(c.Rate, c.Burst, time.Now())
	s.clients = clients{open: map[net.Conn]struct{}{}, of: map[netip.Prefix]int{}, most: c.Conns, each: c.ConnsPerClient}
}

// freeTries is how often a port that must be free on all addresses is looked for.
const freeTries = 20

// open opens the sockets of both ports on all addresses. IPv6 may be missing
// where nobody asked for it.
func (s *Server) open(addrs []netip.Addr, port uint16, anyIPv6 bool) error {
	if port != 0 {
		s.port, s.alt = port, s.cfg.AltPort
		if s.alt == 0 {
			s.alt = port + 1
		}
		if s.alt == port || s.alt == 0 {
			return fmt.Errorf("listen for STUN on port %d: the second port must be another one, and not %d", port, s.alt)
		}
		return s.openPorts(addrs, anyIPv6)
	}
	var err error
	for range freeTries {
		if s.port, s.alt, err = freePorts(addrs[0], s.cfg.AltPort); err != nil {
			return err
		}
		if err = s.openPorts(addrs, anyIPv6); err == nil {
			return nil
		}
	}
	return err
}

// freePorts asks the system for two ports that are free on one address now.
func freePorts(a netip.Addr, alt uint16) (uint16, uint16, error) {
	var ports [2]uint16
	for i := range ports {
		l, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
		if err != nil {
			return 0, 0, fmt.Errorf("look for a free port: %w", err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).AddrPort().Port()
	}
	if alt != 0 {
		ports[1] = alt
	}
	return ports[0], ports[1], nil
}

func (s *Server) openPorts(addrs []netip.Addr, anyIPv6 bool) error {
	for _, port := range []uint16{s.port, s.alt} {
		for _, a := range addrs {
			if err := s.openOne(netip.AddrPortFrom(a, port)); err != nil {
				if anyIPv6 && a.Is6() && !errors.Is(err, syscall.EADDRINUSE) {
					s.log.Warn("no STUN over IPv6", "error", err)
					continue
				}
				s.Close()
				s.udp, s.tcp = nil, nil
				return err
			}
		}
	}
	return nil
}

func (s *Server) openOne(at netip.AddrPort) error {
	u, err := datagram.Listen(at)
	if err != nil {
		return err
	}
	network := "tcp6"
	if at.Addr().Is4() {
		network = "tcp4"
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), network, at.String())
	if err != nil {
		u.Close()
		return fmt.Errorf("listen for TCP connections: %w", err)
	}
	s.udp, s.tcp = append(s.udp, u), append(s.tcp, l)
	return nil
}

// Addrs are the addresses that the server listens on, over UDP and TCP alike, the first
// port before the second.
func (s *Server) Addrs() []netip.AddrPort {
	var list []netip.AddrPort
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
	for _, l := range s.tcp {
		errs = append(errs, l.Close())
	}
	s.clients.closeAll()
	return errors.Join(errs...)
}

// Serve answers until ctx ends or Close is called, and returns when all its
// goroutines have ended. What fails meanwhile is counted and logged: it returns nil.
func (s *Server) Serve(ctx context.Context) error {
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	for _, u := range s.udp {
		wg.Go(func() { s.serveUDP(u) })
	}
	for _, l := range s.tcp {
		wg.Go(func() { s.serveTCP(l, &wg) })
	}
	wg.Wait()
	return nil
}

// publicFor is how long the host's addresses are believed.
const publicFor = time.Minute

// other is the server's address that is not a, of the same family; invalid
// when there is none.
func (s *Server) other(a netip.Addr) netip.Addr {
	list := s.named
	if !slices.Contains(list, a) {
		list = s.publicAddrs()
	}
	var family []netip.Addr
	for _, b := range list {
		if b.Is4() == a.Is4() {
			family = append(family, b)
		}
	}
	i := slices.Index(family, a)
	if i < 0 || len(family) < 2 {
		return netip.Addr{}
	}
	return family[(i+1)%len(family)]
}

func (s *Server) publicAddrs() []netip.Addr {
	s.publicMu.Lock()
	defer s.publicMu.Unlock()
	if now := time.Now(); s.publicAt.IsZero() || now.Sub(s.publicAt) > publicFor {
		s.public, s.publicAt = hostPublic(), now
	}
	return s.public
}

// hostPublic are the host's addresses that anybody on the Internet can reach, as
// far as an address can tell.
func hostPublic() (list []netip.Addr) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, n := range all {
		p, err := netip.ParsePrefix(n.String())
		if err == nil && public(p.Addr().Unmap()) {
			list = append(list, p.Addr().Unmap())
		}
	}
	return list
}

// shared is the address space between a carrier's NAT and its subscribers (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

func public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a)
}

// arrival describes where something came in.
func (s *Server) arrival(from, to netip.AddrPort, stream bool) Arrival {
	in := Arrival{From: from, To: to, AltPort: s.alt, Stream: stream}
	if to.Port() == s.alt {
		in.AltPort = s.port
	}
	if b := s.other(to.Addr()); b.IsValid() {
		in.Other = netip.AddrPortFrom(b, in.AltPort)
	}
	return in
}
