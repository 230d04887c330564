package capture

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// Environment of BenchmarkAnalyzeAgainstTcpdump.
const (
	benchBytes = "SYNPUNCH_BENCH_BYTES" // size of the file; default 64 MiB
	benchDir   = "SYNPUNCH_BENCH_DIR"   // where it is made; default the temporary directory
	benchChild = "SYNPUNCH_BENCH_CHILD" // in the child: the file to analyze
)

// mixedFile writes a pcap of many flows at once, each with a handshake, data both
// ways, and a close: snap bytes of each packet, 0 = all. It is the kind of file that
// tcpdump makes on a busy machine: Ethernet, microseconds.
func mixedFile(b *testing.B, name string, size int64, snap int) int64 {
	b.Helper()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	head := make([]byte, pcapHeaderLen)
	binary.LittleEndian.PutUint32(head, pcapMicro)
	binary.LittleEndian.PutUint16(head[4:], 2)
	binary.LittleEndian.PutUint16(head[6:], 4)
	binary.LittleEndian.PutUint32(head[16:], maxSnaplen)
	binary.LittleEndian.PutUint32(head[20:], uint32(LinkEthernet))
	w.Write(head)
	m := mixer{b: b, rng: rand.New(rand.NewPCG(1, 2)), w: w, snap: snap, at: testEpoch, packet: make([]byte, 0, 2048)}
	for i := range m.flows {
		m.begin(i)
	}
	packets := int64(0)
	for m.written < size {
		m.step(m.rng.IntN(len(m.flows)))
		packets++
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return packets
}

// mixer has the flows of a file under way.
type mixer struct {
	b       *testing.B
	rng     *rand.Rand
	w       *bufio.Writer
	snap    int
	at      time.Time
	flows   [1000]mixedFlow
	packet  []byte
	written int64
	born    uint32
}

// mixedFlow is one of them: rounds of two segments and an acknowledgment.
type mixedFlow struct {
	a, b       rawtcp.Segment
	step, last int
}

func (m *mixer) begin(i int) {
	m.born++
	f := &m.flows[i]
	*f = mixedFlow{last: 8 + m.rng.IntN(120)}
	ip := [4]byte{10, byte(m.born >> 16), byte(m.born >> 8), byte(m.born)}
	a, b := netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(1024+m.rng.IntN(60000))), testB
	options := rawtcp.Options{HasTimestamps: true, TSVal: m.rng.Uint32(), TSEcr: m.rng.Uint32()}
	f.a = rawtcp.Segment{Src: a, Dst: b, Seq: rawtcp.Seq(m.rng.Uint32()), Window: 500, TTL: 64, Options: options}
	f.b = rawtcp.Segment{Src: b, Dst: a, Seq: rawtcp.Seq(m.rng.Uint32()), Window: 500, TTL: 60, Options: options}
}

var mixedPayload = make([]byte, 1448)

// step writes the next packet of a flow.
func (m *mixer) step(i int) {
	f := &m.flows[i]
	s, o := &f.a, &f.b
	flags, n := ack, 0
	switch {
	case f.step == 0:
		flags, s.Options = syn, testSYN
	case f.step == 1:
		s, o, flags = o, s, synAck
		s.Options = testSYN
	case f.step == 2:
	case f.step == f.last:
		flags = fin
	case f.step == f.last+1:
		s, o, flags = o, s, fin
	case f.step == f.last+2:
	case f.step%3 == 2:
		s, o = o, s
	default:
		n = len(mixedPayload)
	}
	s.Flags, s.Ack, s.Payload = flags, o.Seq, mixedPayload[:n]
	s.ID++
	m.write(s)
	s.Seq = s.Seq.Add(int(s.Len()))
	s.Options = rawtcp.Options{HasTimestamps: true, TSVal: s.Options.TSVal + 1, TSEcr: o.Options.TSVal}
	if f.step++; f.step > f.last+2 {
		m.begin(i)
	}
}

func (m *mixer) write(s *rawtcp.Segment) {
	frame := append(m.packet[:0], 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0)
	frame, err := s.Append(frame)
	if err != nil {
		m.b.Fatal(err)
	}
	m.at = m.at.Add(10 * time.Microsecond)
	kept := frame
	if m.snap > 0 {
		kept = frame[:min(len(frame), m.snap)]
	}
	var record [pcapRecordLen]byte
	binary.LittleEndian.PutUint32(record[:], uint32(m.at.Unix()))
	binary.LittleEndian.PutUint32(record[4:], uint32(m.at.Nanosecond()/1000))
	binary.LittleEndian.PutUint32(record[8:], uint32(len(kept)))
	binary.LittleEndian.PutUint32(record[12:], uint32(len(frame)))
	m.w.Write(record[:])
	m.w.Write(kept)
	m.written += int64(len(record) + len(kept))
}

// TestAnalyzeChild is what the benchmark below measures, in a process of its own.
func TestAnalyzeChild(t *testing.T) {
	name := os.Getenv(benchChild)
	if name == "" {
		t.Skip("only in the child of BenchmarkAnalyzeAgainstTcpdump")
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	tls, sum, err := Analyze(r.Next, nil)
	if err != nil || sum.Malformed+sum.Cut+sum.Other > 0 || sum.Flows < len(tls) {
		t.Fatalf("%d flows, %+v, %v", len(tls), sum, err)
	}
}

// How fast a file is analyzed, against what 'tcpdump -r FILE -w /dev/null tcp' takes
// to read it, in alternation, and how much memory both take at most.
//
//	SYNPUNCH_BENCH_BYTES=1000000000 SYNPUNCH_BENCH_DIR=/dev/shm go test ./capture -run '^$' -bench AgainstTcpdump -benchtime 5x
func BenchmarkAnalyzeAgainstTcpdump(b *testing.B) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		b.Skip("tcpdump is not here (apt install tcpdump)")
	}
	size := int64(64 << 20)
	if s := os.Getenv(benchBytes); s != "" {
		if size, err = strconv.ParseInt(s, 10, 64); err != nil {
			b.Fatal(err)
		}
	}
	dir := os.Getenv(benchDir)
	if dir == "" {
		dir = b.TempDir()
	}
	for _, snap := range []int{0, 96} {
		b.Run(map[int]string{0: "whole", 96: "snapped"}[snap], func(b *testing.B) {
			name := filepath.Join(dir, "synpunch-bench.pcap")
			packets := mixedFile(b, name, size, snap)
			defer os.Remove(name)
			var ours, theirs, ratios []float64
			var rss, theirRSS int64
			for b.Loop() {
				cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^TestAnalyzeChild$")
				cmd.Env = append(os.Environ(), benchChild+"="+name)
				us, m := measure(b, cmd)
				rss = max(rss, m)
				them, m := measure(b, exec.CommandContext(context.Background(), tcpdump, "-r", name, "-w", os.DevNull, "tcp"))
				theirRSS = max(theirRSS, m)
				ours, theirs, ratios = append(ours, us.Seconds()), append(theirs, them.Seconds()), append(ratios, them.Seconds()/us.Seconds())
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			slices.Sort(ratios)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(size)/ours[len(ours)/2]/1e6, "MB/s")
			b.ReportMetric(float64(size)/theirs[len(theirs)/2]/1e6, "tcpdump-MB/s")
			b.ReportMetric(ours[len(ours)/2]*1e9/float64(packets), "ns/packet")
			b.ReportMetric(ratios[0], "ratio-min")
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
			b.ReportMetric(ratios[len(ratios)-1], "ratio-max")
			b.ReportMetric(float64(rss)/1024, "MiB-rss")
			b.ReportMetric(float64(theirRSS)/1024, "tcpdump-MiB-rss")
		})
	}
}

// measure runs a command: how long it took, and its largest memory in KiB.
func measure(b *testing.B, cmd *exec.Cmd) (time.Duration, int64) {
	b.Helper()
	cmd.Stdout = io.Discard
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%v: %v", cmd.Args, err)
	}
	return time.Since(start), maxRSS(cmd.ProcessState)
}
