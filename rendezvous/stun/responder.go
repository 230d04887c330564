package stun

import (
	"encoding/binary"
	"net/netip"
)

// DefaultSoftware is what a server says in SOFTWARE when it is not told anything
// else: no version, which would only help those who look for old ones.
const DefaultSoftware = "synpunch"

// Arrival says how a message reached the server.
type Arrival struct {
	From netip.AddrPort // who sent it, as seen by the server: the answer
	To   netip.AddrPort // where it came in; the address may be unknown (invalid)
	// Other is the server's address and port that differ from To in both, invalid
	// when it has no second address.
	Other netip.AddrPort
	// AltPort is the server's other port on the address of To, 0 when there is none.
	AltPort uint16
	Stream  bool // TCP: the answer can only go back where the request came from
}

// Answer is a message and its way.
type Answer struct {
	Message Message
	From    netip.AddrPort // the server's address and port that it is to leave from
	To      netip.AddrPort
}

// Respond makes the answer to a message in ans, whose attributes' array is used
// again. It reports false for what gets none: everything but Binding requests
// (RFC 8489, section 6.3, discards those silently).
func Respond(m *Message, in Arrival, software string, ans *Answer) bool {
	if m.Class != Request || m.Method != Binding {
		return false
	}
	ans.From, ans.To = in.To, in.From
	r := &ans.Message
	*r = Message{Class: Success, Method: Binding, Transaction: m.Transaction, Attributes: r.Attributes[:0]}
	padding, refusal := ans.route(m, in)
	switch {
	case refusal != nil:
		ans.From, ans.To = in.To, in.From
		r.addError(refusal)
	case m.Transaction.Classic():
		ans.classic(in)
	default:
		r.AddAddress(XORMappedAddress, in.From)
		// Beside it in the clear: where the two differ, something on the way rewrites
		// addresses in payloads (RFC 5780, section 3.6).
		r.AddAddress(MappedAddress, in.From)
		if ans.From.Addr().IsValid() {
			r.AddAddress(ResponseOrigin, ans.From)
		}
		if in.Other.IsValid() {
			r.AddAddress(OtherAddress, in.Other)
		}
		if padding > 0 {
			r.Add(Padding, make([]byte, padding))
		}
	}
	if m.Transaction.Classic() {
		return true // what follows is younger than RFC 3489
	}
	r.Add(Software, []byte(software))
	if _, ok := m.Get(Fingerprint); ok {
		r.Add(Fingerprint, nil)
	}
	return true
}

// classic is the answer that RFC 3489, section 8.1, gives.
func (ans *Answer) classic(in Arrival) {
	r := &ans.Message
	r.AddAddress(MappedAddress, in.From)
	if ans.From.Addr().IsValid() {
		r.AddAddress(SourceAddress, ans.From)
	}
	if in.Other.IsValid() {
		r.AddAddress(ChangedAddress, in.Other)
	}
}

// route looks at the attributes of the request. It sets the way of the answer
// and returns how much padding it carries, or why it is refused.
func (ans *Answer) route(m *Message, in Arrival) (padding int, refusal *RefusedError) {
	var unknown []AttrType
	bad := false
	moved := false // RESPONSE-PORT
	for _, a := range m.Attributes {
		switch a.Type {
		case ChangeRequest:
			if len(a.Value) != 4 {
				bad = true
			} else if !ans.change(binary.BigEndian.Uint32(a.Value), in) {
				unknown = append(unknown, a.Type)
			}
		case ResponsePort:
			if len(a.Value) < 2 || binary.BigEndian.Uint16(a.Value) == 0 {
				bad = true
			} else if in.Stream {
				unknown = append(unknown, a.Type)
			} else {
				moved = true
				ans.To = netip.AddrPortFrom(in.From.Addr(), binary.BigEndian.Uint16(a.Value))
			}
		case Padding:
			padding = len(a.Value)
		default:
			if a.Type.Required() && !expected(a.Type) {
				unknown = append(unknown, a.Type)
			}
		}
	}
	switch {
	case len(unknown) > 0:
		return 0, &RefusedError{Code: 420, Reason: "Unknown Attribute", Unknown: unknown}
	case bad, moved && padding > 0: // the two exclude each other (RFC 5780, section 7.5)
		return 0, &RefusedError{Code: 400, Reason: "Bad Request"}
	}
	return padding, nil
}

// change carries out CHANGE-REQUEST. False: the server has no such address or
// port, or the request came over a stream.
func (ans *Answer) change(flags uint32, in Arrival) bool {
	if flags&(changeIP|changePort) == 0 {
		return true
	}
	addr, port := in.To.Addr(), in.To.Port()
	if flags&changeIP != 0 {
		addr = in.Other.Addr()
	}
	if flags&changePort != 0 {
		port = in.AltPort
	}
	if in.Stream || port == 0 || (flags&changeIP != 0 && !in.Other.IsValid()) {
		return false
	}
	ans.From = netip.AddrPortFrom(addr, port)
	return true
}

// expected says which required attributes may stand in a request that needs
// none of them: those of the authentication, and addresses (RFC 8489, section 6.3,
// ignores known but unexpected attributes). RESPONSE-ADDRESS of RFC 3489
// (2) is not among them: it sent answers to third parties.
func expected(t AttrType) bool {
	switch t {
	case MappedAddress, XORMappedAddress, ErrorCode, UnknownAttributes,
		0x0006, 0x0008, // USERNAME, MESSAGE-INTEGRITY
		0x0014, 0x0015, 0x001C, 0x001D, 0x001E, // REALM, NONCE, MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHM, USERHASH
		0x0024, 0x0025: // PRIORITY, USE-CANDIDATE: ICE agents probe servers with them (RFC 8445)
		return true
	}
	return false
}
