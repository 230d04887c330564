package lab

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what stands between a host and the network, in the words of RFC 4787
// (UDP) and RFC 5382 (TCP).
type Kind struct {
	Name        string   `json:"name"`        // as scenario files and flags write it
	Mapping     string   `json:"mapping"`     // RFC 4787 section 4.1
	Filtering   string   `json:"filtering"`   // RFC 4787 section 5
	Allocation  string   `json:"allocation"`  // RFC 4787 section 4.2, how the external port is chosen
	Unsolicited string   `json:"unsolicited"` // what an unsolicited SYN gets (RFC 5382 section 4.3)
	Families    []string `json:"families"`    // "ip4", "ip6"
	About       string   `json:"about"`       // one line for people
}

// The kinds of NAT and firewall.
const (
	NATLinux       = "linux"
	NATLinuxRST    = "linux-rst"
	NATLinuxICMP   = "linux-icmp"
	NATLinuxRandom = "linux-random"
	NATLinuxEIM    = "linux-eim"
	NATLinuxAPDF   = "linux-eim-apdf"
	NATNone        = "none"
	NATFirewall    = "firewall"
)

// Words of RFC 4787.
const (
	endpointIndependent     = "endpoint-independent"
	addressAndPortDependent = "address and port-dependent"
	noTranslation           = "no translation"
	preserving              = "port preserving"
)

var kinds = []Kind{
	{NATLinux, addressAndPortDependent, addressAndPortDependent, preserving, "dropped",
		[]string{IP4}, "Linux masquerade, nothing from outside accepted"},
	{NATLinuxRST, addressAndPortDependent, addressAndPortDependent, preserving, "answered with RST",
		[]string{IP4}, "Linux masquerade that refuses with a TCP reset, as OpenWrt does"},
	{NATLinuxICMP, addressAndPortDependent, addressAndPortDependent, preserving, "answered with ICMP administratively prohibited",
		[]string{IP4}, "Linux masquerade that refuses with an ICMP error"},
	{NATLinuxRandom, addressAndPortDependent, addressAndPortDependent, "random", "dropped",
		[]string{IP4}, "Linux masquerade with fully-random ports: unpredictable"},
	{NATLinuxEIM, endpointIndependent, endpointIndependent, preserving, "passed to the host",
		[]string{IP4}, "one public address for the one host, 1:1, open from outside"},
	{NATLinuxAPDF, endpointIndependent, addressAndPortDependent, preserving, "dropped",
		[]string{IP4}, "one public address for the one host, 1:1, stateful filter"},
	{NATNone, noTranslation, "none", noTranslation, "passed to the host",
		[]string{IP4, IP6}, "public host behind a plain router"},
	{NATFirewall, noTranslation, addressAndPortDependent, noTranslation, "dropped",
		[]string{IP4, IP6}, "public host behind a stateful firewall"},
}

// Kinds lists every kind, in the order in which documentation shows them.
func Kinds() []Kind {
	list := slices.Clone(kinds)
	for i := range list {
		list[i].Families = slices.Clone(list[i].Families)
	}
	return list
}

// ParseKind finds a kind by its name; "" is NATLinux.
func ParseKind(name string) (Kind, error) {
	if name == "" {
		name = NATLinux
	}
	for _, k := range Kinds() {
		if k.Name == name {
			return k, nil
		}
	}
	return Kind{}, fmt.Errorf("%q is not a kind of NAT: want %s", name, strings.Join(kindNames(""), ", "))
}

// Translates reports whether the kind rewrites addresses.
func (k Kind) Translates() bool { return k.Mapping != noTranslation }

// kindNames lists the kinds that know the address family; "" stands for any.
func kindNames(family string) []string {
	var names []string
	for _, k := range kinds {
		if family == "" || slices.Contains(k.Families, family) {
			names = append(names, k.Name)
		}
	}
	return names
}
