package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxFile is the longest scenario file that is read, in bytes, chosen by us: some
// thousand faults.
const maxFile = 1 << 20

// FileError is a complaint about a scenario file.
type FileError struct {
	Line int    // from 1; 0 when the file as a whole is meant
	Key  string // "link.faults[2].packet"; empty when no key is meant
	What string
}

// Error returns "line 4: link.delay: what is wrong".
func (e *FileError) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.What)
	return b.String()
}

// Unwrap returns ErrScenario.
func (e *FileError) Unwrap() error { return ErrScenario }

// Load reads one scenario file and validates it. Unknown keys, durations without
// a unit, aliases and a second document are errors. The error joins a *FileError
// for each complaint, which names key and line, and wraps ErrScenario; errors of
// r come through as they are.
func Load(r io.Reader) (*Scenario, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the scenario: %w", err)
	}
	if len(text) > maxFile {
		return nil, &FileError{What: fmt.Sprintf("the file is longer than %d bytes", maxFile)}
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &FileError{What: "the file is empty: give at least 'a: {nat: linux}'"}
	case err != nil:
		return nil, syntaxError(err)
	}
	var more yaml.Node
	switch err := dec.Decode(&more); {
	case err == nil:
		return nil, &FileError{Line: more.Line, What: "a second document: a file holds one scenario"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(err)
	}
	var s Scenario
	d := decoder{lines: map[string]int{}}
	d.scenario(doc.Content[0], &s)
	for _, p := range s.check() {
		if !d.failed(p.key) {
			d.errs = append(d.errs, &FileError{Line: d.line(p.key), Key: p.key, What: p.what})
		}
	}
	if len(d.errs) == 0 {
		return &s, nil
	}
	slices.SortStableFunc(d.errs, func(a, b *FileError) int { return a.Line - b.Line })
	errs := make([]error, len(d.errs))
	for i, e := range d.errs {
		errs[i] = e
	}
	return nil, errors.Join(errs...)
}

// syntaxError turns "yaml: line 3: did not find ..." into a FileError.
func syntaxError(err error) error {
	what := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(what, "line "); ok {
		if n, text, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(n); err == nil {
				return &FileError{Line: line, What: text}
			}
		}
	}
	return &FileError{What: what}
}

// decoder fills a scenario from the nodes of a document, remembers the line of
// each key and collects what is wrong.
type decoder struct {
	lines map[string]int
	errs  []*FileError
}

// field is a key of a mapping and what reads its value.
type field struct {
	name string
	read func(n *yaml.Node, key string)
}

func (d *decoder) scenario(n *yaml.Node, s *Scenario) {
	site := func(s *Site) func(*yaml.Node, string) {
		return func(n *yaml.Node, key string) { d.site(n, key, s) }
	}
	d.mapping(n, "", []field{
		{"name", text(d, &s.Name)},
		{"family", text(d, &s.Family)},
		{"a", site(&s.A)},
		{"b", site(&s.B)},
		{"link", func(n *yaml.Node, key string) { d.link(n, key, &s.Link) }},
	})
}

func (d *decoder) site(n *yaml.Node, key string, s *Site) {
	d.mapping(n, key, []field{
		{"nat", func(n *yaml.Node, key string) { d.nat(n, key, &s.NAT) }},
		{"subscribers", func(n *yaml.Node, key string) { d.number(n, key, &s.Subscribers) }},
		{"addresses", func(n *yaml.Node, key string) { d.number(n, key, &s.Addresses) }},
		{"cross-traffic", func(n *yaml.Node, key string) { d.decimal(n, key, "a number of SYNs a second", &s.CrossTraffic) }},
		{"clock", func(n *yaml.Node, key string) { d.duration(n, key, &s.Clock) }},
	})
}

func (d *decoder) link(n *yaml.Node, key string, l *Link) {
	one := func(to **time.Duration) func(*yaml.Node, string) {
		return func(n *yaml.Node, key string) {
			*to = new(time.Duration)
			d.duration(n, key, *to)
		}
	}
	d.mapping(n, key, []field{
		{"delay", func(n *yaml.Node, key string) { d.duration(n, key, &l.Delay) }},
		{"ab", one(&l.AB)},
		{"ba", one(&l.BA)},
		{"jitter", func(n *yaml.Node, key string) { d.duration(n, key, &l.Jitter) }},
		{"loss", func(n *yaml.Node, key string) { d.decimal(n, key, "a probability such as 0.01", &l.Loss) }},
		{"faults", func(n *yaml.Node, key string) {
			if n.Kind != yaml.SequenceNode {
				d.fail(n, key, "want a list, such as [{direction: ab, packet: 1, action: lose}]")
				return
			}
			for i, item := range n.Content {
				l.Faults = append(l.Faults, Fault{})
				d.fault(item, fmt.Sprintf("%s[%d]", key, i), &l.Faults[i])
			}
		}},
	})
}

func (d *decoder) fault(n *yaml.Node, key string, f *Fault) {
	d.mapping(n, key, []field{
		{"direction", text(d, &f.Direction)},
		{"packet", func(n *yaml.Node, key string) { d.number(n, key, &f.Packet) }},
		{"action", text(d, &f.Action)},
		{"behind", func(n *yaml.Node, key string) { d.number(n, key, &f.Behind) }},
	})
}

// mapping gives each value of a mapping to the field of its key.
func (d *decoder) mapping(n *yaml.Node, key string, fields []field) {
	d.lines[key] = n.Line
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return // 'link:' with nothing behind it: the default
	}
	var names []string
	for _, f := range fields {
		names = append(names, f.name)
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, key, "want keys and values (%s)", strings.Join(names, ", "))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		path := k.Value
		if key != "" {
			path = key + "." + k.Value
		}
		at := slices.Index(names, k.Value)
		switch _, seen := d.lines[path]; {
		case k.Kind != yaml.ScalarNode || at < 0:
			d.fail(k, path, "unknown key: want %s", strings.Join(names, ", "))
		case seen:
			d.fail(k, path, "the key stands here a second time")
		default:
			d.lines[path] = k.Line
			fields[at].read(v, path)
		}
	}
}

// text returns a reader of a string.
func text[T ~string](d *decoder, to *T) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
			d.fail(n, key, "want text%s", quoted(n))
			return
		}
		*to = T(n.Value)
	}
}

func (d *decoder) number(n *yaml.Node, key string, to *int) {
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
		d.fail(n, key, "want a whole number%s", quoted(n))
		return
	}
	*to = v
}

// decimal reads a number that need not be whole.
func (d *decoder) decimal(n *yaml.Node, key, want string, to *float64) {
	v, err := strconv.ParseFloat(n.Value, 64)
	if tag := n.ShortTag(); n.Kind != yaml.ScalarNode || tag != "!!int" && tag != "!!float" || err != nil {
		d.fail(n, key, "want %s%s", want, quoted(n))
		return
	}
	*to = v
}

// duration reads what time.ParseDuration reads. A bare number other than 0 has no
// unit and is refused.
func (d *decoder) duration(n *yaml.Node, key string, to *time.Duration) {
	v, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.fail(n, key, "want a duration with its unit, such as 20ms or 300us%s", quoted(n))
		return
	}
	*to = v
}

func (d *decoder) fail(n *yaml.Node, key, format string, args ...any) {
	d.errs = append(d.errs, &FileError{Line: n.Line, Key: key, What: fmt.Sprintf(format, args...)})
}

// failed reports whether the value at key, or a part of it, could not be read, so
// that a further complaint about it would mislead.
func (d *decoder) failed(key string) bool {
	return slices.ContainsFunc(d.errs, func(e *FileError) bool {
		rest, ok := strings.CutPrefix(e.Key, key)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// line is where key stands, or the nearest key around it.
func (d *decoder) line(key string) int {
	for {
		if n, ok := d.lines[key]; ok {
			return n
		}
		i := strings.LastIndexByte(key, '.')
		if i < 0 {
			return d.lines[""]
		}
		key = key[:i]
	}
}

// quoted is ", not VALUE" for a value that is one word.
func quoted(n *yaml.Node) string {
	switch n.Kind {
	case yaml.AliasNode:
		return " (aliases are not read)"
	case yaml.ScalarNode:
		return fmt.Sprintf(", not %q", n.Value)
	}
	return ""
}

// Write writes the scenario as a file that Load reads back to the same value.
func (s *Scenario) Write(w io.Writer) error {
	if err := s.Validate(); err != nil {
		return err
	}
	type site struct {
		NAT          string  `yaml:"nat,omitempty"`
		Subscribers  int     `yaml:"subscribers,omitempty"`
		Addresses    int     `yaml:"addresses,omitempty"`
		CrossTraffic float64 `yaml:"cross-traffic,omitempty"`
		Clock        string  `yaml:"clock,omitempty"`
	}
	type fault struct {
		Direction Direction `yaml:"direction"`
		Packet    int       `yaml:"packet"`
		Action    Action    `yaml:"action"`
		Behind    int       `yaml:"behind,omitempty"`
	}
	type link struct {
		Delay  string  `yaml:"delay,omitempty"`
		AB     string  `yaml:"ab,omitempty"`
		BA     string  `yaml:"ba,omitempty"`
		Jitter string  `yaml:"jitter,omitempty"`
		Loss   float64 `yaml:"loss,omitempty"`
		Faults []fault `yaml:"faults,omitempty"`
	}
	nonzero := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return d.String()
	}
	of := func(s *Site) site {
		return site{s.NAT, s.Subscribers, s.Addresses, s.CrossTraffic, nonzero(s.Clock)}
	}
	l := link{Delay: nonzero(s.Link.Delay), Jitter: nonzero(s.Link.Jitter), Loss: s.Link.Loss}
	if s.Link.AB != nil {
		l.AB = s.Link.AB.String()
	}
	if s.Link.BA != nil {
		l.BA = s.Link.BA.String()
	}
	for _, f := range s.Link.Faults {
		l.Faults = append(l.Faults, fault(f))
	}
	text, err := yaml.Marshal(struct {
		Name   string `yaml:"name,omitempty"`
		Family string `yaml:"family,omitempty"`
		A      site   `yaml:"a"`
		B      site   `yaml:"b"`
		Link   link   `yaml:"link"`
	}{s.Name, s.Family, of(&s.A), of(&s.B), l})
	if err != nil {
		return fmt.Errorf("write the scenario: %w", err)
	}
	_, err = w.Write(text)
	return err
}
