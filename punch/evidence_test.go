package punch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/rawtcp"
)

// TestEvidence makes reports from packets alone. A bare SYN that came before ours left and
// was not answered makes no simultaneous open at this end.
func TestEvidence(t *testing.T) {
	const ms = time.Millisecond
	at := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	plan := Plan{Local: netip.MustParseAddrPort("10.0.1.2:40000"), Remote: netip.MustParseAddrPort("203.0.113.2:50000"), At: at, Engine: Park}
	out := func(d time.Duration, f rawtcp.Flags, seq, ack rawtcp.Seq) capture.Packet {
		return packet(t, at.Add(d), rawtcp.Segment{Src: plan.Local, Dst: plan.Remote, Flags: f, Seq: seq, Ack: ack}, capture.DirOut)
	}
	in := func(d time.Duration, f rawtcp.Flags, seq, ack rawtcp.Seq) capture.Packet {
		return packet(t, at.Add(d), rawtcp.Segment{Src: plan.Remote, Dst: plan.Local, Flags: f, Seq: seq, Ack: ack}, capture.DirIn)
	}
	for _, tt := range []struct {
		name    string
		packets []capture.Packet
		want    bool
	}{
		{"crossed", []capture.Packet{out(0, rawtcp.SYN, 100, 0), in(20*ms, rawtcp.SYN, 500, 0), out(20*ms, rawtcp.SYN|rawtcp.ACK, 100, 501),
			in(40*ms, rawtcp.SYN|rawtcp.ACK, 500, 101), out(40*ms, rawtcp.ACK, 101, 501)}, true},
		{"early and unanswered", []capture.Packet{in(-10*ms, rawtcp.SYN, 500, 0), out(0, rawtcp.SYN, 100, 0),
			in(40*ms, rawtcp.SYN|rawtcp.ACK, 500, 101), out(40*ms, rawtcp.ACK, 101, 501)}, false},
		{"early and answered", []capture.Packet{in(-10*ms, rawtcp.SYN, 500, 0), out(0, rawtcp.SYN, 100, 0), out(0, rawtcp.SYN|rawtcp.ACK, 100, 501),
			in(40*ms, rawtcp.SYN|rawtcp.ACK, 500, 101), out(40*ms, rawtcp.ACK, 101, 501)}, true},
		{"ordinary", []capture.Packet{out(0, rawtcp.SYN, 100, 0), in(40*ms, rawtcp.SYN|rawtcp.ACK, 500, 101), out(40*ms, rawtcp.ACK, 101, 501)}, false},
		{"a second socket", []capture.Packet{out(0, rawtcp.SYN, 100, 0), in(10*ms, rawtcp.SYN, 500, 0), out(10*ms, rawtcp.SYN|rawtcp.ACK, 100, 501),
			in(30*ms, rawtcp.RST, 501, 0), out(30*ms, rawtcp.SYN, 9000, 0),
			in(70*ms, rawtcp.SYN|rawtcp.ACK, 700, 9001), out(70*ms, rawtcp.ACK, 9001, 701)}, false},
	} {
		e := Evidence{Outcome: Established, Resends: 3, Packets: tt.packets, Notes: []string{"made up"}}
		r := e.Report(plan)
		if r.Simultaneous == nil || *r.Simultaneous != tt.want {
			t.Errorf("%s: simultaneous %v", tt.name, r.Simultaneous)
		}
		if r.Outcome != Established || r.Engine != Park || r.Strategy != Cross || r.Resends != 3 || len(r.Events) != len(tt.packets) ||
			r.Sent == nil || !r.Sent.Equal(at) || r.Established == nil || r.HandoffNS != nil || r.Capture != nil || len(r.Notes) != 1 {
			t.Errorf("%s: %+v", tt.name, r)
		}
	}
	if r := (&Evidence{Outcome: Timeout, Error: "nothing came"}).Report(plan); r.Outcome != Timeout || r.Events == nil || r.Simultaneous != nil || r.Sent != nil {
		t.Errorf("without packets: %+v", r)
	}
}

func packet(t *testing.T, at time.Time, s rawtcp.Segment, dir capture.Direction) capture.Packet {
	t.Helper()
	b, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return capture.Packet{Time: at, Data: b, Len: len(b), Link: capture.LinkRaw, Dir: dir}
}
