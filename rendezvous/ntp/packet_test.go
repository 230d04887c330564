package ntp_test

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rendezvous/ntp"
	"github.com/synpunch/synpunch/timing"
)

func TestTimestamp(t *testing.T) {
	for _, c := range []struct {
		at   string
		want ntp.Timestamp
	}{
		// RFC 5905, figure 4.
		{"1900-01-01T00:00:00Z", 0},
		{"1970-01-01T00:00:00Z", 2208988800 << 32},
		{"1972-01-01T00:00:00Z", 2272060800 << 32},
		{"1999-12-31T00:00:00Z", 3155587200 << 32},
		{"2036-02-07T06:28:14Z", 4294967294 << 32},
		{"2036-02-08T00:00:00Z", 63104 << 32}, // era 1
		{"2026-01-01T12:00:00.5Z", 3976257600<<32 | 1<<31},
	} {
		at, err := time.Parse(time.RFC3339Nano, c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := ntp.At(at); got != c.want {
			t.Errorf("%s: %d, want %d", c.at, got, c.want)
		}
		if back := c.want.Time(at.Add(-60 * 365 * 24 * time.Hour)); !back.Equal(at) {
			t.Errorf("%s: back %v", c.at, back)
		}
	}
}

func TestTimestampAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-2e9, 6e9).Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "ns"))
		near := at.Add(time.Duration(rapid.Int64Range(-60*365*86400, 60*365*86400).Draw(t, "off")) * time.Second)
		if back := ntp.At(at).Time(near); !back.Equal(at) {
			t.Fatalf("%v became %v", at, back)
		}
	})
}

// TestRootsAreBounds: what a packet carries is never less than what was put in.
func TestRootsAreBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, 65000e9).Draw(t, "ns"))
		var back ntp.Packet
		p := ntp.Packet{RootDelay: d, RootDispersion: d}
		if err := back.Parse(p.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if back.RootDelay < d || back.RootDelay > d+16*time.Microsecond || back.RootDispersion != back.RootDelay {
			t.Fatalf("%v became %v", d, back.RootDelay)
		}
	})
}

func FuzzPacket(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0x23}, 48))
	f.Add(bytes.Repeat([]byte{0xff}, 68))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p ntp.Packet
		if err := p.Parse(b); err != nil {
			if len(b) >= 48 {
				t.Fatal(err)
			}
			return
		}
		if got := p.Append(nil); !bytes.Equal(got, b[:48]) {
			t.Fatalf("%x became %x", b[:48], got)
		}
	})
}

// FuzzRespond: no packet gets a longer one for an answer, and no answer gets one.
func FuzzRespond(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0x23}, 48), true, uint8(0))
	f.Add(bytes.Repeat([]byte{0x16}, 48), false, uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, synchronised bool, stratum uint8) {
		var req ntp.Packet
		if req.Parse(b) != nil {
			return
		}
		now := time.Unix(1767225600, 0)
		st := ntp.StateFrom(timing.Clock{Synchronised: synchronised, MaxError: time.Millisecond}, now, stratum%16, 20)
		p, ok := ntp.Respond(&req, now, &st)
		if ok != (b[0]&7 == 3 && b[0]>>3&7 >= 1 && b[0]>>3&7 <= 4) {
			t.Fatalf("answered: %v", ok)
		}
		if !ok {
			return
		}
		p.Transmit = ntp.At(now)
		for _, p := range []ntp.Packet{p, ntp.Kiss(p)} {
			out := p.Append(nil)
			var again ntp.Packet
			if err := again.Parse(out); err != nil || len(out) > len(b) || again.Origin != req.Transmit {
				t.Fatalf("%x answers %x", out, b)
			}
			if _, ok := ntp.Respond(&again, now, &st); ok {
				t.Fatal("an answer is answered")
			}
		}
	})
}

func TestState(t *testing.T) {
	now := time.Unix(1767225600, 0)
	kept := timing.Clock{Synchronised: true, MaxError: 3 * time.Millisecond}
	announced := kept
	announced.Leap = "insert"
	coarse := kept
	coarse.MaxError = 16 * time.Second
	for name, c := range map[string]struct {
		clock   timing.Clock
		stratum uint8
		want    ntp.State
	}{
		"kept":             {kept, 0, ntp.State{Synchronised: true, Stratum: 10, Dispersion: 3500 * time.Microsecond}},
		"kept, named":      {kept, 3, ntp.State{Synchronised: true, Stratum: 3, Dispersion: 3500 * time.Microsecond}},
		"a leap second":    {announced, 0, ntp.State{Synchronised: true, Stratum: 10, Dispersion: 3500 * time.Microsecond, Leap: 1}},
		"not kept":         {timing.Clock{}, 0, ntp.State{Leap: 3}},
		"not kept, served": {timing.Clock{}, 12, ntp.State{Synchronised: true, Stratum: 12}},
		"not kept well":    {coarse, 0, ntp.State{Leap: 3}},
	} {
		got := ntp.StateFrom(c.clock, now, c.stratum, 20)
		if got.Synchronised {
			c.want.RefID, c.want.Reference = [4]byte{127, 127, 1, 1}, now
		}
		c.want.Precision = -20
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
