package sim_test

import (
	"context"
	"fmt"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/sim"
)

// B is 30 ms late on a path of 20 ms, and the NATs refuse what they do not know:
// connect() dies at both ends, rawtcp.Handshake does not.
func Example() {
	for _, e := range []sim.Engine{sim.Connect, sim.Repair} {
		res, err := sim.Run(context.Background(), &sim.Config{
			Scenario: lab.Scenario{
				A:    lab.Site{NAT: "linux-rst"},
				B:    lab.Site{NAT: "linux-rst"},
				Link: lab.Link{Delay: 20 * time.Millisecond},
			},
			A: sim.Side{Engine: e}, B: sim.Side{Engine: e},
			Skew:   30 * time.Millisecond,
			Trials: 100,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		lo, hi := res.Connected.Interval()
		fmt.Printf("%s: %d of %d connected (95 %%: %.3f to %.3f), A refused %d times\n",
			e, res.Connected.Count, res.Connected.Of, lo, hi, res.A.Outcomes[sim.Refused])
	}
	// Output:
	// connect: 0 of 100 connected (95 %: 0.000 to 0.037), A refused 100 times
	// repair: 100 of 100 connected (95 %: 0.963 to 1.000), A refused 0 times
}
