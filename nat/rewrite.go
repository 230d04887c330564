package nat

import (
	"encoding/binary"

	"github.com/synpunch/synpunch/rawtcp"
)

// hop takes one off the TTL.
func (p *view) hop() {
	if p.v6 {
		p.b[7]--
		return
	}
	var c change
	c.put8(p.b, 8, p.b[8]-1)
	c.patch(p.b, 10)
}

// toOutside translates a segment of the inside.
func (n *NAT) toOutside(f *flow, p *view) {
	var c change
	if f.out != f.in {
		n.readdress(p, &c, 12, 0, f.out)
	}
	t := p.b[p.off:]
	if f.seqShift != 0 {
		c.put32(t, 4, p.seq+f.seqShift)
	}
	if f.tsShift != 0 {
		shiftTimestamp(t, p.data-p.off, 2, f.tsShift, &c)
	}
	n.trim(p, &c)
	c.patch(t, tcpChecksum)
}

// toInside translates a segment of the remote.
func (n *NAT) toInside(f *flow, p *view) {
	var c change
	if f.out != f.in {
		n.readdress(p, &c, 16, 2, f.in)
	}
	t := p.b[p.off:]
	if f.seqShift != 0 && p.flags&rawtcp.ACK != 0 {
		c.put32(t, 8, p.ack-f.seqShift)
		if n.b.RewriteSACK == SACKFixed {
			shiftSACK(t, p.data-p.off, -f.seqShift, &c)
		}
	}
	if f.tsShift != 0 && p.flags&rawtcp.ACK != 0 { // RFC 7323 section 3.2: TSecr is valid with ACK
		shiftTimestamp(t, p.data-p.off, 6, -f.tsShift, &c)
	}
	n.trim(p, &c)
	c.patch(t, tcpChecksum)
}

// shiftIn gives a view of an inbound segment the inside's numbers.
func (n *NAT) shiftIn(f *flow, p *view) {
	if p.flags&rawtcp.ACK != 0 {
		p.ack -= f.seqShift
	}
}

// readdress writes an endpoint over one of the IPv4 packet's: its address at
// the offset addr of the IP header, its port at the offset port of the TCP header.
func (n *NAT) readdress(p *view, c *change, addr, port int, e endpoint) {
	var ipc change
	ipc.put32(p.b, addr, uint32(e.lo))
	ipc.patch(p.b, 10)
	*c += ipc // the pseudo-header has the address too
	c.put16(p.b[p.off:], port, uint16(e.port))
}

// trim clamps the MSS and strips options of a SYN.
func (n *NAT) trim(p *view, c *change) {
	if p.flags&rawtcp.SYN == 0 || n.b.MSSClamp == 0 && n.b.StripOptions == 0 {
		return
	}
	t, opts := p.b[p.off:], p.options()
	eachOption(opts, func(at, length int) {
		place := headerTCP + at
		if n.b.StripOptions&optionOf(opts[at:at+length]) != 0 {
			for i := range length {
				c.put8(t, place+i, optNOP)
			}
			return
		}
		if opts[at] == optMSS && length == optMSSLen && n.b.MSSClamp > 0 {
			if mss := binary.BigEndian.Uint16(opts[at+2:]); mss > n.b.MSSClamp {
				c.put8(t, place+2, uint8(n.b.MSSClamp>>8))
				c.put8(t, place+3, uint8(n.b.MSSClamp))
			}
		}
	})
}

// optionOf says which knob names the option o.
func optionOf(o []byte) OptionSet {
	switch o[0] {
	case optMSS:
		return OptMSS
	case optScale:
		return OptWScale
	case optSACKOK:
		return OptSACK
	case optTimestamps:
		return OptTimestamps
	case optFastOpen:
		return OptFastOpen
	case optExperiment1:
		if len(o) >= optFastOpenExpLen && binary.BigEndian.Uint16(o[2:]) == optFastOpenMagic {
			return OptFastOpen
		}
	case optMPTCP:
		return OptMPTCP
	}
	return OptUnknown
}

// shiftTimestamp adds to TSval (at is 2) or TSecr (6) of the TCP header t.
func shiftTimestamp(t []byte, header, at int, by uint32, c *change) {
	opts := t[headerTCP:header]
	eachOption(opts, func(i, length int) {
		if opts[i] == optTimestamps && length == optTimestampsLen {
			c.putAny(t, headerTCP+i+at, binary.BigEndian.Uint32(opts[i+at:])+by)
		}
	})
}

// shiftSACK adds to both edges of every SACK block.
func shiftSACK(t []byte, header int, by uint32, c *change) {
	opts := t[headerTCP:header]
	eachOption(opts, func(i, length int) {
		if opts[i] != optSACK || (length-2)%8 != 0 {
			return
		}
		for j := i + 2; j < i+length; j += 4 {
			c.putAny(t, headerTCP+j, binary.BigEndian.Uint32(opts[j:])+by)
		}
	})
}
