package punch

import (
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
)

// everyPort lists the ports from lo to hi.
func everyPort(lo, hi int) []uint16 {
	var ports []uint16
	for p := lo; p <= hi; p++ {
		ports = append(ports, uint16(p))
	}
	return ports
}

func TestValidateFan(t *testing.T) {
	all := everyPort(1024, 65535)
	base := func(change func(*Plan)) *Plan {
		p := Plan{Remote: netip.MustParseAddrPort("203.0.113.7:0"), RemotePorts: all, Strategy: Fan}
		change(&p)
		return &p
	}
	const far = "203.0.113.7"
	for _, c := range []struct {
		name   string
		change func(*Plan)
		says   string // "": fine
		syns   int
	}{
		{"the default is mannerly", func(p *Plan) {}, "", 1024},
		{"few flows", func(p *Plan) { p.RemotePorts = all[:1]; p.FanOut.LocalPorts = 256 }, "", 256},
		{"as much as is free", func(p *Plan) { p.FanOut.Budget = FreeSYNs }, "", 4096},
		{"one more", func(p *Plan) { p.FanOut.Budget = FreeSYNs + 1 }, "--i-own-both-ends", 4097},
		{"... with the word", func(p *Plan) { p.FanOut.Budget = FreeSYNs + 1; p.FanOut.OwnBothEnds = true }, "", 4097},
		{"... with the token", func(p *Plan) { p.FanOut.Budget = FreeSYNs + 1; p.FanOut.Consent = token(t, far, 5000, 500) }, "", 4097},
		{"a token for less", func(p *Plan) { p.FanOut.Budget = 5001; p.FanOut.Consent = token(t, far, 5000, 500) }, "allows 5000 SYNs", 5001},
		{"a token for slower", func(p *Plan) { p.FanOut.Consent = token(t, far, 5000, 499) }, "499 SYNs a second", 1024},
		{"a token for another", func(p *Plan) { p.FanOut.Consent = token(t, "203.0.113.8", 5000, 500) }, "not for 203.0.113.7", 1024},
		{"the word does not heal a token", func(p *Plan) { p.FanOut.Consent = "spc1.x"; p.FanOut.OwnBothEnds = true }, "no token", 1024},
		{"somebody else's address", func(p *Plan) { p.FanOut.PeerChose = true }, "another party", 1024},
		{"... and the word", func(p *Plan) { p.FanOut.PeerChose = true; p.FanOut.OwnBothEnds = true }, "another party", 1024},
		{"... and the token", func(p *Plan) { p.FanOut.PeerChose = true; p.FanOut.Consent = token(t, far, 5000, 500) }, "", 1024},
		{"broadcast", func(p *Plan) { p.Remote = netip.MustParseAddrPort("255.255.255.255:0") }, "not the address of one host", 1024},
		{"multicast", func(p *Plan) { p.Remote = netip.MustParseAddrPort("239.1.2.3:0") }, "not the address of one host", 1024},
		{"unspecified", func(p *Plan) { p.Remote = netip.MustParseAddrPort("0.0.0.0:0") }, "not the address of one host", 1024},
		{"engine park", func(p *Plan) { p.Engine = Park }, "repair engine", 1024},
		{"early", func(p *Plan) { p.Early = true }, "early", 1024},
		{"an ISN", func(p *Plan) { p.ISN = new(uint32) }, "ISN each", 1024},
		{"learn-port", func(p *Plan) { p.LearnPort = true }, "learn-port", 1024},
		{"too many local ports", func(p *Plan) { p.FanOut.LocalPorts = 65536 }, "local ports", 1024},
		{"local ports beyond the last", func(p *Plan) {
			p.Local = netip.MustParseAddrPort("192.0.2.1:65000")
			p.FanOut.LocalPorts = 537
		}, "above 65535", 1024},
		{"a port twice", func(p *Plan) { p.RemotePorts = []uint16{7, 8, 7} }, "7 is there twice", 3},
		{"a budget beyond all", func(p *Plan) { p.FanOut.Budget = MaxFanBudget + 1; p.FanOut.OwnBothEnds = true }, "budget", 64512},
		{"a negative rate", func(p *Plan) { p.FanOut.Rate = -1 }, "rate", 1024},
		{"another way to prime", func(p *Plan) { p.FanOut.Prime = "sometimes" }, "auto, always or never", 1024},
		{"this host itself", func(p *Plan) { p.Local = netip.MustParseAddrPort("203.0.113.7:9") }, "this host", 1024},
		{"fan flags without fan", func(p *Plan) { p.Strategy = Cross; p.RemotePorts = all[:3]; p.FanOut.Rate = 5 }, "strategy fan", 3},
	} {
		p := base(c.change)
		err := p.Validate()
		if (c.says == "") != (err == nil) || err != nil && (!errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := p.syns(); got != c.syns {
			t.Errorf("%s: %d SYNs, want %d", c.name, got, c.syns)
		}
	}
}

// TestHitProbability has the numbers of the theory.
func TestHitProbability(t *testing.T) {
	const n = 64512
	for _, c := range []struct {
		k, m, a, b int
		want       float64
	}{
		{2 * n, 2 * n, n, n, 0.98168},
		{n, n, n, n, 0.63212},
		{256, 1024, 1, n, 0.98295},
		{1024, 256, n, 1, 0.98295},
		{0, n, n, n, 0},
		{1, 1, 1, 1, 1},
		{300, 1, 1, 256, 1},
	} {
		if got := HitProbability(c.k, c.m, c.a, c.b); math.Abs(got-c.want) > 1e-5 {
			t.Errorf("%d and %d among %d and %d: %v, want %v", c.k, c.m, c.a, c.b, got, c.want)
		}
	}
	p := Plan{Remote: netip.MustParseAddrPort("203.0.113.7:0"), RemotePorts: everyPort(1024, 65535), Strategy: Fan, FanOut: FanOut{PeerSYNs: 256, PeerPorts: 1}}
	if got := p.probability(1024); math.Abs(got-0.98295) > 1e-5 {
		t.Errorf("1,024 guesses against 256 ports: %v", got)
	}
	if got := p.probability(512); math.Abs(got-(1-math.Pow(1-128.0/n, 512))) > 1e-5 {
		t.Errorf("half of it: %v", got)
	}
}
