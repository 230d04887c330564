package lab_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
)

func ms(n int) *time.Duration {
	d := time.Duration(n) * time.Millisecond
	return &d
}

func TestZeroScenarioIsValid(t *testing.T) {
	var s lab.Scenario
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if !s.Link.Plain() {
		t.Error("the zero link is not a plain wire")
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	for _, test := range []struct {
		want string // words of the error
		s    lab.Scenario
	}{
		{`family: "ip5"`, lab.Scenario{Family: "ip5"}},
		{`a.nat: "cone" is not a kind of NAT`, lab.Scenario{A: lab.Site{NAT: "cone"}}},
		{"b.nat: linux translates IPv4 only; with family ip6 use none or firewall", lab.Scenario{Family: lab.IP6, A: lab.Site{NAT: "none"}}},
		{"a.nat: eim translates IPv4 only", lab.Scenario{Family: lab.IP6, A: lab.Site{NAT: "none+eim+firewall"}, B: lab.Site{NAT: "none"}}},
		{"a.nat: eim,offset=5: offset: allocation preserving does not use it", lab.Scenario{A: lab.Site{NAT: "eim,offset=5"}}},
		{"a.subscribers: 5 is not between 0 and 4", lab.Scenario{A: lab.Site{Subscribers: 5}}},
		{"a.subscribers: -1 is not between", lab.Scenario{A: lab.Site{Subscribers: -1}}},
		{"b.addresses: 33 is not between 0 and 32", lab.Scenario{B: lab.Site{NAT: "cgn", Addresses: 33}}},
		{"b.addresses: only a model NAT that translates addresses and ports has several, not linux", lab.Scenario{B: lab.Site{NAT: "cgn+linux", Addresses: 2}}},
		{"b.addresses: only a model NAT", lab.Scenario{B: lab.Site{NAT: "model:linux-eim", Addresses: 2}}},
		{"b.cross-traffic: -1 SYNs a second are not between 0 and 100000", lab.Scenario{B: lab.Site{NAT: "cgn", CrossTraffic: -1}}},
		{"b.cross-traffic: NaN SYNs", lab.Scenario{B: lab.Site{NAT: "cgn", CrossTraffic: math.NaN()}}},
		{"link.delay: a delay of -1ms is negative", lab.Scenario{Link: lab.Link{Delay: *ms(-1)}}},
		{"link.ab: a delay of 11s is longer than 10s", lab.Scenario{Link: lab.Link{AB: ms(11000)}}},
		{"link.ba: a delay of -1ms is negative", lab.Scenario{Link: lab.Link{BA: ms(-1)}}},
		{"link.jitter: a jitter of 11s is longer than 10s", lab.Scenario{Link: lab.Link{Jitter: *ms(11000)}}},
		{"link.loss: -0.1 is not a probability", lab.Scenario{Link: lab.Link{Loss: -0.1}}},
		{"link.loss: NaN is not a probability", lab.Scenario{Link: lab.Link{Loss: math.NaN()}}},
		{"b.clock: 2h0m0s is more than 1h0m0s ahead or behind", lab.Scenario{B: lab.Site{Clock: 2 * time.Hour}}},
		{`link.faults[0].direction: "up" is not a direction`, faulty(lab.Fault{Direction: "up", Packet: 1, Action: lab.Lose})},
		{"link.faults[0].packet: packets are counted from 1, not 0", faulty(lab.Fault{Direction: lab.AB, Action: lab.Lose})},
		{`link.faults[0].action: "drop" is not an action`, faulty(lab.Fault{Direction: lab.AB, Packet: 1, Action: "drop"})},
		{"link.faults[0].behind: only reorder takes it, not lose", faulty(lab.Fault{Direction: lab.AB, Packet: 1, Action: lab.Lose, Behind: 2})},
		{"link.faults[0].behind: -1 packets cannot overtake", faulty(lab.Fault{Direction: lab.AB, Packet: 1, Action: lab.Reorder, Behind: -1})},
		{"link.faults[1].packet: packet 1 in direction ab has a fault already, faults[0]",
			faulty(lab.Fault{Direction: lab.AB, Packet: 1, Action: lab.Lose}, lab.Fault{Direction: lab.AB, Packet: 1, Action: lab.Duplicate})},
	} {
		err := test.s.Validate()
		if !errors.Is(err, lab.ErrScenario) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v\nwant %s", err, test.want)
		}
	}
}

func faulty(f ...lab.Fault) lab.Scenario { return lab.Scenario{Link: lab.Link{Faults: f}} }

func TestValidateTellsAllAtOnce(t *testing.T) {
	s := lab.Scenario{Family: "x", A: lab.Site{NAT: "y"}, Link: lab.Link{Delay: -1}}
	if err := s.Validate(); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three lines, got %v", err)
	}
}

func TestDelays(t *testing.T) {
	for _, test := range []struct {
		l      lab.Link
		ab, ba time.Duration
		plain  bool
	}{
		{lab.Link{}, 0, 0, true},
		{lab.Link{Delay: *ms(20)}, *ms(20), *ms(20), false},
		{lab.Link{Delay: *ms(20), AB: ms(30)}, *ms(30), *ms(20), false},
		{lab.Link{Delay: *ms(20), AB: ms(0), BA: ms(0)}, 0, 0, true},
		{lab.Link{BA: ms(1)}, 0, *ms(1), false},
		{lab.Link{Jitter: 1}, 0, 0, false},
		{lab.Link{Loss: 1e-9}, 0, 0, false},
		{lab.Link{Faults: []lab.Fault{{}}}, 0, 0, false},
	} {
		if ab, ba := test.l.Delays(); ab != test.ab || ba != test.ba || test.l.Plain() != test.plain {
			t.Errorf("%+v: delays %v %v, plain %v", test.l, ab, ba, test.l.Plain())
		}
	}
}

func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range lab.Kinds() {
		c, err := lab.ParseNAT(k.Name)
		if err != nil || len(c) != 1 || c[0].Behaviour != k.Behaviour || (c[0].Kernel == k.Name) != k.Kernel || c.Translates() != k.Translates() {
			t.Errorf("ParseNAT(%q) = %+v, %v", k.Name, c, err)
		}
		if k.Mapping == "" || k.Filtering == "" || k.Allocation == "" || k.Unsolicited == "" || k.Crossing == "" || k.About == "" || seen[k.Name] {
			t.Errorf("%s: a word is missing, or it is here twice: %+v", k.Name, k)
		}
		seen[k.Name] = true
		for _, family := range []string{lab.IP4, lab.IP6} {
			s := lab.Scenario{Family: family, A: lab.Site{NAT: k.Name}, B: lab.Site{NAT: k.Name}}
			if ok := s.Validate() == nil; ok != slices.Contains(k.Families, family) {
				t.Errorf("%s with %s: valid %v", k.Name, family, ok)
			}
		}
		if k.Translates() && slices.Contains(k.Families, lab.IP6) {
			t.Errorf("%s translates IPv6", k.Name)
		}
	}
	if first := lab.Kinds()[0]; first.Name != lab.NATLinux || !first.Kernel {
		t.Errorf("the first kind is %s", first.Name)
	}
	for _, p := range nat.Presets() {
		if !seen[p.Name] {
			t.Errorf("preset %s is not listed", p.Name)
		}
	}
}

// What the kinds of the kernel are in the words of the RFCs, as docs/scenario.md has it.
func TestKindWords(t *testing.T) {
	const dependent = "address and port-dependent"
	want := map[string][4]string{
		lab.NATLinux:       {dependent, dependent, "port preserving, overloaded", "dropped"},
		lab.NATLinuxRST:    {dependent, dependent, "port preserving, overloaded", "answered with RST"},
		lab.NATLinuxICMP:   {dependent, dependent, "port preserving, overloaded", "answered with ICMP administratively prohibited"},
		lab.NATLinuxRandom: {dependent, dependent, "random, overloaded", "dropped"},
		lab.NATLinuxEIM:    {"endpoint-independent", "endpoint-independent", "port preserving", "passed to the host"},
		lab.NATLinuxAPDF:   {"endpoint-independent", dependent, "port preserving", "dropped"},
		lab.NATNone:        {"no translation", "none", "no translation", "passed to the host"},
		lab.NATFirewall:    {"no translation", dependent, "no translation", "dropped"},
		"sequential-2":     {dependent, dependent, "sequential +2", "dropped"},
		"offset":           {"endpoint-independent", dependent, "internal port +1000", "dropped"},
		"cgn":              {"endpoint-independent", dependent, "blocks of 512, overloaded", "dropped"},
		"six-seconds":      {"endpoint-independent", dependent, "port preserving", "answered with ICMP after 6s"},
		"pf":               {dependent, dependent, "random, 50001-65535, overloaded", "dropped"},
		"adm":              {"address-dependent", "address-dependent", "port preserving", "dropped"},
		"per-connection":   {"per connection", dependent, "random", "dropped"},
	}
	for _, k := range lab.Kinds() {
		if w, ok := want[k.Name]; ok && w != [4]string{k.Mapping, k.Filtering, k.Allocation, k.Unsolicited} {
			t.Errorf("%s: %q %q %q %q, want %q", k.Name, k.Mapping, k.Filtering, k.Allocation, k.Unsolicited, w)
		}
		delete(want, k.Name)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

// TestAnswerDelayWords: a kind that is late says so.
func TestAnswerDelayWords(t *testing.T) {
	for text, want := range map[string]string{
		"rst-happy,answer-delay=2ms":                "answered with RST after 2ms",
		"model:linux-icmp":                          "answered with ICMP administratively prohibited",
		"eim,unsolicited=icmp-port,answer-delay=1s": "answered with ICMP port unreachable after 1s",
		"six-seconds,unsolicited-wait=2s":           "answered with ICMP after 2s",
		"eim,unsolicited=blacklist,blacklist=500s":  "dropped, its source blacklisted",
	} {
		c, err := lab.ParseNAT(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := c[0].Kind().Unsolicited; got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// docs/scenario.md has a line for each kind.
func TestKindsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/scenario.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range lab.Kinds() {
		live := "model"
		if k.Kernel {
			live = "kernel"
		}
		line := fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s | %s |", k.Name, live, k.Mapping, k.Filtering, k.Allocation, k.Crossing, k.Unsolicited)
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("docs/scenario.md has no line\n%s", line)
		}
	}
}

func TestFaultString(t *testing.T) {
	for want, f := range map[string]lab.Fault{
		"lose packet 1 a to b":             {Direction: lab.AB, Packet: 1, Action: lab.Lose},
		"reorder packet 3 b to a behind 1": {Direction: lab.BA, Packet: 3, Action: lab.Reorder},
		"reorder packet 3 b to a behind 2": {Direction: lab.BA, Packet: 3, Action: lab.Reorder, Behind: 2},
		"duplicate packet 10 a to b":       {Direction: lab.AB, Packet: 10, Action: lab.Duplicate},
	} {
		if got := f.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
