package rawtcp

import (
	"bytes"
	"testing"
)

// BenchmarkTemplate is what a SYN of a shuffled fan costs before it is given to the
// kernel: the flow, its ISN, and what is written into the packet.
func BenchmarkTemplate(b *testing.B) {
	cfg := fanConfig(0, 1, PortRange{40000, 40001}, PortRange{1024, 65535})
	f, err := NewFan(cfg)
	if err != nil {
		b.Fatal(err)
	}
	t, err := newSYNTemplate(f, make([]byte, 14))
	if err != nil {
		b.Fatal(err)
	}
	pkt := bytes.Clone(t.pkt)
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		l, r := f.flow(i)
		t.write(pkt, l, r, f.isn(l, r), 7)
		i++
	}
}

// BenchmarkPermutation is the next of 129,024 numbers.
func BenchmarkPermutation(b *testing.B) {
	p := NewPermutation(129_024, [16]byte{1})
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		p.At(i)
		i = (i + 1) % p.Len()
	}
}
