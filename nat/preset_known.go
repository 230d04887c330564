package nat

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
}
