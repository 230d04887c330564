package punch

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
	"time"
)

// ErrConsent is wrapped by every complaint about a consent that does not cover
// what is to be sent.
var ErrConsent = errors.New("consent")

// consentPrefix begins every token: what it is, and the version of the format.
const consentPrefix = "spc1."

// Consent is what a peer allows: so many SYNs, so fast, to one of its addresses
// until a time. The peer makes it and gives its token to whoever may send.
//
// A token is a statement and not a signature: anybody can write one. It is worth what
// the channel is worth through which it came from the owner of the address.
type Consent struct {
	Addr  netip.Addr // where the SYNs may go
	SYNs  uint32     // how many
	Rate  uint32     // how many a second
	Until time.Time  // whole seconds
}

// Token writes the consent as one word of letters, digits, '.', '-' and '_'. Two
// tokens of one consent differ.
func (c *Consent) Token() (string, error) {
	if err := c.check(); err != nil {
		return "", err
	}
	b := c.Addr.AsSlice()
	b = append([]byte{byte(len(b))}, b...)
	b = binary.BigEndian.AppendUint32(b, c.SYNs)
	b = binary.BigEndian.AppendUint32(b, c.Rate)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Until.Unix()))
	nonce := make([]byte, 4)
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("punch: consent: %w", err)
	}
	b = append(b, nonce...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) // a token is typed and pasted
	return consentPrefix + base64.RawURLEncoding.EncodeToString(b), nil
}

func (c *Consent) check() error {
	switch {
	case !oneHost(c.Addr):
		return fmt.Errorf("punch: %w: %v is not the address of one host", ErrConsent, c.Addr)
	case c.SYNs == 0 || c.Rate == 0:
		return fmt.Errorf("punch: %w: %d SYNs at %d a second: want more than 0", ErrConsent, c.SYNs, c.Rate)
	case c.Until.Unix() <= 0:
		return fmt.Errorf("punch: %w: it has no end", ErrConsent)
	}
	return nil
}

// oneHost reports whether an address is that of one host, as far as the address tells.
func oneHost(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// ParseConsent reads a token. Errors wrap ErrConsent.
func ParseConsent(token string) (*Consent, error) {
	word, ok := strings.CutPrefix(strings.TrimSpace(token), consentPrefix)
	b, err := base64.RawURLEncoding.DecodeString(word)
	if !ok || err != nil || len(b) < 1 || len(b) != 1+int(b[0])+4+4+8+4+4 {
		return nil, fmt.Errorf("punch: %w: this is no token; 'synpunch consent' makes one, and it begins with %s", ErrConsent, consentPrefix)
	}
	body, sum := b[:len(b)-4], b[len(b)-4:]
	if !bytes.Equal(sum, binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body))) {
		return nil, fmt.Errorf("punch: %w: the token was changed on its way: its checksum is wrong; copy it again", ErrConsent)
	}
	addr, _ := netip.AddrFromSlice(body[1 : 1+body[0]])
	rest := body[1+body[0]:]
	c := &Consent{
		Addr: addr, SYNs: binary.BigEndian.Uint32(rest), Rate: binary.BigEndian.Uint32(rest[4:]),
		Until: time.Unix(int64(binary.BigEndian.Uint64(rest[8:])), 0),
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

// Permits complains if so many SYNs at so many a second to an address, now, are more
// than was allowed. Errors wrap ErrConsent.
func (c *Consent) Permits(to netip.Addr, syns, rate int, now time.Time) error {
	switch {
	case to != c.Addr:
		return fmt.Errorf("punch: %w: the token is for %v, not for %v: ask the peer for one with the address that you send to", ErrConsent, c.Addr, to)
	case now.After(c.Until):
		return fmt.Errorf("punch: %w: the token ended at %s: ask the peer for a new one", ErrConsent, c.Until.UTC().Format(time.RFC3339))
	case uint64(syns) > uint64(c.SYNs):
		return fmt.Errorf("punch: %w: the token allows %d SYNs, and up to %d are to be sent: lower the budget, or ask for more", ErrConsent, c.SYNs, syns)
	case uint64(rate) > uint64(c.Rate):
		return fmt.Errorf("punch: %w: the token allows %d SYNs a second, and the rate is %d: lower the rate, or ask for more", ErrConsent, c.Rate, rate)
	}
	return nil
}
