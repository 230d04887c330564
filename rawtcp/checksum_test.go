package rawtcp

import (
	"testing"

	"pgregory.net/rapid"
)

// The oracle is a remainder: an Internet checksum is a sum modulo 2^16-1. Bytes
// of 0xff make every carry happen.
func TestChecksumCarries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom([]byte{0, 0xff}), rapid.Just[byte](0xff), rapid.Byte()), 0, 50).Draw(t, "bytes")
		start := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1<<64 - 1, 1<<64 - 2, 1<<32 - 1})).Draw(t, "start")
		want := start % 0xffff
		for i, c := range b {
			if i%2 == 0 {
				want += uint64(c) << 8
			} else {
				want += uint64(c)
			}
		}
		got := ^checksumFold(checksumAdd(start, b))
		if uint64(got)%0xffff != want%0xffff {
			t.Fatalf("%#x and % x: %#04x, want %#04x modulo 0xffff", start, b, got, want%0xffff)
		}
		// A sum of something is never 0: 0 and 0xffff are the same number, and
		// only the latter is what the receiver must find.
		if got == 0 && want != 0 {
			t.Fatalf("%#x and % x: sum 0", start, b)
		}
	})
}

func TestChecksumLastCarry(t *testing.T) {
	if got := checksumAdd(1<<64-1, []byte{0, 1}); got != 1 {
		t.Errorf("2^64-1 and 1 make %#x, want 1", got)
	}
}
