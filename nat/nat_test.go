package nat

import (
	"net/netip"
	"testing"

	"github.com/synpunch/synpunch/rawtcp"
)

func TestMappingKinds(t *testing.T) {
	for _, test := range []struct {
		preset          string
		port, host, two bool // another port, address or connection gets the same mapping
	}{
		{"eim", true, true, true},
		{"adm", true, false, true},
		{"apdm", false, false, true},
		{"linux", true, true, true},
		{"random", false, false, true},
		{"per-connection", false, false, false},
	} {
		t.Run(test.preset, func(t *testing.T) {
			w := newWorld(t, preset(t, test.preset))
			first := w.syn(hostA, remote1)
			if again := w.syn(hostA, remote1); again != first {
				t.Errorf("a repeated SYN: %v, before %v", again, first)
			}
			if got := w.syn(hostA, remote2); (got == first) != test.port {
				t.Errorf("another port: %v, before %v", got, first)
			}
			if got := w.syn(hostA, remote3); (got == first) != test.host {
				t.Errorf("another address: %v, before %v", got, first)
			}
			s := segment(hostA, remote1, rawtcp.SYN)
			s.Seq = 9999
			if got := w.one(w.out(s), Outside).Src; (got == first) != test.two {
				t.Errorf("another connection: %v, before %v", got, first)
			}
		})
	}
}

func TestFilteringKinds(t *testing.T) {
	for _, test := range []struct {
		filtering        Filtering
		same, port, host bool
	}{
		{EIF, true, true, true}, {ADF, true, true, false}, {APDF, true, false, false},
	} {
		t.Run(test.filtering.String(), func(t *testing.T) {
			for _, c := range []struct {
				from netip.AddrPort
				want bool
			}{{remote1, test.same}, {remote2, test.port}, {remote3, test.host}} {
				w := newWorld(t, Behaviour{Filtering: test.filtering, Unsolicited: UnsolicitedDrop})
				ext := w.syn(hostA, remote1)
				out := w.in(segment(c.from, ext, rawtcp.SYN))
				if !c.want {
					w.none(out, Filtered)
				} else if got := w.one(out, Inside); got.Dst != hostA || got.Src != c.from {
					t.Errorf("translated to %v", &got)
				}
			}
		})
	}
}

func TestEstablishThroughEveryPreset(t *testing.T) {
	for _, p := range Presets() {
		t.Run(p.Name, func(t *testing.T) {
			w := newWorld(t, p.Behaviour)
			ext := w.establish(hostA, remote1)
			s := segment(remote1, ext, rawtcp.ACK|rawtcp.PSH)
			s.Seq, s.Ack, s.Payload = 501, 101, []byte("hello")
			if p.Behaviour.RewriteSequence {
				return
			}
			if got := w.one(w.in(s), Inside); string(got.Payload) != "hello" || got.Dst != hostA {
				t.Errorf("got %v", &got)
			}
		})
	}
}
