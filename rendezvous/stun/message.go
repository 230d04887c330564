package stun

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Given by RFC 8489, section 5.
const (
	headerSize = 20
	cookie     = 0x2112A442
	// maxValue keeps a message within the 16 bits of its length.
	maxValue = 1 << 15
)

// MaxSize is the longest message that is read, chosen by us: a Binding request
// with 1,500 bytes of padding (RFC 5780, section 7.6) fits.
const MaxSize = 2048

// Class is what a message is for (RFC 8489, section 5).
type Class uint8

// The four classes.
const (
	Request Class = iota
	Indication
	Success
	Failure
)

func (c Class) String() string {
	switch c {
	case Request:
		return "request"
	case Indication:
		return "indication"
	case Success:
		return "success response"
	case Failure:
		return "error response"
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// Method is a STUN method.
type Method uint16

// Binding is the only method of RFC 8489.
const Binding Method = 1

// Transaction ties an answer to its request. In RFC 8489 it begins with the
// magic cookie and 96 bits are the client's; in RFC 3489 all 128 are.
type Transaction [16]byte

// Classic says that the transaction is one of RFC 3489: the cookie is missing.
func (t *Transaction) Classic() bool { return binary.BigEndian.Uint32(t[:4]) != cookie }

// Message is one STUN message. The zero value is a Binding-less request: set
// Method and Transaction.
type Message struct {
	Class       Class
	Method      Method
	Transaction Transaction
	Attributes  []Attribute // in the order of the wire
}

// Attribute is one attribute. Value is without padding.
type Attribute struct {
	Type  AttrType
	Value []byte
}

// Get returns the value of the first attribute of the type, as RFC 8489, section
// 14, wants where one appears twice.
func (m *Message) Get(t AttrType) ([]byte, bool) {
	for _, a := range m.Attributes {
		if a.Type == t {
			return a.Value, true
		}
	}
	return nil, false
}

// Add appends an attribute.
func (m *Message) Add(t AttrType, value []byte) {
	m.Attributes = append(m.Attributes, Attribute{t, value})
}

// Errors of Parse. They mean that a UDP packet is not for us and that a TCP
// stream is broken.
var (
	// ErrNotSTUN says that the bytes are of another protocol.
	ErrNotSTUN = errors.New("not a STUN message")
	// ErrMalformed says that a length or a value in the message is impossible.
	ErrMalformed = errors.New("malformed STUN message")
	// ErrFingerprint says that the FINGERPRINT is there and wrong.
	ErrFingerprint = errors.New("wrong FINGERPRINT")
)

// Parse reads the whole of b into m, whose attributes' array is used again and
// whose values then point into b. A FINGERPRINT is checked.
func (m *Message) Parse(b []byte) error {
	size, err := Length(b)
	if err != nil {
		return err
	}
	if size != len(b) {
		return fmt.Errorf("%w: it says %d bytes, there are %d", ErrMalformed, size, len(b))
	}
	m.Class, m.Method = splitType(binary.BigEndian.Uint16(b))
	copy(m.Transaction[:], b[4:headerSize])
	m.Attributes = m.Attributes[:0]
	for rest := b[headerSize:]; len(rest) > 0; {
		if len(rest) < 4 {
			return fmt.Errorf("%w: %d bytes behind the last attribute", ErrMalformed, len(rest))
		}
		t, n := AttrType(binary.BigEndian.Uint16(rest)), int(binary.BigEndian.Uint16(rest[2:]))
		padded := 4 + (n+3)&^3
		if padded > len(rest) && m.Transaction.Classic() {
			padded = 4 + n // RFC 3489 knows no padding
		}
		if padded > len(rest) {
			return fmt.Errorf("%w: %v is longer than the message", ErrMalformed, t)
		}
		if t == Fingerprint {
			if err := checkFingerprint(b, len(b)-len(rest), n); err != nil {
				return err
			}
		}
		m.Add(t, rest[4:4+n:4+n])
		rest = rest[padded:]
	}
	return nil
}

// Length is the length of the message that begins with b, as its header says it:
// what a reader of a stream has to wait for. b must hold 20 bytes.
func Length(b []byte) (int, error) {
	if len(b) < headerSize || b[0]&0xC0 != 0 {
		return 0, ErrNotSTUN
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	classic := binary.BigEndian.Uint32(b[4:]) != cookie
	// Without a cookie the two zero bits and the length are all there is to
	// tell STUN from other protocols.
	if n%4 != 0 && !classic {
		return 0, fmt.Errorf("%w: length %d is not a multiple of 4", ErrMalformed, n)
	}
	if headerSize+n > MaxSize {
		return 0, fmt.Errorf("%w: %d bytes, more than %d", ErrMalformed, headerSize+n, MaxSize)
	}
	return headerSize + n, nil
}

// Append appends the message to b. A FINGERPRINT among the attributes is
// computed, whatever its value; it must be the last one.
func (m *Message) Append(b []byte) ([]byte, error) {
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, joinType(m.Class, m.Method))
	b = append(b, 0, 0)
	b = append(b, m.Transaction[:]...)
	for i, a := range m.Attributes {
		if len(b)-start+len(a.Value) > maxValue {
			return nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxValue)
		}
		if a.Type == Fingerprint {
			if i != len(m.Attributes)-1 {
				return nil, fmt.Errorf("%w: FINGERPRINT is not the last attribute", ErrMalformed)
			}
			b = appendFingerprint(b, start)
			break
		}
		b = binary.BigEndian.AppendUint16(b, uint16(a.Type))
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.Value)))
		b = append(b, a.Value...)
		b = append(b, make([]byte, -len(a.Value)&3)...)
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start-headerSize))
	return b, nil
}

// The two bits of the class stand between those of the method (RFC 8489, figure 3).
func splitType(t uint16) (Class, Method) {
	return Class(t>>4&1 | t>>7&2), Method(t&0xF | t>>1&0x70 | t>>2&0xF80)
}

func joinType(c Class, m Method) uint16 {
	return uint16(m&0xF|m&0x70<<1|m&0xF80<<2) | uint16(c&1)<<4 | uint16(c&2)<<7
}
