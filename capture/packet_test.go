package capture_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/capture"
)

var (
	ip4Head = append([]byte{0x45, 0, 0, 20}, make([]byte, 16)...)
	ip6Head = append([]byte{0x60, 0, 0, 0}, make([]byte, 36)...)
)

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func TestPacketIP(t *testing.T) {
	mac := make([]byte, 12)
	sll := func(proto ...byte) []byte { return cat(make([]byte, 14), proto) }
	sll2 := func(proto ...byte) []byte { return cat(proto, make([]byte, 18)) }
	tests := []struct {
		name string
		link capture.LinkType
		data []byte
		want []byte // nil: ErrNotIP
	}{
		{"ethernet ipv4", capture.LinkEthernet, cat(mac, []byte{8, 0}, ip4Head), ip4Head},
		{"ethernet ipv6", capture.LinkEthernet, cat(mac, []byte{0x86, 0xdd}, ip6Head), ip6Head},
		{"ethernet padded", capture.LinkEthernet, cat(mac, []byte{8, 0}, ip4Head, make([]byte, 26)), cat(ip4Head, make([]byte, 26))},
		{"ethernet arp", capture.LinkEthernet, cat(mac, []byte{8, 6}, make([]byte, 28)), nil},
		{"ethernet 802.3", capture.LinkEthernet, cat(mac, []byte{0, 38, 0x42, 0x42}, make([]byte, 36)), nil},
		{"802.1Q", capture.LinkEthernet, cat(mac, []byte{0x81, 0, 0, 7, 8, 0}, ip4Head), ip4Head},
		{"802.1ad and 802.1Q", capture.LinkEthernet, cat(mac, []byte{0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 0x86, 0xdd}, ip6Head), ip6Head},
		{"three tags", capture.LinkEthernet, cat(mac, []byte{0x91, 0, 0, 7, 0x81, 0, 0, 9, 0x81, 0, 0, 1, 8, 0}, ip4Head), ip4Head},
		{"tag and nothing", capture.LinkEthernet, cat(mac, []byte{0x81, 0, 0, 7}), nil},
		{"pppoe ipv4", capture.LinkEthernet, cat(mac, []byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 22, 0, 0x21}, ip4Head), ip4Head},
		{"pppoe ipv6", capture.LinkEthernet, cat(mac, []byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0, 0x57}, ip6Head), ip6Head},
		{"pppoe lcp", capture.LinkEthernet, cat(mac, []byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 42, 0xc0, 0x21}, ip6Head), nil},
		{"ethertype and version disagree", capture.LinkEthernet, cat(mac, []byte{8, 0}, ip6Head), nil},
		{"raw 4", capture.LinkRaw, ip4Head, ip4Head},
		{"raw 6", capture.LinkRaw, ip6Head, ip6Head},
		{"raw, DLT of BSD", 12, ip4Head, ip4Head},
		{"raw, DLT of OpenBSD", 14, ip6Head, ip6Head},
		{"raw with version 5", capture.LinkRaw, []byte{0x55, 0}, nil},
		{"ipv4", capture.LinkIPv4, ip4Head, ip4Head},
		{"ipv4 with 6", capture.LinkIPv4, ip6Head, nil},
		{"ipv6", capture.LinkIPv6, ip6Head, ip6Head},
		{"ipv6 with 4", capture.LinkIPv6, ip4Head, nil},
		{"null little-endian", capture.LinkNull, cat([]byte{2, 0, 0, 0}, ip4Head), ip4Head},
		{"null big-endian", capture.LinkNull, cat([]byte{0, 0, 0, 2}, ip4Head), ip4Head},
		{"null darwin", capture.LinkNull, cat([]byte{30, 0, 0, 0}, ip6Head), ip6Head},
		{"null freebsd", capture.LinkNull, cat([]byte{28, 0, 0, 0}, ip6Head), ip6Head},
		{"null openbsd, big-endian", capture.LinkNull, cat([]byte{0, 0, 0, 24}, ip6Head), ip6Head},
		{"null windows", capture.LinkNull, cat([]byte{23, 0, 0, 0}, ip6Head), ip6Head},
		{"loop", capture.LinkLoop, cat([]byte{0, 0, 0, 2}, ip4Head), ip4Head},
		{"loop, unknown family", capture.LinkLoop, cat([]byte{0, 0, 0, 7}, ip4Head), nil},
		{"sll", capture.LinkLinuxSLL, cat(sll(8, 0), ip4Head), ip4Head},
		{"sll ipv6", capture.LinkLinuxSLL, cat(sll(0x86, 0xdd), ip6Head), ip6Head},
		{"sll with a tag", capture.LinkLinuxSLL, cat(sll(0x81, 0), []byte{0, 3, 8, 0}, ip4Head), ip4Head},
		{"sll arp", capture.LinkLinuxSLL, cat(sll(8, 6), make([]byte, 28)), nil},
		{"sll2", capture.LinkLinuxSLL2, cat(sll2(8, 0), ip4Head), ip4Head},
		{"sll2 ipv6", capture.LinkLinuxSLL2, cat(sll2(0x86, 0xdd), ip6Head), ip6Head},
		{"802.11", 105, cat(make([]byte, 32), ip4Head), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := capture.Packet{Link: tt.link, Data: tt.data}
			got, err := p.IP()
			if tt.want == nil {
				if !errors.Is(err, capture.ErrNotIP) {
					t.Fatalf("IP() = % x, %v; want ErrNotIP", got, err)
				}
				return
			}
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Fatalf("IP() = % x, %v; want % x", got, err, tt.want)
			}
			// Each shorter prefix that holds no byte of IP says so.
			for n := range len(tt.data) - len(tt.want) + 1 {
				p.Data = tt.data[:n]
				if _, err := p.IP(); !errors.Is(err, capture.ErrShort) || !errors.Is(err, capture.ErrNotIP) {
					t.Errorf("%d bytes: %v, want ErrShort", n, err)
				}
			}
			for n := len(tt.data) - len(tt.want) + 1; n < len(tt.data); n++ {
				p.Data = tt.data[:n]
				if got, err := p.IP(); err != nil || len(got) != n-len(tt.data)+len(tt.want) {
					t.Errorf("%d bytes: % x, %v", n, got, err)
				}
			}
			p.Data = tt.data
			if n := testing.AllocsPerRun(100, func() {
				if _, err := p.IP(); err != nil {
					t.Error(err)
				}
			}); n != 0 {
				t.Errorf("IP() makes %v allocations", n)
			}
		})
	}
}

// Where gopacket finds an IP layer below the link, IP finds the same bytes.
func TestPacketIPAgreesWithGopacket(t *testing.T) {
	decoders := map[capture.LinkType]gopacket.Decoder{
		capture.LinkEthernet: layers.LinkTypeEthernet,
		capture.LinkLinuxSLL: layers.LinkTypeLinuxSLL,
		capture.LinkNull:     layers.LinkTypeNull,
	}
	rapid.Check(t, func(t *rapid.T) {
		link := rapid.SampledFrom([]capture.LinkType{capture.LinkEthernet, capture.LinkLinuxSLL, capture.LinkNull}).Draw(t, "link")
		six := rapid.Bool().Draw(t, "six")
		proto, family, ip := uint16(0x0800), uint32(2), ip4Head
		if six {
			proto, family, ip = 0x86dd, 30, ip6Head
		}
		var data []byte
		switch link {
		case capture.LinkEthernet:
			data = make([]byte, 12)
			for range rapid.IntRange(0, 3).Draw(t, "tags") {
				data = append(data, 0x81, 0, 0, rapid.Byte().Draw(t, "vlan"))
			}
			data = binary.BigEndian.AppendUint16(data, proto)
		case capture.LinkLinuxSLL:
			data = binary.BigEndian.AppendUint16(make([]byte, 14), proto)
		case capture.LinkNull:
			data = binary.LittleEndian.AppendUint32(nil, family)
		}
		data = append(data, ip...)
		p := capture.Packet{Link: link, Data: data}
		got, err := p.IP()
		if err != nil {
			t.Fatal(err)
		}
		want := gopacket.NewPacket(data, decoders[link], gopacket.Default).NetworkLayer()
		if want == nil {
			t.Fatalf("gopacket finds no network layer in % x", data)
		}
		if !bytes.Equal(got, cat(want.LayerContents(), want.LayerPayload())) {
			t.Fatalf("IP() = % x, gopacket: % x", got, want.LayerContents())
		}
	})
}

func FuzzPacketIP(f *testing.F) {
	f.Add(uint16(capture.LinkEthernet), cat(make([]byte, 12), []byte{0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 0x86, 0xdd}, ip6Head))
	f.Add(uint16(capture.LinkEthernet), cat(make([]byte, 12), []byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 22, 0, 0x21}, ip4Head))
	f.Add(uint16(capture.LinkNull), cat([]byte{2, 0, 0, 0}, ip4Head))
	f.Add(uint16(capture.LinkLinuxSLL), cat(make([]byte, 14), []byte{8, 0}, ip4Head))
	f.Add(uint16(capture.LinkLinuxSLL2), cat([]byte{8, 0}, make([]byte, 18), ip4Head))
	f.Fuzz(func(t *testing.T, link uint16, data []byte) {
		p := capture.Packet{Link: capture.LinkType(link), Data: data}
		ip, err := p.IP()
		if err != nil {
			if !errors.Is(err, capture.ErrNotIP) || ip != nil {
				t.Fatal(ip, err)
			}
			return
		}
		if !bytes.HasSuffix(data, ip) || len(ip) == 0 || ip[0]>>4 != 4 && ip[0]>>4 != 6 {
			t.Fatalf("% x in % x", ip, data)
		}
	})
}

func TestTextForms(t *testing.T) {
	type both struct {
		L capture.LinkType  `json:"link"`
		D capture.Direction `json:"dir"`
	}
	for _, tt := range []struct {
		v    both
		text string
	}{
		{both{capture.LinkEthernet, capture.DirOut}, `{"link":"ethernet","dir":"out"}`},
		{both{capture.LinkNull, capture.DirUnknown}, `{"link":"null","dir":"unknown"}`},
		{both{capture.LinkLinuxSLL2, capture.DirIn}, `{"link":"linux-sll2","dir":"in"}`},
		{both{65535, capture.DirIn}, `{"link":"linktype-65535","dir":"in"}`},
	} {
		b, err := json.Marshal(tt.v)
		if err != nil || string(b) != tt.text {
			t.Errorf("%v marshals to %s, %v", tt.v, b, err)
		}
		var back both
		if err := json.Unmarshal([]byte(tt.text), &back); err != nil || back != tt.v {
			t.Errorf("%s unmarshals to %v, %v", tt.text, back, err)
		}
	}
	for l := range capture.LinkType(300) {
		b, _ := l.MarshalText()
		var back capture.LinkType
		if err := back.UnmarshalText(b); err != nil || back != l {
			t.Errorf("%d -> %s -> %d, %v", uint16(l), b, uint16(back), err)
		}
	}
	for _, bad := range []string{"", "Ethernet", "linktype-", "linktype-65536", "linktype--1"} {
		if err := new(capture.LinkType).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("link type %q accepted", bad)
		}
	}
	if err := new(capture.Direction).UnmarshalText([]byte("up")); err == nil {
		t.Error(`direction "up" accepted`)
	}
}
