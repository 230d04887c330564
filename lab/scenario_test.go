package lab_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab"
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
		{"link.delay: a delay of -1ms is negative", lab.Scenario{Link: lab.Link{Delay: *ms(-1)}}},
		{"link.ab: a delay of 11s is longer than 10s", lab.Scenario{Link: lab.Link{AB: ms(11000)}}},
		{"link.ba: a delay of -1ms is negative", lab.Scenario{Link: lab.Link{BA: ms(-1)}}},
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
		{lab.Link{Faults: []lab.Fault{{}}}, 0, 0, false},
	} {
		if ab, ba := test.l.Delays(); ab != test.ab || ba != test.ba || test.l.Plain() != test.plain {
			t.Errorf("%+v: delays %v %v, plain %v", test.l, ab, ba, test.l.Plain())
		}
	}
}

func TestKinds(t *testing.T) {
	for _, k := range lab.Kinds() {
		got, err := lab.ParseKind(k.Name)
		if err != nil || got.Name != k.Name {
			t.Errorf("ParseKind(%q) = %v, %v", k.Name, got, err)
		}
		if k.Mapping == "" || k.Filtering == "" || k.Allocation == "" || k.Unsolicited == "" || k.About == "" {
			t.Errorf("%s: a word is missing: %+v", k.Name, k)
		}
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
	// What a caller does to the list stays with the caller.
	lab.Kinds()[0].Families[0] = "spoiled"
	if lab.Kinds()[0].Families[0] == "spoiled" {
		t.Error("Kinds gives its own list away")
	}
	if k, err := lab.ParseKind(""); err != nil || k.Name != lab.NATLinux {
		t.Errorf("the default kind is %v, %v", k.Name, err)
	}
	if _, err := lab.ParseKind("symmetric"); err == nil || !strings.Contains(err.Error(), "linux-eim-apdf") {
		t.Errorf("an unknown kind's error does not list the known: %v", err)
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
