package capture

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func foreign(t testing.TB, name string, cfg *AnalyzeConfig) ([]*Timeline, Summary) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "foreign", name+".pcap"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	tls, sum, err := Analyze(r.Next, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tls, sum
}

// foreignWant is what the captures in testdata/foreign show, one line a flow:
// verdict, bytes of both ends, retransmissions in all and of data, how it ended.
var foreignWant = []struct {
	file  string
	flows []string
}{
	{"ordinary-any-sll2", []string{"ordinary 3000 100 0 0 fin"}},
	{"ordinary-any-sll1", []string{"ordinary 3000 100 0 0 fin"}},
	{"ordinary-ip6-s96-sll2", []string{"ordinary 3000 100 0 0 fin"}},
	{"ordinary-ip6-ethernet", []string{"ordinary 500 100 0 0 fin"}},
	{"oneway", []string{"ordinary 3000 101 0 0 half"}}, // b's FIN cannot be told from a byte
	{"bulk", []string{"ordinary 40000 100 0 0 fin"}},
	{"gso-loopback", []string{"ordinary 2000000 0 0 0 fin"}},
	{"losses", []string{"ordinary 12000 100 3 1 fin"}},
	{"refused", []string{"refused 0 0 0 0 -"}},
	{"icmp", []string{"icmp 0 0 0 0 -"}},
	{"unanswered", []string{"icmp 0 0 2 0 -", "timeout 0 0 5 0 -"}},
	{"aborted", []string{"aborted 0 0 0 0 -"}},
	{"halfopen", []string{"ordinary 0 0 0 0 replaced", "ordinary 0 0 1 0 fin"}},
	{"crossed-a", []string{"simultaneous 12 12 0 0 reset-a"}},
	{"crossed-b", []string{"simultaneous 12 12 0 0 reset-b"}},
	{"crossed-nat-a", []string{"simultaneous 12 12 0 0 reset-a", "simultaneous 12 12 0 0 reset-a"}},
	{"a-early-a", []string{"simultaneous 12 12 0 0 reset-a"}},
	{"a-early-b", []string{"ordinary 12 12 0 0 reset-b"}},
	{"a-early-nat-a", []string{"simultaneous 12 12 0 0 reset-a", "simultaneous 12 12 0 0 reset-a"}},
	{"b-early-a", []string{"ordinary 12 12 0 0 reset-a"}},
	{"b-early-b", []string{"simultaneous 12 12 0 0 reset-b"}},
	{"missed-nat-b", []string{"refused 0 0 0 0 -", "refused 0 0 0 0 -"}},
	{"missed-a", []string{"refused 0 0 0 0 -"}},
	{"missed-b", []string{"refused 0 0 0 0 -"}},
}

func TestForeign(t *testing.T) {
	for _, tt := range foreignWant {
		tls, sum := foreign(t, tt.file, nil)
		var got []string
		for _, tl := range tls {
			closed := tl.Closed
			if closed == ClosedNot {
				closed = "-"
			}
			got = append(got, fmt.Sprintf("%s %d %d %d %d %s", tl.Verdict, tl.A.Sent, tl.B.Sent, tl.Retransmissions, tl.DataRetransmissions, closed))
		}
		if strings.Join(got, "\n") != strings.Join(tt.flows, "\n") {
			t.Errorf("%s:\n got %q\nwant %q", tt.file, got, tt.flows)
		}
		if sum.Malformed+sum.Cut != 0 {
			t.Errorf("%s: %d malformed, %d cut", tt.file, sum.Malformed, sum.Cut)
		}
	}
}

// The snap length cut the options of these SYNs; what is whole is read.
func TestForeignCutOptions(t *testing.T) {
	tls, _ := foreign(t, "ordinary-ip6-s96-sll2", nil)
	if tl := tls[0]; tl.A.MSS != 1440 || !tl.A.SACK || !tl.A.Timestamps || tl.A.WScale != nil || !tl.A.Local || tl.B.Local {
		t.Errorf("%+v %+v", tl.A, tl.B)
	}
}

// What one host says of the crossing agrees with what both together say, to
// within the error that it states.
func TestForeignCrossing(t *testing.T) {
	for _, tt := range []struct {
		name, regime string
		min, max     time.Duration // of the margin
	}{
		{"crossed", RegimeCrossed, 5 * ms, 7 * ms},
		{"a-early", RegimeAEarly, -60 * ms, -40 * ms},
	} {
		first, _ := foreign(t, tt.name+"-a", nil)
		second, _ := foreign(t, tt.name+"-b", nil)
		router, _ := foreign(t, tt.name+"-nat-a", nil)
		joined, _, _ := Join(first, second, nil)
		if len(joined) != 1 {
			t.Fatalf("%s: %d joined", tt.name, len(joined))
		}
		exact := joined[0].Crossing
		if exact == nil || exact.Regime != tt.regime || exact.Margin < tt.min || exact.Margin > tt.max {
			t.Fatalf("%s: %+v", tt.name, exact)
		}
		if (joined[0].Offset).Abs() > joined[0].Bound || joined[0].Bound > 15*ms {
			t.Errorf("%s: offset %v ± %v of one clock", tt.name, joined[0].Offset, joined[0].Bound)
		}
		from := map[string]*Crossing{"host a": first[0].Crossing, "router a, inside": router[0].Crossing, "router a, outside": router[1].Crossing}
		if tt.regime == RegimeCrossed {
			c := *second[0].Crossing // b's own view calls b "a": it opened there
			c.SpareA, c.SpareB = c.SpareB, c.SpareA
			from["host b"] = &c
		}
		for where, c := range from {
			if c == nil || c.Regime != tt.regime {
				t.Errorf("%s at %s: %+v", tt.name, where, c)
				continue
			}
			limit := c.Error + exact.Error + 150*time.Microsecond // jitter of a busy machine between two packets
			if a, b := (c.SpareA - exact.SpareA).Abs(), (c.SpareB - exact.SpareB).Abs(); a > limit || b > limit {
				t.Errorf("%s at %s: spares %v and %v ± %v, exact %v and %v", tt.name, where, c.SpareA, c.SpareB, c.Error, exact.SpareA, exact.SpareB)
			}
		}
		if router[1].SameAs != 1 {
			t.Errorf("%s: the router's two sights of one flow are not linked", tt.name)
		}
	}
}

// Two refused attempts share no sequence number: they stay apart.
func TestForeignNotJoined(t *testing.T) {
	first, _ := foreign(t, "missed-a", nil)
	second, _ := foreign(t, "missed-b", nil)
	if joined, onlyA, onlyB := Join(first, second, nil); len(joined) != 0 || len(onlyA) != 1 || len(onlyB) != 1 {
		t.Errorf("%d joined, %d and %d not", len(joined), len(onlyA), len(onlyB))
	}
}

// tshark counts the same flows, SYNs, RSTs and retransmissions.
func TestForeignAgainstTshark(t *testing.T) {
	if testing.Short() {
		t.Skip("starts tshark 20 times")
	}
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not here (apt install tshark)")
	}
	for _, tt := range foreignWant {
		if strings.Contains(tt.file, "-nat-") {
			continue // tshark takes the second interface for retransmissions
		}
		out, err := exec.CommandContext(context.Background(), tshark, "-n", "-r", filepath.Join("testdata", "foreign", tt.file+".pcap"),
			"-Y", "tcp && !icmp", "-T", "fields", "-E", "separator=,",
			"-e", "tcp.stream", "-e", "tcp.flags.syn", "-e", "tcp.flags.ack", "-e", "tcp.flags.reset",
			"-e", "tcp.analysis.retransmission", "-e", "tcp.analysis.fast_retransmission").Output()
		if err != nil {
			t.Fatalf("%s: %v", tt.file, err)
		}
		var want, got struct{ flows, syns, rsts, repeats int }
		streams := map[string]bool{}
		for line := range strings.Lines(string(out)) {
			f := strings.Split(strings.TrimSpace(line), ",")
			if len(f) != 6 {
				t.Fatalf("%s: %q", tt.file, line)
			}
			streams[f[0]] = true
			yes := func(i int) bool { return f[i] == "1" || f[i] == "True" }
			if yes(1) {
				want.syns++
			}
			if yes(3) {
				want.rsts++
			}
			// It takes the SYN-ACK of a simultaneous open for the SYN once more.
			crossed := yes(1) && yes(2) && strings.HasPrefix(tt.flows[0], string(Simultaneous))
			if !crossed && f[4]+f[5] != "" {
				want.repeats++
			}
		}
		want.flows = len(streams)
		tls, _ := foreign(t, tt.file, nil)
		got.flows = len(tls)
		for _, tl := range tls {
			got.syns += tl.A.SYNs + tl.B.SYNs + tl.A.SYNACKs + tl.B.SYNACKs
			got.rsts += tl.RSTs
			got.repeats += tl.Retransmissions
		}
		if got != want {
			t.Errorf("%s: %+v, tshark %+v", tt.file, got, want)
		}
	}
}
