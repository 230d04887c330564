package rawtcp_test

import (
	"fmt"
	"log"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"

	"github.com/synpunch/synpunch/rawtcp"
)

func Example() {
	syn := rawtcp.Segment{
		Src: netip.MustParseAddrPort("192.0.2.1:5000"),
		Dst: netip.MustParseAddrPort("198.51.100.2:6000"),
		DF:  true, Seq: 1000, Flags: rawtcp.SYN, Window: 64240,
		Options: rawtcp.Options{MSS: 1460, SACKPermitted: true, HasWScale: true, WScale: 7},
	}
	pkt, err := syn.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(pkt), "bytes, checksums:", rawtcp.VerifyChecksums(pkt))

	got, err := rawtcp.Parse(pkt)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(&got)
	// Output:
	// 52 bytes, checksums: <nil>
	// 192.0.2.1:5000 > 198.51.100.2:6000 SYN seq 1000 win 64240 <mss 1460,sackOK,wscale 7> len 0 ttl 64
}

func ExampleSeq() {
	last := rawtcp.Seq(1<<32 - 1)
	fmt.Println(last.Add(2), last.Less(1), rawtcp.Seq(1).Sub(last))
	// Output: 1 true 2
}

func ExampleParse_errors() {
	_, err := rawtcp.Parse([]byte{0x45, 0, 0, 40})
	fmt.Println(err)
	// Output: rawtcp: packet cut short: the IPv4 header ends at byte 20, 4 bytes are here
}

// A router whose hop was the segment's last quotes it.
func ExampleParseICMP() {
	pkt := []byte{
		0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 203, 0, 113, 9, 192, 0, 2, 1, // IPv4 from the router
		11, 0, 0, 0, 0, 0, 0, 0, // ICMP time exceeded
		0x45, 0, 0, 40, 0, 0, 0x40, 0, 1, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, // what it quotes: IPv4,
		0x13, 0x88, 0x17, 0x70, 0, 0, 3, 232, // and ports and sequence number of TCP
	}
	e, err := rawtcp.ParseICMP(pkt)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e, "about", e.Src, "to", e.Dst, "seq", e.Seq)
	fmt.Println("connect() would say:", e.Errno())
	// Output:
	// ttl exceeded from 203.0.113.9 about 192.0.2.1:5000 to 198.51.100.2:6000 seq 1000
	// connect() would say: no route to host
}

func ExampleISNGenerator() {
	secret := [16]byte{} // from crypto/rand
	g := rawtcp.NewISNGenerator(secret)
	local, remote := netip.MustParseAddrPort("192.0.2.1:5000"), netip.MustParseAddrPort("198.51.100.2:6000")
	now := time.Unix(1_700_000_000, 0)
	first := g.ISN(local, remote, now)
	fmt.Println(g.ISN(local, remote, now.Add(time.Second)).Sub(first), "per second")
	fmt.Println("again the same:", g.ISN(local, remote, now) == first)
	// Output:
	// 250000 per second
	// again the same: true
}

func ExampleFlowFilter() {
	local, remote := netip.MustParseAddrPort("192.0.2.1:5000"), netip.MustParseAddrPort("198.51.100.2:6000")
	raw, err := rawtcp.FlowFilter(local, remote)
	if err != nil {
		fmt.Println(err)
		return
	}
	// A packet socket takes raw (SO_ATTACH_FILTER). Here the program runs in Go.
	prog, _ := bpf.Disassemble(raw)
	vm, err := bpf.NewVM(prog)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, src := range []string{"198.51.100.2:6000", "198.51.100.2:6001"} {
		s := rawtcp.Segment{Src: netip.MustParseAddrPort(src), Dst: local, Flags: rawtcp.SYN}
		pkt, err := s.Append(nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		n, err := vm.Run(pkt)
		fmt.Println(src, n > 0, err)
	}
	// Output:
	// 198.51.100.2:6000 true <nil>
	// 198.51.100.2:6001 false <nil>
}

func ExampleOpen() {
	c, err := rawtcp.Open("ip4", nil)
	if err != nil {
		fmt.Println(err) // without CAP_NET_RAW it says how to get it
		return
	}
	defer c.Close()
	syn := rawtcp.Segment{
		Src: netip.MustParseAddrPort("192.0.2.1:5000"), Dst: netip.MustParseAddrPort("198.51.100.2:6000"),
		Seq: 1000, Flags: rawtcp.SYN, Window: 64240,
	}
	pkt, err := syn.Append(make([]byte, 0, rawtcp.MaxHeader))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Send(pkt); err != nil {
		fmt.Println(err)
	}
}

// A fan answers what comes for any of its flows, though it remembers none of its SYNs.
func ExampleFan() {
	start := time.Unix(1_700_000_000, 0)
	end := func(local, remote string, secret byte) *rawtcp.Fan {
		fan, err := rawtcp.NewFan(rawtcp.FanConfig{
			HandshakeConfig: rawtcp.HandshakeConfig{
				Local:  netip.AddrPortFrom(netip.MustParseAddr(local), 0),
				Remote: netip.AddrPortFrom(netip.MustParseAddr(remote), 0),
			},
			LocalPorts:  []rawtcp.PortRange{{Lo: 5000, Hi: 5001}},
			RemotePorts: []rawtcp.PortRange{{Lo: 1024, Hi: 65535}},
			Numbers:     rawtcp.NewISNGenerator([16]byte{secret}), // from crypto/rand
			Start:       start,
			Order:       [16]byte{secret},
		})
		if err != nil {
			log.Fatal(err)
		}
		return fan
	}
	a, b := end("192.0.2.1", "198.51.100.2", 1), end("198.51.100.2", "192.0.2.1", 2)
	fmt.Println(a.Len(), "flows")

	// Of all SYNs of A's, those to a port that B sends from arrive.
	now := start.Add(time.Second)
	var toA, toB []rawtcp.Segment
	for i := range a.Len() {
		if _, remote := a.Flow(i); remote.Port() == 5001 {
			toB = append(toB, a.SYN(now, i))
		}
	}
	for len(toA)+len(toB) > 0 {
		var next []rawtcp.Segment
		for i := range toB {
			next = b.Receive(now, &toB[i], next)
		}
		toB = nil
		for i := range toA {
			toB = a.Receive(now, &toA[i], toB)
		}
		toA = next
	}
	_, ra, _ := a.Winner()
	lb, _, _ := b.Winner()
	fmt.Println(a.State(), b.State(), ra == lb, a.Transfer(now).ISN == b.Transfer(now).PeerISN)
	// Output:
	// 129024 flows
	// ESTABLISHED ESTABLISHED true true
}
