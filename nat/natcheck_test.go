package nat_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/rawtcp"
)

// NAT Check, the TCP part of the measurement behind table 1 of B. Ford, P. Srisuresh and D. Kegel,
// 'Peer-to-Peer Communication Across Network Address Translators' (USENIX 2005), played in packets
// against a model NAT, step by step as section 6.1.2 has it. Nothing takes time but
// what the text says: a client behind the NAT and three public servers.

// verdict is what NAT Check finds out.
type verdict struct {
	Consistent bool // servers 1 and 2 saw the client at the same endpoint
	Filtered   bool // server 3's SYN, which the client had not asked for, did not get in
	Rejected   bool // it was answered with an RST or an ICMP error
	Punched    bool // client and server 3 were connected in the end
	Hairpin    bool // the client reached itself by its public endpoint
}

// compatible is what table 1 counts for TCP: "the NAT consistently translates the client's private
// TCP endpoint, and does not send back RST packets" (section 6.2).
func (v verdict) compatible() bool { return v.Consistent && !v.Rejected }

// Given by the paper (waits), by 4.4BSD (retransmission), and the addresses of RFC 5737.
const (
	goAhead    = 5 * time.Second
	patience   = 20 * time.Second
	retransmit = 3 * time.Second
)

var (
	natPublic   = netip.MustParseAddr("198.51.100.1")
	private     = netip.MustParseAddrPort("10.0.0.2:4321")
	otherClient = netip.MustParseAddrPort("10.0.0.3:4321")
	servers     = [3]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("192.0.2.2:1234"), netip.MustParseAddrPort("203.0.113.3:1234")}
)

// natCheck plays it. Before that, another client behind the NAT has connected from the same private
// port to the servers in busy.
func natCheck(t *testing.T, b nat.Behaviour, seed uint64, busy ...netip.AddrPort) verdict {
	t.Helper()
	n, err := nat.New(b, &nat.Config{Public: []netip.Addr{natPublic}, Gateway: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	w := &internet{t: t, nat: n, now: time.Unix(1e9, 0)}
	for _, s := range servers[:2] {
		w.listen(s)
	}
	for _, server := range busy {
		w.connect(otherClient, server)
	}
	w.listen(private)
	var v verdict
	one, two := w.connect(private, servers[0]), w.connect(private, servers[1])
	if one.state != connected || two.state != connected {
		t.Fatalf("%v: the client reaches no server", b)
	}
	seen := [2]netip.AddrPort{w.acceptedAt(servers[0]), w.acceptedAt(servers[1])}
	v.Consistent = seen[0] == seen[1]

	// Server 2 has forwarded the request to server 3, which has five seconds.
	third := w.connect(servers[2], seen[1])
	w.until(w.now.Add(goAhead), func() bool { return third.state != opening })
	v.Filtered, v.Rejected = third.state != connected, third.state == refused
	if third.state != connected {
		mine := w.connect(private, servers[2])
		w.until(w.now.Add(patience-goAhead), func() bool { return mine.state != opening && third.state != opening })
		v.Punched = mine.state == connected && third.state == connected
	} else {
		v.Punched = w.acceptedFrom(private, servers[2])
	}
	self := w.connect(netip.AddrPortFrom(private.Addr(), 4322), seen[1])
	w.until(w.now.Add(patience), func() bool { return self.state != opening })
	v.Hairpin = self.state == connected
	return v
}

type tcpState uint8

const (
	opening tcpState = iota
	connected
	refused
)

// socket is a TCP endpoint on its way to ESTABLISHED: no more is needed here.
type socket struct {
	local, remote netip.AddrPort
	state         tcpState
	passive, seen bool // seen: the peer's SYN came
	peer          rawtcp.Seq
	again         time.Time
}

const isn = rawtcp.Seq(1000)

// internet is the NAT, the client's network inside and the servers outside.
type internet struct {
	t         *testing.T
	nat       *nat.NAT
	now       time.Time
	listening []netip.AddrPort
	sockets   []*socket
	depth     int
}

func (w *internet) listen(at netip.AddrPort) { w.listening = append(w.listening, at) }

func (w *internet) find(local, remote netip.AddrPort) *socket {
	for _, s := range w.sockets {
		if s.local == local && s.remote == remote {
			return s
		}
	}
	return nil
}

// acceptedAt is the peer of the last connection that a server accepted, as the server sees it.
func (w *internet) acceptedAt(server netip.AddrPort) (peer netip.AddrPort) {
	for _, s := range w.sockets {
		if s.local == server && s.passive && s.state == connected {
			peer = s.remote
		}
	}
	return peer
}

func (w *internet) acceptedFrom(local, remote netip.AddrPort) bool {
	s := w.find(local, remote)
	return s != nil && s.passive && s.state == connected
}

// connect begins an active open, as connect() does. A socket of that flow that failed makes place.
func (w *internet) connect(local, remote netip.AddrPort) *socket {
	s := w.find(local, remote)
	if s == nil {
		s = &socket{local: local, remote: remote}
		w.sockets = append(w.sockets, s)
	}
	*s = socket{local: local, remote: remote}
	w.syn(s)
	return s
}

func (w *internet) syn(s *socket) {
	s.again = w.now.Add(retransmit)
	if s.seen {
		w.send(s.local, s.remote, rawtcp.SYN|rawtcp.ACK, isn, s.peer+1)
		return
	}
	w.send(s.local, s.remote, rawtcp.SYN, isn, 0)
}

// until lets time pass: retransmissions, and what the NAT has held back.
func (w *internet) until(end time.Time, done func() bool) {
	for !done() {
		next := end
		for _, s := range w.sockets {
			if s.state == opening && s.again.Before(next) {
				next = s.again
			}
		}
		due, waits := w.nat.Deadline()
		if waits && due.Before(next) {
			next = due
		}
		w.now = next
		if waits && !due.After(next) {
			w.deliver(w.nat.Tick(w.now, nil))
		}
		for _, s := range w.sockets {
			if s.state == opening && !s.again.After(w.now) {
				w.syn(s)
			}
		}
		if next == end {
			return
		}
	}
}

func inside(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 10 }

// send puts a segment on the wire; whatever comes of it has happened when it returns.
func (w *internet) send(from, to netip.AddrPort, f rawtcp.Flags, seq, ack rawtcp.Seq) {
	s := rawtcp.Segment{Src: from, Dst: to, Flags: f, Seq: seq, Ack: ack, Window: 1000}
	b, err := s.Append(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.depth++; w.depth > 100 {
		w.t.Fatal("segments go round in circles")
	}
	if inside(from.Addr()) {
		w.deliver(w.nat.Outbound(w.now, b, nil))
	} else {
		w.deliver(w.nat.Inbound(w.now, b, nil))
	}
	w.depth--
}

func (w *internet) deliver(out []nat.Packet) {
	for _, p := range out {
		if s, err := rawtcp.Parse(p.Data); err == nil {
			w.receive(&s)
		} else if e, err := rawtcp.ParseICMP(p.Data); err == nil {
			if sock := w.find(e.Src, e.Dst); sock != nil && sock.state == opening && e.Errno() != nil {
				sock.state = refused
			}
		}
	}
}

// receive is RFC 9293 section 3.10.7 as far as handshakes need it.
func (w *internet) receive(s *rawtcp.Segment) {
	sock := w.find(s.Dst, s.Src)
	switch f := s.Flags & (rawtcp.SYN | rawtcp.ACK | rawtcp.RST); {
	case sock != nil && sock.state == opening && f&rawtcp.RST != 0:
		sock.state = refused
	case sock != nil && sock.state == opening:
		w.opening(sock, s)
	case sock != nil && sock.state == connected && f&rawtcp.SYN != 0: // a repeated SYN: still here (RFC 5961)
		w.send(sock.local, sock.remote, rawtcp.ACK, isn+1, sock.peer+1)
	case sock != nil && sock.state == connected || f&rawtcp.RST != 0:
	case f == rawtcp.SYN && w.listens(s.Dst):
		sock = &socket{local: s.Dst, remote: s.Src, passive: true, seen: true, peer: s.Seq}
		w.sockets = append(w.sockets, sock)
		w.syn(sock)
	case f&rawtcp.ACK != 0:
		w.send(s.Dst, s.Src, rawtcp.RST, s.Ack, 0)
	default:
		w.send(s.Dst, s.Src, rawtcp.RST|rawtcp.ACK, 0, s.End())
	}
}

func (w *internet) listens(at netip.AddrPort) bool {
	return slices.Contains(w.listening, at)
}

func (w *internet) opening(sock *socket, s *rawtcp.Segment) {
	syn, ack := s.Flags&rawtcp.SYN != 0, s.Flags&rawtcp.ACK != 0 && s.Ack == isn+1
	switch {
	case syn && ack:
		sock.seen, sock.peer, sock.state = true, s.Seq, connected
		w.send(sock.local, sock.remote, rawtcp.ACK, isn+1, sock.peer+1)
	case syn: // a simultaneous open
		sock.seen, sock.peer = true, s.Seq
		w.syn(sock)
	case ack && sock.seen:
		sock.state = connected
	}
}
