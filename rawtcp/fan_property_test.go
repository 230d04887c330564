package rawtcp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fanVotes checks what the ends of a fanNet send: see Fan.
type fanVotes struct {
	violation error
	fans      [2]*Fan
}

func (v *fanVotes) see(who int, s *Segment) {
	f := v.fans[who]
	if f == nil || v.violation != nil {
		return
	}
	local, remote, won := f.Winner()
	switch {
	case s.Flags == ACK && !won:
		v.violation = fmt.Errorf("%c sent an ACK in %v", 'A'+rune(who), f.State())
	case won && s.Flags != SYN && (s.Src != local || s.Dst != remote):
		v.violation = fmt.Errorf("%c sent %v, which is not of the winner", 'A'+rune(who), s)
	case won && s.Flags&RST != 0:
		v.violation = fmt.Errorf("%c sent a reset", 'A'+rune(who))
	case s.Flags != ACK && s.Flags&RST == 0 && s.Seq != f.ISN(s.Src.Port(), s.Dst.Port()):
		v.violation = fmt.Errorf("%c sent %v with another ISN", 'A'+rune(who), s)
	}
}

// agree says what is wrong with the winners of two fans.
func (n *fanNet) agree() error {
	al, ar, aWon := n.fans[0].Winner()
	bl, br, bWon := n.fans[1].Winner()
	if aWon && bWon && !n.same(al.Port(), ar.Port(), bl.Port(), br.Port()) {
		return fmt.Errorf("A hands off %v-%v, B hands off %v-%v", al, ar, bl, br)
	}
	for who, f := range n.fans {
		if t := f.Transfer(n.now); f.Ready() && (t.SndNxt != t.ISN+1 || t.SndUna != t.SndNxt || t.RcvNxt != t.PeerISN+1 || t.TSVal&1 != 0 || t.PeerMSS != 1460) {
			return fmt.Errorf("%c hands off %+v", 'A'+rune(who), t)
		}
	}
	return nil
}

// drawFanNet makes two fans behind two NATs, with enough flows for several hits.
func drawFanNet(t *rapid.T) *fanNet {
	seed := rapid.Uint64().Draw(t, "seed")
	rng := rand.New(rand.NewPCG(seed, 1))
	width := rapid.IntRange(2, 12).Draw(t, "ports of a NAT")
	outside := PortRange{2000, 2000 + uint16(width) - 1}
	n := &fanNet{
		rng:   rng,
		gap:   time.Duration(rapid.IntRange(0, 3).Draw(t, "gap")) * time.Millisecond,
		delay: time.Duration(rapid.IntRange(0, 30).Draw(t, "delay")) * time.Millisecond,
	}
	for who := range n.ends {
		name := string('A' + rune(who))
		locals := rapid.IntRange(1, 4).Draw(t, name+" local ports")
		n.fans[who] = mustFanT(t, fanConfig(who, seed, PortRange{1000, 1000 + uint16(locals) - 1}, outside))
		n.ends[who] = fanEnd{n.fans[who]}
		n.nats[who] = newScatterNAT(outside, rng)
		n.nats[who].open = rapid.Bool().Draw(t, name+" open")
		n.nats[who].rewrite = rapid.IntRange(0, 3).Draw(t, name+" rewrites") == 0
		n.start[who] = time.Duration(rapid.IntRange(0, 60).Draw(t, name+" starts")) * time.Millisecond
	}
	return n
}

func mustFanT(t *rapid.T, cfg FanConfig) *Fan {
	f, err := NewFan(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// crosses reports whether there is a flow that both ends open.
func (n *fanNet) crosses() bool {
	for flow, x := range n.nats[0].out {
		if local, ok := n.nats[1].in[[2]uint16{flow[1], x}]; ok && n.nats[1].out[[2]uint16{local, x}] == flow[1] {
			return true
		}
	}
	return false
}

// TestFanAgrees: both ends take the same flow, or one of them takes none, through
// loss, copies, delays, overtaking and forged segments.
func TestFanAgrees(t *testing.T) {
	both, one := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		n := drawFanNet(t)
		n.faults = fanFaults{
			lose:   rapid.SampledFrom([]float64{0, 0.02, 0.1, 0.3}).Draw(t, "lost"),
			twice:  rapid.SampledFrom([]float64{0, 0.1, 0.5}).Draw(t, "twice"),
			jitter: time.Duration(rapid.IntRange(0, 200).Draw(t, "jitter")) * time.Millisecond,
		}
		votes := &fanVotes{fans: n.fans}
		n.check = votes.see
		n.trace = new(strings.Builder)
		n.run(time.Minute)
		if err := errors.Join(votes.violation, n.agree()); err != nil {
			t.Fatalf("%v\n%s", err, n.trace)
		}
		switch a, b := n.fans[0].Ready(), n.fans[1].Ready(); {
		case a && b:
			both++
		case a || b:
			one++
		}
	})
	t.Logf("both ends connected %d times, one alone %d times", both, one)
	if both == 0 {
		t.Error("they never connected: the test shows nothing")
	}
}

// TestFanConnects: without faults two fans connect whenever there is a flow that both
// open.
func TestFanConnects(t *testing.T) {
	connected := 0
	rapid.Check(t, func(t *rapid.T) {
		n := drawFanNet(t)
		votes := &fanVotes{fans: n.fans}
		n.check = votes.see
		n.trace = new(strings.Builder)
		n.run(time.Minute)
		err := errors.Join(votes.violation, n.agree())
		a, b := n.fans[0].Ready(), n.fans[1].Ready()
		switch crosses := n.crosses(); {
		case crosses && !(a && b):
			err = errors.Join(err, fmt.Errorf("there is a flow that both open, and connected are: A %v (%v), B %v (%v)", a, n.fans[0].Err(), b, n.fans[1].Err()))
		case !crosses && !n.nats[0].open && !n.nats[1].open && (a || b):
			err = errors.Join(err, errors.New("connected without a flow"))
		case a && b:
			connected++
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, n.trace)
		}
	})
	if connected == 0 {
		t.Error("they never connected: the test shows nothing")
	}
}

// TestFanForgery: an attacker who writes the peer's address on his segments, knows every port and sends any
// number gets nothing: no winner, no memory, and what is true still counts.
func TestFanForgery(t *testing.T) {
	a := mustFan(t, fanConfig(0, 7, PortRange{1000, 1003}, PortRange{2000, 2999}))
	rng := rand.New(rand.NewPCG(1, 2))
	now := testEpoch
	forge := func(flags Flags) *Segment {
		return &Segment{
			Src: netip.AddrPortFrom(fanHosts[1], 2000+uint16(rng.IntN(1000))), Dst: netip.AddrPortFrom(fanHosts[0], 1000+uint16(rng.IntN(4))),
			Flags: flags, Seq: Seq(rng.Uint32()), Ack: Seq(rng.Uint32()), Window: 65533, Options: Options{MSS: 1},
		}
	}
	kinds := []Flags{SYN, SYN | ACK, ACK, RST, RST | ACK, FIN | ACK, ACK | PSH, 0, SYN | RST, SYN | FIN}
	out := make([]Segment, 0, 16)
	flood := func() {
		for k := range 20_000 {
			out = a.Receive(now, forge(kinds[k%len(kinds)]), out[:0])
			for i := range out {
				// The winner's flow challenges what is not acceptable (RFC 5961).
				if !a.Ready() && out[i].Flags != SYN && out[i].Flags != SYN|ACK {
					t.Fatalf("a forged segment was answered with %v", &out[i])
				}
			}
		}
	}
	flood()
	if a.State() != SynSent || len(a.Hits()) != MaxHits {
		t.Fatalf("after the flood: %v, %d hits", a.State(), len(a.Hits()))
	}
	for _, h := range a.Hits() {
		if h.Proven {
			t.Fatalf("%+v", h)
		}
	}

	// Now the peer, while the flood goes on after each of its segments.
	b := mustFan(t, fanConfig(1, 7, PortRange{2000, 2000}, PortRange{1000, 1000}))
	toA, toB := []Segment{b.SYN(now, 0)}, []Segment{}
	for range 6 {
		for i := range toA {
			toB = a.Receive(now, &toA[i], toB)
			flood()
		}
		toA = toA[:0]
		for i := range toB {
			toA = b.Receive(now, &toB[i], toA)
		}
		toB = toB[:0]
	}
	if !a.Ready() || !b.Ready() {
		t.Fatalf("A is in %v, B in %v", a.State(), b.State())
	}
}
