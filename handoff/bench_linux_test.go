package handoff_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// percentiles reports p50 and p99 of what was measured.
func percentiles(b *testing.B, name string, d []time.Duration) {
	slices.Sort(d)
	b.ReportMetric(float64(d[len(d)/2].Nanoseconds()), name+"p50-ns")
	b.ReportMetric(float64(d[len(d)*99/100].Nanoseconds()), name+"p99-ns")
}

// BenchmarkThroughput moves data over sockets that were made in four ways, the
// ordinary one among them, in turn. Reported are the medians of each and their ratios to
// the ordinary one, sending and receiving.
func BenchmarkThroughput(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	ways := []struct {
		name string
		open func(testing.TB, *wire, bool) (*net.TCPConn, net.Conn)
	}{{"plain", openPlain}, {"repair", openRepaired}, {"park", openParked}, {"connect", openConnected}}
	const size = 64 << 20
	rates := map[string][]float64{}
	for b.Loop() {
		for _, way := range ways {
			for _, send := range []bool{true, false} {
				conn, peer := way.open(b, w, false)
				from, to := net.Conn(conn), peer
				key := way.name + "-send"
				if !send {
					from, to = peer, conn
					key = way.name + "-receive"
				}
				rates[key] = append(rates[key], transfer(b, from, to, size))
				conn.Close()
				peer.Close()
			}
		}
	}
	for _, way := range ways {
		for _, dir := range []string{"-send", "-receive"} {
			rate := median(rates[way.name+dir])
			b.ReportMetric(rate/1e6, way.name+dir+"-MB/s")
			if way.name != "plain" {
				b.ReportMetric(rate/median(rates["plain"+dir]), way.name+dir+"-ratio")
			}
		}
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// transfer returns bytes per second.
func transfer(tb testing.TB, from, to net.Conn, size int) float64 {
	tb.Helper()
	chunk := make([]byte, 256<<10)
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		for left := size; left > 0; left -= len(chunk) {
			if _, err := from.Write(chunk); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	buf := make([]byte, 256<<10)
	for got := 0; got < size; {
		n, err := to.Read(buf)
		got += n
		if err != nil {
			tb.Fatalf("after %d bytes: %v", got, err)
		}
	}
	took := time.Since(began)
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
	return float64(size) / took.Seconds()
}

// openPlain is what everybody does.
func openPlain(tb testing.TB, w *wire, v6 bool) (*net.TCPConn, net.Conn) {
	tb.Helper()
	l := w.listen(tb, v6)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	return c.(*net.TCPConn), accept(tb, l)
}

func accept(tb testing.TB, l net.Listener) net.Conn {
	tb.Helper()
	c, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func openRepaired(tb testing.TB, w *wire, v6 bool) (*net.TCPConn, net.Conn) {
	tb.Helper()
	l := w.listen(tb, v6)
	defer l.Close()
	return openRepairedFrom(tb, l, w.local(tb, v6))
}

func openRepairedFrom(tb testing.TB, l *net.TCPListener, local netip.AddrPort) (*net.TCPConn, net.Conn) {
	tb.Helper()
	remote := addrPort(l.Addr())
	guard, err := handoff.OpenGuard(local, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer guard.Close()
	r, err := handoff.PrepareRepair(local, remote, nil)
	if err != nil {
		tb.Fatal(err)
	}
	o := newOpener(tb, rawtcp.HandshakeConfig{Local: local, Remote: remote, WScale: 10})
	defer o.close()
	o.open(tb)
	c, err := r.Install(o.hs.Transfer(time.Now()), o.late(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return c, accept(tb, l)
}

func openParked(tb testing.TB, w *wire, v6 bool) (*net.TCPConn, net.Conn) {
	tb.Helper()
	l := w.listen(tb, v6)
	defer l.Close()
	p, err := handoff.Park(testContext(tb), w.local(tb, v6), addrPort(l.Addr()), nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.Release(); err != nil {
		tb.Fatal(err)
	}
	syn := p.SYN()
	sendSegment(tb, &syn)
	if err := p.Wait(testContext(tb)); err != nil {
		tb.Fatal(err)
	}
	c, err := p.Conn()
	if err != nil {
		tb.Fatal(err)
	}
	return c, accept(tb, l)
}

func sendSegment(tb testing.TB, s *rawtcp.Segment) {
	tb.Helper()
	if err := sendRaw(s); err != nil {
		tb.Fatal(err)
	}
}

func sendRaw(s *rawtcp.Segment) error {
	network := "ip4"
	if s.Src.Addr().Is6() {
		network = "ip6"
	}
	raw, err := rawtcp.Open(network, nil)
	if err != nil {
		return err
	}
	defer raw.Close()
	pkt, err := s.Append(nil)
	if err != nil {
		return err
	}
	return raw.Send(pkt)
}

func openConnected(tb testing.TB, w *wire, v6 bool) (*net.TCPConn, net.Conn) {
	tb.Helper()
	l := w.listen(tb, v6)
	defer l.Close()
	c, err := handoff.PrepareConnect(netip.AddrPortFrom(w.addrA(v6), 0), addrPort(l.Addr()), nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.Start(); err != nil {
		tb.Fatal(err)
	}
	if err := c.Wait(testContext(tb)); err != nil {
		tb.Fatal(err)
	}
	conn, err := c.Conn()
	if err != nil {
		tb.Fatal(err)
	}
	return conn, accept(tb, l)
}
