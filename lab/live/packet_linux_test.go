package live

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/synpunch/synpunch/rawtcp"
)

// frame puts an Ethernet header before an IP packet.
func frame(ip []byte) []byte {
	f := make([]byte, 12, 12+2+len(ip))
	if len(ip) > 0 && ip[0]>>4 == 6 {
		f = append(f, 0x86, 0xdd)
	} else {
		f = append(f, 0x08, 0x00)
	}
	return append(f, ip...)
}

func segment(t testing.TB, s rawtcp.Segment) []byte {
	t.Helper()
	b, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// classify and the lanes' filter must agree on what is TCP and ICMP.
func TestClassifyAndLaneFilter(t *testing.T) {
	filter, err := bpf.NewVM(laneFilter())
	if err != nil {
		t.Fatal(err)
	}
	a4, b4 := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("203.0.113.1:2")
	a6, b6 := netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:2")
	syn4 := segment(t, rawtcp.Segment{Src: a4, Dst: b4, Flags: rawtcp.SYN})
	with := func(b []byte, at int, v byte) []byte {
		c := append([]byte(nil), b...)
		c[at] = v
		return c
	}
	v6 := func(next byte, body string) []byte {
		return append(append([]byte{0x60, 0, 0, 0, 0, 8, next, 64}, make([]byte, 32)...), unhex(t, body)...)
	}
	for _, test := range []struct {
		name string
		ip   []byte
		want packet
		lane bool // as tcp || icmp, but for what the filter does not look at
	}{
		{"SYN", syn4, packet{tcp: true, notable: true}, true},
		{"ACK", segment(t, rawtcp.Segment{Src: a4, Dst: b4, Flags: rawtcp.ACK}), packet{tcp: true}, true},
		{"PSH-ACK", segment(t, rawtcp.Segment{Src: a4, Dst: b4, Flags: rawtcp.ACK | rawtcp.PSH, Payload: []byte("x")}), packet{tcp: true}, true},
		{"FIN", segment(t, rawtcp.Segment{Src: a4, Dst: b4, Flags: rawtcp.ACK | rawtcp.FIN}), packet{tcp: true, notable: true}, true},
		{"RST", segment(t, rawtcp.Segment{Src: a4, Dst: b4, Flags: rawtcp.RST}), packet{tcp: true, notable: true}, true},
		{"IPv6 SYN", segment(t, rawtcp.Segment{Src: a6, Dst: b6, Flags: rawtcp.SYN}), packet{tcp: true, notable: true}, true},
		{"IPv6 ACK", segment(t, rawtcp.Segment{Src: a6, Dst: b6, Flags: rawtcp.ACK}), packet{tcp: true}, true},
		{"ICMP", with(syn4, 9, 1), packet{icmp: true, notable: true}, true},
		{"UDP", with(syn4, 9, 17), packet{}, false},
		{"later fragment", with(syn4, 7, 1), packet{}, true},
		{"ICMPv6 error", v6(58, "0300000000000000"), packet{icmp: true, notable: true}, true},
		{"neighbour solicitation", v6(58, "8700000000000000"), packet{}, false},
		{"multicast listener report", v6(0, "3a00050200000100 8f00000000000000"), packet{}, false},
		{"IPv6 UDP", v6(17, "0000000000000000"), packet{}, false},
	} {
		test.want.ip = etherLen
		if got := classify(frame(test.ip)); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
		n, err := filter.Run(test.ip)
		if err != nil || n > 0 != test.lane {
			t.Errorf("%s: the filter takes %d, error %v", test.name, n, err)
		}
	}
}

func TestClassifyShortFrames(t *testing.T) {
	whole := frame(segment(t, rawtcp.Segment{Src: netip.MustParseAddrPort("192.0.2.1:1"), Dst: netip.MustParseAddrPort("203.0.113.1:2"), Flags: rawtcp.SYN}))
	for n := range whole {
		p := classify(whole[:n])
		if p.tcp || p.icmp || p.ip > n && n >= etherLen {
			t.Errorf("%d bytes: %+v", n, p)
		}
	}
}

func TestLengthFilter(t *testing.T) {
	for _, long := range []bool{false, true} {
		vm, err := bpf.NewVM(lengthFilter(long))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{64, 1514, splitLen, splitLen + 1, 65550} {
			got, err := vm.Run(make([]byte, n))
			if err != nil || got > 0 != (long == (n > splitLen)) {
				t.Errorf("long %v, %d bytes: %d, %v", long, n, got, err)
			}
		}
	}
}

func TestIdentityIsTheSameAtBothEnds(t *testing.T) {
	for _, addrs := range [][2]string{{"192.0.2.1:1", "203.0.113.1:2"}, {"[2001:db8::1]:1", "[2001:db8::2]:2"}} {
		s := rawtcp.Segment{Src: netip.MustParseAddrPort(addrs[0]), Dst: netip.MustParseAddrPort(addrs[1]), Flags: rawtcp.SYN, Seq: 77, TTL: 63}
		near := segment(t, s)
		s.TTL = 61
		far := segment(t, s)
		if identity(near) != identity(far) {
			t.Error("hops change the identity")
		}
		s.Seq++
		if identity(near) == identity(segment(t, s)) {
			t.Error("another sequence number does not change it")
		}
	}
	for n := range 40 {
		identity(make([]byte, n)) // must not panic
	}
}
