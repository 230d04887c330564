package odds_test

import (
	"fmt"

	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/nat/odds"
)

// Two NATs that draw every port: one of the seed's NO.
func ExampleCompute() {
	random, err := nat.Preset("linux-random")
	if err != nil {
		fmt.Println(err)
		return
	}
	o, err := odds.Compute(&odds.Config{A: random, B: random, Budget: 129_024, Rate: 150_000})
	if err != nil {
		fmt.Println(err)
		return
	}
	best := o.Best()
	fmt.Printf("%s, %s: %.1f %%, first hit after %v\n", best.Name, best.Order, 100*best.P, odds.Round(best.First))
	for _, n := range best.Needs {
		fmt.Printf("%.0f %%: %d SYNs each\n", 100*n.P, n.Point.Budget)
	}
	// Output:
	// fan, together: 98.2 %, first hit after 370ms
	// 50 %: 53710 SYNs each
	// 90 %: 97892 SYNs each
	// 99 %: 138439 SYNs each
}
