package handoff_test

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/capture"
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

// BenchmarkInstall is Install alone, with nothing late: right after
// PrepareRepair; after 2 ms of spinning, as a caller does who waits for the peer's answer;
// and the same with Warm just before.
func BenchmarkInstall(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	for name, wait := range map[string]struct{ spin, warm bool }{"hot": {}, "cold": {spin: true}, "warmed": {spin: true, warm: true}} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				local, remote := w.local(b, false), netip.AddrPortFrom(w.bAddr, 9)
				r, err := handoff.PrepareRepair(local, remote, nil)
				if err != nil {
					b.Fatal(err)
				}
				for end := time.Now().Add(2 * time.Millisecond); wait.spin && time.Now().Before(end); {
					continue
				}
				if wait.warm {
					if err := r.Warm(); err != nil {
						b.Fatal(err)
					}
				}
				t := rawtcp.Transfer{
					Local: local, Remote: remote, ISN: 1000, SndNxt: 1001, PeerISN: 2000, RcvNxt: 2001, RcvWup: 2001,
					PeerMSS: 1460, WScaleOK: true, SndWScale: 7, RcvWScale: 7, SACK: true, Timestamps: true, TSVal: 2,
					SndWnd: 65535, MaxWnd: 65535, RcvWnd: 64240,
				}
				began := time.Now()
				c, err := r.Install(t, func(rawtcp.Seq) []byte { return nil })
				took = append(took, time.Since(began))
				if err != nil {
					b.Fatal(err)
				}
				c.SetLinger(0) // no TIME-WAIT
				c.Close()
			}
			percentiles(b, "", took)
		})
	}
}

// BenchmarkHandoff is the whole way: from the kernel's stamp of the last packet
// of the handshake, the peer's SYN-ACK here, to the usable socket. The stamp, the
// machine's ACK and Install are in it.
func BenchmarkHandoff(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	l := w.listen(b, false)
	remote := addrPort(l.Addr())
	raw, err := rawtcp.Open("ip4", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	gen := rawtcp.NewISNGenerator([16]byte{7})
	var took []time.Duration
	for b.Loop() {
		local := w.local(b, false)
		guard, err := handoff.OpenGuard(local, nil)
		if err != nil {
			b.Fatal(err)
		}
		r, err := handoff.PrepareRepair(local, remote, nil)
		if err != nil {
			b.Fatal(err)
		}
		filter, err := rawtcp.FlowFilter(local, remote)
		if err != nil {
			b.Fatal(err)
		}
		live, err := capture.Open(w.iface, &capture.Config{Filter: filter, Mode: capture.ModeReact, InboundOnly: true})
		if err != nil {
			b.Fatal(err)
		}
		hs, err := rawtcp.NewHandshake(rawtcp.HandshakeConfig{Local: local, Remote: remote, WScale: 7, ISN: gen.ISN(local, remote, time.Now())})
		if err != nil {
			b.Fatal(err)
		}
		out, buf := make([]rawtcp.Segment, 0, 4), make([]byte, 0, 2048)
		send := func() {
			for i := range out {
				if buf, err = out[i].Append(buf[:0]); err == nil {
					err = raw.Send(buf)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		}
		var seg rawtcp.Segment
		var stamp time.Time
		poll := func() bool {
			p, ok := live.Poll()
			if !ok || rawtcp.ParseInto(&seg, p.Data) != nil {
				return false
			}
			stamp = p.Time
			out = hs.Receive(p.Time, &seg, out[:0])
			send()
			return true
		}
		if err := r.Warm(); err != nil { // as a caller does before the instant
			b.Fatal(err)
		}
		out = hs.Start(time.Now(), out[:0])
		send()
		for !hs.Ready() {
			poll()
		}
		last := stamp
		c, err := r.Install(hs.Transfer(time.Now()), func(from rawtcp.Seq) []byte {
			for poll() {
				continue
			}
			return nil // the peer says nothing
		})
		took = append(took, time.Since(last))
		if err != nil {
			b.Fatal(err)
		}
		// Only now: a peer process that wakes up earlier takes the processor.
		accept(b, l).Close()
		c.SetLinger(0)
		c.Close()
		live.Close()
		guard.Close()
	}
	percentiles(b, "", took)
}

// BenchmarkGuard opens and closes a guard.
func BenchmarkGuard(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		g, err := handoff.OpenGuard(netip.MustParseAddrPort("127.0.0.1:0"), nil)
		took = append(took, time.Since(began))
		if err != nil {
			b.Fatal(err)
		}
		g.Close()
	}
	percentiles(b, "open-", took)
}

// BenchmarkPark is the time from the call of Park to the SYN in hand, and of
// Release, on a prepared value.
func BenchmarkPark(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	for _, f := range families {
		b.Run(f.name, func(b *testing.B) {
			p, err := handoff.PreparePark(w.local(b, f.v6), netip.AddrPortFrom(w.addrB(f.v6), 9), nil)
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			ctx := b.Context()
			var parks, releases []time.Duration
			for b.Loop() {
				began := time.Now()
				if err := p.Park(ctx); err != nil {
					b.Fatal(err)
				}
				parked := time.Now()
				if err := p.Release(); err != nil {
					b.Fatal(err)
				}
				parks, releases = append(parks, parked.Sub(began)), append(releases, time.Since(parked))
			}
			percentiles(b, "park-", parks)
			percentiles(b, "release-", releases)
		})
	}
}

// BenchmarkThroughput moves data over sockets that were made in four ways, the
// ordinary one among them, in turn: over a cable where the processors are the
// limit, and over one of 500 Mbit/s. Reported are the medians of each and their ratios to
// the ordinary one, sending and receiving.
func BenchmarkThroughput(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	w := newWire(b)
	b.Run("processors", func(b *testing.B) { benchThroughput(b, w, 256<<20) })
	shape := func(name string) error { return shape(name, 500e6) }
	if err := errors.Join(shape(w.iface), w.b.Do(func() error { return shape("wb0") })); err != nil {
		b.Fatal(err)
	}
	b.Run("link", func(b *testing.B) { benchThroughput(b, w, 32<<20) })
}

// shape gives an interface a rate, in bits per second (tc-tbf(8)).
func shape(name string, rate uint64) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       rate / 8,
		Buffer:     256 << 10, // bytes at once: more than the largest GSO segment
		Limit:      4 << 20,   // bytes queued
	})
}

func benchThroughput(b *testing.B, w *wire, size int) {
	ways := []struct {
		name string
		open func(testing.TB, *wire, bool) (*net.TCPConn, net.Conn)
	}{{"plain", openPlain}, {"repair", openRepaired}, {"park", openParked}, {"connect", openConnected}}
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

// transfer returns bytes per second. Each side has a processor of its own: left
// to the scheduler, the rate depends on where it puts them, by a factor of two.
func transfer(tb testing.TB, from, to net.Conn, size int) float64 {
	tb.Helper()
	chunk := make([]byte, 256<<10)
	done := make(chan error, 1)
	var began time.Time
	start := make(chan struct{})
	go func() {
		defer pin(0)()
		close(start)
		for left := size; left > 0; left -= len(chunk) {
			if _, err := from.Write(chunk); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	defer pin(1)()
	<-start
	began = time.Now()
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

// pin keeps the calling goroutine on one processor until the result is called.
// Where that is not allowed it stays where it is.
func pin(cpu int) (unpin func()) {
	runtime.LockOSThread()
	var old, one unix.CPUSet
	if unix.SchedGetaffinity(0, &old) != nil {
		return runtime.UnlockOSThread
	}
	one.Set(cpu % runtime.NumCPU())
	_ = unix.SchedSetaffinity(0, &one)
	return func() {
		_ = unix.SchedSetaffinity(0, &old)
		runtime.UnlockOSThread()
	}
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
	c, err := r.Install(o.hs.Transfer(time.Now()), o.late)
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
