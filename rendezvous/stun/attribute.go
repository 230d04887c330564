package stun

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
)

// AttrType is the type of an attribute. Who does not know one below 0x8000 must
// not go on.
type AttrType uint16

// The attributes that the package knows.
const (
	MappedAddress     AttrType = 0x0001 // RFC 8489, section 14.1
	ChangeRequest     AttrType = 0x0003 // RFC 5780, section 7.2
	SourceAddress     AttrType = 0x0004 // RFC 3489, section 11.2.5
	ChangedAddress    AttrType = 0x0005 // RFC 3489, section 11.2.3
	ErrorCode         AttrType = 0x0009 // RFC 8489, section 14.8
	UnknownAttributes AttrType = 0x000A // RFC 8489, section 14.9
	XORMappedAddress  AttrType = 0x0020 // RFC 8489, section 14.2
	Padding           AttrType = 0x0026 // RFC 5780, section 7.6
	ResponsePort      AttrType = 0x0027 // RFC 5780, section 7.5
	Software          AttrType = 0x8022 // RFC 8489, section 14.14
	AlternateServer   AttrType = 0x8023 // RFC 8489, section 14.15
	Fingerprint       AttrType = 0x8028 // RFC 8489, section 14.7
	ResponseOrigin    AttrType = 0x802B // RFC 5780, section 7.3
	OtherAddress      AttrType = 0x802C // RFC 5780, section 7.4
)

var attrNames = map[AttrType]string{
	MappedAddress: "MAPPED-ADDRESS", ChangeRequest: "CHANGE-REQUEST", SourceAddress: "SOURCE-ADDRESS",
	ChangedAddress: "CHANGED-ADDRESS", ErrorCode: "ERROR-CODE", UnknownAttributes: "UNKNOWN-ATTRIBUTES",
	XORMappedAddress: "XOR-MAPPED-ADDRESS", Padding: "PADDING", ResponsePort: "RESPONSE-PORT", Software: "SOFTWARE",
	AlternateServer: "ALTERNATE-SERVER", Fingerprint: "FINGERPRINT", ResponseOrigin: "RESPONSE-ORIGIN", OtherAddress: "OTHER-ADDRESS",
}

func (t AttrType) String() string {
	if s, ok := attrNames[t]; ok {
		return s
	}
	return fmt.Sprintf("attribute 0x%04x", uint16(t))
}

// Required says that a receiver that does not know the attribute must refuse the
// message (RFC 8489, section 14: comprehension-required).
func (t AttrType) Required() bool { return t < 0x8000 }

// The flags of CHANGE-REQUEST.
const (
	changeIP   = 4
	changePort = 2
)

// Address families of the address attributes.
const (
	familyIPv4 = 1
	familyIPv6 = 2
)

// AddAddress appends an address attribute; that of XORMappedAddress is
// obfuscated as RFC 8489, section 14.2, wants.
func (m *Message) AddAddress(t AttrType, ap netip.AddrPort) {
	a := ap.Addr().Unmap()
	v := make([]byte, 4, 20)
	v[1] = familyIPv4
	if a.Is6() {
		v[1] = familyIPv6
	}
	binary.BigEndian.PutUint16(v[2:], ap.Port())
	v = append(v, a.AsSlice()...)
	if t == XORMappedAddress {
		m.xor(v)
	}
	m.Add(t, v)
}

// Address reads the first attribute of the type. The error wraps ErrMalformed;
// ok is false when there is none.
func (m *Message) Address(t AttrType) (ap netip.AddrPort, ok bool, err error) {
	raw, ok := m.Get(t)
	if !ok {
		return ap, false, nil
	}
	if len(raw) != 8 && len(raw) != 20 {
		return ap, true, fmt.Errorf("%w: %v of %d bytes", ErrMalformed, t, len(raw))
	}
	v := append([]byte(nil), raw...)
	if t == XORMappedAddress {
		m.xor(v)
	}
	if want := map[int]byte{8: familyIPv4, 20: familyIPv6}[len(v)]; v[1] != want {
		return ap, true, fmt.Errorf("%w: %v of family %d and %d bytes", ErrMalformed, t, v[1], len(v))
	}
	a, _ := netip.AddrFromSlice(v[4:])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(v[2:])), true, nil
}

// xor hides, or shows, port and address: NATs rewrite what looks like the
// address that they translate.
func (m *Message) xor(v []byte) {
	v[2] ^= m.Transaction[0]
	v[3] ^= m.Transaction[1]
	for i := range v[4:] {
		v[4+i] ^= m.Transaction[i]
	}
}

// fingerprintXOR is given by RFC 8489, section 14.7.
const fingerprintXOR = 0x5354554E

// appendFingerprint ends the message that begins at b[start:].
func appendFingerprint(b []byte, start int) []byte {
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start-headerSize+8)) // the attribute counts
	sum := crc32.ChecksumIEEE(b[start:]) ^ fingerprintXOR
	b = binary.BigEndian.AppendUint16(b, uint16(Fingerprint))
	b = binary.BigEndian.AppendUint16(b, 4)
	return binary.BigEndian.AppendUint32(b, sum)
}

// checkFingerprint checks the FINGERPRINT of n bytes at b[at:].
func checkFingerprint(b []byte, at, n int) error {
	if n != 4 || at+8 != len(b) {
		return fmt.Errorf("%w: it is not the last attribute, or not 4 bytes", ErrFingerprint)
	}
	if binary.BigEndian.Uint32(b[at+4:]) != crc32.ChecksumIEEE(b[:at])^fingerprintXOR {
		return ErrFingerprint
	}
	return nil
}

// RefusedError is an error response (RFC 8489, section 14.8).
type RefusedError struct {
	Code    int    // 300 to 699
	Reason  string // as the server words it
	Unknown []AttrType
	// Alternate is the server that a 300 (Try Alternate) names. It is not asked:
	// a forged answer could send the client anywhere.
	Alternate netip.AddrPort
}

func (e *RefusedError) Error() string {
	s := fmt.Sprintf("the server refuses: %d %q", e.Code, e.Reason)
	if len(e.Unknown) > 0 {
		s += fmt.Sprintf(", it does not know %v", e.Unknown)
	}
	if e.Alternate.IsValid() {
		s += fmt.Sprintf(", it names %v instead", e.Alternate)
	}
	return s
}

// addError makes m the error response.
func (m *Message) addError(e *RefusedError) {
	m.Class = Failure
	m.Add(ErrorCode, append([]byte{0, 0, byte(e.Code / 100), byte(e.Code % 100)}, e.Reason...))
	if len(e.Unknown) > 0 {
		var v []byte
		for _, t := range e.Unknown {
			v = binary.BigEndian.AppendUint16(v, uint16(t))
		}
		m.Add(UnknownAttributes, v)
	}
}

// refused reads an error response.
func (m *Message) refused() error {
	v, ok := m.Get(ErrorCode)
	if !ok || len(v) < 4 {
		return fmt.Errorf("%w: an error response without a code", ErrMalformed)
	}
	e := &RefusedError{Code: int(v[2]&7)*100 + int(v[3]), Reason: text(v[4:])}
	unknown, _ := m.Get(UnknownAttributes)
	for ; len(unknown) >= 2; unknown = unknown[2:] {
		e.Unknown = append(e.Unknown, AttrType(binary.BigEndian.Uint16(unknown)))
	}
	e.Alternate, _, _ = m.Address(AlternateServer)
	return e
}

// maxText is the longest text of an attribute: RFC 8489 allows 128 characters.
const maxText = 128

// text makes what a stranger wrote fit to be shown: printable, one line, short.
func text(b []byte) string {
	out := make([]rune, 0, len(b))
	for _, r := range string(b) {
		if len(out) == maxText {
			break
		}
		if !strconv.IsPrint(r) || r == '\uFFFD' {
			r = '?'
		}
		out = append(out, r)
	}
	return string(out)
}
