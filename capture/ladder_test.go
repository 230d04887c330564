package capture

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/synpunch/synpunch/rawtcp"
)

var update = flag.Bool("update", false, "write the golden files of ladders anew")

// golden compares text with testdata/ladder/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "ladder", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./capture -run Ladder -update makes it)", err)
	}
	if got != string(want) {
		t.Errorf("%s:\n--- got\n%s--- want\n%s", name, got, want)
	}
}

// fourLanes are the places of the lanes, as the one-way time from a.
var fourLanes = map[string]time.Duration{
	LaneA: 0, LaneNATA: 40 * time.Microsecond, LaneNATB: 40*time.Microsecond + 20*ms, LaneB: 80*time.Microsecond + 20*ms,
}

// trip is one packet on its way past the lanes: from one, as far as another.
type trip struct {
	at   time.Duration // it left
	from string
	e    Event
	last string // lane where it was seen last; "" = the end of the way
}

func (tr trip) events(lanes []string) []Event {
	lanes = slices.Clone(lanes)
	if tr.e.From == EndB {
		slices.Reverse(lanes)
	}
	start := slices.Index(lanes, tr.from)
	var events []Event
	for _, lane := range lanes[start:] {
		e := tr.e
		e.Where = lane
		e.Time = testEpoch.Add(tr.at + (fourLanes[lane] - fourLanes[tr.from]).Abs())
		if lane != tr.from {
			e.Note = ""
		}
		events = append(events, e)
		if lane == tr.last {
			break
		}
	}
	return events
}

func seen(lanes []string, trips ...trip) []Event {
	var events []Event
	for _, tr := range trips {
		events = append(events, tr.events(lanes)...)
	}
	slices.SortStableFunc(events, func(x, y Event) int { return x.Time.Compare(y.Time) })
	return events
}

func at(events []Event, lane string) []Event {
	var list []Event
	for _, e := range events {
		if e.Where == lane {
			list = append(list, e)
		}
	}
	return list
}

const testOptions = "mss 1460, sack, ts, wscale 7"

func synOf(from, note string) Event {
	return Event{From: from, Flags: rawtcp.SYN, Seq: 10, Options: testOptions, Note: note, TTL: 64}
}

var (
	synAckA = Event{From: EndA, Flags: synAck, Seq: 10, RelAck: 1, Ack: 11, Options: testOptions}
	synAckB = Event{From: EndB, Flags: synAck, Seq: 10, RelAck: 1, Ack: 11, Options: testOptions}
	ackA    = Event{From: EndA, Flags: ack, Seq: 11, RelSeq: 1, RelAck: 1, Ack: 11}
	ackB    = Event{From: EndB, Flags: ack, Seq: 11, RelSeq: 1, RelAck: 1, Ack: 11}
	dataA   = Event{From: EndA, Flags: psh, Seq: 11, RelSeq: 1, RelAck: 1, Ack: 11, Len: 1448}
)

func ladderScenes() map[string]*Ladder {
	four := []string{LaneA, LaneNATA, LaneNATB, LaneB}
	us := time.Microsecond
	crossed := seen(four,
		trip{at: 2 * us, from: LaneA, e: synOf(EndA, "due 0.000, sent +1.8 µs")},
		trip{at: 7 * us, from: LaneB, e: synOf(EndB, "due 0.000, sent +6.9 µs")},
		trip{at: 20*ms + 110*us, from: LaneA, e: synAckA},
		trip{at: 20*ms + 120*us, from: LaneB, e: synAckB},
		trip{at: 40*ms + 300*us, from: LaneA, e: ackA},
		trip{at: 60*ms + 500*us, from: LaneA, e: dataA},
	)
	scenes := map[string]*Ladder{
		"crossed": {Lanes: four, Events: crossed, Reference: testEpoch,
			Notes: []string{"10.0.1.2:4000", "203.0.113.1", "203.0.113.2", "10.0.2.2:4000"}},
		"answered": {Lanes: four, Reference: testEpoch, Events: seen(four,
			// The window was missed: nat-b answers RST, and a sends again at once.
			trip{at: 0, from: LaneA, e: synOf(EndA, ""), last: LaneNATB},
			trip{at: 20*ms + 60*us, from: LaneNATB, e: Event{From: EndB, Flags: rstAck, Ack: 11, RelAck: 1}},
			trip{at: 30 * ms, from: LaneB, e: synOf(EndB, "")},
			trip{at: 40*ms + 150*us, from: LaneA, e: func() Event {
				e := synOf(EndA, "resent after RST")
				e.Retransmission, e.TSVal = true, 41
				return e
			}()},
			trip{at: 50*ms + 100*us, from: LaneA, e: synAckA},
			trip{at: 60*ms + 300*us, from: LaneB, e: synAckB},
		)},
		"primed": {Lanes: four, Reference: testEpoch, Events: seen(four,
			trip{at: -100 * ms, from: LaneA, e: Event{From: EndA, Flags: syn, Seq: 10, TTL: 3, Options: testOptions, Note: "opens the mapping"}, last: LaneNATA},
			trip{at: -98 * ms, from: LaneNATA, e: Event{From: EndB, ICMP: "ttl exceeded from 203.0.113.254", Src: netip.MustParseAddrPort("203.0.113.254:0")}},
			trip{at: 0, from: LaneB, e: synOf(EndB, "")},
			trip{at: 20*ms + 200*us, from: LaneA, e: synAckA},
			trip{at: 40*ms + 400*us, from: LaneB, e: ackB},
		)},
	}
	if c, ok := CrossingFromTwo(at(crossed, LaneNATA), at(crossed, LaneNATB)); ok {
		scenes["crossed"].Crossing = &c
	}
	answered := scenes["answered"].Events
	if c, ok := CrossingFromTwo(at(answered, LaneNATA), at(answered, LaneNATB)); ok {
		scenes["answered"].Crossing = &c
	}
	for _, lanes := range [][]string{{LaneA, LaneB}, {LaneA, LaneNATA, LaneB}} {
		l := &Ladder{Lanes: lanes, Reference: testEpoch, Crossing: scenes["crossed"].Crossing}
		for _, e := range crossed {
			if slices.Contains(lanes, e.Where) {
				l.Events = append(l.Events, e)
			}
		}
		scenes[fmt.Sprintf("crossed-%dlanes", len(lanes))] = l
	}
	return scenes
}

func TestLadder(t *testing.T) {
	for name, l := range ladderScenes() {
		for _, c := range []LadderConfig{{Width: 80}, {Width: 120}, {Width: 80, ASCII: true}} {
			t.Run(fmt.Sprintf("%s/%d/%v", name, c.Width, c.ASCII), func(t *testing.T) {
				var b bytes.Buffer
				if err := l.Write(&b, &c); err != nil {
					t.Fatal(err)
				}
				file := fmt.Sprintf("%s-%d.txt", name, c.Width)
				if c.ASCII {
					file = fmt.Sprintf("%s-%d-ascii.txt", name, c.Width)
				}
				golden(t, file, b.String())
				checkPage(t, b.String(), c)
			})
		}
	}
}

func TestTimelineLadder(t *testing.T) {
	for name, number := range map[string]int{"figure6": 0, "figure7": 1, "a-early": 3, "figure8": 4, "figure9": 7, "refused": 11, "icmp": 17, "timeout": 19} {
		var b bytes.Buffer
		for _, tl := range analyze(t, nil, openings[number].shots...) {
			if err := WriteLadder(&b, tl, nil); err != nil {
				t.Fatal(err)
			}
		}
		golden(t, name+".txt", b.String())
		checkPage(t, b.String(), LadderConfig{Width: 80})
	}
}

// checkPage holds what every ladder must keep: no line too wide, no blanks at
// the end of one, no colour unless asked for, ASCII if asked for.
func checkPage(t *testing.T, page string, c LadderConfig) {
	t.Helper()
	for line := range strings.SplitSeq(page, "\n") {
		if n := utf8.RuneCountInString(line); n > c.Width {
			t.Errorf("%d columns, not %d: %s", n, c.Width, line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("blanks at the end: %q", line)
		}
		for _, r := range line {
			if r == 0x1b || c.ASCII && r > 126 || r == '?' {
				t.Errorf("character %q in %q", r, line)
			}
		}
	}
}

func TestLadderColor(t *testing.T) {
	var plain, color bytes.Buffer
	l := ladderScenes()["answered"]
	if err := l.Write(&plain, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(&color, &LadderConfig{Color: true}); err != nil {
		t.Fatal(err)
	}
	stripped := color.String()
	for _, code := range []string{"0", "1", "2", "31", "33", "36", "1;32"} {
		stripped = strings.ReplaceAll(stripped, "\x1b["+code+"m", "")
	}
	if stripped != plain.String() {
		t.Errorf("colour changes the text:\n%s\n%s", stripped, plain.String())
	}
	if !strings.Contains(color.String(), "\x1b[31m") {
		t.Error("nothing is red")
	}
	if opens, closes := strings.Count(color.String(), "\x1b["), strings.Count(color.String(), "\x1b[0m"); opens != 2*closes {
		t.Errorf("%d codes, %d resets", opens, closes)
	}
}

// A ladder with nothing to show, or with events of no lane, still draws.
func TestLadderOdd(t *testing.T) {
	for name, l := range map[string]*Ladder{
		"empty":    {Lanes: []string{"a", "b"}},
		"one lane": {Lanes: []string{"a"}, Events: []Event{synOf(EndA, "")}},
		"far time": {Lanes: []string{"a", "b"}, Events: []Event{synOf(EndA, ""), {Time: testEpoch, From: EndB, Flags: rst}}},
	} {
		var b bytes.Buffer
		if err := l.Write(&b, &LadderConfig{Width: 1}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBytesWords(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1: "1 B", 10239: "10239 B", 10240: "10 KiB", 12000: "11.7 KiB", 256 << 20: "256 MiB", 5 << 30: "5 GiB", 1<<63 - 1: "8 EiB",
	} {
		if got := bytesWords(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
