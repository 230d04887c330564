package rawtcp_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

func TestSeqWraps(t *testing.T) {
	const last rawtcp.Seq = 1<<32 - 1
	for _, test := range []struct {
		name      string
		got, want any
	}{
		{"add over the edge", last.Add(2), rawtcp.Seq(1)},
		{"subtract over the edge", rawtcp.Seq(1).Add(-2), last},
		{"distance over the edge", rawtcp.Seq(1).Sub(last), int32(2)},
		{"distance back", last.Sub(1), int32(-2)},
		{"last before 0", last.Less(0), true},
		{"0 not before last", rawtcp.Seq(0).Less(last), false},
		{"not before itself", rawtcp.Seq(5).Less(5), false},
		{"at most itself", rawtcp.Seq(5).LessEq(5), true},
		{"first of a window", last.InWindow(last, 1), true},
		{"in a window over the edge", rawtcp.Seq(3).InWindow(last, 5), true},
		{"after a window", rawtcp.Seq(4).InWindow(last, 5), false},
		{"before a window", (last - 1).InWindow(last, 5), false},
		{"window of nothing", last.InWindow(last, 0), false},
		{"window of almost all", rawtcp.Seq(9).InWindow(11, 1<<32-1), true},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, test.got, test.want)
		}
	}
}

// The oracle is arithmetic on 64 bits, where nothing wraps.
func TestSeqAgainstWideNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.Int64Range(0, 1<<40).Draw(t, "base")
		d := rapid.Int64Range(-1<<31+1, 1<<31-1).Draw(t, "distance")
		a, b := rawtcp.Seq(uint32(base)), rawtcp.Seq(uint32(base+d))
		if got := a.Add(int(d)); got != b {
			t.Fatalf("%d.Add(%d) = %d, want %d", a, d, got, b)
		}
		if got := b.Sub(a); int64(got) != d {
			t.Fatalf("%d.Sub(%d) = %d, want %d", b, a, got, d)
		}
		if a.Less(b) != (d > 0) || a.LessEq(b) != (d >= 0) || b.Less(a) != (d < 0) {
			t.Fatalf("order of %d and %d, %d apart, is wrong", a, b, d)
		}
		size := rapid.Uint32().Draw(t, "size")
		if got, want := b.InWindow(a, size), d >= 0 && d < int64(size) || d < 0 && d+1<<32 < int64(size); got != want {
			t.Fatalf("%d.InWindow(%d, %d) = %v, want %v", b, a, size, got, want)
		}
	})
}
