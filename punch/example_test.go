package punch_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/punch"
)

// The part between the two marks stands in README.md; a test in internal/house
// compares them.
func Example() {
	open := func(ctx context.Context, at time.Time) error {
		// README
		conn, attempt, err := punch.Do(ctx, punch.Plan{
			Local:  netip.MustParseAddrPort("0.0.0.0:40000"),
			Remote: netip.MustParseAddrPort("203.0.113.7:50000"), // the peer's public endpoint
			At:     at,                                           // agreed with the peer; zero: now
		})
		if attempt != nil {
			fmt.Println(attempt.Report().Summary())
		}
		if err != nil {
			return err // wraps punch.ErrRefused, ErrUnreachable, ErrTimeout, ErrMissing or ErrPlan
		}
		defer conn.Close() // a *net.TCPConn, from here on the kernel's business
		// README
		return nil
	}
	_ = open
}
