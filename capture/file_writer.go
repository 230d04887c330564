package capture

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

// writerApplication is the shb_userappl of our files.
const writerApplication = "synpunch"

// nanoResol is the if_tsresol of our files: units of 10^-9 s.
const nanoResol = 9

// Writer writes packets to a pcapng file that Wireshark, tshark and tcpdump
// read: nanosecond timestamps, the direction and a comment with each packet, the
// statistics of the interfaces at the end.
//
// Each packet, and each other block, reaches the underlying writer in one Write
// call, and nothing is kept back: a capture is whole up to its last packet
// whatever happens to the program, and can be read while it grows. Buffer trades
// that for speed.
//
// It is for one goroutine at a time.
type Writer struct {
	w      io.Writer
	buf    []byte // reused
	start  int    // of the block begun, in buf
	hold   int    // bytes of buf that may wait
	ifaces []Interface
	failed error
}

// NewWriter writes the head of a file: the section with the hardware, the
// operating system and the application, and a description of each interface. A
// Packet names its interface by its position here, and AddInterface adds more
// later.
//
// libpcap, and so tcpdump, refuses files whose interfaces differ in link type or
// Snaplen, and files with a second interface of LinkRaw (it compares 101 with its
// own number for that type, 12): for several interfaces use LinkLinuxSLL2, as
// Live does under Config.Cooked. Wireshark reads all of them.
func NewWriter(w io.Writer, ifaces ...Interface) (*Writer, error) {
	wr := &Writer{w: w}
	wr.begin(ngSHB)
	wr.u32(ngByteOrder)
	wr.u16(ngMajor)
	wr.u16(0)              // minor version
	wr.u64(math.MaxUint64) // section length: not known
	wr.textOption(ngSHBHardware, runtime.GOARCH)
	wr.textOption(ngSHBOS, systemName())
	wr.textOption(ngSHBAppl, writerApplication)
	wr.option(ngOptEnd, nil)
	wr.finish()
	for _, i := range ifaces {
		if err := wr.describe(i); err != nil {
			return nil, err
		}
	}
	if err := wr.Flush(); err != nil {
		return nil, err
	}
	return wr, nil
}

// Buffer lets the writer hold back up to n bytes of whole blocks, for rates at
// which a system call for each packet costs too much. Flush writes them.
func (w *Writer) Buffer(n int) { w.hold = n }

// Flush writes what Buffer allowed to be held back.
func (w *Writer) Flush() error {
	if w.failed != nil || len(w.buf) == 0 {
		return w.failed
	}
	n, err := w.w.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	w.buf = w.buf[:0]
	if err != nil {
		w.failed = fmt.Errorf("capture: write: %w", err)
	}
	return w.failed
}

// AddInterface describes one more interface and returns the index that its
// packets carry in Packet.Interface.
func (w *Writer) AddInterface(i Interface) (int, error) {
	if w.failed != nil {
		return 0, w.failed
	}
	if err := w.describe(i); err != nil {
		return 0, err
	}
	return len(w.ifaces) - 1, w.done()
}

// WritePacket writes one packet in one Write call. Data longer than the
// Snaplen of the interface are cut to it, a Len shorter than Data is raised. The
// zero Time is written as the Unix epoch.
//
// It returns an error, and writes nothing, when the packet names an interface
// that was not described, when its link type is not the interface's, and when
// time, data (256 KiB) or comment (65,535 bytes) do not fit the format. An error
// of the underlying writer is final: the file may end in half a block.
func (w *Writer) WritePacket(p Packet) error {
	if w.failed != nil {
		return w.failed
	}
	if p.Interface < 0 || p.Interface >= len(w.ifaces) {
		return fmt.Errorf("capture: write a packet of interface %d: the file describes %d", p.Interface, len(w.ifaces))
	}
	in := &w.ifaces[p.Interface]
	if p.Link != in.Link {
		return fmt.Errorf("capture: write a packet of link type %v: interface %d has %v", p.Link, p.Interface, in.Link)
	}
	ts, err := nanoStamp(p.Time)
	if err != nil {
		return fmt.Errorf("capture: write a packet: %w", err)
	}
	data := p.Data
	length := max(p.Len, len(data))
	if in.Snaplen > 0 && len(data) > in.Snaplen {
		data = data[:in.Snaplen]
	}
	if len(data) > maxSnaplen {
		return fmt.Errorf("capture: write a packet of %d bytes: other programs read at most %d", len(data), maxSnaplen)
	}
	if uint64(length) > math.MaxUint32 {
		return fmt.Errorf("capture: write a packet with a length of %d", length)
	}
	if len(p.Comment) > math.MaxUint16 {
		return fmt.Errorf("capture: write a comment of %d bytes: the format ends at %d", len(p.Comment), math.MaxUint16)
	}
	w.begin(ngEPB)
	w.u32(uint32(p.Interface))
	w.u32(uint32(ts >> 32))
	w.u32(uint32(ts))
	w.u32(uint32(len(data)))
	w.u32(uint32(length))
	w.buf = append(w.buf, data...)
	w.pad()
	w.textOption(ngOptComment, p.Comment)
	switch p.Dir {
	case DirIn:
		w.flagsOption(ngFlagIn)
	case DirOut:
		w.flagsOption(ngFlagOut)
	}
	if p.Dir != DirUnknown || p.Comment != "" {
		w.u32(ngOptEnd) // code and length
	}
	w.finish()
	return w.done()
}

// WriteStats writes the counters of an interface since the capture began, as
// Live.Stats gives them: the last one in a file counts. at is when they were
// read.
func (w *Writer) WriteStats(iface int, at time.Time, received, dropped uint64) error {
	if w.failed != nil {
		return w.failed
	}
	if iface < 0 || iface >= len(w.ifaces) {
		return fmt.Errorf("capture: write statistics of interface %d: the file describes %d", iface, len(w.ifaces))
	}
	ts, err := nanoStamp(at)
	if err != nil {
		return fmt.Errorf("capture: write statistics: %w", err)
	}
	w.begin(ngISB)
	w.u32(uint32(iface))
	w.u32(uint32(ts >> 32))
	w.u32(uint32(ts))
	w.counterOption(ngISBIfRecv, received)
	w.counterOption(ngISBIfDrop, dropped)
	w.option(ngOptEnd, nil)
	w.finish()
	return w.done()
}

// describe appends an interface description block.
func (w *Writer) describe(i Interface) error {
	if i.Snaplen < 0 || i.Snaplen > maxSnaplen {
		return fmt.Errorf("capture: describe interface %q: snapshot length %d is not in 0 to %d", i.Name, i.Snaplen, maxSnaplen)
	}
	for _, s := range []string{i.Name, i.Description, i.Filter, i.OS} {
		if len(s) > maxText {
			return fmt.Errorf("capture: describe interface %.32q: a text of %d bytes (at most %d)", i.Name, len(s), maxText)
		}
	}
	w.begin(ngIDB)
	w.u16(uint16(i.Link))
	w.u16(0)
	w.u32(uint32(i.Snaplen))
	w.textOption(ngIfName, i.Name)
	w.textOption(ngIfDescription, i.Description)
	w.option(ngIfTSResol, []byte{nanoResol})
	if i.Filter != "" {
		w.textOption(ngIfFilter, "\x00"+i.Filter) // 0: a libpcap filter string follows
	}
	w.textOption(ngIfOS, i.OS)
	w.option(ngOptEnd, nil)
	w.finish()
	w.ifaces = append(w.ifaces, i)
	return nil
}

// nanoStamp is t in nanoseconds since 1970.
func nanoStamp(t time.Time) (uint64, error) {
	if t.IsZero() {
		return 0, nil
	}
	s := t.Unix()
	if s < 0 || s >= math.MaxUint64/1_000_000_000 {
		return 0, fmt.Errorf("the time %v is before 1970 or after 2554", t)
	}
	return uint64(s)*1e9 + uint64(t.Nanosecond()), nil
}

// done hands finished blocks to the underlying writer, unless they may wait.
func (w *Writer) done() error {
	if len(w.buf) < w.hold {
		return nil
	}
	return w.Flush()
}

// begin starts a block at the end of buf; finish fills in its two lengths. The
// head of a file is several blocks in one Write. Our files are little-endian on
// every machine.
func (w *Writer) begin(typ uint32) {
	w.start = len(w.buf)
	w.u32(typ)
	w.u32(0)
}

func (w *Writer) finish() {
	total := uint32(len(w.buf) - w.start + 4)
	binary.LittleEndian.PutUint32(w.buf[w.start+4:], total)
	w.u32(total)
}

func (w *Writer) option(code uint16, value []byte) {
	w.u16(code)
	w.u16(uint16(len(value)))
	w.buf = append(w.buf, value...)
	w.pad()
}

// textOption writes nothing for an empty text.
func (w *Writer) textOption(code uint16, s string) {
	if s == "" {
		return
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	w.u16(code)
	w.u16(uint16(len(s)))
	w.buf = append(w.buf, s...)
	w.pad()
}

func (w *Writer) flagsOption(flags uint32) {
	w.u32(4<<16 | ngEPBFlags)
	w.u32(flags)
}

func (w *Writer) counterOption(code uint16, n uint64) {
	w.u16(code)
	w.u16(8)
	w.u64(n)
}

func (w *Writer) u16(v uint16) { w.buf = binary.LittleEndian.AppendUint16(w.buf, v) }
func (w *Writer) u32(v uint32) { w.buf = binary.LittleEndian.AppendUint32(w.buf, v) }
func (w *Writer) u64(v uint64) { w.buf = binary.LittleEndian.AppendUint64(w.buf, v) }

var zeros [4]byte

// pad fills up to a multiple of 4 bytes.
func (w *Writer) pad() {
	if n := (len(w.buf) - w.start) % 4; n != 0 {
		w.buf = append(w.buf, zeros[:4-n]...)
	}
}
