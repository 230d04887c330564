//go:build linux

package punch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/rawtcp"
)

// BenchmarkReport is what the report costs between the handshake and the caller's socket.
func BenchmarkReport(b *testing.B) {
	p := &Plan{Local: netip.MustParseAddrPort("10.0.1.2:40000"), Remote: netip.MustParseAddrPort("203.0.113.2:50000"), At: time.Unix(1, 0)}
	var log []record
	add := func(at time.Duration, out bool, flags rawtcp.Flags, seq, ack rawtcp.Seq) {
		s := rawtcp.Segment{Src: p.Remote, Dst: p.Local, Flags: flags, Seq: seq, Ack: ack, Window: 64240}
		r := record{time: p.At.Add(at), dir: capture.DirIn}
		if out {
			s.Src, s.Dst, r.dir = p.Local, p.Remote, capture.DirOut
		}
		pkt, err := s.Append(nil)
		if err != nil {
			b.Fatal(err)
		}
		r.n, r.wire = copy(r.head[:], pkt), len(pkt)
		log = append(log, r)
	}
	add(0, true, rawtcp.SYN, 100, 0)
	add(20*time.Millisecond, false, rawtcp.SYN, 500, 0)
	add(20*time.Millisecond, true, rawtcp.SYN|rawtcp.ACK, 100, 501)
	add(40*time.Millisecond, false, rawtcp.SYN|rawtcp.ACK, 500, 101)
	add(40*time.Millisecond, true, rawtcp.ACK, 101, 501)
	b.ReportAllocs()
	for b.Loop() {
		r := newReport(p)
		r.Outcome = Established
		r.describe(timeline(p, p.Remote, log))
		if r.Simultaneous == nil || !*r.Simultaneous {
			b.Fatal("not simultaneous")
		}
	}
}
