package punch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// filterBench is a capture with the filter of a fan-out on the loopback device, where
// each packet is seen as sent and as received.
type filterBench struct {
	t    *testing.T
	live *capture.Live
	raw  *rawtcp.Conn
	mark rawtcp.Segment
}

func newFilterBench(t *testing.T, p *Plan) *filterBench {
	t.Helper()
	filter, err := p.filter()
	if err != nil {
		t.Fatal(err)
	}
	live, err := capture.Open("lo", &capture.Config{Filter: filter, Mode: capture.ModeReact})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { live.Close() })
	network := "ip4"
	if p.Local.Addr().Is6() {
		network = "ip6"
	}
	raw, err := rawtcp.Open(network, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return &filterBench{t, live, raw, rawtcp.Segment{
		Src: netip.AddrPortFrom(p.Remote.Addr(), 9), Dst: netip.AddrPortFrom(p.Local.Addr(), p.probe), Flags: rawtcp.RST,
	}}
}

// seen sends segments and returns how many sightings of them there were. What the kernel
// answers is not counted. An answer to the probe, which always passes, goes last: when it is
// there, so is all before it.
func (b *filterBench) seen(segs ...rawtcp.Segment) int {
	b.t.Helper()
	const mark = 4711
	last := b.mark
	last.Window = mark
	for _, s := range append(segs, last) {
		pkt, err := s.Append(nil)
		if err != nil {
			b.t.Fatal(err)
		}
		if err := b.raw.Send(pkt); err != nil {
			b.t.Fatal(err)
		}
	}
	n := 0
	for end := time.Now().Add(10 * time.Second); ; {
		p, ok := b.live.Poll()
		if !ok {
			if more, err := b.live.Wait(end); err != nil || !more {
				b.t.Fatalf("the mark did not come: %v", err)
			}
			continue
		}
		got, err := rawtcp.Parse(p.Data)
		switch {
		case err != nil:
		case got.Window == mark:
			return n
		case got.Dst == segs[0].Dst && got.Flags == segs[0].Flags:
			n++
		}
	}
}

func TestFanFilter(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, family := range []struct{ name, local, remote string }{{"ip4", "127.0.0.1", "127.0.0.2"}, {"ip6", "::1", "::1"}} {
		t.Run(family.name, func(t *testing.T) {
			local, remote := netip.MustParseAddr(family.local), netip.MustParseAddr(family.remote)
			p := Plan{
				Local: netip.AddrPortFrom(local, 30000), Remote: netip.AddrPortFrom(remote, 1024),
				Strategy: Fan, FanOut: FanOut{LocalPorts: 10, Rate: 500}, probe: 50000,
			}
			seg := func(src, dst uint16, in bool, f rawtcp.Flags) rawtcp.Segment {
				a, b := netip.AddrPortFrom(local, src), netip.AddrPortFrom(remote, dst)
				if in {
					a, b = netip.AddrPortFrom(remote, src), netip.AddrPortFrom(local, dst)
				}
				return rawtcp.Segment{Src: a, Dst: b, Flags: f, Seq: 1, Ack: 2, Window: 9}
			}
			b := newFilterBench(t, &p)
			for _, c := range []struct {
				name string
				seg  rawtcp.Segment
				want int
			}{
				{"our SYN", seg(30000, 7, false, rawtcp.SYN), 0},
				{"our SYN-ACK", seg(30009, 7, false, rawtcp.SYN|rawtcp.ACK), 1},
				{"our ACK", seg(30001, 7, false, rawtcp.ACK), 1},
				{"another program's ACK", seg(30010, 7, false, rawtcp.ACK), 0},
				{"the peer's SYN", seg(7, 30000, true, rawtcp.SYN), 1},
				{"the peer's data", seg(7, 30009, true, rawtcp.ACK|rawtcp.PSH), 1},
				{"the peer's reset", seg(7, 30009, true, rawtcp.RST), 1},
				{"below", seg(7, 29999, true, rawtcp.SYN), 0},
				{"above", seg(7, 30010, true, rawtcp.SYN), 0},
				{"the probe's answer", seg(7, 50000, true, rawtcp.RST|rawtcp.ACK), 1},
			} {
				if got := b.seen(c.seg); got != c.want {
					t.Errorf("%s: seen %d times, want %d", c.name, got, c.want)
				}
			}

			p.FanOut.Rate = fastAnswers + 1
			b = newFilterBench(t, &p)
			resets := make([]rawtcp.Segment, 3200)
			for i := range resets {
				resets[i] = seg(uint16(i+1), 30000, true, rawtcp.RST|rawtcp.ACK)
			}
			// 200 on average with a standard deviation of 14.
			if got := b.seen(resets...); got < 100 || got > 300 {
				t.Errorf("%d of %d resets pass a filter for one of %d", got, len(resets), p.answerSample())
			}
			if got := b.seen(seg(7, 50000, true, rawtcp.RST)); got != 1 {
				t.Errorf("the probe's answer is among the sample: seen %d times", got)
			}
		})
	}
}

func TestPacer(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		rate float64
		step time.Duration
		took time.Duration
		want int
		off  int
	}{
		{500, time.Millisecond, 2 * time.Second, 1000, 2},
		{100_000, 100 * time.Microsecond, time.Second, 100_000, 70},
		{3, 10 * time.Millisecond, 10 * time.Second, 30, 2},
		// A machine that looks every 50 ms only: what is beyond the slack is lost, not made up for.
		{10_000, 50 * time.Millisecond, time.Second, 20 * 50, 60},
	} {
		var p pacer
		p.start(start, c.rate)
		n := 0
		for now := start; now.Sub(start) < c.took; now = now.Add(c.step) {
			k := p.batch(now)
			p.spend(k)
			n += k
			if k > fanBatch {
				t.Fatalf("a batch of %d", k)
			}
			if k == 0 && p.next().Before(now) {
				t.Fatalf("rate %v: nothing may leave at %v, and next is %v", c.rate, now.Sub(start), p.next().Sub(start))
			}
		}
		if n < c.want-c.off || n > c.want+c.off {
			t.Errorf("rate %v: %d in %v, want %d", c.rate, n, c.took, c.want)
		}
	}
}
