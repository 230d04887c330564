package nat

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Reaction is what a mapping does after an RST or an ICMP error. The zero value
// keeps it.
type Reaction struct {
	Close bool
	After time.Duration // Close after this time, unless it ends sooner; 0 is at once
}

func (r Reaction) String() string {
	switch {
	case !r.Close:
		return "keep"
	case r.After == 0:
		return "close"
	}
	return "close after " + shortDuration(r.After)
}

func (r Reaction) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r *Reaction) UnmarshalText(text []byte) error {
	s := string(text)
	after, timed := strings.CutPrefix(s, "close after ")
	switch {
	case s == "keep":
		*r = Reaction{}
	case s == "close":
		*r = Reaction{Close: true}
	case timed:
		d, err := parseDuration(after)
		if err != nil {
			return err
		}
		*r = Reaction{Close: true, After: d}
	default:
		return fmt.Errorf("%q is none of keep, close, close after DURATION", s)
	}
	return nil
}

// PortRange is a range of ports, both ends included. The zero value stands for
// 1024-65535.
type PortRange struct{ First, Last uint16 }

// or1024 fills in the zero value.
func (r PortRange) or1024() PortRange {
	if r == (PortRange{}) {
		return PortRange{1024, 65535}
	}
	return r
}

func (r PortRange) size() int { return int(r.Last) - int(r.First) + 1 }

func (r PortRange) contains(port uint16) bool { return r.First <= port && port <= r.Last }

func (r PortRange) String() string {
	r = r.or1024()
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r *PortRange) UnmarshalText(text []byte) error {
	first, last, ok := strings.Cut(string(text), "-")
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if !ok || err1 != nil || err2 != nil {
		return fmt.Errorf("%q is no range of ports, such as 1024-65535", text)
	}
	*r = PortRange{uint16(a), uint16(b)}
	if *r == (PortRange{}).or1024() {
		*r = PortRange{} // one value has one form, so that == tells
	}
	return nil
}

// OptionSet is a set of TCP options.
type OptionSet uint8

// The options that a NAT can strip.
const (
	OptMSS        OptionSet = 1 << iota // RFC 9293
	OptWScale                           // RFC 7323
	OptSACK                             // SACK permitted, RFC 2018
	OptTimestamps                       // RFC 7323
	OptFastOpen                         // RFC 7413
	OptMPTCP                            // RFC 8684
	OptUnknown                          // any other
)

var optionWords = []string{"mss", "wscale", "sack", "timestamps", "fastopen", "mptcp", "unknown"}

func (o OptionSet) String() string {
	var list []string
	for i, w := range optionWords {
		if o&(1<<i) != 0 {
			list = append(list, w)
		}
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, "+")
}

func (o OptionSet) MarshalText() ([]byte, error) {
	if o >= 1<<len(optionWords) {
		return nil, fmt.Errorf("unknown options in %#x", uint8(o))
	}
	return []byte(o.String()), nil
}

func (o *OptionSet) UnmarshalText(text []byte) error {
	*o = 0
	if s := string(text); s == "none" || s == "" {
		return nil
	}
next:
	for part := range strings.SplitSeq(string(text), "+") {
		for i, w := range optionWords {
			if part == w {
				*o |= 1 << i
				continue next
			}
		}
		return fmt.Errorf("%q is none of %s (join several with +)", part, strings.Join(optionWords, ", "))
	}
	return nil
}

// shortDuration writes 4m0s as 4m.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration, such as 6s or 2h4m", s)
	}
	return d, nil
}
