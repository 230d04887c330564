package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab/live"
	"github.com/synpunch/synpunch/punch"
)

const fw = `table inet f {
 chain i {
  type filter hook input priority 0; policy drop;
  iif lo accept
  ct state established,related accept
  ip protocol icmp accept
 }
 chain o {
  type filter hook output priority 0; policy accept;

 }
}
`

func TestZZFirewall(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := buildLab(t, pair("random,ports=20000-20511,overloading=true", "linux"))
	for _, h := range []*live.Host{l.A, l.B} {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(fw)
		cmd.Stderr = os.Stderr
		if err := h.Run(cmd); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		tr := live.Trial{
			Command: commandHere(t, "punch"), Dir: t.TempDir(), Bytes: 1 << 20, At: time.Now().Add(1200 * time.Millisecond), Timeout: 5 * time.Second,
			A: live.Side{Engine: punch.Repair, Strategy: punch.Fan, Port: uint16(30000 + 100*i), Args: []string{"--local-ports", "64", "--rate", "4000"}},
			B: live.Side{Engine: punch.Repair, Strategy: punch.Fan, Port: uint16(50000 + i), Args: []string{
				"--remote", fmt.Sprintf("%v:20000-20511", l.A.Public), "--budget", "128", "--rate", "4000",
			}},
		}
		r, err := tr.Run(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(r.Connected(tr.Bytes), r.A.Report.Summary(), r.A.Err, r.B.Err)
		for _, s := range []*live.SideResult{&r.A, &r.B} {
			t.Log(s.Report.FanOut.Path, s.Report.Host)
		}
	}
}

func TestZZBulk(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := buildLab(t, pair("linux", "linux"))
	_ = net.IPv4zero
	_ = io.EOF
	run := func(fan bool) time.Duration {
		done := make(chan struct{})
		if fan {
			go func() {
				defer close(done)
				tr := live.Trial{Command: commandHere(t, "punch"), Dir: t.TempDir(), At: time.Now().Add(1200 * time.Millisecond), Timeout: 5 * time.Second,
					A: live.Side{Engine: punch.Repair, Strategy: punch.Fan, Port: 30000, Args: []string{"--remote", l.B.Public.String() + ":1024-40000", "--budget", "4000"}},
					B: live.Side{Engine: punch.Repair, Strategy: punch.Fan, Port: 45000, Args: []string{"--remote", l.A.Public.String() + ":1024-20000", "--budget", "4000"}},
				}
				r, err := tr.Run(t.Context(), l)
				if err != nil {
					t.Error(err)
					return
				}
				t.Log(r.A.Report.Summary())
			}()
		} else {
			close(done)
		}
		const bytes = 1 << 30
		tr := live.Trial{Bytes: bytes, At: time.Now().Add(1500 * time.Millisecond), A: live.Side{Engine: punch.Connect, Port: 46000}, B: live.Side{Engine: punch.Connect, Port: 46001}}
		r, err := tr.Run(t.Context(), l)
		took := time.Since(tr.At)
		if err != nil || !r.Connected(bytes) {
			t.Fatal(err, r.A.Err, r.B.Err)
		}
		<-done
		l.ResetCount()
		return took
	}
	for range 3 {
		t.Log("alone", run(false), "with a fan", run(true))
	}
}
