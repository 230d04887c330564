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
}
