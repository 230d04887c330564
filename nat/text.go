package nat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Parse reads the short text form of a Behaviour: the name of a preset,
// settings, or a preset and settings that differ from it:
//
//	eim
//	mapping=apdm,allocation=random
//	cgn,max-mappings=64
//
// Without a preset the settings start from the zero value. The result is validated.
func Parse(s string) (Behaviour, error) {
	var b Behaviour
	seen := map[string]bool{}
	for i, part := range strings.Split(s, ",") {
		name, value, set := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case set && seen[name]:
			return Behaviour{}, errTwice(name)
		case set:
			seen[name] = true
			if err := b.Set(name, value); err != nil {
				return Behaviour{}, err
			}
		case i > 0:
			return Behaviour{}, fmt.Errorf("nat: %q is no setting, such as mapping=apdm (a preset comes first)", part)
		default:
			var err error
			if b, err = Preset(name); err != nil {
				return Behaviour{}, err
			}
		}
	}
	return b, b.Validate()
}

// String returns the settings that differ from the zero value, in Parse's form.
// The zero value is "mapping=endpoint-independent".
func (b Behaviour) String() string {
	var zero Behaviour
	var list []string
	for _, k := range knobs {
		if v := k.get(&b); v != k.get(&zero) {
			list = append(list, k.Name+"="+v)
		}
	}
	if list == nil {
		return "mapping=" + b.Mapping.String()
	}
	return strings.Join(list, ",")
}

// MarshalJSON writes an object with every knob: words, durations and ranges as
// text, numbers and flags as such.
func (b Behaviour) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, k := range knobs {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendQuote(out, k.Name)
		out = append(out, ':')
		v := k.get(&b)
		if bare(k) {
			out = append(out, v...)
		} else {
			out = strconv.AppendQuote(out, v)
		}
	}
	return append(out, '}'), nil
}

func bare(k Knob) bool { return k.Values == "NUMBER" || k.Values == "true, false" }

// UnmarshalJSON reads an object of knobs, on top of its "preset" if it has one,
// otherwise on top of the zero value. Unknown and repeated keys are errors; the result is
// validated.
func (b *Behaviour) UnmarshalJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return fmt.Errorf("nat: a behaviour is an object of knobs: %w", errors.Join(err, ErrBehaviour))
	}
	var pairs []pair
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		value, err := dec.Token()
		if err != nil {
			return err
		}
		switch value.(type) {
		case string, bool, json.Number:
		default:
			return fmt.Errorf("nat: %v: %w: want text, a number, true or false", key, ErrBehaviour)
		}
		pairs = append(pairs, pair{fmt.Sprint(key), fmt.Sprint(value)})
	}
	return b.apply(pairs)
}

// MarshalYAML returns a mapping of the knobs that differ from the zero value.
func (b Behaviour) MarshalYAML() (any, error) {
	var zero Behaviour
	m := map[string]any{}
	for _, k := range knobs {
		v := k.get(&b)
		if v == k.get(&zero) {
			continue
		}
		m[k.Name] = v
		if n, err := strconv.Atoi(v); err == nil && bare(k) {
			m[k.Name] = n
		} else if bare(k) {
			m[k.Name] = v == "true"
		}
	}
	return m, nil
}

// UnmarshalYAML reads a mapping as UnmarshalJSON does, or the text form that Parse
// reads. Its argument is what YAML packages give to it: a function that decodes
// into a Go value.
func (b *Behaviour) UnmarshalYAML(decode func(any) error) error {
	var short string
	if decode(&short) == nil {
		v, err := Parse(short)
		if err == nil {
			*b = v
		}
		return err
	}
	var m map[string]string
	if err := decode(&m); err != nil {
		return err
	}
	var pairs []pair
	for k, v := range m {
		pairs = append(pairs, pair{k, v})
	}
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	return b.apply(pairs)
}

func errTwice(key string) error {
	return fmt.Errorf("nat: %s: %w: the key stands here a second time", key, ErrBehaviour)
}

type pair struct{ name, text string }

// apply replaces b with the settings, all or nothing.
func (b *Behaviour) apply(pairs []pair) error {
	var v Behaviour
	seen := map[string]bool{}
	for _, p := range pairs {
		if seen[p.name] {
			return errTwice(p.name)
		}
		seen[p.name] = true
		if p.name == "preset" {
			var err error
			if v, err = Preset(p.text); err != nil {
				return err
			}
		}
	}
	for _, p := range pairs {
		if p.name == "preset" {
			continue
		}
		if err := v.Set(p.name, p.text); err != nil {
			return err
		}
	}
	if err := v.Validate(); err != nil {
		return err
	}
	*b = v
	return nil
}
