package punch

import (
	"golang.org/x/net/bpf"

	"github.com/synpunch/synpunch/rawtcp"
)

// Given by include/uapi/linux/if_packet.h, include/uapi/linux/in.h and the headers.
const (
	packetOutgoing = 4
	protoICMP      = 1
	protoTCP       = 6
	protoICMPv6    = 58
	ipv6Header     = 40
	icmpToPorts    = 8 + 20 // from an ICMP error to the ports that it quotes, if the IP header there has no options
)

// instruction is one of a filter. yes and no are labels to go on at, of a JumpIf; empty is the
// next instruction.
type instruction struct {
	label string
	do    bpf.Instruction
	yes   string
	no    string
}

// fanFilter goes before a FlowFilter of the two addresses. It leaves out our own SYNs,
// which are many, all TCP on other local ports than those of the fan-out, and
// of RSTs and ICMP errors all but a sample; what comes for the probe's port stays.
func fanFilter(p *Plan) ([]bpf.RawInstruction, error) {
	lo := uint32(p.Local.Port())
	hi, probe := lo+uint32(p.FanOut.LocalPorts-1), uint32(p.probe)
	protocol, icmp := uint32(9), uint32(protoICMP)
	header := bpf.Instruction(bpf.LoadMemShift{Off: 0}) // X = length of the IP header
	if p.Local.Addr().Is6() {
		protocol, icmp = 6, protoICMPv6
		header = bpf.LoadConstant{Dst: bpf.RegX, Val: ipv6Header}
	}
	is := func(v uint32) bpf.Instruction { return bpf.JumpIf{Cond: bpf.JumpEqual, Val: v} }
	below := bpf.JumpIf{Cond: bpf.JumpLessThan, Val: lo}
	above := bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: hi}
	flags := bpf.LoadIndirect{Off: 13, Size: 1}
	return assemble([]instruction{
		{do: bpf.LoadAbsolute{Off: protocol, Size: 1}},
		{do: is(icmp), yes: "icmp"},
		{do: is(protoTCP), no: "on"},
		{do: header},
		{do: bpf.LoadExtension{Num: bpf.ExtType}},
		{do: is(packetOutgoing), yes: "out"},

		{do: bpf.LoadIndirect{Off: 2, Size: 2}}, // destination port
		{do: is(probe), yes: "on"},
		{do: below, yes: "drop"},
		{do: above, yes: "drop"},
		{do: flags},
		{do: bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: uint32(rawtcp.RST)}, yes: "sample", no: "on"},

		{label: "out", do: bpf.LoadIndirect{Off: 0, Size: 2}}, // source port
		{do: below, yes: "drop"},
		{do: above, yes: "drop"},
		{do: flags},
		{do: bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: uint32(rawtcp.SYN | rawtcp.ACK)}},
		{do: is(uint32(rawtcp.SYN)), yes: "drop", no: "on"},

		{label: "icmp", do: header},
		{do: bpf.LoadIndirect{Off: icmpToPorts, Size: 2}},
		{do: is(probe), yes: "on"},

		{label: "sample", do: bpf.LoadExtension{Num: bpf.ExtRand}},
		{do: bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: uint32(p.answerSample() - 1)}},
		{do: is(0), yes: "on"},
		{label: "drop", do: bpf.RetConstant{}},
		{label: "on"},
	})
}

// assemble turns labels, which are all further down, into distances. A label without an
// instruction is the end.
func assemble(list []instruction) ([]bpf.RawInstruction, error) {
	at := map[string]int{}
	for i := range list {
		at[list[i].label] = i
	}
	var program []bpf.Instruction
	for i, s := range list {
		skip := func(label string) uint8 {
			if label == "" {
				return 0
			}
			return uint8(at[label] - i - 1)
		}
		switch do := s.do.(type) {
		case nil:
		case bpf.JumpIf:
			do.SkipTrue, do.SkipFalse = skip(s.yes), skip(s.no)
			program = append(program, do)
		default:
			program = append(program, do)
		}
	}
	return bpf.Assemble(program)
}
