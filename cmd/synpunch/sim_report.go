package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// simWitness keeps a trial and the packets that its hosts saw, for a report like
// that of a live attempt.
type simWitness struct {
	n       int
	mu      sync.Mutex // packets come on another goroutine
	packets [2][]capture.Packet
	found   bool
	flow    sim.Flow
	sent    [2]time.Duration
}

func (w *simWitness) packet(p sim.Packet) {
	if p.Lane != sim.LaneA && p.Lane != sim.LaneB {
		return
	}
	dir := capture.DirIn
	if p.Out {
		dir = capture.DirOut
	}
	side := 0
	if p.Lane == sim.LaneB {
		side = 1
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.packets[side] = append(w.packets[side], capture.Packet{Time: p.Time, Data: bytes.Clone(p.Data), Len: len(p.Data), Link: capture.LinkRaw, Dir: dir})
}

func (w *simWitness) trial(t *sim.Trial) {
	if t.N == w.n {
		w.found, w.flow, w.sent = true, t.Flow, t.Sent
	}
}

// write writes the object that 'demo --json' prints.
func (w *simWitness) write(path, captured string, cfg *sim.Config) error {
	if !w.found {
		return fmt.Errorf("the run ended before trial %d", w.n)
	}
	f := &w.flow
	res := &demoResult{
		Version: 1, Outcome: punch.Outcome(f.Outcome()), Scenario: newSimScenario(cfg),
		A: w.report(0, &f.A, &cfg.A), B: w.report(1, &f.B, &cfg.B), Captures: []string{},
		Notes: []string{fmt.Sprintf("simulated: trial %d of seed %d, in virtual time; no data was sent", w.n, cfg.Seed)},
	}
	if captured != "" {
		res.Captures = append(res.Captures, captured)
	}
	if m := &f.Meeting; f.Met {
		res.Crossed = m.Crossed
		skew, margin := m.Skew.Nanoseconds(), m.Margin.Nanoseconds()
		res.SkewNS = &skew
		if !m.A.Arrived.IsZero() && !m.B.Arrived.IsZero() {
			res.MarginNS = &margin
		}
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(file)
	enc.SetIndent("", "  ")
	err = enc.Encode(res)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	return err
}

// report is the report of one side.
func (w *simWitness) report(side int, e *sim.End, s *sim.Side) *punch.Report {
	plan := punch.Plan{Local: e.Local, Remote: e.Remote, At: sim.Epoch.Add(w.sent[side]), Engine: punch.Engine(s.Engine), Strategy: punch.Strategy(s.Strategy), TTL: s.TTL}
	ev := punch.Evidence{Outcome: punch.Outcome(e.Outcome), Resends: e.Resends, Host: punch.Host{OS: "simulated", Version: version()}}
	if s.Engine == sim.ConnectOld {
		plan.Engine = punch.Connect
		ev.Notes = append(ev.Notes, "the host is a Linux from before mid-2024")
	}
	if e.Outcome != sim.Established {
		ev.Error = string(e.Outcome)
	}
	for _, p := range w.packets[side] {
		if ofFlow(p.Data, e) {
			ev.Packets = append(ev.Packets, p)
		}
	}
	return ev.Report(plan)
}

// ofFlow reports whether a packet is of the flow of an end, or an ICMP error about it.
func ofFlow(data []byte, e *sim.End) bool {
	if s, err := rawtcp.Parse(data); err == nil {
		return s.Src == e.Local && s.Dst == e.Remote || s.Src == e.Remote && s.Dst == e.Local
	}
	icmp, err := rawtcp.ParseICMP(data)
	return err == nil && icmp.Src == e.Local && icmp.Dst == e.Remote
}
