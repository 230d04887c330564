package rawtcp

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestHandshakeConfig(t *testing.T) {
	good := HandshakeConfig{Local: endpointA, Remote: endpointB, ISN: 1}
	port := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	for _, tc := range []struct {
		name string
		edit func(*HandshakeConfig)
		want string // in the error; "" for none
	}{
		{"defaults", func(c *HandshakeConfig) {}, ""},
		{"everything", func(c *HandshakeConfig) {
			*c = HandshakeConfig{Local: port("[::1]:1"), Remote: port("[::1]:2"), ISN: 0xfffffffe, MSS: 1, WScale: 14, Window: 1, TTL: 1,
				RTO: time.Millisecond, MaxRTO: time.Millisecond, Timeout: time.Millisecond, OnReset: PolicyIgnore, OnICMP: PolicyFail, Retries: -1, Early: true}
		}, ""},
		{"no local", func(c *HandshakeConfig) { c.Local = netip.AddrPort{} }, "local endpoint"},
		{"no local port", func(c *HandshakeConfig) { c.Local = port("192.0.2.1:0") }, "local endpoint"},
		{"no remote", func(c *HandshakeConfig) { c.Remote = netip.AddrPort{} }, "remote endpoint"},
		{"no remote port", func(c *HandshakeConfig) { c.Remote = port("192.0.2.1:0") }, "remote endpoint"},
		{"families mixed", func(c *HandshakeConfig) { c.Remote = port("[2001:db8::1]:7") }, "two address families"},
		{"mapped", func(c *HandshakeConfig) { c.Remote = port("[::ffff:192.0.2.9]:7") }, "Unmap"},
		{"to itself", func(c *HandshakeConfig) { c.Remote = c.Local }, "the same"},
		{"ISN 0", func(c *HandshakeConfig) { c.ISN = 0 }, "ISN 0"},
		{"ISN before 0", func(c *HandshakeConfig) { c.ISN = 0xffffffff }, "ISN 4294967295"},
		{"shift", func(c *HandshakeConfig) { c.WScale = 15 }, "window shift 15"},
		{"RTO", func(c *HandshakeConfig) { c.RTO = -1 }, "negative"},
		{"MaxRTO", func(c *HandshakeConfig) { c.MaxRTO = -1 }, "negative"},
		{"timeout", func(c *HandshakeConfig) { c.Timeout = -1 }, "negative"},
		{"OnReset", func(c *HandshakeConfig) { c.OnReset = 9 }, "Policy(9)"},
		{"OnICMP", func(c *HandshakeConfig) { c.OnICMP = 3 }, "Policy(3)"},
	} {
		cfg := good
		tc.edit(&cfg)
		h, err := NewHandshake(cfg)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "rawtcp: ")):
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		case err != nil && h != nil:
			t.Errorf("%s: a Handshake with an error", tc.name)
		}
	}
}

func TestHandshakeNames(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{Closed.String(), "CLOSED"}, {SynSent.String(), "SYN-SENT"}, {SynReceived.String(), "SYN-RECEIVED"},
		{Established.String(), "ESTABLISHED"}, {Failed.String(), "FAILED"}, {State(9).String(), "State(9)"},
		{PolicyRetry.String(), "retry"}, {PolicyFail.String(), "fail"}, {PolicyIgnore.String(), "ignore"}, {Policy(9).String(), "Policy(9)"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

// TestHandshakeLifetime: what the methods do outside their time.
func TestHandshakeLifetime(t *testing.T) {
	h, _, err := pair(HandshakeConfig{TSBase: 5}, HandshakeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	synACK := Segment{Src: endpointB, Dst: endpointA, Flags: SYN | ACK, Seq: 7, Ack: 1001}
	if out := h.Receive(testEpoch, &synACK, nil); len(out) != 0 || h.State() != Closed {
		t.Errorf("before Start: %v, %v", out, h.State())
	}
	if out := h.Tick(testEpoch, nil); len(out) != 0 {
		t.Errorf("before Start: Tick sent %v", out)
	}
	if _, ok := h.Deadline(); ok {
		t.Error("before Start: a deadline")
	}
	tr := h.Transfer(testEpoch)
	if tr.ISN != 1000 || tr.SndNxt != 1000 || tr.RcvNxt != 0 || tr.TSVal != 6 {
		t.Errorf("before Start: %+v", tr)
	}
	syn := h.SYN()
	out := h.Start(testEpoch, nil)
	if len(out) != 1 || out[0].String() != syn.String() {
		t.Errorf("SYN() is %v, Start sent %v", syn.String(), out)
	}
	if out := h.Start(testEpoch, nil); len(out) != 0 {
		t.Errorf("second Start sent %v", out)
	}
	if out := h.Tick(testEpoch, nil); len(out) != 0 {
		t.Errorf("early Tick sent %v", out)
	}
	at, ok := h.Deadline()
	if !ok || at.Sub(testEpoch) != time.Second {
		t.Errorf("deadline %v, %v", at, ok)
	}
	h.Receive(testEpoch, &synACK, nil)
	if _, ok := h.Deadline(); ok || h.State() != Established {
		t.Errorf("a deadline in %v", h.State())
	}
	if err := h.Reset(HandshakeConfig{}); err == nil || h.State() != Established {
		t.Errorf("Reset to nonsense: %v, %v", err, h.State())
	}
	if err := h.Reset(HandshakeConfig{Local: endpointB, Remote: endpointA, ISN: 5}); err != nil || h.State() != Closed || h.Counters() != (Counters{}) {
		t.Errorf("Reset: %v, %v, %+v", err, h.State(), h.Counters())
	}
	h.Abort(testEpoch, nil)
	if out := h.Start(testEpoch, nil); len(out) != 0 {
		t.Errorf("Start after Abort sent %v", out)
	}
}

// TestClockSteps: TSval and the timers survive a clock that steps.
func TestClockSteps(t *testing.T) {
	h, _, err := pair(HandshakeConfig{TSBase: 1000}, HandshakeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	now := testEpoch
	out := h.Start(now, nil)
	out = h.Tick(now.Add(1500*time.Millisecond), out[:0])
	if len(out) != 1 || out[0].Options.TSVal != 2500 {
		t.Fatalf("sent %v", out)
	}
	back := now.Add(-time.Hour)
	syn := Segment{Src: endpointB, Dst: endpointA, Flags: SYN, Seq: 7, Options: Options{HasTimestamps: true, TSVal: 9}}
	out = h.Receive(back, &syn, out[:0])
	if len(out) != 1 || out[0].Options.TSVal != 2500 {
		t.Fatalf("an hour back: sent %v", out)
	}
	if tr := h.Transfer(back); tr.TSVal != 2500 {
		t.Errorf("an hour back: Transfer.TSVal %d", tr.TSVal)
	}
	out = h.Tick(now.Add(time.Hour), out[:0])
	if h.State() != Failed || len(out) != 1 || out[0].Flags != RST {
		t.Errorf("an hour on: %v, sent %v", h.State(), out)
	}
}

// crossing opens a connection between two Handshakes and returns how many
// segments that took.
func crossing(a, b *Handshake, fromA, fromB, next []Segment) int {
	now := testEpoch
	fromA, fromB = a.Start(now, fromA[:0]), b.Start(now, fromB[:0])
	n := 0
	for len(fromA)+len(fromB) > 0 {
		n += len(fromA) + len(fromB)
		now = now.Add(20 * time.Millisecond)
		next = next[:0]
		for i := range fromB {
			next = a.Receive(now, &fromB[i], next)
		}
		fromB = fromB[:0]
		for i := range fromA {
			fromB = b.Receive(now, &fromA[i], fromB)
		}
		fromA, next = next, fromA
	}
	return n
}

func TestHandshakeAllocations(t *testing.T) {
	a, b, err := pair(HandshakeConfig{}, HandshakeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ca, cb := a.cfg, b.cfg
	buf := make([]Segment, 12)
	allocs := testing.AllocsPerRun(100, func() {
		if a.Reset(ca) != nil || b.Reset(cb) != nil || crossing(a, b, buf[0:0:4], buf[4:4:8], buf[8:8:12]) != 6 {
			t.Fatal("no crossing")
		}
	})
	if allocs != 0 || a.State() != Established || b.State() != Established {
		t.Errorf("%v allocations, %v and %v", allocs, a.State(), b.State())
	}
}

// BenchmarkHandshake is two machines and a whole crossing: two SYNs, two
// SYN-ACKs, two ACKs.
func BenchmarkHandshake(b *testing.B) {
	ca := HandshakeConfig{Local: endpointA, Remote: endpointB, ISN: 1000}
	cb := HandshakeConfig{Local: endpointB, Remote: endpointA, ISN: 9000}
	buf := make([]Segment, 12)
	run := func(b *testing.B, x, y *Handshake) {
		if crossing(x, y, buf[0:0:4], buf[4:4:8], buf[8:8:12]) != 6 || x.State() != Established || y.State() != Established {
			b.Fatal("no crossing")
		}
	}
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x, err := NewHandshake(ca)
			if err != nil {
				b.Fatal(err)
			}
			y, err := NewHandshake(cb)
			if err != nil {
				b.Fatal(err)
			}
			run(b, x, y)
		}
	})
	b.Run("reset", func(b *testing.B) {
		b.ReportAllocs()
		x, y := new(Handshake), new(Handshake)
		for b.Loop() {
			if err := x.Reset(ca); err != nil {
				b.Fatal(err)
			}
			if err := y.Reset(cb); err != nil {
				b.Fatal(err)
			}
			run(b, x, y)
		}
	})
}
