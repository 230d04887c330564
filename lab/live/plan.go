package live

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
)

// plan is a scenario in terms of namespaces, cables, addresses and routes.
type plan struct {
	v6     bool
	nodes  []nodePlan
	cables []cable
	hosts  [2][]hostPlan // of the two sites
	boxes  []boxPlan
	link   int // index of the link's node; -1: a plain wire
}

// nodePlan is one network namespace.
type nodePlan struct {
	name   string
	router bool // its kernel forwards
	mute   bool // its kernel has no addresses: packet sockets do the work
	ports  []port
	routes []route
}

// port is one end of a cable.
type port struct {
	name  string
	mac   net.HardwareAddr
	addr  netip.Prefix // invalid: the port has none
	peer  netip.Addr   // the other end of the cable, as the neighbour table has it
	via   net.HardwareAddr
	whole bool // what it sends has its checksum and fits the MTU
}

// route leads to dst through the neighbour via; an invalid dst is the default.
type route struct {
	dst netip.Prefix
	via netip.Addr
}

// cable is a veth pair: two ports, each named by node and port index.
type cable struct{ a, b [2]int }

// hostPlan is one host.
type hostPlan struct {
	name   string
	node   int
	addr   netip.Addr // its own
	public netip.Addr // what the others see
	chain  lab.Chain
	pool   bool // the outermost NAT has several addresses
	clock  time.Duration
}

// boxPlan is one NAT or firewall.
type boxPlan struct {
	lab.Box
	node    int
	lan     []lanPlan // for each subscriber
	gateway netip.Addr
	wan     netip.Addr
	public  []netip.Addr // translated to; of one to one: for each subscriber
	crowd   float64      // SYNs per second of others
}

// lanPlan is one port of a box to the inside.
type lanPlan struct {
	port   string
	host   netip.Addr     // the host as the box sees it
	behind []netip.Prefix // what the port leads to
}

// Indices of plan.nodes; NATs in front of the outermost, further subscribers and the
// link come behind.
const (
	hostA = iota
	natA
	ispA
	ispB
	natB
	hostB
	observerNode
)

// Names of ports.
const (
	hostPort = "eth0"
	lanPort  = "lan"
	wanPort  = "wan"
	custPort = "cust" // a provider's port to its customer
	corePort = "core" // a provider's port to the other
	seenPort = "obs"  // a provider's port to the observer

	linkPortA = "a" // the link's port to provider a, and the observer's
	linkPortB = "b"
)

// newPlan lays a valid scenario out, with a link where there is something for one to do,
// or anyway.
func newPlan(s *lab.Scenario, withLink bool) (*plan, error) {
	p := &plan{v6: s.Family == lab.IP6, link: -1}
	for i, n := range []string{"host-a", "nat-a", "isp-a", "isp-b", "nat-b", "host-b", "observer"} {
		p.nodes = append(p.nodes, nodePlan{name: n, router: i != hostA && i != hostB && i != observerNode, mute: i == observerNode})
	}
	for i, site := range []*lab.Site{&s.A, &s.B} {
		if err := p.addSite(i, site); err != nil {
			return nil, err
		}
	}
	p.observer()
	core := core4
	if p.v6 {
		core = core6
	}
	p.connect(core, ispA, corePort, ispB, corePort)
	p.route(ispA, sitePrefix(1, p.v6), core.inner)
	p.route(ispB, sitePrefix(0, p.v6), core.outer)
	if withLink || !s.Link.Plain() {
		p.insertLink()
	}
	for i := range p.nodes {
		p.silence(i)
	}
	return p, nil
}

// behind is a prefix that a node can reach through its neighbour, or that is the
// cable to it.
type behind struct {
	prefix netip.Prefix
	cable  bool
}

// addSite adds hosts and NATs of a site, up to the provider.
func (p *plan) addSite(i int, site *lab.Site) error {
	chain, err := lab.ParseNAT(site.NAT)
	if err != nil {
		return err
	}
	outer := chain.Outer()
	if site.CrossTraffic > 0 && outer.Kernel != "" {
		return fmt.Errorf("%w: %s.cross-traffic: %s is this kernel's NAT, which has none: take %s%[3]s", lab.ErrScenario, "ab"[i:i+1], outer.Text, lab.Model)
	}
	isp, box := [2]int{ispA, ispB}[i], [2]int{natA, natB}[i]
	wan := wanSubnet(i, p.v6)
	last := boxPlan{Box: *outer, node: box, wan: wan.inner, crowd: site.CrossTraffic}
	p.nodes[box].mute = outer.Kernel == ""
	var up []behind
	for n := range max(site.Subscribers, 1) {
		w := walk{p: p, site: i, subscriber: n, chain: chain}
		if n == 0 {
			w.node = [2]int{hostA, hostB}[i]
		} else {
			w.node = p.addNode(fmt.Sprintf("host-%s", w.name("")), false, false)
		}
		h := hostPlan{name: w.name(""), node: w.node, chain: chain, pool: site.Addresses > 1, clock: site.Clock}
		w.inner()
		lan := w.enter(&last, len(chain)-1)
		h.addr = w.host
		h.public, w.up = last.leave(n, w.seen, wan, w.up)
		up = append(up, w.up...)
		last.lan = append(last.lan, lan)
		p.hosts[i] = append(p.hosts[i], h)
	}
	p.connect(wan, isp, custPort, box, wanPort)
	p.route(box, netip.Prefix{}, wan.outer)
	for k := 1; k < site.Addresses; k++ {
		a := plus(wan.prefix.Addr(), firstPool+k)
		last.public = append(last.public, a)
		up = append(up, behind{prefix: one(a)})
	}
	p.routes(isp, up, wan.inner)
	p.boxes = append(p.boxes, last)
	return nil
}

// walk goes from a host outwards.
type walk struct {
	p                *plan
	site, subscriber int
	chain            lab.Chain
	node             int        // where it is
	host, seen       netip.Addr // the host's own address, and as it is seen here
	up               []behind   // what lies behind this node
}

// name is "a", "b2" and so on, with what follows.
func (w *walk) name(rest string) string {
	s := [2]string{"a", "b"}[w.site]
	if w.subscriber > 0 {
		s += fmt.Sprint(w.subscriber + 1)
	}
	return s + rest
}

// inner adds the NATs of the host's own, all but the outermost.
func (w *walk) inner() {
	for k := range len(w.chain) - 1 {
		b := boxPlan{Box: w.chain[k]}
		b.node = w.p.addNode(fmt.Sprintf("nat-%s", w.name(fmt.Sprintf("-%d", k+1))), b.Kernel != "", b.Kernel == "")
		b.lan = []lanPlan{w.enter(&b, k)}
		wan := w.subnet(k + 1)
		b.wan = wan.inner
		w.seen, w.up = b.leave(0, w.seen, wan, w.up)
		w.node = b.node
		w.p.boxes = append(w.p.boxes, b)
	}
}

// subnet is that at the inside of NAT number k: private if one from there on translates.
func (w *walk) subnet(k int) subnet {
	if w.chain[k:].Translates() {
		return privateSubnet(w.site, w.subscriber, k)
	}
	return publicSubnet(w.site, w.subscriber*lab.MaxChain+k, w.p.v6)
}

// enter puts the cable between this node and box, which is number k, and returns the
// box's port.
func (w *walk) enter(box *boxPlan, k int) lanPlan {
	net := w.subnet(k)
	if k == 0 {
		w.host, w.seen = net.inner, net.inner
		w.up = []behind{{net.prefix, true}}
	}
	lan := lanPlan{port: lanPort, host: w.seen}
	if w.subscriber > 0 && k == len(w.chain)-1 {
		lan.port = fmt.Sprint(lanPort, w.subscriber+1)
	}
	if !box.gateway.IsValid() {
		box.gateway = net.outer
	}
	outside := wanPort
	if k == 0 {
		outside = hostPort
	}
	w.p.connect(net, box.node, lan.port, w.node, outside)
	w.p.route(w.node, netip.Prefix{}, net.outer)
	w.p.routes(box.node, w.up, net.inner)
	for _, b := range w.up {
		lan.behind = append(lan.behind, b.prefix)
	}
	return lan
}

// leave is what the network beyond a box sees of subscriber n: its address, and what
// is to be routed to the box. wan is the cable that leads there.
func (b *boxPlan) leave(n int, seen netip.Addr, wan subnet, up []behind) (netip.Addr, []behind) {
	cable := behind{wan.prefix, true}
	switch b.Behaviour.Translation {
	case nat.NAPT:
		if n == 0 {
			b.public = append(b.public, wan.inner)
		}
		return wan.inner, []behind{cable}
	case nat.OneToOne:
		a := wan.oneToOne(n)
		b.public = append(b.public, a)
		return a, []behind{cable, {prefix: one(a)}}
	}
	var all []behind
	for _, u := range up {
		all = append(all, behind{prefix: u.prefix})
	}
	return seen, append(all, cable)
}

func one(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// routes leads what is not a cable of the node's own through via.
func (p *plan) routes(node int, list []behind, via netip.Addr) {
	for _, b := range list {
		if !b.cable {
			p.route(node, b.prefix, via)
		}
	}
}

// observer joins the third party to both providers, so that what it sees has not
// been on the link.
func (p *plan) observer() {
	where := observer4
	if p.v6 {
		where = observer6
	}
	for i, isp := range []int{ispA, ispB} {
		net := cut(netip.MustParsePrefix([2]string{"192.0.2.128/29", "192.0.2.136/29"}[i]))
		if p.v6 {
			net = cut(netip.MustParsePrefix([2]string{"2001:db8:d:a::/64", "2001:db8:d:b::/64"}[i]))
		}
		p.connect(net, isp, seenPort, observerNode, [2]string{linkPortA, linkPortB}[i])
		p.route(isp, where, net.inner)
	}
}

func (p *plan) addNode(name string, router, mute bool) int {
	p.nodes = append(p.nodes, nodePlan{name: name, router: router, mute: mute})
	return len(p.nodes) - 1
}

// connect puts a cable between two nodes, the outer one first.
func (p *plan) connect(net subnet, node1 int, name1 string, node2 int, name2 string) {
	bits := net.prefix.Bits()
	n := len(p.cables)
	mac1, mac2 := mac(n, 1), mac(n, 2)
	e1 := p.addPort(node1, port{name: name1, mac: mac1, addr: netip.PrefixFrom(net.outer, bits), peer: net.inner, via: mac2})
	e2 := p.addPort(node2, port{name: name2, mac: mac2, addr: netip.PrefixFrom(net.inner, bits), peer: net.outer, via: mac1})
	p.cables = append(p.cables, cable{e1, e2})
}

// insertLink cuts the last cable, between the providers, and puts both new ends into a
// node of their own. The providers still know each other as neighbours.
func (p *plan) insertLink() {
	p.link = p.addNode("link", false, false)
	last := len(p.cables) - 1
	c := p.cables[last]
	a := p.addPort(p.link, port{name: linkPortA, mac: mac(last, 3)})
	b := p.addPort(p.link, port{name: linkPortB, mac: mac(last, 4)})
	p.cables = append(p.cables[:last], cable{c.a, a}, cable{c.b, b})
}

// silence takes addresses and routes from a node whose kernel is to do nothing, and
// makes what is sent to it whole.
func (p *plan) silence(node int) {
	n := &p.nodes[node]
	if !n.mute {
		return
	}
	n.router, n.routes = false, nil
	for i := range n.ports {
		n.ports[i].addr = netip.Prefix{}
	}
	for _, c := range p.cables {
		switch node {
		case c.a[0]:
			p.port(c.b).whole = true
		case c.b[0]:
			p.port(c.a).whole = true
		}
	}
}

func (p *plan) addPort(node int, pt port) [2]int {
	p.nodes[node].ports = append(p.nodes[node].ports, pt)
	return [2]int{node, len(p.nodes[node].ports) - 1}
}

func (p *plan) route(node int, dst netip.Prefix, via netip.Addr) {
	p.nodes[node].routes = append(p.nodes[node].routes, route{dst, via})
}

func (p *plan) port(end [2]int) *port { return &p.nodes[end[0]].ports[end[1]] }

// mac makes a locally administered unicast address (IEEE 802, second bit of the
// first byte).
func mac(cable, end int) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0, byte(cable), byte(end)}
}
