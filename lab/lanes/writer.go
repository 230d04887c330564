package lanes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/synpunch/synpunch/capture"
)

// ErrLane says that a place is none of Names.
var ErrLane = errors.New("no such lane")

// Names lists the lanes, which are the interfaces of a file, from a to b.
func Names() []string {
	return []string{capture.LaneA, capture.LaneNATA, capture.LaneNATB, capture.LaneB}
}

// Writer writes packets of the four lanes to a pcapng file. Its cooked headers are what
// tcpdump needs to read a file with several interfaces.
type Writer struct {
	w   *capture.Writer
	buf []byte
}

// NewWriter begins a file. The description, such as "virtual time", is said of every
// interface.
func NewWriter(w io.Writer, description string) (*Writer, error) {
	var list []capture.Interface
	for _, name := range Names() {
		list = append(list, capture.Interface{Name: name, Description: description, Link: capture.LinkLinuxSLL2})
	}
	c, err := capture.NewWriter(w, list...)
	if err != nil {
		return nil, err
	}
	return &Writer{w: c}, nil
}

// Packet is a packet at one of the lanes.
type Packet struct {
	Lane    string // one of Names
	Time    time.Time
	Out     bool   // it left the host, or the NAT towards the link; otherwise it came in
	Data    []byte // from the IP header on, perhaps cut
	Len     int    // of the whole packet, in bytes; 0: of Data
	Comment string // shown with the packet; may be empty
}

// Given by LINKTYPE_LINUX_SLL2 (www.tcpdump.org/linktypes) and linux/if_ether.h.
const (
	cookedLen      = 20
	cookedOutgoing = 4
	ethernetIPv4   = 0x0800
	ethernetIPv6   = 0x86dd
	arphrdNone     = 0xfffe
)

// Write writes one packet. A lane that is not one of Names is ErrLane.
func (w *Writer) Write(p Packet) error {
	lane := slices.Index(Names(), p.Lane)
	if lane < 0 || len(p.Data) == 0 {
		return fmt.Errorf("a packet of %d bytes at %q: %w", len(p.Data), p.Lane, ErrLane)
	}
	var head [cookedLen]byte
	binary.BigEndian.PutUint16(head[:], ethernetIPv4)
	if p.Data[0]>>4 == 6 {
		binary.BigEndian.PutUint16(head[:], ethernetIPv6)
	}
	binary.BigEndian.PutUint32(head[4:], uint32(lane)+1)
	binary.BigEndian.PutUint16(head[8:], arphrdNone)
	dir := capture.DirIn
	if p.Out {
		head[10] = cookedOutgoing
		dir = capture.DirOut
	}
	w.buf = append(append(w.buf[:0], head[:]...), p.Data...)
	return w.w.WritePacket(capture.Packet{
		Time: p.Time, Data: w.buf, Len: cookedLen + max(p.Len, len(p.Data)), Link: capture.LinkLinuxSLL2, Interface: lane, Dir: dir, Comment: p.Comment,
	})
}
