package nat

import "github.com/synpunch/synpunch/rawtcp"

// basic follows one connection by flags alone: enough to tell partially open,
// established and closing apart (RFC 5382 section 5). Arrays are indexed by Side.
type basic struct {
	syn, acked, fin [2]bool
	reset           bool
	picked          bool // began without a SYN: taken for established
}

// packet notes a segment sent by side.
func (t *basic) packet(side Side, p *view) {
	f := p.flags
	if f&rawtcp.RST != 0 {
		t.reset = true
		return
	}
	if f&rawtcp.SYN != 0 {
		t.syn[side] = true
	}
	if f&rawtcp.ACK != 0 && t.syn[1-side] {
		t.acked[side] = true
	}
	if f&rawtcp.FIN != 0 {
		t.fin[side] = true
	}
}

func (t *basic) closing() bool { return t.reset || t.fin[Inside] && t.fin[Outside] }

func (t *basic) established() bool {
	return t.picked || t.syn[Inside] && t.syn[Outside] && t.acked[Inside] && t.acked[Outside]
}

// outstanding reports that side has sent a SYN and the other has sent none.
func (t *basic) outstanding(side Side) bool { return t.syn[side] && !t.syn[1-side] && !t.closing() }
