package capture_test

import (
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/rawtcp"
)

// Two SYNs cross, as the host of a sees it: what a Reader or a Live gives is
// made by hand here.
func ExampleAnalyze() {
	a, b := netip.MustParseAddrPort("192.0.2.1:4000"), netip.MustParseAddrPort("198.51.100.2:5000")
	start := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	const synAck = rawtcp.SYN | rawtcp.ACK
	packets := []struct {
		at       time.Duration
		src, dst netip.AddrPort
		flags    rawtcp.Flags
		seq, ack rawtcp.Seq
	}{
		{0, a, b, rawtcp.SYN, 100, 0},
		{12 * time.Millisecond, b, a, rawtcp.SYN, 700, 0},
		{12050 * time.Microsecond, a, b, synAck, 100, 701},
		{40 * time.Millisecond, b, a, synAck, 700, 101},
	}
	next := func() (capture.Packet, error) {
		if len(packets) == 0 {
			return capture.Packet{}, io.EOF
		}
		p := packets[0]
		packets = packets[1:]
		s := rawtcp.Segment{Src: p.src, Dst: p.dst, Flags: p.flags, Seq: p.seq, Ack: p.ack, Options: rawtcp.Options{MSS: 1460}}
		data, err := s.Append(nil)
		dir := capture.DirIn
		if p.src == a {
			dir = capture.DirOut
		}
		return capture.Packet{Time: start.Add(p.at), Data: data, Len: len(data), Link: capture.LinkRaw, Dir: dir}, err
	}

	timelines, _, err := capture.Analyze(next, nil)
	if err != nil {
		log.Fatal(err)
	}
	tl := timelines[0]
	fmt.Println(tl.Verdict, tl.Crossing.Regime, tl.Crossing.Margin, "±", tl.Crossing.Error)
	if err := tl.Ladder().Write(os.Stdout, &capture.LadderConfig{Width: 72, ASCII: true}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// simultaneous crossed 12ms ± 52µs
	//         ms   a                                                        b
	//              | captured here                                          |
	//      0.000   |- SYN seq 0  mss 1460 --------------------------------->|
	//     +6.000   |                X the SYNs met about here               |
	//    +12.000   |<--------------------------------- SYN seq 0  mss 1460 -|
	//    +12.050   |- SYN-ACK seq 0 ack 1 --------------------------------->|
	//    +40.000   |<--------------------------------- SYN-ACK seq 0 ack 1 -|
	//              |                                                        |
}
