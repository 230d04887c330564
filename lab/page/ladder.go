package page

import (
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/rawtcp"
)

// places are the interfaces of a trial's capture, from A to B.
var places = []string{capture.LaneA, capture.LaneNATA, capture.LaneNATB, capture.LaneB}

// laneOf is the packets of one place.
type laneOf struct {
	name    string
	packets []capture.Packet
}

// readLanes reads a trial's capture. A file that ends in the middle gives what could
// be read, and the error.
func readLanes(files fs.FS, name string) ([]laneOf, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := capture.NewReader(f)
	if err != nil {
		return nil, err
	}
	lanes := make([]laneOf, len(places))
	for i, p := range places {
		lanes[i].name = p
	}
	for n := 0; ; n++ {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return lanes, err
		}
		if n == mostPackets {
			return lanes, fmt.Errorf("only the first %d packets were read", n)
		}
		if ifs := r.Interfaces(); p.Interface >= 0 && p.Interface < len(ifs) {
			if i := slices.Index(places, ifs[p.Interface].Name); i >= 0 {
				p.Data = slices.Clone(p.Data)
				lanes[i].packets = append(lanes[i].packets, p)
			}
		}
	}
	return lanes, nil
}

// mostPackets of a capture are read: a trial has some dozens, and a page must not hang
// on a file of gigabytes. Chosen by us.
const mostPackets = 20_000

// ladderOf draws a trial's packets from its instant on. It is nil where there is nothing
// to draw.
func ladderOf(lanes []laneOf, at time.Time) *capture.Ladder {
	from := owners(lanes)
	l := &capture.Ladder{Reference: at}
	var nats [2][]capture.Event
	for i, lane := range lanes {
		if len(lane.packets) == 0 {
			continue
		}
		a := endA(lane, from)
		z := capture.NewAnalyzer(&capture.AnalyzeConfig{A: netip.AddrPortFrom(a, 0), Reference: at, AllPackets: true, Where: lane.name})
		for _, p := range lane.packets {
			if lane.name != capture.LaneA && lane.name != capture.LaneB {
				p.Dir = capture.DirUnknown // neither end is here
			}
			z.Add(&p)
		}
		timelines, _ := z.Finish(time.Time{})
		l.Lanes, l.Notes = append(l.Lanes, lane.name), append(l.Notes, placeNote(i, a, timelines))
		for _, tl := range timelines {
			for _, e := range tl.Events {
				if !opens(&e) {
					continue
				}
				l.Events = append(l.Events, e)
				if i == 1 || i == 2 {
					nats[i-1] = append(nats[i-1], e)
				}
			}
		}
	}
	if len(l.Lanes) < 2 || len(l.Events) == 0 {
		return nil
	}
	slices.SortStableFunc(l.Events, func(x, y capture.Event) int { return x.Time.Compare(y.Time) })
	if c, ok := capture.CrossingFromTwo(nats[0], nats[1]); ok {
		l.Crossing = &c
	}
	return l
}

// placeNote is the address that a lane stands for: that of the end which is nearer.
func placeNote(lane int, a netip.Addr, timelines []*capture.Timeline) string {
	if len(timelines) == 0 {
		return ""
	}
	if lane < 2 {
		return a.String()
	}
	return timelines[0].Flow.B.Addr().String()
}

// opens reports whether a packet belongs to the opening of a flow rather than to its
// data or its end.
func opens(e *capture.Event) bool {
	if e.ICMP != "" || e.Flags&(rawtcp.SYN|rawtcp.RST) != 0 {
		return true
	}
	return e.Len == 0 && e.Flags&rawtcp.FIN == 0 && e.RelSeq <= 1 && e.RelAck <= 1
}

// owner says from which host a SYN with this number came.
type owner struct {
	at time.Time // when it was seen first
	a  bool
}

// owners tells the hosts' SYNs apart: each is seen first on its own side.
func owners(lanes []laneOf) map[rawtcp.Seq]owner {
	from := map[rawtcp.Seq]owner{}
	for i, lane := range lanes {
		for _, p := range lane.packets {
			_, _, seq, ok := bareSYN(&p)
			if o, seen := from[seq]; ok && (!seen || p.Time.Before(o.at)) {
				from[seq] = owner{p.Time, i < 2}
			}
		}
	}
	return from
}

// endA is A's address as it is seen at a lane.
func endA(lane laneOf, from map[rawtcp.Seq]owner) netip.Addr {
	for _, p := range lane.packets {
		src, dst, seq, ok := bareSYN(&p)
		if !ok {
			continue
		}
		if from[seq].a {
			return src
		}
		return dst
	}
	return netip.Addr{}
}

// bareSYN reads a packet if it is a SYN without an ACK.
func bareSYN(p *capture.Packet) (src, dst netip.Addr, seq rawtcp.Seq, ok bool) {
	ip, err := p.IP()
	if err != nil {
		return src, dst, 0, false
	}
	s, err := rawtcp.Parse(ip)
	if err != nil || s.Flags&(rawtcp.SYN|rawtcp.ACK) != rawtcp.SYN {
		return src, dst, 0, false
	}
	return s.Src.Addr(), s.Dst.Addr(), s.Seq, true
}
