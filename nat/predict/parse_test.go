package predict

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	want := []Observation{seen(0, 40000, 1, 50000), seen(0.25, 40001, 2, 50001)}
	bare := slices.Clone(want)
	for i := range bare {
		bare[i].Time, bare[i].Dest = time.Time{}, netip.AddrPort{}
		bare[i].Local = netip.AddrPortFrom(netip.Addr{}, bare[i].Local.Port())
		bare[i].External = netip.AddrPortFrom(netip.Addr{}, bare[i].External.Port())
	}
	for _, c := range []struct {
		name, text string
		want       []Observation
		lines      []int
	}{
		{"JSON lines", `{"time":"2026-01-01T12:00:00Z","local":"192.168.1.2:40000","dest":"198.51.100.1:3478","external":"203.0.113.7:50000"}
# a remark

{"external":"203.0.113.7:50001", "dest":"198.51.100.2:3478", "local":"192.168.1.2:40001", "time":1767268800250000000}
`, want, []int{1, 4}},
		{"JSON, address and port apart", `{"local_port":40000,"external_port":"50000"}
{"local":40001,"external":":50001"}`, bare, []int{1, 2}},
		{"CSV without header", "2026-01-01T12:00:00Z,192.168.1.2:40000,198.51.100.1:3478,203.0.113.7:50000\r\n" +
			"1767268800250000000, 192.168.1.2:40001 ,\"198.51.100.2:3478\",203.0.113.7:50001\r\n", want, []int{1, 2}},
		{"CSV with header", "\ufeff# mine\nexternal,dest,local,time\n203.0.113.7:50000,198.51.100.1:3478,192.168.1.2:40000,2026-01-01T13:00:00+01:00\n" +
			"203.0.113.7:50001,198.51.100.2:3478,192.168.1.2:40001,2026-01-01T12:00:00.25Z", want, []int{3, 4}},
		{"CSV in pieces", "time,local_addr,local_port,dest_addr,dest_port,external_addr,external_port\n" +
			"2026-01-01T12:00:00Z,192.168.1.2,40000,198.51.100.1,3478,203.0.113.7,50000\n2026-01-01T12:00:00.25Z,192.168.1.2,40001,198.51.100.2,3478,203.0.113.7,50001\n", want, []int{2, 3}},
		{"CSV, ports only", ",40000,,50000\n,:40001,,:50001\n", bare, []int{1, 2}},
		{"nothing", "", nil, nil},
		{"remarks only", "# a\n\n  \n# b", nil, nil},
		{"a header only", "time,local,dest,external\n", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(strings.NewReader(c.text))
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(c.want)
			for i := range want {
				want[i].Line = c.lines[i]
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		text  string
		line  int
		field string
		want  string
	}{
		{"{\"local\":\"1.2.3.4:5\",\"external\":\"1.2.3.4:5\"}\n{\"local\":\"1.2.3.4:5\",\"colour\":\"blue\"}", 2, "colour", "unknown; want time, local"},
		{`{"local":"1.2.3.4:5","local":"1.2.3.4:5"}`, 1, "local", "twice"},
		{`{"local":"1.2.3.4:5","local_port":5}`, 1, "local_port", "one form or the other"},
		{`{"local_port":5,"local":5}`, 1, "local", "one form or the other"},
		{`{"local":"1.2.3.4:5"}`, 1, "external", "missing port"},
		{`{"external":"1.2.3.4:5"}`, 1, "local", "missing port"},
		{`{"external":5,"local":5,"dest_addr":"1.2.3.4"}`, 1, "dest", "missing port"},
		{`{"local":"1.2.3.4"}`, 1, "local", "want 1 to 65535"},
		{`{"local":0}`, 1, "local", "want 1 to 65535"},
		{`{"local":65536}`, 1, "local", "want 1 to 65535"},
		{`{"local":1.5}`, 1, "local", "want 1 to 65535"},
		{`{"local":-1}`, 1, "local", "want 1 to 65535"},
		{`{"local":"host:5"}`, 1, "local", "names are not looked up"},
		{`{"local":"::1:5"}`, 1, "local", "[IP]:PORT"},
		{`{"local":"[::1:5"}`, 1, "local", "bracket"},
		{`{"local":"[1.2.3.4]:5"}`, 1, "local", "brackets are for IPv6"},
		{`{"local":""}`, 1, "local", "empty"},
		{`{"local":null}`, 1, "local", "string or a number"},
		{`{"local":["1.2.3.4:5"]}`, 1, "local", "string or a number"},
		{`{"time":"noon","local":5,"external":5}`, 1, "time", "neither RFC 3339"},
		{`{"time":1767268800,"local":5,"external":5}`, 1, "time", "19 digits"},
		{`{"time":"0001-01-01T00:00:00Z","local":5,"external":5}`, 1, "time", "year"},
		{`{"local":5,"external":5`, 1, "", "does not end on this line"},
		{`{"local":5,"external":5} {`, 1, "", "one object per line"},
		{`{"local" 5}`, 1, "", "not a JSON object"},
		{"{\"local\":5,\"external\":5}\n5,6", 2, "", "JSON object, as in the lines before"},
		{",40000,,50000\n,40000,50000\n", 2, "", "3 values, want 4: time,local,dest,external"},
		{",40000,,50000\n,40000,,99999\n", 2, "external", "want 1 to 65535"},
		{",\"40000,,50000\n", 1, "", "not CSV"},
		{"time,local,colour,external\n", 1, "colour", "unknown"},
		{"time,local,local,external\n", 1, "local", "twice"},
		{"time,local\n", 1, "external", "no such column"},
		{"time,local_addr,external\n", 1, "local", "no such column"},
		{"local,external\n,5\n", 2, "local", "missing port"},
		{strings.Repeat("x", maxLine+1), 1, "", "longer than"},
	} {
		_, err := Parse(strings.NewReader(c.text))
		var got *ParseError
		if !errors.As(err, &got) || got.Line != c.line || got.Field != c.field || !strings.Contains(err.Error(), c.want) {
			text := c.text[:min(len(c.text), 80)]
			t.Errorf("%q: got %v, want line %d, field %q, %q", text, err, c.line, c.field, c.want)
		}
	}
	broken := errors.New("broken")
	if _, err := Parse(&failing{strings.NewReader(",1,,2\n"), broken}); !errors.Is(err, broken) {
		t.Errorf("the reader's error is lost: %v", err)
	}
}

type failing struct {
	*strings.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.Len() == 0 {
		return 0, f.err
	}
	return f.Reader.Read(p)
}

// TestWriteAndParse: what MarshalJSON writes is read as the same.
func TestWriteAndParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := observations(t, rapid.Bool().Draw(t, "timed"))
		var text bytes.Buffer
		for i := range want {
			switch rapid.IntRange(0, 3).Draw(t, "part") {
			case 0:
				want[i].Dest = netip.AddrPort{}
			case 1:
				want[i].Local = netip.AddrPortFrom(netip.Addr{}, want[i].Local.Port())
				want[i].External = netip.AddrPortFrom(netip.IPv6LinkLocalAllNodes(), want[i].External.Port())
			}
			line, err := json.Marshal(want[i])
			if err != nil {
				t.Fatal(err)
			}
			text.Write(append(line, '\n'))
			want[i].Line = i + 1
		}
		got, err := Parse(&text)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

// FuzzParse: no input makes Parse, or what follows it, panic; what was read is
// sound, and can be written and read again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"time":"2026-01-01T12:00:00Z","local":"192.168.1.2:40000","dest":"198.51.100.1:3478","external":"203.0.113.7:50000"}`,
		"{\"local_port\":40000,\"external_port\":\"50000\"}\n{\"local\":40001,\"external\":\":50001\"}",
		"time,local,dest,external\n2026-01-01T12:00:00Z,192.168.1.2:40000,198.51.100.1:3478,203.0.113.7:50000\n",
		"local_addr,local_port,external_port\n10.0.0.1,1,2\n",
		",[fe80::1%eth0]:40000,,50000\n1767268800250000000,:40001,,:50001\n",
		"# remark\n\n\"1\",2", "\ufeff{",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		obs, err := Parse(bytes.NewReader(data))
		if err != nil {
			return
		}
		var text bytes.Buffer
		for i := range obs {
			if obs[i].Local.Port() == 0 || obs[i].External.Port() == 0 || obs[i].Line == 0 {
				t.Fatalf("%+v", obs[i])
			}
			line, err := json.Marshal(obs[i])
			if err != nil {
				t.Fatal(err)
			}
			text.Write(append(line, '\n'))
		}
		again, err := Parse(&text)
		if err != nil || len(again) != len(obs) {
			t.Fatalf("%d observations read again as %d: %v", len(obs), len(again), err)
		}
		for i := range again {
			again[i].Line = obs[i].Line
		}
		if !slices.Equal(again, obs) {
			t.Fatalf("got  %+v\nwant %+v", again, obs)
		}
		p, err := New(obs[:min(len(obs), 20)])
		if err != nil || len(obs) == 0 {
			return
		}
		if _, err := p.Next(Target{}); err != nil {
			t.Fatal(err)
		}
		p.Class()
	})
}
