package rawtcp_test

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/synpunch/synpunch/nat"
	"github.com/synpunch/synpunch/rawtcp"
)

// natSide is a host with a fan and its NAT.
type natSide struct {
	host, public netip.Addr
	fan          *rawtcp.Fan
	nat          *nat.NAT
}

// natWorld is two of them with a constant delay between the NATs, in virtual time.
type natWorld struct {
	sides [2]natSide
	delay time.Duration
	gap   time.Duration // from one SYN to the next

	now     time.Time
	flying  [2][]flight // towards each side, in order
	out     []rawtcp.Segment
	packets []nat.Packet
	bufs    [][]byte
}

type flight struct {
	at  time.Time
	pkt []byte
}

var natEpoch = time.Unix(1_700_000_000, 0)

// newNATWorld makes two fans that sweep each other's ports from several local ones.
func newNATWorld(tb testing.TB, behaviour string, ports rawtcp.PortRange, locals uint16, seed uint64) *natWorld {
	tb.Helper()
	b, err := nat.Parse(fmt.Sprintf("%s,ports=%d-%d", behaviour, ports.Lo, ports.Hi))
	if err != nil {
		tb.Fatal(err)
	}
	w := &natWorld{delay: 20 * time.Millisecond, gap: 10 * time.Microsecond, now: natEpoch}
	for i := range w.sides {
		s := &w.sides[i]
		s.host, s.public = netip.AddrFrom4([4]byte{10, 0, byte(i), 2}), netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + i)})
		if s.nat, err = nat.New(b, &nat.Config{Public: []netip.Addr{s.public}, Seed: seed*2 + uint64(i)}); err != nil {
			tb.Fatal(err)
		}
	}
	for i := range w.sides {
		s := &w.sides[i]
		if s.fan, err = rawtcp.NewFan(rawtcp.FanConfig{
			HandshakeConfig: rawtcp.HandshakeConfig{Local: netip.AddrPortFrom(s.host, 0), Remote: netip.AddrPortFrom(w.sides[1-i].public, 0), TSBase: 8},
			LocalPorts:      []rawtcp.PortRange{{Lo: 40000, Hi: 40000 + locals - 1}}, RemotePorts: []rawtcp.PortRange{ports},
			Numbers: rawtcp.NewISNGenerator([16]byte{byte(seed), byte(seed >> 8), byte(i), 9}), Start: natEpoch,
			Order: [16]byte{byte(seed), byte(seed >> 8), byte(i), 7}, CountAll: true,
		}); err != nil {
			tb.Fatal(err)
		}
	}
	return w
}

// sweep sends all SYNs of both sides and plays until nothing is on its way.
func (w *natWorld) sweep(tb testing.TB) {
	for i := range w.sides[0].fan.Len() {
		for who := range w.sides {
			w.arrive(tb, w.now)
			w.send(tb, who, w.sides[who].fan.SYN(w.now, i))
		}
		w.now = w.now.Add(w.gap)
	}
	for trips := 0; len(w.flying[0])+len(w.flying[1]) > 0; trips++ {
		if trips > 50 {
			s, _ := rawtcp.Parse(append(w.flying[0], w.flying[1]...)[0].pkt)
			tb.Fatalf("they do not come to an end: %v", &s)
		}
		w.now = w.now.Add(w.delay)
		w.arrive(tb, w.now)
	}
}

// send takes a segment out through its NAT.
func (w *natWorld) send(tb testing.TB, who int, s rawtcp.Segment) {
	var buf []byte
	if n := len(w.bufs); n > 0 {
		buf, w.bufs = w.bufs[n-1][:0], w.bufs[:n-1]
	}
	pkt, err := s.Append(buf)
	if err != nil {
		tb.Fatal(err)
	}
	w.packets = w.sides[who].nat.Outbound(w.now, pkt, w.packets[:0])
	for _, p := range w.packets {
		if p.To == nat.Outside {
			w.flying[1-who] = append(w.flying[1-who], flight{w.now.Add(w.delay), p.Data})
		}
	}
}

// arrive takes in what is due.
func (w *natWorld) arrive(tb testing.TB, until time.Time) {
	for who := range w.flying {
		for len(w.flying[who]) > 0 && !w.flying[who][0].at.After(until) {
			f := w.flying[who][0]
			w.flying[who] = w.flying[who][1:]
			w.receive(tb, who, f.pkt)
			w.bufs = append(w.bufs, f.pkt)
		}
	}
}

func (w *natWorld) receive(tb testing.TB, who int, pkt []byte) {
	w.packets = w.sides[who].nat.Inbound(w.now, pkt, w.packets[:0])
	w.out = w.out[:0]
	for _, p := range w.packets {
		if p.To != nat.Inside {
			continue
		}
		s, err := rawtcp.Parse(p.Data)
		if err != nil {
			tb.Fatal(err)
		}
		w.out = w.sides[who].fan.Receive(w.now, &s, w.out)
	}
	for i := range w.out {
		w.send(tb, who, w.out[i])
	}
}

// hits counts the flows that both open, and checks that both ends know them all and,
// if there are any, agree on one.
func (w *natWorld) hits(tb testing.TB) int {
	tb.Helper()
	a, b := w.sides[0].fan, w.sides[1].fan
	n := len(a.Hits())
	if m := len(b.Hits()); m != n {
		tb.Fatalf("A knows %d hits, B %d", n, m)
	}
	if a.Ready() != (n > 0) || b.Ready() != (n > 0) {
		tb.Fatalf("%d hits, A is in %v, B in %v", n, a.State(), b.State())
	}
	if n == 0 {
		return 0
	}
	ta, tb2 := a.Transfer(w.now), b.Transfer(w.now)
	if ta.ISN != tb2.PeerISN || tb2.ISN != ta.PeerISN || ta.SndNxt != tb2.RcvNxt || tb2.SndNxt != ta.RcvNxt {
		tb.Fatalf("the ends hand off two flows: %+v and %+v", ta, tb2)
	}
	return n
}

// TestFanThroughNATs: two sweeps of N ports from each side through two NATs with
// random ports hit as often as Poisson(4) says, and the same flow wins at both ends whenever there is a hit.
// N is 512 here; SYNPUNCH_FAN=full takes the 64,512 of real NATs.
func TestFanThroughNATs(t *testing.T) {
	ports, runs := rawtcp.PortRange{Lo: 2048, Hi: 2559}, 200
	if os.Getenv("SYNPUNCH_FAN") == "full" {
		ports.Lo, ports.Hi = 1024, 65535
	}
	counts := make([]int, runs)
	for k := range runs {
		w := newNATWorld(t, "linux-random", ports, 2, uint64(k))
		w.sweep(t)
		counts[k] = w.hits(t)
	}
	t.Logf("hits of each run: %v", counts)
	// Eight classes have seven degrees of freedom: above 29.9 once in 10,000.
	if chi := poissonFit(counts, 4); chi > 29.9 {
		t.Errorf("chi-square %.1f against Poisson(4)", chi)
	}
	for _, other := range []float64{2.9, 5.5} {
		if chi := poissonFit(counts, other); chi < 29.9 {
			t.Errorf("the test cannot tell Poisson(4) from Poisson(%v): chi-square %.1f", other, chi)
		}
	}
}

// poissonFit is the chi-square statistic of the counts in the classes 0 or 1, 2, ..., 7, 8 or more.
func poissonFit(counts []int, lambda float64) (chi float64) {
	const classes = 8
	var got, want [classes]float64
	for _, n := range counts {
		got[min(max(n-1, 0), classes-1)]++
	}
	p, rest := math.Exp(-lambda), 1.0
	for n := range classes {
		want[max(n-1, 0)] += p
		rest -= p
		p *= lambda / float64(n+1)
	}
	want[classes-1] += rest
	for i := range want {
		e := want[i] * float64(len(counts))
		chi += (got[i] - e) * (got[i] - e) / e
	}
	return chi
}

// TestFanThroughOtherNATs: a fan of 512 flows, with 64 hits between random NATs and far more
// between others, wins through NATs that preserve ports, count, refuse with resets
// or ICMP errors, or move sequence numbers; always both ends or neither.
func TestFanThroughOtherNATs(t *testing.T) {
	// The least that must connect of 20: those with 64 ports and no second use of them run out.
	for behaviour, least := range map[string]int{
		"linux": 20, "linux-random": 20, "linux-rst": 20, "linux-icmp": 20, "pf": 20,
		"eim": 20, "eim-eif": 20, "adm": 20, "rewriting": 20, "apdm": 1, "random": 1, "sequential": 1,
	} {
		t.Run(behaviour, func(t *testing.T) {
			won := 0
			for seed := range uint64(20) {
				w := newNATWorld(t, behaviour, rawtcp.PortRange{Lo: 40000, Hi: 40063}, 8, seed)
				w.sweep(t)
				a, b := w.sides[0].fan, w.sides[1].fan
				if a.Ready() != b.Ready() {
					t.Fatalf("seed %d: A is in %v, B in %v", seed, a.State(), b.State())
				}
				if !a.Ready() {
					continue
				}
				won++
				ta, tb := a.Transfer(w.now), b.Transfer(w.now)
				if behaviour != "rewriting" && (ta.ISN != tb.PeerISN || tb.ISN != ta.PeerISN) {
					t.Fatalf("seed %d: the ends hand off two flows: %+v and %+v", seed, ta, tb)
				}
			}
			t.Logf("%d of 20 connected", won)
			if won < least {
				t.Errorf("%d of 20 connected, want %d", won, least)
			}
		})
	}
}
