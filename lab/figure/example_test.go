package figure_test

import (
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/synpunch/synpunch/lab/figure"
)

// What a connect() needs that meets a NAT which answers: a share over a time, with its
// interval, and the part of the axis where theory says that it succeeds.
func Example() {
	ms := float64(time.Millisecond)
	chart := &figure.Chart{
		Title:  "How far apart may two SYNs be?",
		Notes:  []string{"20 trials for each point, seed 1"},
		X:      figure.Axis{Title: "skew", Unit: figure.Duration},
		Y:      figure.Axis{Title: "established", Unit: figure.Percent},
		Ranges: []figure.Range{{From: -20 * ms, To: 20 * ms, Label: "window in theory"}},
		Series: []figure.Series{{Name: "connect", Points: []figure.Point{
			{X: -22 * ms, Y: 0, Low: 0, High: 0.16},
			{X: -18 * ms, Y: 1, Low: 0.84, High: 1},
			{X: 18 * ms, Y: 1, Low: 0.84, High: 1},
			{X: 22 * ms, Y: 0, Low: 0, High: 0.16},
		}}},
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"window.svg", "window.png"} {
		if err := figure.Save(filepath.Join(dir, name), chart); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
}
