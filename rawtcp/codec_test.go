package rawtcp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

var compareSegments = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func mustAppend(tb testing.TB, s *rawtcp.Segment) []byte {
	tb.Helper()
	pkt, err := s.Append(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return pkt
}

// slowChecksum is RFC 1071 as the RFC says it, one 16-bit word at a time.
func slowChecksum(parts ...[]byte) uint16 {
	b := bytes.Join(parts, nil)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
		if sum > 0xffff {
			sum = sum&0xffff + 1
		}
	}
	return ^uint16(sum)
}

// pseudoHeader is the one of RFC 9293 section 3.1, or RFC 8200 section 8.1.
func pseudoHeader(src, dst netip.Addr, proto byte, length int) []byte {
	b := append(src.AsSlice(), dst.AsSlice()...)
	if src.Is4() {
		return append(b, 0, proto, byte(length>>8), byte(length))
	}
	return append(b, 0, 0, byte(length>>8), byte(length), 0, 0, 0, proto)
}

// finish puts lengths and checksums right in a packet that a test has changed.
func finish(pkt []byte) []byte {
	header, src, dst := 40, netip.Addr{}, netip.Addr{}
	if pkt[0]>>4 == 4 {
		header = int(pkt[0]&15) * 4
		binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
		src, dst = netip.AddrFrom4([4]byte(pkt[12:])), netip.AddrFrom4([4]byte(pkt[16:]))
		pkt[10], pkt[11] = 0, 0
		binary.BigEndian.PutUint16(pkt[10:], slowChecksum(pkt[:header]))
	} else {
		binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-40))
		src, dst = netip.AddrFrom16([16]byte(pkt[8:])), netip.AddrFrom16([16]byte(pkt[24:]))
		for next := pkt[6]; next == 0 || next == 43 || next == 44 || next == 60; {
			length := 8 + int(pkt[header+1])*8
			if next == 44 {
				length = 8
			}
			next = pkt[header]
			header += length
		}
	}
	tcp := pkt[header:]
	tcp[16], tcp[17] = 0, 0
	binary.BigEndian.PutUint16(tcp[16:], slowChecksum(pseudoHeader(src, dst, 6, len(tcp)), tcp))
	return pkt
}

func TestAppendParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawSegment(t)
		pkt, err := want.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := rawtcp.Parse(pkt)
		if err != nil {
			t.Fatalf("%v: parse: %v\n% x", &want, err, pkt)
		}
		if d := cmp.Diff(want, got, compareSegments); d != "" {
			t.Fatalf("append, then parse (-appended +parsed):\n%s", d)
		}
		if err := rawtcp.VerifyChecksums(pkt); err != nil {
			t.Fatal(err)
		}
		header := 20
		if want.Src.Addr().Is6() {
			header = 40
		} else if sum := slowChecksum(pkt[:20]); sum != 0 {
			t.Fatalf("IPv4 header checksum is off by %#04x", sum)
		}
		if sum := slowChecksum(pseudoHeader(want.Src.Addr(), want.Dst.Addr(), 6, len(pkt)-header), pkt[header:]); sum != 0 {
			t.Fatalf("TCP checksum is off by %#04x", sum)
		}
	})
}

func TestAppendAgainstGopacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSegment(t)
		got, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		w := newGopacketWriter(&s)
		if err := w.write(); err != nil {
			t.Fatal(err)
		}
		if want := w.buf.Bytes(); !bytes.Equal(got, want) {
			t.Fatalf("%v\n    ours % x\ngopacket % x", &s, got, want)
		}
	})
}

// Packets of gopacket's making, with options in any order and padding, must
// read as gopacket reads them.
func TestParseAgainstGopacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSegment(t)
		w := newGopacketWriter(&s)
		opts := rapid.Permutation(w.tcp.Options).Draw(t, "option order")
		room := 40
		for _, o := range opts {
			room -= int(o.OptionLength)
		}
		for room >= 4 && rapid.Bool().Draw(t, "one more unknown option") {
			kind := rapid.SampledFrom([]layers.TCPOptionKind{6, 7, 19, 28, 29, 253, 254, 255}).Draw(t, "kind")
			n := rapid.IntRange(0, room-4).Draw(t, "length")
			opts = append(opts, layers.TCPOption{OptionType: kind, OptionLength: uint8(n + 2), OptionData: make([]byte, n)})
			room -= n + 2
		}
		w.tcp.Options = opts
		if err := w.write(); err != nil {
			t.Fatal(err)
		}
		pkt := w.buf.Bytes()
		want, ok := gopacketRead(pkt)
		if !ok {
			t.Fatalf("gopacket cannot read what it wrote: % x", pkt)
		}
		got, err := rawtcp.Parse(pkt)
		if err != nil {
			t.Fatalf("%v\n% x", err, pkt)
		}
		got.Options.FastOpen, got.Options.MPTCP, got.Options.Other = false, false, false
		if d := cmp.Diff(want, got, compareSegments); d != "" {
			t.Fatalf("parse (-gopacket +ours):\n%s", d)
		}
	})
}

// gopacket 1.1.19 writes the padding of the last packet again when a layers.TCP is
// reused: a stray byte of payload on a SYN. The oracle must not have it.
func TestGopacketWriterHasNoStalePadding(t *testing.T) {
	s := benchSYN(false)
	s.Options = rawtcp.Options{HasWScale: true, WScale: 7}
	w := newGopacketWriter(s)
	w.tcp.Options = w.tcp.Options[1:] // without the NOP: three bytes, one of padding
	for _, want := range []int{44, 40} {
		if err := w.write(); err != nil {
			t.Fatal(err)
		}
		if got := len(w.buf.Bytes()); got != want {
			t.Errorf("%d bytes, want %d", got, want)
		}
		w.tcp.Options = nil
	}
}

func TestAppendGrowsInPlace(t *testing.T) {
	s := benchSYN(false)
	want := mustAppend(t, s)
	got, err := s.Append([]byte("prefix"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "prefix"+string(want) {
		t.Errorf("behind other bytes: % x, want % x", got, want)
	}
	dirty := bytes.Repeat([]byte{0xee}, 200)
	got, err = s.Append(dirty[:0])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) || &got[0] != &dirty[0] {
		t.Errorf("into a used buffer: % x, want % x in the same place", got, want)
	}
}

func TestAppendRefuses(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
	mapped := netip.MustParseAddrPort("[::ffff:192.0.2.1]:1")
	for _, test := range []struct {
		name string
		s    rawtcp.Segment
		want string
	}{
		{"no addresses", rawtcp.Segment{}, "want two IPv4 or two IPv6"},
		{"no destination", rawtcp.Segment{Src: v4}, "want two IPv4 or two IPv6"},
		{"no IPv6 destination", rawtcp.Segment{Src: v6}, "want two IPv4 or two IPv6"},
		{"two families", rawtcp.Segment{Src: v4, Dst: v6}, "want two IPv4 or two IPv6"},
		{"mapped", rawtcp.Segment{Src: mapped, Dst: mapped}, "Unmap"},
		{"mapped and IPv4", rawtcp.Segment{Src: v4, Dst: mapped}, "Unmap"},
		{"window shift", rawtcp.Segment{Src: v4, Dst: v4, Options: rawtcp.Options{HasWScale: true, WScale: 15}}, "window shift 15"},
		{"SACK blocks", rawtcp.Segment{Src: v4, Dst: v4, Options: rawtcp.Options{NSACK: 5}}, "5 SACK blocks"},
		{"too many options", rawtcp.Segment{Src: v4, Dst: v4, Options: rawtcp.Options{MSS: 1, HasTimestamps: true, NSACK: 4}}, "52 bytes of TCP options"},
		{"IPv4 too long", rawtcp.Segment{Src: v4, Dst: v4, Payload: make([]byte, 65536-40)}, "65,535"},
		{"IPv6 too long", rawtcp.Segment{Src: v6, Dst: v6, Payload: make([]byte, 65536-20)}, "65,535"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := test.s.Append([]byte("kept"))
			if !errors.Is(err, rawtcp.ErrMalformed) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want ErrMalformed with %q", err, test.want)
			}
			if string(b) != "kept" {
				t.Errorf("the buffer came back as %q", b)
			}
		})
	}
	for _, s := range []rawtcp.Segment{
		{Src: v4, Dst: v4, Payload: make([]byte, 65535-40)},
		{Src: v6, Dst: v6, Payload: make([]byte, 65535-20)},
	} {
		if pkt := mustAppend(t, &s); rawtcp.VerifyChecksums(pkt) != nil {
			t.Errorf("the longest packet: %v", rawtcp.VerifyChecksums(pkt))
		}
	}
}

func TestAppendDefaultTTL(t *testing.T) {
	for _, f := range families {
		s := benchSYN(f.v6)
		s.TTL = 0
		got, err := rawtcp.Parse(mustAppend(t, s))
		if err != nil || got.TTL != 64 {
			t.Errorf("%s: TTL %d, %v; want 64", f.name, got.TTL, err)
		}
	}
}

// withOptions is a SYN with the given bytes as its options.
func withOptions(tb testing.TB, v6 bool, opts []byte) []byte {
	s := benchSYN(v6)
	s.Options = rawtcp.Options{}
	pkt := mustAppend(tb, s)
	pkt = append(pkt, opts...)
	for len(pkt)%4 != 0 {
		pkt = append(pkt, 0)
	}
	header := 20
	if v6 {
		header = 40
	}
	pkt[header+12] = uint8(len(pkt)-header) / 4 << 4
	return finish(pkt)
}

func TestParseOptions(t *testing.T) {
	for _, test := range []struct {
		name string
		opts []byte
		want rawtcp.Options
		bad  string // part of the error
	}{
		{"MSS", []byte{2, 4, 5, 0xb4}, rawtcp.Options{MSS: 1460}, ""},
		{"MSS 0 is absent", []byte{2, 4, 0, 0}, rawtcp.Options{}, ""},
		{"the last of two counts", []byte{2, 4, 0, 1, 2, 4, 0, 2}, rawtcp.Options{MSS: 2}, ""},
		{"end of list hides the rest", []byte{0, 4, 5, 0xb4, 2, 1, 1, 1}, rawtcp.Options{}, ""},
		{"NOPs", []byte{1, 1, 1, 1, 1, 1, 4, 2}, rawtcp.Options{SACKPermitted: true}, ""},
		{"not aligned", []byte{3, 3, 9, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, rawtcp.Options{HasWScale: true, WScale: 9, MSS: 1460, SACKPermitted: true, HasTimestamps: true, TSVal: 1, TSEcr: 2}, ""},
		{"window shift 14", []byte{3, 3, 14}, rawtcp.Options{HasWScale: true, WScale: 14}, ""},
		{"window shift 15 reads as 14", []byte{3, 3, 15}, rawtcp.Options{HasWScale: true, WScale: 14}, ""},
		{"window shift 255 reads as 14", []byte{3, 3, 255}, rawtcp.Options{HasWScale: true, WScale: 14}, ""},
		{"one SACK block", []byte{5, 10, 0, 0, 0, 1, 0, 0, 0, 2}, rawtcp.Options{NSACK: 1, SACK: [4]rawtcp.SACKBlock{{Left: 1, Right: 2}}}, ""},
		{"four SACK blocks", append([]byte{5, 34}, make([]byte, 32)...), rawtcp.Options{NSACK: 4}, ""},
		{"the last SACK counts", append(append([]byte{5, 18}, bytes.Repeat([]byte{1}, 16)...), 5, 10, 0, 0, 0, 1, 0, 0, 0, 2), rawtcp.Options{NSACK: 1, SACK: [4]rawtcp.SACKBlock{{Left: 1, Right: 2}}}, ""},
		{"Fast Open request", []byte{34, 2}, rawtcp.Options{FastOpen: true}, ""},
		{"Fast Open cookie", []byte{34, 10, 1, 2, 3, 4, 5, 6, 7, 8}, rawtcp.Options{FastOpen: true}, ""},
		{"MPTCP", []byte{30, 12, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, rawtcp.Options{MPTCP: true}, ""},
		{"MD5", append([]byte{19, 18}, make([]byte, 16)...), rawtcp.Options{Other: true}, ""},
		{"TCP-AO", append([]byte{29, 16}, make([]byte, 14)...), rawtcp.Options{Other: true}, ""},
		{"unknown, empty", []byte{77, 2, 4, 2}, rawtcp.Options{Other: true, SACKPermitted: true}, ""},
		{"unknown to the end", append([]byte{77, 40}, make([]byte, 38)...), rawtcp.Options{Other: true}, ""},

		{"length 0", []byte{4, 2, 77, 0}, rawtcp.Options{SACKPermitted: true}, "length 0"},
		{"length 1", []byte{77, 1}, rawtcp.Options{}, "length 1"},
		{"no length", []byte{1, 1, 1, 2}, rawtcp.Options{}, "has no length"},
		{"past the end", []byte{77, 5, 0, 0}, rawtcp.Options{}, "length 5, 4 bytes"},
		{"past the end by far", []byte{2, 255, 0, 0}, rawtcp.Options{}, "length 255"},
		{"known options before the broken one stay", []byte{2, 4, 5, 0xb4, 3, 2, 4, 2}, rawtcp.Options{MSS: 1460}, "option 3 at byte"},
		{"MSS of 3", []byte{2, 3, 5}, rawtcp.Options{}, "option 2"},
		{"MSS of 6", []byte{2, 6, 5, 0, 0, 0}, rawtcp.Options{}, "option 2"},
		{"window scale of 2", []byte{3, 2}, rawtcp.Options{}, "option 3"},
		{"SACK-permitted of 3", []byte{4, 3, 0}, rawtcp.Options{}, "option 4"},
		{"SACK of none", []byte{5, 2}, rawtcp.Options{}, "option 5"},
		{"SACK of half", []byte{5, 6, 0, 0, 0, 0}, rawtcp.Options{}, "option 5"},
		{"timestamps of 6", []byte{8, 6, 0, 0, 0, 0}, rawtcp.Options{}, "option 8"},
		{"timestamps of 12", append([]byte{8, 12}, make([]byte, 10)...), rawtcp.Options{}, "option 8"},
		{"MPTCP of 2", []byte{30, 2}, rawtcp.Options{}, "option 30"},
	} {
		for _, f := range families {
			t.Run(test.name+"/"+f.name, func(t *testing.T) {
				s, err := rawtcp.Parse(withOptions(t, f.v6, test.opts))
				if test.bad == "" && err != nil {
					t.Fatal(err)
				}
				if test.bad != "" && (!errors.Is(err, rawtcp.ErrMalformed) || !strings.Contains(err.Error(), test.bad)) {
					t.Fatalf("error %v, want ErrMalformed with %q", err, test.bad)
				}
				if s.Options != test.want {
					t.Errorf("options <%v>, want <%v>", &s.Options, &test.want)
				}
				if want := benchSYN(f.v6); s.Src != want.Src || s.Dst != want.Dst || s.Seq != want.Seq || s.Flags != want.Flags {
					t.Errorf("the rest of the segment is %v", &s)
				}
			})
		}
	}
}

// extension returns an IPv6 extension header of n times eight bytes.
func extension(next byte, n int) []byte {
	return append([]byte{next, byte(n - 1)}, make([]byte, n*8-2)...)
}

// withExtensions puts extension headers into an IPv6 packet. Each kind's header
// is followed by the next one.
func withExtensions(pkt []byte, kinds ...byte) []byte {
	var chain []byte
	for i, kind := range kinds {
		next := byte(6)
		if i+1 < len(kinds) {
			next = kinds[i+1]
		}
		n := 1
		if kind != 44 {
			n = 1 + i%3
		}
		ext := extension(next, n)
		if kind == 44 {
			ext[1] = 0xaa // reserved in a fragment header, not a length
		}
		chain = append(chain, ext...)
	}
	out := append([]byte(nil), pkt[:40]...)
	if len(kinds) > 0 {
		out[6] = kinds[0]
	}
	out = append(append(out, chain...), pkt[40:]...)
	return finish(out)
}

// withIPOptions puts n bytes of IPv4 options (NOPs) into a packet.
func withIPOptions(pkt []byte, n int) []byte {
	out := append([]byte(nil), pkt[:20]...)
	out = append(append(out, bytes.Repeat([]byte{1}, n)...), pkt[20:]...)
	out[0] = 4<<4 | byte(20+n)/4
	return finish(out)
}

func TestParseIPHeaders(t *testing.T) {
	syn4, syn6 := mustAppend(t, benchSYN(false)), mustAppend(t, benchSYN(true))
	change := func(pkt []byte, f func(b []byte) []byte) []byte { return f(append([]byte(nil), pkt...)) }
	set := func(pkt []byte, at int, bytes ...byte) []byte {
		return change(pkt, func(b []byte) []byte { copy(b[at:], bytes); return b })
	}
	for _, test := range []struct {
		name string
		pkt  []byte
		want error
	}{
		{"IPv4", syn4, nil},
		{"IPv6", syn6, nil},
		{"IPv4 options", withIPOptions(syn4, 4), nil},
		{"IPv4 options, most", withIPOptions(syn4, 40), nil},
		{"bytes behind the packet", append(append([]byte(nil), syn4...), 1, 2, 3), nil},
		{"bytes behind an IPv6 packet", append(append([]byte(nil), syn6...), 1, 2, 3), nil},
		{"hop-by-hop", withExtensions(syn6, 0), nil},
		{"hop-by-hop, destination options, routing, destination options", withExtensions(syn6, 0, 60, 43, 60), nil},
		{"first and only fragment", withExtensions(syn6, 44), nil},
		{"first fragment behind a routing header", withExtensions(syn6, 43, 44), nil},
		{"first fragment of IPv4", set(syn4, 6, 0x20, 0), nil},
		{"IPv4 total length 0: segmentation offload", set(syn4, 2, 0, 0), nil},
		{"IPv6 payload length 0: segmentation offload", set(syn6, 4, 0, 0), nil},

		{"nothing", nil, rawtcp.ErrTruncated},
		{"version 0", set(syn4, 0, 0x05), rawtcp.ErrNotTCP},
		{"version 5", set(syn4, 0, 0x55), rawtcp.ErrNotTCP},
		{"UDP", set(syn4, 9, 17), rawtcp.ErrNotTCP},
		{"UDP on IPv6", set(syn6, 6, 17), rawtcp.ErrNotTCP},
		{"ESP on IPv6", set(syn6, 6, 50), rawtcp.ErrNotTCP},
		{"no next header", set(syn6, 6, 59), rawtcp.ErrNotTCP},
		{"no next header behind hop-by-hop", set(withExtensions(syn6, 0), 40, 59), rawtcp.ErrNotTCP},
		{"IPv4 fragment", set(syn4, 6, 0x20, 1), rawtcp.ErrNotTCP},
		{"last IPv4 fragment", set(syn4, 6, 0x1f, 0xff), rawtcp.ErrNotTCP},
		{"IPv6 fragment", set(withExtensions(syn6, 44), 42, 0, 8), rawtcp.ErrNotTCP},
		{"routing header with segments left", set(withExtensions(syn6, 43), 43, 1), rawtcp.ErrNotTCP},
		{"IPv4 header of 16 bytes", set(syn4, 0, 0x44), rawtcp.ErrMalformed},
		{"IPv4 header of 60 bytes in a shorter packet", set(change(syn4, func(b []byte) []byte { return append(b[:44], make([]byte, 40)...) }), 0, 0x4f, 0, 0, 44), rawtcp.ErrMalformed},
		{"IPv4 total length below its header", set(syn4, 2, 0, 19), rawtcp.ErrMalformed},
		{"IPv4 packet ends in the TCP header", set(syn4, 2, 0, 39), rawtcp.ErrMalformed},
		{"IPv6 packet ends in the TCP header", set(syn6, 4, 0, 19), rawtcp.ErrMalformed},
		{"IPv6 packet ends in an extension header", set(withExtensions(syn6, 0), 4, 0, 7), rawtcp.ErrMalformed},
		{"extension header past the end", set(withExtensions(syn6, 0), 41, 255), rawtcp.ErrMalformed},
		{"data offset 4", set(syn4, 32, 4<<4), rawtcp.ErrMalformed},
		{"data offset past the end", set(syn4, 32, 15<<4), rawtcp.ErrMalformed},
		{"data offset one word past the end", set(syn4, 32, 11<<4), rawtcp.ErrMalformed},
		{"data offset one word past the end, bytes behind", append(set(syn6, 52, 11<<4), 1, 1, 1, 1), rawtcp.ErrMalformed},
		{"mapped IPv6 source", set(syn6, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff), rawtcp.ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := rawtcp.Parse(test.pkt)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if err != nil {
				if d := cmp.Diff(rawtcp.Segment{}, s, compareSegments); d != "" {
					t.Errorf("with an error the segment is not zero:\n%s", d)
				}
				return
			}
			want := *benchSYN(s.Src.Addr().Is6())
			want.DF = s.DF // the fragments have another
			if d := cmp.Diff(want, s, compareSegments); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// Cut anywhere in the headers, a packet is truncated and not malformed; cut
// behind them, it reads with the length it had.
func TestParseCutShort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawSegment(t)
		pkt, err := want.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		headers := len(pkt) - len(want.Payload)
		if want.Src.Addr().Is6() && rapid.Bool().Draw(t, "extensions") {
			before := len(pkt)
			pkt = withExtensions(pkt, 0, 60, 44, 43)
			headers += len(pkt) - before
		} else if want.Src.Addr().Is4() && rapid.Bool().Draw(t, "IP options") {
			pkt = withIPOptions(pkt, 12)
			headers += 12
		}
		n := rapid.IntRange(0, len(pkt)).Draw(t, "cut at")
		got, err := rawtcp.Parse(pkt[:n:n])
		if n < headers {
			if !errors.Is(err, rawtcp.ErrTruncated) {
				t.Fatalf("cut at %d of %d header bytes: %v", n, headers, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("cut at %d, behind %d header bytes: %v", n, headers, err)
		}
		want.Payload = want.Payload[:n-headers]
		if d := cmp.Diff(want, got, compareSegments); d != "" {
			t.Fatalf("cut at %d (-want +got):\n%s", n, d)
		}
		if err := rawtcp.VerifyChecksums(pkt[:n:n]); n < len(pkt) && !errors.Is(err, rawtcp.ErrTruncated) {
			t.Fatalf("checksums of a part: %v", err)
		}
	})
}

func TestParsePayloadIsPartOfTheInput(t *testing.T) {
	s := benchSYN(false)
	s.Payload = []byte("data")
	pkt := append(mustAppend(t, s), "behind"...)
	got, err := rawtcp.Parse(pkt)
	if err != nil {
		t.Fatal(err)
	}
	pkt[60] = 'D'
	if string(got.Payload) != "Data" {
		t.Errorf("payload is %q, want it to be the packet's bytes", got.Payload)
	}
	if _ = append(got.Payload, 'X'); string(pkt[64:]) != "behind" {
		t.Error("appending to the payload wrote into the input")
	}
}

func TestParseIntoOverwritesEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSegment(t), drawSegment(t)
		var s rawtcp.Segment
		for _, want := range []rawtcp.Segment{a, b, {}} {
			var pkt []byte
			if want.Src.IsValid() {
				var err error
				if pkt, err = want.Append(nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := rawtcp.ParseInto(&s, pkt); err != nil && pkt != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, s, compareSegments); d != "" {
				t.Fatalf("-want +got:\n%s", d)
			}
		}
	})
}

func TestVerifyChecksums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSegment(t)
		pkt, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.Src.Addr().Is6() && rapid.Bool().Draw(t, "extensions") {
			pkt = withExtensions(pkt, 60, 44)
		}
		if err := rawtcp.VerifyChecksums(pkt); err != nil {
			t.Fatal(err)
		}
		// One wrong bit is always found, but in what IPv6 leaves unprotected.
		first := 8 * 8 // IPv6: traffic class, flow label, length, next header, hop limit
		if s.Src.Addr().Is4() {
			first = 8 // the length of the IPv4 header: the rest may look like a header
		}
		bit := rapid.IntRange(first, len(pkt)*8-1).Draw(t, "bit")
		if s.Src.Addr().Is6() && bit >= 40*8 && len(pkt) > 40+20 && pkt[6] != 6 && bit < (len(pkt)-20-len(s.Payload))*8 {
			return // in an extension header
		}
		pkt[bit/8] ^= 0x80 >> (bit % 8)
		if err := rawtcp.VerifyChecksums(pkt); err == nil {
			t.Fatalf("bit %d of byte %d is wrong, and nothing noticed", bit%8, bit/8)
		}
	})
}

func TestVerifyChecksumsSaysWhich(t *testing.T) {
	syn4, syn6 := mustAppend(t, benchSYN(false)), mustAppend(t, benchSYN(true))
	for _, test := range []struct {
		name string
		pkt  []byte
		at   int
		want string
	}{
		{"IPv4 header", syn4, 10, "IPv4 header checksum is "},
		{"TCP", syn4, 36, "TCP checksum is "},
		{"TCP on IPv6", syn6, 56, "TCP checksum is "},
	} {
		good := binary.BigEndian.Uint16(test.pkt[test.at:])
		b := append([]byte(nil), test.pkt...)
		binary.BigEndian.PutUint16(b[test.at:], good+1)
		err := rawtcp.VerifyChecksums(b)
		want := "should be 0x" + hex4(good)
		if !errors.Is(err, rawtcp.ErrChecksum) || !strings.Contains(err.Error(), test.want) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %q and %q", test.name, err, test.want, want)
		}
	}
	first := append([]byte(nil), syn4...)
	first[6] = 0x20
	first[10], first[11] = 0, 0
	binary.BigEndian.PutUint16(first[10:], slowChecksum(first[:20]))
	if err := rawtcp.VerifyChecksums(first); !errors.Is(err, rawtcp.ErrTruncated) {
		t.Errorf("the first of several fragments: %v", err)
	}
	if err := rawtcp.VerifyChecksums(nil); !errors.Is(err, rawtcp.ErrTruncated) {
		t.Errorf("nothing: %v", err)
	}
}

func hex4(v uint16) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[v>>12], digits[v>>8&15], digits[v>>4&15], digits[v&15]})
}

func TestCodecDoesNotAllocate(t *testing.T) {
	for _, f := range families {
		s := benchSYN(f.v6)
		buf := make([]byte, 0, rawtcp.MaxHeader)
		var got rawtcp.Segment
		n := testing.AllocsPerRun(100, func() {
			pkt, err := s.Append(buf[:0])
			if err != nil {
				t.Fatal(err)
			}
			if err := rawtcp.ParseInto(&got, pkt); err != nil {
				t.Fatal(err)
			}
			if err := rawtcp.VerifyChecksums(pkt); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: append, parse and verify make %v allocations, want none", f.name, n)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		s := benchSYN(v6)
		f.Add(mustAppend(f, s))
		s.Flags, s.Payload = rawtcp.PSH|rawtcp.ACK, []byte("payload")
		s.Options = rawtcp.Options{HasTimestamps: true, NSACK: 3}
		f.Add(mustAppend(f, s))
		f.Add(withOptions(f, v6, []byte{34, 2, 30, 3, 0, 77, 3, 3, 3, 3, 255, 2, 0}))
	}
	f.Add(withExtensions(mustAppend(f, benchSYN(true)), 0, 43, 60, 44))
	f.Add(withIPOptions(mustAppend(f, benchSYN(false)), 8))
	f.Fuzz(func(t *testing.T, b []byte) {
		kept := append([]byte(nil), b...)
		sum := rawtcp.VerifyChecksums(b)
		s, err := rawtcp.Parse(b)
		if !bytes.Equal(b, kept) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if !errors.Is(err, rawtcp.ErrTruncated) && !errors.Is(err, rawtcp.ErrNotTCP) && !errors.Is(err, rawtcp.ErrMalformed) {
				t.Fatalf("an error without a sentinel: %v", err)
			}
			return
		}
		if sum == nil && s.PayloadLen != len(s.Payload) {
			t.Fatal("a part of a packet has right checksums")
		}
		if len(s.Payload) > s.PayloadLen {
			t.Fatalf("%d bytes of payload, %d on the wire", len(s.Payload), s.PayloadLen)
		}
		pkt, err := s.Append(nil)
		if err != nil {
			// Options that only fit without padding, or a packet over 64 KiB.
			if !errors.Is(err, rawtcp.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if err := rawtcp.VerifyChecksums(pkt); err != nil {
			t.Fatal(err)
		}
		again, err := rawtcp.Parse(pkt)
		if err != nil {
			t.Fatalf("%v, appended, does not parse: %v", &s, err)
		}
		// What Append does not write, by its documentation.
		s.PayloadLen = len(s.Payload)
		s.Options.FastOpen, s.Options.MPTCP, s.Options.Other = false, false, false
		if s.TTL == 0 {
			s.TTL = 64
		}
		if d := cmp.Diff(s, again, compareSegments); d != "" {
			t.Fatalf("parse, append, parse (-first +second):\n%s", d)
		}
	})
}
