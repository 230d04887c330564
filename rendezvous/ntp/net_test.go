package ntp_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/beevik/ntp"

	ours "github.com/synpunch/synpunch/rendezvous/ntp"
	"github.com/synpunch/synpunch/timing"
)

func serve(t *testing.T, cfg *ours.ServerConfig) *ours.Server {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	}
	s, err := ours.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended: %v", err)
		}
	})
	return s
}

func kept() (timing.Clock, error) {
	return timing.Clock{Synchronised: true, MaxError: 2 * time.Millisecond}, nil
}

func lost() (timing.Clock, error) { return timing.Clock{}, errors.New("no adjtimex here") }

var quick = &ours.Config{Interval: time.Millisecond, Timeout: 20 * time.Second}

// TestMeasure: our client against our server, on one clock: the truth is 0.
func TestMeasure(t *testing.T) {
	for name, c := range map[string]struct {
		cfg          ours.ServerConfig
		synchronised bool
		stratum      uint8
		refid        string
		root         time.Duration
	}{
		"kept":             {ours.ServerConfig{Clock: kept}, true, 10, "127.127.1.1", 2500 * time.Microsecond},
		"stratum 3":        {ours.ServerConfig{Clock: kept, Stratum: 3}, true, 3, "127.127.1.1", 2500 * time.Microsecond},
		"not kept":         {ours.ServerConfig{Clock: lost}, false, 0, "INIT", 0},
		"not kept, served": {ours.ServerConfig{Clock: lost, Stratum: 12}, true, 12, "127.127.1.1", 0},
	} {
		s := serve(t, &c.cfg)
		m, err := ours.Measure(t.Context(), s.Addrs()[0], quick)
		if err != nil {
			t.Fatal(err)
		}
		if m.Offset.Offset.Abs() > m.Offset.Bound || m.Offset.Bound <= 0 || m.Delay <= 0 {
			t.Errorf("%s: the same clock is %v off, delay %v", name, m.Offset, m.Delay)
		}
		if m.Samples != 8 || m.Lost != 0 || m.Strange != 0 || m.Kissed != "" || m.Stamped != (runtime.GOOS == "linux") {
			t.Errorf("%s: %+v", name, m)
		}
		if m.Synchronised != c.synchronised || m.Stratum != c.stratum || m.RefID != c.refid || m.Root < c.root || m.Root > c.root+16*time.Microsecond {
			t.Errorf("%s: %+v", name, m)
		}
		utc, ok := m.UTC()
		if ok != c.synchronised || utc.Bound != m.Offset.Bound+m.Root {
			t.Errorf("%s: %v, %v", name, utc, ok)
		}
		if got := s.Stats(); got.Answered != 8 || got.Unstamped != 0 && runtime.GOOS == "linux" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestMeasureIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("this host has no IPv6: ", err)
	}
	l.Close()
	s := serve(t, &ours.ServerConfig{Clock: kept, Listen: []netip.AddrPort{netip.MustParseAddrPort("[::]:0")}})
	at := netip.AddrPortFrom(netip.IPv6Loopback(), s.Addrs()[0].Port())
	if m, err := ours.Measure(t.Context(), at, quick); err != nil || m.Samples != 8 {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestBeevik: somebody else's client takes our answers.
func TestBeevik(t *testing.T) {
	s := serve(t, &ours.ServerConfig{Clock: kept})
	for _, v := range []int{3, 4} {
		r, err := ntp.QueryWithOptions(s.Addrs()[0].String(), ntp.QueryOptions{Version: v})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
		if r.Stratum != 10 || r.Version != v || r.ClockOffset.Abs() > r.RTT || r.RootDispersion < 2500*time.Microsecond || r.Leap != 0 {
			t.Errorf("version %d: %+v", v, r)
		}
	}
	un := serve(t, &ours.ServerConfig{Clock: lost})
	r, err := ntp.Query(un.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Validate(); err == nil || r.Leap != ntp.LeapNotInSync || r.KissCode != "INIT" {
		t.Errorf("a clock that nobody keeps is %v: %+v", err, r)
	}
}

// TestRate: who asks too often is told once, and the client hears it.
func TestRate(t *testing.T) {
	s := serve(t, &ours.ServerConfig{Clock: kept, Rate: 1e-6, Burst: 3})
	m, err := ours.Measure(t.Context(), s.Addrs()[0], quick)
	if err != nil || m.Samples != 3 || m.Kissed != "RATE" {
		t.Fatalf("%+v, %v", m, err)
	}
	if got := s.Stats(); got.Answered != 4 || got.Kissed != 1 || got.Limited != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := ours.Measure(t.Context(), s.Addrs()[0], &ours.Config{Samples: 1, Timeout: 50 * time.Millisecond}); !errors.Is(err, ours.ErrNoAnswer) {
		t.Errorf("a second kiss: %v", err)
	}
}

// scripted is a server whose answers the test makes.
func scripted(t *testing.T, answer func(n int, good ours.Packet) [][]byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1000)
		for n := 1; ; n++ {
			size, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			var req ours.Packet
			if err := req.Parse(buf[:size]); err != nil || size != 48 || req.Mode != 3 || req.Transmit == 0 {
				t.Errorf("the client sent %x: %v", buf[:size], err)
			}
			now := time.Now()
			st := ours.StateFrom(timing.Clock{Synchronised: true}, now, 2, 20)
			good, _ := ours.Respond(&req, now, &st)
			good.Transmit = ours.At(now)
			for _, b := range answer(n, good) {
				c.WriteToUDPAddrPort(b, from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestStrangers: packets that are not the answer change nothing: neither the
// offset nor the number of answers, and no kiss is taken from a stranger.
func TestStrangers(t *testing.T) {
	var replay []byte
	server := scripted(t, func(n int, good ours.Packet) [][]byte {
		edit := func(f func(p *ours.Packet)) []byte { p := good; f(&p); return p.Append(nil) }
		right := good.Append(nil)
		var list [][]byte
		if replay != nil {
			list = append(list, replay)
		}
		replay = right
		return append(list,
			nil, []byte("short"), right[:47],
			edit(func(p *ours.Packet) { p.Origin++; p.Receive += 1 << 40; p.Transmit += 1 << 40 }),
			edit(func(p *ours.Packet) { p.Origin = 0 }),
			edit(func(p *ours.Packet) { p.Mode = 5 }),
			edit(func(p *ours.Packet) { p.Mode = 3 }),
			edit(func(p *ours.Packet) { p.Stratum = 0; p.RefID = [4]byte([]byte("DENY")); p.Origin++ }),
			right, right)
	})
	cfg := *quick
	cfg.Samples = 3
	m, err := ours.Measure(t.Context(), server, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	// 8 strangers before each answer; the second copy of an answer and its
	// replay arrive with the next request, twice.
	if m.Samples != 3 || m.Lost != 0 || m.Strange != 3*8+2*2 || m.Offset.Offset.Abs() > m.Offset.Bound {
		t.Errorf("%+v", m)
	}
}

// TestKisses: DENY and RSTR end it, other codes say that the clock is not kept.
func TestKisses(t *testing.T) {
	for _, code := range []string{"RATE", "DENY", "RSTR"} {
		server := scripted(t, func(_ int, good ours.Packet) [][]byte {
			p := ours.Kiss(good)
			p.RefID = [4]byte([]byte(code))
			return [][]byte{p.Append(nil)}
		})
		_, err := ours.Measure(t.Context(), server, quick)
		if kiss, ok := errors.AsType[*ours.KissError](err); !ok || kiss.Code != code {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// TestBrokenAnswers: what comes from the server itself and cannot be right is no sample.
func TestBrokenAnswers(t *testing.T) {
	for name, edit := range map[string]func(p *ours.Packet){
		"no transmit":    func(p *ours.Packet) { p.Transmit = 0 },
		"no receive":     func(p *ours.Packet) { p.Receive = 0 },
		"runs backwards": func(p *ours.Packet) { p.Transmit = p.Receive - 1<<32 },
		"an hour inside": func(p *ours.Packet) { p.Transmit = p.Receive + 3600<<32 },
	} {
		server := scripted(t, func(n int, good ours.Packet) [][]byte {
			if n > 1 {
				edit(&good)
			}
			return [][]byte{good.Append(nil)}
		})
		cfg := *quick
		cfg.Samples = 3
		m, err := ours.Measure(t.Context(), server, &cfg)
		if err != nil || m.Samples != 1 || m.Lost != 2 || m.Strange != 2 {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// TestStep: a server whose clock is set between two answers.
func TestStep(t *testing.T) {
	server := scripted(t, func(n int, good ours.Packet) [][]byte {
		good.Receive += ours.Timestamp(n) << 40
		good.Transmit += ours.Timestamp(n) << 40
		return [][]byte{good.Append(nil)}
	})
	if m, err := ours.Measure(t.Context(), server, quick); !errors.Is(err, ours.ErrClockSet) {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestNobody(t *testing.T) {
	silent := scripted(t, func(int, ours.Packet) [][]byte { return nil })
	short := &ours.Config{Interval: time.Millisecond, Timeout: 10 * time.Millisecond}
	if _, err := ours.Measure(t.Context(), silent, short); !errors.Is(err, ours.ErrNoAnswer) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked := scripted(t, func(int, ours.Packet) [][]byte { cancel(); return nil })
	if _, err := ours.Measure(ctx, asked, quick); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	gone := l.LocalAddr().(*net.UDPAddr).AddrPort()
	l.Close()
	if _, err := ours.Measure(t.Context(), gone, short); !errors.Is(err, ours.ErrNoAnswer) || runtime.GOOS == "linux" && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	for name, cfg := range map[string]*ours.ServerConfig{
		"stratum":  {Stratum: 16},
		"not ours": {Listen: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:0")}},
	} {
		if s, err := ours.Listen(cfg); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
}
