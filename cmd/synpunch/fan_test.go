package main

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
)

// TestFansAtOnce: two fan-outs of one host at the same time, to two ports of one peer. Each finds
// its own counterpart. With 64 source ports against 128 guesses of 512 ports one of them fails
// once in e^16 times.
func TestFansAtOnce(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const kib = 1 << 10
	l := buildLab(t, pair("random,ports=20000-20511,overloading=true", "linux"))
	command := commandHere(t, "punch")
	at := time.Now().Add(1500 * time.Millisecond)
	var wg sync.WaitGroup
	for i := range 2 {
		tr := live.Trial{
			Command: command, Dir: t.TempDir(), Bytes: 64 * kib, At: at, Timeout: 5 * time.Second,
			A: live.Side{Engine: punch.Repair, Strategy: punch.Fan, Port: uint16(30000 + 100*i), Args: []string{"--local-ports", "64", "--rate", "4000"}},
			B: live.Side{Engine: punch.Repair, Strategy: punch.Fan, Port: uint16(50000 + i), Args: []string{
				"--remote", fmt.Sprintf("%v:20000-20511", l.A.Public), "--budget", "128", "--rate", "4000",
			}},
		}
		wg.Go(func() {
			r, err := tr.Run(t.Context(), l)
			switch {
			case err != nil:
				t.Error(err)
			case !r.Connected(tr.Bytes):
				t.Errorf("fan-out %d: %v; %v", i, r.A.Err, r.B.Err)
			case r.A.Report.Flow.Remote.Port() != tr.B.Port || r.B.Report.Flow.Local.Port() != tr.B.Port:
				t.Errorf("fan-out %d: A is connected with %v, B from %v; want port %d", i, r.A.Report.Flow.Remote, r.B.Report.Flow.Local, tr.B.Port)
			}
		})
	}
	wg.Wait()
}
