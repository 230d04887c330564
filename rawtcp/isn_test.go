package rawtcp

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The reference vectors of SipHash-2-4-64: key 00 01 .. 0f, messages of 0 to 63
// bytes 00 01 02 ..
var sipVectors = [64]uint64{
	0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
	0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
	0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
	0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
	0x3f2acc7f57c29bdb, 0x699ae9f52cbe4794, 0x4bc1b3f0968dd39c, 0xbb6dc91da77961bd,
	0xbed65cf21aa2ee98, 0xd0f2cbb02e3b67c7, 0x93536795e3a33e88, 0xa80c038ccd5ccec8,
	0xb8ad50c6f649af94, 0xbce192de8a85b8ea, 0x17d835b85bbb15f3, 0x2f2e6163076bcfad,
	0xde4daaaca71dc9a5, 0xa6a2506687956571, 0xad87a3535c49ef28, 0x32d892fad841c342,
	0x7127512f72f27cce, 0xa7f32346f95978e3, 0x12e0b01abb051238, 0x15e034d40fa197ae,
	0x314dffbe0815a3b4, 0x027990f029623981, 0xcadcd4e59ef40c4d, 0x9abfd8766a33735c,
	0x0e3ea96b5304a7d0, 0xad0c42d6fc585992, 0x187306c89bc215a9, 0xd4a60abcf3792b95,
	0xf935451de4f21df2, 0xa9538f0419755787, 0xdb9acddff56ca510, 0xd06c98cd5c0975eb,
	0xe612a3cb9ecba951, 0xc766e62cfcadaf96, 0xee64435a9752fe72, 0xa192d576b245165a,
	0x0a8787bf8ecb74b2, 0x81b3e73d20b49b6f, 0x7fa8220ba3b2ecea, 0x245731c13ca42499,
	0xb78dbfaf3a8d83bd, 0xea1ad565322a1a0b, 0x60e61c23a3795013, 0x6606d7e446282b93,
	0x6ca4ecb15c5f91e1, 0x9f626da15c9625f3, 0xe51b38608ef25f57, 0x958a324ceb064572,
}

func TestSipHashVectors(t *testing.T) {
	var msg [64]byte
	for i := range msg {
		msg[i] = byte(i)
	}
	const k0, k1 = 0x0706050403020100, 0x0f0e0d0c0b0a0908
	for n, want := range sipVectors {
		if got := sipHash(k0, k1, msg[:n]); got != want {
			t.Errorf("%d bytes: %#016x, want %#016x", n, got, want)
		}
	}
}

var (
	isnLocal  = netip.MustParseAddrPort("192.0.2.1:5000")
	isnRemote = netip.MustParseAddrPort("198.51.100.1:6000")
)

func TestISNFollowsTheClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewISNGenerator([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "secret")))
		now := time.Unix(0, rapid.Int64Range(0, 1<<62).Draw(t, "now"))
		d := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "later"))
		ticks := int64(now.Add(d).UnixNano()/4000 - now.UnixNano()/4000)
		first, second := g.ISN(isnLocal, isnRemote, now), g.ISN(isnLocal, isnRemote, now.Add(d))
		// One off at the two values that are left out.
		if got := int64(second.Sub(first)); got < ticks-2 || got > ticks+2 {
			t.Fatalf("%v later the ISN is %d further, want %d", d, got, ticks)
		}
		if second.Less(first) {
			t.Fatalf("the ISN went back from %d to %d", first, second)
		}
	})
}

func TestISNLeavesOutZero(t *testing.T) {
	g := NewISNGenerator([16]byte{7})
	// The instants at which clock plus hash is 2^32-2, 2^32-1, 0, 1, 2.
	hash := uint32(g.hash(isnLocal, isnRemote, 'i'))
	for i, want := range []Seq{1<<32 - 2, 1, 1, 1, 2} {
		m := uint32(i) - 2 - hash
		now := time.Unix(0, int64(m)*4000)
		if got := g.ISN(isnLocal, isnRemote, now); got != want {
			t.Errorf("clock plus hash %d: ISN %d, want %d", int32(i-2), got, want)
		}
	}
}

func TestISNDependsOnEverything(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	g := NewISNGenerator([16]byte{1})
	other := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	seen := map[Seq]string{}
	offsets := map[uint32]string{}
	for name, f := range map[string]func() (Seq, uint32){
		"the flow":     func() (Seq, uint32) { return g.ISN(isnLocal, isnRemote, now), g.TSOffset(isnLocal, isnRemote) },
		"ends swapped": func() (Seq, uint32) { return g.ISN(isnRemote, isnLocal, now), g.TSOffset(isnRemote, isnLocal) },
		"another local port": func() (Seq, uint32) {
			a := other("192.0.2.1:5001")
			return g.ISN(a, isnRemote, now), g.TSOffset(a, isnRemote)
		},
		"another local host": func() (Seq, uint32) {
			a := other("192.0.2.2:5000")
			return g.ISN(a, isnRemote, now), g.TSOffset(a, isnRemote)
		},
		"another remote port": func() (Seq, uint32) {
			a := other("198.51.100.1:1")
			return g.ISN(isnLocal, a, now), g.TSOffset(isnLocal, a)
		},
		"another remote host": func() (Seq, uint32) {
			a := other("198.51.100.2:6000")
			return g.ISN(isnLocal, a, now), g.TSOffset(isnLocal, a)
		},
		"IPv6": func() (Seq, uint32) { a := other("[2001:db8::1]:1"); return g.ISN(a, a, now), g.TSOffset(a, a) },
		"another secret": func() (Seq, uint32) {
			g := NewISNGenerator([16]byte{2})
			return g.ISN(isnLocal, isnRemote, now), g.TSOffset(isnLocal, isnRemote)
		},
		"the end of a secret": func() (Seq, uint32) {
			g := NewISNGenerator([16]byte{0: 1, 15: 1})
			return g.ISN(isnLocal, isnRemote, now), g.TSOffset(isnLocal, isnRemote)
		},
	} {
		isn, offset := f()
		if prev, ok := seen[isn]; ok {
			t.Errorf("%s and %s have the same ISN %d", name, prev, isn)
		}
		if prev, ok := offsets[offset]; ok {
			t.Errorf("%s and %s have the same timestamp offset %d", name, prev, offset)
		}
		if offset&1 != 0 {
			t.Errorf("%s: timestamp offset %d is odd", name, offset)
		}
		seen[isn], offsets[offset] = name, name
	}
	if isn := uint32(g.ISN(isnLocal, isnRemote, time.Unix(0, 0))); isn&^1 == g.TSOffset(isnLocal, isnRemote) {
		t.Error("the timestamp offset gives away the hash in the ISN")
	}
	again := NewISNGenerator([16]byte{1})
	if a, b := g.ISN(isnLocal, isnRemote, now), again.ISN(isnLocal, isnRemote, now); a != b {
		t.Errorf("the same secret and time give %d and %d", a, b)
	}
	if n := testing.AllocsPerRun(100, func() { g.ISN(isnLocal, isnRemote, now); g.TSOffset(isnLocal, isnRemote) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
