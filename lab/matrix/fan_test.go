package matrix_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab/matrix"
	"github.com/synpunch/synpunch/nat/odds"
)

// The textbook's table with many SYNs: its NO is left where both NATs give each port once and
// one sweep is all there is, and 'sometimes' is what it then is.
func TestTextbookWithManySYNs(t *testing.T) {
	kinds, err := matrix.ParseKinds("linux;eim-eif;apdm,filtering=adf;linux-random,ports=20000-20511;random,ports=20000-20511;random,filtering=adf;random,filtering=eif;strict")
	if err != nil {
		t.Fatal(err)
	}
	w, err := matrix.NewFan(&matrix.FanConfig{Budget: 1024, Rate: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	table, err := matrix.Run(t.Context(), w, &matrix.Config{Kinds: matrix.ByClass(kinds), Attempts: 100, Tries: 1, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range table.Groups() {
		want := matrix.Yes
		if g.A == matrix.Unpredictable && g.B == matrix.Unpredictable && g.Filter == matrix.ByPort {
			want = matrix.Sometimes
		}
		if g.Verdict != want {
			t.Errorf("%s: %s, want %s; a pair connected in %.0f to %.0f %%", g.Name(), g.Verdict, want, 100*g.Lowest, 100*g.Highest)
		}
	}
	at := func(a, b string) *matrix.Cell {
		i := slices.IndexFunc(table.Kinds, func(k matrix.Kind) bool { return k.Name == a })
		j := slices.IndexFunc(table.Kinds, func(k matrix.Kind) bool { return k.Name == b })
		return table.At(i, j)
	}
	const drawn, once = "linux-random,ports=20000-20511", "random,ports=20000-20511"
	for _, c := range []struct {
		a, b     string
		from, to float64
	}{{drawn, drawn, 0.9, 1}, {once, once, 0.45, 0.8}, {"strict", "strict", 0, 0}, {"linux", once, 0.95, 1}} {
		if s := at(c.a, c.b).Connected().Value(); s < c.from || s > c.to {
			t.Errorf("%s x %s: %.2f, want %.2f to %.2f", c.a, c.b, s, c.from, c.to)
		}
	}
	var text strings.Builder
	if err := table.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"up to 1,024 from each side, 10,000 a second", "B: U  YES   NO         YES, ", "sometimes"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}

func TestFanConfigs(t *testing.T) {
	for name, cfg := range map[string]*matrix.FanConfig{
		"budget": {Budget: -1}, "rate": {Rate: -1}, "delay": {Delay: new(-time.Second)},
	} {
		if _, err := matrix.NewFan(cfg); !errors.Is(err, odds.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w, err := matrix.NewFan(nil)
	if err != nil || w.Setup().Budget != 129_024 || w.Setup().Delay != matrix.DefaultDelay {
		t.Errorf("nil: %+v, %v", w.Setup(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	kinds, err := matrix.ParseKinds("linux,eim")
	if err != nil {
		t.Fatal(err)
	}
	if table, err := matrix.Run(ctx, w, &matrix.Config{Kinds: kinds}); !errors.Is(err, context.Canceled) || table.Done() != 0 {
		t.Errorf("ended: %v", err)
	}
}
