package capture

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// follow gives shots to a Follower that looks every 50 ms, and lists what it told
// and when.
func follow(t testing.TB, cfg *FollowConfig, until time.Duration, shots ...shot) ([]string, Summary) {
	t.Helper()
	w := NewFollower(cfg)
	var lines []string
	tell := func(at time.Duration, list []*Timeline) {
		for _, tl := range list {
			lines = append(lines, fmt.Sprintf("%d %s %s %s", at/ms, tl.Flow, tl.Verdict, tl.Diagnosis()[0].Class))
		}
	}
	for at := time.Duration(0); at <= until; at += 50 * ms {
		for len(shots) > 0 && shots[0].at <= at {
			p := shots[0].packet(t)
			w.Add(&p)
			shots = shots[1:]
		}
		tell(at, w.Decided(testEpoch.Add(at)))
	}
	list, sum := w.Finish(testEpoch.Add(until))
	tell(until, list)
	return lines, sum
}

func TestFollow(t *testing.T) {
	const flow = "192.0.2.1:4000 - 198.51.100.2:5000"
	for _, tt := range []struct {
		name  string
		shots []shot
		want  []string
	}{
		{"opens", open(), []string{"250 " + flow + " ordinary ordinary"}},
		{"refused", []shot{{at: 0, from: "a", flags: syn, seq: 100}, {at: 20 * ms, from: "b", flags: rstAck, ack: 101}}, []string{"250 " + flow + " refused reset"}},
		{"refused, and the SYN came too late", []shot{
			{at: 0, from: "a", flags: syn, seq: 100}, {at: 20 * ms, from: "b", flags: rstAck, ack: 101}, {at: 30 * ms, from: "b", flags: syn, seq: 900},
		}, []string{"250 " + flow + " refused nat-reset"}},
		{"icmp", []shot{{at: 0, from: "a", flags: syn, seq: 100}, {at: 20 * ms, from: "b", icmp: 13, seq: 100}}, []string{"250 " + flow + " icmp icmp"}},
		{"timeout", []shot{{at: 0, from: "a", flags: syn, seq: 100}, {at: 1000 * ms, from: "a", flags: syn, seq: 100}}, []string{"3000 " + flow + " timeout syn-unanswered"}},
		{"timeout, then open", []shot{
			{at: 0, from: "a", flags: syn, seq: 100}, {at: 3500 * ms, from: "a", flags: syn, seq: 100},
			{at: 3520 * ms, from: "b", flags: synAck, seq: 300, ack: 101}, {at: 3540 * ms, from: "a", flags: ack, seq: 101, ack: 301},
		}, []string{"3000 " + flow + " timeout syn-unanswered", "3750 " + flow + " ordinary ordinary"}},
		{"refused, then open", []shot{
			{at: 0, from: "a", flags: syn, seq: 100}, {at: 20 * ms, from: "b", flags: rstAck, ack: 101}, {at: 40 * ms, from: "a", flags: syn, seq: 100, id: 7},
			{at: 60 * ms, from: "b", flags: synAck, seq: 300, ack: 101}, {at: 70 * ms, from: "a", flags: ack, seq: 101, ack: 301},
		}, []string{"300 " + flow + " ordinary ordinary"}},
		{"on another port", []shot{
			{at: 0, from: "a", flags: syn, seq: 100}, {at: 40 * ms, from: "b", flags: syn, seq: 300, b: otherPortB},
		}, []string{"3000 " + flow + " timeout syn-unanswered", "3050 198.51.100.2:5017 - 192.0.2.1:4000 timeout syn-unanswered"}},
		{"data of an old flow", []shot{{at: 0, from: "a", flags: psh, seq: 100, ack: 5, n: 7}, {at: 20 * ms, from: "b", flags: ack, seq: 5, ack: 107}}, nil},
		{"under way at the end", []shot{{at: 4900 * ms, from: "a", flags: syn, seq: 100}}, []string{"5000 " + flow + " incomplete incomplete"}},
	} {
		got, _ := follow(t, nil, 5*time.Second, tt.shots...)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

// A peer's SYN on another port explains a timeout, also before that flow is told.
func TestFollowLinks(t *testing.T) {
	w := NewFollower(nil)
	for _, s := range []shot{{at: 0, from: "a", flags: syn, seq: 100}, {at: 40 * ms, from: "b", flags: syn, seq: 300, b: otherPortB}} {
		p := s.packet(t)
		w.Add(&p)
	}
	list := w.Decided(testEpoch.Add(3 * time.Second))
	if len(list) != 1 {
		t.Fatalf("%d told", len(list))
	}
	found := false
	for _, f := range list[0].Diagnosis() {
		found = found || f.Class == ClassWrongPort && strings.Contains(f.Words, "port 5017") && slices.Equal(f.Flows, []int{2})
	}
	if !found {
		t.Errorf("%v", list[0].Diagnosis())
	}
	if list[0].Number() != 1 || w.Told() != 1 {
		t.Errorf("number %d, %d told", list[0].Number(), w.Told())
	}
}

// A flood of SYNs, and of flows that open, leaves no more than MaxFlows behind.
func TestFollowBounded(t *testing.T) {
	const flows = 20000
	w := NewFollower(&FollowConfig{Analyze: AnalyzeConfig{MaxFlows: 100}})
	told := 0
	for i := range flows {
		at := time.Duration(i) * 100 * time.Microsecond
		for _, s := range []shot{{from: "a", flags: syn, seq: 100}, {from: "b", flags: synAck, seq: 300, ack: 101}, {from: "a", flags: ack, seq: 101, ack: 301}} {
			s.at = at
			if i%2 == 1 && s.flags != syn {
				continue
			}
			p := s.packet(t)
			p.Data[20], p.Data[21] = byte(i>>8), byte(i) // source port, or destination
			if s.from == EndB {
				p.Data[20], p.Data[21] = 5000>>8, 5000&0xff
				p.Data[22], p.Data[23] = byte(i>>8), byte(i)
			}
			w.Add(&p)
		}
		if i%1000 == 999 {
			told += len(w.Decided(testEpoch.Add(at)))
			if len(w.pending) > 200 || w.z.live > 100 || len(w.recent) > followRecent {
				t.Fatalf("%d pending, %d flows, %d recent", len(w.pending), w.z.live, len(w.recent))
			}
		}
	}
	list, sum := w.Finish(testEpoch.Add(10 * time.Second))
	if sum.Flows != flows || told+len(list) == 0 {
		t.Errorf("%d flows, %d told", sum.Flows, told+len(list))
	}
}
