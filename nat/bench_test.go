package nat

import (
	"testing"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// What the simulator does with a NAT in one trial: ten packets of one connection, then a
// new NAT in the memory of the old one.
func BenchmarkTrial(b *testing.B) {
	for _, name := range []string{"eim", "linux", "random", "cgn", "rewriting"} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, preset(b, name))
			ext := w.syn(hostA, remote1)
			at := func(side Side, f rawtcp.Flags, seq, ack uint32) []byte {
				s := segment(hostA, remote1, f)
				if side == Outside {
					s = segment(remote1, ext, f)
				}
				s.Seq, s.Ack = rawtcp.Seq(seq), rawtcp.Seq(ack)
				if f&rawtcp.SYN != 0 {
					s.Options = rawtcp.Options{MSS: 1460, SACKPermitted: true, HasTimestamps: true, TSVal: 1, HasWScale: true, WScale: 7}
				}
				return bytesOf(b, s)
			}
			type packet struct {
				side Side
				data []byte
			}
			script := []packet{
				{Inside, at(Inside, rawtcp.SYN, 100, 0)}, {Outside, at(Outside, rawtcp.SYN, 500, 0)},
				{Inside, at(Inside, rawtcp.SYN|rawtcp.ACK, 100, 501)}, {Outside, at(Outside, rawtcp.SYN|rawtcp.ACK, 500, 101)},
				{Inside, at(Inside, rawtcp.ACK, 101, 501)}, {Outside, at(Outside, rawtcp.ACK, 501, 101)},
				{Inside, at(Inside, rawtcp.ACK, 101, 501)}, {Outside, at(Outside, rawtcp.ACK, 501, 101)},
				{Inside, at(Inside, rawtcp.FIN|rawtcp.ACK, 101, 501)}, {Outside, at(Outside, rawtcp.FIN|rawtcp.ACK, 501, 102)},
			}
			var buf [128]byte
			out := make([]Packet, 0, 4)
			now := w.now
			b.ReportAllocs()
			b.ResetTimer()
			start := time.Now()
			for i := range b.N {
				w.nat.Reset(7) // the seed that chose ext
				for _, p := range script {
					pkt := buf[:copy(buf[:], p.data)]
					if p.side == Inside {
						out = w.nat.Outbound(now, pkt, out[:0])
					} else {
						out = w.nat.Inbound(now, pkt, out[:0])
					}
					if len(out) != 1 && name != "rewriting" {
						b.Fatalf("trial %d: %v", i, w.nat.LastDrop())
					}
				}
			}
			b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(b.N*len(script)), "ns/packet")
		})
	}
}

// One more packet of an open connection.
func BenchmarkTranslate(b *testing.B) {
	for _, name := range []string{"eim", "linux"} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, preset(b, name))
			w.establish(hostA, remote1)
			s := segment(hostA, remote1, rawtcp.ACK)
			s.Seq, s.Ack = 101, 501
			data := bytesOf(b, s)
			var buf [64]byte
			out := make([]Packet, 0, 1)
			b.ReportAllocs()
			for b.Loop() {
				out = w.nat.Outbound(w.now, buf[:copy(buf[:], data)], out[:0])
			}
		})
	}
}

// A new mapping, in a NAT that has many.
func BenchmarkNewMapping(b *testing.B) {
	for _, name := range []string{"linux", "random", "sequential", "cgn"} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, preset(b, name))
			w.nat.b.Blocks, w.nat.b.HoldDown = 100, 0
			s := segment(hostA, remote1, rawtcp.SYN)
			data := bytesOf(b, s)
			var buf [64]byte
			out := make([]Packet, 0, 1)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				pkt := buf[:copy(buf[:], data)]
				var c change
				c.put16(pkt[20:], 0, uint16(1024+i%30000))
				c.patch(pkt[20:], tcpChecksum)
				out = w.nat.Outbound(w.now, pkt, out[:0])
				if i++; i%30000 == 0 {
					w.nat.Reset(uint64(i))
				}
				if len(out) != 1 {
					b.Fatal(w.nat.LastDrop())
				}
			}
		})
	}
}
