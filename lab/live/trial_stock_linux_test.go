package live

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
	"github.com/synpunch/synpunch/timing"
)

// stock is a trial of two ends that sleep and dial.
func stock(skew time.Duration) Trial {
	tr := fast(punch.Connect)
	tr.A.Stock, tr.B.Stock, tr.Skew = true, true, skew
	return tr
}

// A stock attempt connects where the SYNs crossed, and is refused where they did not, by
// what its own packets say.
func TestStock(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := buildWith(t, both(lab.NATLinuxRST, 40*time.Millisecond), &Config{Hosts: true})
	for i, tt := range []struct {
		skew  time.Duration
		want  punch.Outcome
		bytes int64
	}{{0, punch.Established, 0}, {0, punch.Established, 100_000}, {120 * time.Millisecond, punch.Refused, 0}} {
		tr := stock(tt.skew)
		tr.Dir, tr.Capture = t.TempDir(), true
		tr.Bytes, tr.Abort = tt.bytes, tt.bytes == 0
		// An ordinary close leaves the port in TIME-WAIT, where Dial cannot have it.
		tr.A.Port, tr.B.Port = uint16(20000+i), uint16(30000+i)
		tr.LeadTime = 30 * time.Millisecond
		var r *TrialResult
		for n := 1; ; n++ { // a machine that was late has not made this trial
			var err error
			if r, err = tr.Run(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			if r.Meeting != nil && r.Meeting.Crossed == (tt.skew == 0) || n == 10 {
				break
			}
			if err := l.Renew(); err != nil {
				t.Fatal(err)
			}
		}
		for name, s := range map[string]*SideResult{"a": &r.A, "b": &r.B} {
			if s.Report == nil || s.Report.Outcome != tt.want || s.Report.Engine != punch.Connect || len(s.Report.Events) < 2 || s.Report.SendErrorNS == nil || *s.Report.SendErrorNS < 0 {
				t.Fatalf("%d: %s: %v: %s", i, name, s.Err, story(r))
			}
			if tt.want == punch.Established && (s.Report.Simultaneous == nil || !*s.Report.Simultaneous || s.Report.Established == nil || s.Report.Flow.Local != s.Local) {
				t.Errorf("%d: %s: %+v", i, name, s.Report)
			}
			if (tt.want == punch.Established) != (s.Err == nil) {
				t.Errorf("%d: %s: %v", i, name, s.Err)
			}
			checkHostFile(t, s, len(s.Report.Events))
		}
		if r.Connected(tt.bytes) != (tt.want == punch.Established) {
			t.Errorf("%d: connected %v", i, r.Connected(tt.bytes))
		}
		if err := l.Renew(); err != nil {
			t.Fatal(err)
		}
	}
}

// checkHostFile reads what Trial.Capture has written.
func checkHostFile(t *testing.T, s *SideResult, least int) {
	t.Helper()
	f, err := os.Open(s.Capture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rd, err := capture.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		if _, err := rd.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n < least {
		t.Errorf("%s: %d packets, the report has %d", s.Capture, n, least)
	}
}

// Nobody answers a stock attempt; and one that is given up before its instant.
func TestStockTimeout(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := buildWith(t, both(lab.NATLinux, 0), &Config{Hosts: true})
	tr := stock(0)
	tr.Timeout = 50 * time.Millisecond
	tr.B.Aim = netip.MustParseAddrPort("198.51.100.2:1")
	tr.A.Aim = netip.MustParseAddrPort("203.0.113.2:1")
	r, err := tr.Run(t.Context(), l)
	if err != nil || r.A.Report.Outcome != punch.Timeout || r.B.Report.Outcome != punch.Timeout {
		t.Errorf("%v: %s", err, story(r))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tr.LeadTime = time.Hour
	if _, err := tr.Run(ctx, l); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Trials that nobody can make are refused before anything is sent.
func TestTrialErrors(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	l := mustBuild(t, both(lab.NATNone, 0))
	for i, tr := range []Trial{
		stock(0), // the lab does not record hosts
		{A: Side{Stock: true}, Command: []string{"synpunch"}},
		{B: Side{Stock: true, Engine: punch.Repair}},
		{B: Side{Stock: true, Strategy: punch.Prime}},
		{Abort: true, Command: []string{"synpunch"}},
		{Abort: true, Bytes: 1},
	} {
		if _, err := tr.Run(t.Context(), l); !errors.Is(err, ErrTrial) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// A host whose clock is ahead sends that much too early, whoever makes its attempt.
func TestTrialClock(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	s := both(lab.NATLinux, 60*time.Millisecond)
	s.A.Clock, s.B.Clock = 15*time.Millisecond, -5*time.Millisecond
	l := buildWith(t, s, &Config{Hosts: true})
	for _, tr := range []Trial{fast(punch.Repair), stock(0)} {
		tr.LeadTime, tr.Skew = 100*time.Millisecond, time.Millisecond
		tr.B.Clock = 2 * time.Millisecond
		r, err := tr.Run(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		a, b := -15*time.Millisecond, 4*time.Millisecond
		if r.A.At.Sub(r.At) != a || r.B.At.Sub(r.At) != b || !r.A.Report.Scheduled.Equal(r.A.At) || !r.B.Report.Scheduled.Equal(r.B.At) {
			t.Errorf("A was to send %v, B %v after the instant", r.A.At.Sub(r.At), r.B.At.Sub(r.At))
		}
		for _, s := range []*SideResult{&r.A, &r.B} {
			// A SYN is given to the kernel a little early, by what its way to the wire takes.
			if s.Report.Sent == nil || s.Report.Sent.Before(s.At.Add(-time.Millisecond)) {
				t.Errorf("host %s sent too early: %s", s.Host, story(r))
			}
		}
		if err := l.Renew(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := (&Trial{Command: []string{"/proc/self/exe"}, At: time.Now().Add(time.Hour), A: Side{Args: []string{"-test.run=^$"}}, Dir: t.TempDir()}).Run(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []*SideResult{&r.A, &r.B} {
		i := slices.Index(side.Command, "--at")
		if i < 0 || side.Command[i+1] != strconv.FormatInt(side.At.UnixNano(), 10) || side.At.Equal(r.At) {
			t.Errorf("the command is %v, the instant %v", side.Command, side.At)
		}
	}
}

// A trial's capture has each SYN on all four lanes, in the order of its way.
func TestWriteCapture(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	for _, hosts := range []bool{true, false} {
		l := buildWith(t, lab.Scenario{A: lab.Site{NAT: lab.NATLinuxRandom}, B: lab.Site{NAT: "eim-eif"}, Link: lab.Link{Delay: 20 * time.Millisecond}}, &Config{Hosts: hosts})
		tr := fast(punch.Repair)
		tr.Timeout = 100 * time.Millisecond // nobody knows A's port
		tr.Dir, tr.Capture = t.TempDir(), !hosts
		whole := false
		for n := 0; n < 20 && !whole; n++ { // B's NAT is open once its own SYN has left: not on a machine that was late
			r, err := tr.Run(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := r.WriteCapture(&b, l); err != nil {
				t.Fatal(err)
			}
			ways := synWays(t, &b)
			if len(ways) != 2 {
				t.Fatalf("%d SYNs: %v", len(ways), ways)
			}
			for _, way := range ways {
				// B's goes to a port that is not A's, and no further. The host's own capture is of the flow
				// that it had in mind, from A's local port.
				there, back := []string{"a out", "nat-a out", "nat-b in", "b in"}, []string{"b out", "nat-b out", "nat-a in"}
				if way[0] == back[0] {
					there = back
				}
				if len(way) < 3 || len(way) > len(there) || !slices.Equal(way, there[:len(way)]) {
					t.Fatalf("hosts recorded %v: %v", hosts, way)
				}
				whole = whole || len(way) == 4 || !hosts
			}
			if err := l.Renew(); err != nil {
				t.Fatal(err)
			}
		}
		if !whole {
			t.Error("no SYN came from one host to the other")
		}
	}
}

// synWays are the lanes on which each SYN of a capture was seen, in order; retransmissions left out.
func synWays(t *testing.T, file io.Reader) map[rawtcp.Seq][]string {
	t.Helper()
	rd, err := capture.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var last time.Time
	ways := map[rawtcp.Seq][]string{}
	for {
		p, err := rd.Next()
		if errors.Is(err, io.EOF) {
			if got := rd.Interfaces(); len(got) != 4 {
				t.Fatalf("interfaces %+v", got)
			}
			return ways
		}
		if err != nil {
			t.Fatal(err)
		}
		ip, err := p.IP()
		if err != nil || p.Time.Before(last) {
			t.Fatalf("%v, or at %v after %v", err, p.Time, last)
		}
		last = p.Time
		if seg, err := rawtcp.Parse(ip); err == nil && seg.Flags == rawtcp.SYN {
			ways[seg.Seq] = append(ways[seg.Seq], rd.Interfaces()[p.Interface].Name+" "+p.Dir.String())
		}
	}
}

// On a path of 30 ms one way and 10 ms the other, connect() succeeds where theory says: with a
// skew from -10 ms to 30 ms between the NATs, in the middle of which the planner aims.
func TestAsymmetricWindow(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	ab, ba := 30*time.Millisecond, 10*time.Millisecond
	s := both(lab.NATLinuxRST, 0)
	s.Link = lab.Link{AB: &ab, BA: &ba}
	l := buildWith(t, s, &Config{Hosts: true})
	m := timing.Appointment{Path: timing.Path{AB: ab, BA: ba}}
	if m.Aim() != 10*time.Millisecond {
		t.Fatalf("the planner aims at %v", m.Aim())
	}
	var there, back []time.Duration // delays that were seen
	outcomes := map[bool]int{}
	for _, off := range []int{-24, -22, -18, -10, 0, 0, 10, 18, 22, 24} {
		tr := fast(punch.Connect)
		tr.LeadTime, tr.Skew = 40*time.Millisecond, m.Aim()+time.Duration(off)*time.Millisecond
		r, err := tr.Run(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		if r.Meeting == nil || r.Meeting.A.Arrived.IsZero() || r.Meeting.B.Arrived.IsZero() {
			t.Fatalf("skew %v: the SYNs never got to the NATs", tr.Skew)
		}
		path := timing.Path{AB: r.Meeting.A.Arrived.Sub(r.Meeting.A.Left), BA: r.Meeting.B.Arrived.Sub(r.Meeting.B.Left)}
		there, back = append(there, path.AB), append(back, path.BA)
		// Where the SYNs really passed the NATs decides, not what was ordered: this machine may be
		// late. No link is faster than its delay, so theory's window always crosses.
		skew := r.Meeting.Skew
		crossed := outcome(&r.A) == punch.Established && outcome(&r.B) == punch.Established
		outcomes[crossed]++
		if crossed != (path.Regime(skew) == timing.Crossed) || m.Path.Regime(skew) == timing.Crossed && !crossed {
			t.Errorf("skew %v, delays %v and %v: %s", skew, path.AB, path.BA, story(r))
		}
		if err := l.Renew(); err != nil {
			t.Fatal(err)
		}
	}
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Errorf("%d of %d trials crossed: the skews are not what was ordered", outcomes[true], len(there))
	}
	// The fastest of ten shows what the path is without this machine's other work.
	if x, y := slices.Min(there), slices.Min(back); x < ab || x > ab+5*time.Millisecond || y < ba || y > ba+5*time.Millisecond {
		t.Errorf("delays of at least %v and %v, want %v and %v", x, y, ab, ba)
	}
}
