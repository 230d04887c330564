package rawtcp_test

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

func TestSegmentLen(t *testing.T) {
	for _, test := range []struct {
		s    rawtcp.Segment
		want uint32
	}{
		{rawtcp.Segment{}, 0},
		{rawtcp.Segment{Flags: rawtcp.ACK}, 0},
		{rawtcp.Segment{Flags: rawtcp.SYN}, 1},
		{rawtcp.Segment{Flags: rawtcp.SYN | rawtcp.FIN, Payload: []byte("ab")}, 4},
		{rawtcp.Segment{Flags: rawtcp.FIN | rawtcp.ACK}, 1},
		{rawtcp.Segment{Payload: []byte("ab"), PayloadLen: 1460}, 1460}, // cut by a capture
	} {
		test.s.Seq = 1<<32 - 1
		if got := test.s.Len(); got != test.want {
			t.Errorf("%v: Len() = %d, want %d", &test.s, got, test.want)
		}
		if got, want := test.s.End(), rawtcp.Seq(test.want-1); got != want {
			t.Errorf("%v: End() = %d, want %d", &test.s, got, want)
		}
	}
}

func TestSegmentString(t *testing.T) {
	for _, test := range []struct {
		s    rawtcp.Segment
		want string
	}{
		{*benchSYN(false), "192.0.2.1:40000 > 198.51.100.7:443 SYN seq 16909060 win 64240 <mss 1460,sackOK,TS val 1000 ecr 0,wscale 7> len 0 ttl 64"},
		{rawtcp.Segment{
			Src: netip.MustParseAddrPort("[2001:db8::1]:1"), Dst: netip.MustParseAddrPort("[2001:db8::2]:2"),
			Seq: 1, Ack: 2, Flags: rawtcp.PSH | rawtcp.ACK | rawtcp.URG, Window: 3, Urgent: 4, TTL: 5, Payload: []byte("abc"),
			Options: rawtcp.Options{NSACK: 2, SACK: [4]rawtcp.SACKBlock{{Left: 6, Right: 7}, {Left: 8, Right: 9}}, FastOpen: true, MPTCP: true, Other: true},
		}, "[2001:db8::1]:1 > [2001:db8::2]:2 PSH-URG-ACK seq 1 ack 2 win 3 urg 4 <sack 6:7,sack 8:9,tfo,mptcp,other> len 3 ttl 5"},
		{rawtcp.Segment{}, "invalid AddrPort > invalid AddrPort none seq 0 win 0 len 0 ttl 0"},
	} {
		if got := test.s.String(); got != test.want {
			t.Errorf("String():\n got %s\nwant %s", got, test.want)
		}
	}
}

// drawAddr draws an address of one family, with the special ones often.
func drawAddr(t *rapid.T, v6 bool, label string) netip.Addr {
	if v6 {
		for {
			a := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label)))
			if !a.Is4In6() {
				return a
			}
		}
	}
	return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, label)))
}

// drawOptions draws options that fit into a header.
func drawOptions(t *rapid.T) rawtcp.Options {
	var o rawtcp.Options
	room := 40
	take := func(n int, label string) bool {
		if n > room || !rapid.Bool().Draw(t, label) {
			return false
		}
		room -= n
		return true
	}
	if take(4, "has MSS") {
		o.MSS = rapid.Uint16Min(1).Draw(t, "MSS")
	}
	if take(4, "has wscale") {
		o.HasWScale, o.WScale = true, rapid.Uint8Max(14).Draw(t, "wscale")
	}
	if take(12, "has timestamps") {
		o.HasTimestamps = true
		o.TSVal, o.TSEcr = rapid.Uint32().Draw(t, "tsval"), rapid.Uint32().Draw(t, "tsecr")
		o.SACKPermitted = rapid.Bool().Draw(t, "sackOK")
	} else if take(4, "sackOK") {
		o.SACKPermitted = true
	}
	if most := (room - 4) / 8; most > 0 && rapid.Bool().Draw(t, "has SACK") {
		o.NSACK = uint8(rapid.IntRange(1, min(4, most)).Draw(t, "sack blocks"))
		for i := range o.NSACK {
			o.SACK[i] = rawtcp.SACKBlock{Left: rawtcp.Seq(rapid.Uint32().Draw(t, "left")), Right: rawtcp.Seq(rapid.Uint32().Draw(t, "right"))}
		}
	}
	return o
}

// drawSegment draws any segment that Append can write, as Parse returns it.
func drawSegment(t *rapid.T) rawtcp.Segment {
	v6 := rapid.Bool().Draw(t, "IPv6")
	s := rawtcp.Segment{
		Src:    netip.AddrPortFrom(drawAddr(t, v6, "src"), rapid.Uint16().Draw(t, "sport")),
		Dst:    netip.AddrPortFrom(drawAddr(t, v6, "dst"), rapid.Uint16().Draw(t, "dport")),
		TTL:    rapid.Uint8Min(1).Draw(t, "ttl"),
		TOS:    rapid.Uint8().Draw(t, "tos"),
		Seq:    rawtcp.Seq(rapid.Uint32().Draw(t, "seq")),
		Ack:    rawtcp.Seq(rapid.Uint32().Draw(t, "ack")),
		Flags:  rawtcp.Flags(rapid.Uint8().Draw(t, "flags")),
		Window: rapid.Uint16().Draw(t, "window"),
		Urgent: rapid.Uint16().Draw(t, "urgent"),
	}
	if !v6 {
		s.ID, s.DF = rapid.Uint16().Draw(t, "id"), rapid.Bool().Draw(t, "df")
	}
	s.Options = drawOptions(t)
	s.Payload = rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "payload")
	s.PayloadLen = len(s.Payload)
	return s
}
