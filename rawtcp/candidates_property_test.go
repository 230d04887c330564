package rawtcp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// candidatesAt makes one end of a flowNet.
func candidatesAt(who int, isn Seq, ports []uint16, learn bool) (*Candidates, error) {
	local, remote := endpointA, endpointB
	if who == 1 {
		local, remote = remote, local
	}
	return NewCandidates(CandidatesConfig{
		HandshakeConfig: HandshakeConfig{Local: local, Remote: netip.AddrPortFrom(remote.Addr(), 0), ISN: isn, TSBase: 7, Timeout: 20 * time.Second},
		RemotePorts:     ports,
		LearnPort:       learn,
	})
}

// sameFlow reports whether what A calls remote port a is what B calls b.
func (n *flowNet) sameFlow(a, b uint16) bool { return n.nats[0].out(a) == b && n.nats[1].out(b) == a }

// votes checks what the ends send: see Candidates.
type votes struct {
	violation error
	ends      [2]*Candidates
	sent      int
}

func (v *votes) see(who int, s *Segment) {
	c := v.ends[who]
	if c == nil || v.violation != nil {
		return
	}
	winner, _ := c.Remote()
	v.sent++
	switch {
	case v.sent == netLimit:
		v.violation = errors.New("they do not come to an end")
	case s.Flags == ACK && c.State() != Established:
		v.violation = fmt.Errorf("%c sent an ACK in %v", 'A'+rune(who), c.State())
	case c.State() == Established && s.Dst != winner:
		v.violation = fmt.Errorf("%c sent %v to a loser", 'A'+rune(who), s)
	case s.Flags&RST != 0 && c.State() == Established:
		v.violation = fmt.Errorf("%c sent a reset", 'A'+rune(who))
	}
}

// drawNAT is a NAT of any kind and the ports its peer may guess.
func drawNAT(t *rapid.T, name string) *portNAT {
	n := &portNAT{
		base: uint16(rapid.IntRange(1000, 1010).Draw(t, name+" base")),
		step: rapid.SampledFrom([]uint16{0, 1, 1, 1, 2, 65535}).Draw(t, name+" step"),
		open: rapid.Bool().Draw(t, name+" open"),
	}
	n.one = n.step == 0
	if rapid.IntRange(0, 3).Draw(t, name+" rewrites") == 0 {
		n.rewrite = 0x12345677
	}
	return n
}

// drawPorts are the guesses about a NAT: ports near those that it will use, in
// any order.
func drawPorts(t *rapid.T, name string, n *portNAT) []uint16 {
	shift := rapid.IntRange(-2, 2).Draw(t, name+" shift")
	var near []uint16
	for i := range 12 {
		near = append(near, n.base+uint16(i+shift)*max(n.step, 1))
	}
	if rapid.Bool().Draw(t, name+" shuffled") {
		near = rapid.Permutation(near).Draw(t, name+" order")
	}
	return near[:rapid.IntRange(1, len(near)).Draw(t, name+" ports")]
}

// drawFlowNet is two ends behind two NATs.
func drawFlowNet(t *rapid.T) (*flowNet, *votes) {
	n := &flowNet{
		local:  [2]netip.AddrPort{endpointA, endpointB},
		nats:   [2]*portNAT{drawNAT(t, "A"), drawNAT(t, "B")},
		delay:  time.Duration(rapid.IntRange(0, 100).Draw(t, "delay ms")) * time.Millisecond,
		faults: map[int]netFault{},
		trace:  new(strings.Builder),
	}
	n.start[rapid.IntRange(0, 1).Draw(t, "later")] = time.Duration(rapid.IntRange(0, 200).Draw(t, "skew ms")) * time.Millisecond
	v := new(votes)
	for who, isn := range []Seq{0xfffffe00, 900_000} {
		c, err := candidatesAt(who, isn+Seq(rapid.IntRange(0, 500).Draw(t, "ISN")), drawPorts(t, fmt.Sprintf("end %d", who), n.nats[1-who]),
			rapid.Bool().Draw(t, "learn"))
		if err != nil {
			t.Fatal(err)
		}
		n.ends[who], v.ends[who] = c, c
	}
	if v.ends[0].window == v.ends[1].window {
		t.Skip("nobody leads")
	}
	n.check = v.see
	return n, v
}

// TestCandidatesNeverSplit loses, doubles and delays any packet, by longer than the
// timers run: the ends are never established on different flows, and send
// nothing that they should not.
func TestCandidatesNeverSplit(t *testing.T) {
	both := 0
	rapid.Check(t, func(t *rapid.T) {
		n, v := drawFlowNet(t)
		for _, nat := range n.nats {
			nat.resets = rapid.IntRange(0, 3).Draw(t, "resets") == 0
		}
		worst := rapid.SampledFrom([]int{0, 30, 300, 9000}).Draw(t, "late ms")
		for range rapid.IntRange(0, 60).Draw(t, "faults") {
			n.faults[rapid.IntRange(1, 100).Draw(t, "packet")] = netFault{
				copies: rapid.IntRange(0, 2).Draw(t, "copies"),
				late:   time.Duration(rapid.IntRange(0, worst).Draw(t, "late")) * time.Millisecond,
			}
		}
		for range rapid.IntRange(0, 4).Draw(t, "forged") {
			drawForgedSYN(t, n)
		}
		n.run(time.Minute)
		if v.violation != nil {
			t.Fatalf("%v\n%s", v.violation, n.trace)
		}
		if split(n, v) {
			t.Fatalf("split\n%s", n.trace)
		}
		if v.ends[0].State() == Established && v.ends[1].State() == Established {
			both++
		}
	})
	t.Logf("%d times established", both)
}

// split reports whether the ends are established on different flows.
func split(n *flowNet, v *votes) bool {
	a, b := v.ends[0], v.ends[1]
	if a.State() != Established || b.State() != Established {
		return false
	}
	remoteA, _ := a.Remote()
	remoteB, _ := b.Remote()
	ta, tb := a.Transfer(n.now), b.Transfer(n.now)
	shiftA, shiftB := n.nats[0].shift(remoteA.Port()), n.nats[1].shift(remoteB.Port())
	return !n.sameFlow(remoteA.Port(), remoteB.Port()) || ta.PeerISN != tb.ISN+shiftB || tb.PeerISN != ta.ISN+shiftA
}

// drawForgedSYN puts a SYN that nobody sent before an end, with any window.
func drawForgedSYN(t *rapid.T, n *flowNet) {
	who := rapid.IntRange(0, 1).Draw(t, "victim")
	ports := append([]uint16{1001, 1005, 4000}, n.nats[1-who].base)
	s := Segment{
		Src: netip.AddrPortFrom(n.local[1-who].Addr(), rapid.SampledFrom(ports).Draw(t, "forged port")), Dst: n.local[who],
		Flags: SYN, Seq: Seq(rapid.Uint32().Draw(t, "forged seq")), Window: uint16(rapid.IntRange(49152, 65535).Draw(t, "forged window")),
	}
	nat := n.nats[who]
	s.Dst = netip.AddrPortFrom(s.Dst.Addr(), nat.base)
	n.post(netEvent{at: testEpoch.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "forged at")) * time.Millisecond), who: who, seg: &s})
}

// TestCandidatesAgree: if there is a flow that crosses, and few packets are
// disturbed, both ends are established, soon if none is.
func TestCandidatesAgree(t *testing.T) {
	learned, both := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		n, v := drawFlowNet(t)
		disturbed := rapid.IntRange(0, 4).Draw(t, "disturbed")
		for range disturbed {
			n.faults[rapid.IntRange(1, 40).Draw(t, "packet")] = netFault{
				copies: rapid.IntRange(0, 2).Draw(t, "copies"),
				late:   time.Duration(rapid.IntRange(0, 300).Draw(t, "late")) * time.Millisecond,
			}
		}
		crosses := n.crosses()
		n.run(time.Minute)
		a, b := v.ends[0], v.ends[1]
		if v.violation != nil || split(n, v) || (a.State() == Established) != (b.State() == Established) {
			t.Fatalf("%v: %v (%v) and %v (%v)\n%s", v.violation, a.State(), a.Err(), b.State(), b.Err(), n.trace)
		}
		if a.State() != Established {
			if crosses {
				t.Fatalf("%v and %v\n%s", a.Err(), b.Err(), n.trace)
			}
			return
		}
		if _, l := a.Remote(); l {
			learned++
		}
		both++
	})
	t.Logf("%d times established, A has learned its port %d times", both, learned)
}

// crosses reports whether a flow is listed at both ends. It goes through the
// NATs as the SYNs will.
func (n *flowNet) crosses() bool {
	var nats [2]portNAT
	for who, nat := range n.nats {
		nats[who] = *nat
		listed, _ := n.ends[who].(*Candidates).Ports()
		for _, port := range listed {
			nats[who].out(port)
		}
	}
	for _, m := range nats[0].mappings {
		for _, k := range nats[1].mappings {
			if m.external == k.remote && k.external == m.remote {
				return true
			}
		}
	}
	return false
}

// TestCandidatesAnything throws segments at Candidates that are close enough to right
// to do something, at any port, and checks what must always hold.
func TestCandidatesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies := rapid.SampledFrom([]Policy{PolicyRetry, PolicyFail, PolicyIgnore})
		c, err := NewCandidates(CandidatesConfig{
			HandshakeConfig: HandshakeConfig{
				Local: endpointA, Remote: netip.AddrPortFrom(endpointB.Addr(), 1), ISN: 0xfffffffe,
				OnReset: policies.Draw(t, "OnReset"), OnICMP: policies.Draw(t, "OnICMP"),
			},
			RemotePorts: []uint16{2, 3}, LearnPort: rapid.Bool().Draw(t, "learn"),
			Numbers: func(remote netip.AddrPort) (Seq, uint32) { return Seq(remote.Port()) << 24, 7 },
		})
		if err != nil {
			t.Fatal(err)
		}
		now, was := testEpoch, Closed
		var winner netip.AddrPort
		out := c.Start(now, nil)
		near := rapid.SampledFrom([]int{0, 1, 1, 1, 2, 100, -1, 70000})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(-10, 800).Draw(t, "ms")) * time.Millisecond)
			port := uint16(rapid.IntRange(0, 6).Draw(t, "port"))
			isn := Seq(port) << 24
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				for range 20 { // a Tick does one thing of each flow at a time
					if at, ok := c.Deadline(); !ok || at.After(now) {
						break
					}
					out = c.Tick(now, out[:0])
				}
				if at, ok := c.Deadline(); ok && !at.After(now) {
					t.Fatalf("due again at %v", at)
				}
			case 1:
				out = c.ReceiveICMP(now, &ICMPError{
					Type: uint8(rapid.IntRange(1, 12).Draw(t, "type")), Src: endpointA, Dst: netip.AddrPortFrom(endpointB.Addr(), port),
					Seq: isn.Add(near.Draw(t, "quoted")),
				}, out[:0])
			default:
				flags := rapid.SampledFrom([]Flags{SYN, SYN, SYN | ACK, ACK, ACK | PSH, ACK | FIN, RST, RST | ACK, SYN | RST, 0xff, 0})
				s := fromPort(port, flags.Draw(t, "flags"), Seq(5000).Add(near.Draw(t, "seq")), isn.Add(near.Draw(t, "ack")))
				s.Window = uint16(rapid.IntRange(0, 65535).Draw(t, "win"))
				out = c.Receive(now, s, out[:0])
			}
			state := c.State()
			remote, _ := c.Remote()
			switch {
			case (state == Failed) != (c.Err() != nil):
				t.Fatalf("%v with error %v", state, c.Err())
			case was == Failed && state != Failed, was == Established && state < Established:
				t.Fatalf("from %v to %v", was, state)
			case winner.IsValid() && remote != winner:
				t.Fatalf("won by %v, then by %v", winner, remote)
			case state == Established && c.Transfer(now).Remote != remote:
				t.Fatalf("%v has won, Transfer is of %v", remote, c.Transfer(now).Remote)
			}
			for i := range out {
				if _, err := out[i].Append(nil); err != nil {
					t.Fatal(err)
				}
				if winner.IsValid() && out[i].Dst != winner {
					t.Fatalf("sent %v to a loser", &out[i])
				}
			}
			was, winner = state, remote
		}
	})
}
