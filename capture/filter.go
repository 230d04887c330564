package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
)

// ErrFilter says that a filter expression is not one that CompileFilter
// understands.
var ErrFilter = errors.New("not a filter that is understood")

// CompileFilter makes Config.Filter from words, a part of what tcpdump
// understands (pcap-filter(7)), with the same meaning:
//
//	ip  ip6  tcp  udp  icmp  icmp6
//	[ip|ip6] [src|dst|src or dst|src and dst] host ADDRESS
//	[ip|ip6] [src|dst|...] net ADDRESS/BITS
//	[tcp|udp] [src|dst|...] port NUMBER
//	[tcp|udp] [src|dst|...] portrange NUMBER-NUMBER
//	and &&, or ||, not !, ( )
//
// As there, 'not' binds most and 'and' and 'or' bind alike, from left to right;
// a value alone repeats the words before the last one: 'port 80 or 443'. Ports are
// those of TCP, UDP and SCTP; only the first fragment of a packet has them, and
// in IPv6 only a packet without extension headers.
//
// Names of hosts, networks, services and devices, link layer addresses, and
// 'proto[offset]' are not understood. The empty expression is nil: every packet.
// The program sees a packet from its IP header on. Errors match ErrFilter and
// name the word.
func CompileFilter(expression string) ([]bpf.RawInstruction, error) {
	p := &filterParser{words: filterWords(expression)}
	if len(p.words) == 0 {
		return nil, nil
	}
	n, err := p.expression(0)
	if err == nil && len(p.words) > 0 {
		err = p.wrong("%q does not belong here", p.words[0])
	}
	if err != nil {
		return nil, fmt.Errorf("capture: filter %q: %w", expression, err)
	}
	c := &filterCode{}
	c.emit(n, accept, reject)
	raw, err := c.assemble()
	if err != nil {
		return nil, fmt.Errorf("capture: filter %q: %w", expression, err)
	}
	return raw, nil
}

// filterWords splits an expression.
func filterWords(s string) []string {
	for _, op := range []string{"(", ")", "&&", "||", "!"} {
		s = strings.ReplaceAll(s, op, " "+op+" ")
	}
	words := strings.Fields(s)
	for i, w := range words {
		switch w {
		case "&&":
			words[i] = "and"
		case "||":
			words[i] = "or"
		case "!":
			words[i] = "not"
		}
	}
	return words
}

// filterNode is a part of an expression: a test, or parts put together.
type filterNode struct {
	op          string // "and", "or", "not", "test"
	left, right *filterNode
	test        filterTest
}

// filterTest is one primitive.
type filterTest struct {
	proto    string // "", ip, ip6, tcp, udp, icmp, icmp6
	dir      string // "src", "dst", "src or dst", "src and dst"
	kind     string // "" = protocol alone, host, net, port, portrange
	net      netip.Prefix
	from, to uint16
}

type filterParser struct {
	words []string
	last  *filterTest // what a value alone repeats
}

const maxFilterDepth = 50 // chosen by us: deeper is a mistake

func (p *filterParser) wrong(format string, args ...any) error {
	return fmt.Errorf("%w: "+format+" (understood: tcp, udp, icmp, icmp6, ip, ip6, host, net, port, portrange, src, dst, and, or, not, parentheses)",
		append([]any{ErrFilter}, args...)...)
}

func (p *filterParser) peek() string {
	if len(p.words) == 0 {
		return ""
	}
	return p.words[0]
}

func (p *filterParser) take() string {
	w := p.peek()
	if w != "" {
		p.words = p.words[1:]
	}
	return w
}

// expression is terms joined by and and or, from left to right.
func (p *filterParser) expression(depth int) (*filterNode, error) {
	left, err := p.term(depth)
	for err == nil && (p.peek() == "and" || p.peek() == "or") {
		op := p.take()
		var right *filterNode
		right, err = p.term(depth)
		left = &filterNode{op: op, left: left, right: right}
	}
	return left, err
}

func (p *filterParser) term(depth int) (*filterNode, error) {
	if depth > maxFilterDepth {
		return nil, p.wrong("too many parentheses")
	}
	switch p.peek() {
	case "not":
		p.take()
		n, err := p.term(depth + 1)
		return &filterNode{op: "not", left: n}, err
	case "(":
		p.take()
		n, err := p.expression(depth + 1)
		if err == nil && p.take() != ")" {
			err = p.wrong("a parenthesis is not closed")
		}
		return n, err
	}
	t, err := p.primitive()
	return &filterNode{op: "test", test: t}, err
}

// primitive reads one test.
func (p *filterParser) primitive() (filterTest, error) {
	var t filterTest
	t.dir = "src or dst"
	words := 0
	switch p.peek() {
	case "ip", "ip6", "tcp", "udp", "icmp", "icmp6":
		t.proto = p.take()
		words++
	}
	if p.peek() == "src" || p.peek() == "dst" {
		t.dir = p.take()
		words++
		if len(p.words) > 1 && (p.words[0] == "or" || p.words[0] == "and") && (p.words[1] == "src" || p.words[1] == "dst") && p.words[1] != t.dir {
			t.dir = "src " + p.words[0] + " dst"
			p.words = p.words[2:]
		}
	}
	switch p.peek() {
	case "host", "net", "port", "portrange":
		t.kind = p.take()
	case "", "and", "or", "not", ")":
		if words == 0 {
			return t, p.wrong("something is missing at the end, or before %q", p.peek())
		}
		if t.dir != "src or dst" {
			return t, p.wrong("%q needs an address or a port", t.dir)
		}
		return t, nil
	default:
		switch {
		case words == 0 && p.last == nil:
			return t, p.wrong("%q", p.peek())
		case words == 0:
			t = *p.last
		default:
			t.kind = "host" // 'src 192.0.2.1'
		}
	}
	value := p.take()
	if err := p.value(&t, value); err != nil {
		return t, err
	}
	p.last = &t
	return t, nil
}

// value reads what a test compares with.
func (p *filterParser) value(t *filterTest, s string) error {
	bad := func(want string) error {
		if s == "" {
			return p.wrong("%q needs %s", t.kind, want)
		}
		return p.wrong("%q is not %s", s, want)
	}
	switch t.kind {
	case "host", "net":
		net, err := netip.ParsePrefix(s)
		if addr, e := netip.ParseAddr(s); e == nil && t.kind == "host" {
			net, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		} else if t.kind == "host" {
			return bad("an IP address; names are not looked up")
		}
		if err != nil {
			return bad("a network such as 192.0.2.0/24")
		}
		if net != net.Masked() {
			return p.wrong("%q has bits beyond its length: %v?", s, net.Masked())
		}
		if net.Addr().Zone() != "" || net.Addr().Is4In6() {
			return bad("a plain IP address")
		}
		v6 := net.Addr().Is6()
		if _, ok := protocolNumbers[t.proto]; ok {
			return p.wrong("%s does not go with %s: 'tcp and host %s'", t.proto, t.kind, s)
		}
		if t.proto == "ip" && v6 || t.proto == "ip6" && !v6 {
			return p.wrong("%q is not an address of %s", s, t.proto)
		}
		t.net = net
	case "port", "portrange":
		from, to, isRange := strings.Cut(s, "-")
		if !isRange {
			to = from
		} else if t.kind == "port" {
			return bad("a port number; a range is 'portrange A-B'")
		}
		x, err1 := strconv.ParseUint(from, 10, 16)
		y, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || x > y {
			return bad("a port number from 0 to 65535; names are not looked up")
		}
		if t.proto == "icmp" || t.proto == "icmp6" {
			return p.wrong("%s has no ports", t.proto)
		}
		t.from, t.to = uint16(x), uint16(y)
	}
	return nil
}

// label is a place in the program to jump to.
type label int

const (
	accept label = iota
	reject
	firstLabel
)

// filterCode is a program under construction: tests jump to labels.
type filterCode struct {
	list   []filterInstruction
	labels label // in use, besides accept and reject
	at     map[label]int
}

type filterInstruction struct {
	ins     bpf.Instruction
	jump    bool
	yes, no label
	cond    bpf.JumpTest
	val     uint32
}

func (c *filterCode) newLabel() label {
	c.labels++
	return firstLabel + c.labels
}

func (c *filterCode) here(l label) {
	if c.at == nil {
		c.at = make(map[label]int)
	}
	c.at[l] = len(c.list)
}

func (c *filterCode) load(ins bpf.Instruction) { c.list = append(c.list, filterInstruction{ins: ins}) }

func (c *filterCode) jump(cond bpf.JumpTest, val uint32, yes, no label) {
	c.list = append(c.list, filterInstruction{jump: true, cond: cond, val: val, yes: yes, no: no})
}

// emit writes the code of a part that goes on at one of two labels.
func (c *filterCode) emit(n *filterNode, yes, no label) {
	switch n.op {
	case "not":
		c.emit(n.left, no, yes)
	case "and":
		more := c.newLabel()
		c.emit(n.left, more, no)
		c.here(more)
		c.emit(n.right, yes, no)
	case "or":
		more := c.newLabel()
		c.emit(n.left, yes, more)
		c.here(more)
		c.emit(n.right, yes, no)
	default:
		c.test(&n.test, yes, no)
	}
}

// test writes a primitive: for each version of IP that it may be about.
func (c *filterCode) test(t *filterTest, yes, no label) {
	v4 := t.proto != "ip6" && t.proto != "icmp6"
	v6 := t.proto != "ip" && t.proto != "icmp"
	if t.kind == "host" || t.kind == "net" {
		v4, v6 = v4 && t.net.Addr().Is4(), v6 && t.net.Addr().Is6()
	}
	is4, other := c.newLabel(), c.newLabel()
	c.load(bpf.LoadAbsolute{Off: 0, Size: 1})
	c.load(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	c.jump(bpf.JumpEqual, 4, is4, other)
	c.here(is4)
	if v4 {
		c.version(t, yes, no, 9, 20)
	} else {
		c.always(no)
	}
	c.here(other)
	if !v6 {
		c.always(no)
		return
	}
	is6 := c.newLabel()
	c.jump(bpf.JumpEqual, 6, is6, no)
	c.here(is6)
	c.version(t, yes, no, 6, 40)
}

// always goes on at a label.
func (c *filterCode) always(l label) { c.jump(bpf.JumpGreaterOrEqual, 0, l, l) }

// protocolNumbers are IANA's.
var protocolNumbers = map[string]uint32{"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58}

// version writes a primitive for one version: proto is where the protocol
// stands, size the length of an IPv6 header or the least of IPv4.
func (c *filterCode) version(t *filterTest, yes, no label, proto, size uint32) {
	if want, ok := protocolNumbers[t.proto]; ok {
		is := c.newLabel()
		c.load(bpf.LoadAbsolute{Off: proto, Size: 1})
		c.jump(bpf.JumpEqual, want, is, no)
		c.here(is)
	}
	switch t.kind {
	case "":
		c.always(yes)
	case "host", "net":
		first, length := uint32(12), uint32(4)
		if size == 40 {
			first, length = 8, 16
		}
		c.both(t.dir, yes, no, func(which uint32, yes, no label) { c.address(t.net, first+which*length, yes, no) })
	default:
		c.ports(t, yes, no, proto, size)
	}
}

// both asks about source (0), destination (1), or both.
func (c *filterCode) both(dir string, yes, no label, ask func(which uint32, yes, no label)) {
	switch dir {
	case "src":
		ask(0, yes, no)
	case "dst":
		ask(1, yes, no)
	case "src and dst":
		more := c.newLabel()
		ask(0, more, no)
		c.here(more)
		ask(1, yes, no)
	default:
		more := c.newLabel()
		ask(0, yes, more)
		c.here(more)
		ask(1, yes, no)
	}
}

// address compares the bits of a network at an offset, a word at a time.
func (c *filterCode) address(net netip.Prefix, off uint32, yes, no label) {
	b := net.Addr().AsSlice()
	bits := net.Bits()
	for i := 0; i < len(b) && bits > 0; i, bits = i+4, bits-32 {
		word := binary.BigEndian.Uint32(b[i:])
		c.load(bpf.LoadAbsolute{Off: off + uint32(i), Size: 4})
		if bits < 32 {
			c.load(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(0) << (32 - bits)})
		}
		more := c.newLabel()
		c.jump(bpf.JumpEqual, word, more, no)
		c.here(more)
	}
	c.always(yes)
}

func (c *filterCode) ports(t *filterTest, yes, no label, proto, size uint32) {
	if _, named := protocolNumbers[t.proto]; !named {
		has := c.newLabel()
		c.load(bpf.LoadAbsolute{Off: proto, Size: 1})
		for i, n := range []uint32{6, 17, 132} { // TCP, UDP, SCTP
			next := c.newLabel()
			if i == 2 {
				c.jump(bpf.JumpEqual, n, has, no)
				break
			}
			c.jump(bpf.JumpEqual, n, has, next)
			c.here(next)
		}
		c.here(has)
	}
	load := func(which uint32) { c.load(bpf.LoadAbsolute{Off: size + 2*which, Size: 2}) }
	if size == 20 {
		first := c.newLabel()
		c.load(bpf.LoadAbsolute{Off: 6, Size: 2})
		c.jump(bpf.JumpBitsSet, 0x1fff, no, first) // a later fragment
		c.here(first)
		load = func(which uint32) {
			c.load(bpf.LoadMemShift{Off: 0})
			c.load(bpf.LoadIndirect{Off: 2 * which, Size: 2})
		}
	}
	c.both(t.dir, yes, no, func(which uint32, yes, no label) {
		load(which)
		if t.from == t.to {
			c.jump(bpf.JumpEqual, uint32(t.from), yes, no)
			return
		}
		more := c.newLabel()
		c.jump(bpf.JumpGreaterOrEqual, uint32(t.from), more, no)
		c.here(more)
		c.jump(bpf.JumpLessOrEqual, uint32(t.to), yes, no)
	})
}

// assemble resolves the labels. A jump reaches 255 instructions.
func (c *filterCode) assemble() ([]bpf.RawInstruction, error) {
	c.here(accept)
	c.load(bpf.RetConstant{Val: maxSnaplen})
	c.here(reject)
	c.load(bpf.RetConstant{Val: 0})
	prog := make([]bpf.Instruction, len(c.list))
	for i, f := range c.list {
		if !f.jump {
			prog[i] = f.ins
			continue
		}
		yes, no := c.at[f.yes]-i-1, c.at[f.no]-i-1
		if f.yes == f.no {
			prog[i] = bpf.Jump{Skip: uint32(yes)}
			continue
		}
		if yes > 255 || no > 255 {
			return nil, fmt.Errorf("%w: it is too long", ErrFilter)
		}
		prog[i] = bpf.JumpIf{Cond: f.cond, Val: f.val, SkipTrue: uint8(yes), SkipFalse: uint8(no)}
	}
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFilter, err)
	}
	return raw, nil
}
