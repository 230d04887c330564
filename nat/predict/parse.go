package predict

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of Parse, chosen by us: a file beyond them is not a list of mappings.
const (
	maxLine = 64 << 10
	maxFile = 1 << 20 // observations
)

// ParseError is a line that is not an observation. errors.Is finds
// [ErrObservation] for a value that cannot be, and the cause of the rest.
type ParseError struct {
	Line  int    // from 1
	Field string // "" when the line as a whole is wrong
	Err   error
}

func (e *ParseError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("line %d: %v", e.Line, e.Err)
	}
	return fmt.Sprintf("line %d, field %q: %v", e.Line, e.Field, e.Err)
}

func (e *ParseError) Unwrap() error { return e.Err }

// fields are the names of a column or key, in the order of a CSV file without header.
var fields = []string{"time", "local", "dest", "external"}

// splitFields are the names for files that have address and port apart.
var splitFields = []string{"local_addr", "local_port", "dest_addr", "dest_port", "external_addr", "external_port"}

// Parse reads observations, one per line, as JSON objects or CSV; a first character
// { means JSON. docs/predict.md describes both. It is strict: unknown, missing and repeated
// fields and values out of range are errors, all of type *[ParseError] but those of r.
// Empty lines and lines that begin with # are skipped. An empty input
// gives no observations and no error.
func Parse(r io.Reader) ([]Observation, error) {
	in := bufio.NewReaderSize(r, maxLine)
	if bom, err := in.Peek(3); err == nil && bytes.Equal(bom, []byte("\ufeff")) {
		in.Discard(3)
	}
	p := &parser{in: in}
	for {
		line, err := p.line()
		if err == io.EOF {
			return p.obs, nil
		}
		if err != nil {
			return nil, err
		}
		if !p.begun {
			p.begun, p.json = true, line[0] == '{'
		}
		if p.json {
			err = p.jsonLine(line)
		} else {
			err = p.csvLine(line)
		}
		if err != nil {
			var known *ParseError
			if !errors.As(err, &known) {
				err = &ParseError{Line: p.n, Err: err}
			}
			return nil, err
		}
	}
}

type parser struct {
	in      *bufio.Reader
	n       int // of the line
	begun   bool
	json    bool
	columns []string // of CSV
	obs     []Observation
}

// line is the next line that says something, without space around it.
func (p *parser) line() ([]byte, error) {
	for {
		line, err := p.in.ReadSlice('\n')
		if len(line) > 0 {
			p.n++
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, &ParseError{Line: p.n, Err: fmt.Errorf("longer than %d bytes", maxLine)}
		case err != nil && err != io.EOF:
			return nil, fmt.Errorf("after line %d: %w", p.n, err)
		}
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			if len(p.obs) >= maxFile {
				return nil, &ParseError{Line: p.n, Err: fmt.Errorf("more than %d observations", maxFile)}
			}
			return line, nil
		}
		if err == io.EOF {
			return nil, io.EOF
		}
	}
}

func (p *parser) jsonLine(line []byte) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	rec := record{line: p.n}
	if tok, err := dec.Token(); err != nil {
		return jsonError(err)
	} else if tok != json.Delim('{') {
		return fmt.Errorf("want a JSON object, as in the lines before")
	}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return jsonError(err)
		}
		name := tok.(string) // a key: the decoder accepts nothing else
		value, err := dec.Token()
		if err != nil {
			return jsonError(err)
		}
		var text string
		switch v := value.(type) {
		case string:
			text = v
			if text == "" {
				return &ParseError{p.n, name, errors.New("empty: leave the key out")}
			}
		case json.Number:
			text = v.String()
		default:
			return &ParseError{p.n, name, errors.New("want a string or a number")}
		}
		if err := rec.set(name, text); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return jsonError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something stands behind the JSON object: one object per line")
	}
	return p.add(&rec)
}

func jsonError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON object does not end on this line")
	}
	return fmt.Errorf("not a JSON object: %w", err)
}

func (p *parser) csvLine(line []byte) error {
	r := csv.NewReader(bytes.NewReader(line))
	r.FieldsPerRecord = -1
	values, err := r.Read()
	if err != nil {
		var syntax *csv.ParseError
		if errors.As(err, &syntax) {
			err = syntax.Err
		}
		return fmt.Errorf("not CSV: %w", err)
	}
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
	}
	if p.columns == nil {
		if slices.ContainsFunc(values, isField) {
			return p.header(values)
		}
		p.columns = fields
	}
	if len(values) != len(p.columns) {
		return fmt.Errorf("%d values, want %d: %s", len(values), len(p.columns), strings.Join(p.columns, ","))
	}
	rec := record{line: p.n}
	for i, v := range values {
		if v == "" {
			continue
		}
		if err := rec.set(p.columns[i], v); err != nil {
			return err
		}
	}
	return p.add(&rec)
}

func isField(s string) bool { return slices.Contains(fields, s) || slices.Contains(splitFields, s) }

func (p *parser) header(names []string) error {
	for i, name := range names {
		switch {
		case !isField(name):
			return &ParseError{p.n, name, unknownField()}
		case slices.Contains(names[:i], name):
			return &ParseError{p.n, name, errors.New("twice")}
		}
	}
	for _, what := range []string{"local", "external"} {
		if !slices.Contains(names, what) && !slices.Contains(names, what+"_port") {
			return &ParseError{p.n, what, errors.New("no such column")}
		}
	}
	p.columns = names
	return nil
}

func unknownField() error {
	return fmt.Errorf("unknown; want %s, or %s", strings.Join(fields, ", "), strings.Join(splitFields, ", "))
}

func (p *parser) add(rec *record) error {
	o, err := rec.observation()
	if err != nil {
		return err
	}
	p.obs = append(p.obs, o)
	return nil
}

// record is a line while it is read.
type record struct {
	line int
	seen []string
	time time.Time
	ends [3]endpoint // local, dest, external
}

type endpoint struct {
	addr netip.Addr
	port uint16
	has  bool // the port
}

var endNames = [...]string{"local", "dest", "external"}

// set takes one field.
func (r *record) set(name, value string) error {
	fail := func(err error) error { return &ParseError{r.line, name, err} }
	if !isField(name) {
		return fail(unknownField())
	}
	if slices.Contains(r.seen, name) {
		return fail(errors.New("twice"))
	}
	r.seen = append(r.seen, name)
	if name == "time" {
		t, err := parseTime(value)
		if err != nil {
			return fail(err)
		}
		r.time = t
		return nil
	}
	which, part, split := strings.Cut(name, "_")
	end := &r.ends[slices.Index(endNames[:], which)]
	for _, s := range r.seen {
		if s != name && strings.HasPrefix(s, which) && (s == which || !split) {
			return fail(fmt.Errorf("there is %q too: one form or the other", s))
		}
	}
	var err error
	switch {
	case part == "addr":
		end.addr, err = parseAddr(value)
	case part == "port":
		end.port, err = parsePort(value)
		end.has = true
	default:
		*end, err = parseEndpoint(value)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

func (r *record) observation() (Observation, error) {
	var ap [3]netip.AddrPort
	for i, e := range r.ends {
		if !e.has && (i != 1 || e.addr.IsValid()) {
			return Observation{}, &ParseError{r.line, endNames[i], fmt.Errorf("missing port: %w", ErrObservation)}
		}
		ap[i] = netip.AddrPortFrom(e.addr, e.port)
	}
	return Observation{Time: r.time, Local: ap[0], Dest: ap[1], External: ap[2], Line: r.line}, nil
}

// ParseEndpoint reads IP:PORT, [IPv6]:PORT, :PORT or PORT; in the last two forms the address
// is missing (invalid). The port is 1 to 65535.
func ParseEndpoint(s string) (netip.AddrPort, error) {
	e, err := parseEndpoint(s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(e.addr, e.port), nil
}

func parseEndpoint(s string) (endpoint, error) {
	host, port := "", s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i+1:]
	}
	n, err := parsePort(port)
	if err != nil {
		return endpoint{}, fmt.Errorf("%q is not IP:PORT, :PORT or PORT: %w", s, err)
	}
	e := endpoint{port: n, has: true}
	if host == "" {
		return e, nil
	}
	inner, bracket := strings.CutPrefix(host, "[")
	if bracket {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed {
			return endpoint{}, fmt.Errorf("%q is not IP:PORT: the bracket does not close", s)
		}
	} else if strings.Contains(host, ":") {
		return endpoint{}, fmt.Errorf("%q is not IP:PORT: IPv6 is written [IP]:PORT", s)
	}
	if e.addr, err = parseAddr(inner); err != nil {
		return endpoint{}, err
	}
	if bracket && e.addr.Is4() {
		return endpoint{}, fmt.Errorf("%q is not IP:PORT: brackets are for IPv6", s)
	}
	return e, nil
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address; names are not looked up", s)
	}
	return a.Unmap(), nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q: want 1 to 65535: %w", s, ErrObservation)
	}
	return uint16(n), nil
}

// Years that a time may lie in: nanoseconds since 1970 fit into 64 bits, and nothing was observed before.
const minNanos = 100_000_000_000_000_000 // 1973

// parseTime reads RFC 3339, or the Unix time in nanoseconds.
func parseTime(s string) (time.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < minNanos {
			return time.Time{}, fmt.Errorf("%s: want Unix time in nanoseconds (19 digits) or RFC 3339", s)
		}
		return time.Unix(0, n).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither RFC 3339 (2026-01-01T12:00:00.5Z) nor Unix nanoseconds", s)
	}
	if y := t.Year(); y < 1973 || y > 2261 {
		return time.Time{}, fmt.Errorf("%q: the year must be 1973 to 2261", s)
	}
	return t.UTC(), nil
}
