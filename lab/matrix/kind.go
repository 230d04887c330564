package matrix

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/nat"
)

// ErrKinds is wrapped by every complaint about kinds that is not one about a
// single NAT (see lab.ParseNAT).
var ErrKinds = errors.New("kinds of NAT")

// Kind is what may stand in front of a host, with what follows from its
// behaviour.
type Kind struct {
	Name    string `json:"name"` // in tables
	NAT     string `json:"nat"`  // as a scenario has it, see lab.ParseNAT
	Class   Class  `json:"class"`
	Filter  Filter `json:"filter"`
	Looks   int    `json:"looks"`   // how often third parties look at the external port before an attempt: see lab.Chain.Looks
	Accepts bool   `json:"accepts"` // lets a SYN in that crosses one of its own host, and the answer out
}

// ParseKind reads a kind as a scenario has it.
func ParseKind(text string) (Kind, error) { return newKind(text, text) }

func newKind(name, text string) (Kind, error) {
	c, err := lab.ParseNAT(text)
	if err != nil {
		return Kind{}, err
	}
	return Kind{Name: name, NAT: text, Class: ClassOf(c), Filter: FilterOf(c), Looks: c.Looks(), Accepts: accepts(c)}, nil
}

// Words for several kinds.
const (
	WordAll     = "all"     // every preset of package nat
	WordKernel  = "kernel"  // the NATs of this kernel, package lab
	WordVectors = "vectors" // see Vectors
)

// ParseKinds reads a list of kinds, separated by commas or by semicolons:
//
//	linux,random,eim
//	eim,unsolicited=rst,random   two kinds: what has an = belongs to the one before
//	mapping=adm;mapping=apdm     semicolons where a kind is knobs alone
//
// WordAll, WordKernel and WordVectors stand for many. "" is WordAll. A kind that
// is named twice is an error.
func ParseKinds(text string) ([]Kind, error) {
	if strings.TrimSpace(text) == "" {
		text = WordAll
	}
	var list []Kind
	for _, item := range splitKinds(text) {
		switch item {
		case WordAll:
			list = append(list, All()...)
		case WordKernel:
			list = append(list, Kernel()...)
		case WordVectors:
			list = append(list, Vectors()...)
		case "":
			return nil, fmt.Errorf("%w: %q has an empty place", ErrKinds, text)
		default:
			k, err := ParseKind(item)
			if err != nil {
				return nil, err
			}
			list = append(list, k)
		}
	}
	for i := range list {
		if slices.ContainsFunc(list[:i], func(k Kind) bool { return k.NAT == list[i].NAT }) {
			return nil, fmt.Errorf("%w: %s is there twice", ErrKinds, list[i].NAT)
		}
	}
	return list, nil
}

func splitKinds(text string) []string {
	if strings.Contains(text, ";") {
		list := strings.Split(text, ";")
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		return list
	}
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if n := len(list) - 1; n >= 0 && strings.Contains(part, "=") {
			list[n] += "," + part
			continue
		}
		list = append(list, part)
	}
	return list
}

// All lists every preset of package nat, predictable ones first.
func All() []Kind {
	var names []string
	for _, p := range nat.Presets() {
		names = append(names, p.Name)
	}
	return known(names, names)
}

// Kernel lists the kinds of this kernel's NAT, predictable ones first.
func Kernel() []Kind {
	var names []string
	for _, k := range lab.Kinds() {
		if c, err := lab.ParseNAT(k.Name); err == nil && c.Outer().Kernel != "" {
			names = append(names, k.Name)
		}
	}
	return known(names, names)
}

// Vectors lists NATs that differ in mapping, filtering and allocation alone: every
// combination of the three in which the NAT drops what it was not asked for. Their
// names are mapping/filtering/allocation. Predictable ones come first.
func Vectors() []Kind {
	var names, texts []string
	for _, allocation := range []string{"preserving", "offset", "sequential", "random"} {
		for _, mapping := range []string{"eim", "adm", "apdm", "per-connection"} {
			for _, filtering := range []string{"eif", "adf", "apdf"} {
				text := fmt.Sprintf("mapping=%s,filtering=%s,allocation=%s,unsolicited=drop", mapping, filtering, allocation)
				if allocation == "offset" {
					text += ",offset=1000"
				}
				names = append(names, strings.TrimPrefix(mapping, "per-")+"/"+filtering+"/"+allocation)
				texts = append(texts, text)
			}
		}
	}
	return known(names, texts)
}

// known makes kinds that are known to be right and sorts them by class.
func known(names, texts []string) []Kind {
	var list []Kind
	for i := range names {
		if k, err := newKind(names[i], texts[i]); err == nil {
			list = append(list, k)
		}
	}
	return ByClass(list)
}

// ByClass returns the kinds with the predictable ones first, otherwise in the
// order in which they were.
func ByClass(list []Kind) []Kind {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Kind) int { return strings.Compare(string(a.Class), string(b.Class)) })
	return list
}
