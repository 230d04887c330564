package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/synpunch/synpunch/nat"
)

// Chosen by us.
const (
	// MaxChain is the largest number of NATs of one site, one behind the other.
	MaxChain = 4
	// MaxSubscribers is the largest number of hosts of one site.
	MaxSubscribers = 4
	// MaxAddresses is the largest number of public addresses of one NAT.
	MaxAddresses = 32
	// MaxCrossTraffic is the highest rate of cross traffic, in SYNs per second.
	MaxCrossTraffic = 100_000
)

// Model is the prefix that makes a NAT the model where its name alone means this
// kernel's own: "model:linux".
const Model = "model:"

// Box is one NAT or firewall.
type Box struct {
	Text string // as the scenario has it: a kind, a preset, a preset and knobs, knobs
	// Kernel is the kind of the kernel's NAT that package live takes; empty for the
	// model. A simulation takes the model of the same name.
	Kernel string
	// Behaviour is what the box does; for a kind of the kernel, what the model of the
	// same name does.
	Behaviour nat.Behaviour
}

// Translates reports whether the box rewrites addresses.
func (b *Box) Translates() bool { return b.Behaviour.Translation != nat.None }

// preserves reports whether the box leaves a local port as it is, unless another
// host has taken it.
func (b *Box) preserves(port uint16) bool {
	v := &b.Behaviour
	if v.Translation != nat.NAPT {
		return true
	}
	if v.Allocation != nat.Preserving {
		return false
	}
	r := v.Effective().Ports
	return r.First <= port && port <= r.Last || v.WellKnown && port < 1024
}

// Chain is what stands between a host and the network, from the host outwards.
type Chain []Box

// Outer is the box with the public address.
func (c Chain) Outer() *Box { return &c[len(c)-1] }

// Translates reports whether any box rewrites addresses.
func (c Chain) Translates() bool {
	return slices.ContainsFunc(c, func(b Box) bool { return b.Translates() })
}

// Preserves reports whether a local port is the external port too, as long as no
// other host has taken it: the peer need not be told it then.
func (c Chain) Preserves(port uint16) bool {
	return !slices.ContainsFunc(c, func(b Box) bool { return !b.preserves(port) })
}

// countLooks is how often third parties look at a NAT that counts: "at least two" in
// the texts on port prediction. More were not better: docs/matrix.md.
const countLooks = 2

// Looks is how often third parties must look at the external port of a host for a
// peer to know as much as can be known: not at all if it is the local port, twice if it
// follows from a count, and once otherwise.
func (c Chain) Looks() int {
	const port = 40000 // as good as any that a host would take
	counts := func(b Box) bool {
		v := &b.Behaviour
		return v.Translation == nat.NAPT && v.Mapping != nat.EIM && v.Allocation == nat.Sequential
	}
	switch {
	case slices.ContainsFunc(c, counts):
		return countLooks
	case c.Preserves(port):
		return 0
	}
	return 1
}

// String returns the chain as ParseNAT reads it.
func (c Chain) String() string {
	var list []string
	for i := range c {
		list = append(list, c[i].Text)
	}
	return strings.Join(list, "+")
}

// ParseNAT reads what stands between a host and the network: one box, or several
// joined by "+", the host's own first.
//
//	linux               a kind of this kernel's NAT, see Kinds
//	cgn                 a preset of the model NAT
//	model:linux         the model where the name alone means the kernel
//	cgn,max-mappings=64 a preset and knobs that differ from it (package nat)
//	mapping=apdm        knobs alone
//	eim+cgn             a home NAT behind a carrier's (NAT444)
//
// Empty text is NATLinux. The error names the box and the knob, and wraps
// ErrScenario and what nat.Parse says.
func ParseNAT(text string) (Chain, error) {
	if text == "" {
		text = NATLinux
	}
	var c Chain
	for _, part := range splitChain(text) {
		b, err := parseBox(part)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrScenario, err)
		}
		c = append(c, b)
	}
	if len(c) > MaxChain {
		return nil, fmt.Errorf("%w: %d NATs one behind the other are more than %d", ErrScenario, len(c), MaxChain)
	}
	return c, nil
}

// splitChain cuts at "+", but not inside the value of the one knob that has it:
// strip-options=mss+sack.
func splitChain(text string) []string {
	const options = "strip-options="
	var list []string
	for part := range strings.SplitSeq(text, "+") {
		if n := len(list) - 1; n >= 0 {
			last := list[n][strings.LastIndexByte(list[n], ',')+1:]
			first, _, _ := strings.Cut(part, ",")
			var set nat.OptionSet
			if strings.HasPrefix(strings.TrimSpace(last), options) && first != "" && set.UnmarshalText([]byte(first)) == nil && set != 0 {
				list[n] += "+" + part
				continue
			}
		}
		list = append(list, strings.TrimSpace(part))
	}
	return list
}

func parseBox(text string) (Box, error) {
	rest, forced := strings.CutPrefix(text, Model)
	b := Box{Text: text}
	if !forced && isKernel(rest) {
		b.Kernel = rest
	}
	if strings.Trim(rest, ", ") == "" {
		return b, fmt.Errorf("a NAT is missing in front of or behind a +, or behind %s", Model)
	}
	if !strings.ContainsAny(rest, ",=") && !isPreset(rest) {
		return b, fmt.Errorf("%q is not a kind of NAT: want %s (%w)", text, strings.Join(kindNames(""), ", "), nat.ErrUnknownKey)
	}
	if key := repeated(rest); key != "" {
		return b, fmt.Errorf("%s: %s: it stands here a second time (%w)", text, key, nat.ErrBehaviour)
	}
	var err error
	if b.Behaviour, err = nat.Parse(rest); err != nil {
		return b, &boxError{text, err}
	}
	return b, nil
}

// boxError is a complaint of package nat about a box.
type boxError struct {
	text string
	err  error
}

func (e *boxError) Error() string {
	return e.text + ": " + strings.Join(complaints(e.err), "; ")
}

func (e *boxError) Unwrap() error { return e.err }

// complaints are the lines of an error of package nat, without its name.
func complaints(err error) []string {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "nat: ")
	}
	return lines
}

// repeated returns a knob that is set twice in the text of a box, or "".
func repeated(text string) string {
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		name, _, set := strings.Cut(strings.TrimSpace(part), "=")
		if set && seen[name] {
			return name
		}
		seen[name] = set
	}
	return ""
}

func isKernel(name string) bool {
	return slices.ContainsFunc(kernelKinds, func(k string) bool { return k == name })
}

func isPreset(name string) bool {
	_, err := nat.Preset(name)
	return err == nil
}

// keyErrors are the complaints of nat.Behaviour.Validate about single knobs.
func keyErrors(err error) []*nat.KeyError {
	var list []*nat.KeyError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			var ke *nat.KeyError
			if errors.As(e, &ke) {
				list = append(list, ke)
			}
		}
	}
	return list
}
