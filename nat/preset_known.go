package nat

import "time"

// linux is nftables' or iptables' masquerade with a stateful forward chain,
// as package lab/live sets it up.
var linux = Behaviour{
	Mapping: APDM, Filtering: APDF, WellKnown: true, Overloading: true, ReuseMapping: true,
	Hairpinning: HairpinRefuse, Unsolicited: UnsolicitedDrop, Tracking: TrackLinux,
}

func like(b Behaviour, change func(*Behaviour)) Behaviour {
	change(&b)
	return b
}

var known = []PresetInfo{
	{"linux", "Linux masquerade, nothing from outside accepted", linux},
	{"linux-rst", "Linux masquerade that refuses with a TCP reset", like(linux, func(b *Behaviour) { b.Unsolicited, b.UnsolicitedAny = UnsolicitedRST, true })},
	{"linux-icmp", "Linux masquerade that refuses with an ICMP error", like(linux, func(b *Behaviour) { b.Unsolicited, b.UnsolicitedAny = UnsolicitedAdmin, true })},
	{"linux-random", "Linux masquerade with fully-random ports: unpredictable", like(linux, func(b *Behaviour) { b.Allocation, b.ReuseMapping = Random, false })},
	{"linux-eim", "Linux, one public address for one host, open from outside", like(linux, func(b *Behaviour) {
		b.Translation, b.Mapping, b.Filtering, b.Overloading, b.ReuseMapping, b.WellKnown = OneToOne, EIM, Open, false, false, false
	})},
	{"linux-eim-apdf", "Linux, one public address for one host, stateful filter", like(linux, func(b *Behaviour) {
		b.Translation, b.Mapping, b.Overloading, b.ReuseMapping, b.WellKnown = OneToOne, EIM, false, false, false
	})},
	{"firewall", "public host behind a stateful Linux firewall", Behaviour{Translation: None, Filtering: APDF, Unsolicited: UnsolicitedDrop, Hairpinning: HairpinNone, Tracking: TrackLinux}},
	{"none", "public host behind a plain router", Behaviour{Translation: None, Filtering: Open, Unsolicited: UnsolicitedDrop, Hairpinning: HairpinNone}},
	{"openwrt", "a home router with OpenWrt's defaults", like(linux, func(b *Behaviour) {
		// package/network/config/firewall/files/firewall.config: zone wan has input REJECT,
		// masq 1, mtu_fix 1; fw4 rejects TCP with a reset.
		b.Unsolicited, b.UnsolicitedAny = UnsolicitedRST, true
		b.MSSClamp = 1460 // mtu_fix on an Ethernet of 1500 bytes: MTU - 40
		// package/kernel/linux/files/sysctl-nf-conntrack.conf: tcp_timeout_established=7440.
		b.Established = 7440 * time.Second
	})},
	{"pf", "FreeBSD's pf with a nat rule and the defaults", Behaviour{
		// A state is a connection and draws its port at random unless static-port is given,
		// pf.conf(5): PF_NAT_PROXY_PORT_LOW 50001, PF_NAT_PROXY_PORT_HIGH 65535 (sbin/pfctl/pfctl_parser.h).
		Mapping: APDM, Filtering: APDF, Allocation: Random, Ports: PortRange{50001, 65535}, Overloading: true,
		// Without a rdr rule for it, a packet for the own public address is not reflected (pf.conf(5)).
		Hairpinning: HairpinNone,
		// 'block' is drop by default (set block-policy, pf.conf(5)).
		Unsolicited: UnsolicitedDrop,
		// sys/netpfil/pf: PFTM_TCP_FIRST_PACKET_VAL 120 s, PFTM_TCP_ESTABLISHED_VAL 24 h,
		// PFTM_TCP_FIN_WAIT_VAL 45 s after both FINs, PFTM_TCP_CLOSED_VAL 90 s after an RST. An opening
		// that was answered has 30 s (PFTM_TCP_OPENING_VAL), which the model does not tell apart.
		Transitory: 120 * time.Second, Established: 24 * time.Hour, Closing: 90 * time.Second,
		// Unknown to us, not measured: whether a crossing SYN passes (assumed), and exact window tracking (none here).
	}},
	{"cisco", "Cisco IOS, PAT with overload", Behaviour{
		// 'Interconnecting Cisco Network Devices, Part 2': PAT preserves the source port; if that is taken it looks
		// for the first free one from the beginning of the group 0-511, 512-1023 or 1024-65535.
		WellKnown: true, Collision: CollisionFirst,
		// 'ip nat translation' defaults: tcp-timeout 86,400 s, finrst-timeout 60 s, syn-timeout 60 s.
		Transitory: 60 * time.Second, Established: 24 * time.Hour, Closing: 60 * time.Second,
		// Unknown to us, not measured, and assumed: whether mappings are endpoint-independent (they
		// are here), the filter (address and port), hairpinning (none), the answer to an unsolicited SYN (none).
		Filtering: APDF, Hairpinning: HairpinNone, Unsolicited: UnsolicitedDrop,
	}},
	{"windows-ics", "Windows Internet Connection Sharing; partly unknown", Behaviour{
		// 'netsh routing ip nat' of the routing service, which is the same driver, says tcptimeoutmins=1440.
		Established: 24 * time.Hour,
		// Of NATs of Windows, table 1 of Ford, Srisuresh and Kegel (USENIX 2005) says that 31 of 33 mapped
		// consistently and that 28 of 31 let a TCP connection to the own public endpoint in, which a filter
		// would have stopped. At most half of those 31 refused an unsolicited SYN; this one is silent.
		HairpinOpen: true, Unsolicited: UnsolicitedDrop,
		// Assumed, without a source: that it filters by address and port, preserves ports, and the rest.
		Filtering: APDF,
	}},
}
