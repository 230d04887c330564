package capture

import "encoding/binary"

// Given by the format (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html
// and, for the modified and old variants, libpcap's sf-pcap.c).
const (
	pcapMicro    = 0xa1b2c3d4
	pcapNano     = 0xa1b23c4d
	pcapModified = 0xa1b2cd34 // Kuznetzov's: record headers carry interface, protocol and packet type

	pcapHeaderLen         = 24
	pcapRecordLen         = 16
	pcapModifiedRecordLen = 24

	pcapMajor   = 2
	pcapDGMajor = 543 // DG/UX
)

// pcapFormat is what the header of a pcap file decides.
type pcapFormat struct {
	link      LinkType
	nano      bool
	recordLen int
	maxLen    uint32 // of a packet
	swapped   bool   // wire length before captured length (2.0 to 2.2)
	unsure    bool   // one or the other order (2.3): the captured length is the smaller
}

// readPcapHeader reads the file header, false when the magic is another's.
func (r *Reader) readPcapHeader() (bool, error) {
	magic := binary.LittleEndian.Uint32(r.buf[r.pos:])
	r.big = false
	for {
		if magic == pcapMicro || magic == pcapNano || magic == pcapModified {
			break
		}
		if r.big {
			return false, nil
		}
		r.big = true
		magic = binary.BigEndian.Uint32(r.buf[r.pos:])
	}
	if err := r.need(pcapHeaderLen); err != nil {
		return true, r.ended(err, "the pcap file header is cut")
	}
	b := r.buf[r.pos:]
	major, minor := r.u16(b[4:]), r.u16(b[6:])
	f := pcapFormat{nano: magic == pcapNano, recordLen: pcapRecordLen}
	if magic == pcapModified {
		f.recordLen = pcapModifiedRecordLen
	}
	switch {
	case major == pcapMajor:
		f.swapped, f.unsure = minor < 3, minor == 3
	case major == pcapDGMajor:
		f.swapped = true
	default:
		return true, r.corrupt("pcap version %d.%d is not known", major, minor)
	}
	snaplen := r.u32(b[16:])
	// The upper half of the link type field holds flags and the length of the
	// frame check sequence.
	f.link = LinkType(r.u32(b[20:]) & 0xffff)
	if f.link == linkRawBSD || f.link == linkRawOpenBSD {
		f.link = LinkRaw
	}
	// Writers are not exact about the snapshot length: some put 0 or less than
	// the longest packet.
	f.maxLen = max(maxSnaplen, min(snaplen, maxBlock))
	r.pcap = f
	kept := 0
	if snaplen <= maxBlock {
		kept = int(snaplen)
	}
	r.addInterface(Interface{Link: f.link, Snaplen: kept})
	r.pos += pcapHeaderLen
	return true, nil
}

func (r *Reader) nextPcap(p *Packet) error {
	f := &r.pcap
	if err := r.need(f.recordLen); err != nil {
		if r.end == r.pos {
			return err // io.EOF between records, or a failed read
		}
		return r.ended(err, "the last packet's header is cut")
	}
	h := r.buf[r.pos : r.pos+f.recordLen]
	captured, original := r.u32(h[8:]), r.u32(h[12:])
	if f.swapped || f.unsure && captured > original {
		captured, original = original, captured
	}
	if captured > f.maxLen {
		return r.corrupt("a packet of %d bytes, more than the %d this file can have", captured, f.maxLen)
	}
	n := f.recordLen + int(captured)
	if err := r.need(n); err != nil {
		return r.ended(err, "the last packet is cut")
	}
	h = r.buf[r.pos : r.pos+f.recordLen] // need may have moved it
	sec, ns := int64(r.u32(h)), int64(r.u32(h[4:]))
	if !f.nano {
		ns *= 1000
	}
	p.Time = unixTime(sec, ns)
	p.Data = r.buf[r.pos+f.recordLen : r.pos+n : r.pos+n]
	p.Len = wireLen(original, int(captured))
	p.Link = f.link
	if f.recordLen == pcapModifiedRecordLen {
		p.Dir = packetTypeDirection(h[22]) // after interface (4 bytes) and protocol (2)
	}
	r.pos += n
	return nil
}
