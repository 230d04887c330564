package punch

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/rawtcp"
)

// commenters finds words for our own handshake packets, for people who open the
// capture in Wireshark. Each flow has a story of its own.
type commenters struct {
	plan  Plan
	flows map[netip.AddrPort]*commenter // by remote endpoint
}

func newCommenters(plan Plan) *commenters {
	return &commenters{plan, map[netip.AddrPort]*commenter{}}
}

// commenter is what is known of one flow.
type commenter struct {
	plan    *Plan
	syns    int
	peerSYN time.Time
	acked   bool
}

// comment returns the words for the next packet of the attempt, "" for most.
func (all *commenters) comment(p *capture.Packet) string {
	s, err := rawtcp.Parse(p.Data)
	if err != nil || s.Flags&(rawtcp.SYN|rawtcp.ACK) == 0 {
		return ""
	}
	ours := all.plan.holds(s.Src) && p.Dir == capture.DirOut
	remote := s.Src
	if ours {
		remote = s.Dst
	}
	c := all.flows[remote]
	if c == nil {
		c = &commenter{plan: &all.plan}
		all.flows[remote] = c
	}
	return c.comment(p, &s, ours)
}

func (c *commenter) comment(p *capture.Packet, s *rawtcp.Segment, ours bool) string {
	switch {
	case !ours && s.Flags&rawtcp.SYN != 0:
		c.peerSYN = p.Time
		return ""
	case !ours:
		return ""
	case s.Flags == rawtcp.SYN && c.plan.Strategy == Prime && s.TTL == c.plan.TTL:
		return fmt.Sprintf("SYN with TTL %d: ends between the NATs and opens our own", s.TTL)
	case s.Flags == rawtcp.SYN:
		c.syns++
		if c.syns > 1 {
			return fmt.Sprintf("SYN again (%d)", c.syns)
		}
		if c.plan.At.IsZero() {
			return "SYN, due at once"
		}
		return fmt.Sprintf("SYN, due %s, sent %s", c.plan.At.UTC().Format("15:04:05.000000"), micros(p.Time.Sub(c.plan.At)))
	case s.Flags == rawtcp.SYN|rawtcp.ACK && !c.peerSYN.IsZero():
		return fmt.Sprintf("SYN-ACK, %s after the peer's SYN", micros(p.Time.Sub(c.peerSYN)))
	case s.Flags == rawtcp.ACK && !c.acked && !c.peerSYN.IsZero():
		c.acked = true
		return fmt.Sprintf("ACK, %s after the peer's last SYN or SYN-ACK: established", micros(p.Time.Sub(c.peerSYN)))
	}
	return ""
}

// micros writes a duration with sign in microseconds, which the stamps are good for.
func micros(d time.Duration) string {
	return fmt.Sprintf("%+.1f µs", float64(d)/float64(time.Microsecond))
}
