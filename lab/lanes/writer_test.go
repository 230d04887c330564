package lanes_test

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/lab/lanes"
	"github.com/synpunch/synpunch/rawtcp"
)

func TestRoundTrip(t *testing.T) {
	var list []lanes.Packet
	for i, name := range lanes.Names() {
		for j, addr := range []string{"192.0.2.1", "2001:db8::1"} {
			end := netip.AddrPortFrom(netip.MustParseAddr(addr), 7)
			syn, err := (&rawtcp.Segment{Src: end, Dst: end, Flags: rawtcp.SYN, Seq: rawtcp.Seq(i)}).Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, lanes.Packet{Lane: name, Time: time.Unix(1_800_000_000, int64(10*i+j)), Out: (i+j)%2 == 0, Data: syn, Comment: name})
		}
	}
	list[3].Data, list[3].Len = list[3].Data[:50], 1500 // cut
	var b bytes.Buffer
	w, err := lanes.NewWriter(&b, "a test")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	rd, err := capture.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range list {
		p, err := rd.Next()
		if err != nil {
			t.Fatal(err)
		}
		ip, err := p.IP()
		dir := capture.DirIn
		if want.Out {
			dir = capture.DirOut
		}
		if err != nil || !bytes.Equal(ip, want.Data) || !p.Time.Equal(want.Time) || p.Dir != dir || p.Comment != want.Comment ||
			rd.Interfaces()[p.Interface].Name != want.Lane || p.Len-len(p.Data) != max(want.Len-len(want.Data), 0) {
			t.Errorf("packet %d: %+v, %v; want %+v", i, p, err, want)
		}
	}
	if _, err := rd.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if got := rd.Interfaces(); len(got) != 4 || got[2].Description != "a test" {
		t.Errorf("interfaces %+v", got)
	}
}

func TestNoSuchLane(t *testing.T) {
	w, err := lanes.NewWriter(io.Discard, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []lanes.Packet{{Lane: "isp-a", Data: []byte{0x45}}, {Lane: "a"}} {
		if err := w.Write(p); !errors.Is(err, lanes.ErrLane) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	if _, err := lanes.NewWriter(full{}, ""); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
