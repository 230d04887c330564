package lab_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
)

func TestParseNAT(t *testing.T) {
	for text, want := range map[string][]string{ // box after box: the kernel's kind, and its text
		"":                                       {"linux/linux"},
		"linux-rst":                              {"linux-rst/linux-rst"},
		"model:linux-rst":                        {"/model:linux-rst"},
		"cgn":                                    {"/cgn"},
		"linux,transitory=5s":                    {"/linux,transitory=5s"},
		"eim+cgn":                                {"/eim", "/cgn"},
		"firewall + model:none+linux+pf":         {"firewall/firewall", "/model:none", "linux/linux", "/pf"},
		"strip-options=mss+sack":                 {"/strip-options=mss+sack"},
		"eim,strip-options=mss+sack,delta=0+cgn": {"/eim,strip-options=mss+sack,delta=0", "/cgn"},
		"strip-options=mss+cgn+sequential":       {"/strip-options=mss", "/cgn", "/sequential"},
	} {
		c, err := lab.ParseNAT(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var got []string
		for _, b := range c {
			got = append(got, b.Kernel+"/"+b.Text)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", text, d)
		}
		again, err := lab.ParseNAT(c.String())
		if d := cmp.Diff(c, again); d != "" || err != nil {
			t.Errorf("%q: String gives %q: %v %s", text, c.String(), err, d)
		}
	}
}

func TestParseNATErrors(t *testing.T) {
	for text, want := range map[string]struct {
		is   error
		says string
	}{
		"cone":                         {nat.ErrUnknownKey, `"cone" is not a kind of NAT: want linux, linux-rst`},
		"model:cone":                   {nat.ErrUnknownKey, `"model:cone" is not a kind of NAT`},
		"model:":                       {lab.ErrScenario, "a NAT is missing"},
		"eim+":                         {lab.ErrScenario, "a NAT is missing"},
		"+":                            {lab.ErrScenario, "a NAT is missing"},
		"eim+cone":                     {nat.ErrUnknownKey, `"cone" is not`},
		"eim,colour=blue":              {nat.ErrUnknownKey, `eim,colour=blue: unknown key "colour": want translation`},
		"eim,offset=5":                 {nat.ErrBehaviour, "eim,offset=5: offset: allocation preserving does not use it"},
		"eim,offset=5,delta=2":         {nat.ErrBehaviour, "not use it; delta: allocation"},
		"eim,mapping=apdm,mapping=adm": {nat.ErrBehaviour, "mapping: it stands here a second time"},
		"eim,ports=0-70000":            {lab.ErrScenario, `ports: "0-70000" is no range of ports`},
		"eim,cgn":                      {lab.ErrScenario, "a preset comes first"},
		"eim+eim+eim+eim+eim":          {lab.ErrScenario, "5 NATs one behind the other are more than 4"},
		"strip-options=mss+blue":       {nat.ErrUnknownKey, `"blue" is not a kind of NAT`},
	} {
		_, err := lab.ParseNAT(text)
		if !errors.Is(err, want.is) || !errors.Is(err, lab.ErrScenario) || !strings.Contains(err.Error(), want.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v, want %s", text, err, want.says)
		}
	}
}

func TestChainPreserves(t *testing.T) {
	for text, want := range map[string]bool{
		"linux": true, "linux-random": false, "eim": true, "offset": false, "sequential": false, "random": false,
		"eim+cgn": false, "cgn+eim": false, "linux+eim-eif": true, "none": true, "firewall+none": true, "model:linux-eim": true,
		"eim,ports=50000-60000": false, "eim,ports=30000-60000": true,
	} {
		c, err := lab.ParseNAT(text)
		if err != nil || c.Preserves(40000) != want {
			t.Errorf("%s: %v, error %v", text, c.Preserves(40000), err)
		}
	}
	if c, err := lab.ParseNAT("eim"); err != nil || c.Preserves(500) {
		t.Error("eim moves ports below 1024 up")
	}
	if c, err := lab.ParseNAT("linux"); err != nil || !c.Preserves(500) {
		t.Error("linux leaves them")
	}
}

func FuzzParseNAT(f *testing.F) {
	for _, k := range lab.Kinds() {
		f.Add(k.Name)
		f.Add(k.Behaviour.String() + "+" + k.Name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := lab.ParseNAT(text)
		if err != nil {
			if !errors.Is(err, lab.ErrScenario) {
				t.Errorf("%q: not ErrScenario: %v", text, err)
			}
			return
		}
		for i := range c {
			if err := c[i].Behaviour.Validate(); err != nil {
				t.Errorf("%q: box %d: %v", text, i, err)
			}
		}
		if again, err := lab.ParseNAT(c.String()); err != nil || !cmp.Equal(c, again) {
			t.Errorf("%q: %q is another chain: %v", text, c.String(), err)
		}
	})
}
