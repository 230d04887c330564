package rawtcp_test

import (
	"encoding/json"
	"testing"

	"github.com/synpunch/synpunch/rawtcp"
)

func TestFlagsString(t *testing.T) {
	for _, test := range []struct {
		flags rawtcp.Flags
		want  string
	}{
		{0, "none"},
		{rawtcp.SYN, "SYN"},
		{rawtcp.SYN | rawtcp.ACK, "SYN-ACK"},
		{rawtcp.RST, "RST"},
		{rawtcp.RST | rawtcp.ACK, "RST-ACK"},
		{rawtcp.ACK, "ACK"},
		{rawtcp.PSH | rawtcp.ACK, "PSH-ACK"},
		{rawtcp.FIN | rawtcp.ACK, "FIN-ACK"},
		{rawtcp.FIN | rawtcp.PSH | rawtcp.ACK, "FIN-PSH-ACK"},
		{rawtcp.SYN | rawtcp.ECE | rawtcp.CWR, "SYN-ECE-CWR"},
		{rawtcp.FIN | rawtcp.URG | rawtcp.PSH, "FIN-PSH-URG"},
		{0xff, "SYN-FIN-RST-PSH-URG-ECE-CWR-ACK"},
	} {
		if got := test.flags.String(); got != test.want {
			t.Errorf("Flags(%#02x).String() = %q, want %q", uint8(test.flags), got, test.want)
		}
	}
}

func TestFlagsAreTheWireBits(t *testing.T) {
	// RFC 9293 section 3.1: CWR ECE URG ACK PSH RST SYN FIN from the top.
	for i, f := range []rawtcp.Flags{rawtcp.FIN, rawtcp.SYN, rawtcp.RST, rawtcp.PSH, rawtcp.ACK, rawtcp.URG, rawtcp.ECE, rawtcp.CWR} {
		if f != 1<<i {
			t.Errorf("%v is %#02x, want bit %d", f, uint8(f), i)
		}
	}
}

func TestFlagsText(t *testing.T) {
	for v := range 256 {
		want := rawtcp.Flags(v)
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got rawtcp.Flags
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got != want {
			t.Errorf("%s read back as %v, want %v", text, got, want)
		}
	}
	for _, bad := range []string{"", "-", "syn", "SYN-", "SYN ACK", "none-SYN"} {
		var f rawtcp.Flags
		if err := f.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q read as %v, want an error", bad, f)
		}
	}
}

func TestFlagsHas(t *testing.T) {
	f := rawtcp.SYN | rawtcp.ACK
	if !f.Has(rawtcp.SYN) || !f.Has(rawtcp.SYN|rawtcp.ACK) || f.Has(rawtcp.SYN|rawtcp.RST) || !f.Has(0) {
		t.Errorf("Has is wrong on %v", f)
	}
}
