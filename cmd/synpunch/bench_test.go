package main

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// benchLead is leadTime for a quiet machine.
const benchLead = 250 * time.Millisecond

// samples collects one figure of many trials.
type samples []time.Duration

func (s samples) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Clone(s)
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// report prints the median and the 99th percentile in microseconds.
func (s samples) report(b *testing.B, name string) {
	if len(s) == 0 {
		return
	}
	b.ReportMetric(float64(s.quantile(0.5))/1e3, name+"-p50-µs")
	b.ReportMetric(float64(s.quantile(0.99))/1e3, name+"-p99-µs")
}

// arm is one way to punch, compared with others in the same run.
type arm struct {
	name             string
	side             live.Side
	send, reaction   samples
	overhead         samples // time to established minus twice the one-way delay
	handoff, meeting samples
	firstByte        samples // at the peer, after the instant
	firstSent        samples // the same as it leaves the host
	crossed, up, n   int
	outliers         []string
}

func (a *arm) add(b *testing.B, l *live.Lab, tr *live.Trial, r *live.TrialResult, delay time.Duration) {
	a.n++
	if r.Connected(tr.Bytes) {
		a.up++
	}
	simultaneous := true
	for _, s := range []*live.SideResult{&r.A, &r.B} {
		if s.Report == nil || s.Report.SendErrorNS == nil {
			b.Logf("%s: no report: %v", a.name, s.Err)
			simultaneous = false
			continue
		}
		rep := s.Report
		simultaneous = simultaneous && rep.Simultaneous != nil && *rep.Simultaneous
		late := time.Duration(*rep.SendErrorNS).Abs()
		if late > onTime {
			a.outliers = append(a.outliers, fmt.Sprintf("trial %d: sent %v late; notes %q", a.n, late, rep.Notes))
		}
		a.send = append(a.send, late)
		if rep.Established != nil {
			a.overhead = append(a.overhead, time.Duration(*rep.Established)-2*delay)
		}
		if rep.HandoffNS != nil {
			a.handoff = append(a.handoff, time.Duration(*rep.HandoffNS))
		}
		if d, ok := reaction(rep); ok {
			a.reaction = append(a.reaction, d)
		}
		if d, ok := firstByte(s, capture.DirIn, r.At); ok {
			a.firstByte = append(a.firstByte, d)
		}
		if d, ok := firstByte(s, capture.DirOut, r.At); ok {
			a.firstSent = append(a.firstSent, d)
		}
	}
	if m := r.Meeting; m != nil && m.Crossed {
		if simultaneous {
			a.crossed++
		}
		if !m.Time.IsZero() {
			a.meeting = append(a.meeting, m.Time.Sub(r.At.Add((delay+tr.Skew)/2)).Abs())
		}
	}
}

// reaction is the time from the peer's SYN to our SYN-ACK, by the kernel's stamps.
func reaction(r *punch.Report) (time.Duration, bool) {
	var syn time.Time
	for _, e := range r.Events {
		switch {
		case e.From == capture.EndB && e.Flags == rawtcp.SYN:
			syn = e.Time
		case e.From == capture.EndA && e.Flags == rawtcp.SYN|rawtcp.ACK && !syn.IsZero():
			return e.Time.Sub(syn), true
		}
	}
	return 0, false
}

// firstByte is when the first data passed a side in a direction, after the instant.
func firstByte(s *live.SideResult, dir capture.Direction, at time.Time) (time.Duration, bool) {
	if s.Capture == "" {
		return 0, false
	}
	f, err := os.Open(s.Capture)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	rd, err := capture.NewReader(f)
	if err != nil {
		return 0, false
	}
	for {
		p, err := rd.Next()
		if err != nil {
			return 0, false
		}
		if seg, err := rawtcp.Parse(p.Data); err == nil && p.Dir == dir && seg.PayloadLen > 0 {
			return p.Time.Sub(at), true
		}
	}
}

// memoryDir is a directory in memory where there is one: renaming a report on a disk can
// take a second, and the next trial starts late.
func memoryDir(b *testing.B) string {
	dir, err := os.MkdirTemp("/dev/shm", "synpunch")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// compare runs the arms in turn, b.N times each, in one lab.
func compare(b *testing.B, s lab.Scenario, skew time.Duration, bytes int64, withCapture bool, arms []*arm) {
	command := commandHere(b, "punch")
	l := buildLab(b, s)
	dir := memoryDir(b)
	delay := s.Link.Delay
	port := uint16(20000)
	for b.Loop() {
		for _, a := range arms {
			port++
			if port > 60000 {
				port = 20000
			}
			sideA, sideB := a.side, a.side
			sideA.Port, sideB.Port = port, port
			tr := &live.Trial{Command: command, Dir: dir, At: time.Now().Add(benchLead), Skew: skew, Bytes: bytes, Capture: withCapture, A: sideA, B: sideB}
			if err := l.ResetCount(); err != nil {
				b.Fatal(err)
			}
			r, err := tr.Run(b.Context(), l)
			if err != nil {
				b.Fatal(err)
			}
			a.add(b, l, tr, r, delay)
		}
	}
	for _, a := range arms {
		b.Run(a.name, func(b *testing.B) {
			for range b.N {
				// The trials of all arms were made in turn above.
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(a.n), "trials")
			b.ReportMetric(float64(a.up)/float64(a.n), "connected")
			b.ReportMetric(float64(a.crossed)/float64(a.n), "crossed")
			a.send.report(b, "send-error")
			a.reaction.report(b, "reaction")
			a.meeting.report(b, "meeting-error")
			a.overhead.report(b, "overhead")
			a.handoff.report(b, "handoff")
			a.firstByte.report(b, "first-byte")
			a.firstSent.report(b, "first-sent")
			for _, line := range a.outliers {
				b.Log(line)
			}
		})
	}
}

// engineArms are a pair of each engine, and one of repair with SCHED_FIFO.
func engineArms() []*arm {
	arms := []*arm{{name: "repair-rt", side: live.Side{Engine: punch.Repair, Args: []string{"--rt"}}}}
	for _, e := range punch.Engines() {
		arms = append(arms, &arm{name: string(e), side: live.Side{Engine: e}})
	}
	return arms
}

// BenchmarkPunch compares the engines over 20 ms each way. A pair of 'connect'
// is a pair of stock kernels. Meeting-error is where the SYNs met on the link,
// in time, against where they were to meet, the middle.
//
// At the same instant both hosts and both directions of the link want a
// processor at the same moments. Apart, B is 5 ms late, so that on two
// processors one host's answer and handoff do not wait for the other's.
func BenchmarkPunch(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	for _, c := range []struct {
		name string
		skew time.Duration
	}{{"together", 0}, {"apart", 5 * time.Millisecond}} {
		b.Run(c.name, func(b *testing.B) {
			compare(b, pair(lab.NATLinux, lab.NATLinux), c.skew, 1<<10, false, engineArms())
		})
	}
}

// BenchmarkCrossingAtZeroDelay counts true crossings where the window is some
// ±10 µs wide: both NATs on one wire, no delay.
func BenchmarkCrossingAtZeroDelay(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	s := pair(lab.NATLinux, lab.NATLinux)
	s.Link.Delay = 0
	compare(b, s, 0, 1<<10, false, engineArms())
}

// BenchmarkEarly is when the caller's first byte reaches the peer: with a
// handoff in SYN-RECEIVED after two one-way delays, otherwise after three.
func BenchmarkEarly(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	for _, kind := range []string{lab.NATLinux, lab.NATLinuxRST, lab.NATLinuxICMP, lab.NATLinuxEIM, lab.NATLinuxAPDF, lab.NATNone, lab.NATFirewall} {
		b.Run(kind, func(b *testing.B) {
			compare(b, pair(kind, kind), 0, 1<<10, true, []*arm{
				{name: "early", side: live.Side{Engine: punch.Repair, Args: []string{"--early"}}},
				{name: "repair", side: live.Side{Engine: punch.Repair}},
				{name: "stock", side: live.Side{Engine: punch.Connect}},
			})
		})
	}
}
