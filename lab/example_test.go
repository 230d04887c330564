package lab_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/synpunch/synpunch/lab"
)

func ExampleLoad() {
	_, err := lab.Load(strings.NewReader(`
a: {nat: linux}
link:
  delay: 20
  loss: 1%
  losses: 2
`))
	fmt.Println(err)
	// Output:
	// line 4: link.delay: want a duration with its unit, such as 20ms or 300us, not "20"
	// line 5: link.loss: want a probability such as 0.01, not "1%"
	// line 6: link.losses: unknown key: want delay, ab, ba, jitter, loss, faults
}

func ExampleMeet() {
	start := time.Unix(0, 0)
	after := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	// B's SYN leaves 5 ms after A's, on a path of 20 ms each way.
	fmt.Println(lab.Meet(
		lab.Passage{Left: after(0), Arrived: after(20)},
		lab.Passage{Left: after(5), Arrived: after(25)},
	))
	// Output: crossed at 0.62 of the way from A to B, margin 15ms
}

// A home router behind a carrier's NAT.
func ExampleParseNAT() {
	chain, err := lab.ParseNAT("eim+cgn,max-mappings=64")
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range chain {
		k := chain[i].Kind()
		fmt.Printf("%s: mapping %s, filtering %s, port %s\n", k.Name, k.Mapping, k.Filtering, k.Allocation)
	}
	fmt.Println("a peer knows the port:", chain.Preserves(40000))
	// Output:
	// eim: mapping endpoint-independent, filtering address and port-dependent, port port preserving
	// cgn,max-mappings=64: mapping endpoint-independent, filtering address and port-dependent, port blocks of 512, overloaded
	// a peer knows the port: false
}
