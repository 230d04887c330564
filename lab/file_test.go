package lab_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/lab"
)

func TestLoadEverything(t *testing.T) {
	got, err := lab.Load(strings.NewReader(`
name: all of it
family: ip4
a:
  nat: linux-rst
  clock: -3ms
b: {nat: none, clock: 1h}
link:
  delay: 20ms
  ab: 30ms
  ba: 300us
  jitter: 2ms
  loss: 0.25
  faults:
    - {direction: ab, packet: 1, action: lose}
    - direction: ba
      packet: 2
      action: reorder
      behind: 3
`))
	if err != nil {
		t.Fatal(err)
	}
	ba := 300 * time.Microsecond
	want := &lab.Scenario{Name: "all of it", Family: lab.IP4, A: lab.Site{NAT: "linux-rst", Clock: *ms(-3)}, B: lab.Site{NAT: "none", Clock: time.Hour},
		Link: lab.Link{Delay: *ms(20), AB: ms(30), BA: &ba, Jitter: *ms(2), Loss: 0.25, Faults: []lab.Fault{
			{Direction: lab.AB, Packet: 1, Action: lab.Lose},
			{Direction: lab.BA, Packet: 2, Action: lab.Reorder, Behind: 3},
		}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLoadErrorsNameKeyAndLine(t *testing.T) {
	for _, test := range []struct{ file, want string }{
		{"", "the file is empty"},
		{"# nothing\n", "the file is empty"},
		{"a: {nat: linux", "line 1: "},
		{"just text", "line 1: want keys and values (name, family, a, b, link)"},
		{"a: {nat: linux}\nc: {nat: linux}\n", "line 2: c: unknown key: want name, family, a, b, link"},
		{"a:\n  nat: linux\n  ttl: 3\n", "line 3: a.ttl: unknown key: want nat, subscribers, addresses, cross-traffic, clock"},
		{"a: {nat: linux}\na: {nat: none}\n", "line 2: a: the key stands here a second time"},
		{"a: linux\n", "line 1: a: want keys and values (nat, subscribers"},
		{"a: {nat: [[linux]]}\n", "line 1: a.nat[0]: want text such as linux"},
		{"a: {nat: 5}\n", `line 1: a.nat: want text such as linux or cgn,max-mappings=64, or knobs, not "5"`},
		{"a: {nat: []}\n", "line 1: a.nat: the list is empty"},
		{"a: {nat: {}}\n", "line 1: a.nat: no knob is given: want preset, translation, mapping"},
		{"a:\n  nat:\n    - eim\n    - cone\n", `line 4: a.nat[1]: "cone" is not a kind of NAT`},
		{"a:\n  nat:\n    - eim\n    - preset: cgn\n      max-mapings: 4\n", `line 5: a.nat[1].max-mapings: unknown key "max-mapings": want translation, mapping`},
		{"a:\n  nat:\n    preset: cgnn\n", `line 3: a.nat.preset: "cgnn" is not a preset: want eim`},
		{"a:\n  nat:\n    max-mappings: many\n    preset: cgn\n", `line 3: a.nat.max-mappings: "many" is no number`},
		{"a:\n  nat:\n    preset: random\n    ports: 9-70000\n", `line 4: a.nat.ports: "9-70000" is no range of ports`},
		{"a:\n  nat:\n    preset: random\n    ports: 9-7\n", "line 4: a.nat.ports: 9 is after 7"},
		{"a:\n  nat:\n    preset: random\n    offset: 5\n    delta: 2\n", "line 5: a.nat.delta: allocation random does not use it"},
		{"a:\n  nat:\n    allocation: sequential\n    start: 80\n", "line 4: a.nat.start: 80 is outside of ports 1024-65535"},
		{"a:\n  nat:\n    mapping: apdm\n    mapping: adm\n", "line 4: a.nat.mapping: the key stands here a second time"},
		{"a:\n  nat:\n    mapping: [apdm]\n", "line 3: a.nat.mapping: want a single value"},
		{"a:\n  nat: cgn,blocks=-1\n", "line 2: a.nat: cgn,blocks=-1: blocks: -1 is negative"},
		{"a:\n  nat: cgn\n  subscribers: two\n", `line 3: a.subscribers: want a whole number, not "two"`},
		{"a:\n  nat: cgn\n  cross-traffic: 2ms\n", `line 3: a.cross-traffic: want a number of SYNs a second, not "2ms"`},
		{"a:\n  nat: cgn\n  cross-traffic: 1e9\n", "line 3: a.cross-traffic: 1e+09 SYNs a second are not between 0 and 100000"},
		{"name: 5\n", `line 1: name: want text, not "5"`},
		{"a:\n  nat: cone\n", `line 2: a.nat: "cone" is not a kind of NAT`},
		{"\n\nfamily: ip6\nb: {nat: none}\n", "line 3: a.nat: linux translates IPv4 only"},
		{"link:\n  delay: 20\n", `line 2: link.delay: want a duration with its unit, such as 20ms or 300us, not "20"`},
		{"link:\n  ab: -1ms\n", "line 2: link.ab: a delay of -1ms is negative"},
		{"link:\n  delay: soon\n", "line 2: link.delay: want a duration"},
		{"link:\n  delay: [1ms]\n", "line 2: link.delay: want a duration"},
		{"link:\n  jitter: 2\n", `line 2: link.jitter: want a duration with its unit, such as 20ms or 300us, not "2"`},
		{"link:\n  jitter: -2ms\n", "line 2: link.jitter: a jitter of -2ms is negative"},
		{"link:\n  loss: 1%\n", `line 2: link.loss: want a probability such as 0.01, not "1%"`},
		{"link:\n  loss: 1.5\n", "line 2: link.loss: 1.5 is not a probability: want 0 to 1"},
		{"a:\n  clock: 2\n", `line 2: a.clock: want a duration`},
		{"a:\n  clock: -61m\n", `line 2: a.clock: -1h1m0s is more than 1h0m0s ahead or behind`},
		{"link:\n  faults: 3\n", "line 2: link.faults: want a list"},
		{"link:\n  faults:\n    - {direction: ab, packet: 1, action: lose}\n    - {direction: ab, packet: one, action: lose}\n",
			`line 4: link.faults[1].packet: want a whole number, not "one"`},
		{"link:\n  faults:\n    - {direction: ab, packet: 1, action: lose}\n    - {direction: ab, action: lose}\n",
			"line 4: link.faults[1].packet: packets are counted from 1, not 0"},
		{"link:\n  faults:\n    - {direction: ab, packet: 1.5, action: lose}\n", "line 3: link.faults[0].packet: want a whole number"},
		{"a: &x {nat: none}\nb: *x\n", "line 2: b: want keys and values"},
		{"a: {nat: none}\n---\nb: {nat: none}\n", "line 2: a second document"},
		{"a: {nat: none}\n---\n", "a second document"},
		{"? [1]\n: 2\n", "unknown key"},
		{strings.Repeat("#", 1<<20+1), "longer than"},
		{"a: \xff", ""},
	} {
		_, err := lab.Load(strings.NewReader(test.file))
		var fe *lab.FileError
		if !errors.Is(err, lab.ErrScenario) || !errors.As(err, &fe) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.60q:\ngot  %v\nwant %s", test.file, err, test.want)
		}
	}
}

func TestLoadTellsAllInOrder(t *testing.T) {
	_, err := lab.Load(strings.NewReader("b: {nat: cone}\nx: 1\nlink: {delay: 3}\n"))
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "line 1: b.nat") || !strings.HasPrefix(lines[1], "line 2: x") || !strings.HasPrefix(lines[2], "line 3: link.delay") {
		t.Errorf("got %v", err)
	}
}

// The three forms in which a file can have a NAT.
func TestLoadNAT(t *testing.T) {
	for file, want := range map[string]string{
		"cgn,max-mappings=64":                                 "cgn,max-mappings=64",
		"eim+model:linux":                                     "eim+model:linux",
		"{preset: cgn, max-mappings: 64}":                     "cgn,max-mappings=64",
		"{max-mappings: 64, preset: cgn}":                     "cgn,max-mappings=64",
		"{preset: linux}":                                     "model:linux",
		"{preset: linux, transitory: 5s}":                     "linux,transitory=5s",
		"{mapping: apdm, overloading: true, filtering: apdf}": "mapping=apdm,overloading=true,filtering=apdf",
		"[linux]":                          "linux",
		"[eim, {preset: cgn, blocks: 2}]":  "eim+cgn,blocks=2",
		"[{strip-options: mss+sack}, cgn]": "strip-options=mss+sack+cgn",
	} {
		s, err := lab.Load(strings.NewReader("a:\n  nat: " + file + "\n  cross-traffic: 2.5\n  subscribers: 2\n"))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if want := (lab.Site{NAT: want, CrossTraffic: 2.5, Subscribers: 2}); s.A != want {
			t.Errorf("%s: %+v, want %+v", file, s.A, want)
		}
	}
}

func TestLoadEmptyValuesAreDefaults(t *testing.T) {
	got, err := lab.Load(strings.NewReader("a:\nb: {}\nlink:\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&lab.Scenario{}, got); d != "" {
		t.Error(d)
	}
}

func TestLoadPassesReadErrorsOn(t *testing.T) {
	if _, err := lab.Load(iotest.ErrReader(os.ErrPermission)); !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

// The examples that documentation points to.
func TestExamplesLoad(t *testing.T) {
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := lab.Load(bytes.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Name+".yaml" != filepath.Base(name) {
			t.Errorf("%s calls itself %q", name, s.Name)
		}
	}
}

func scenarios() *rapid.Generator[lab.Scenario] {
	return rapid.Custom(func(t *rapid.T) lab.Scenario {
		s := lab.Scenario{
			Name:   rapid.OneOf(rapid.StringMatching(`[ -~]*`), rapid.SampledFrom([]string{"", "5", "null", "a: b", "é\n", "*x", "2001-01-01"})).Draw(t, "name"),
			Family: rapid.SampledFrom([]string{"", lab.IP4, lab.IP6}).Draw(t, "family"),
		}
		var names []string
		for _, k := range lab.Kinds() {
			if s.Family != lab.IP6 || !k.Translates() {
				names = append(names, k.Name)
			}
		}
		if s.Family != lab.IP6 {
			names = append(names, "")
		}
		s.A.NAT = rapid.SampledFrom(names).Draw(t, "a")
		s.B.NAT = rapid.SampledFrom(names).Draw(t, "b")
		if s.Family != lab.IP6 {
			s.B.NAT = rapid.SampledFrom([]string{s.B.NAT, "model:linux", "eim+cgn,max-mappings=3", "strip-options=sack+wscale"}).Draw(t, "b, or a vector")
		}
		s.A.Subscribers = rapid.IntRange(0, lab.MaxSubscribers).Draw(t, "subscribers")
		s.A.Clock = time.Duration(rapid.Int64Range(-int64(lab.MaxClock), int64(lab.MaxClock)).Draw(t, "clock"))
		s.A.CrossTraffic = rapid.Float64Range(0, lab.MaxCrossTraffic).Draw(t, "cross traffic")
		delay := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(lab.MaxDelay)).Draw(t, "delay"))
		})
		s.Link.Delay = delay.Draw(t, "each way")
		s.Link.AB = rapid.Ptr(delay, true).Draw(t, "ab")
		s.Link.BA = rapid.Ptr(delay, true).Draw(t, "ba")
		s.Link.Jitter = delay.Draw(t, "jitter")
		s.Link.Loss = rapid.Float64Range(0, 1).Draw(t, "loss")
		for i := range rapid.IntRange(0, 5).Draw(t, "faults") {
			f := lab.Fault{
				Direction: rapid.SampledFrom([]lab.Direction{lab.AB, lab.BA}).Draw(t, "direction"),
				Packet:    10*i + rapid.IntRange(1, 10).Draw(t, "packet"),
				Action:    rapid.SampledFrom([]lab.Action{lab.Lose, lab.Duplicate, lab.Reorder}).Draw(t, "action"),
			}
			if f.Action == lab.Reorder {
				f.Behind = rapid.IntRange(0, 5).Draw(t, "behind")
			}
			s.Link.Faults = append(s.Link.Faults, f)
		}
		return s
	})
}

func TestWriteAndLoadAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := scenarios().Draw(t, "scenario")
		var b bytes.Buffer
		if err := want.Write(&b); err != nil {
			t.Fatal(err)
		}
		got, err := lab.Load(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatalf("%v\n%s", err, b.Bytes())
		}
		if d := cmp.Diff(&want, got); d != "" {
			t.Fatalf("%s\n%s", d, b.Bytes())
		}
	})
}

func TestWriteRefusesWhatLoadWould(t *testing.T) {
	s := lab.Scenario{A: lab.Site{NAT: "cone"}}
	if err := s.Write(&bytes.Buffer{}); !errors.Is(err, lab.ErrScenario) {
		t.Errorf("got %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("../examples/*.yaml")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("a: {nat: [eim, {preset: cgn, blocks: -1}, {strip-options: mss+sack}], cross-traffic: .nan}\n"))
	f.Add([]byte("link: {faults: [{}, {packet: -1}]}\na: [*x]\n? {}: 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := lab.Load(bytes.NewReader(text))
		if err != nil {
			if !errors.Is(err, lab.ErrScenario) {
				t.Errorf("an error that is not ErrScenario: %v", err)
			}
			return
		}
		if err := s.Validate(); err != nil {
			t.Errorf("loaded, but not valid: %v", err)
		}
	})
}
