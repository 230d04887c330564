package nat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/netns"
)

// router is a NAT of the running kernel in a network namespace of its own, with a
// cable to each side. The other ends are here, have no addresses, and
// are used through packet sockets only.
type router struct {
	ns    *netns.NS
	v6    bool
	ports [2]*cable
	seq   uint16 // of the markers
}

// cable is a packet socket on our end of one.
type cable struct {
	fd    int
	proto uint16 // ETH_P_IP or ETH_P_IPV6 in network order
	index int
	mac   net.HardwareAddr // of the router's end
	buf   [2048]byte
}

const (
	markerProto = 253 // for experiments, RFC 3692: routed by the NAT without translation
	wanGateway  = "198.51.100.254"
	wanGateway6 = "2001:db8:2::fe"
)

var (
	gateway6 = netip.MustParseAddr("2001:db8::1")
	outer6   = netip.MustParseAddr("2001:db8:2::1")
)

// newRouter builds the NAT. The rules are those of package lab/live's kinds.
func newRouter(t testing.TB, hosts []netip.Addr, kind string) *router {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	// One processor keeps the order of what is sent into the cables; the thread
	// ends with the test.
	runtime.LockOSThread()
	var cpus, one unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &cpus))
	for cpu := range 1024 {
		if cpus.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	must(t, unix.SchedSetaffinity(0, &one))
	r := &router{ns: ns, v6: hosts[0].Is6()}
	for side, name := range []string{"lan", "wan"} {
		l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1500}, PeerName: "eth" + name, PeerNamespace: netlink.NsFd(ns.Fd())}
		must(t, netlink.LinkAdd(l))
		t.Cleanup(func() { must(t, netlink.LinkDel(l)) }) // with both ends: the namespace takes its time
		mine, err := netlink.LinkByName(name)
		must(t, err)
		// Nor of IPv6: this end must not answer for itself.
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0o644))
		must(t, netlink.LinkSetARPOff(mine))
		must(t, netlink.LinkSetUp(mine))
		r.ports[side] = &cable{index: mine.Attrs().Index}
	}
	must(t, ns.Do(func() error { return r.setUp(hosts, kind) }))
	for _, c := range r.ports {
		c.open(t, r.v6)
	}
	must(t, errors.Join(r.ready(Inside), r.ready(Outside)))
	return r
}

// markerTime is how long a marker may take on a machine with much else to do.
const markerTime = 30 * time.Second

// ready sends markers until one comes through: the kernel drops what it sends on a new
// link until a worker of its own has seen that the link is up (linkwatch).
func (r *router) ready(side Side) error {
	for deadline := time.Now().Add(markerTime); time.Now().Before(deadline); {
		r.seq++
		if err := r.ports[side].send(r.marker(side)); err != nil {
			return fmt.Errorf("send the marker: %w", err)
		}
		if _, err := r.await(side, 50*time.Millisecond); err == nil {
			return nil
		} else if !errors.Is(err, errNoMarker) {
			return err
		}
	}
	return errNoMarker
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// setUp runs in the router's namespace.
func (r *router) setUp(hosts []netip.Addr, kind string) error {
	for name, value := range map[string]string{
		"ipv4/ip_forward": "1", "ipv4/icmp_ratelimit": "0", "ipv4/conf/all/rp_filter": "0",
		"ipv4/conf/all/send_redirects": "0", "ipv4/conf/default/send_redirects": "0",
		"ipv4/conf/ethlan/send_redirects": "0", "ipv4/conf/ethwan/send_redirects": "0",
		"ipv6/conf/all/forwarding": "1", "ipv6/icmp/ratelimit": "0",
	} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
			return err
		}
	}
	// Of the namespace since Linux 6.13; before that it cannot be set here.
	_ = os.WriteFile("/proc/sys/net/ipv4/icmp_msgs_per_sec", []byte("1000000"), 0o644)
	_ = os.WriteFile("/proc/sys/net/ipv4/icmp_msgs_burst", []byte("1000000"), 0o644)
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	var index [2]int
	addrs, next := []string{gateway.String() + "/24", public.String() + "/24"}, wanGateway
	if r.v6 {
		addrs, next = []string{gateway6.String() + "/64", outer6.String() + "/64"}, wanGateway6
	}
	for side, addr := range addrs {
		l, err := netlink.LinkByName([]string{"ethlan", "ethwan"}[side])
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := errors.Join(netlink.AddrAdd(l, a), netlink.LinkSetUp(l)); err != nil {
			return err
		}
		index[side] = l.Attrs().Index
		r.ports[side].mac = l.Attrs().HardwareAddr
		neighbours := hosts
		if side == int(Outside) {
			neighbours = []netip.Addr{netip.MustParseAddr(next)}
		}
		for _, n := range neighbours {
			err := netlink.NeighSet(&netlink.Neigh{LinkIndex: index[side], IP: n.AsSlice(), State: netlink.NUD_PERMANENT,
				HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}})
			if err != nil {
				return err
			}
		}
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: index[Outside], Gw: net.ParseIP(next)}); err != nil {
		return err
	}
	return rules(uint32(index[Inside]), uint32(index[Outside]), kind, r.v6)
}

// rules writes the firewall of the router: what package lab/live installs, and
// a way through for the markers.
func rules(lan, wan uint32, kind string, v6 bool) error {
	if kind == "none" {
		return nil
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	drop := nftables.ChainPolicyDrop
	family := nftables.TableFamilyIPv4
	if v6 {
		family = nftables.TableFamilyIPv6
	}
	table := c.AddTable(&nftables.Table{Family: family, Name: "nat-test"})
	filter := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook,
			Priority: nftables.ChainPriorityFilter, Policy: &drop})
	}
	rule := func(chain *nftables.Chain, parts ...[]expr.Any) {
		r := &nftables.Rule{Table: table, Chain: chain}
		for _, p := range parts {
			r.Exprs = append(r.Exprs, p...)
		}
		c.AddRule(r)
	}
	is := func(key expr.MetaKey, value []byte) []expr.Any {
		return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
	}
	native := func(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
	state := func(bits uint32) []expr.Any {
		return []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(bits), Xor: native(0)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native(0)}}
	}
	accept := []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	marker := is(expr.MetaKeyL4PROTO, []byte{markerProto})

	input := filter("input", nftables.ChainHookInput)
	rule(input, state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept)
	rule(input, is(expr.MetaKeyIIF, native(lan)), accept)
	tcp := is(expr.MetaKeyL4PROTO, []byte{unix.IPPROTO_TCP})
	switch kind {
	case "linux-rst":
		rule(input, is(expr.MetaKeyIIF, native(wan)), tcp, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
	case "linux-icmp":
		rule(input, is(expr.MetaKeyIIF, native(wan)), tcp, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 13}})
	}
	if kind == "linux-eim" {
		drop = nftables.ChainPolicyAccept
	}
	forward := filter("forward", nftables.ChainHookForward)
	rule(forward, marker, accept)
	rule(forward, state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept)
	rule(forward, is(expr.MetaKeyIIF, native(lan)), state(expr.CtStateBitNEW), accept)
	if kind != "firewall" {
		post := c.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
		rule(post, marker, accept)
		if kind != "linux-eim" && kind != "linux-eim-apdf" {
			rule(post, is(expr.MetaKeyOIF, native(wan)), []expr.Any{&expr.Masq{FullyRandom: kind == "linux-random"}})
		} else {
			pre := c.AddChain(&nftables.Chain{Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT,
				Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
			addr := func(offset uint32, a netip.Addr) []expr.Any {
				return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
					&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()}}
			}
			to := func(typ expr.NATType, a netip.Addr) []expr.Any {
				return []expr.Any{&expr.Immediate{Register: 1, Data: a.AsSlice()}, &expr.NAT{Type: typ, Family: unix.NFPROTO_IPV4, RegAddrMin: 1}}
			}
			rule(pre, is(expr.MetaKeyIIF, native(wan)), addr(16, public), to(expr.NATTypeDestNAT, hostA.Addr()))
			rule(post, is(expr.MetaKeyOIF, native(wan)), addr(12, hostA.Addr()), to(expr.NATTypeSourceNAT, public))
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("install the rules: %w", err)
	}
	return nil
}

func (c *cable) open(t testing.TB, v6 bool) {
	t.Helper()
	c.proto = binary.NativeEndian.Uint16([]byte{0x08, 0x00})
	if v6 {
		c.proto = binary.NativeEndian.Uint16([]byte{0x86, 0xdd})
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(c.proto))
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: c.proto, Ifindex: c.index}))
	c.fd = fd
}

func (c *cable) send(b []byte) error {
	to := &unix.SockaddrLinklayer{Protocol: c.proto, Ifindex: c.index, Halen: 6}
	copy(to.Addr[:], c.mac)
	return unix.Sendto(c.fd, b, 0, to)
}

// receive returns the next packet that comes out, or nil when there is none at
// the time.
func (c *cable) receive() ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(c.fd, c.buf[:], unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN:
			return nil, nil
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if b := c.buf[:n]; b[0]>>4 == 6 && (b[24] == 0xff || b[6] == protoICMP6 && b[header6] >= 128) {
			continue // neighbour and multicast listener discovery
		}
		return append([]byte(nil), c.buf[:n]...), nil
	}
}

// through sends a packet into the router from a side, then a marker, and returns
// what came out before the marker did: the same processor handles both, in order.
func (r *router) through(side Side, pkt []byte) ([]Packet, error) {
	r.seq++
	if err := r.ports[side].send(pkt); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	if err := r.ports[side].send(r.marker(side)); err != nil {
		return nil, fmt.Errorf("send the marker: %w", err)
	}
	out, err := r.await(side, markerTime)
	if err != nil {
		return nil, err
	}
	err = r.answers(side, &out)
	return out, err
}

var errNoMarker = errors.New("the marker did not come through")

// await returns what came out of the other side before the last marker.
func (r *router) await(side Side, patience time.Duration) (out []Packet, err error) {
	for deadline := time.Now().Add(patience); ; {
		b, err := r.ports[1-side].receive()
		if err != nil {
			return nil, err
		}
		if b == nil {
			left := time.Until(deadline)
			if left <= 0 {
				return nil, errNoMarker
			}
			fds := []unix.PollFd{{Fd: int32(r.ports[1-side].fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, int(left/time.Millisecond)+1); err != nil && err != unix.EINTR {
				return nil, err
			}
			continue
		}
		proto, data := b[9], b[header4:]
		if r.v6 {
			proto, data = b[6], b[header6:]
		}
		switch {
		case proto == markerProto && binary.BigEndian.Uint16(data) == r.seq:
			return out, nil
		case proto == markerProto: // of another time
			continue
		}
		out = append(out, Packet{b, 1 - side})
	}
}

// answers adds what came back to the side that sent.
func (r *router) answers(side Side, out *[]Packet) error {
	for {
		b, err := r.ports[side].receive()
		if err != nil || b == nil {
			return err
		}
		*out = append(*out, Packet{b, side})
	}
}

// marker is a packet that the router lets through, from a side.
func (r *router) marker(side Side) []byte {
	from, to := hostA.Addr(), remote1.Addr()
	if r.v6 {
		from, to = host6.Addr(), remote6.Addr()
	}
	if side == Outside {
		from, to = to, from
	}
	if r.v6 {
		b := make([]byte, header6+2)
		b[0], b[5], b[6], b[7] = 6<<4, 2, markerProto, 64
		copy(b[8:], from.AsSlice())
		copy(b[24:], to.AsSlice())
		binary.BigEndian.PutUint16(b[header6:], r.seq)
		return b
	}
	b := make([]byte, header4+2)
	b[0], b[3], b[8], b[9] = 0x45, header4+2, 64, markerProto
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	binary.BigEndian.PutUint16(b[header4:], r.seq)
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b[:header4])))
	return b
}
