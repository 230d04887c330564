package capture

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"
)

// bulkFile is a pcapng of flows with data both ways, about a megabyte, snapped
// as people do.
func bulkFile(b *testing.B, flows, rounds int) []byte {
	b.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, Interface{Name: "eth0", Link: LinkRaw, Snaplen: 96})
	if err != nil {
		b.Fatal(err)
	}
	at := time.Duration(0)
	write := func(s shot, flow int) {
		at += 10 * time.Microsecond
		s.at = at
		p := s.packet(b)
		p.Data[20], p.Data[21] = p.Data[20]^byte(flow>>8), p.Data[21]^byte(flow)
		if s.from == EndB {
			p.Data[20], p.Data[21] = p.Data[20]^byte(flow>>8), p.Data[21]^byte(flow)
			p.Data[22], p.Data[23] = p.Data[22]^byte(flow>>8), p.Data[23]^byte(flow)
		}
		p.Data = p.Data[:min(96, len(p.Data))]
		if err := w.WritePacket(p); err != nil {
			b.Fatal(err)
		}
	}
	for f := range flows {
		for _, s := range open() {
			write(s, f)
		}
	}
	for r := range rounds {
		for f := range flows {
			write(shot{from: "a", flags: psh, seq: 101 + uint32(r)*1400, ack: 301, n: 1400}, f)
			write(shot{from: "b", flags: ack, seq: 301, ack: 101 + uint32(r+1)*1400}, f)
		}
	}
	return file.Bytes()
}

// What one packet of a file costs, from its bytes to the counts of its flow.
// tcpdump -r FILE -w /dev/null tcp is the yardstick for whole files.
func BenchmarkAnalyze(b *testing.B) {
	for _, flows := range []int{1, 1000} {
		b.Run(map[int]string{1: "one-flow", 1000: "1000-flows"}[flows], func(b *testing.B) {
			file := bulkFile(b, flows, 10000/flows)
			packets := int64(0)
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := NewReader(bytes.NewReader(file))
				if err != nil {
					b.Fatal(err)
				}
				_, sum, err := Analyze(r.Next, nil)
				if err != nil {
					b.Fatal(err)
				}
				packets += sum.Packets
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
		})
	}
}

// The same file only read, for comparison.
func BenchmarkReadOnly(b *testing.B) {
	file := bulkFile(b, 1, 10000)
	packets := 0
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			b.Fatal(err)
		}
		for {
			_, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			packets++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
}
