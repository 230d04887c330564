package live_test

import (
	"context"
	"fmt"
	"log"
	"os/exec"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
)

// Two hosts behind NATs, 20 ms apart: run a program in each and see how their
// SYNs met.
func ExampleBuild() {
	ctx := context.Background()
	l, err := live.Build(ctx, &lab.Scenario{
		A:    lab.Site{NAT: lab.NATLinux},
		B:    lab.Site{NAT: lab.NATLinuxRST},
		Link: lab.Link{Delay: 20 * time.Millisecond},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	a := exec.CommandContext(ctx, "nc", "-p", "40000", l.B.Public.String(), "50000")
	b := exec.CommandContext(ctx, "nc", "-p", "50000", l.A.Public.String(), "40000")
	if err := l.A.Start(a); err != nil {
		log.Fatal(err)
	}
	if err := l.B.Start(b); err != nil {
		log.Fatal(err)
	}
	_, _ = a.Wait(), b.Wait()
	for _, m := range l.Meetings() {
		fmt.Println(m.A, m.B, m)
	}
}
