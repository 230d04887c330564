package live

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/lab"
)

// tableName is what `nft list ruleset` shows in a NAT's namespace.
const tableName = "synpunch"

// admin is the code of 'communication administratively prohibited', RFC 1812 section 5.2.7.1.
const admin = 13

// ruleset builds the table of one NAT. It runs in the NAT's namespace.
type ruleset struct {
	c   *nftables.Conn
	t   *nftables.Table
	wan uint32 // interface index; what is not from there is from inside
}

// install makes the rules of a box of this kernel. wan is the index of its interface
// to the outside.
func install(box *boxPlan, v6 bool, wan int) error {
	if box.Kernel == lab.NATNone {
		return nil
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	family := nftables.TableFamilyIPv4
	if v6 {
		family = nftables.TableFamilyIPv6
	}
	r := &ruleset{c: c, t: c.AddTable(&nftables.Table{Family: family, Name: tableName}), wan: uint32(wan)}
	switch box.Kernel {
	case lab.NATLinux:
		r.input()
		r.forward(true)
		r.masquerade(false)
	case lab.NATLinuxRST:
		r.input(r.iif(r.wan), r.tcp(), exprs{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
		r.forward(true)
		r.masquerade(false)
	case lab.NATLinuxICMP:
		r.input(r.iif(r.wan), r.tcp(), exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: admin}})
		r.forward(true)
		r.masquerade(false)
	case lab.NATLinuxRandom:
		r.input()
		r.forward(true)
		r.masquerade(true)
	case lab.NATLinuxEIM:
		r.input()
		r.forward(false)
		r.oneToOne(box)
	case lab.NATLinuxAPDF:
		r.input()
		r.forward(true)
		r.oneToOne(box)
	case lab.NATFirewall:
		r.forward(true)
	default:
		return fmt.Errorf("no rules for NAT kind %q", box.Kernel)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("install the nftables rules of %q: %w", box.Kernel, err)
	}
	return nil
}

// exprs is a part of a rule.
type exprs []expr.Any

// input makes the chain for packets to the NAT itself: answers to its customers' flows that
// conntrack does not translate back end here. What comes unasked from outside is
// dropped, after the parts of refuse had their chance.
func (r *ruleset) input(refuse ...exprs) {
	drop := nftables.ChainPolicyDrop
	in := r.c.AddChain(&nftables.Chain{Name: "input", Table: r.t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	r.rule(in, r.state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
	r.rule(in, r.inside(), accept())
	if len(refuse) > 0 {
		r.rule(in, refuse...)
	}
}

// forward makes the chain for packets through the NAT. When stateful, new
// flows come from inside only, and what conntrack calls invalid passes in neither
// direction (it would leave untranslated).
func (r *ruleset) forward(stateful bool) {
	policy := nftables.ChainPolicyAccept
	if stateful {
		policy = nftables.ChainPolicyDrop
	}
	fwd := r.c.AddChain(&nftables.Chain{Name: "forward", Table: r.t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &policy})
	if !stateful {
		return
	}
	r.rule(fwd, r.state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
	r.rule(fwd, r.inside(), r.state(expr.CtStateBitNEW), accept())
}

func (r *ruleset) masquerade(random bool) {
	r.rule(r.postrouting(), r.oif(r.wan), exprs{&expr.Masq{FullyRandom: random}})
}

// oneToOne gives each host a public address for itself.
func (r *ruleset) oneToOne(box *boxPlan) {
	pre := r.c.AddChain(&nftables.Chain{Name: "prerouting", Table: r.t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	post := r.postrouting()
	for i, public := range box.public {
		host := box.lan[i].host
		r.rule(pre, r.iif(r.wan), addr(offsetDst, public), r.nat(expr.NATTypeDestNAT, host))
		r.rule(post, r.oif(r.wan), addr(offsetSrc, host), r.nat(expr.NATTypeSourceNAT, public))
	}
}

func (r *ruleset) postrouting() *nftables.Chain {
	return r.c.AddChain(&nftables.Chain{Name: "postrouting", Table: r.t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
}

// rule adds a rule.
func (r *ruleset) rule(c *nftables.Chain, parts ...exprs) {
	rule := &nftables.Rule{Table: r.t, Chain: c}
	for _, p := range parts {
		rule.Exprs = append(rule.Exprs, p...)
	}
	r.c.AddRule(rule)
}

func accept() exprs { return exprs{&expr.Verdict{Kind: expr.VerdictAccept}} }

func (r *ruleset) iif(index uint32) exprs { return metaIs(expr.MetaKeyIIF, native32(index)) }

// inside matches what comes from any of the ports to the inside.
func (r *ruleset) inside() exprs {
	return exprs{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native32(r.wan)},
	}
}

func (r *ruleset) oif(index uint32) exprs { return metaIs(expr.MetaKeyOIF, native32(index)) }

func (r *ruleset) tcp() exprs { return metaIs(expr.MetaKeyL4PROTO, []byte{unix.IPPROTO_TCP}) }

func metaIs(key expr.MetaKey, value []byte) exprs {
	return exprs{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value},
	}
}

// state matches when conntrack's state is one of bits.
func (r *ruleset) state(bits uint32) exprs {
	return exprs{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native32(bits), Xor: native32(0)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: native32(0)},
	}
}

// Offsets of the addresses in the IPv4 header, RFC 791 section 3.1.
const (
	offsetSrc = 12
	offsetDst = 16
)

func addr(offset uint32, a netip.Addr) exprs {
	return exprs{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
	}
}

func (r *ruleset) nat(typ expr.NATType, to netip.Addr) exprs {
	return exprs{
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.NAT{Type: typ, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}
}

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
