package stun

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// Config says how to ask. Nil and the zero value ask over UDP from any port.
type Config struct {
	// Network is "udp" or "tcp"; empty means "udp".
	Network string
	// Local is the address and port to ask from; an invalid or unspecified address
	// leaves the address to the system, port 0 the port. A port is shared with
	// other sockets of this user that allow it too (SO_REUSEADDR and SO_REUSEPORT), so that a punch
	// can use it while the connection is open.
	Local netip.AddrPort
	// ChangeIP and ChangePort ask for an answer from another address or port
	// (RFC 5780, section 7.2), over UDP only.
	ChangeIP, ChangePort bool
	// RTO is how long the first answer is waited for before the request is sent
	// again over UDP, twice as long each time; 0 means 500 ms (RFC 8489, section 6.2.1).
	RTO time.Duration
	// Timeout bounds one request, and the connecting before it; 0 means 10 s. RFC 8489 waits
	// 39.5 s; a person does not.
	Timeout time.Duration
}

// Given by RFC 8489, section 6.2.1.
const maxSends = 7 // Rc

// ErrNoAnswer says that the server did not answer in time.
var ErrNoAnswer = errors.New("no answer from the STUN server")

// ErrTimeWait says that this host's last connection from the same port to the
// same server is not yet forgotten.
var ErrTimeWait = errors.New("the last connection from this port to this server is in TIME-WAIT, for up to a minute")

// Observation is what one Binding request told.
type Observation struct {
	Network string         `json:"network"`
	Local   netip.AddrPort `json:"local"`  // where it was asked from
	Server  netip.AddrPort `json:"server"` // who was asked
	Mapped  netip.AddrPort `json:"mapped"` // Local as the server saw it: the public endpoint
	// From is where the answer came from: Server, unless a change was asked for.
	From netip.AddrPort `json:"from"`
	// Origin is where the server says that it answered from (RESPONSE-ORIGIN), and Other
	// its second address and port (OTHER-ADDRESS); zero when it does not say.
	Origin netip.AddrPort `json:"origin"`
	Other  netip.AddrPort `json:"other"`
	// RTT is from the last sending of the request to its answer; after a
	// retransmission it may be that of an earlier one, and be too short.
	RTT      time.Duration `json:"rtt_ns"`
	Sends    int           `json:"sends"`    // 1 when the first request was answered
	Software string        `json:"software"` // "" when the server does not say
	// Rewritten says that MAPPED-ADDRESS, in the clear, is not what XOR-MAPPED-ADDRESS hides: something on
	// the way rewrites addresses in payloads.
	Rewritten bool `json:"rewritten"`
}

// Conn is an open way to a server. While it is open the NAT keeps the mapping
// of a TCP connection. It is not safe for concurrent use.
type Conn struct {
	cfg    Config
	server netip.AddrPort
	tcp    *net.TCPConn
	stream stream
	udp    *net.UDPConn
	buf    []byte
}

// Query asks once: Dial, Bind and Close.
func Query(ctx context.Context, server netip.AddrPort, cfg *Config) (*Observation, error) {
	c, err := Dial(ctx, server, cfg)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Bind(ctx)
}

// Dial prepares to ask a server; over TCP it connects.
func Dial(ctx context.Context, server netip.AddrPort, cfg *Config) (*Conn, error) {
	c := &Conn{server: netip.AddrPortFrom(server.Addr().Unmap(), server.Port())}
	if cfg != nil {
		c.cfg = *cfg
	}
	if err := c.defaults(); err != nil {
		return nil, fmt.Errorf("ask %v: %w", server, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, ErrNoAnswer)
	defer cancel()
	if err := c.dial(ctx); err != nil {
		if errors.Is(context.Cause(ctx), ErrNoAnswer) {
			err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
		}
		return nil, fmt.Errorf("ask %v over %s from %s: %w", c.server, c.cfg.Network, localWords(c.cfg.Local), err)
	}
	return c, nil
}

func localWords(local netip.AddrPort) string {
	switch {
	case local.Port() == 0:
		return "a free port"
	case !local.Addr().IsValid() || local.Addr().IsUnspecified():
		return fmt.Sprintf("port %d", local.Port())
	}
	return local.String()
}

func (c *Conn) defaults() error {
	cfg := &c.cfg
	if cfg.Network == "" {
		cfg.Network = "udp"
	}
	if cfg.RTO <= 0 {
		cfg.RTO = 500 * time.Millisecond
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	unspecified, family := netip.IPv6Unspecified(), "IPv6"
	if c.server.Addr().Is4() {
		unspecified, family = netip.IPv4Unspecified(), "IPv4"
	}
	local := cfg.Local.Addr().Unmap()
	if !local.IsValid() || local.IsUnspecified() {
		local = unspecified
	}
	cfg.Local = netip.AddrPortFrom(local, cfg.Local.Port())
	switch {
	case !c.server.IsValid() || c.server.Port() == 0:
		return errors.New("want an address and a port")
	case cfg.Network != "udp" && cfg.Network != "tcp":
		return fmt.Errorf("network %q: want udp or tcp", cfg.Network)
	case cfg.Network == "tcp" && (cfg.ChangeIP || cfg.ChangePort):
		return errors.New("over TCP an answer comes back on its connection: no other address or port can be asked for")
	case local.Is4() != c.server.Addr().Is4():
		return fmt.Errorf("the local address %v is not %s as the server's is", local, family)
	}
	return nil
}

func (c *Conn) dial(ctx context.Context) error {
	if c.cfg.Network == "tcp" {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(c.cfg.Local), Control: reuse, KeepAlive: -1}
		conn, err := d.DialContext(ctx, "tcp", c.server.String())
		if err != nil {
			return explain(err)
		}
		c.tcp = conn.(*net.TCPConn)
		c.stream = stream{c: conn}
		return nil
	}
	c.buf = make([]byte, MaxSize+1)
	if c.cfg.ChangeIP || c.cfg.ChangePort {
		// A connected socket would only take answers from the server's own address.
		lc := net.ListenConfig{Control: reuse}
		network := "udp6" // with "udp" an unspecified IPv4 address would become [::]
		if c.cfg.Local.Addr().Is4() {
			network = "udp4"
		}
		pc, err := lc.ListenPacket(ctx, network, c.cfg.Local.String())
		if err != nil {
			return explain(err)
		}
		c.udp = pc.(*net.UDPConn)
		return nil
	}
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(c.cfg.Local), Control: reuse}
	conn, err := d.DialContext(ctx, "udp", c.server.String())
	if err != nil {
		return explain(err)
	}
	c.udp = conn.(*net.UDPConn)
	return nil
}

// Local is the local address and port. Without a connection (ChangeIP,
// ChangePort) the address is unspecified.
func (c *Conn) Local() netip.AddrPort {
	if c.tcp != nil {
		return addrPort(c.tcp.LocalAddr())
	}
	ap := c.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Close ends it. A TCP connection is closed with FIN, which leaves the NAT's
// mapping to its timers, and the host's own port in TIME-WAIT towards this
// server (and only towards it) for a minute.
func (c *Conn) Close() error {
	if c.tcp != nil {
		return c.tcp.Close()
	}
	return c.udp.Close()
}

// Bind asks for the public endpoint. It may be called again and again, over TCP until
// the first error. The error wraps ErrNoAnswer, ErrMalformed, an error of the
// system (ECONNREFUSED and its like), or is a *RefusedError.
func (c *Conn) Bind(ctx context.Context) (*Observation, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, ErrNoAnswer)
	defer cancel()
	req := Message{Class: Request, Method: Binding}
	binary.BigEndian.PutUint32(req.Transaction[:], cookie)
	rand.Read(req.Transaction[4:])
	if c.cfg.ChangeIP || c.cfg.ChangePort {
		var flags uint32
		if c.cfg.ChangeIP {
			flags |= changeIP
		}
		if c.cfg.ChangePort {
			flags |= changePort
		}
		req.Add(ChangeRequest, binary.BigEndian.AppendUint32(nil, flags))
	}
	req.Add(Fingerprint, nil)
	b, err := req.Append(nil)
	if err != nil {
		return nil, err
	}
	o := &Observation{Network: c.cfg.Network, Server: c.server, Local: c.Local()}
	ask := c.askUDP
	if c.tcp != nil {
		ask = c.askTCP
	}
	m, err := ask(ctx, &req, b, o)
	if err == nil {
		err = o.read(m)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %v over %s: %w", c.server, c.cfg.Network, explain(err))
	}
	return o, nil
}

// read takes what a response tells.
func (o *Observation) read(m *Message) error {
	if m.Class == Failure {
		return m.refused()
	}
	for _, a := range m.Attributes {
		if a.Type.Required() && attrNames[a.Type] == "" {
			return fmt.Errorf("%w: it needs %v to be understood", ErrMalformed, a.Type)
		}
	}
	var err error
	var ok bool
	get := func(types ...AttrType) (ap netip.AddrPort) {
		ok = false
		for _, t := range types {
			if ap, ok, err = m.Address(t); ok {
				return ap
			}
		}
		return ap
	}
	plain := get(MappedAddress)
	o.Mapped = get(XORMappedAddress, MappedAddress)
	o.Rewritten = plain.IsValid() && plain != o.Mapped
	if err != nil {
		return err
	}
	if !ok || o.Mapped.Port() == 0 {
		return fmt.Errorf("%w: a success response without the mapped address", ErrMalformed)
	}
	// What else is there helps; a broken one is as good as none.
	o.Origin, o.Other = get(ResponseOrigin, SourceAddress), get(OtherAddress, ChangedAddress)
	if v, ok := m.Get(Software); ok {
		o.Software = text(v)
	}
	return nil
}

// answers says that m is the answer to req.
func (m *Message) answers(req *Message) bool {
	return m.Transaction == req.Transaction && m.Method == req.Method && (m.Class == Success || m.Class == Failure)
}

// deadline makes reads end with ctx. The result must be called.
func deadline(ctx context.Context, c net.Conn) func() bool {
	c.SetDeadline(time.Time{})
	return context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
}

func (c *Conn) askTCP(ctx context.Context, req *Message, b []byte, o *Observation) (*Message, error) {
	c.tcp.SetWriteDeadline(time.Now().Add(c.cfg.Timeout))
	sent := time.Now()
	o.Sends, o.From = 1, c.server
	if _, err := c.tcp.Write(b); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.tcp.Close() }) // a stream in the middle of a message is of no more use
	defer stop()
	for {
		raw, err := c.stream.next(c.cfg.Timeout, c.cfg.Timeout)
		o.RTT = time.Since(sent)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = ErrNoAnswer
			}
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: it closed the connection", ErrNoAnswer)
			}
			return nil, err
		}
		m := new(Message)
		if err := m.Parse(raw); err != nil {
			return nil, err
		}
		if m.answers(req) {
			return m, nil
		}
	}
}

func (c *Conn) askUDP(ctx context.Context, req *Message, b []byte, o *Observation) (*Message, error) {
	stop := deadline(ctx, c.udp)
	defer stop()
	rto := c.cfg.RTO
	for ; o.Sends < maxSends; rto *= 2 {
		if o.Sends == maxSends-1 {
			rto = c.cfg.Timeout // the last one is waited for until the end
		}
		o.Sends++
		sent := time.Now()
		if err := c.send(b); err != nil {
			return nil, err
		}
		m, err := c.wait(ctx, sent.Add(rto), req, o)
		o.RTT = time.Since(sent)
		if m != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return m, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return nil, ErrNoAnswer
}

func (c *Conn) send(b []byte) error {
	var err error
	if c.cfg.ChangeIP || c.cfg.ChangePort {
		_, err = c.udp.WriteToUDPAddrPort(b, c.server)
	} else {
		_, err = c.udp.Write(b)
	}
	return err
}

// wait reads until the answer to req comes. Everything else is passed over: who
// sends it must not be able to end the request.
func (c *Conn) wait(ctx context.Context, until time.Time, req *Message, o *Observation) (*Message, error) {
	c.udp.SetReadDeadline(until)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for {
		n, from, err := c.udp.ReadFromUDPAddrPort(c.buf)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		m := new(Message)
		if m.Parse(c.buf[:n]) != nil || !m.answers(req) {
			continue
		}
		o.From = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		return m, nil
	}
}
