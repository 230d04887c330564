package predict_test

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/synpunch/synpunch/nat/predict"
)

// Two third parties saw three connections through a NAT that counts up, and that
// others use too.
func Example() {
	obs, err := predict.Parse(strings.NewReader(`time,local,dest,external
2026-01-01T12:00:00.0Z,192.168.1.2:40000,198.51.100.1:3478,203.0.113.7:50000
2026-01-01T12:00:00.2Z,192.168.1.2:40000,198.51.100.2:3478,203.0.113.7:50001
2026-01-01T12:00:00.5Z,192.168.1.2:40001,198.51.100.1:3478,203.0.113.7:50003
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := predict.New(obs)
	if err != nil {
		fmt.Println(err)
		return
	}
	next, err := p.Next(predict.Target{
		Local: netip.MustParseAddrPort("192.168.1.2:40001"),
		Dest:  netip.MustParseAddrPort("192.0.2.9:443"),
		Time:  p.Last().Add(200 * time.Millisecond),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Class().Allocation)
	for _, g := range next.Top(3) {
		fmt.Printf("%d %.0f %%\n", g.Port, 100*g.P)
	}
	fmt.Println("tries for 90 %:", next.Tries(0.9))
	// Output:
	// sequential
	// 50004 65 %
	// 50005 18 %
	// 50006 5 %
	// tries for 90 %: 4
}

// Before anything was observed the local port is the best guess, because many
// NATs preserve it.
func ExamplePredictor_Next_nothingObserved() {
	p, err := predict.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	next, err := p.Next(predict.Target{Local: netip.MustParseAddrPort("192.168.1.2:40000")})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(next.Top(1)[0].Port)
	// Output: 40000
}

// Order spreads ports that are equally probable, the same way for the same key.
func ExampleDistribution_Order() {
	p, err := predict.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	next, err := p.Next(predict.Target{Local: netip.MustParseAddrPort("192.168.1.2:40000")})
	if err != nil {
		fmt.Println(err)
		return
	}
	n := 0
	for port := range next.Order(7) {
		if n++; n > 3 {
			break
		}
		fmt.Println(port)
	}
	// Output:
	// 40000
	// 40001
	// 40002
}
