package capture

import (
	"math"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/rawtcp"
)

// record is an Event as a flow keeps it: small, and without pointers, so that
// many flows take little memory and the garbage collector passes them by.
type record struct {
	sec            int64 // Unix time; noTime = the zero time.Time
	relSeq, relAck int64
	ns             int32
	omitted        int32
	n              int32
	more           int32 // index of a remark, from 1; 0 = none
	seq, ack       uint32
	tsval, tsecr   uint32
	window, id     uint16
	mss            uint16
	options        optionBits
	wscale         uint8
	ttl            uint8
	flags          rawtcp.Flags
	dir            Direction
	end            int8
	opening, again bool
}

const noTime = math.MinInt64

// optionBits are the options of a SYN that a ladder shows.
type optionBits uint8

const (
	hasSYN optionBits = 1 << iota // a SYN: options are shown
	hasSACK
	hasTS
	hasWScale
	hasFastOpen
	hasMPTCP
	hasOther
)

// remark is what few records have.
type remark struct {
	note, icmp string
	src, dst   netip.AddrPort // of an ICMP error
}

func (r *record) setTime(t time.Time) {
	if t.IsZero() {
		r.sec = noTime
		return
	}
	r.sec, r.ns = t.Unix(), int32(t.Nanosecond())
}

func (r *record) time(loc *time.Location) time.Time {
	if r.sec == noTime {
		return time.Time{}
	}
	return time.Unix(r.sec, int64(r.ns)).In(loc)
}

// setSegment takes a segment's fields.
func (r *record) setSegment(s *rawtcp.Segment) {
	r.ttl, r.id, r.flags, r.window = s.TTL, s.ID, s.Flags, s.Window
	r.seq = uint32(s.Seq)
	r.n = int32(max(s.PayloadLen, len(s.Payload)))
	if s.Flags&rawtcp.ACK != 0 {
		r.ack = uint32(s.Ack)
	}
	o := &s.Options
	if o.HasTimestamps {
		r.tsval, r.tsecr = o.TSVal, o.TSEcr
	}
	if s.Flags&rawtcp.SYN == 0 {
		return
	}
	r.mss, r.wscale, r.options = o.MSS, o.WScale, hasSYN
	for _, b := range []struct {
		has bool
		bit optionBits
	}{{o.SACKPermitted, hasSACK}, {o.HasTimestamps, hasTS}, {o.HasWScale, hasWScale}, {o.FastOpen, hasFastOpen}, {o.MPTCP, hasMPTCP}, {o.Other, hasOther}} {
		if b.has {
			r.options |= b.bit
		}
	}
}

func (r *record) isBareSYN() bool {
	return r.flags&(rawtcp.SYN|rawtcp.ACK|rawtcp.RST) == rawtcp.SYN
}

// events are the records as Timeline shows them; a is the index of the end
// called a.
func (f *flow) events(t *tuple, a int8, ref time.Time, z *Analyzer) []Event {
	if len(f.records) == 0 {
		return nil
	}
	list := make([]Event, len(f.records))
	for i := range f.records {
		r, e := &f.records[i], &list[i]
		*e = Event{
			Time: r.time(z.loc), Where: z.cfg.Where, From: EndB, Dir: r.dir, Src: t.end[r.end], Dst: t.end[1-r.end],
			TTL: r.ttl, Flags: r.flags, Seq: r.seq, Ack: r.ack, RelSeq: r.relSeq, RelAck: r.relAck, Window: r.window, Len: int(r.n),
			TSVal: r.tsval, TSEcr: r.tsecr, Retransmission: r.again, Omitted: int(r.omitted), id: r.id, opening: r.opening,
		}
		if r.end == a {
			e.From = EndA
		}
		if r.options != 0 {
			e.Options = OptionsText(&rawtcp.Options{
				MSS: r.mss, WScale: r.wscale, SACKPermitted: r.options&hasSACK != 0, HasTimestamps: r.options&hasTS != 0,
				HasWScale: r.options&hasWScale != 0, FastOpen: r.options&hasFastOpen != 0, MPTCP: r.options&hasMPTCP != 0, Other: r.options&hasOther != 0,
			})
		}
		if r.more > 0 {
			m := &f.remarks[r.more-1]
			e.Note = m.note
			if m.icmp != "" {
				e.ICMP, e.Src, e.Dst = m.icmp, m.src, m.dst
			}
		}
		e.At = e.Time.Sub(ref)
	}
	return list
}
