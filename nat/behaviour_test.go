package nat

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func TestPresetsAreSoundAndRoundTrip(t *testing.T) {
	names := map[string]bool{}
	for _, p := range Presets() {
		if names[p.Name] || p.About == "" {
			t.Errorf("%s: the name stands twice, or nothing is said about it", p.Name)
		}
		names[p.Name] = true
		b := p.Behaviour
		if err := b.Validate(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if got, err := Parse(p.Name); err != nil || got != b {
			t.Errorf("Parse(%s) = %v, %v", p.Name, got, err)
		}
		if got, err := Parse(b.String()); err != nil || got != b {
			t.Errorf("%s: Parse(%q) = %v, %v", p.Name, b, got, err)
		}
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		var back Behaviour
		if err := json.Unmarshal(text, &back); err != nil || back != b {
			t.Errorf("%s: %s became %v, %v", p.Name, text, back, err)
		}
		if text, err = yaml.Marshal(b); err != nil {
			t.Fatal(err)
		}
		back = Behaviour{}
		if err := yaml.Unmarshal(text, &back); err != nil || back != b {
			t.Errorf("%s: %s became %v, %v", p.Name, text, back, err)
		}
	}
}

// Every field has a knob, so that a scenario file can state any vector.
func TestEveryFieldHasAKnob(t *testing.T) {
	if fields := reflect.TypeFor[Behaviour]().NumField(); fields != len(knobs) {
		t.Errorf("%d fields, %d knobs", fields, len(knobs))
	}
	for _, k := range Knobs() {
		var b Behaviour
		v, err := b.Get(k.Name)
		if err != nil {
			t.Error(err)
		}
		if err := b.Set(k.Name, v); err != nil {
			t.Error(err)
		}
		if k.About == "" || k.Values == "" {
			t.Errorf("%s: nothing is said about it", k.Name)
		}
	}
}

func TestBadTextNamesTheKey(t *testing.T) {
	for text, key := range map[string]string{
		"mapping=cone":                              "mapping",
		"ports=0-100":                               "ports",
		"ports=2000-1000":                           "ports",
		"ports=1-70000":                             "ports",
		"allocation=offset,offset=70000":            "offset",
		"offset=1":                                  "offset",
		"allocation=sequential,start=80":            "start",
		"allocation=block,block-size=100000":        "block-size",
		"allocation=block,ports=1024-1030":          "block-size",
		"overloading=true":                          "filtering",
		"filtering=open":                            "filtering",
		"tracking=linux,pickup=true":                "pickup",
		"tracking=linux,outbound-synack=new":        "outbound-synack",
		"transitory=soon":                           "transitory",
		"established=-1s":                           "established",
		"rst-in=explode":                            "rst-in",
		"strip-options=mss+ttl":                     "strip-options",
		"mss-clamp=10":                              "mss-clamp",
		"mss-clamp=70000":                           "mss-clamp",
		"max-mappings=-1":                           "max-mappings",
		"translation=none,allocation=random":        "allocation",
		"unsolicited=rst,unsolicited-wait=1s":       "unsolicited-wait",
		"unsolicited=rst,blacklist=1s":              "blacklist",
		"unsolicited=drop,answer-delay=1s":          "answer-delay",
		"unsolicited=wait,answer-delay=1s":          "answer-delay",
		"unsolicited=rst,answer-delay=-1s":          "answer-delay",
		"translation=none,collision=overload":       "collision",
		"translation=one-to-one,ports=5000-6000":    "ports",
		"translation=none,pooling=arbitrary":        "pooling",
		"rewrite-sack=left":                         "rewrite-sack",
		"hairpinning=none,hairpin-open=true":        "hairpin-open",
		"cgn,hairpin-open=true":                     "hairpin-open",
		"mapping=adm,mapping=eim":                   "mapping",
		"eim,hold-down=1s,hold-down=2s":             "hold-down",
		"syn-rate=2000000000":                       "syn-rate",
		"allocation=block,blocks=-1":                "blocks",
		"collision=overload":                        "filtering",
		"eim,colour=red":                            "colour",
		"nonesuch":                                  "nonesuch",
		"pickup=maybe":                              "pickup",
		"ports=7-7,parity=even":                     "parity",
		"allocation=random,collision=next":          "collision",
		"allocation=sequential,delta=100000":        "delta",
		"allocation=clock,clock-rate=2000000000000": "clock-rate",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("Parse(%q): %v, want an error about %s", text, err, key)
		}
	}
	var b Behaviour
	for _, text := range []string{
		`{"mapping": "adm", "mapping": "eim"}`, `{"colour": "red"}`, `[]`, `{"preset": "nonesuch"}`, `{"mapping": {}}`, `{"mapping": null}`, `7`,
	} {
		if err := json.Unmarshal([]byte(text), &b); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
	if err := yaml.Unmarshal([]byte("preset: eim\nfilterin: eif\n"), &b); !errors.Is(err, ErrUnknownKey) || !strings.Contains(err.Error(), "filterin") {
		t.Errorf("an unknown key: %v", err)
	}
	if b != (Behaviour{}) {
		t.Errorf("a refused text left %v", b)
	}
}

func TestTextOnTopOfAPreset(t *testing.T) {
	want := preset(t, "cgn")
	want.MaxMappings, want.Established = 64, 90*time.Second
	for _, text := range []string{"preset: cgn\nmax-mappings: 64\nestablished: 90s\n", "cgn,max-mappings=64,established=1m30s"} {
		var got Behaviour
		if err := yaml.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s became %v, %v", text, got, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Behaviour{Filtering: Open}, &Config{}); !errors.Is(err, ErrBehaviour) {
		t.Error(err)
	}
	var key *KeyError
	if _, err := New(Behaviour{Filtering: Open}, nil); !errors.As(err, &key) || key.Key != "filtering" {
		t.Error(err)
	}
	if _, err := New(Behaviour{}, nil); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
}

// FuzzParse: whatever the text, a vector or an error; and every vector has a text of its own.
func FuzzParse(f *testing.F) {
	for _, p := range presets {
		f.Add(p.Name)
		f.Add(p.Behaviour.String())
	}
	f.Add("cgn,max-mappings=64,rst-in=close after 2s,strip-options=mss+sack,ports=1-10")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := Parse(text)
		var fromJSON Behaviour
		if json.Unmarshal([]byte(text), &fromJSON) == nil && fromJSON.Validate() != nil {
			t.Fatalf("JSON became %v", fromJSON)
		}
		if err != nil {
			if !errors.Is(err, ErrBehaviour) && !errors.Is(err, ErrUnknownKey) && !strings.HasPrefix(err.Error(), "nat: ") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := Parse(b.String())
		if err != nil || again != b {
			t.Fatalf("%q became %v, and that %v, %v", text, b, again, err)
		}
		j, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(j, &fromJSON); err != nil || fromJSON != b {
			t.Fatalf("%s became %v, %v", j, fromJSON, err)
		}
		if _, err := New(b, &Config{Public: []netip.Addr{public}}); err != nil {
			t.Fatalf("%v: %v", b, err)
		}
	})
}
