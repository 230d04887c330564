package capture_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"
	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/capture"
)

// What is written is what is read, in all fields.
func TestWriterRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 30, 100)
		drawInterface := func() capture.Interface {
			return capture.Interface{
				Name: text.Draw(t, "name"), Description: text.Draw(t, "description"), Filter: text.Draw(t, "filter"), OS: text.Draw(t, "os"),
				Link:    rapid.SampledFrom([]capture.LinkType{capture.LinkRaw, capture.LinkEthernet, capture.LinkIPv6}).Draw(t, "link"),
				Snaplen: rapid.SampledFrom([]int{0, 40, 262144}).Draw(t, "snaplen"),
			}
		}
		var ifaces []capture.Interface
		for range rapid.IntRange(0, 3).Draw(t, "interfaces") {
			ifaces = append(ifaces, drawInterface())
		}
		var file bytes.Buffer
		w, err := capture.NewWriter(&file, ifaces...)
		if err != nil {
			t.Fatal(err)
		}
		var want []capture.Packet
		var dropped uint64
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			if len(ifaces) == 0 || rapid.IntRange(0, 9).Draw(t, "more") == 0 {
				i := drawInterface()
				id, err := w.AddInterface(i)
				if err != nil || id != len(ifaces) {
					t.Fatal(id, err)
				}
				ifaces = append(ifaces, i)
			}
			id := rapid.IntRange(0, len(ifaces)-1).Draw(t, "id")
			p := capture.Packet{
				Time:      time.Unix(rapid.Int64Range(0, 18_446_744_072).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")),
				Data:      rapid.SliceOfN(rapid.Byte(), 0, 90).Draw(t, "data"),
				Link:      ifaces[id].Link,
				Interface: id,
				Dir:       rapid.SampledFrom([]capture.Direction{capture.DirUnknown, capture.DirIn, capture.DirOut}).Draw(t, "dir"),
				Comment:   text.Draw(t, "comment"),
			}
			p.Len = len(p.Data) + rapid.IntRange(0, 70000).Draw(t, "cut")
			if err := w.WritePacket(p); err != nil {
				t.Fatal(err)
			}
			if snap := ifaces[id].Snaplen; snap > 0 {
				p.Data = p.Data[:min(snap, len(p.Data))]
			}
			want = append(want, p)
		}
		for id := range ifaces {
			n := rapid.Uint64Range(0, 1<<60).Draw(t, "dropped")
			dropped += n
			if err := w.WriteStats(id, time.Unix(1, 0), n+7, n); err != nil {
				t.Fatal(err)
			}
		}
		got, r, err := readAll(t, bytes.NewReader(file.Bytes()))
		if err != io.EOF {
			t.Fatal(err)
		}
		if d := diffPackets(want, got); d != "" {
			t.Fatal(d)
		}
		if !slices.Equal(ifaces, r.Interfaces()) {
			t.Fatalf("interfaces %+v, want %+v", r.Interfaces(), ifaces)
		}
		if n, known := r.Dropped(); n != dropped || known != (len(ifaces) > 0) {
			t.Fatalf("dropped %d (%v), want %d", n, known, dropped)
		}
		if len(want) == 0 {
			return
		}
		ng, err := pcapgo.NewNgReader(bytes.NewReader(file.Bytes()), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			t.Fatal("gopacket:", err)
		}
		if app := ng.SectionInfo().Application; app != "synpunch" {
			t.Fatalf("application %q", app)
		}
		for i, p := range want {
			if p.Time.Unix() > 1<<33 {
				return // gopacket's times end in 2262
			}
			data, ci, err := ng.ReadPacketData()
			if err != nil {
				t.Fatal("gopacket:", err)
			}
			if !ci.Timestamp.Equal(p.Time) || !bytes.Equal(data, p.Data) || ci.Length != p.Len || ci.InterfaceIndex != p.Interface {
				t.Fatalf("packet %d: gopacket %v, we %v", i, ci, p)
			}
		}
	})
}

// writes records each Write call.
type writes struct {
	calls [][]byte
	short bool
	err   error
}

func (w *writes) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.short {
		return len(b) / 2, nil
	}
	w.calls = append(w.calls, bytes.Clone(b))
	return len(b), nil
}

func TestWriterOneWriteAPacket(t *testing.T) {
	var out writes
	w, err := capture.NewWriter(&out, capture.Interface{Name: "a", Link: capture.LinkRaw}, capture.Interface{Name: "b", Link: capture.LinkRaw})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.calls) != 1 {
		t.Fatalf("the head took %d writes", len(out.calls))
	}
	p := capture.Packet{Time: time.Unix(7, 9), Data: exampleSYN, Link: capture.LinkRaw, Dir: capture.DirOut, Comment: "hello"}
	for i := range 5 {
		if err := w.WritePacket(p); err != nil {
			t.Fatal(err)
		}
		if len(out.calls) != 2+i {
			t.Fatalf("packet %d: %d writes so far", i, len(out.calls))
		}
		// After each write the file so far is whole.
		got, _, err := readAll(t, bytes.NewReader(slices.Concat(out.calls...)))
		if err != io.EOF || len(got) != i+1 {
			t.Fatalf("after packet %d: %d packets, %v", i, len(got), err)
		}
	}
	allocs, err := capture.NewWriter(io.Discard, capture.Interface{Link: capture.LinkRaw})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := allocs.WritePacket(p); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("WritePacket makes %v allocations", n)
	}
}

func TestWriterBuffer(t *testing.T) {
	var out writes
	w, err := capture.NewWriter(&out, capture.Interface{Link: capture.LinkRaw})
	if err != nil {
		t.Fatal(err)
	}
	w.Buffer(1000)
	p := capture.Packet{Data: exampleSYN, Link: capture.LinkRaw} // a block of 72 bytes
	for range 20 {
		if err := w.WritePacket(p); err != nil {
			t.Fatal(err)
		}
	}
	if len(out.calls) != 2 || len(out.calls[1]) < 1000 || len(out.calls[1])%72 != 0 {
		t.Errorf("%d writes for 1,440 bytes", len(out.calls))
	}
	for range 2 {
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	got, _, err := readAll(t, bytes.NewReader(slices.Concat(out.calls...)))
	if len(out.calls) != 3 || len(got) != 20 || err != io.EOF {
		t.Errorf("%d writes, %d packets, %v", len(out.calls), len(got), err)
	}
	out.err = io.ErrClosedPipe
	if err := w.WritePacket(p); err != nil {
		t.Error("a packet that is held back:", err)
	}
	for range 2 {
		if err := w.Flush(); !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	}
	if err := w.WritePacket(p); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestWriterRefuses(t *testing.T) {
	good := capture.Packet{Time: time.Unix(7, 9), Data: exampleSYN, Link: capture.LinkRaw}
	for _, tt := range []struct {
		name string
		edit func(*capture.Packet)
		want string
	}{
		{"interface", func(p *capture.Packet) { p.Interface = 1 }, "describes 1"},
		{"negative interface", func(p *capture.Packet) { p.Interface = -1 }, "describes 1"},
		{"link type", func(p *capture.Packet) { p.Link = capture.LinkEthernet }, "interface 0 has raw"},
		{"too early", func(p *capture.Packet) { p.Time = time.Unix(-1, 0) }, "before 1970"},
		{"too late", func(p *capture.Packet) { p.Time = time.Unix(18_446_744_073, 0) }, "after 2554"},
		{"data", func(p *capture.Packet) { p.Data = make([]byte, 262145) }, "at most 262144"},
		{"length", func(p *capture.Packet) { long := int64(1) << 33; p.Len = int(long) }, "length of"},
		{"comment", func(p *capture.Packet) { p.Comment = strings.Repeat("x", 65536) }, "ends at 65535"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "length" && strconv.IntSize == 32 {
				t.Skip("int has 32 bits")
			}
			var out writes
			w, err := capture.NewWriter(&out, capture.Interface{Link: capture.LinkRaw})
			if err != nil {
				t.Fatal(err)
			}
			p := good
			tt.edit(&p)
			if err := w.WritePacket(p); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if len(out.calls) != 1 {
				t.Error("something was written")
			}
			if err := w.WritePacket(good); err != nil {
				t.Errorf("a good packet after it: %v", err)
			}
		})
	}
	for _, i := range []capture.Interface{{Snaplen: -1}, {Snaplen: 262145}, {Name: strings.Repeat("x", 5000)}} {
		if _, err := capture.NewWriter(io.Discard, i); err == nil {
			t.Errorf("interface %.60v accepted", i)
		}
	}
	w, err := capture.NewWriter(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteStats(0, time.Time{}, 1, 1); err == nil {
		t.Error("statistics of no interface accepted")
	}
}

func TestWriterFailureIsFinal(t *testing.T) {
	full := errors.New("no space left")
	out := &writes{}
	w, err := capture.NewWriter(out, capture.Interface{Link: capture.LinkRaw})
	if err != nil {
		t.Fatal(err)
	}
	p := capture.Packet{Data: exampleSYN, Link: capture.LinkRaw}
	out.err = full
	if err := w.WritePacket(p); !errors.Is(err, full) {
		t.Error(err)
	}
	out.err = nil
	if err := w.WritePacket(p); !errors.Is(err, full) {
		t.Error("after a failed write:", err)
	}
	if _, err := w.AddInterface(capture.Interface{}); !errors.Is(err, full) {
		t.Error("after a failed write:", err)
	}
	if err := w.WriteStats(0, time.Time{}, 0, 0); !errors.Is(err, full) {
		t.Error("after a failed write:", err)
	}
	if _, err := capture.NewWriter(&writes{short: true}); !errors.Is(err, io.ErrShortWrite) {
		t.Error("short write:", err)
	}
	if _, err := capture.NewWriter(out, capture.Interface{Snaplen: -1}); err == nil {
		t.Error("a negative snapshot length is accepted")
	}
}

// tool finds another program that reads captures; the suite needs none of them.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// run runs a tool and returns what it said on stdout and on stderr.
func run(t *testing.T, path string, args ...string) (string, string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8", "HOME="+t.TempDir())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", path, args, err, errs.String())
	}
	return out.String(), errs.String()
}

// Two files: one of raw packets from one interface, as Live makes for a punch,
// and one of cooked packets from two, the second of which turned up late.
func TestOtherProgramsReadOurFiles(t *testing.T) {
	t.Run("raw", func(t *testing.T) {
		otherPrograms(t, capture.LinkRaw, exampleSYN, "eth7")
	})
	t.Run("cooked", func(t *testing.T) {
		header := cat([]byte{8, 0, 0, 0, 0, 0, 0, 7, 0, 1, 4, 6}, make([]byte, 8))
		otherPrograms(t, capture.LinkLinuxSLL2, cat(header, exampleSYN), "eth7", "eth8")
	})
}

func otherPrograms(t *testing.T, link capture.LinkType, data []byte, names ...string) {
	path := filepath.Join(t.TempDir(), "ours.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := capture.Interface{Name: names[0], Description: "towards the NAT", Filter: "tcp and host 192.0.2.1", OS: "Linux", Link: link, Snaplen: 2048}
	w, err := capture.NewWriter(f, in)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2030, 1, 2, 12, 0, 0, 1_801, time.UTC)
	const packets = 20
	id := 0
	for i := range packets {
		if i == packets/2 && len(names) > 1 {
			in.Name = names[1]
			if id, err = w.AddInterface(in); err != nil {
				t.Fatal(err)
			}
		}
		p := capture.Packet{Time: at.Add(time.Duration(i) * time.Millisecond), Data: data, Link: link, Interface: id, Dir: capture.DirIn}
		if i == 0 {
			p.Dir, p.Comment = capture.DirOut, "SYN, due 12:00:00.000000, sent +1.8 µs"
		}
		if err := w.WritePacket(p); err != nil {
			t.Fatal(err)
		}
	}
	for i := range names {
		if err := w.WriteStats(i, at.Add(time.Second), 30, 4); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("tshark", func(t *testing.T) {
		out, errs := run(t, tool(t, "tshark"), "-r", path, "-T", "fields", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
			"-e", "frame.time_epoch", "-e", "frame.comment", "-e", "frame.interface_name", "-e", "ip.checksum.status", "-e", "tcp.checksum.status", "-e", "_ws.malformed", "-e", "frame.packet_flags_direction")
		if lines := warnings(errs); lines != "" {
			t.Errorf("tshark warns: %s", lines)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != packets {
			t.Fatalf("%d lines:\n%s", len(lines), out)
		}
		const good = "\t1\t1\t\t" // both checksums, not malformed
		for i, line := range lines {
			if !strings.Contains(line, good) {
				t.Errorf("line %d has no %q: %s", i, good, line)
			}
		}
		for _, want := range []string{"1893585600.000001801", "SYN, due 12:00:00.000000, sent +1.8 µs", names[0]} {
			if !strings.Contains(lines[0], want) {
				t.Errorf("the first line has no %q: %s", want, lines[0])
			}
		}
		if n := strings.Count(out, names[len(names)-1]); n != packets/len(names) {
			t.Errorf("%d lines of the last interface:\n%s", n, out)
		}
	})
	t.Run("capinfos", func(t *testing.T) {
		out, errs := run(t, tool(t, "capinfos"), "-M", path)
		if lines := warnings(errs); lines != "" {
			t.Errorf("capinfos warns: %s", lines)
		}
		for _, want := range append(names, "synpunch", "nanoseconds (9)", "towards the NAT", "tcp and host 192.0.2.1", "Number of stat entries = 1") {
			if !strings.Contains(out, want) {
				t.Errorf("capinfos does not say %q:\n%s", want, out)
			}
		}
	})
	t.Run("tcpdump", func(t *testing.T) {
		out, _ := run(t, tool(t, "tcpdump"), "-nn", "-v", "--nano", "-r", path)
		if n := strings.Count(out, "Flags [S], cksum 0x9dc1 (correct)"); n != packets {
			t.Errorf("tcpdump shows %d SYNs:\n%s", n, out)
		}
		if !strings.Contains(out, "12:00:00.000001801 ") {
			t.Errorf("tcpdump does not show nanoseconds:\n%s", out)
		}
	})
	t.Run("editcap", func(t *testing.T) {
		editcap := tool(t, "editcap")
		want := readFile(t, path)
		for _, format := range []string{"pcap", "nsecpcap", "modpcap", "pcapng"} {
			other := filepath.Join(t.TempDir(), "other")
			run(t, editcap, "-F", format, path, other)
			got := readFile(t, other)
			if len(got) != packets {
				t.Errorf("%s: %d packets", format, len(got))
				continue
			}
			for i := range got {
				unit := time.Nanosecond
				if format == "pcap" || format == "modpcap" {
					unit = time.Microsecond
				}
				if !got[i].Time.Equal(want[i].Time.Truncate(unit)) || !bytes.Equal(got[i].Data, want[i].Data) {
					t.Errorf("%s, packet %d: %+v, want %+v", format, i, got[i], want[i])
				}
				if format == "pcapng" && (got[i].Comment != want[i].Comment || got[i].Dir != want[i].Dir) {
					t.Errorf("%s, packet %d: %+v, want %+v", format, i, got[i], want[i])
				}
			}
		}
	})
}

// warnings drops the line that tshark prints for root.
func warnings(s string) string {
	var kept []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "Running as user") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

func readFile(t *testing.T, path string) []capture.Packet {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, _, err := readAll(t, f)
	if err != io.EOF {
		t.Fatal(path, err)
	}
	return got
}

func BenchmarkWriter(b *testing.B) {
	p := capture.Packet{Time: time.Unix(1_900_000_000, 7), Data: exampleSYN, Link: capture.LinkRaw, Dir: capture.DirOut}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	for _, bench := range []struct {
		name string
		hold int
	}{{"flushed", 0}, {"buffered", 32 << 10}} {
		b.Run(bench.name, func(b *testing.B) {
			w, err := capture.NewWriter(null, capture.Interface{Link: capture.LinkRaw})
			if err != nil {
				b.Fatal(err)
			}
			w.Buffer(bench.hold)
			b.ReportAllocs()
			for b.Loop() {
				if err := w.WritePacket(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
