package capture

import (
	"bytes"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

// fillTCPChecksum against rawtcp's own arithmetic, whatever stood there before.
func TestFillTCPChecksum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rawtcp.Segment{
			Src: netip.MustParseAddrPort("192.0.2.1:5000"), Dst: netip.MustParseAddrPort("255.255.255.255:65535"),
			Seq: rawtcp.Seq(rapid.Uint32().Draw(t, "seq")), Flags: rawtcp.PSH | rawtcp.ACK,
			Payload: rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "payload"),
		}
		head := 20
		if rapid.Bool().Draw(t, "six") {
			s.Src, s.Dst = netip.MustParseAddrPort("[2001:db8::1]:5000"), netip.MustParseAddrPort("[ffff::ffff]:65535")
			head = 40
		}
		want, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got := bytes.Clone(want)
		got[head+16], got[head+17] = rapid.Byte().Draw(t, "high"), rapid.Byte().Draw(t, "low")
		padded := append(bytes.Clone(got), rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "padding")...)
		fillTCPChecksum(padded)
		if !bytes.Equal(padded[:len(want)], want) {
			t.Fatalf("% x, want % x", padded[head+16:head+18], want[head+16:head+18])
		}
	})
}

// What it must leave alone, it leaves alone; and it takes anything.
func TestFillTCPChecksumLeaves(t *testing.T) {
	s := rawtcp.Segment{Src: netip.MustParseAddrPort("192.0.2.1:5000"), Dst: netip.MustParseAddrPort("192.0.2.2:80"), Flags: rawtcp.SYN}
	packet, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	packet[36], packet[37] = 0xbe, 0xef
	for name, edit := range map[string]func([]byte) []byte{
		"UDP":            func(b []byte) []byte { b[9] = 17; return b },
		"first fragment": func(b []byte) []byte { b[6] |= 0x20; return b },
		"fragment":       func(b []byte) []byte { b[7] = 1; return b },
		"snapped":        func(b []byte) []byte { return b[:39] },
		"header only":    func(b []byte) []byte { return b[:20] },
		"bad header":     func(b []byte) []byte { b[0] = 0x41; return b },
		"bad length":     func(b []byte) []byte { b[2], b[3] = 0, 3; return b },
		"no version":     func(b []byte) []byte { b[0] = 0; return b },
		"big TCP":        func(b []byte) []byte { b[2], b[3] = 0, 0; return b },
	} {
		before := edit(bytes.Clone(packet))
		after := bytes.Clone(before)
		fillTCPChecksum(after)
		if !bytes.Equal(before, after) {
			t.Errorf("%s: changed", name)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		fillTCPChecksum(rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "anything"))
	})
}
