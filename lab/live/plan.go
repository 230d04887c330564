package live

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/synpunch/synpunch/lab"
)

// plan is a scenario in terms of namespaces, cables, addresses and routes.
type plan struct {
	v6     bool
	nodes  []nodePlan
	cables []cable
	sites  [2]sitePlan
}

// nodePlan is one network namespace.
type nodePlan struct {
	name   string
	router bool
	ports  []port
	routes []route
}

// port is one end of a cable.
type port struct {
	name string
	mac  net.HardwareAddr
	addr netip.Prefix // invalid: the port has none (the link's)
	peer netip.Addr   // the other end of the cable, as the neighbour table has it
	via  net.HardwareAddr
}

// route leads to dst through the neighbour via; an invalid dst is the default.
type route struct {
	dst netip.Prefix
	via netip.Addr
}

// cable is a veth pair: two ports, each named by node and port index.
type cable struct{ a, b [2]int }

// sitePlan is what the NAT of a site has to know.
type sitePlan struct {
	kind     lab.Box
	host     netip.Addr // the host's own address
	public   netip.Addr // what the others see
	nat      int        // index of the NAT's node
	hostNode int
}

// Indices of plan.nodes.
const (
	hostA = iota
	natA
	ispA
	ispB
	natB
	hostB
	linkNode // only with a link that is not a plain wire
)

// Names of ports.
const (
	hostPort = "eth0"
	lanPort  = "lan"
	wanPort  = "wan"
	custPort = "cust" // a provider's port to its customer
	corePort = "core" // a provider's port to the other

	linkPortA = "a" // the link's port to provider a
	linkPortB = "b"
)

// addresses of a site. One to one is the host's public address where the NAT has one
// for it alone.
type addresses struct {
	site                   string // what the other provider routes here
	private, public        string // inside: with and without translation
	wan                    string
	privateHost, publHost  string
	privateNAT, publNAT    string
	wanISP, wanNAT, oneOne string
}

// RFC 5737 (IPv4, documentation), RFC 1918 (private), RFC 3849 (IPv6, documentation).
var (
	sites4 = [2]addresses{
		{"198.51.100.0/24", "10.0.1.0/24", "198.51.100.128/25", "198.51.100.0/25",
			"10.0.1.2", "198.51.100.130", "10.0.1.1", "198.51.100.129",
			"198.51.100.1", "198.51.100.2", "198.51.100.10"},
		{"203.0.113.0/24", "10.0.2.0/24", "203.0.113.128/25", "203.0.113.0/25",
			"10.0.2.2", "203.0.113.130", "10.0.2.1", "203.0.113.129",
			"203.0.113.1", "203.0.113.2", "203.0.113.10"},
	}
	sites6 = [2]addresses{
		{"2001:db8:a::/48", "", "2001:db8:a:1::/64", "2001:db8:a::/64",
			"", "2001:db8:a:1::2", "", "2001:db8:a:1::1",
			"2001:db8:a::1", "2001:db8:a::2", ""},
		{"2001:db8:b::/48", "", "2001:db8:b:1::/64", "2001:db8:b::/64",
			"", "2001:db8:b:1::2", "", "2001:db8:b:1::1",
			"2001:db8:b::1", "2001:db8:b::2", ""},
	}
	core4 = [3]string{"192.0.2.0/24", "192.0.2.1", "192.0.2.2"}
	core6 = [3]string{"2001:db8:c::/64", "2001:db8:c::1", "2001:db8:c::2"}
)

// newPlan lays a valid scenario out.
func newPlan(s *lab.Scenario) (*plan, error) {
	p := &plan{v6: s.Family == lab.IP6}
	for _, n := range []string{"host-a", "nat-a", "isp-a", "isp-b", "nat-b", "host-b"} {
		p.nodes = append(p.nodes, nodePlan{name: n, router: !strings.HasPrefix(n, "host")})
	}
	sites, core := sites4, core4
	if p.v6 {
		sites, core = sites6, core6
	}
	for i, site := range []struct {
		nat            string
		host, box, isp int
	}{{s.A.NAT, hostA, natA, ispA}, {s.B.NAT, hostB, natB, ispB}} {
		chain, err := lab.ParseNAT(site.nat)
		if err != nil {
			return nil, err
		}
		kind := chain[0]
		if len(chain) > 1 || kind.Kernel == "" {
			return nil, fmt.Errorf("%w: %s: only the kinds of this kernel can be built", lab.ErrScenario, chain)
		}
		a := sites[i]
		inside, host, inner := a.public, a.publHost, a.publNAT
		if kind.Translates() {
			inside, host, inner = a.private, a.privateHost, a.privateNAT
		}
		sp := sitePlan{kind: kind, host: netip.MustParseAddr(host), nat: site.box, hostNode: site.host}
		p.connect(inside, site.host, hostPort, host, site.box, lanPort, inner)
		p.connect(a.wan, site.box, wanPort, a.wanNAT, site.isp, custPort, a.wanISP)
		p.route(site.host, "", inner)
		p.route(site.box, "", a.wanISP)
		switch kind.Kernel {
		case lab.NATNone, lab.NATFirewall:
			sp.public = sp.host
			p.route(site.isp, inside, a.wanNAT)
		case lab.NATLinuxEIM, lab.NATLinuxAPDF:
			sp.public = netip.MustParseAddr(a.oneOne)
			p.route(site.isp, a.oneOne+"/32", a.wanNAT)
		default:
			sp.public = netip.MustParseAddr(a.wanNAT)
		}
		p.sites[i] = sp
	}
	p.connect(core[0], ispA, corePort, core[1], ispB, corePort, core[2])
	p.route(ispA, sites[1].site, core[2])
	p.route(ispB, sites[0].site, core[1])
	if !s.Link.Plain() {
		p.insertLink()
	}
	return p, nil
}

// connect puts a cable between two nodes.
func (p *plan) connect(subnet string, node1 int, name1, addr1 string, node2 int, name2, addr2 string) {
	bits := netip.MustParsePrefix(subnet).Bits()
	a1, a2 := netip.MustParseAddr(addr1), netip.MustParseAddr(addr2)
	n := len(p.cables)
	mac1, mac2 := mac(n, 1), mac(n, 2)
	e1 := p.addPort(node1, port{name1, mac1, netip.PrefixFrom(a1, bits), a2, mac2})
	e2 := p.addPort(node2, port{name2, mac2, netip.PrefixFrom(a2, bits), a1, mac1})
	p.cables = append(p.cables, cable{e1, e2})
}

// insertLink cuts the last cable, between the providers, and puts both new ends into a
// node of their own. The providers still know each other as neighbours.
func (p *plan) insertLink() {
	p.nodes = append(p.nodes, nodePlan{name: "link"})
	last := len(p.cables) - 1
	c := p.cables[last]
	a := p.addPort(linkNode, port{name: linkPortA, mac: mac(last, 3)})
	b := p.addPort(linkNode, port{name: linkPortB, mac: mac(last, 4)})
	p.cables = append(p.cables[:last], cable{c.a, a}, cable{c.b, b})
}

func (p *plan) addPort(node int, pt port) [2]int {
	p.nodes[node].ports = append(p.nodes[node].ports, pt)
	return [2]int{node, len(p.nodes[node].ports) - 1}
}

func (p *plan) route(node int, dst, via string) {
	r := route{via: netip.MustParseAddr(via)}
	if dst != "" {
		r.dst = netip.MustParsePrefix(dst)
	}
	p.nodes[node].routes = append(p.nodes[node].routes, r)
}

func (p *plan) port(end [2]int) *port { return &p.nodes[end[0]].ports[end[1]] }

// mac makes a locally administered unicast address (IEEE 802, second bit of the
// first byte).
func mac(cable, end int) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0, byte(cable), byte(end)}
}
