package rawtcp

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// templateConfig is one of all the kinds of SYN that a Fan can send.
func templateConfig(kind uint8, mss uint16, ttl uint8) FanConfig {
	cfg := fanConfig(0, 5, PortRange{1, 65535}, PortRange{1, 65535})
	cfg.NoTimestamps, cfg.NoSACK, cfg.NoWScale = kind&1 != 0, kind&2 != 0, kind&4 != 0
	cfg.MSS, cfg.TTL, cfg.WScale = mss, ttl, kind>>4%15
	if kind&8 != 0 {
		cfg.Local = netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), 0)
		cfg.Remote = netip.AddrPortFrom(netip.MustParseAddr("2001:db8::2"), 0)
	}
	return cfg
}

// checkTemplate compares a SYN from the template with one made as any other segment.
func checkTemplate(tb interface {
	Helper()
	Fatalf(string, ...any)
}, f *Fan, link int, fields [3]uint32) {
	tb.Helper()
	tmpl, err := newSYNTemplate(f, make([]byte, link))
	if err != nil {
		tb.Fatalf("%v", err)
	}
	local, remote := uint16(fields[0]>>16), uint16(fields[0])
	want := f.scratch.syn(fields[2])
	want.Src, want.Dst = f.ends(local, remote)
	want.Seq = Seq(fields[1])
	full, err := want.Append(make([]byte, link))
	if err != nil {
		tb.Fatalf("%v", err)
	}
	got := bytes.Clone(tmpl.pkt)
	// Twice: what was there before must not matter.
	tmpl.write(got, ^local, ^remote, ^want.Seq, ^fields[2])
	tmpl.write(got, local, remote, want.Seq, fields[2])
	if !bytes.Equal(got, full) {
		tb.Fatalf("from the template\n% x\nin full\n% x", got, full)
	}
	if err := VerifyChecksums(got[link:]); err != nil {
		tb.Fatalf("%v", err)
	}
}

// TestTemplate: a SYN from the template is the same, byte by byte, as one made in full.
func TestTemplate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := templateConfig(rapid.Uint8().Draw(t, "kind"), rapid.Uint16().Draw(t, "mss"), rapid.Uint8().Draw(t, "ttl"))
		f := mustFanT(t, cfg)
		word := rapid.OneOf(rapid.Uint32(), rapid.SampledFrom([]uint32{0, 1, 0xffff, 0x10000, 0xffff0000, 0xffffffff}))
		checkTemplate(t, f, rapid.SampledFrom([]int{0, 14}).Draw(t, "link"), [3]uint32{word.Draw(t, "ports"), word.Draw(t, "isn"), word.Draw(t, "tsval")})
	})
}

func FuzzTemplate(f *testing.F) {
	f.Add(uint8(0), uint16(1460), uint8(64), uint32(0), uint32(0), uint32(0))
	f.Add(uint8(8), uint16(0), uint8(0), uint32(0xffffffff), uint32(0xffffffff), uint32(0xffffffff))
	f.Add(uint8(1), uint16(0xffff), uint8(1), uint32(0x00010001), uint32(0xfffeffff), uint32(1))
	f.Fuzz(func(t *testing.T, kind uint8, mss uint16, ttl uint8, ports, isn, tsval uint32) {
		checkTemplate(t, mustFan(t, templateConfig(kind, mss, ttl)), 14, [3]uint32{ports, isn, tsval})
	})
}

// TestFanSYN: a SYN has the flow, the ISN and the timestamp that it must have, and
// none of all of them has an ISN of 0 or one before 0.
func TestFanSYN(t *testing.T) {
	cfg := fanConfig(0, 3, PortRange{40000, 40003}, PortRange{1, 65535})
	cfg.TSBase, cfg.LocalPorts = 0xffff_ffff, []PortRange{{40000, 40001}, {50000, 50000}, {7, 7}}
	f := mustFan(t, cfg)
	if f.Len() != 4*65535 {
		t.Fatalf("%d flows", f.Len())
	}
	seen := map[[2]uint16]bool{}
	for i := range f.Len() {
		s := f.SYN(testEpoch.Add(1500*time.Microsecond), i)
		l, r := f.Flow(i)
		key := [2]uint16{l.Port(), r.Port()}
		if seen[key] || s.Src != l || s.Dst != r {
			t.Fatalf("SYN %d is %v, flow %v-%v", i, &s, l, r)
		}
		seen[key] = true
		if want := cfg.Numbers.ISN(l, r, testEpoch); s.Seq != want || f.ISN(l.Port(), r.Port()) != want || want == 0 || want+1 == 0 {
			t.Fatalf("%v, want ISN %d", &s, want)
		}
		if s.Options.TSVal != 0xffff_ffff {
			t.Fatalf("TSval %d: want the even base and a millisecond", s.Options.TSVal)
		}
	}
	if a, b := f.SYN(testEpoch, 5), f.SYN(testEpoch, 5+f.Len()); a.String() != b.String() {
		t.Errorf("after all flows they do not begin again: %v, %v", &a, &b)
	}
	if n := testing.AllocsPerRun(100, func() { f.SYN(testEpoch, 5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestFanOrder: as listed, mirrored and shuffled.
func TestFanOrder(t *testing.T) {
	list := func(f *Fan) (ports [][2]uint16) {
		for i := range f.Len() {
			l, r := f.Flow(i)
			ports = append(ports, [2]uint16{l.Port(), r.Port()})
		}
		return ports
	}
	cfg := fanConfig(0, 1, PortRange{1, 2}, PortRange{})
	cfg.RemotePorts, cfg.Order = []PortRange{{9, 9}, {5, 6}}, [16]byte{}
	if got, want := list(mustFan(t, cfg)), [][2]uint16{{1, 9}, {2, 9}, {1, 5}, {2, 5}, {1, 6}, {2, 6}}; !equalPorts(got, want) {
		t.Errorf("as listed: %v, want %v", got, want)
	}
	cfg.Order = [16]byte{3}
	a := list(mustFan(t, cfg))
	peer := fanConfig(1, 1, PortRange{}, PortRange{1, 2})
	peer.LocalPorts, peer.Order, peer.Mirror = cfg.RemotePorts, cfg.Order, true
	b := list(mustFan(t, peer))
	for i := range a {
		if a[i][0] != b[i][1] || a[i][1] != b[i][0] {
			t.Fatalf("the ends differ at %d: %v and %v", i, a[i], b[i])
		}
	}
}

func equalPorts(a, b [][2]uint16) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestFanConfig: what makes no sense is told.
func TestFanConfig(t *testing.T) {
	for name, spoil := range map[string]func(*FanConfig){
		"no numbers":         func(c *FanConfig) { c.Numbers = nil },
		"no start":           func(c *FanConfig) { c.Start = time.Time{} },
		"an ISN":             func(c *FanConfig) { c.ISN = 1 },
		"a window":           func(c *FanConfig) { c.Window = 1 },
		"early":              func(c *FanConfig) { c.Early = true },
		"port 0":             func(c *FanConfig) { c.LocalPorts = []PortRange{{0, 1}} },
		"a range backwards":  func(c *FanConfig) { c.RemotePorts = []PortRange{{2, 1}} },
		"a port twice":       func(c *FanConfig) { c.RemotePorts = []PortRange{{2, 4}, {4, 5}} },
		"no remote port":     func(c *FanConfig) { c.RemotePorts = nil },
		"a list and a port":  func(c *FanConfig) { c.Local = netip.AddrPortFrom(c.Local.Addr(), 1) },
		"two families":       func(c *FanConfig) { c.Remote = netip.AddrPortFrom(netip.MustParseAddr("::2"), 0) },
		"a window shift":     func(c *FanConfig) { c.WScale = 15 },
		"a negative timeout": func(c *FanConfig) { c.Timeout = -1 },
	} {
		cfg := fanConfig(0, 1, PortRange{1, 2}, PortRange{1, 2})
		if _, err := NewFan(cfg); err != nil {
			t.Fatal(err)
		}
		spoil(&cfg)
		if f, err := NewFan(cfg); err == nil {
			t.Errorf("%s: %d flows and no error", name, f.Len())
		}
	}
	one := fanConfig(0, 1, PortRange{}, PortRange{})
	one.LocalPorts, one.RemotePorts = nil, nil
	one.Local, one.Remote = netip.AddrPortFrom(one.Local.Addr(), 3), netip.AddrPortFrom(one.Remote.Addr(), 4)
	if l, r := mustFan(t, one).Flow(0); l != one.Local || r != one.Remote {
		t.Errorf("one flow: %v-%v", l, r)
	}
}

// TestPaceKeepsItsRate: at no time more than the rate and a burst have left, and who never
// comes late gets all of the rate, whatever times he comes at.
func TestPaceKeepsItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Uint64Range(1, 3_000_000).Draw(t, "rate")
		burst := rapid.Uint64Range(0, 5000).Draw(t, "burst")
		seed := rapid.Uint64().Draw(t, "seed")
		late := rapid.SampledFrom([]time.Duration{0, time.Microsecond, time.Millisecond, time.Second}).Draw(t, "late")
		p := newPace(rate, burst)
		rng := rand.New(rand.NewPCG(seed, 0))
		now, begin, sent := testEpoch, testEpoch, uint64(0)
		missed := false
		for range 500 {
			n, wait := p.take(now, 1+rng.Uint64N(200))
			sent += n
			if (n == 0) != (wait > 0) {
				t.Fatalf("%d packets and a wait of %v", n, wait)
			}
			due := uint64(now.Sub(begin).Seconds()*float64(rate)) + 1
			if sent > due+p.burst {
				t.Fatalf("%d packets in %v at %d per second, bursts of %d", sent, now.Sub(begin), rate, p.burst)
			}
			delay := time.Duration(rng.Int64N(int64(late) + 1))
			if uint64(delay.Seconds()*float64(rate)) >= p.burst-p.least {
				missed = true
			}
			now = now.Add(wait + delay)
		}
		if due := uint64(now.Sub(begin).Seconds() * float64(rate)); !missed && late < time.Millisecond && sent+300+p.burst < due {
			t.Fatalf("%d packets in %v at %d per second: want %d", sent, now.Sub(begin), rate, due)
		}
	})
}

// TestPaceDoesNotDrift: a million waits that each round up lose nothing.
func TestPaceDoesNotDrift(t *testing.T) {
	p := newPace(7_777, 50)
	now, sent := testEpoch, uint64(0)
	for sent < 777_700 {
		n, wait := p.take(now, 128)
		sent += n
		now = now.Add(wait + wait/7)
	}
	// 100 s, and what one wait and its delay may be off.
	if got := now.Sub(testEpoch); got < 100*time.Second-10*time.Millisecond || got > 100*time.Second+10*time.Millisecond {
		t.Errorf("%d packets took %v, want 100 s", sent, got)
	}
	if n, wait := p.take(now.Add(time.Hour), 10_000); n != 50 || wait != 0 {
		t.Errorf("after an hour's pause %d packets leave at once, want 50", n)
	}
}
