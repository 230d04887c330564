package punch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/rawtcp"
)

const (
	// wireSnaplen keeps early data whole: segments are put together (GRO) up to 64 KiB.
	wireSnaplen = 65535
	// wireBuffer holds 128 such packets; our unscaled window allows the peer 64 KiB in all.
	wireBuffer    = 8 << 20
	logPrealloc   = 64   // packets remembered without allocating: a handshake with every retry takes fewer
	logLimit      = 4096 // packets remembered at most, so that a flood cannot fill the memory
	probeProtocol = 253  // RFC 3692 section 2.1: for experiments; nothing answers it
)

// wire is the attempt's view of the flow's packets: a packet socket that
// reacts at once, and the memory of what it saw. It is used by one thread.
type wire struct {
	live  *capture.Live
	plan  *Plan
	log   []record
	limit bool                  // packets beyond logLimit were seen and not kept
	probe func(stamp time.Time) // is told when one of our probes was seen leaving
	// probeID ends our probes.
	probeID [8]byte
}

// sighting is one packet of the flow, valid until the next look.
type sighting struct {
	time time.Time
	out  bool
	seg  rawtcp.Segment // when icmp is nil
	icmp *rawtcp.ICMPError
}

// openWire opens the packet socket for the plan's flow.
func openWire(plan *Plan) (*wire, error) {
	flow, err := plan.filter()
	if err != nil {
		return nil, err
	}
	live, err := capture.Open(plan.Interface, &capture.Config{
		Snaplen:     wireSnaplen,
		BufferBytes: wireBuffer,
		Filter:      append(probeFilter(plan.Local.Addr().Is6()), flow...),
		Mode:        capture.ModeReact,
	})
	if err != nil {
		return nil, err
	}
	w := &wire{live: live, plan: plan, log: make([]record, 0, logPrealloc)}
	binary.NativeEndian.PutUint64(w.probeID[:], rand.Uint64())
	return w, nil
}

// filter selects the attempt's packets.
func (p *Plan) filter() ([]bpf.RawInstruction, error) {
	if p.Strategy != Fan {
		return rawtcp.FlowFilter(p.Local, p.filterRemote())
	}
	flow, err := rawtcp.FlowFilter(netip.AddrPortFrom(p.Local.Addr(), 0), p.filterRemote())
	if err != nil {
		return nil, err
	}
	fan, err := fanFilter(p)
	return append(fan, flow...), err
}

// probeFilter accepts the warm-up packets and leaves all others to the
// instructions that follow it.
func probeFilter(v6 bool) []bpf.RawInstruction {
	protocol := uint32(9) // offset in the IPv4 header
	if v6 {
		protocol = 6 // Next Header
	}
	return []bpf.RawInstruction{
		{Op: 0x30, K: protocol},             // ldb [protocol]
		{Op: 0x15, Jf: 1, K: probeProtocol}, // jeq #253, next, skip one
		{Op: 0x06, K: headBytes},            // ret
	}
}

// look returns the next packet of the flow without waiting; false when there
// is none. The segment's payload is valid until the next look.
func (w *wire) look(s *sighting) bool {
	for {
		p, ok := w.live.Poll()
		if !ok {
			return false
		}
		if w.classify(&p, s) {
			if !w.refusal(s) {
				w.remember(&p)
			}
			return true
		}
	}
}

// classify tells the flow's packets from the warm-up's and from the second
// look at a packet that the loopback device gives.
func (w *wire) classify(p *capture.Packet, s *sighting) bool {
	s.time, s.out, s.icmp = p.Time, p.Dir == capture.DirOut, nil
	err := rawtcp.ParseInto(&s.seg, p.Data)
	if err == nil {
		if s.out {
			return w.plan.holds(s.seg.Src) && w.plan.carries(s.seg.Dst)
		}
		return w.plan.carries(s.seg.Src) && w.plan.holds(s.seg.Dst)
	}
	if !errors.Is(err, rawtcp.ErrNotTCP) {
		return false
	}
	if s.out {
		if w.probe != nil && bytes.HasSuffix(p.Data, w.probeID[:]) {
			w.probe(p.Time)
		}
		return false
	}
	e, err := rawtcp.ParseICMP(p.Data)
	if err != nil || !w.plan.holds(e.Src) || !w.plan.carries(e.Dst) {
		return false
	}
	s.icmp = &e
	return true
}

// refusal reports whether a packet is one of the many that say no to a fan-out: they are
// counted, and the report would be of nothing else.
func (w *wire) refusal(s *sighting) bool {
	return w.plan.Strategy == Fan && (s.icmp != nil || s.seg.Flags&rawtcp.RST != 0)
}

func (w *wire) remember(p *capture.Packet) {
	if len(w.log) >= logLimit {
		w.limit = true
		return
	}
	w.log = append(w.log, record{time: p.Time, dir: p.Dir, wire: p.Len})
	r := &w.log[len(w.log)-1]
	r.n = copy(r.head[:], p.Data)
}

// wait blocks until a packet is there or the instant has come.
func (w *wire) wait(until time.Time) error {
	_, err := w.live.Wait(until)
	return err
}
