package rawtcp

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// Given by the specifications: limits, kinds and lengths of TCP options
// (RFC 9293 section 3.2, RFC 7323, RFC 2018 and the IANA registry).
const (
	maxOptions = 40 // bytes: what a data offset of 15 leaves
	maxWScale  = 14 // RFC 7323 section 2.3

	optEOL           = 0
	optNOP           = 1
	optMSS           = 2
	optWScale        = 3
	optSACKPermitted = 4
	optSACK          = 5
	optTimestamps    = 8
	optMPTCP         = 30
	optFastOpen      = 34

	lenMSS           = 4
	lenWScale        = 3
	lenSACKPermitted = 2
	lenTimestamps    = 10
	lenSACKBlock     = 8
	minFastOpen      = 2 // a cookie request; with a cookie up to 18 (RFC 7413 section 4.1.1)
	minMPTCP         = 3 // kind, length, subtype (RFC 8684 section 3)
)

// SACKBlock is one range of received data: Left is its first sequence number,
// Right the one after its last (RFC 2018 section 3).
type SACKBlock struct{ Left, Right Seq }

// Options are the TCP options that a handshake exchanges. The zero value is no
// options, and two values can be compared with ==.
//
// What Parse makes of the bytes:
//
//   - The list ends at an end-of-list option (kind 0) or with the header; what
//     follows an end-of-list is not looked at (RFC 9293 section 3.2).
//   - A kind it does not know, with a length that fits, is skipped and sets
//     Other (RFC 9293 section 3.2: "MUST ignore without error any TCP Option it
//     does not implement, assuming that the option has a length field").
//   - A length below 2 or past the end of the header, or a length that is not
//     the one its kind must have, is ErrMalformed. Everything else of the
//     segment is then filled in, and the options up to the broken one, which
//     is what a Linux host works with (tcp_parse_options).
//   - An option that comes twice counts with its last value, as on Linux.
//   - An MSS of 0 is absent, as on Linux. A window shift above 14 reads as 14
//     (RFC 7323 section 2.3: "MUST use 14 instead of the specified value").
//   - MSS, window scale and SACK-permitted are reported on any segment, though
//     they mean something on one with SYN only.
type Options struct {
	MSS           uint16 // largest segment the sender can take, bytes (RFC 9293 section 3.7.1); 0 = absent
	WScale        uint8  // window shift, 0 to 14 (RFC 7323 section 2.2); means something with HasWScale only
	HasWScale     bool
	SACKPermitted bool // RFC 2018 section 2
	HasTimestamps bool // RFC 7323 section 3.2
	TSVal, TSEcr  uint32
	SACK          [4]SACKBlock // the first NSACK are valid (RFC 2018 section 3)
	NSACK         uint8

	// Seen by Parse and reported, but neither interpreted nor written by
	// Append: TCP Fast Open (kind 34, RFC 7413), Multipath TCP (kind 30,
	// RFC 8684), and any other kind.
	FastOpen, MPTCP, Other bool
}

// String returns the options as tcpdump lists them, "mss 1460,sackOK,TS val 7
// ecr 0,wscale 7", and "" for none.
func (o *Options) String() string { return string(o.appendText(nil)) }

func (o *Options) appendText(b []byte) []byte {
	start := len(b)
	item := func(name string) {
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(b, name...)
	}
	number := func(n uint32) { b = strconv.AppendUint(b, uint64(n), 10) }
	if o.MSS != 0 {
		item("mss ")
		number(uint32(o.MSS))
	}
	if o.SACKPermitted {
		item("sackOK")
	}
	if o.HasTimestamps {
		item("TS val ")
		number(o.TSVal)
		b = append(b, " ecr "...)
		number(o.TSEcr)
	}
	if o.HasWScale {
		item("wscale ")
		number(uint32(o.WScale))
	}
	for _, block := range o.SACK[:min(int(o.NSACK), len(o.SACK))] {
		item("sack ")
		number(uint32(block.Left))
		b = append(b, ':')
		number(uint32(block.Right))
	}
	if o.FastOpen {
		item("tfo")
	}
	if o.MPTCP {
		item("mptcp")
	}
	if o.Other {
		item("other")
	}
	return b
}

// wireLen is how many bytes put writes: always a multiple of four.
func (o *Options) wireLen() int {
	n := 0
	if o.MSS != 0 {
		n += 4
	}
	if o.HasTimestamps {
		n += 12 // with SACK-permitted, or two NOPs, in front
	} else if o.SACKPermitted {
		n += 4
	}
	if o.HasWScale {
		n += 4
	}
	if o.NSACK > 0 {
		n += 4 + lenSACKBlock*int(o.NSACK)
	}
	return n
}

// check says what Append cannot write.
func (o *Options) check() error {
	switch {
	case int(o.NSACK) > len(o.SACK):
		return fmt.Errorf("rawtcp: append: %w: %d SACK blocks, at most %d", ErrMalformed, o.NSACK, len(o.SACK))
	case o.HasWScale && o.WScale > maxWScale:
		return fmt.Errorf("rawtcp: append: %w: window shift %d, at most %d (RFC 7323 section 2.3)", ErrMalformed, o.WScale, maxWScale)
	case o.wireLen() > maxOptions:
		return fmt.Errorf("rawtcp: append: %w: %d bytes of TCP options, at most %d", ErrMalformed, o.wireLen(), maxOptions)
	}
	return nil
}

// put writes the options in the order and with the padding of a Linux host
// (tcp_options_write): MSS; SACK-permitted and timestamps in three words;
// NOP and window scale; SACK blocks. A middlebox that knows Linux has seen
// this before.
func (o *Options) put(b []byte) {
	word := func(a0, a1, a2, a3 uint8) {
		binary.BigEndian.PutUint32(b, uint32(a0)<<24|uint32(a1)<<16|uint32(a2)<<8|uint32(a3))
		b = b[4:]
	}
	if o.MSS != 0 {
		word(optMSS, lenMSS, uint8(o.MSS>>8), uint8(o.MSS))
	}
	switch {
	case o.HasTimestamps:
		if o.SACKPermitted {
			word(optSACKPermitted, lenSACKPermitted, optTimestamps, lenTimestamps)
		} else {
			word(optNOP, optNOP, optTimestamps, lenTimestamps)
		}
		binary.BigEndian.PutUint64(b, uint64(o.TSVal)<<32|uint64(o.TSEcr))
		b = b[8:]
	case o.SACKPermitted:
		word(optNOP, optNOP, optSACKPermitted, lenSACKPermitted)
	}
	if o.HasWScale {
		word(optNOP, optWScale, lenWScale, o.WScale)
	}
	if o.NSACK > 0 {
		word(optNOP, optNOP, optSACK, 2+lenSACKBlock*o.NSACK)
		for _, block := range o.SACK[:o.NSACK] {
			binary.BigEndian.PutUint64(b, uint64(block.Left)<<32|uint64(block.Right))
			b = b[8:]
		}
	}
}

// parse reads the options of a header; base is where they begin in the packet,
// for errors. o must be zero.
func (o *Options) parse(b []byte, base int) error {
	for i := 0; i < len(b); {
		kind := b[i]
		if kind == optNOP {
			i++
			continue
		}
		if kind == optEOL {
			return nil
		}
		if i+1 >= len(b) {
			return fmt.Errorf("rawtcp: %w: TCP option %d at byte %d, the last of the header, has no length", ErrMalformed, kind, base+i)
		}
		length := int(b[i+1])
		if length < 2 || length > len(b)-i {
			return fmt.Errorf("rawtcp: %w: TCP option %d at byte %d has length %d, %d bytes of header are left", ErrMalformed, kind, base+i, length, len(b)-i)
		}
		opt := b[i : i+length]
		legal := true
		switch kind {
		case optMSS:
			if legal = length == lenMSS; legal {
				o.MSS = binary.BigEndian.Uint16(opt[2:])
			}
		case optWScale:
			if legal = length == lenWScale; legal {
				o.HasWScale, o.WScale = true, min(opt[2], maxWScale)
			}
		case optSACKPermitted:
			if legal = length == lenSACKPermitted; legal {
				o.SACKPermitted = true
			}
		case optSACK:
			if legal = length > 2 && length <= 2+4*lenSACKBlock && (length-2)%lenSACKBlock == 0; legal {
				o.NSACK = uint8((length - 2) / lenSACKBlock)
				o.SACK = [4]SACKBlock{}
				for n := range o.NSACK {
					at := opt[2+lenSACKBlock*int(n):]
					o.SACK[n] = SACKBlock{Seq(binary.BigEndian.Uint32(at)), Seq(binary.BigEndian.Uint32(at[4:]))}
				}
			}
		case optTimestamps:
			if legal = length == lenTimestamps; legal {
				o.HasTimestamps = true
				o.TSVal = binary.BigEndian.Uint32(opt[2:])
				o.TSEcr = binary.BigEndian.Uint32(opt[6:])
			}
		case optFastOpen:
			o.FastOpen = true // any length from 2 on: the cookie is not looked at
		case optMPTCP:
			if legal = length >= minMPTCP; legal {
				o.MPTCP = true
			}
		default:
			o.Other = true
		}
		if !legal {
			return fmt.Errorf("rawtcp: %w: TCP option %d at byte %d has length %d, which its kind cannot have", ErrMalformed, kind, base+i, length)
		}
		i += length
	}
	return nil
}
