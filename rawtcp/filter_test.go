package rawtcp_test

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/rawtcp"
)

func filterVM(tb interface{ Fatal(...any) }, local, remote netip.AddrPort) *bpf.VM {
	raw, err := rawtcp.FlowFilter(local, remote)
	if err != nil {
		tb.Fatal(err)
	}
	prog, ok := bpf.Disassemble(raw)
	if !ok {
		tb.Fatal("the filter has instructions that x/net/bpf does not know")
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		tb.Fatal(err)
	}
	return vm
}

func accepts(tb interface{ Fatal(...any) }, vm *bpf.VM, pkt []byte) bool {
	n, err := vm.Run(pkt)
	if err != nil {
		tb.Fatal(err)
	}
	if n != 0 && n < len(pkt) {
		tb.Fatal("the filter cuts packets")
	}
	return n > 0
}

// belongs is the oracle: what the filter should say of a segment's endpoints.
func belongs(local, remote, src, dst netip.AddrPort) bool {
	is := func(want, got netip.AddrPort) bool {
		a := want.Addr()
		return (!a.IsValid() || a.IsUnspecified() && a.Is4() == got.Addr().Is4() || a == got.Addr()) && (want.Port() == 0 || want.Port() == got.Port())
	}
	return is(local, src) && is(remote, dst) || is(local, dst) && is(remote, src)
}

// drawEndpoint draws from so few endpoints that flows often share parts.
func drawEndpoint(t *rapid.T, v6 bool, label string) netip.AddrPort {
	addrs := []string{"10.0.0.1", "10.0.0.2", "127.0.0.1", "192.0.2.1"}
	if v6 {
		addrs = []string{"2001:db8::1", "2001:db8::2", "2001:db8:1::1", "::1"}
	}
	return netip.AddrPortFrom(netip.MustParseAddr(rapid.SampledFrom(addrs).Draw(t, label)), rapid.SampledFrom([]uint16{1, 2, 256, 40000}).Draw(t, label+" port"))
}

// drawPattern draws what FlowFilter takes: an endpoint, or one with parts that
// stand for any.
func drawPattern(t *rapid.T, v6 bool, label string) netip.AddrPort {
	e := drawEndpoint(t, v6, label)
	switch rapid.IntRange(0, 9).Draw(t, label+" wildcard") {
	case 0:
		return netip.AddrPortFrom(e.Addr(), 0)
	case 1:
		if v6 {
			return netip.AddrPortFrom(netip.IPv6Unspecified(), e.Port())
		}
		return netip.AddrPortFrom(netip.IPv4Unspecified(), e.Port())
	case 2:
		return netip.AddrPortFrom(netip.Addr{}, e.Port())
	case 3:
		return netip.AddrPort{}
	}
	return e
}

func TestFlowFilterAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		filter6 := rapid.Bool().Draw(t, "IPv6 filter")
		local, remote := drawPattern(t, filter6, "local"), drawPattern(t, filter6, "remote")
		vm := filterVM(t, local, remote)

		for range 20 {
			s := drawSegment(t)
			v6 := s.Src.Addr().Is6()
			if rapid.IntRange(0, 9).Draw(t, "a family of its own") > 0 && v6 != filter6 {
				v6 = filter6
				s.ID, s.DF = 0, false
			}
			s.Src, s.Dst = drawEndpoint(t, v6, "src"), drawEndpoint(t, v6, "dst")
			if rapid.Bool().Draw(t, "one of ours") && filter6 == v6 {
				// Take over what is given of the flow.
				fill := func(p, with netip.AddrPort) netip.AddrPort {
					a, port := p.Addr(), p.Port()
					if !a.IsValid() || a.IsUnspecified() {
						a = with.Addr()
					}
					if port == 0 {
						port = with.Port()
					}
					return netip.AddrPortFrom(a, port)
				}
				s.Src, s.Dst = fill(local, s.Src), fill(remote, s.Dst)
				if rapid.Bool().Draw(t, "the other way") {
					s.Src, s.Dst = s.Dst, s.Src
				}
			}
			pkt, err := s.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			want := belongs(local, remote, s.Src, s.Dst)
			switch kind := rapid.SampledFrom([]string{"plain", "headers", "ICMP", "ICMP, headers", "ICMP about another", "UDP", "fragment"}).Draw(t, "kind"); kind {
			case "headers":
				pkt, want = moreHeaders(t, pkt, want)
			case "ICMP", "ICMP, headers", "ICMP about another":
				if kind == "ICMP about another" {
					switch rapid.IntRange(0, 2).Draw(t, "other") {
					case 0: // a UDP datagram
						pkt[map[bool]int{false: 9, true: 6}[v6]] = 17
					case 1: // a later fragment
						if !v6 {
							pkt[7] = 1
						}
					case 2: // a packet of no IP version
						pkt[0] = pkt[0]&15 | 0x50
					}
				}
				if kind == "ICMP, headers" && !v6 {
					pkt = withIPOptions(pkt, 4*rapid.IntRange(1, 10).Draw(t, "quoted IP options"))
				}
				header := 20 // of the quoted packet
				if v6 {
					header = 40
				} else {
					header = int(pkt[0]&15) * 4
				}
				quote := pkt[:rapid.IntRange(header+8, len(pkt)).Draw(t, "quoted")]
				typ := rapid.Uint8Range(0, 14).Draw(t, "type")
				pkt = icmpAbout(routers[v6], drawEndpoint(t, v6, "ICMP to").Addr(), typ, rapid.Uint8().Draw(t, "code"), 0, quote)
				if kind == "ICMP, headers" {
					pkt, want = moreHeaders(t, pkt, want)
				}
				_, err := rawtcp.ParseICMP(pkt)
				want = want && err == nil
			case "UDP":
				if v6 {
					pkt[6] = 17
				} else {
					pkt[9] = 17
				}
				want = false
			case "fragment":
				if v6 {
					pkt = withExtensions(pkt, 44)
					pkt[43] = 8
				} else {
					pkt[7] = 1
				}
				want = false
			}
			if got := accepts(t, vm, pkt); got != want {
				t.Fatalf("filter for %v and %v says %v, want %v, of\n%v\n% x", local, remote, got, want, &s, pkt)
			}
		}
	})
}

// moreHeaders puts IPv4 options or IPv6 extension headers in front of what the
// packet carries; more than three of the latter are beyond the filter.
func moreHeaders(t *rapid.T, pkt []byte, want bool) ([]byte, bool) {
	if pkt[0]>>4 == 4 {
		proto := pkt[9]
		pkt = append([]byte(nil), pkt...)
		n := rapid.IntRange(1, 10).Draw(t, "words of IP options")
		pkt = append(pkt[:20:20], append(make([]byte, n*4), pkt[20:]...)...)
		pkt[0] += byte(n)
		pkt[2], pkt[3] = byte(len(pkt)>>8), byte(len(pkt))
		pkt[9] = proto
		return pkt, want
	}
	kinds := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 43, 44, 60}), 1, 4).Draw(t, "extension headers")
	final := pkt[6]
	out := append([]byte(nil), pkt[:40]...)
	out[6] = kinds[0]
	for i, kind := range kinds {
		next := final
		if i+1 < len(kinds) {
			next = kinds[i+1]
		}
		n := rapid.IntRange(1, 3).Draw(t, "length")
		if kind == 44 {
			n = 1
		}
		ext := extension(next, n)
		if kind == 43 && rapid.IntRange(0, 4).Draw(t, "segments left") == 0 {
			ext[3] = 1
			want = false
		}
		out = append(out, ext...)
	}
	out = append(out, pkt[40:]...)
	out[4], out[5] = byte((len(out)-40)>>8), byte(len(out)-40)
	return out, want && len(kinds) <= 3
}

// Whatever parses as a segment of the flow must pass: the filter may let in too
// much of what is broken, but never keep out what is good.
func FuzzFlowFilter(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		pkt := mustAppend(f, benchSYN(v6))
		f.Add(pkt)
		f.Add(icmpAbout(routers[v6], benchSYN(v6).Src.Addr(), 3, 0, 0, pkt))
	}
	f.Add(withExtensions(mustAppend(f, benchSYN(true)), 0, 43, 44))
	f.Add(withIPOptions(mustAppend(f, benchSYN(false)), 8))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		check := func(src, dst netip.AddrPort) {
			if !accepts(t, filterVM(t, src, dst), pkt) || !accepts(t, filterVM(t, dst, src), pkt) {
				t.Fatalf("the filter for %v and %v keeps out % x", src, dst, pkt)
			}
		}
		if s, err := rawtcp.Parse(pkt); err == nil && extensions(pkt) <= 3 {
			check(s.Src, s.Dst)
		}
		if e, err := rawtcp.ParseICMP(pkt); err == nil && extensions(pkt) <= 3 {
			if inner := pkt[len(pkt)-len(quoteOf(pkt)):]; extensions(inner) == 0 {
				check(e.Src, e.Dst)
			}
		}
	})
}

// extensions counts the IPv6 extension headers of a packet that parses.
func extensions(pkt []byte) (n int) {
	if pkt[0]>>4 != 6 {
		return 0
	}
	at := 40
	for next := pkt[6]; next == 0 || next == 43 || next == 44 || next == 60; n++ {
		length := 8 + int(pkt[at+1])*8
		if next == 44 {
			length = 8
		}
		next = pkt[at]
		at += length
	}
	return n
}

// quoteOf returns what an ICMP error that parses quotes.
func quoteOf(pkt []byte) []byte {
	if pkt[0]>>4 == 4 {
		return pkt[int(pkt[0]&15)*4+8:]
	}
	at := 40
	for next := pkt[6]; next != 58; {
		length := 8 + int(pkt[at+1])*8
		if next == 44 {
			length = 8
		}
		next = pkt[at]
		at += length
	}
	return pkt[at+8:]
}

func TestFlowFilterRefuses(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
	mapped := netip.MustParseAddrPort("[::ffff:192.0.2.1]:1")
	for _, test := range []struct {
		local, remote netip.AddrPort
		want          string
	}{
		{v4, v6, "one is IPv4, the other IPv6"},
		{v6, v4, "one is IPv4, the other IPv6"},
		{mapped, v4, "IPv4-mapped"},
		{v4, mapped, "IPv4-mapped"},
	} {
		if _, err := rawtcp.FlowFilter(test.local, test.remote); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v and %v: %v, want %q", test.local, test.remote, err, test.want)
		}
	}
}

// A filter runs for every packet of the host: it must stay short.
func TestFlowFilterLength(t *testing.T) {
	for _, f := range families {
		s := benchSYN(f.v6)
		raw, err := rawtcp.FlowFilter(s.Src, s.Dst)
		if err != nil {
			t.Fatal(err)
		}
		if t.Logf("%s: %d instructions", f.name, len(raw)); len(raw) > 200 {
			t.Errorf("%s: %d instructions", f.name, len(raw))
		}
	}
}
