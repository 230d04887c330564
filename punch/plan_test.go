package punch

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	good := Plan{Local: netip.MustParseAddrPort("10.0.0.2:40000"), Remote: netip.MustParseAddrPort("203.0.113.7:40000")}
	for _, tt := range []struct {
		name string
		edit func(*Plan)
		want string // in the error; "" for none
	}{
		{"good", func(*Plan) {}, ""},
		{"no local", func(p *Plan) { p.Local = netip.AddrPort{} }, ""},
		{"unspecified local", func(p *Plan) { p.Local = netip.MustParseAddrPort("0.0.0.0:0") }, ""},
		{"IPv6", func(p *Plan) {
			p.Local, p.Remote = netip.MustParseAddrPort("[2001:db8::1]:0"), netip.MustParseAddrPort("[2001:db8::2]:1")
		}, ""},
		{"raw options with auto", func(p *Plan) { p.MSS = 1400 }, ""},
		{"no remote", func(p *Plan) { p.Remote = netip.AddrPort{} }, "an address and a port are needed"},
		{"remote port 0", func(p *Plan) { p.Remote = netip.MustParseAddrPort("203.0.113.7:0") }, "port must not be 0"},
		{"multicast", func(p *Plan) { p.Remote = netip.MustParseAddrPort("224.0.0.1:1") }, "not the address of one host"},
		{"broadcast", func(p *Plan) { p.Remote = netip.MustParseAddrPort("255.255.255.255:1") }, "not the address of one host"},
		{"unspecified remote", func(p *Plan) { p.Remote = netip.MustParseAddrPort("0.0.0.0:1") }, "not the address of one host"},
		{"mapped", func(p *Plan) { p.Remote = netip.MustParseAddrPort("[::ffff:203.0.113.7]:1") }, "IPv4-mapped"},
		{"families mixed", func(p *Plan) { p.Remote = netip.MustParseAddrPort("[2001:db8::2]:1") }, "different address families"},
		{"to itself", func(p *Plan) { p.Remote = p.Local }, "local endpoint itself"},
		{"engine", func(p *Plan) { p.Engine = "magic" }, "want auto, repair, park or connect"},
		{"strategy", func(p *Plan) { p.Strategy = "fan-out" }, "want cross, prime or fan"},
		{"timeout", func(p *Plan) { p.Timeout = -1 }, "negative"},
		{"window scale", func(p *Plan) { p.WScale = new(uint8(15)) }, "RFC 7323"},
		{"isn with park", func(p *Plan) { p.Engine, p.ISN = Park, new(uint32(1)) }, "only the repair engine"},
		{"early with connect", func(p *Plan) { p.Engine, p.Early = Connect, true }, "only the repair engine"},
		{"several ports", func(p *Plan) { p.RemotePorts = []uint16{1, 2, 3} }, ""},
		{"several ports and no other", func(p *Plan) { p.Remote, p.RemotePorts = netip.AddrPortFrom(p.Remote.Addr(), 0), []uint16{1} }, ""},
		{"learned port", func(p *Plan) { p.LearnPort, p.Engine = true, Repair }, ""},
		{"port 0 among several", func(p *Plan) { p.RemotePorts = []uint16{1, 0} }, "0 is not a port"},
		{"a port twice", func(p *Plan) { p.RemotePorts = []uint16{1, 2, 1} }, "1 is there twice"},
		{"remote's port again", func(p *Plan) { p.RemotePorts = []uint16{40000} }, "40000 is there twice"},
		{"too many ports", func(p *Plan) { p.RemotePorts = make([]uint16, 64) }, "65 remote ports, at most 64"},
		{"several ports with park", func(p *Plan) { p.RemotePorts, p.Engine = []uint16{1}, Park }, "for the repair engine"},
		{"learned port with connect", func(p *Plan) { p.LearnPort, p.Engine = true, Connect }, "for the repair engine"},
		{"learned port and early", func(p *Plan) { p.LearnPort, p.Early = true, true }, "leave early out"},
		{"several ports and an isn", func(p *Plan) { p.RemotePorts, p.ISN = []uint16{1}, new(uint32(5)) }, "an ISN each"},
		{"only learned", func(p *Plan) { p.Remote, p.LearnPort = netip.AddrPortFrom(p.Remote.Addr(), 0), true }, "port must not be 0"},
		{"prime at the first hop", func(p *Plan) { p.Strategy, p.TTL = Prime, 1 }, "before a NAT there makes a mapping"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := good
			tt.edit(&p)
			err := p.Validate()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("unexpected error: %v", err)
			case tt.want != "" && !errors.Is(err, ErrPlan):
				t.Errorf("error %v, want one that wraps ErrPlan", err)
			case tt.want != "" && !strings.Contains(err.Error(), tt.want):
				t.Errorf("error %q does not say %q", err, tt.want)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	p := Plan{}.withDefaults()
	if p.Engine != Auto || p.Strategy != Cross || p.Timeout != DefaultTimeout || p.TTL != 0 {
		t.Errorf("zero plan became %+v", p)
	}
	if p := (Plan{Strategy: Prime}).withDefaults(); p.TTL != PrimeTTL {
		t.Errorf("priming TTL %d, want %d", p.TTL, PrimeTTL)
	}
	if p := (Plan{NoSACK: true}).withDefaults(); p.Engine != Repair {
		t.Errorf("raw options with auto chose %s, want repair", p.Engine)
	}
	several := Plan{Remote: netip.MustParseAddrPort("203.0.113.7:0"), RemotePorts: []uint16{5, 6}}.withDefaults()
	if several.Engine != Repair || several.Remote.Port() != 5 || !slices.Equal(several.remotePorts(), []uint16{5, 6}) {
		t.Errorf("several ports became %+v", several)
	}
	for _, tt := range []struct {
		retries int
		engine  Engine
		want    int
	}{{0, Repair, DefaultRetries}, {0, Park, DefaultRetries}, {0, Connect, 0}, {-1, Repair, 0}, {3, Connect, 3}} {
		if got := (&Plan{Retries: tt.retries}).retries(tt.engine); got != tt.want {
			t.Errorf("Retries %d with %s: %d, want %d", tt.retries, tt.engine, got, tt.want)
		}
	}
}
