package main

import (
	"os"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// TestBulk sends 256 MiB each way over a flow that repair has handed off. All
// of it arrives, nothing is retransmitted in the opening or by the handoff, and
// the timestamps go on as one clock from the raw SYN to the last segment.
func TestBulk(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	bytes := int64(256 << 20)
	if testing.Short() {
		bytes = 16 << 20
	}
	l := buildLab(t, pair(lab.NATLinux, lab.NATLinux))
	side := live.Side{Engine: punch.Repair, Port: 40000}
	start := time.Now()
	r, err := runTrial(t, l, live.Trial{Bytes: bytes, Capture: true, A: side, B: side}, commandHere(t, "punch"))
	if err != nil {
		t.Fatal(err)
	}
	connected(t, "bulk", r, bytes)
	t.Logf("%d MiB each way in %v", bytes>>20, time.Since(start).Round(time.Millisecond))
	for _, s := range []*live.SideResult{&r.A, &r.B} {
		checkBulk(t, s, bytes)
	}
}

// checkBulk reads the capture of one end.
func checkBulk(t *testing.T, s *live.SideResult, bytes int64) {
	t.Helper()
	f, err := os.Open(s.Capture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rd, err := capture.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var first, last rawtcp.Segment
	var firstAt, lastAt time.Time
	tls, _, err := capture.Analyze(func() (capture.Packet, error) {
		p, err := rd.Next()
		if err != nil {
			return p, err
		}
		if seg, err := rawtcp.Parse(p.Data); err == nil && p.Dir == capture.DirOut && seg.Options.HasTimestamps {
			if firstAt.IsZero() {
				first, firstAt = seg, p.Time
			} else if back := int32(seg.Options.TSVal - last.Options.TSVal); back < 0 {
				t.Errorf("TSval ran back by %d ms at %v", -back, p.Time.Sub(firstAt))
			}
			last, lastAt = seg, p.Time
		}
		return p, err
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(tls) != 1 {
		t.Fatalf("%d flows in the capture, want 1", len(tls))
	}
	tl := tls[0]
	if tl.A.Sent != bytes || tl.B.Sent != bytes { // the last ACKs may come after the process has ended
		t.Errorf("%d and %d bytes in the capture, want %d", tl.A.Sent, tl.B.Sent, bytes)
	}
	if n := tl.A.SYNs + tl.A.SYNACKs + tl.B.SYNs + tl.B.SYNACKs; n != 4 {
		t.Errorf("%d SYNs and SYN-ACKs, want 4", n)
	}
	for _, e := range tl.Events {
		if e.Retransmission && e.Time.Sub(tl.Start) < 300*time.Millisecond {
			t.Errorf("retransmission %v after the SYN: %v seq %d len %d", e.Time.Sub(tl.Start), e.Flags, e.RelSeq, e.Len)
		}
	}
	// One unit from the raw SYN to the kernel's last segment: milliseconds.
	ticks, ms := float64(last.Options.TSVal-first.Options.TSVal), float64(lastAt.Sub(firstAt).Milliseconds())
	if ms > 500 && (ticks < 0.9*ms || ticks > 1.1*ms) {
		t.Errorf("TSval moved by %.0f in %.0f ms", ticks, ms)
	}
}
