package main

import (
	"fmt"
	"io"

	"github.com/synpunch/synpunch/lab/live"
)

func writeDemoLadder(w io.Writer, f *demoFlags, l *live.Lab, r *live.TrialResult) error {
	for _, s := range []*live.SideResult{&r.A, &r.B} {
		if s.Report != nil {
			for _, e := range s.Report.Events {
				fmt.Fprintf(w, "%12v %s %v %v %v seq %d ack %d %s %s\n", e.At, e.From, e.Dir, e.Flags, e.ICMP, e.RelSeq, e.RelAck, e.Options, e.Note)
			}
		}
		fmt.Fprintln(w, s.Stderr)
	}
	return nil
}
