//go:build linux

package main

import (
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
)

// TestPrimedConnectEarlyPeer has the peer's SYN come through the NAT that the priming SYN
// has opened before connect() is called: a host without a guard answers with RST,
// which ends the peer's attempt. (This kernel's NAT tracks sequence numbers and drops
// the SYN of connect() after that, guard or not: its ISN is not that of the priming SYN.)
func TestPrimedConnectEarlyPeer(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := buildLab(t, pair("eim", lab.NATLinux))
	list := make([]live.Trial, 2)
	for i := range list {
		list[i] = live.Trial{
			Bytes: candidateBytes, Skew: -100 * time.Millisecond,
			A: live.Side{Engine: punch.Connect, Strategy: punch.Prime},
			B: live.Side{Engine: punch.Connect},
		}
	}
	trials(t, l, list, func(i int, r *live.TrialResult) {
		if !r.Connected(candidateBytes) {
			t.Errorf("trial %d: not connected\n%s", i, explain(r))
		}
	})
}
