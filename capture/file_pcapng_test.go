package capture

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Timestamps of every resolution against exact arithmetic.
func TestInterfaceTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i := ngInterface{
			resol:  rapid.Byte().Draw(t, "resol"),
			offset: rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(-1<<40, 1<<40), rapid.Int64()).Draw(t, "offset"),
		}
		ts := rapid.Uint64().Draw(t, "ts")
		got := i.time(ts)

		unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(i.resol)), nil)
		if i.resol&0x80 != 0 {
			unit = new(big.Int).Lsh(big.NewInt(1), uint(i.resol&0x7f))
		}
		ns := new(big.Int).SetUint64(ts)
		ns.Mul(ns, big.NewInt(1e9)).Div(ns, unit)
		ns.Add(ns, new(big.Int).Mul(big.NewInt(i.offset), big.NewInt(1e9)))
		sec, frac := new(big.Int).DivMod(ns, big.NewInt(1e9), new(big.Int))
		year10000 := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
		year1 := time.Time{}.Unix()
		if sec.Cmp(big.NewInt(year10000)) >= 0 || sec.Cmp(big.NewInt(year1)) <= 0 {
			if !got.IsZero() {
				t.Fatalf("%s s is no time, got %v", sec, got)
			}
			return
		}
		if want := time.Unix(sec.Int64(), frac.Int64()); !got.Equal(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
