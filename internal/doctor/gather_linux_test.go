package doctor

import (
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
)

// In namespaces of its own everything but SCHED_FIFO works, whoever runs it.
func TestGatherInNamespaces(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	f := gather(t.Context())
	for what, got := range map[string]Tried{
		"packet": f.Packet, "raw4": f.Raw4, "raw6": f.Raw6, "repair": f.Repair, "lo": f.Loopback,
		"rx": f.RxStamp, "tx": f.TxStamp, "clock": f.ClockTried, "chains": f.ChainsTried, "lab": tryLab(),
	} {
		if got.Answer != Yes {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if !f.CapsKnown || !f.has(capNetAdmin) || !f.has(capNetRaw) {
		t.Errorf("capabilities %x", f.Effective)
	}
	if len(f.Chains) > 0 {
		t.Errorf("rules in an empty namespace: %v", f.Chains)
	}
}

func TestRulesAreSeen(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "fw"})
	in := c.AddChain(&nftables.Chain{Name: "in", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	c.AddRule(&nftables.Rule{Table: table, Chain: in, Exprs: []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}})
	c.AddChain(&nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	f := &Facts{Sysctl: map[string]string{}}
	f.rules()
	want := map[string]Chain{
		"in":  {Family: "inet", Table: "fw", Name: "in", Type: "filter", Hook: "input", Drop: true, Stateful: true},
		"out": {Family: "inet", Table: "fw", Name: "out", Type: "filter", Hook: "output"},
	}
	if len(f.Chains) != len(want) {
		t.Errorf("chains %+v", f.Chains)
	}
	for _, ch := range f.Chains {
		if ch != want[ch.Name] {
			t.Errorf("chain %+v, want %+v", ch, want[ch.Name])
		}
	}
	if got := f.firewall(); got.Answer != No || len(got.Fix) != 1 {
		t.Errorf("%+v", got)
	}
}

// TestReducedBoundingSet starts a process that root's capabilities do not reach in
// full, as in a container: the effect of what is missing must be seen, and the
// engine that is left be the best.
func TestReducedBoundingSet(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, tt := range []struct {
		drop []uintptr
		best string
		exit int
	}{
		{nil, "repair", 0},
		{[]uintptr{unix.CAP_NET_ADMIN}, "park", 0},
		{[]uintptr{unix.CAP_NET_RAW}, "connect", 3},
		{[]uintptr{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN}, "connect", 3},
	} {
		var r Result
		if err := json.Unmarshal(withoutCaps(t, tt.drop), &r); err != nil {
			t.Fatal(err)
		}
		consistent(t, r)
		if r.Best != tt.best || r.ExitCode() != tt.exit {
			t.Errorf("without %v: best %q, exit %d; want %q, %d", tt.drop, r.Best, r.ExitCode(), tt.best, tt.exit)
		}
	}
}

// withoutCaps runs the test binary in mode "examine" with a smaller bounding set.
func withoutCaps(t *testing.T, drop []uintptr) []byte {
	t.Helper()
	type result struct {
		out []byte
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread's bounding set stays small
		for _, c := range drop {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				done <- result{err: os.NewSyscallError("prctl", err)}
				return
			}
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), modeEnv+"=examine")
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		done <- result{out, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.out
}

func TestNothingStaysBehind(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	gather(t.Context()) // what the runtime opens once (epoll)
	before := count()
	for range 3 {
		gather(t.Context())
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
