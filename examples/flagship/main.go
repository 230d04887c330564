// Command flagship draws the crossing window: what share of connect() and of raw
// SYNs connects against the skew of the two SYNs, through NATs that answer.
//
//	go run ./examples/flagship                          # in virtual time
//	unshare -Urn go run ./examples/flagship -world live # real packets; or as root
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
	"github.com/synpunch/synpunch/lab/sweep/draw"
)

func main() {
	world := flag.String("world", sweep.Sim, "sim or live")
	delay := flag.Duration("delay", 20*time.Millisecond, "of the link, each way")
	trials := flag.Int("trials", 20, "of each engine at each skew")
	out := flag.String("o", "window.svg", "the figure, .svg or .png")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	edge := int64(*delay)
	cfg := &sweep.Config{
		World:  *world,
		Axes:   []sweep.Grid{{Axis: sweep.Skew, From: -5 * edge / 4, To: 5 * edge / 4, Step: max(edge/20, 1)}},
		Trials: *trials,
	}
	for _, engine := range []string{"connect", "repair"} {
		side := sweep.Side{NAT: lab.NATLinuxRST, Engine: engine}
		cfg.Arms = append(cfg.Arms, sweep.Arm{Name: engine, A: side, B: side, DelayAB: *delay, DelayBA: *delay})
	}
	sum, err := sweep.Run(ctx, cfg, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := figure.Save(*out, draw.Success(sum)); err != nil {
		log.Fatal(err)
	}
	for _, c := range sum.Cells {
		fmt.Printf("%-8s %8v: %3d of %d\n", c.Arm, time.Duration(c.X), c.Established.Count, c.Established.Of)
	}
}
