package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/capture"
)

// ngFile writes pcapng files with every feature, in either byte order.
type ngFile struct {
	order interface {
		binary.ByteOrder
		binary.AppendByteOrder
	}
	b []byte
}

type ngOpt struct {
	code  uint16
	value []byte
}

func (f *ngFile) block(typ uint32, body []byte, opts ...ngOpt) {
	o := f.order
	for len(body)%4 != 0 {
		body = append(slices.Clip(body), 0)
	}
	for _, opt := range opts {
		body = o.AppendUint16(body, opt.code)
		body = o.AppendUint16(body, uint16(len(opt.value)))
		body = append(body, opt.value...)
		for len(body)%4 != 0 {
			body = append(body, 0xee) // padding need not be zero
		}
	}
	if len(opts) > 0 {
		body = o.AppendUint32(body, 0)
	}
	n := uint32(len(body) + 12)
	f.b = o.AppendUint32(f.b, typ)
	f.b = o.AppendUint32(f.b, n)
	f.b = append(f.b, body...)
	f.b = o.AppendUint32(f.b, n)
}

func (f *ngFile) section(opts ...ngOpt) {
	body := f.order.AppendUint32(nil, 0x1a2b3c4d)
	body = f.order.AppendUint16(body, 1)
	body = f.order.AppendUint16(body, 0)
	body = f.order.AppendUint64(body, math.MaxUint64)
	f.block(0x0a0d0d0a, body, opts...)
}

func (f *ngFile) iface(link capture.LinkType, snaplen uint32, opts ...ngOpt) {
	body := f.order.AppendUint16(nil, uint16(link))
	body = f.order.AppendUint16(body, 0)
	f.block(1, f.order.AppendUint32(body, snaplen), opts...)
}

func (f *ngFile) packet(iface uint32, ts uint64, length uint32, data []byte, opts ...ngOpt) {
	body := f.order.AppendUint32(nil, iface)
	body = f.packetTail(body, ts, length, data)
	f.block(6, body, opts...)
}

func (f *ngFile) oldPacket(iface, drops uint16, ts uint64, length uint32, data []byte, opts ...ngOpt) {
	body := f.order.AppendUint16(nil, iface)
	body = f.order.AppendUint16(body, drops)
	body = f.packetTail(body, ts, length, data)
	f.block(2, body, opts...)
}

func (f *ngFile) packetTail(body []byte, ts uint64, length uint32, data []byte) []byte {
	body = f.order.AppendUint32(body, uint32(ts>>32))
	body = f.order.AppendUint32(body, uint32(ts))
	body = f.order.AppendUint32(body, uint32(len(data)))
	body = f.order.AppendUint32(body, length)
	return append(body, data...)
}

func (f *ngFile) simple(length uint32, data []byte) {
	f.block(3, append(f.order.AppendUint32(nil, length), data...))
}

func (f *ngFile) stats(iface uint32, opts ...ngOpt) {
	f.block(5, f.order.AppendUint64(f.order.AppendUint32(nil, iface), 0), opts...)
}

func (f *ngFile) num32(v uint32) []byte { return f.order.AppendUint32(nil, v) }
func (f *ngFile) num64(v uint64) []byte { return f.order.AppendUint64(nil, v) }

// readAll returns copies of all packets and the error that ended them.
func readAll(t interface {
	Helper()
	Fatal(...any)
}, src io.Reader) ([]capture.Packet, *capture.Reader, error) {
	t.Helper()
	r, err := capture.NewReader(src)
	if err != nil {
		return nil, nil, err
	}
	var all []capture.Packet
	for {
		p, err := r.Next()
		if err != nil {
			if _, again := r.Next(); !errors.Is(again, err) {
				t.Fatal("after", err, "Next returned", again)
			}
			return all, r, err
		}
		p.Data = bytes.Clone(p.Data)
		all = append(all, p)
	}
}

var samePacket = cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })

func diffPackets(want, got []capture.Packet) string {
	norm := func(ps []capture.Packet) []capture.Packet {
		ps = append([]capture.Packet{}, ps...)
		for i := range ps {
			if len(ps[i].Data) == 0 {
				ps[i].Data = nil
			}
		}
		return ps
	}
	return cmp.Diff(norm(want), norm(got), samePacket)
}

func TestReaderPcap(t *testing.T) {
	at := time.Unix(1_900_000_000, 123_456_789)
	data := []byte("0123456789abcdef")
	for _, tt := range []struct {
		name         string
		magic        uint32
		major, minor uint16
		swapLens     bool
		modified     bool
		nano         bool
		link         uint32
		snaplen      uint32
		want         capture.LinkType
	}{
		{name: "micro", magic: 0xa1b2c3d4, major: 2, minor: 4, link: 1, snaplen: 65535, want: capture.LinkEthernet},
		{name: "nano", magic: 0xa1b23c4d, major: 2, minor: 4, nano: true, link: 101, snaplen: 262144, want: capture.LinkRaw},
		{name: "raw as DLT 12", magic: 0xa1b2c3d4, major: 2, minor: 4, link: 12, want: capture.LinkRaw},
		{name: "snaplen too small", magic: 0xa1b2c3d4, major: 2, minor: 4, link: 1, snaplen: 4, want: capture.LinkEthernet},
		{name: "snaplen absurd", magic: 0xa1b2c3d4, major: 2, minor: 4, link: 1, snaplen: math.MaxUint32, want: capture.LinkEthernet},
		{name: "fcs length in the link type", magic: 0xa1b2c3d4, major: 2, minor: 4, link: 0x2400_0001, want: capture.LinkEthernet},
		{name: "modified", magic: 0xa1b2cd34, major: 2, minor: 4, modified: true, link: 1, want: capture.LinkEthernet},
		{name: "version 2.2", magic: 0xa1b2c3d4, major: 2, minor: 2, swapLens: true, link: 1, want: capture.LinkEthernet},
		{name: "version 2.3, one order", magic: 0xa1b2c3d4, major: 2, minor: 3, link: 1, want: capture.LinkEthernet},
		{name: "version 2.3, the other", magic: 0xa1b2c3d4, major: 2, minor: 3, swapLens: true, link: 1, want: capture.LinkEthernet},
		{name: "version 543", magic: 0xa1b2c3d4, major: 543, minor: 0, swapLens: true, link: 1, want: capture.LinkEthernet},
	} {
		for _, order := range []interface {
			binary.ByteOrder
			binary.AppendByteOrder
		}{binary.LittleEndian, binary.BigEndian} {
			t.Run(fmt.Sprintf("%s %v", tt.name, order), func(t *testing.T) {
				b := order.AppendUint32(nil, tt.magic)
				b = order.AppendUint16(b, tt.major)
				b = order.AppendUint16(b, tt.minor)
				b = append(b, make([]byte, 8)...)
				b = order.AppendUint32(b, tt.snaplen)
				b = order.AppendUint32(b, tt.link)
				var want []capture.Packet
				for i := range 3 {
					p := capture.Packet{Data: data[:5*(i+1)], Len: 60 + i, Link: tt.want}
					sub := uint32(at.Nanosecond())
					p.Time = at
					if !tt.nano {
						sub /= 1000
						p.Time = at.Truncate(time.Microsecond)
					}
					b = order.AppendUint32(b, uint32(at.Unix()))
					b = order.AppendUint32(b, sub)
					lens := []uint32{uint32(len(p.Data)), uint32(p.Len)}
					if tt.swapLens {
						slices.Reverse(lens)
					}
					b = order.AppendUint32(b, lens[0])
					b = order.AppendUint32(b, lens[1])
					if tt.modified {
						p.Dir = capture.DirOut
						b = order.AppendUint32(b, 2)      // interface
						b = order.AppendUint16(b, 0x0800) // protocol
						b = append(b, 4, 0)               // PACKET_OUTGOING, padding
					}
					b = append(b, p.Data...)
					want = append(want, p)
				}
				got, r, err := readAll(t, bytes.NewReader(b))
				if err != io.EOF {
					t.Fatal(err)
				}
				if d := diffPackets(want, got); d != "" {
					t.Error(d)
				}
				if ifs := r.Interfaces(); len(ifs) != 1 || ifs[0].Link != tt.want {
					t.Errorf("interfaces %+v", ifs)
				}
				if _, known := r.Dropped(); known {
					t.Error("a pcap file cannot know what was dropped")
				}
			})
		}
	}
}

func TestReaderPcapng(t *testing.T) {
	for _, order := range []interface {
		binary.ByteOrder
		binary.AppendByteOrder
	}{binary.LittleEndian, binary.BigEndian} {
		t.Run(order.String(), func(t *testing.T) {
			f := &ngFile{order: order}
			f.section(ngOpt{4, []byte("a test")})
			f.iface(capture.LinkEthernet, 96,
				ngOpt{2, []byte("eth0")}, ngOpt{3, []byte("the first")}, ngOpt{11, []byte("\x00tcp port 80")}, ngOpt{12, []byte("Linux")})
			f.iface(capture.LinkRaw, 0, ngOpt{9, []byte{9}}, ngOpt{14, f.num64(1_000_000)})
			f.iface(12, 0, ngOpt{9, []byte{0x80 | 10}}, ngOpt{11, []byte{1, 2, 3}}) // resolution 1/1024 s, a filter as bytecode
			f.packet(0, 1_900_000_000_123_456, 1500, []byte("abc"), ngOpt{1, []byte("a comment")}, ngOpt{2, f.num32(2 | 0x100)})
			f.packet(1, 5_000_000_007, 4, []byte("defg"), ngOpt{2, f.num32(1)}, ngOpt{1, []byte("one")}, ngOpt{2989, []byte("custom")}, ngOpt{1, []byte("two\xff")})
			f.block(4, []byte{1, 0, 8, 0, 192, 0, 2, 1, 'h', 'o', 's', 0, 0, 0, 0, 0}) // name resolution
			f.packet(2, 1024*7+512, 0, nil)
			f.block(0xbad, []byte("a block of tomorrow"))
			f.simple(200, bytes.Repeat([]byte{7}, 96)) // snapped to the 96 of interface 0
			f.oldPacket(1, 3, 9, 4, []byte("hijk"), ngOpt{2, f.num32(2)})
			f.oldPacket(0, 65535, 0, 4, []byte("lmno"))
			f.stats(0, ngOpt{4, f.num64(100)}, ngOpt{5, f.num64(7)})
			f.stats(0, ngOpt{4, f.num64(200)}, ngOpt{5, f.num64(11)}, ngOpt{7, f.num64(1)})
			// A second section in the other byte order, with interfaces of its own.
			if f.order == binary.LittleEndian {
				f.order = binary.BigEndian
			} else {
				f.order = binary.LittleEndian
			}
			f.section()
			f.iface(capture.LinkLinuxSLL, 0, ngOpt{9, []byte{0}}, ngOpt{2, []byte("any")})
			sll := cat([]byte{0, 4}, make([]byte, 14))
			f.packet(0, 1_900_000_000, 16, sll)
			f.packet(0, math.MaxUint64, 16, sll, ngOpt{2, f.num32(1)})

			want := []capture.Packet{
				{Time: time.Unix(1_900_000_000, 123_456_000), Data: []byte("abc"), Len: 1500, Link: capture.LinkEthernet, Dir: capture.DirOut, Comment: "a comment"},
				{Time: time.Unix(1_000_005, 7), Data: []byte("defg"), Len: 4, Link: capture.LinkRaw, Interface: 1, Dir: capture.DirIn, Comment: "one\ntwo\uFFFD"},
				{Time: time.Unix(7, 500_000_000), Link: capture.LinkRaw, Interface: 2},
				{Data: bytes.Repeat([]byte{7}, 96), Len: 200, Link: capture.LinkEthernet},
				{Time: time.Unix(1_000_000, 9), Data: []byte("hijk"), Len: 4, Link: capture.LinkRaw, Interface: 1, Dir: capture.DirOut},
				{Time: time.Unix(0, 0), Data: []byte("lmno"), Len: 4, Link: capture.LinkEthernet},
				{Time: time.Unix(1_900_000_000, 0), Data: sll, Len: 16, Link: capture.LinkLinuxSLL, Interface: 3, Dir: capture.DirOut},
				{Data: sll, Len: 16, Link: capture.LinkLinuxSLL, Interface: 3, Dir: capture.DirIn}, // in the year 584,554,049,253: no time
			}
			for name, src := range map[string]io.Reader{
				"whole":          bytes.NewReader(f.b),
				"byte by byte":   iotest.OneByteReader(bytes.NewReader(f.b)),
				"with its error": iotest.DataErrReader(bytes.NewReader(f.b)),
			} {
				got, r, err := readAll(t, src)
				if err != io.EOF {
					t.Fatalf("%s: %v", name, err)
				}
				if d := diffPackets(want, got); d != "" {
					t.Errorf("%s: %s", name, d)
				}
				if n, known := r.Dropped(); !known || n != 12+3 {
					t.Errorf("dropped %d, %v", n, known)
				}
				wantIfs := []capture.Interface{
					{Name: "eth0", Description: "the first", Filter: "tcp port 80", OS: "Linux", Link: capture.LinkEthernet, Snaplen: 96},
					{Link: capture.LinkRaw}, {Link: capture.LinkRaw}, {Name: "any", Link: capture.LinkLinuxSLL},
				}
				if d := cmp.Diff(wantIfs, r.Interfaces()); d != "" {
					t.Error(d)
				}
			}
			everyCut(t, f.b, want)
		})
	}
}

// everyCut reads every prefix of a file: what was whole comes out, then the cut
// is named.
func everyCut(t *testing.T, file []byte, want []capture.Packet) {
	t.Helper()
	last := 0
	for n := range file {
		got, _, err := readAll(t, bytes.NewReader(file[:n]))
		if len(got) < last || len(got) > len(want) {
			t.Fatalf("%d bytes gave %d packets, fewer bytes %d", n, len(got), last)
		}
		last = len(got)
		if d := diffPackets(want[:last], got); d != "" {
			t.Fatalf("%d bytes: %s", n, d)
		}
		if err == io.EOF {
			continue // cut between two blocks
		}
		var ce *capture.CorruptError
		if !errors.As(err, &ce) || !ce.Truncated || ce.Offset > int64(n) {
			t.Fatalf("%d bytes: %v (%+v)", n, err, ce)
		}
		if !errors.Is(err, capture.ErrCorrupt) || !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			t.Fatalf("%v matches the wrong errors", err)
		}
	}
}

func TestReaderCorrupt(t *testing.T) {
	le := binary.LittleEndian
	head := func() *ngFile {
		f := &ngFile{order: le}
		f.section()
		f.iface(capture.LinkRaw, 0)
		return f
	}
	good := func(f *ngFile) *ngFile {
		f.packet(0, 0, 4, []byte("good"))
		return f
	}
	pcap := cat(le.AppendUint32(nil, 0xa1b2c3d4), []byte{2, 0, 4, 0}, make([]byte, 8), []byte{0, 0, 4, 0, 1, 0, 0, 0})
	with := func(f *ngFile, at int, v uint32) []byte {
		if at < 0 {
			at += len(f.b)
		}
		le.PutUint32(f.b[at:], v)
		return f.b
	}
	f := good(head())
	n := len(f.b)
	for _, tt := range []struct {
		name, reason string
		offset       int64
		packets      int
		file         []byte
	}{
		{"empty", "fewer than 4 bytes", 0, 0, nil},
		{"text", "neither pcap nor pcapng", 0, 0, []byte("hello, world, how are you")},
		{"gzip", "decompress it first", 0, 0, []byte{0x1f, 0x8b, 8, 0}},
		{"zstd", "decompress it first", 0, 0, []byte{0x28, 0xb5, 0x2f, 0xfd}},
		{"pcap version 1", "pcap version 1.9", 0, 0, cat(le.AppendUint32(nil, 0xa1b2c3d4), []byte{1, 0, 9, 0}, make([]byte, 16))},
		{"pcap header only", "file header is cut", 0, 0, pcap[:12]},
		{"pcap with a giant", "a packet of 4294967295 bytes", 24, 0, cat(pcap, make([]byte, 8), le.AppendUint32(nil, math.MaxUint32), make([]byte, 20))},
		{"byte order magic", "byte-order magic", 0, 0, with(head(), 8, 0x11111111)},
		{"pcapng version", "pcapng version 3.0", 0, 0, with(head(), 12, 3)},
		{"section too short", "length 12", 0, 0, with(head(), 4, 12)},
		{"block length zero", "length 0, less", int64(n), 1, with(good(good(head())), n+4, 0)},
		{"block length odd", "not a multiple of 4", int64(n), 1, with(good(good(head())), n+4, 37)},
		{"block length giant", "more than", int64(n), 1, with(good(good(head())), n+4, 0x7ffffff0)},
		{"lengths disagree", "at its start and", int64(n), 1, with(good(good(head())), -4, 40)},
		{"no such interface", "interface 5, but the section describes 1", int64(n), 1, with(good(good(head())), n+8, 5)},
		{"data longer than block", "room for 4", int64(n), 1, with(good(good(head())), n+20, 5)},
		{"statistics of nobody", "statistics of interface 3", int64(n), 1, func() []byte { g := good(head()); g.stats(3); return g.b }()},
		{"simple packet of nobody", "without interfaces", 28, 0, func() []byte { g := &ngFile{order: le}; g.section(); g.simple(1, []byte{1}); return g.b }()},
		{"simple packet too long", "room for 4", int64(n), 1, func() []byte { g := good(head()); g.simple(5, []byte{1}); return g.b }()},
		{"option too long", "option 1 has length 500", int64(n), 1, func() []byte {
			g := good(head())
			g.packet(0, 0, 0, []byte{}, ngOpt{1, []byte("xxxx")})
			return with(g, n+28, 500<<16|1)
		}()},
		{"tiny interface description", "an interface description of 4", 28, 0, func() []byte { g := &ngFile{order: le}; g.section(); g.block(1, make([]byte, 4)); return g.b }()},
		{"tiny packet", "an enhanced packet block of 16", int64(n), 1, func() []byte { g := good(head()); g.block(6, make([]byte, 16)); return g.b }()},
		{"tiny old packet", "a packet block of 16", int64(n), 1, func() []byte { g := good(head()); g.block(2, make([]byte, 16)); return g.b }()},
		{"tiny simple packet", "a simple packet block of 0", int64(n), 1, func() []byte { g := good(head()); g.block(3, nil); return g.b }()},
		{"tiny statistics", "statistics block of 8", int64(n), 1, func() []byte { g := good(head()); g.block(5, make([]byte, 8)); return g.b }()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := readAll(t, bytes.NewReader(tt.file))
			var ce *capture.CorruptError
			if !errors.As(err, &ce) || !errors.Is(err, capture.ErrCorrupt) {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(ce.Reason, tt.reason) || ce.Offset != tt.offset {
				t.Errorf("%+v, want %q at %d", ce, tt.reason, tt.offset)
			}
			if len(got) != tt.packets {
				t.Errorf("%d packets, want %d", len(got), tt.packets)
			}
		})
	}
}

func TestReaderSourceFails(t *testing.T) {
	f := &ngFile{order: binary.LittleEndian}
	f.section()
	f.iface(capture.LinkRaw, 0)
	f.packet(0, 0, 4, []byte("good"))
	broken := errors.New("the disk is on fire")
	got, _, err := readAll(t, io.MultiReader(bytes.NewReader(f.b), iotest.ErrReader(broken)))
	if len(got) != 1 || !errors.Is(err, broken) || errors.Is(err, capture.ErrCorrupt) {
		t.Errorf("%d packets, %v", len(got), err)
	}
	if _, err := capture.NewReader(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := capture.NewReader(idleReader{}); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
	if _, err := capture.NewReader(wrongReader{}); err == nil {
		t.Error("a reader that claims more than it was given is believed")
	}
}

type idleReader struct{}

func (idleReader) Read([]byte) (int, error) { return 0, nil }

type wrongReader struct{}

func (wrongReader) Read(b []byte) (int, error) { return len(b) + 1, nil }

// Random files: what the builder meant is what Reader says, and what gopacket's
// reader says.
func TestReaderAgreesWithModelAndGopacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &ngFile{order: binary.LittleEndian}
		if rapid.Bool().Draw(t, "big") {
			f.order = binary.BigEndian
		}
		f.section()
		resols := rapid.SliceOfN(rapid.IntRange(1, 9), 1, 4).Draw(t, "resolutions") // gopacket takes 0 for 'not given'
		for i, res := range resols {
			opts := []ngOpt{{2, fmt.Append(nil, "if", i)}}
			if res != 6 || rapid.Bool().Draw(t, "explicit") {
				opts = append(opts, ngOpt{9, []byte{byte(res)}})
			}
			f.iface(capture.LinkRaw, 0, opts...)
		}
		var want []capture.Packet
		for range rapid.IntRange(0, 20).Draw(t, "packets") {
			id := rapid.IntRange(0, len(resols)-1).Draw(t, "id")
			unit := uint64(math.Pow10(resols[id]))
			sec := rapid.Int64Range(0, 1<<32).Draw(t, "sec")
			frac := rapid.Uint64Range(0, unit-1).Draw(t, "frac")
			p := capture.Packet{
				Time:      time.Unix(sec, int64(frac*uint64(math.Pow10(9-resols[id])))),
				Data:      rapid.SliceOfN(rapid.Byte(), 0, 70).Draw(t, "data"),
				Link:      capture.LinkRaw,
				Interface: id,
			}
			p.Len = len(p.Data) + rapid.IntRange(0, 2000).Draw(t, "cut")
			ts := uint64(sec)*unit + frac
			if rapid.IntRange(0, 4).Draw(t, "old") == 0 {
				f.oldPacket(uint16(id), 65535, ts, uint32(p.Len), p.Data)
			} else {
				var opts []ngOpt
				p.Dir = rapid.SampledFrom([]capture.Direction{capture.DirUnknown, capture.DirIn, capture.DirOut}).Draw(t, "dir")
				if p.Dir != capture.DirUnknown {
					opts = append(opts, ngOpt{2, f.num32(uint32(p.Dir))})
				}
				if p.Comment = rapid.StringN(0, 20, 60).Draw(t, "comment"); p.Comment != "" {
					opts = append(opts, ngOpt{1, []byte(p.Comment)})
				}
				f.packet(uint32(id), ts, uint32(p.Len), p.Data, opts...)
			}
			want = append(want, p)
		}
		got, _, err := readAll(t, bytes.NewReader(f.b))
		if err != io.EOF {
			t.Fatal(err)
		}
		if d := diffPackets(want, got); d != "" {
			t.Fatal(d)
		}
		ng, err := pcapgo.NewNgReader(bytes.NewReader(f.b), pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			data, ci, err := ng.ReadPacketData()
			if err != nil {
				t.Fatal("gopacket:", err)
			}
			if !ci.Timestamp.Equal(got[i].Time) || !bytes.Equal(data, got[i].Data) || ci.Length != got[i].Len || ci.InterfaceIndex != got[i].Interface {
				t.Fatalf("packet %d: gopacket %v, we %v", i, ci, got[i])
			}
		}
	})
}

// Files that gopacket writes, in both resolutions of pcap and in pcapng.
func TestReaderReadsGopacketFiles(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 789_012_345, time.UTC)
	packets := make([]capture.Packet, 50)
	for i := range packets {
		packets[i] = capture.Packet{Time: at.Add(time.Duration(i*i) * time.Microsecond), Data: bytes.Repeat([]byte{byte(i)}, i+1), Len: i + 1 + i%7, Link: capture.LinkEthernet}
	}
	type sink interface {
		WritePacket(gopacket.CaptureInfo, []byte) error
	}
	for _, tt := range []struct {
		name string
		unit time.Duration
		open func(*bytes.Buffer) (sink, func() error, error)
	}{
		{"pcap", time.Microsecond, func(b *bytes.Buffer) (sink, func() error, error) {
			w := pcapgo.NewWriter(b)
			return w, func() error { return nil }, w.WriteFileHeader(65536, layers.LinkTypeEthernet)
		}},
		{"pcap nano", time.Nanosecond, func(b *bytes.Buffer) (sink, func() error, error) {
			w := pcapgo.NewWriterNanos(b)
			return w, func() error { return nil }, w.WriteFileHeader(65536, layers.LinkTypeEthernet)
		}},
		{"pcapng", time.Nanosecond, func(b *bytes.Buffer) (sink, func() error, error) {
			w, err := pcapgo.NewNgWriter(b, layers.LinkTypeEthernet)
			return w, w.Flush, err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			w, flush, err := tt.open(&b)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(packets)
			for i := range want {
				p := &want[i]
				if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(p.Data), Length: p.Len}, p.Data); err != nil {
					t.Fatal(err)
				}
				p.Time = p.Time.Truncate(tt.unit)
			}
			if err := flush(); err != nil {
				t.Fatal(err)
			}
			got, _, err := readAll(t, &b)
			if err != io.EOF {
				t.Fatal(err)
			}
			if d := diffPackets(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// endless repeats one block until limit bytes have been read.
type endless struct {
	head, block []byte
	limit       int
}

func (e *endless) Read(b []byte) (int, error) {
	if len(e.head) > 0 {
		n := copy(b, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	if e.limit <= 0 {
		return 0, io.EOF
	}
	n := 0
	for n+len(e.block) <= len(b) {
		n += copy(b[n:], e.block)
	}
	if n == 0 { // less room than a block: the rest comes next time
		n = copy(b, e.block)
		e.head = e.block[n:]
	}
	e.limit -= n
	return n, nil
}

func TestReaderMemoryIsConstant(t *testing.T) {
	f := &ngFile{order: binary.LittleEndian}
	f.section()
	f.iface(capture.LinkRaw, 0)
	head := bytes.Clone(f.b)
	f.packet(0, 1, 900, make([]byte, 900), ngOpt{2, f.num32(2)})
	src := &endless{head: head, block: f.b[len(head):], limit: 128 << 20}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := capture.NewReader(src)
	if err != nil {
		t.Fatal(err)
	}
	packets := 0
	for {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Data) != 900 || p.Dir != capture.DirOut {
			t.Fatalf("%+v", p)
		}
		packets++
	}
	runtime.ReadMemStats(&after)
	if packets < 128<<20/1000 {
		t.Errorf("only %d packets", packets)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("%d packets made %d bytes of garbage", packets, used)
	}
}

// A length field alone must not make Reader allocate.
func TestReaderAllocatesByWhatCame(t *testing.T) {
	f := &ngFile{order: binary.LittleEndian}
	f.section()
	f.b = cat(f.b, []byte{6, 0, 0, 0}, f.num32(15<<20), make([]byte, 100))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := readAll(t, bytes.NewReader(f.b))
	runtime.ReadMemStats(&after)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d bytes allocated for a file of %d", used, len(f.b))
	}
}

func TestReaderLargeBlock(t *testing.T) {
	f := &ngFile{order: binary.BigEndian}
	f.section()
	f.iface(capture.LinkRaw, 0)
	big := bytes.Repeat([]byte("jumbo"), 1<<20)
	f.packet(0, 0, uint32(len(big)), big)
	f.packet(0, 0, 4, []byte("tiny"))
	got, _, err := readAll(t, bytes.NewReader(f.b))
	if err != io.EOF || len(got) != 2 || !bytes.Equal(got[0].Data, big) || string(got[1].Data) != "tiny" {
		t.Errorf("%d packets, %v", len(got), err)
	}
}

func FuzzReader(f *testing.F) {
	ng := &ngFile{order: binary.LittleEndian}
	ng.section(ngOpt{4, []byte("fuzz")})
	ng.iface(capture.LinkEthernet, 96, ngOpt{2, []byte("eth0")}, ngOpt{9, []byte{0x8a}}, ngOpt{14, ng.num64(1 << 62)})
	ng.packet(0, 1<<40, 100, []byte("abc"), ngOpt{1, []byte("a comment")}, ngOpt{2, ng.num32(2)})
	ng.simple(4, []byte("abcd"))
	ng.oldPacket(0, 2, 5, 4, []byte("efgh"))
	ng.stats(0, ngOpt{5, ng.num64(7)})
	ng.order = binary.BigEndian
	ng.section()
	ng.iface(capture.LinkLinuxSLL2, 0, ngOpt{9, []byte{127}})
	ng.packet(0, 7, 20, cat([]byte{8, 0}, make([]byte, 18), ip4Head))
	f.Add(ng.b)
	le := binary.LittleEndian
	for _, magic := range []uint32{0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34, 0xd4c3b2a1} {
		pcap := cat(le.AppendUint32(nil, magic), []byte{2, 0, 4, 0}, make([]byte, 8), []byte{0, 0, 4, 0, 101, 0, 0, 0})
		f.Add(cat(pcap, []byte{1, 0, 0, 0, 2, 0, 0, 0, 20, 0, 0, 0, 40, 0, 0, 0}, ip4Head))
		f.Add(cat(pcap, []byte{1, 0, 0, 0, 2, 0, 0, 0, 20, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 8, 0, 4, 0}, ip4Head))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := capture.NewReader(bytes.NewReader(file))
		if err != nil {
			if !errors.Is(err, capture.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		total := 0
		for {
			p, err := r.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				if !errors.Is(err, capture.ErrCorrupt) {
					t.Fatal(err)
				}
				return
			}
			total += len(p.Data)
			if total > len(file) || p.Len < len(p.Data) || p.Interface >= len(r.Interfaces()) {
				t.Fatalf("impossible packet %+v", p)
			}
			if _, err := p.Time.MarshalJSON(); err != nil {
				t.Fatal(err)
			}
			if ip, err := p.IP(); err == nil && len(ip) == 0 {
				t.Fatal("an empty IP packet")
			}
			r.Dropped()
		}
	})
}

func BenchmarkReader(b *testing.B) {
	const size = 64 << 20
	for _, bench := range []struct {
		name string
		data int
	}{{"pcapng/74-bytes", 74}, {"pcapng/1514-bytes", 1514}} {
		b.Run(bench.name, func(b *testing.B) {
			f := &ngFile{order: binary.LittleEndian}
			f.section()
			f.iface(capture.LinkRaw, 0, ngOpt{9, []byte{9}})
			head := bytes.Clone(f.b)
			f.packet(0, 1_900_000_000_123_456_789, uint32(bench.data), make([]byte, bench.data))
			benchmarkReader(b, head, f.b[len(head):], size)
		})
	}
	for _, bench := range []struct {
		name string
		data int
	}{{"pcap/74-bytes", 74}, {"pcap/1514-bytes", 1514}} {
		b.Run(bench.name, func(b *testing.B) {
			le := binary.LittleEndian
			head := cat(le.AppendUint32(nil, 0xa1b2c3d4), []byte{2, 0, 4, 0}, make([]byte, 8), []byte{0, 0, 4, 0, 101, 0, 0, 0})
			rec := cat(make([]byte, 8), le.AppendUint32(nil, uint32(bench.data)), le.AppendUint32(nil, uint32(bench.data)), make([]byte, bench.data))
			benchmarkReader(b, head, rec, size)
		})
	}
}

func benchmarkReader(b *testing.B, head, block []byte, size int) {
	file := slices.Concat(head, bytes.Repeat(block, size/len(block)))
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	packets := 0
	for b.Loop() {
		r, err := capture.NewReader(bytes.NewReader(file))
		if err != nil {
			b.Fatal(err)
		}
		for {
			_, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			packets++
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
}
