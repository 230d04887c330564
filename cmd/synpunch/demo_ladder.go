package main

import (
	"io"

	"github.com/synpunch/synpunch/lab/live"
)

// writeDemoLadder draws the opening as both hosts and both NATs saw it.
func writeDemoLadder(w io.Writer, f *demoFlags, l *live.Lab, r *live.TrialResult) error {
	ladder, err := r.Ladder(l)
	if err != nil {
		return err
	}
	return ladder.Write(w, ladderConfig(w, f.ascii))
}
