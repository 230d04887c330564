package rawtcp_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

// icmpAbout builds an ICMP error from a router about the packet, of which it
// quotes the first bytes.
func icmpAbout(router, to netip.Addr, typ, code uint8, rest uint32, quote []byte) []byte {
	msg := binary.BigEndian.AppendUint32([]byte{typ, code, 0, 0}, rest)
	msg = append(msg, quote...)
	var pkt []byte
	if router.Is4() {
		binary.BigEndian.PutUint16(msg[2:], slowChecksum(msg))
		pkt = []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0}
		pkt = append(append(pkt, router.AsSlice()...), to.AsSlice()...)
		binary.BigEndian.PutUint16(pkt[2:], uint16(20+len(msg)))
		binary.BigEndian.PutUint16(pkt[10:], slowChecksum(pkt))
	} else {
		binary.BigEndian.PutUint16(msg[2:], slowChecksum(pseudoHeader(router, to, 58, len(msg)), msg))
		pkt = []byte{0x60, 0, 0, 0, 0, 0, 58, 64}
		binary.BigEndian.PutUint16(pkt[4:], uint16(len(msg)))
		pkt = append(append(pkt, router.AsSlice()...), to.AsSlice()...)
	}
	return append(pkt, msg...)
}

var routers = map[bool]netip.Addr{false: netip.MustParseAddr("203.0.113.9"), true: netip.MustParseAddr("2001:db8:f::9")}

func TestParseICMPWords(t *testing.T) {
	for _, test := range []struct {
		v6         bool
		typ, code  uint8
		rest       uint32 // bytes 4 to 7 of the message
		want       string
		mtu        uint32
		wantNotOne bool // an ErrNotICMP
	}{
		{typ: 3, code: 0, want: "network unreachable"},
		{typ: 3, code: 1, want: "host unreachable"},
		{typ: 3, code: 2, want: "protocol unreachable"},
		{typ: 3, code: 3, want: "port unreachable"},
		{typ: 3, code: 4, rest: 1400, want: "fragmentation needed (MTU 1400)", mtu: 1400},
		{typ: 3, code: 9, want: "network prohibited"},
		{typ: 3, code: 10, want: "host prohibited"},
		{typ: 3, code: 13, want: "admin prohibited"},
		{typ: 3, code: 15, want: "precedence cutoff"},
		{typ: 3, code: 16, want: "unreachable, code 16"},
		{typ: 11, code: 0, want: "ttl exceeded"},
		{typ: 11, code: 1, want: "reassembly time exceeded"},
		{typ: 12, code: 0, rest: 20 << 24, want: "parameter problem, code 0"},
		{typ: 0, wantNotOne: true},
		{typ: 4, wantNotOne: true}, // source quench, RFC 6633
		{typ: 5, wantNotOne: true}, // redirect
		{typ: 8, wantNotOne: true},
		{v6: true, typ: 1, code: 0, want: "no route"},
		{v6: true, typ: 1, code: 1, want: "admin prohibited"},
		{v6: true, typ: 1, code: 3, want: "host unreachable"},
		{v6: true, typ: 1, code: 4, want: "port unreachable"},
		{v6: true, typ: 1, code: 6, want: "route rejected"},
		{v6: true, typ: 1, code: 99, want: "unreachable, code 99"},
		{v6: true, typ: 2, rest: 70000, want: "packet too big (MTU 70000)", mtu: 70000},
		{v6: true, typ: 3, code: 0, want: "hop limit exceeded"},
		{v6: true, typ: 3, code: 1, want: "reassembly time exceeded"},
		{v6: true, typ: 4, code: 1, want: "parameter problem, code 1"},
		{v6: true, typ: 0, wantNotOne: true},
		{v6: true, typ: 128, wantNotOne: true},
		{v6: true, typ: 137, wantNotOne: true},
	} {
		syn := benchSYN(test.v6)
		router := routers[test.v6]
		pkt := icmpAbout(router, syn.Src.Addr(), test.typ, test.code, test.rest, mustAppend(t, syn))
		if err := rawtcp.VerifyChecksums(pkt); err != nil {
			t.Errorf("type %d: %v", test.typ, err)
		}
		e, err := rawtcp.ParseICMP(pkt)
		if test.wantNotOne {
			if !errors.Is(err, rawtcp.ErrNotICMP) || e != (rawtcp.ICMPError{}) {
				t.Errorf("type %d: %v, %v; want ErrNotICMP", test.typ, e, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("type %d code %d: %v", test.typ, test.code, err)
			continue
		}
		want := rawtcp.ICMPError{From: router, V6: test.v6, Type: test.typ, Code: test.code, Src: syn.Src, Dst: syn.Dst, Seq: syn.Seq, MTU: test.mtu}
		if e != want {
			t.Errorf("type %d code %d:\n got %+v\nwant %+v", test.typ, test.code, e, want)
		}
		if got, want := e.String(), test.want+" from "+router.String(); got != want {
			t.Errorf("type %d code %d: %q, want %q", test.typ, test.code, got, want)
		}
	}
	for _, e := range []rawtcp.ICMPError{{Type: 77, Code: 1}, {V6: true, Type: 77, Code: 1}} {
		if got, want := e.What(), "ICMP type 77 code 1"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Wherever the quote is cut, eight bytes of TCP are enough and fewer are not.
func TestParseICMPQuote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSegment(t)
		quote, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		v6 := s.Src.Addr().Is6()
		header := 20
		switch extra := rapid.IntRange(0, 10).Draw(t, "IP options"); {
		case v6 && extra > 7:
			quote = withExtensions(quote, 60, 43, 0)
			header = 40 + 8 + 16 + 24
		case v6:
			header = 40
		case extra > 0:
			quote = withIPOptions(quote, extra*4)
			header += extra * 4
		}
		if rapid.Bool().Draw(t, "broken length in the quote") {
			if v6 {
				quote[4], quote[5] = 0, 1
			} else {
				quote[2], quote[3] = 0, 1
			}
		}
		n := rapid.OneOf(rapid.IntRange(header+7, header+8), rapid.IntRange(0, min(len(quote), header+60))).Draw(t, "quoted bytes")
		router := routers[v6]
		typ := uint8(11)
		if v6 {
			typ = 3
		}
		pkt := icmpAbout(router, s.Src.Addr(), typ, 0, 0, quote[:n])
		e, err := rawtcp.ParseICMP(pkt)
		if n < header+8 {
			if !errors.Is(err, rawtcp.ErrMalformed) || e != (rawtcp.ICMPError{}) {
				t.Fatalf("%d bytes quoted behind a header of %d: %v, %v; want ErrMalformed", n-header, header, e, err)
			}
			return
		}
		want := rawtcp.ICMPError{From: router, V6: v6, Type: typ, Src: s.Src, Dst: s.Dst, Seq: s.Seq}
		if err != nil || e != want {
			t.Fatalf("got %+v, %v, want %+v", e, err, want)
		}
		// The same, cut by a capture.
		cut := rapid.IntRange(0, len(pkt)-1).Draw(t, "captured")
		e, err = rawtcp.ParseICMP(pkt[:cut:cut])
		if need := len(pkt) - n + header + 8; cut < need && !errors.Is(err, rawtcp.ErrTruncated) || cut >= need && (err != nil || e != want) {
			t.Fatalf("captured %d bytes of %d: %v, %v", cut, need, e, err)
		}
	})
}

func TestParseICMPRefuses(t *testing.T) {
	syn4, syn6 := mustAppend(t, benchSYN(false)), mustAppend(t, benchSYN(true))
	r4, r6 := routers[false], routers[true]
	to4, to6 := benchSYN(false).Src.Addr(), benchSYN(true).Src.Addr()
	set := func(b []byte, at int, with ...byte) []byte {
		b = append([]byte(nil), b...)
		copy(b[at:], with)
		return b
	}
	good := icmpAbout(r4, to4, 3, 3, 0, syn4)
	for _, test := range []struct {
		name string
		pkt  []byte
		want error
	}{
		{"a TCP segment", syn4, rawtcp.ErrNotICMP},
		{"ICMPv6 in IPv4", set(good, 9, 58), rawtcp.ErrNotICMP},
		{"ICMP in IPv6", set(icmpAbout(r6, to6, 3, 0, 0, syn6), 6, 1), rawtcp.ErrNotICMP},
		{"not IP", []byte{0x00, 1, 2}, rawtcp.ErrNotICMP},
		{"a fragment", set(good, 6, 0, 1), rawtcp.ErrNotICMP},
		{"nothing", nil, rawtcp.ErrTruncated},
		{"four bytes of ICMP", set(good[:24], 2, 0, 24), rawtcp.ErrMalformed},
		{"the other IP version quoted", icmpAbout(r4, to4, 3, 3, 0, syn6), rawtcp.ErrMalformed},
		{"UDP quoted", icmpAbout(r4, to4, 3, 3, 0, set(syn4, 9, 17)), rawtcp.ErrNotTCP},
		{"a later fragment quoted", icmpAbout(r4, to4, 11, 0, 0, set(syn4, 6, 0, 1)), rawtcp.ErrNotTCP},
		{"a mapped address quoted", icmpAbout(r6, to6, 3, 0, 0, set(syn6, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff)), rawtcp.ErrMalformed},
		{"not IP quoted", icmpAbout(r4, to4, 3, 3, 0, set(syn4, 0, 0)), rawtcp.ErrNotTCP},
	} {
		if e, err := rawtcp.ParseICMP(test.pkt); !errors.Is(err, test.want) || e != (rawtcp.ICMPError{}) {
			t.Errorf("%s: %v, %v; want %v", test.name, e, err, test.want)
		}
	}
	bad := set(good, 22, good[22]^0x40)
	if err := rawtcp.VerifyChecksums(bad); !errors.Is(err, rawtcp.ErrChecksum) || !strings.Contains(err.Error(), "ICMP checksum") {
		t.Errorf("wrong ICMP checksum: %v", err)
	}
	n := testing.AllocsPerRun(100, func() {
		if _, err := rawtcp.ParseICMP(good); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("ParseICMP makes %v allocations, want none", n)
	}
}

func FuzzParseICMP(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		syn := benchSYN(v6)
		quote := mustAppend(f, syn)
		for typ := range uint8(13) {
			f.Add(icmpAbout(routers[v6], syn.Src.Addr(), typ, typ/2, uint32(typ)<<8, quote[:min(len(quote), 28+20*int(typ&1))]))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := rawtcp.ParseICMP(b)
		if err != nil {
			if !errors.Is(err, rawtcp.ErrTruncated) && !errors.Is(err, rawtcp.ErrNotICMP) && !errors.Is(err, rawtcp.ErrNotTCP) && !errors.Is(err, rawtcp.ErrMalformed) {
				t.Fatalf("an error without a sentinel: %v", err)
			}
			if e != (rawtcp.ICMPError{}) {
				t.Fatalf("%v beside %v", e, err)
			}
			return
		}
		if e.String() == "" || !e.From.IsValid() || e.From.Is4() == e.V6 || e.Src.Addr().Is4() == e.V6 {
			t.Fatalf("%+v", e)
		}
		_ = e.Errno()
		// What it said can be said again.
		rest := e.MTU
		quote := (&rawtcp.Segment{Src: e.Src, Dst: e.Dst, Seq: e.Seq, TTL: 1})
		pkt, err := quote.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := rawtcp.ParseICMP(icmpAbout(e.From, e.Src.Addr(), e.Type, e.Code, rest, pkt))
		if err != nil || again != e {
			t.Fatalf("%+v came back as %+v, %v", e, again, err)
		}
	})
}
