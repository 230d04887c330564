package live

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// Chosen by us, for machines with two processors that do other things too.
const (
	trialsAtOnce  = 8
	trialOnTime   = 20 * time.Millisecond // send error of a trial that is the one that was asked for
	trialDelay    = 60 * time.Millisecond
	trialSkew     = 3 * trialDelay         // outside of the window, with room for errors
	trialTimeout  = 10 * time.Second       // of trials that come to an end by themselves
	hopeless      = 700 * time.Millisecond // of others
	portsOfTrial  = 32                     // so often is one made at most
	firstPortA    = 20000
	firstPortB    = 40000
	trialsPerTest = (firstPortB - firstPortA) / portsOfTrial
)

// alone is held by a trial that is made again, so that a busy machine has no other to
// do beside it.
var alone sync.Mutex

// try makes trials in this process, some at a time, and hands each result to check. A trial
// that this machine did not make as it was asked for is made again with other ports.
func try(t *testing.T, l *Lab, list []Trial, check func(i int, r *TrialResult)) {
	t.Helper()
	if len(list) > trialsPerTest {
		t.Fatalf("%d trials have no ports", len(list))
	}
	slots := make(chan struct{}, trialsAtOnce)
	results := make([]*TrialResult, len(list))
	var wg sync.WaitGroup
	for i := range list {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			results[i] = attempt(t, l, list[i], portsOfTrial*i)
		})
	}
	wg.Wait()
	for i, r := range results {
		for n := 1; r != nil && !asAsked(t, l, &list[i], r); n++ {
			if n == portsOfTrial {
				t.Errorf("trial %d: this machine has never sent on time", i)
				return
			}
			alone.Lock()
			r = attempt(t, l, list[i], portsOfTrial*i+n)
			alone.Unlock()
		}
		if r != nil {
			check(i, r)
		}
	}
}

func attempt(t *testing.T, l *Lab, tr Trial, n int) *TrialResult {
	tr.A.Port, tr.B.Port = firstPortA+uint16(n), firstPortB+uint16(n)
	if tr.Timeout == 0 {
		tr.Timeout = trialTimeout
	}
	r, err := tr.Run(t.Context(), l)
	if err != nil {
		t.Error(err)
		return nil
	}
	return r
}

// asAsked reports whether the first SYNs crossed, or missed each other, as the trial wanted.
// Where nobody could name the ports they cannot, and where the first ones were to end on the way
// it asks when they were sent.
func asAsked(t *testing.T, l *Lab, tr *Trial, r *TrialResult) bool {
	var first [2]*lab.Passage
	for _, s := range read(t, l, func(s *seen) bool { return s.icmp == nil && s.seg.Flags == rawtcp.SYN }) {
		for i, way := range [2][2]netip.AddrPort{{r.B.Aim, r.A.Aim}, {r.A.Aim, r.B.Aim}} {
			if s.seg.Src != way[0] || s.seg.Dst != way[1] {
				continue
			}
			if out := s.Dir == capture.DirOut; out && first[i] == nil {
				first[i] = &lab.Passage{Left: s.Time}
			} else if p := first[i]; !out && p != nil && p.Arrived.IsZero() {
				p.Arrived = s.Time
			}
		}
	}
	switch {
	case !l.A.Preserves(r.B.Aim.Port()) && first[0] == nil:
		return true
	case first[0] == nil || first[1] == nil || tr.A.Strategy == punch.Prime:
		return max(sentLate(&r.A), sentLate(&r.B)) <= trialOnTime
	}
	m := lab.Meet(*first[0], *first[1])
	if tr.Skew == 0 {
		return m.Crossed
	}
	late, host := &r.B, l.B
	if tr.Skew < 0 {
		late, host = &r.A, l.A
	}
	return !m.Crossed && m.Margin < -trialDelay/2 && (m.Skew > 0) == (tr.Skew > 0) &&
		(host.chain.Outer().Behaviour.Filtering != nat.Open || sawFirst(late))
}

// sawFirst reports whether the peer's SYN was at the host before its own left: where
// nothing filters, the host decides, and a NAT of this process may have been late too.
func sawFirst(s *SideResult) bool {
	if s.Report == nil {
		return false
	}
	for _, e := range s.Report.Events {
		if e.Flags == rawtcp.SYN {
			return e.Dir == capture.DirIn
		}
	}
	return false
}

// sentLate is how far a side's SYN left from its instant; much when it is not known.
func sentLate(s *SideResult) time.Duration {
	if s.Report == nil || s.Report.SendErrorNS == nil {
		return time.Hour
	}
	return time.Duration(*s.Report.SendErrorNS).Abs()
}

// story is what a trial was, for a person.
func story(r *TrialResult) string {
	var b strings.Builder
	for _, s := range []*SideResult{&r.A, &r.B} {
		fmt.Fprintf(&b, "aims at %v: %v\n", s.Aim, s.Err)
		if s.Report != nil {
			for _, e := range s.Report.Events {
				fmt.Fprintf(&b, "  %12v %-3v %v %s seq %d ack %d\n", e.At, e.Dir, e.Flags, e.ICMP, e.Seq, e.Ack)
			}
		}
	}
	fmt.Fprintf(&b, "meeting: %+v", r.Meeting)
	return b.String()
}

func outcome(s *SideResult) punch.Outcome {
	if s.Report == nil {
		return "none"
	}
	return s.Report.Outcome
}

// The model of each kind of this kernel's NAT gives the verdicts of the kernel's, live:
// crossed, and missed in both directions, with an engine that outlives refusals and
// with stock connect().
func TestModelGivesTheKernelsVerdicts(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const bytes = 4096
	var list []Trial
	for _, e := range []punch.Engine{punch.Repair, punch.Connect} {
		for _, skew := range []time.Duration{0, trialSkew, -trialSkew} {
			list = append(list, Trial{Bytes: bytes, Skew: skew, A: Side{Engine: e}, B: Side{Engine: e}})
		}
	}
	for _, k := range kernelKinds() {
		t.Run(k.Name, func(t *testing.T) {
			t.Parallel()
			list := slices.Clone(list)
			for i := range list {
				if k.Name == lab.NATLinuxRandom || k.Name == lab.NATLinuxICMP && list[i].A.Engine == punch.Connect && list[i].Skew != 0 {
					list[i].Timeout = hopeless
				}
			}
			verdicts := func(kind string) map[int][2]punch.Outcome {
				m := map[int][2]punch.Outcome{}
				l := mustBuild(t, both(kind, trialDelay))
				try(t, l, list, func(i int, r *TrialResult) {
					m[i] = [2]punch.Outcome{outcome(&r.A), outcome(&r.B)}
					if ok := m[i][0] == punch.Established && m[i][1] == punch.Established; ok != r.Connected(bytes) {
						t.Errorf("%s: %d bytes verified\n%s", kind, r.Verified, story(r))
					}
				})
				nothingLost(t, l)
				return m
			}
			kernel, model := verdicts(k.Name), verdicts(lab.Model+k.Name)
			for i := range list {
				what := fmt.Sprintf("%s, skew %v", list[i].A.Engine, list[i].Skew)
				if k.Name == lab.NATLinuxICMP && list[i].A.Engine == punch.Connect && list[i].Skew != 0 {
					// The earlier host was told to give up and answers the later one's SYN with an RST whose sequence number
					// is 0. conntrack is in SYN_SENT2 by then, and takes that only as in the window, which it is for half of the earlier
					// one's initial sequence numbers (nf_conntrack_proto_tcp.c, tcp_in_window): refused or timed out.
					kernel[i], model[i] = gaveUp(kernel[i]), gaveUp(model[i])
				}
				if kernel[i] != model[i] {
					t.Errorf("%s: the kernel's NATs give %v, the model %v", what, kernel[i], model[i])
				}
				t.Logf("%s: %v", what, model[i])
			}
		})
	}
}

// gaveUp takes refused and timed out for the same.
func gaveUp(v [2]punch.Outcome) [2]punch.Outcome {
	for i := range v {
		if v[i] == punch.Timeout {
			v[i] = punch.Refused
		}
	}
	return v
}

// Subscribers of one CGN with the same local port get one public endpoint, told apart by
// the remote endpoint: all flows connect at once and stay apart.
func TestSubscribersShareAnEndpoint(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const bytes = 64 << 10
	const overloading = "eim,overloading=true,collision=overload"
	for _, tt := range []struct {
		name, nat string
		peers     int
		same      bool // the public endpoint
	}{
		{"model", overloading, 1, true},
		{"model", overloading, 2, true},
		{"model NAT444", "eim+" + overloading, 1, true},
		{"kernel NAT444", "model:linux+linux", 2, true},
		{"kernel", lab.NATLinux, 1, true},
		{"blocks", "eim+cgn", 2, false},
	} {
		t.Run(fmt.Sprintf("%s, %d peers", tt.name, tt.peers), func(t *testing.T) {
			t.Parallel()
			s := lab.Scenario{A: lab.Site{NAT: tt.nat, Subscribers: 2}, B: lab.Site{NAT: "eim", Subscribers: 2}, Link: lab.Link{Delay: trialDelay}}
			l := mustBuild(t, s)
			a2, b2 := l.More[0], l.More[1]
			if a2.Name != "a2" || b2.Name != "b2" || a2.Addr == l.A.Addr {
				t.Fatalf("more hosts: %+v %+v", a2, b2)
			}
			second := Side{Engine: punch.Repair, Port: 50001} // the peer's
			if tt.peers == 2 {
				second.Host = b2
			}
			at := time.Now().Add(time.Second)
			list := []Trial{
				{At: at, Bytes: bytes, A: Side{Engine: punch.Repair, Port: 40000}, B: Side{Engine: punch.Repair, Port: 50000}},
				{At: at, Bytes: bytes, A: Side{Engine: punch.Repair, Port: 40000, Host: a2}, B: second},
			}
			var wg sync.WaitGroup
			results := make([]*TrialResult, len(list))
			for i := range list {
				wg.Go(func() {
					r, err := list[i].Run(t.Context(), l)
					if err != nil {
						t.Error(err)
					}
					results[i] = r
				})
			}
			wg.Wait()
			public := map[netip.AddrPort]map[netip.AddrPort]bool{} // of A's site, and the remotes of each
			for i, r := range results {
				if r == nil || !r.Connected(bytes) {
					t.Errorf("flow %d: not connected\n%s", i, story(r))
				}
			}
			for _, e := range read(t, l, func(s *seen) bool {
				return s.Where == LaneNATA && s.Dir == capture.DirOut && s.icmp == nil && s.seg.Flags == rawtcp.SYN && !observed(s.Data)
			}) {
				if public[e.seg.Src] == nil {
					public[e.seg.Src] = map[netip.AddrPort]bool{}
				}
				public[e.seg.Src][e.seg.Dst] = true
			}
			flows := 0
			for _, remotes := range public {
				flows += len(remotes)
			}
			if flows != 2 || tt.same != (len(public) == 1) {
				t.Errorf("public endpoints and remotes: %v", public)
			}
			nothingLost(t, l)
		})
	}
}

// Two subscribers of one NAT meet through its public address, if it turns packets around.
func TestHairpinning(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for boxes, want := range map[string]bool{
		"linux+eim":                true,
		"eim+eim,hairpinning=none": false,
		"linux+linux":              false,
		"linux+model:linux":        false,
	} {
		t.Run(boxes, func(t *testing.T) {
			t.Parallel()
			l := mustBuild(t, lab.Scenario{A: lab.Site{NAT: boxes, Subscribers: 2}, B: lab.Site{NAT: lab.NATNone}})
			tr := Trial{Bytes: 1000, Timeout: trialTimeout, A: Side{Engine: punch.Repair}, B: Side{Engine: punch.Repair, Host: l.More[0]}}
			if !want {
				tr.Timeout = hopeless
			}
			r, err := tr.Run(t.Context(), l)
			if err != nil || r.Connected(1000) != want {
				t.Errorf("connected %v, error %v\n%s", !want, err, story(r))
			}
		})
	}
}

// A priming SYN opens both NATs of a chain and ends behind them.
func TestPrimeThroughAChain(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	const bytes = 4096
	l := mustBuild(t, site("linux-rst+model:linux-rst", "rst-happy+linux-rst", trialDelay))
	side := Side{Engine: punch.Repair, Strategy: punch.Prime}
	try(t, l, []Trial{{Bytes: bytes, Skew: trialSkew, A: side, B: side}}, func(_ int, r *TrialResult) {
		if !r.Connected(bytes) || r.A.Report.RSTs+r.B.Report.RSTs != 0 || r.A.Report.ICMPs == 0 || r.B.Report.ICMPs == 0 {
			t.Error(story(r))
		}
	})
}

// What the seed asks of a NAT, as experiments: NATs that do not let a crossing SYN in
// stop every engine, NATs that answer RST only the one that believes it, and only if the window was missed.
func TestNATsThatBreakPunches(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, tt := range []struct {
		nat    string
		skew   time.Duration
		engine punch.Engine
		want   bool
	}{
		{"strict", 0, punch.Repair, false},
		{"strict", 0, punch.Connect, false},
		{"strict", trialSkew, punch.Repair, false},
		{"rst-happy", 0, punch.Repair, true},
		{"rst-happy", 0, punch.Connect, true},
		{"rst-happy", trialSkew, punch.Repair, true},
		{"rst-happy", trialSkew, punch.Connect, false},
	} {
		t.Run(fmt.Sprintf("%s, %s, skew %v", tt.nat, tt.engine, tt.skew), func(t *testing.T) {
			t.Parallel()
			l := mustBuild(t, both(tt.nat, trialDelay))
			side := Side{Engine: tt.engine}
			tr := Trial{Skew: tt.skew, A: side, B: side}
			if !tt.want {
				tr.Timeout = hopeless
			}
			try(t, l, []Trial{tr}, func(_ int, r *TrialResult) {
				if r.Connected(0) != tt.want {
					t.Error(story(r))
				}
			})
		})
	}
}

// A trial aims where it is told to, otherwise where the other side can be known to be.
func TestTrialAims(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := mustBuild(t, site("cgn", "offset", trialDelay))
	fixed := netip.AddrPortFrom(l.B.Public, 4711)
	try(t, l, []Trial{
		{A: Side{Engine: punch.Repair}, B: Side{Engine: punch.Connect}},
		{Timeout: 200 * time.Millisecond, A: Side{Engine: punch.Repair, Aim: fixed}, B: Side{Engine: punch.Repair}},
	}, func(i int, r *TrialResult) {
		switch i {
		case 0:
			if !r.Connected(0) || r.A.Aim.Port() == 0 || r.Meeting == nil {
				t.Error(story(r))
			}
		case 1:
			if r.A.Aim != fixed || r.A.Report == nil || r.A.Report.Flow.Remote != fixed || outcome(&r.A) != punch.Timeout {
				t.Error(story(r))
			}
		}
	})
}
