package capture

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strings"
	"time"
)

// Given by the format (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html).
const (
	ngSHB = 0x0a0d0d0a // section header; the same in both byte orders
	ngIDB = 1          // interface description
	ngPB  = 2          // packet (obsolete)
	ngSPB = 3          // simple packet
	ngISB = 5          // interface statistics
	ngEPB = 6          // enhanced packet

	ngByteOrder = 0x1a2b3c4d
	ngMajor     = 1

	ngBlockMin = 12 // type, length, length again
	ngSHBMin   = 28
	ngIDBMin   = 8 // of the body, as the following
	ngPBMin    = 20
	ngSPBMin   = 4
	ngISBMin   = 12
	ngEPBMin   = 20

	ngOptEnd     = 0
	ngOptComment = 1

	ngSHBHardware = 2
	ngSHBOS       = 3
	ngSHBAppl     = 4

	ngIfName        = 2
	ngIfDescription = 3
	ngIfTSResol     = 9
	ngIfFilter      = 11
	ngIfOS          = 12
	ngIfTSOffset    = 14

	ngEPBFlags = 2 // of the obsolete packet block too

	ngISBIfRecv = 4
	ngISBIfDrop = 5
	ngISBOSDrop = 7

	ngFlagIn  = 1 // the two lowest bits of the packet flags
	ngFlagOut = 2

	ngDefaultResol = 6     // microseconds
	ngDropsUnknown = 65535 // in an obsolete packet block
)

// ngInterface is what the packets of an interface need to be read.
type ngInterface struct {
	link    LinkType
	snaplen uint32 // 0 = no limit
	resol   uint8  // if_tsresol: 10^-resol s, with the top bit 2^-(resol&127) s
	offset  int64  // if_tsoffset, s
}

// time converts a timestamp in units of the interface.
func (i *ngInterface) time(ts uint64) time.Time {
	var sec, ns uint64
	switch {
	case i.resol == 9:
		sec, ns = ts/1e9, ts%1e9
	case i.resol == 6:
		sec, ns = ts/1e6, ts%1e6*1000
	case i.resol&0x80 != 0:
		// ts / 2^n seconds; the fraction is its low n bits, times 10^9, shifted.
		n := uint(i.resol & 0x7f)
		frac := ts
		if n < 64 {
			sec, frac = ts>>n, ts&(1<<n-1)
		}
		hi, lo := bits.Mul64(frac, 1e9)
		if n < 64 {
			ns = hi<<(64-n) | lo>>n
		} else {
			ns = hi >> (n - 64)
		}
	case i.resol < 9:
		unit := pow10(i.resol)
		sec, ns = ts/unit, ts%unit*pow10(9-i.resol)
	case i.resol <= maxPow10:
		unit := pow10(i.resol)
		sec, ns = ts/unit, ts%unit/pow10(i.resol-9)
	case i.resol <= 9+maxPow10:
		ns = ts / pow10(i.resol-9)
	}
	if sec > math.MaxInt64/2 {
		return time.Time{}
	}
	s := int64(sec) + i.offset
	if i.offset > 0 && s < 0 {
		return time.Time{}
	}
	return unixTime(s, int64(ns))
}

const maxPow10 = 19 // 10^19 is the largest in a uint64

func pow10(n uint8) uint64 {
	v := uint64(1)
	for range n {
		v *= 10
	}
	return v
}

// nextNG reads blocks up to the next packet.
func (r *Reader) nextNG(p *Packet) error {
	for {
		if err := r.need(ngBlockMin); err != nil {
			if r.end == r.pos {
				return err // io.EOF between blocks, or a failed read
			}
			return r.ended(err, "the last block's header is cut")
		}
		typ := r.u32(r.buf[r.pos:])
		if typ == ngSHB {
			if err := r.readSection(); err != nil {
				return err
			}
			continue
		}
		body, n, err := r.block(ngBlockMin)
		if err != nil {
			return err
		}
		found := false
		switch typ {
		case ngEPB:
			err, found = r.enhancedPacket(p, body), true
		case ngSPB:
			err, found = r.simplePacket(p, body), true
		case ngPB:
			err, found = r.oldPacket(p, body), true
		case ngIDB:
			err = r.interfaceDescription(body)
		case ngISB:
			err = r.interfaceStatistics(body)
		}
		// Any other block is skipped.
		if err != nil {
			return err
		}
		r.pos += n
		if found {
			return nil
		}
	}
}

// block makes the block at pos available and checks its frame. It returns the
// body, between the two lengths, and the length of the block.
func (r *Reader) block(shortest uint32) ([]byte, int, error) {
	b := r.buf[r.pos:]
	total := r.u32(b[4:])
	switch {
	case total < shortest:
		return nil, 0, r.corrupt("a block of type %#x has length %d, less than its header", r.u32(b), total)
	case total%4 != 0:
		return nil, 0, r.corrupt("a block of type %#x has length %d, not a multiple of 4", r.u32(b), total)
	case total > maxBlock:
		return nil, 0, r.corrupt("a block of type %#x has length %d, more than the %d that are accepted", r.u32(b), total, maxBlock)
	}
	n := int(total)
	if err := r.need(n); err != nil {
		return nil, 0, r.ended(err, "the last block is cut")
	}
	b = r.buf[r.pos : r.pos+n]
	if again := r.u32(b[n-4:]); again != total {
		return nil, 0, r.corrupt("a block of type %#x has length %d at its start and %d at its end", r.u32(b), total, again)
	}
	return b[8 : n-4], n, nil
}

// readSection reads a section header: byte order and version. The interfaces of
// the section before are no longer named by packets.
func (r *Reader) readSection() error {
	if err := r.need(ngBlockMin); err != nil {
		return r.ended(err, "the section header is cut")
	}
	magic := r.buf[r.pos+8:]
	switch {
	case binary.LittleEndian.Uint32(magic) == ngByteOrder:
		r.big = false
	case binary.BigEndian.Uint32(magic) == ngByteOrder:
		r.big = true
	default:
		return r.corrupt("a section header has the byte-order magic % x", magic[:4])
	}
	body, n, err := r.block(ngSHBMin)
	if err != nil {
		return err
	}
	if major := r.u16(body[4:]); major != ngMajor {
		return r.corrupt("pcapng version %d.%d is not known", major, r.u16(body[6:]))
	}
	r.ngIfs = r.ngIfs[:0]
	r.ngBase = len(r.ifaces)
	r.pos += n
	return nil
}

func (r *Reader) interfaceDescription(body []byte) error {
	if len(body) < ngIDBMin {
		return r.corrupt("an interface description of %d bytes", len(body))
	}
	in := ngInterface{
		link:    LinkType(r.u16(body)),
		snaplen: r.u32(body[4:]),
		resol:   ngDefaultResol,
	}
	if in.link == linkRawBSD || in.link == linkRawOpenBSD {
		in.link = LinkRaw
	}
	out := Interface{Link: in.link}
	if in.snaplen <= maxBlock {
		out.Snaplen = int(in.snaplen)
	}
	opts := options{r: r, rest: body[ngIDBMin:]}
	for opts.next() {
		v := opts.value
		switch opts.code {
		case ngIfName:
			out.Name = text(v)
		case ngIfDescription:
			out.Description = text(v)
		case ngIfOS:
			out.OS = text(v)
		case ngIfFilter:
			if len(v) > 0 && v[0] == 0 { // 0: a libpcap filter string follows
				out.Filter = text(v[1:])
			}
		case ngIfTSResol:
			if len(v) >= 1 {
				in.resol = v[0]
			}
		case ngIfTSOffset:
			if len(v) >= 8 {
				in.offset = int64(r.u64(v))
			}
		}
	}
	if opts.err != nil {
		return opts.err
	}
	if !r.addInterface(out) {
		return r.corrupt("more than %d interfaces", maxInterfaces)
	}
	r.ngIfs = append(r.ngIfs, in)
	return nil
}

func (r *Reader) enhancedPacket(p *Packet, body []byte) error {
	if len(body) < ngEPBMin {
		return r.corrupt("an enhanced packet block of %d bytes", len(body))
	}
	ts := uint64(r.u32(body[4:]))<<32 | uint64(r.u32(body[8:]))
	return r.packet(p, r.u32(body), ts, r.u32(body[12:]), r.u32(body[16:]), body[ngEPBMin:])
}

func (r *Reader) oldPacket(p *Packet, body []byte) error {
	if len(body) < ngPBMin {
		return r.corrupt("a packet block of %d bytes", len(body))
	}
	id := r.u16(body)
	ts := uint64(r.u32(body[4:]))<<32 | uint64(r.u32(body[8:]))
	if err := r.packet(p, uint32(id), ts, r.u32(body[12:]), r.u32(body[16:]), body[ngPBMin:]); err != nil {
		return err
	}
	if drops := r.u16(body[2:]); drops != ngDropsUnknown {
		d := &r.drops[p.Interface]
		d.packets += uint64(drops)
		d.known = true
	}
	return nil
}

// packet reads the common part of enhanced and obsolete packet blocks: rest is
// the data, padded, and the options.
func (r *Reader) packet(p *Packet, id uint32, ts uint64, captured, original uint32, rest []byte) error {
	if uint64(id) >= uint64(len(r.ngIfs)) {
		return r.corrupt("a packet of interface %d, but the section describes %d", id, len(r.ngIfs))
	}
	if uint64(captured) > uint64(len(rest)) {
		return r.corrupt("a packet of %d bytes in a block with room for %d", captured, len(rest))
	}
	in := &r.ngIfs[id]
	n := int(captured)
	p.Time = in.time(ts)
	p.Data = rest[:n:n]
	p.Len = wireLen(original, n)
	p.Link = in.link
	p.Interface = r.ngBase + int(id)
	padded := (n + 3) &^ 3
	if len(rest) <= padded {
		return nil
	}
	opts := options{r: r, rest: rest[padded:]}
	for opts.next() {
		switch v := opts.value; {
		case opts.code == ngOptComment:
			if p.Comment == "" {
				p.Comment = strings.ToValidUTF8(string(v), "\uFFFD")
			} else if len(p.Comment) < maxText {
				p.Comment += "\n" + strings.ToValidUTF8(string(v), "\uFFFD")
			}
		case opts.code == ngEPBFlags && len(v) >= 4:
			switch r.u32(v) & 3 {
			case ngFlagIn:
				p.Dir = DirIn
			case ngFlagOut:
				p.Dir = DirOut
			}
		}
	}
	return opts.err
}

// simplePacket reads a block without time and length: the data are cut to the
// snapshot length of the first interface.
func (r *Reader) simplePacket(p *Packet, body []byte) error {
	if len(body) < ngSPBMin {
		return r.corrupt("a simple packet block of %d bytes", len(body))
	}
	if len(r.ngIfs) == 0 {
		return r.corrupt("a simple packet in a section without interfaces")
	}
	in := &r.ngIfs[0]
	original := r.u32(body)
	captured := original
	if in.snaplen != 0 {
		captured = min(captured, in.snaplen)
	}
	rest := body[ngSPBMin:]
	if uint64(captured) > uint64(len(rest)) {
		return r.corrupt("a packet of %d bytes in a block with room for %d", captured, len(rest))
	}
	n := int(captured)
	p.Data = rest[:n:n]
	p.Len = wireLen(original, n)
	p.Link = in.link
	p.Interface = r.ngBase
	return nil
}

func (r *Reader) interfaceStatistics(body []byte) error {
	if len(body) < ngISBMin {
		return r.corrupt("an interface statistics block of %d bytes", len(body))
	}
	id := r.u32(body)
	if uint64(id) >= uint64(len(r.ngIfs)) {
		return r.corrupt("statistics of interface %d, but the section describes %d", id, len(r.ngIfs))
	}
	var lost uint64
	known := false
	opts := options{r: r, rest: body[ngISBMin:]}
	for opts.next() {
		if c := opts.code; (c == ngISBIfDrop || c == ngISBOSDrop) && len(opts.value) >= 8 {
			lost += r.u64(opts.value)
			known = true
		}
	}
	if opts.err != nil {
		return opts.err
	}
	if known {
		d := &r.drops[r.ngBase+int(id)]
		d.stats, d.known = lost, true // counted since the start of the capture
	}
	return nil
}

// options walks the options of a block.
type options struct {
	r     *Reader
	rest  []byte
	code  uint16
	value []byte
	err   error
}

func (o *options) next() bool {
	if len(o.rest) < 4 {
		return false // none: blocks, data and options are multiples of 4 long
	}
	o.code = o.r.u16(o.rest)
	n := int(o.r.u16(o.rest[2:]))
	if o.code == ngOptEnd {
		return false
	}
	o.rest = o.rest[4:]
	if n > len(o.rest) {
		o.err = o.r.corrupt("option %d has length %d in a block with %d bytes left", o.code, n, len(o.rest))
		return false
	}
	o.value = o.rest[:n]
	o.rest = o.rest[(n+3)&^3:]
	return true
}

// text makes a string of an option, at most maxText bytes of it.
func text(b []byte) string {
	return strings.ToValidUTF8(string(b[:min(len(b), maxText)]), "\uFFFD")
}
