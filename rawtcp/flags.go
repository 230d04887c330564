package rawtcp

import (
	"fmt"
	"strings"
)

// Flags are the control bits of a TCP header, in wire order (RFC 9293 section
// 3.1). The accurate-ECN bit beside the reserved bits is not among them.
type Flags uint8

// The control bits, as RFC 9293 section 3.1 names them.
const (
	FIN Flags = 1 << iota // no more data from the sender
	SYN                   // synchronize sequence numbers
	RST                   // reset the connection
	PSH                   // push function
	ACK                   // the acknowledgment field is significant
	URG                   // the urgent pointer field is significant
	ECE                   // ECN echo (RFC 3168)
	CWR                   // congestion window reduced (RFC 3168)
)

// flagNames is in the order in which String prints: the bit that says what the
// segment is for comes first and ACK last, so that "SYN-ACK" reads as spoken.
var flagNames = [...]struct {
	bit  Flags
	name string
}{
	{SYN, "SYN"}, {FIN, "FIN"}, {RST, "RST"}, {PSH, "PSH"}, {URG, "URG"},
	{ECE, "ECE"}, {CWR, "CWR"}, {ACK, "ACK"},
}

// flagStrings holds String's answer for each of the 256 values, so that
// printing flags on the way of a packet costs no allocation.
var flagStrings = func() (table [256]string) {
	table[0] = "none"
	for v := 1; v < len(table); v++ {
		var set []string
		for _, f := range flagNames {
			if Flags(v)&f.bit != 0 {
				set = append(set, f.name)
			}
		}
		table[v] = strings.Join(set, "-")
	}
	return table
}()

// Has reports whether all bits of want are set.
func (f Flags) Has(want Flags) bool { return f&want == want }

// String returns the flags as people say them: "SYN", "SYN-ACK", "RST",
// "PSH-ACK", and "none" for no flag at all.
func (f Flags) String() string { return flagStrings[f] }

// MarshalText returns what String does; it never fails.
func (f Flags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what String prints, with the names in any order.
func (f *Flags) UnmarshalText(text []byte) error {
	*f = 0
	if string(text) == "none" {
		return nil
	}
	for name := range strings.SplitSeq(string(text), "-") {
		bit := Flags(0)
		for _, known := range flagNames {
			if known.name == name {
				bit = known.bit
			}
		}
		if bit == 0 {
			return fmt.Errorf("rawtcp: no TCP flag is called %q", name)
		}
		*f |= bit
	}
	return nil
}
