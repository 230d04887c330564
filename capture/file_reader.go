package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Chosen by us.
const (
	// readBuffer is the size of a read: large enough that the system calls do not
	// show, small enough for a second level cache.
	readBuffer = 256 << 10
	// maxBlock bounds what one packet or block may make us hold. Programs snap at
	// 256 KiB; only damage and malice ask for more than this.
	maxBlock = 16 << 20
	// maxInterfaces and maxText bound what a file can make us remember.
	maxInterfaces = 1 << 16
	maxText       = 4096
)

// maxSnaplen is the most that libpcap and Wireshark keep of a packet of ours
// (MAXIMUM_SNAPLEN in libpcap's pcap-int.h).
const maxSnaplen = 256 << 10

// ErrCorrupt is what every *CorruptError matches.
var ErrCorrupt = errors.New("capture file is damaged")

// CorruptError says where a capture file stops making sense. What Next returned
// before it is good.
type CorruptError struct {
	Offset    int64  // of the header, record or block concerned, in bytes from the start of the input
	Reason    string // for people
	Truncated bool   // the input ended early, as after a full disk or a killed program
}

// Error names the reason and the offset.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("capture: %s (at byte %d)", e.Reason, e.Offset)
}

// Is matches ErrCorrupt, and io.ErrUnexpectedEOF when the input ended early.
func (e *CorruptError) Is(target error) bool {
	return target == ErrCorrupt || e.Truncated && target == io.ErrUnexpectedEOF
}

// Reader reads packets from a pcap or a pcapng file. It keeps no more than one
// packet or block, so a file may be larger than memory, and may be a pipe. It
// is for one goroutine at a time.
type Reader struct {
	src  io.Reader
	rerr error // what src said last

	buf      []byte
	pos, end int   // unread bytes are buf[pos:end]
	base     int64 // offset of buf[0] in the input

	big    bool // byte order of the file or section
	ng     bool
	pcap   pcapFormat
	ngIfs  []ngInterface // of the current section
	ngBase int           // index of the section's first interface in ifaces

	ifaces []Interface
	drops  []dropCount // one for each of ifaces
	failed error       // returned by Next for ever
}

// dropCount is what a file says about the packets that one interface lost.
type dropCount struct {
	stats   uint64 // from the last interface statistics block
	packets uint64 // summed from obsolete packet blocks
	known   bool
}

// NewReader detects the format of r and reads its header: pcap with
// microseconds or nanoseconds in either byte order (also Kuznetzov's modified
// record headers and the old versions 2.0 to 2.3), or pcapng. It returns a
// *CorruptError for anything else, and the error of r, wrapped, when reading
// fails.
//
// Reader buffers by itself: give it the file.
func NewReader(r io.Reader) (*Reader, error) {
	rd := &Reader{src: r, buf: make([]byte, readBuffer)}
	if err := rd.need(4); err != nil {
		return nil, rd.ended(err, "no capture file: fewer than 4 bytes")
	}
	magic := rd.buf[:4]
	if binary.LittleEndian.Uint32(magic) == ngSHB {
		rd.ng = true
		if err := rd.readSection(); err != nil {
			return nil, err
		}
		return rd, nil
	}
	ok, err := rd.readPcapHeader()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, rd.corrupt("neither pcap nor pcapng: the first bytes are % x%s", magic, knownAs(magic))
	}
	return rd, nil
}

// knownAs helps with files that only need another step.
func knownAs(magic []byte) string {
	switch {
	case magic[0] == 0x1f && magic[1] == 0x8b:
		return ", as of a gzip file: decompress it first"
	case binary.LittleEndian.Uint32(magic) == 0xfd2fb528:
		return ", as of a zstd file: decompress it first"
	case magic[0] == 'B' && magic[1] == 'Z' && magic[2] == 'h':
		return ", as of a bzip2 file: decompress it first"
	case string(magic) == "snoo":
		return ", as of a snoop file: convert it with editcap"
	}
	return ""
}

// Next returns the next packet. Its Data are valid until the next call. It
// returns io.EOF after the last packet of an intact file, a *CorruptError where
// a file is damaged or cut, and the error of the underlying reader, wrapped. An
// error is final.
//
// A packet of a pcapng section has the index of its interface in Interfaces. Its
// Dir is set where the file says it: in the flags of the packet, in a Linux
// cooked header or in a modified record header. Next allocates only for packets
// with comments.
func (r *Reader) Next() (Packet, error) {
	if r.failed != nil {
		return Packet{}, r.failed
	}
	var p Packet
	var err error
	if r.ng {
		err = r.nextNG(&p)
	} else {
		err = r.nextPcap(&p)
	}
	if err != nil {
		r.failed = err
		return Packet{}, err
	}
	if p.Dir == DirUnknown {
		p.Dir = cookedDirection(p.Link, p.Data)
	}
	return p, nil
}

// Interfaces returns the interfaces described so far. A pcap file has one; the
// list of a pcapng file may grow with each Next.
func (r *Reader) Interfaces() []Interface {
	return append([]Interface(nil), r.ifaces...)
}

// Dropped returns how many packets the file says were lost on all interfaces,
// from the statistics and packets read so far; false when it says nothing.
// pcapng files carry the statistics at their end, pcap files never.
func (r *Reader) Dropped() (uint64, bool) {
	var n uint64
	known := false
	for _, d := range r.drops {
		n += max(d.stats, d.packets)
		known = known || d.known
	}
	return n, known
}

// addInterface remembers an interface; false when there are too many.
func (r *Reader) addInterface(i Interface) bool {
	if len(r.ifaces) >= maxInterfaces {
		return false
	}
	r.ifaces = append(r.ifaces, i)
	r.drops = append(r.drops, dropCount{})
	return true
}

// cookedDirection reads the packet type of a Linux cooked header.
func cookedDirection(l LinkType, b []byte) Direction {
	var typ byte
	switch {
	case l == LinkLinuxSLL && len(b) >= sllLen:
		if b[0] != 0 {
			return DirUnknown
		}
		typ = b[1]
	case l == LinkLinuxSLL2 && len(b) >= sll2Len:
		typ = b[10]
	default:
		return DirUnknown
	}
	return packetTypeDirection(typ)
}

// packetTypeDirection maps a PACKET_ constant of packet(7): 0 to 3 are to us, a
// broadcast, a multicast and to somebody else, 4 is sent by us.
func packetTypeDirection(typ byte) Direction {
	switch {
	case typ < sllOutgoing:
		return DirIn
	case typ == sllOutgoing:
		return DirOut
	}
	return DirUnknown
}

// unixTime makes a time; the zero time for what is outside the years 1 to
// 9999, which no packet has and encodings of time refuse.
func unixTime(sec int64, ns int64) time.Time {
	const first, last = -62135596800, 253402300799
	if sec <= first || sec > last {
		return time.Time{}
	}
	return time.Unix(sec, ns)
}

// wireLen makes a length from a file usable: at least what was captured, and an
// int on every machine.
func wireLen(original uint32, captured int) int {
	return max(captured, int(min(original, math.MaxInt32)))
}

// u16, u32 and u64 read numbers in the byte order of the file.
func (r *Reader) u16(b []byte) uint16 {
	if r.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (r *Reader) u32(b []byte) uint32 {
	if r.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (r *Reader) u64(b []byte) uint64 {
	if r.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// corrupt makes an error about what begins at pos.
func (r *Reader) corrupt(format string, args ...any) error {
	return &CorruptError{Offset: r.base + int64(r.pos), Reason: fmt.Sprintf(format, args...)}
}

// ended turns an error of need into one for the caller; reason is for an
// input that ended early.
func (r *Reader) ended(err error, reason string) error {
	if err == io.EOF {
		return &CorruptError{Offset: r.base + int64(r.pos), Reason: reason, Truncated: true}
	}
	return err
}

// need makes at least n bytes available at buf[pos:]. It returns io.EOF when the
// input has fewer.
func (r *Reader) need(n int) error {
	if r.end-r.pos >= n {
		return nil
	}
	return r.fill(n)
}

func (r *Reader) fill(n int) error {
	copy(r.buf, r.buf[r.pos:r.end])
	r.base += int64(r.pos)
	r.end -= r.pos
	r.pos = 0
	idle := 0
	for r.end < n {
		if r.rerr != nil {
			if r.rerr == io.EOF {
				return io.EOF
			}
			return fmt.Errorf("capture: read at byte %d: %w", r.base+int64(r.end), r.rerr)
		}
		if r.end == len(r.buf) {
			// Doubling with the data that came, not by what a length field claims.
			bigger := make([]byte, 2*len(r.buf))
			copy(bigger, r.buf)
			r.buf = bigger
		}
		var m int
		m, r.rerr = r.src.Read(r.buf[r.end:])
		if m < 0 || m > len(r.buf)-r.end {
			r.rerr = fmt.Errorf("the source returned a count of %d", m)
			continue
		}
		r.end += m
		if m == 0 && r.rerr == nil {
			if idle++; idle == 100 {
				r.rerr = io.ErrNoProgress
			}
		}
	}
	return nil
}
