package punch

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestConsent(t *testing.T) {
	until := time.Unix(1_800_000_000, 0)
	for _, addr := range []string{"203.0.113.7", "2001:db8::7"} {
		c := Consent{Addr: netip.MustParseAddr(addr), SYNs: 129024, Rate: 20000, Until: until}
		token, err := c.Token()
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.Token()
		if err != nil || again == token {
			t.Errorf("two tokens are the same: %v", err)
		}
		got, err := ParseConsent(" " + token + "\n")
		if err != nil || got.Addr != c.Addr || got.SYNs != c.SYNs || got.Rate != c.Rate || !got.Until.Equal(until) {
			t.Errorf("read back %+v, %v", got, err)
		}
		for i := range token { // any one character that changes
			other := byte('A')
			if token[i] == other {
				other = 'B'
			}
			if _, err := ParseConsent(token[:i] + string(other) + token[i+1:]); !errors.Is(err, ErrConsent) {
				t.Errorf("%v: changed at %d: %v", addr, i, err)
			}
		}
	}
	for _, word := range []string{"", "spc1.", "spc1.AAAA", "spc2.AAAA", "yes"} {
		if _, err := ParseConsent(word); !errors.Is(err, ErrConsent) {
			t.Errorf("%q: %v", word, err)
		}
	}
	for _, c := range []Consent{
		{Addr: netip.MustParseAddr("255.255.255.255"), SYNs: 1, Rate: 1, Until: until},
		{Addr: netip.MustParseAddr("224.0.0.1"), SYNs: 1, Rate: 1, Until: until},
		{Addr: netip.MustParseAddr("0.0.0.0"), SYNs: 1, Rate: 1, Until: until},
		{SYNs: 1, Rate: 1, Until: until},
		{Addr: netip.MustParseAddr("203.0.113.7"), Rate: 1, Until: until},
		{Addr: netip.MustParseAddr("203.0.113.7"), SYNs: 1, Until: until},
		{Addr: netip.MustParseAddr("203.0.113.7"), SYNs: 1, Rate: 1},
	} {
		if token, err := c.Token(); !errors.Is(err, ErrConsent) {
			t.Errorf("%+v: %q, %v", c, token, err)
		}
	}
}

func TestConsentPermits(t *testing.T) {
	until := time.Unix(1_800_000_000, 0)
	c := Consent{Addr: netip.MustParseAddr("203.0.113.7"), SYNs: 1000, Rate: 100, Until: until}
	for _, w := range []struct {
		to         string
		syns, rate int
		at         time.Time
		says       string
	}{
		{"203.0.113.7", 1000, 100, until, ""},
		{"203.0.113.8", 1000, 100, until, "not for 203.0.113.8"},
		{"203.0.113.7", 1001, 100, until, "allows 1000 SYNs"},
		{"203.0.113.7", 1000, 101, until, "allows 100 SYNs a second"},
		{"203.0.113.7", 1000, 100, until.Add(1), "ended"},
	} {
		err := c.Permits(netip.MustParseAddr(w.to), w.syns, w.rate, w.at)
		if (w.says == "") != (err == nil) || err != nil && (!errors.Is(err, ErrConsent) || !strings.Contains(err.Error(), w.says)) {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

// token is one for tests.
func token(t *testing.T, addr string, syns, rate uint32) string {
	t.Helper()
	c := Consent{Addr: netip.MustParseAddr(addr), SYNs: syns, Rate: rate, Until: time.Unix(1_800_000_000, 0)}
	word, err := c.Token()
	if err != nil {
		t.Fatal(err)
	}
	return word
}
