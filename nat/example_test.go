package nat_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/rawtcp"
)

// Two SYNs cross at a NAT: ours makes the mapping, the peer's meets it.
func Example() {
	behaviour, err := nat.Parse("eim,allocation=offset,offset=1000")
	if err != nil {
		fmt.Println(err)
		return
	}
	n, err := nat.New(behaviour, &nat.Config{Public: []netip.Addr{netip.MustParseAddr("198.51.100.1")}, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Unix(0, 0)
	syn := func(from, to string) []byte {
		s := rawtcp.Segment{Src: netip.MustParseAddrPort(from), Dst: netip.MustParseAddrPort(to), Flags: rawtcp.SYN, Window: 64240}
		b, err := s.Append(nil)
		if err != nil {
			fmt.Println(err)
		}
		return b
	}
	show := func(out []nat.Packet) {
		if len(out) == 0 {
			fmt.Println("nothing:", n.LastDrop())
		}
		for _, p := range out {
			s, err := rawtcp.Parse(p.Data)
			fmt.Println("to the", p.To, s.Src, ">", s.Dst, s.Flags, err)
		}
	}
	show(n.Inbound(now, syn("203.0.113.9:443", "198.51.100.1:6000"), nil))
	show(n.Outbound(now, syn("10.0.0.2:5000", "203.0.113.9:443"), nil))
	show(n.Inbound(now, syn("203.0.113.9:443", "198.51.100.1:6000"), nil))
	// Output:
	// nothing: no mapping
	// to the outside 198.51.100.1:6000 > 203.0.113.9:443 SYN <nil>
	// to the inside 203.0.113.9:443 > 10.0.0.2:5000 SYN <nil>
}
