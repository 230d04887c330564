package rawtcp_test

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/synpunch/synpunch/rawtcp"
)

// A Linux host's SYN with every option: 60 bytes on IPv4.
func benchSYN(v6 bool) *rawtcp.Segment {
	s := &rawtcp.Segment{
		Src: netip.MustParseAddrPort("192.0.2.1:40000"), Dst: netip.MustParseAddrPort("198.51.100.7:443"),
		TTL: 64, ID: 4711, DF: true, Seq: 0x01020304, Flags: rawtcp.SYN, Window: 64240,
		Options: rawtcp.Options{MSS: 1460, SACKPermitted: true, HasTimestamps: true, TSVal: 1000, HasWScale: true, WScale: 7},
	}
	if v6 {
		s.Src, s.Dst = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8:1::7]:443")
		s.ID, s.DF = 0, false
	}
	return s
}

var families = []struct {
	name string
	v6   bool
}{{"ip4", false}, {"ip6", true}}

func BenchmarkAppendSYN(b *testing.B) {
	for _, f := range families {
		b.Run(f.name, func(b *testing.B) {
			s := benchSYN(f.v6)
			buf := make([]byte, 0, rawtcp.MaxHeader)
			b.ReportAllocs()
			for b.Loop() {
				s.Seq++
				if _, err := s.Append(buf[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseSYN(b *testing.B) {
	for _, f := range families {
		b.Run(f.name, func(b *testing.B) {
			pkt, err := benchSYN(f.v6).Append(nil)
			if err != nil {
				b.Fatal(err)
			}
			var s rawtcp.Segment
			b.ReportAllocs()
			for b.Loop() {
				if err := rawtcp.ParseInto(&s, pkt); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppendSYNGopacket is the same work through gopacket/layers with every
// buffer and layer reused: 'layers' with the options built beforehand, and
// 'segment' from a Segment each time, which is what Append would have to do.
func BenchmarkAppendSYNGopacket(b *testing.B) {
	for _, f := range families {
		b.Run(f.name+"/layers", func(b *testing.B) {
			w := newGopacketWriter(benchSYN(f.v6))
			b.ReportAllocs()
			for b.Loop() {
				w.tcp.Seq++
				if err := w.write(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(f.name+"/segment", func(b *testing.B) {
			s := benchSYN(f.v6)
			w := newGopacketWriter(s)
			var data [40]byte
			b.ReportAllocs()
			for b.Loop() {
				s.Seq++
				w.fill(s, &data)
				if err := w.write(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParseSYNGopacket is the same work through gopacket's reusing
// DecodingLayerParser: 'layers' stops there, 'segment' turns the result into a
// Segment as Parse would have to.
func BenchmarkParseSYNGopacket(b *testing.B) {
	for _, f := range families {
		for _, convert := range []bool{false, true} {
			name := f.name + "/layers"
			if convert {
				name = f.name + "/segment"
			}
			b.Run(name, func(b *testing.B) {
				pkt, err := benchSYN(f.v6).Append(nil)
				if err != nil {
					b.Fatal(err)
				}
				var ip4 layers.IPv4
				var ip6 layers.IPv6
				var tcp layers.TCP
				first := layers.LayerTypeIPv4
				if f.v6 {
					first = layers.LayerTypeIPv6
				}
				p := gopacket.NewDecodingLayerParser(first, &ip4, &ip6, &tcp)
				var decoded []gopacket.LayerType
				var s rawtcp.Segment
				b.ReportAllocs()
				for b.Loop() {
					if err := p.DecodeLayers(pkt, &decoded); err != nil {
						b.Fatal(err)
					}
					if convert {
						s = rawtcp.Segment{}
						if f.v6 {
							readIPv6(&s, &ip6, &tcp)
						} else {
							readIPv4(&s, &ip4, &tcp)
						}
						readTCP(&s, &tcp)
					}
				}
				if convert && s.Options != benchSYN(f.v6).Options {
					b.Fatalf("read %v", &s)
				}
			})
		}
	}
}

func BenchmarkISN(b *testing.B) {
	g := rawtcp.NewISNGenerator([16]byte{1})
	s := benchSYN(false)
	now := benchTime
	b.ReportAllocs()
	for b.Loop() {
		g.ISN(s.Src, s.Dst, now)
	}
}
