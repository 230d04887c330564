package rawtcp_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// Two ends open a connection at the same instant. Each SYN takes 20 ms, so they
// cross.
func ExampleHandshake() {
	a := netip.MustParseAddrPort("192.0.2.1:40001")
	b := netip.MustParseAddrPort("198.51.100.2:40002")
	const delay = 20 * time.Millisecond

	ends := make(map[netip.AddrPort]*rawtcp.Handshake)
	for _, cfg := range []rawtcp.HandshakeConfig{
		{Local: a, Remote: b, ISN: 1000, WScale: 7},
		{Local: b, Remote: a, ISN: 9000, WScale: 7},
	} {
		h, err := rawtcp.NewHandshake(cfg)
		if err != nil {
			fmt.Println(err)
			return
		}
		ends[cfg.Local] = h
	}

	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	wire := ends[b].Start(start, ends[a].Start(start, nil))
	for now := start; len(wire) > 0; {
		now = now.Add(delay)
		var next []rawtcp.Segment
		for _, s := range wire {
			fmt.Printf("%v  %v > %v  %v\n", now.Sub(start), s.Src.Port(), s.Dst.Port(), s.Flags)
			next = ends[s.Dst].Receive(now, &s, next)
		}
		wire = next
	}

	t := ends[a].Transfer(start.Add(3 * delay))
	fmt.Println(ends[a].State(), ends[b].State(), "simultaneous:", t.Simultaneous)
	fmt.Println("next to send", t.SndNxt, "next to come", t.RcvNxt, "MSS", t.PeerMSS)
	// Output:
	// 20ms  40001 > 40002  SYN
	// 20ms  40002 > 40001  SYN
	// 40ms  40002 > 40001  SYN-ACK
	// 40ms  40001 > 40002  SYN-ACK
	// 60ms  40001 > 40002  ACK
	// 60ms  40002 > 40001  ACK
	// ESTABLISHED ESTABLISHED simultaneous: true
	// next to send 1001 next to come 9001 MSS 1460
}
