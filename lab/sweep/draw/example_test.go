package draw_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/figure"
	"github.com/synpunch/synpunch/lab/sweep"
	"github.com/synpunch/synpunch/lab/sweep/draw"
)

// The window of a crossing, as a figure: connect() and raw SYNs through NATs that
// answer, 20 ms each way.
func Example() {
	const ms = int64(time.Millisecond)
	cfg := &sweep.Config{
		World:  sweep.Sim, // sweep.Live takes real packets
		Axes:   []sweep.Grid{{Axis: sweep.Skew, From: -25 * ms, To: 25 * ms, Step: ms}},
		Trials: 20,
	}
	for _, engine := range []string{"connect", "repair"} {
		side := sweep.Side{NAT: lab.NATLinuxRST, Engine: engine}
		cfg.Arms = append(cfg.Arms, sweep.Arm{Name: engine, A: side, B: side, DelayAB: 20 * time.Millisecond, DelayBA: 20 * time.Millisecond})
	}
	sum, err := sweep.Run(context.Background(), cfg, nil)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := figure.Save(filepath.Join(dir, "window.svg"), draw.Success(sum)); err != nil {
		log.Fatal(err)
	}
	for _, c := range sum.Cells {
		if c.X == 19*ms || c.X == 20*ms {
			fmt.Printf("skew %v, %s: %d of %d\n", time.Duration(c.X), c.Arm, c.Established.Count, c.Established.Of)
		}
	}
	// Output:
	// skew 19ms, connect: 20 of 20
	// skew 19ms, repair: 20 of 20
	// skew 20ms, connect: 0 of 20
	// skew 20ms, repair: 20 of 20
}
