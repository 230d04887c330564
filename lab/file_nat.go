package lab

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/synpunch/synpunch/nat"
)

// nat reads the value of a site's key nat into the text that ParseNAT reads: that
// text, a mapping of knobs, or a list of both from the host outwards.
func (d *decoder) nat(n *yaml.Node, key string, to *string) {
	if d.chain(n, key, to); d.failed(key) {
		*to = unread
	}
}

// unread stands for a NAT that could not be read: one that gives no reason for a further
// complaint.
const unread = "eim"

func (d *decoder) chain(n *yaml.Node, key string, to *string) {
	switch n.Kind {
	case yaml.MappingNode:
		*to = d.knobs(n, key)
	case yaml.SequenceNode:
		var list []string
		for i, item := range n.Content {
			at := fmt.Sprintf("%s[%d]", key, i)
			d.lines[at] = item.Line
			list = append(list, d.box(item, at))
		}
		if len(list) == 0 {
			d.fail(n, key, "the list is empty: want at least one NAT")
		}
		*to = strings.Join(list, "+")
	default:
		*to = d.box(n, key)
	}
}

// box reads a text or a mapping of knobs.
func (d *decoder) box(n *yaml.Node, key string) string {
	if n.Kind == yaml.MappingNode {
		return d.knobs(n, key)
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		d.fail(n, key, "want text such as linux or cgn,max-mappings=64, or knobs%s", quoted(n))
		return ""
	}
	if _, err := ParseNAT(n.Value); err != nil {
		d.fail(n, key, "%s", strings.TrimPrefix(err.Error(), ErrScenario.Error()+": "))
	}
	return n.Value
}

// knobs reads a mapping: the key preset, and any knob of package nat. It stands for
// the model also where the preset has the name of a kernel's kind.
func (d *decoder) knobs(n *yaml.Node, key string) string {
	bad := len(d.errs)
	var b nat.Behaviour
	var words []string
	for name, value := range pairs(n) {
		if name.Value == "preset" {
			words = append(words, strings.TrimPrefix(value.Value, Model))
			var err error
			if b, err = nat.Preset(words[0]); err != nil || value.Kind != yaml.ScalarNode {
				d.fail(value, key+".preset", "%q is not a preset: want %s", value.Value, strings.Join(presetNames(), ", "))
			}
			break
		}
	}
	var seen = map[string]bool{}
	for name, value := range pairs(n) {
		path := key + "." + name.Value
		switch {
		case name.Kind != yaml.ScalarNode:
			d.fail(name, key, "a key of it is not text")
		case seen[name.Value]:
			d.fail(name, path, "the key stands here a second time")
		case name.Value == "preset":
			d.lines[path] = name.Line
		case value.Kind != yaml.ScalarNode:
			d.fail(value, path, "want a single value%s", quoted(value))
		default:
			d.lines[path] = name.Line
			if err := b.Set(name.Value, value.Value); err != nil {
				d.fail(name, path, "%s", strings.TrimPrefix(complaints(err)[0], name.Value+": "))
				continue
			}
			words = append(words, name.Value+"="+value.Value)
		}
		seen[name.Value] = true
	}
	if len(d.errs) > bad {
		return ""
	}
	for _, e := range keyErrors(b.Validate()) {
		path := key + "." + e.Key
		d.errs = append(d.errs, &FileError{Line: d.line(path), Key: path, What: e.What})
	}
	switch {
	case len(words) == 0:
		d.fail(n, key, "no knob is given: want preset, %s", strings.Join(knobNames(), ", "))
	case len(words) == 1 && isKernel(words[0]):
		return Model + words[0]
	}
	return strings.Join(words, ",")
}

// pairs are the keys and values of a mapping.
func pairs(n *yaml.Node) func(yield func(k, v *yaml.Node) bool) {
	return func(yield func(k, v *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

func presetNames() []string {
	var names []string
	for _, p := range nat.Presets() {
		names = append(names, p.Name)
	}
	return names
}

func knobNames() []string {
	var names []string
	for _, k := range nat.Knobs() {
		names = append(names, k.Name)
	}
	return names
}
