package live

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/rawtcp"
)

func BenchmarkBuild(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	for _, delay := range []time.Duration{20 * time.Millisecond, 0} {
		b.Run(fmt.Sprint("delay-", delay), func(b *testing.B) {
			s := both(lab.NATLinux, delay)
			var took, closed []time.Duration
			for b.Loop() {
				t0 := time.Now()
				l, err := Build(context.Background(), &s, nil)
				if err != nil {
					b.Fatal(err)
				}
				t1 := time.Now()
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
				took, closed = append(took, t1.Sub(t0)), append(closed, time.Since(t1))
			}
			report(b, "build-", took)
			report(b, "close-", closed)
		})
	}
}

func report(b *testing.B, name string, d []time.Duration) {
	slices.Sort(d)
	if len(d) == 0 {
		b.Fatal("nothing was measured")
	}
	for _, p := range []struct {
		name string
		at   float64
	}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}} {
		b.ReportMetric(float64(d[int(p.at*float64(len(d)-1))]), name+p.name+"-ns")
	}
}

// BenchmarkLinkDelayError compares the kernel's stamps of small TCP packets on both
// sides of the link with the delay that was ordered.
func BenchmarkLinkDelayError(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	for _, load := range []string{"idle", "short", "busy", "bulk", "compute-inside"} {
		for _, realtime := range []bool{true, false} {
			name := load + "-other"
			if realtime {
				name = load + "-fifo"
			}
			b.Run(name, func(b *testing.B) {
				delay := 20 * time.Millisecond
				if load == "short" {
					delay = 300 * time.Microsecond
				}
				s := both(lab.NATNone, delay)
				l, err := Build(context.Background(), &s, &Config{NoRealtime: !realtime})
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				if notes := l.Notes(); len(notes) > 0 {
					b.Skip(notes)
				}
				switch load {
				case "busy":
					helper(b, l.A, "compute")
					helper(b, l.B, "compute")
				case "bulk":
					at := netip.AddrPortFrom(l.B.Addr, 9000).String()
					helper(b, l.B, "listen", at)
					helper(b, l.A, "dial", at)
				case "compute-inside": // this process has work for every processor
					stop := make(chan struct{})
					defer close(stop)
					for range runtime.NumCPU() + 1 {
						go func() {
							for block := make([]byte, 1<<20); ; sha256.Sum256(block) {
								select {
								case <-stop:
									return
								default:
								}
							}
						}()
					}
				}
				p := newProber(b, l)
				defer p.close()
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for b.Loop() {
					p.send(b)
					<-tick.C
				}
				report(b, "error-", p.errors(delay))
			})
		}
	}
}

// prober sends numbered packets over the link and stamps them on both sides.
type prober struct {
	from, to  netip.AddrPort
	out       *rawtcp.Conn
	flags     rawtcp.Flags // RST: from the same port; SYN: from another one each time
	near, far ring
	sent      map[rawtcp.Seq]int64
	took      []time.Duration
	n         rawtcp.Seq
}

func newProber(b *testing.B, l *Lab) *prober {
	p := &prober{from: netip.MustParseAddrPort("192.0.2.1:9"), to: netip.MustParseAddrPort("192.0.2.2:9"), flags: rawtcp.RST, sent: map[rawtcp.Seq]int64{}}
	filter, err := rawtcp.FlowFilter(p.from, p.to)
	if err != nil {
		b.Fatal(err)
	}
	var prog []bpf.Instruction
	for _, in := range filter {
		prog = append(prog, in)
	}
	for node, r := range map[int]*ring{ispA: &p.near, ispB: &p.far} {
		nd := l.net.nodes[node]
		err := nd.ns.Do(func() error {
			fd, err := packetSocket(unix.SOCK_DGRAM)
			if err != nil {
				return err
			}
			if err := r.setup(fd, ringConfig{cooked: true, filter: prog, frame: laneSlot, slots: 4096}); err != nil {
				return err
			}
			if node == ispA {
				if p.out, err = rawtcp.Open("ip4", nil); err != nil {
					return err
				}
			}
			return bindPacket(fd, unix.ETH_P_ALL, nd.index[corePort])
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return p
}

func (p *prober) send(b *testing.B) {
	p.n++
	if p.flags == rawtcp.SYN {
		p.from = netip.AddrPortFrom(p.from.Addr(), 1024+uint16(p.n%60000))
	}
	s := rawtcp.Segment{Src: p.from, Dst: p.to, Flags: p.flags, Seq: p.n}
	pkt, err := s.Append(nil)
	if err == nil {
		err = p.out.Send(pkt)
	}
	if err != nil {
		b.Fatal(err)
	}
	p.collect()
}

func (p *prober) collect() {
	var s slot
	for ; p.near.head(&s); p.near.release() {
		if seg, err := rawtcp.Parse(s.data); err == nil && s.out {
			p.sent[seg.Seq] = s.stamp
		}
	}
	for ; p.far.head(&s); p.far.release() {
		if seg, err := rawtcp.Parse(s.data); err == nil && !s.out {
			p.took = append(p.took, time.Duration(s.stamp-p.sent[seg.Seq]))
			delete(p.sent, seg.Seq)
		}
	}
}

// all waits for the last packets and returns how long each took.
func (p *prober) all() []time.Duration {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 1000 { // a second; what has not come then was lost
		if p.collect(); len(p.took) == int(p.n) {
			break
		}
		<-tick.C
	}
	return p.took
}

// errors is how far each packet was from want.
func (p *prober) errors(want time.Duration) []time.Duration {
	errs := slices.Clone(p.all())
	for i := range errs {
		errs[i] = (errs[i] - want).Abs()
	}
	return errs
}

func (p *prober) close() {
	p.near.close()
	p.far.close()
	p.out.Close()
}

// BenchmarkLinkThroughput moves 256 MiB each way at once: over a plain wire, over the link
// with next to no delay (what the link itself costs), and over 20 ms.
func BenchmarkLinkThroughput(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	for _, delay := range []time.Duration{0, time.Microsecond, time.Millisecond, 20 * time.Millisecond} {
		b.Run(fmt.Sprint("delay-", delay), func(b *testing.B) {
			s := both(lab.NATNone, delay)
			l, err := Build(context.Background(), &s, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			const n = 256 << 20
			b.SetBytes(2 * n)
			for b.Loop() {
				b.StopTimer()
				x, y := tcpPair(b, l)
				b.StartTimer()
				var wg sync.WaitGroup
				for _, way := range [][2]net.Conn{{x, y}, {y, x}} {
					wg.Go(func() {
						block := make([]byte, 256<<10)
						for i := 0; i < n; i += len(block) {
							if _, err := way[0].Write(block); err != nil {
								b.Error(err)
								return
							}
						}
					})
					wg.Go(func() {
						if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(way[1], n), make([]byte, 256<<10)); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
				x.Close()
				y.Close()
			}
			ab, ba := l.Counters()
			b.ReportMetric(float64(ab.Overflow+ba.Overflow)/float64(b.N), "dropped/op")
		})
	}
}

// BenchmarkQueue is what a frame costs in the queue: one copy.
func BenchmarkQueue(b *testing.B) {
	var q queue
	if err := q.open(queueSize); err != nil {
		b.Fatal(err)
	}
	defer q.close()
	for _, n := range []int{64, 1514, 65550} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				q.push(f, ticket{due: rand.Int64()})
				q.front()
				q.pop()
			}
		})
	}
}
