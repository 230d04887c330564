package live

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/synpunch/synpunch/lab"
)

// Any scenario's plan: no address or cable twice, hosts and NATs connected, and everyone who
// is seen from outside inside of what the other provider routes here.
func TestPlans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v6 := rapid.Bool().Draw(t, "v6")
		boxes := []string{"none", "firewall", "model:none", "model:firewall"}
		s := lab.Scenario{Family: lab.IP6}
		if !v6 {
			s.Family = lab.IP4
			boxes = append(boxes, "linux", "linux-eim", "eim", "cgn", "model:linux-eim-apdf")
		}
		for _, to := range []*lab.Site{&s.A, &s.B} {
			chain := rapid.SliceOfN(rapid.SampledFrom(boxes), 1, lab.MaxChain).Draw(t, "chain")
			to.NAT = strings.Join(chain, "+")
			to.Subscribers = rapid.IntRange(0, lab.MaxSubscribers).Draw(t, "subscribers")
			if last := chain[len(chain)-1]; last == "eim" || last == "cgn" {
				to.Addresses = rapid.IntRange(0, lab.MaxAddresses).Draw(t, "addresses")
			}
		}
		if err := Validate(&s); err != nil {
			t.Fatal(err)
		}
		p, err := newPlan(&s, false)
		if err != nil {
			t.Fatal(err)
		}
		checkAddresses(t, p)
		checkSites(t, &s, p)
	})
}

func checkAddresses(t *rapid.T, p *plan) {
	seen := map[netip.Addr]string{}
	claim := func(a netip.Addr, who string) {
		if old, ok := seen[a]; ok || !a.IsValid() {
			t.Fatalf("%v is of %s and %s", a, old, who)
		}
		seen[a] = who
	}
	var subnets []netip.Prefix
	for i, c := range p.cables {
		a, b := p.port(c.a), p.port(c.b)
		if a.peer.IsValid() { // else a cable of the link
			claim(b.peer, p.nodes[c.a[0]].name+" "+a.name)
			claim(a.peer, p.nodes[c.b[0]].name+" "+b.name)
		}
		for _, end := range []*port{a, b} {
			if end.addr.IsValid() && !end.addr.Contains(end.peer) {
				t.Fatalf("cable %d: %v is not in %v", i, end.peer, end.addr)
			}
			if end.addr.IsValid() {
				subnets = append(subnets, end.addr.Masked())
			}
		}
		mute := p.nodes[c.a[0]].mute && !b.whole || p.nodes[c.b[0]].mute && !a.whole
		if mute {
			t.Fatalf("cable %d: what is sent to a model NAT is not whole", i)
		}
	}
	for i, x := range subnets {
		for _, y := range subnets[:i] {
			if x != y && x.Overlaps(y) {
				t.Fatalf("%v and %v overlap", x, y)
			}
		}
	}
	for _, b := range p.boxes {
		for i, a := range b.public {
			if i > 0 || a != b.wan {
				claim(a, b.Text)
			}
		}
	}
}

func checkSites(t *rapid.T, s *lab.Scenario, p *plan) {
	publics := map[netip.Addr]bool{}
	for i, site := range []*lab.Site{&s.A, &s.B} {
		hosts := p.hosts[i]
		if len(hosts) != max(site.Subscribers, 1) {
			t.Fatalf("%d hosts", len(hosts))
		}
		for _, h := range hosts {
			if !sitePrefix(i, p.v6).Contains(h.public) {
				t.Fatalf("%s is seen as %v", h.name, h.public)
			}
			if n := p.nodes[h.node]; n.router || len(n.routes) != 1 || n.routes[0].dst.IsValid() {
				t.Fatalf("%s: %+v", h.name, n)
			}
			if publics[h.public] && h.chain.Outer().Translates() == false && !h.chain.Translates() {
				t.Fatalf("two hosts are %v", h.public)
			}
			publics[h.public] = true
		}
	}
	for _, b := range p.boxes {
		n := p.nodes[b.node]
		if n.mute != (b.Kernel == "") || n.router == n.mute || len(n.ports) != 1+len(b.lan) {
			t.Fatalf("%s: %+v", b.Text, n)
		}
		for _, l := range b.lan {
			if len(l.behind) == 0 || !l.behind[0].IsValid() || !l.host.IsValid() {
				t.Fatalf("%s: %+v", b.Text, l)
			}
		}
	}
}

// Every example can be built.
func TestExamplesArePlanned(t *testing.T) {
	names, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal("no examples", err)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := lab.Load(f)
		if err == nil {
			err = Validate(s)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		f.Close()
	}
}

func TestValidateRefusesCrossTrafficOfTheKernel(t *testing.T) {
	for nat, ok := range map[string]bool{"linux": false, "eim+linux": false, "linux+eim": true, "model:linux": true, "cgn": true} {
		s := lab.Scenario{B: lab.Site{NAT: nat, CrossTraffic: 1}}
		if err := Validate(&s); (err == nil) != ok || err != nil && (!errors.Is(err, lab.ErrScenario) || !strings.Contains(err.Error(), "b.cross-traffic")) {
			t.Errorf("%s: %v", nat, err)
		}
	}
}
