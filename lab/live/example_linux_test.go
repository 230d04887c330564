package live_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
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

// Where a carrier's NAT puts a port that it does not preserve, as a third party sees
// it, while others use the NAT too.
func ExampleLab_Observe() {
	ctx := context.Background()
	l, err := live.Build(ctx, &lab.Scenario{A: lab.Site{NAT: "eim+cgn", CrossTraffic: 200}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	seen, err := l.Observe(ctx, l.A, 40000)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(netip.AddrPortFrom(l.A.Addr, 40000), "is", seen)
}
