package rawtcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
)

const (
	// filterAccept is how much of an accepted packet to keep: all of it, since
	// nothing on a link is longer (tcpdump's default, too).
	filterAccept = 0x40000

	// maxFilterExtensions is how many IPv6 extension headers the filter
	// follows. Chosen by us: classic BPF has no loops, each one costs a dozen
	// instructions, and TCP behind more than three has not been seen.
	maxFilterExtensions = 3
)

// FlowFilter returns a classic BPF program that accepts the packets of one TCP
// flow, for a cooked (SOCK_DGRAM) packet socket, where offset 0 is the IP
// header:
//
//   - TCP segments from local to remote and from remote to local;
//   - ICMP and ICMPv6 errors that quote one of those, whoever sent them: every
//     type that ParseICMP reads, as long as both ports are quoted.
//
// A port 0, an unspecified address (0.0.0.0, ::) and an invalid AddrPort stand
// for any. If neither address tells the family, both are accepted. Mixed
// families and IPv4-mapped IPv6 addresses are an error.
//
// Fragments other than the first are left out. IPv4 options and up to three
// IPv6 extension headers are skipped; a quoted IPv6 packet must have none.
// The program only selects: what it accepts has still to be parsed, and may be
// malformed or have a wrong checksum.
func FlowFilter(local, remote netip.AddrPort) ([]bpf.RawInstruction, error) {
	l, r := local.Addr(), remote.Addr()
	if l.Is4In6() || r.Is4In6() {
		return nil, fmt.Errorf("rawtcp: filter for %v and %v: IPv4-mapped address (netip.Addr.Unmap)", local, remote)
	}
	if l.IsValid() && r.IsValid() && l.Is4() != r.Is4() {
		return nil, fmt.Errorf("rawtcp: filter for %v and %v: one is IPv4, the other IPv6", local, remote)
	}
	want4 := !l.Is6() && !r.Is6()
	want6 := !l.Is4() && !r.Is4()

	var p filterProgram
	p.load(0, 1)
	p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
	v6 := p.label()
	if want4 {
		p.unless(0x40, v6)
		p.ipv4(local, remote)
	}
	p.place(v6)
	if want6 {
		reject := p.label()
		p.unless(0x60, reject)
		p.ipv6(local, remote)
		p.place(reject)
	}
	p.add(bpf.RetConstant{Val: 0})
	return p.assemble()
}

func (p *filterProgram) ipv4(local, remote netip.AddrPort) {
	icmp, reject := p.label(), p.label()
	p.load(6, 2)
	p.when(fragOffsetMask, bpf.JumpBitsSet, reject)
	p.add(bpf.LoadMemShift{Off: 0}) // X = length of the IP header
	p.load(9, 1)
	p.unless(protoTCP, icmp)
	p.bothWays(local, remote, flowFields{src: p.at(12), dst: p.at(16), srcPort: p.atX(0), dstPort: p.atX(2)})

	p.place(icmp)
	p.unless(protoICMP, reject)
	p.loadX(0, 1)
	p.oneOf(reject, icmpUnreachable, icmpTimeExceeded, icmpParameter)
	const quoted = icmpHeader
	p.loadX(quoted, 1)
	p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
	p.unless(0x40, reject)
	p.loadX(quoted+9, 1)
	p.unless(protoTCP, reject)
	p.loadX(quoted+6, 2)
	p.when(fragOffsetMask, bpf.JumpBitsSet, reject)
	// M[0] = length of the outer header, M[1] = of both headers
	p.add(bpf.StoreScratch{Src: bpf.RegX, N: 0})
	p.loadX(quoted, 1)
	p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x0f})
	p.add(bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2})
	p.add(bpf.ALUOpX{Op: bpf.ALUOpAdd})
	p.add(bpf.StoreScratch{Src: bpf.RegA, N: 1})
	p.bothWays(local, remote, flowFields{
		src: p.atScratch(0, quoted+12), dst: p.atScratch(0, quoted+16),
		srcPort: p.atScratch(1, quoted), dstPort: p.atScratch(1, quoted+2),
	})
	p.place(reject)
	p.add(bpf.RetConstant{Val: 0})
}

func (p *filterProgram) ipv6(local, remote netip.AddrPort) {
	tcp, icmp, reject := p.label(), p.label(), p.label()
	// X is how many bytes of extension headers have been skipped, A is the
	// number of the header that follows them.
	p.add(bpf.LoadConstant{Dst: bpf.RegX, Val: 0})
	p.load(6, 1)
	for range maxFilterExtensions {
		skip, fragment, next := p.label(), p.label(), p.label()
		p.when(protoTCP, bpf.JumpEqual, tcp)
		p.when(protoICMPv6, bpf.JumpEqual, icmp)
		p.when(extFragment, bpf.JumpEqual, fragment)
		p.when(extHopByHop, bpf.JumpEqual, skip)
		p.when(extDestOpts, bpf.JumpEqual, skip)
		p.unless(extRouting, reject)
		p.loadX(ipv6Header+3, 1) // segments left, as in skipExtensions
		p.unless(0, reject)
		p.place(skip)
		p.loadX(ipv6Header, 1)
		p.add(bpf.StoreScratch{Src: bpf.RegA, N: 0})
		p.loadX(ipv6Header+1, 1)
		p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 1})
		p.add(bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3})
		p.goTo(next)
		p.place(fragment)
		p.loadX(ipv6Header+2, 2)
		p.when(frag6OffsetMask, bpf.JumpBitsSet, reject)
		p.loadX(ipv6Header, 1)
		p.add(bpf.StoreScratch{Src: bpf.RegA, N: 0})
		p.add(bpf.LoadConstant{Dst: bpf.RegA, Val: 8})
		p.place(next)
		p.add(bpf.ALUOpX{Op: bpf.ALUOpAdd})
		p.add(bpf.TAX{})
		p.add(bpf.LoadScratch{Dst: bpf.RegA, N: 0})
	}
	p.when(protoICMPv6, bpf.JumpEqual, icmp)
	p.unless(protoTCP, reject)
	p.place(tcp)
	p.bothWays(local, remote, flowFields{src: p.at(8), dst: p.at(24), srcPort: p.atX(ipv6Header), dstPort: p.atX(ipv6Header + 2)})

	p.place(icmp)
	p.loadX(ipv6Header, 1)
	p.oneOf(reject, icmp6Unreachable, icmp6TooBig, icmp6TimeExceeded, icmp6Parameter)
	const quoted = ipv6Header + icmpHeader
	p.loadX(quoted, 1)
	p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
	p.unless(0x60, reject)
	p.loadX(quoted+6, 1)
	p.unless(protoTCP, reject)
	p.bothWays(local, remote, flowFields{
		src: p.atX(quoted + 8), dst: p.atX(quoted + 24),
		srcPort: p.atX(quoted + ipv6Header), dstPort: p.atX(quoted + ipv6Header + 2),
	})
	p.place(reject)
	p.add(bpf.RetConstant{Val: 0})
}

// filterProgram writes classic BPF with forward jumps to labels.
type filterProgram struct {
	prog   []bpf.Instruction
	labels []int // where each one is
	jumps  []filterJump
}

type filterJump struct {
	at      int // index in prog
	toTrue  filterLabel
	toFalse filterLabel
}

type filterLabel int

const nextInstruction filterLabel = -1

// flowFields says how to load the fields that name a flow; for addresses, n is
// which of the 32-bit words.
type flowFields struct {
	src, dst, srcPort, dstPort func(n uint32, size int)
}

// bothWays accepts what matches the flow in either direction and falls through
// to nothing: it ends with a return.
func (p *filterProgram) bothWays(local, remote netip.AddrPort, f flowFields) {
	other := p.label()
	p.acceptFrom(local, remote, f, other)
	p.place(other)
	reject := p.label()
	p.acceptFrom(remote, local, f, reject)
	p.place(reject)
	p.add(bpf.RetConstant{Val: 0})
}

// acceptFrom accepts a segment from src to dst and jumps to no otherwise.
func (p *filterProgram) acceptFrom(src, dst netip.AddrPort, f flowFields, no filterLabel) {
	address := func(a netip.Addr, load func(n uint32, size int)) {
		if !a.IsValid() || a.IsUnspecified() {
			return
		}
		for n, b := uint32(0), a.AsSlice(); len(b) > 0; n, b = n+1, b[4:] {
			load(n, 4)
			p.unless(binary.BigEndian.Uint32(b), no)
		}
	}
	port := func(port uint16, load func(n uint32, size int)) {
		if port == 0 {
			return
		}
		load(0, 2)
		p.unless(uint32(port), no)
	}
	// Ports first: they tell flows apart the soonest.
	port(src.Port(), f.srcPort)
	port(dst.Port(), f.dstPort)
	address(src.Addr(), f.src)
	address(dst.Addr(), f.dst)
	p.add(bpf.RetConstant{Val: filterAccept})
}

func (p *filterProgram) add(i bpf.Instruction) { p.prog = append(p.prog, i) }

func (p *filterProgram) load(off uint32, size int)  { p.add(bpf.LoadAbsolute{Off: off, Size: size}) }
func (p *filterProgram) loadX(off uint32, size int) { p.add(bpf.LoadIndirect{Off: off, Size: size}) }

func (p *filterProgram) at(off uint32) func(uint32, int) {
	return func(n uint32, size int) { p.load(off+4*n, size) }
}

func (p *filterProgram) atX(off uint32) func(uint32, int) {
	return func(n uint32, size int) { p.loadX(off+4*n, size) }
}

func (p *filterProgram) atScratch(slot int, off uint32) func(uint32, int) {
	return func(n uint32, size int) {
		p.add(bpf.LoadScratch{Dst: bpf.RegX, N: slot})
		p.loadX(off+4*n, size)
	}
}

func (p *filterProgram) label() filterLabel {
	p.labels = append(p.labels, -1)
	return filterLabel(len(p.labels) - 1)
}

func (p *filterProgram) place(l filterLabel) { p.labels[l] = len(p.prog) }

// when jumps if A compares so with val.
func (p *filterProgram) when(val uint32, cond bpf.JumpTest, to filterLabel) {
	p.jumps = append(p.jumps, filterJump{len(p.prog), to, nextInstruction})
	p.add(bpf.JumpIf{Cond: cond, Val: val})
}

// unless jumps if A is not val.
func (p *filterProgram) unless(val uint32, to filterLabel) {
	p.jumps = append(p.jumps, filterJump{len(p.prog), nextInstruction, to})
	p.add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: val})
}

// oneOf jumps if A is none of vals.
func (p *filterProgram) oneOf(no filterLabel, vals ...uint32) {
	yes := p.label()
	for _, v := range vals[:len(vals)-1] {
		p.when(v, bpf.JumpEqual, yes)
	}
	p.unless(vals[len(vals)-1], no)
	p.place(yes)
}

func (p *filterProgram) goTo(to filterLabel) {
	p.jumps = append(p.jumps, filterJump{len(p.prog), to, to})
	p.add(bpf.Jump{})
}

func (p *filterProgram) assemble() ([]bpf.RawInstruction, error) {
	skip := func(j filterJump, to filterLabel) (int, error) {
		if to == nextInstruction {
			return 0, nil
		}
		n := p.labels[to] - j.at - 1
		if n < 0 || n > 255 {
			return 0, fmt.Errorf("rawtcp: filter: a jump of %d instructions from %d", n, j.at)
		}
		return n, nil
	}
	for _, j := range p.jumps {
		yes, err := skip(j, j.toTrue)
		if err != nil {
			return nil, err
		}
		no, err := skip(j, j.toFalse)
		if err != nil {
			return nil, err
		}
		switch i := p.prog[j.at].(type) {
		case bpf.JumpIf:
			i.SkipTrue, i.SkipFalse = uint8(yes), uint8(no)
			p.prog[j.at] = i
		case bpf.Jump:
			i.Skip = uint32(yes)
			p.prog[j.at] = i
		}
	}
	raw, err := bpf.Assemble(p.prog)
	if err != nil {
		return nil, fmt.Errorf("rawtcp: filter: %w", err)
	}
	return raw, nil
}
