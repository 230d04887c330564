package datagram

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Conn is a UDP socket of one address family. Reads must come from one
// goroutine; writes may come from any.
type Conn struct {
	udp   *net.UDPConn
	local netip.AddrPort
	v4    bool
	told  bool           // the kernel tells to which address a packet came
	peer  netip.AddrPort // of a socket that Dial made
	oob   []byte
}

// oobSize holds the two control messages that are asked for: a stamp (16 bytes
// and a header of 16) and an address with its interface (20 and 16).
const oobSize = 128

// Listen opens a socket on local; port 0 lets the kernel choose. An unspecified
// address (0.0.0.0 or ::) means all addresses of that family.
func Listen(local netip.AddrPort) (*Conn, error) {
	if !local.Addr().IsValid() {
		return nil, errors.New("listen for UDP packets: no address is given")
	}
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	c := &Conn{v4: local.Addr().Is4(), oob: make([]byte, oobSize)}
	network := "udp6" // with IPV6_V6ONLY, so that each packet shows its own family
	if c.v4 {
		network = "udp4"
	}
	pc, err := new(net.ListenConfig).ListenPacket(context.Background(), network, local.String())
	if err != nil {
		return nil, fmt.Errorf("listen for UDP packets: %w", err)
	}
	c.udp = pc.(*net.UDPConn)
	bound := c.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	c.local = netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())
	if c.local.Addr().IsUnspecified() {
		c.told = c.askForAddress() == nil
	}
	c.udp.SetReadBuffer(readBuffer) // the system gives what it allows, net.core.rmem_max
	stampOn(c.udp)
	return c, nil
}

// readBuffer is for the requests of some tens of milliseconds at 10,000 a
// second, in which a busy machine does not come to reading them.
const readBuffer = 1 << 20

// Dial opens a socket that talks to one peer, from any local port: packets of
// others do not reach it, and an ICMP error about what it sent is an error of Read.
func Dial(ctx context.Context, peer netip.AddrPort) (*Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", peer.String())
	if err != nil {
		return nil, fmt.Errorf("talk to %v over UDP: %w", peer, err)
	}
	c := &Conn{udp: conn.(*net.UDPConn), peer: peer, oob: make([]byte, oobSize)}
	bound := c.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	c.local = netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())
	c.v4 = c.local.Addr().Is4()
	stampOn(c.udp)
	return c, nil
}

// SetReadDeadline makes a read that is under way, or begins, end at t.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.udp.SetReadDeadline(t) }

func (c *Conn) askForAddress() error {
	if c.v4 {
		return ipv4.NewPacketConn(c.udp).SetControlMessage(ipv4.FlagDst, true)
	}
	return ipv6.NewPacketConn(c.udp).SetControlMessage(ipv6.FlagDst, true)
}

// Local is the address and port that the socket is bound to.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Close ends all reads and writes.
func (c *Conn) Close() error { return c.udp.Close() }

// Packet is a packet that came in.
type Packet struct {
	Data []byte         // in the buffer that Read was given
	From netip.AddrPort // who sent it
	To   netip.AddrPort // where it came in; the address is invalid where the system does not tell
	At   time.Time      // when, on the wall clock
	// Stamped says that At is the kernel's stamp. Otherwise it is the time at
	// which the read returned.
	Stamped bool
}

// Read waits for a packet. What does not fit into buf is cut off.
func (c *Conn) Read(buf []byte) (Packet, error) {
	n, oobn, _, from, err := c.udp.ReadMsgUDPAddrPort(buf, c.oob)
	if err != nil {
		return Packet{}, err
	}
	p := Packet{
		Data: buf[:n], At: time.Now().Round(0), To: c.local,
		From: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()),
	}
	if c.local.Addr().IsUnspecified() {
		p.To = netip.AddrPortFrom(c.destination(c.oob[:oobn]), c.local.Port())
	}
	if at, ok := stamp(c.oob[:oobn]); ok {
		p.At, p.Stamped = at, true
	}
	return p, nil
}

func (c *Conn) destination(oob []byte) netip.Addr {
	if !c.told {
		return netip.Addr{}
	}
	var ip net.IP
	if c.v4 {
		var cm ipv4.ControlMessage
		if cm.Parse(oob) == nil {
			ip = cm.Dst
		}
	} else {
		var cm ipv6.ControlMessage
		if cm.Parse(oob) == nil {
			ip = cm.Dst
		}
	}
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// Write sends b to a host. from is the address of this host that it comes from;
// invalid leaves the choice to the system. A socket that is bound to one
// address sends from that one only, and one that Dial made to its peer only.
func (c *Conn) Write(b []byte, from netip.Addr, to netip.AddrPort) error {
	if c.peer.IsValid() {
		_, err := c.udp.Write(b)
		return err
	}
	var oob []byte
	if c.told && from.IsValid() {
		if c.v4 {
			oob = (&ipv4.ControlMessage{Src: from.AsSlice()}).Marshal()
		} else {
			oob = (&ipv6.ControlMessage{Src: from.AsSlice()}).Marshal()
		}
	}
	_, _, err := c.udp.WriteMsgUDPAddrPort(b, oob, to)
	return err
}
