package live

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/punch"
)

// BenchmarkTrial makes trials in this process as a sweep does, with the usual lead, and, if
// SYNPUNCH_COMMAND names the program, by the command: how long one takes besides the punch, how
// far from its instant each SYN left the host, and how far from the ordered one the skew
// was at the NATs. All forms take turns, so that they meet the same machine.
func BenchmarkTrial(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	arms := []struct {
		name string
		tr   Trial
	}{{"sweep", fast(punch.Repair)}, {"unhurried", fast(punch.Repair)}, {"connect", fast(punch.Connect)}, {"park", fast(punch.Park)}, {"stock", stock(0)}}
	arms[1].tr.LeadTime = 0
	if program := os.Getenv("SYNPUNCH_COMMAND"); program != "" {
		arms = append(arms, arms[1])
		c := &arms[len(arms)-1]
		c.name, c.tr.Abort = "command", false
		c.tr.Command, c.tr.Dir = []string{program, "punch"}, b.TempDir()
	}
	s := both(lab.NATLinux, 5*time.Millisecond)
	l := buildWith(b, s, &Config{Hosts: true})
	took, sent, skew := make([][]time.Duration, len(arms)), make([][]time.Duration, len(arms)), make([][]time.Duration, len(arms))
	for b.Loop() {
		for i := range arms {
			if err := l.Renew(); err != nil {
				b.Fatal(err)
			}
			begin := time.Now()
			r, err := arms[i].tr.Run(b.Context(), l)
			if err != nil {
				b.Fatal(err)
			}
			all := time.Since(begin)
			if r.Meeting == nil || !r.Connected(0) {
				b.Logf("%s: %s", arms[i].name, story(r))
				continue
			}
			last := max(r.A.since(), r.B.since())
			took[i] = append(took[i], all-last)
			for _, s := range []*SideResult{&r.A, &r.B} {
				sent[i] = append(sent[i], time.Duration(*s.Report.SendErrorNS).Abs())
			}
			skew[i] = append(skew[i], r.Meeting.Skew.Abs())
		}
	}
	for i, a := range arms {
		report(b, a.name+"-overhead-", took[i])
		report(b, a.name+"-send-", sent[i])
		report(b, a.name+"-crossing-", skew[i])
	}
}

// since is how long after the instant an end was established.
func (s *SideResult) since() time.Duration { return time.Duration(*s.Report.Established) }

// BenchmarkSleep is how late time.Sleep is on an ordinary goroutine, and on one that is bound to
// its thread as that of a stock attempt is.
func BenchmarkSleep(b *testing.B) {
	var late [2][]time.Duration
	for b.Loop() {
		for i := range late {
			done := make(chan time.Duration)
			go func() {
				if i == 1 {
					runtime.LockOSThread()
					defer runtime.UnlockOSThread()
				}
				at := time.Now().Add(10 * time.Millisecond)
				time.Sleep(time.Until(at))
				done <- time.Since(at)
			}()
			late[i] = append(late[i], <-done)
		}
	}
	report(b, "free-", late[0])
	report(b, "bound-", late[1])
}
