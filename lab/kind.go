package lab

import (
	"fmt"
	"slices"
	"strings"

	"github.com/synpunch/synpunch/nat"
)

// Kind is what stands between a host and the network, in the words of RFC 4787
// (UDP) and RFC 5382 (TCP).
type Kind struct {
	Name        string        `json:"name"`        // as scenario files and flags write it
	Kernel      bool          `json:"kernel"`      // package live takes this kernel's own NAT; false: the model
	Mapping     string        `json:"mapping"`     // RFC 4787 section 4.1
	Filtering   string        `json:"filtering"`   // RFC 4787 section 5
	Allocation  string        `json:"allocation"`  // RFC 4787 section 4.2, how the external port is chosen
	Unsolicited string        `json:"unsolicited"` // what an unsolicited SYN gets (RFC 5382 section 4.3)
	Crossing    string        `json:"crossing"`    // what becomes of a SYN that crosses the host's own (RFC 5382 section 4.2)
	Families    []string      `json:"families"`    // "ip4", "ip6"
	About       string        `json:"about"`       // one line for people
	Behaviour   nat.Behaviour `json:"behaviour"`   // of the model; every knob
}

// The kinds of this kernel's own NAT and firewall. The model has a preset of each
// name too.
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

var kernelKinds = []string{NATLinux, NATLinuxRST, NATLinuxICMP, NATLinuxRandom, NATLinuxEIM, NATLinuxAPDF, NATNone, NATFirewall}

// Kinds lists every kind in the order in which documentation shows them: those of
// this kernel, then the presets of the model. The model of a kernel's kind has
// Model before its name and is not listed again.
func Kinds() []Kind {
	var list, models []Kind
	for _, p := range nat.Presets() {
		k := newKind(p)
		if k.Kernel {
			list = append(list, k)
		} else {
			models = append(models, k)
		}
	}
	slices.SortFunc(list, func(a, b Kind) int {
		return slices.Index(kernelKinds, a.Name) - slices.Index(kernelKinds, b.Name)
	})
	return append(list, models...)
}

// Translates reports whether the kind rewrites addresses.
func (k Kind) Translates() bool { return k.Behaviour.Translation != nat.None }

func newKind(p nat.PresetInfo) Kind {
	k := describe(p.Name, &p.Behaviour)
	k.Kernel, k.About = isKernel(p.Name), p.About
	return k
}

// Kind says what the box is in the words of a Kind, under the name that its text is.
func (b *Box) Kind() Kind {
	k := describe(b.Text, &b.Behaviour)
	k.Kernel = b.Kernel != ""
	for _, p := range nat.Presets() {
		if p.Name == strings.TrimPrefix(b.Text, Model) {
			k.About = p.About
		}
	}
	return k
}

func describe(name string, b *nat.Behaviour) Kind {
	k := Kind{Name: name, Behaviour: *b, Families: []string{IP4},
		Mapping: mappingWords(b), Filtering: filteringWords(b), Allocation: allocationWords(b), Unsolicited: unsolicitedWords(b), Crossing: crossingWords(b)}
	if b.Translation == nat.None {
		k.Families = append(k.Families, IP6)
	}
	return k
}

const noTranslation = "no translation"

func mappingWords(b *nat.Behaviour) string {
	if b.Translation == nat.None {
		return noTranslation
	}
	switch b.Mapping {
	case nat.EIM:
		return "endpoint-independent"
	case nat.ADM:
		return "address-dependent"
	case nat.APDM:
		return "address and port-dependent"
	}
	return "per connection"
}

func filteringWords(b *nat.Behaviour) string {
	switch b.Filtering {
	case nat.ADF:
		return "address-dependent"
	case nat.APDF:
		return "address and port-dependent"
	}
	if b.Translation == nat.None {
		return "none"
	}
	return "endpoint-independent"
}

func allocationWords(b *nat.Behaviour) string {
	if b.Translation == nat.None {
		return noTranslation
	}
	words := ""
	switch b.Allocation {
	case nat.Preserving:
		words = "port preserving"
	case nat.Offset:
		words = fmt.Sprintf("internal port %+d", b.Offset)
	case nat.Sequential:
		words = fmt.Sprintf("sequential %+d", b.Effective().Delta)
		if b.Counter != nat.CounterGlobal {
			words += fmt.Sprintf(" (counter: %v)", b.Counter)
		}
	case nat.Block:
		words = fmt.Sprintf("blocks of %d", b.Effective().BlockSize)
	default:
		words = b.Allocation.String()
	}
	if b.Ports != (nat.PortRange{}) {
		words += ", " + b.Ports.String()
	}
	if b.Overloading || b.Collision == nat.CollisionOverload {
		words += ", overloaded"
	}
	return words
}

func unsolicitedWords(b *nat.Behaviour) string {
	if b.Filtering == nat.Open {
		return "passed to the host"
	}
	words := ""
	switch b.Unsolicited {
	case nat.UnsolicitedDrop:
		return "dropped"
	case nat.UnsolicitedWait:
		return fmt.Sprintf("answered with ICMP after %v", b.Effective().UnsolicitedWait)
	case nat.UnsolicitedBlacklist:
		return "dropped, its source blacklisted"
	case nat.UnsolicitedRST:
		words = "RST"
	case nat.UnsolicitedPort:
		words = "ICMP port unreachable"
	case nat.UnsolicitedHost:
		words = "ICMP host unreachable"
	case nat.UnsolicitedAdmin:
		words = "ICMP administratively prohibited"
	}
	if b.AnswerDelay > 0 {
		words += fmt.Sprintf(" after %v", b.AnswerDelay)
	}
	return "answered with " + words
}

func crossingWords(b *nat.Behaviour) string {
	switch b.InboundSYN {
	case nat.InboundSYNDrop:
		return "dropped"
	case nat.InboundSYNReset:
		return "answered with RST"
	}
	if b.OutboundSYNACK != nat.SYNACKPass {
		return "passes, its SYN-ACK does not"
	}
	return "passes"
}

// kindNames lists the kinds that know the address family; "" stands for any.
func kindNames(family string) []string {
	var names []string
	for _, k := range Kinds() {
		if family == "" || slices.Contains(k.Families, family) {
			names = append(names, k.Name)
		}
	}
	return names
}
