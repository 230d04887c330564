package live

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/lab/lanes"
	"github.com/synpunch/synpunch/rawtcp"
)

// WriteCapture writes the packets of the trial to a pcapng file with the interfaces a, nat-a, nat-b
// and b: what was seen since ResetCount of the flow between the two ends, and ICMP errors
// about it, in the order of time. The hosts' packets are those of Lab.HostEvents, or, where the
// lab does not record them, of the capture files of Trial.Capture; without either the hosts' lanes are empty.
// Packets are cut after some 150 bytes.
func (r *TrialResult) WriteCapture(w io.Writer, l *Lab) error {
	c, err := lanes.NewWriter(w, "lab/live")
	if err != nil {
		return err
	}
	var list []lanes.Packet
	for _, e := range l.Events() {
		if ofFlow(e.Data, r.B.Aim, r.A.Aim) {
			list = append(list, lanePacket(e.Where, &e.Packet))
		}
	}
	for i, s := range []*SideResult{&r.A, &r.B} {
		packets, err := r.hostPackets(l, s)
		if err != nil {
			return fmt.Errorf("the capture of host %s: %w", "ab"[i:i+1], err)
		}
		for k := range packets {
			list = append(list, lanePacket([]string{capture.LaneA, capture.LaneB}[i], &packets[k]))
		}
	}
	slices.SortStableFunc(list, func(a, b lanes.Packet) int { return a.Time.Compare(b.Time) })
	for _, p := range list {
		if err := c.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func lanePacket(lane string, p *capture.Packet) lanes.Packet {
	return lanes.Packet{Lane: lane, Time: p.Time, Out: p.Dir == capture.DirOut, Data: p.Data, Len: p.Len, Comment: p.Comment}
}

// hostPackets are those of a side's flow at its host.
func (r *TrialResult) hostPackets(l *Lab, s *SideResult) ([]capture.Packet, error) {
	if l.net.recordsHosts() {
		var list []capture.Packet
		for _, e := range l.HostEvents() {
			if e.Where == s.Host && ofFlow(e.Data, s.Local, s.Aim) {
				list = append(list, e.Packet)
			}
		}
		return list, nil
	}
	if s.Capture == "" {
		return nil, nil
	}
	f, err := os.Open(s.Capture)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rd, err := capture.NewReader(f)
	if err != nil {
		return nil, err
	}
	var list []capture.Packet
	for {
		p, err := rd.Next()
		if err != nil {
			return list, nil // an attempt that was killed leaves a capture that ends in the middle
		}
		if p.Link == capture.LinkRaw && len(p.Data) > 0 {
			p.Data = slices.Clone(p.Data)
			list = append(list, p)
		}
	}
}

// ofFlow reports whether a packet, or the segment that an ICMP error quotes, went between the
// hosts of x and y from or to one of these endpoints: the port of the other may be one
// that nobody could foresee.
func ofFlow(ip []byte, x, y netip.AddrPort) bool {
	src, dst, _, ok := endpoints(ip)
	if !ok {
		e, err := rawtcp.ParseICMP(ip)
		if err != nil {
			return false
		}
		src, dst = e.Src, e.Dst
	}
	if src.Addr() != x.Addr() {
		x, y = y, x
	}
	return src.Addr() == x.Addr() && dst.Addr() == y.Addr() && (src == x || dst == y)
}
