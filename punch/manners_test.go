package punch

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// law is what each judgement of 256 SYNs saw.
type look struct{ resets, prohibited, unreachable int }

func TestBackOff(t *testing.T) {
	rep := func(n int, l look) []look {
		var list []look
		for range n {
			list = append(list, l)
		}
		return list
	}
	for _, c := range []struct {
		name  string
		rate  float64
		own   bool
		looks []look
		want  float64
		ends  error
		says  string
	}{
		{"silence", 8000, false, rep(50, look{}), 8000, nil, ""},
		{"a few resets", 8000, false, rep(50, look{resets: 31}), 8000, nil, ""},
		{"a reset for each SYN", 8000, false, rep(2, look{resets: 256}), 2000, nil, ""},
		{"... down to the default rate and no further", 8000, false, rep(50, look{resets: 256}), DefaultFanRate, nil, ""},
		{"... and never from below", 100, false, rep(50, look{resets: 256}), 100, nil, ""},
		{"... unless both ends are one's own", 8000, true, rep(50, look{resets: 256}), 8000, nil, ""},
		{"a few prohibitions", 8000, true, rep(50, look{prohibited: 7}), 8000, nil, ""},
		{"three prohibitions in a row", 8000, true, append(rep(3, look{prohibited: 100}), rep(50, look{})...), 1000, nil, ""},
		{"four", 8000, true, rep(4, look{prohibited: 100}), 500, ErrUnreachable, "not wanted"},
		{"four, not in a row", 8000, false, []look{{prohibited: 99}, {}, {prohibited: 99}, {}, {prohibited: 99}, {}, {prohibited: 99}}, 500, nil, ""},
		{"one hole in the net", 8000, false, []look{{unreachable: 200}, {}, {unreachable: 200}}, 8000, nil, ""},
		{"no room", 8000, true, rep(2, look{unreachable: 200}), 8000, ErrExhausted, "quota"},
	} {
		b := backOff{rate: c.rate, own: c.own}
		var sum answers
		var err error
		now := time.Unix(1_800_000_000, 0)
		sent := 0
		for _, l := range c.looks {
			if err != nil {
				t.Fatalf("%s: ended early: %v", c.name, err)
			}
			sent += judgeSYNs
			sum.resets += l.resets
			sum.prohibited += l.prohibited
			sum.unreachable += l.unreachable
			now = now.Add(time.Millisecond)
			if !b.due(now, sent) {
				t.Fatalf("%s: %d SYNs and no judgement", c.name, sent)
			}
			err = b.judge(now, sent, sum)
		}
		if b.rate != c.want || !errors.Is(err, c.ends) || (c.ends == nil) != (err == nil) {
			t.Errorf("%s: rate %v, want %v; %v", c.name, b.rate, c.want, err)
		}
		if err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAnswersFromICMP(t *testing.T) {
	router := netip.MustParseAddr("198.51.100.1")
	var a answers
	for _, e := range []rawtcp.ICMPError{
		{Type: 3, Code: 13}, {Type: 3, Code: 10}, {Type: 3, Code: 9}, {Type: 3, Code: 1}, {Type: 11},
		{V6: true, Type: 1, Code: 1}, {V6: true, Type: 1, Code: 3}, {V6: true, Type: 3},
	} {
		e.From = router
		a.addICMP(&e, 2)
	}
	if want := (answers{prohibited: 8, unreachable: 4, other: 4, from: router}); a != want || a.icmps() != 16 {
		t.Errorf("%+v, want %+v", a, want)
	}
}
