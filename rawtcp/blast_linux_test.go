package rawtcp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

var blastPaths = []rawtcp.Path{rawtcp.PathPacket, rawtcp.PathRaw, rawtcp.PathXDP}

func mustBlast(tb testing.TB, f *rawtcp.Fan, cfg *rawtcp.BlastConfig) *rawtcp.Blast {
	tb.Helper()
	b, err := rawtcp.OpenBlast(context.Background(), f, cfg)
	if cfg.Path == rawtcp.PathXDP && (errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOBUFS)) {
		testenv.Skip(tb, "AF_XDP needs a kernel with CONFIG_XDP_SOCKETS and RLIMIT_MEMLOCK of 4 MiB: "+err.Error())
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// farTap sees what comes to the far end.
func (s *sink) farTap(tb testing.TB) (p *tap) {
	tb.Helper()
	if err := s.far.Do(func() error {
		p = newTap(tb, "far", mustFilter(tb, netip.AddrPort{}, netip.AddrPort{}))
		return nil
	}); err != nil {
		tb.Fatal(err)
	}
	return p
}

// TestBlastSendsTheSYNs: what arrives is what Fan.SYN says, in order, checksums and all,
// on every path.
func TestBlastSendsTheSYNs(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := newSink(t)
	const first, n = 64_000, 400 // more than one batch
	for _, path := range blastPaths {
		for _, f := range families {
			t.Run(path.String()+" "+f.name, func(t *testing.T) {
				fan := s.fan(t, f.v6)
				b := mustBlast(t, fan, &rawtcp.BlastConfig{Path: path, Rate: rawtcp.Unpaced})
				if b.Path() != path {
					t.Errorf("the path is %v", b.Path())
				}
				far := s.farTap(t)
				if sent, err := b.Send(context.Background(), first, n); sent != n || err != nil {
					t.Fatalf("sent %d: %v", sent, err)
				}
				for i := range uint64(n) {
					pkt := far.next(t)
					if err := rawtcp.VerifyChecksums(pkt); err != nil {
						t.Fatal(err)
					}
					got, err := rawtcp.Parse(pkt)
					if err != nil {
						t.Fatal(err)
					}
					want := fan.SYN(time.Now(), first+i)
					if late := want.Options.TSVal - got.Options.TSVal; late > uint32(patience.Milliseconds()) {
						t.Errorf("TSval %d, now it is %d", got.Options.TSVal, want.Options.TSVal)
					}
					want.Options.TSVal, want.TTL = got.Options.TSVal, 64
					if got.String() != want.String() || got.Options != want.Options {
						t.Fatalf("number %d is\n%v, want\n%v", i, &got, &want)
					}
				}
			})
		}
	}
}

// TestBlastDoesNotAllocate: no SYN costs memory, paced or not.
func TestBlastDoesNotAllocate(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := newSink(t)
	for _, path := range blastPaths {
		for _, rate := range []int{rawtcp.Unpaced, 1_000_000} {
			t.Run(fmt.Sprintf("%v at %d", path, rate), func(t *testing.T) {
				b := mustBlast(t, s.fan(t, false), &rawtcp.BlastConfig{Path: path, Rate: rate})
				send := func() {
					if sent, err := b.Send(context.Background(), 0, 1000); sent != 1000 || err != nil {
						t.Fatalf("sent %d: %v", sent, err)
					}
				}
				if n := testing.AllocsPerRun(20, send); n != 0 {
					t.Errorf("%v allocations for 1,000 SYNs", n)
				}
			})
		}
	}
}

// TestBlastStops: it ends when its context does, however much there is left to send.
func TestBlastStops(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := newSink(t)
	for _, path := range blastPaths {
		for _, rate := range []int{rawtcp.Unpaced, 1000, 1} {
			t.Run(fmt.Sprintf("%v at %d", path, rate), func(t *testing.T) {
				stops(t, s, &rawtcp.BlastConfig{Path: path, Rate: rate})
			})
		}
	}
}

func stops(t *testing.T, s *sink, cfg *rawtcp.BlastConfig) {
	b := mustBlast(t, s.fan(t, false), cfg)
	far := s.farTap(t)
	ctx, cancel := context.WithCancel(context.Background())
	type result struct {
		sent uint64
		err  error
	}
	done := make(chan result)
	go func() {
		sent, err := b.Send(ctx, 0, 1<<60)
		done <- result{sent, err}
	}()
	far.next(t) // it has begun
	cancel()
	if r := <-done; r.sent == 0 || !errors.Is(r.err, context.Canceled) {
		t.Errorf("sent %d, error %v", r.sent, r.err)
	}
	if sent, err := b.Send(ctx, 0, 1); sent != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("then sent %d, error %v", sent, err)
	}
}

// TestBlastFindsTheWay: through a gateway whose address the kernel has to ask for, past
// a device without Ethernet addresses, and not at all where there is no route or answer.
func TestBlastFindsTheWay(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := newPair(t)
	near, err := netlink.LinkByName("near")
	if err != nil {
		t.Fatal(err)
	}
	away := netip.MustParseAddr("203.0.113.5")
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: near.Attrs().Index, Dst: &net.IPNet{IP: net.IP{203, 0, 113, 0}, Mask: net.CIDRMask(24, 32)}, Gw: s.remote4.AsSlice()}); err != nil {
		t.Fatal(err)
	}
	fanTo := func(local, remote netip.Addr) *rawtcp.Fan {
		s := *s
		s.local4, s.remote4 = local, remote
		return s.fan(t, false)
	}
	far := s.farTap(t)
	b := mustBlast(t, fanTo(s.local4, away), &rawtcp.BlastConfig{})
	if b.Path() != rawtcp.PathPacket {
		t.Errorf("a veth device is used by %v", b.Path())
	}
	if got := far.segment(t); got.Dst.Addr() != away || got.Flags != rawtcp.SYN {
		t.Errorf("to make the kernel ask: %v", &got)
	}
	before := s.received(t)
	if sent, err := b.Send(context.Background(), 9, 3); sent != 3 || err != nil {
		t.Fatalf("sent %d: %v", sent, err)
	}
	for range 3 {
		if got := far.segment(t); got.Dst.Addr() != away {
			t.Errorf("%v", &got)
		}
	}
	if got := s.received(t) - before; got < 3 {
		t.Errorf("%d packets", got)
	}

	lo := mustBlast(t, fanTo(netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")), &rawtcp.BlastConfig{})
	if lo.Path() != rawtcp.PathRaw {
		t.Errorf("loopback is used by %v", lo.Path())
	}
	// Three questions, 10 ms apart (arp(7), retrans_time_ms).
	if err := os.WriteFile("/proc/sys/net/ipv4/neigh/near/retrans_time_ms", []byte("10"), 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		what string
		ctx  context.Context
		fan  *rawtcp.Fan
		cfg  rawtcp.BlastConfig
		want error
	}{
		{"no route", context.Background(), fanTo(s.local4, netip.MustParseAddr("192.0.2.9")), rawtcp.BlastConfig{}, unix.ENETUNREACH},
		{"nobody there, and no time", ctx, fanTo(s.local4, netip.MustParseAddr("10.9.0.77")), rawtcp.BlastConfig{}, context.Canceled},
		{"nobody there", context.Background(), fanTo(s.local4, netip.MustParseAddr("10.9.0.78")), rawtcp.BlastConfig{}, unix.EHOSTUNREACH},
		{"no Ethernet", context.Background(), fanTo(netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")), rawtcp.BlastConfig{Path: rawtcp.PathPacket}, nil},
		{"no such device", context.Background(), fanTo(s.local4, away), rawtcp.BlastConfig{Interface: "nowhere"}, nil},
		{"no such path", context.Background(), fanTo(s.local4, away), rawtcp.BlastConfig{Path: 9}, nil},
		{"a negative rate", context.Background(), fanTo(s.local4, away), rawtcp.BlastConfig{Rate: -2}, nil},
	} {
		b, err := rawtcp.OpenBlast(c.ctx, c.fan, &c.cfg)
		if err == nil {
			t.Errorf("%s: open by %v", c.what, b.Path())
			b.Close()
		} else if c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

// TestBlastTellsTheErrno: a device that is down is no device that is busy.
func TestBlastTellsTheErrno(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := newSink(t)
	var blasts []*rawtcp.Blast
	for _, path := range blastPaths {
		blasts = append(blasts, mustBlast(t, s.fan(t, false), &rawtcp.BlastConfig{Path: path, NextHop: s.mac}))
	}
	near, err := netlink.LinkByName("near")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(near); err != nil {
		t.Fatal(err)
	}
	for _, b := range blasts {
		sent, err := b.Send(context.Background(), 0, 1000)
		if !errors.Is(err, unix.ENETDOWN) && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.ENXIO) {
			t.Errorf("%v: sent %d, error %v", b.Path(), sent, err)
		}
	}
}

// TestBlastMemory: two full sweeps outstanding, 129,024 SYNs, and the program
// is no larger than before.
func TestBlastMemory(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := newSink(t)
	for _, path := range blastPaths {
		fan := s.fan(t, false)
		b := mustBlast(t, fan, &rawtcp.BlastConfig{Path: path, Rate: rawtcp.Unpaced})
		before := resident(t)
		if sent, err := b.Send(context.Background(), 0, fan.Len()); sent != 129_024 || err != nil {
			t.Fatalf("sent %d: %v", sent, err)
		}
		after := resident(t)
		t.Logf("%v: %d KiB before, %d KiB after %d SYNs", path, before, after, fan.Len())
		if !raceEnabled && after > 32<<10 {
			t.Errorf("%v: %d KiB resident, want under 32 MiB", path, after)
		}
	}
}

// resident is what the process has in memory (proc(5), VmRSS), in KiB.
func resident(tb testing.TB) (kib int) {
	tb.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nVmRSS:")
	for c := range strings.SplitSeq(strings.TrimSpace(rest), "") {
		if c < "0" || c > "9" {
			break
		}
		kib = kib*10 + int(c[0]-'0')
	}
	return kib
}
