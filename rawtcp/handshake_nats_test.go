package rawtcp

import (
	"math/rand/v2"
	"testing"
	"time"
)

// hasty resends at once after every reset, as a Handshake would without its
// pauses.
type hasty struct{ *Handshake }

func (h hasty) Deadline() (time.Time, bool) {
	at, ok := h.Handshake.Deadline()
	if h.resend {
		at = h.sentAt // long past
	}
	return at, ok
}

func (h hasty) Tick(now time.Time, out []Segment) []Segment {
	if h.resend {
		h.resendAt = now
	}
	return h.Handshake.Tick(now, out)
}

// TestResetNATs lets two Handshakes meet through two NATs that answer SYNs
// without a mapping with a reset, and lose a mapping to a reset. The skew is
// uniform over six periods of the exchange of SYN and reset. Both ends must be
// connected before the first retransmission by timer would help.
//
// What decides is how far the NATs are from each other, measured by how far the
// hosts are from them: a share R/(R+h) of all SYNs meets an open mapping, with
// R the round trip between the NATs and h that of a host to its NAT and back.
// Without pauses, the share h/(R+h) of all missed windows is missed for ever when both
// hosts are equally far from their NATs; that is shown, too.
func TestResetNATs(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	for _, tc := range []struct {
		between, access time.Duration // R, and h of each side: up to twice as much if not symmetric
		failures        float64       // the most allowed of all trials
		hastyFailures   float64       // what the symmetric case has at least without pauses
	}{
		{40 * ms, 60 * us, 0, 0},      // two cities, hosts beside their NATs
		{40 * ms, 2 * ms, 0, 0.03},    // two cities, DSL
		{200 * us, 100 * us, 0, 0.25}, // one provider, hosts beside their NATs
		{40 * ms, 20 * ms, 0, 0.25},   // mobile
		{10 * ms, 20 * ms, 0, 0.5},    // one provider, mobile
		{2 * ms, 10 * ms, 0.01, 0.7},  // one provider, carrier-grade NATs side by side
		{20 * us, 80 * us, 0.01, 0.7}, // one bench
	} {
		const trials = 500
		for _, mode := range []string{"symmetric", "asymmetric", "hasty"} {
			r := rand.New(rand.NewPCG(1, uint64(tc.between)))
			failed, resends, most := 0, 0, 0
			var worst time.Duration
			for range trials {
				long := time.Hour // no retransmission by timer
				a, b, err := pair(
					HandshakeConfig{ISN: Seq(r.Uint32() | 1), RTO: long, MaxRTO: long},
					HandshakeConfig{ISN: Seq(r.Uint32() | 1), RTO: long, MaxRTO: long})
				if err != nil {
					t.Fatal(err)
				}
				w := &wire{
					ends:   [2]end{a, b},
					nat:    [2]*testNAT{{answer: answerRST}, {answer: answerRST}},
					path:   [2]time.Duration{tc.between / 2, tc.between / 2},
					access: [2]time.Duration{tc.access / 2, tc.access / 2},
				}
				switch mode {
				case "asymmetric":
					w.path[0] = time.Duration(r.Int64N(int64(tc.between)))
					w.path[1] = tc.between - w.path[0]
					w.access[0] = time.Duration(r.Int64N(int64(tc.access)))
					w.access[1] = time.Duration(r.Int64N(int64(tc.access)))
				case "hasty":
					w.ends = [2]end{hasty{a}, hasty{b}}
				}
				skew := time.Duration(r.Int64N(int64(6 * (tc.between + tc.access))))
				w.start[r.IntN(2)] = skew
				w.run(time.Minute)
				if !w.bothEstablished() {
					failed++
				} else {
					worst = max(worst, w.up[0]-skew, w.up[1]-skew)
				}
				n := max(a.Counters().Resends, b.Counters().Resends)
				resends, most = resends+n, max(most, n)
			}
			share := float64(failed) / trials
			t.Logf("between NATs %v, host to NAT and back %v, %s: %.2f %% fail, resends %.1f on average and %d at most, established %v after the later SYN at the latest",
				tc.between, tc.access, mode, 100*share, float64(resends)/trials, most, worst)
			switch {
			case mode == "hasty" && share < tc.hastyFailures:
				t.Errorf("without pauses only %.4f fail: are they needed?", share)
			case mode != "hasty" && share > tc.failures:
				t.Errorf("%.4f fail, at most %.4f wanted", share, tc.failures)
			}
		}
	}
}

// TestResetNATsEverySkew goes through the skews of one path in small steps,
// across the window and two periods to both sides.
func TestResetNATsEverySkew(t *testing.T) {
	const oneWay, access = 20 * time.Millisecond, 25 * time.Microsecond
	for skew := -100 * time.Millisecond; skew <= 100*time.Millisecond; skew += 50 * time.Microsecond {
		a, b, err := pair(HandshakeConfig{}, HandshakeConfig{})
		if err != nil {
			t.Fatal(err)
		}
		w := &wire{
			ends:   [2]end{a, b},
			nat:    [2]*testNAT{{answer: answerRST}, {answer: answerRST}},
			path:   [2]time.Duration{oneWay, oneWay},
			access: [2]time.Duration{access, access},
			start:  [2]time.Duration{max(-skew, 0), max(skew, 0)},
		}
		w.run(time.Minute)
		if !w.bothEstablished() {
			t.Fatalf("skew %v: %v, %v", skew, a.Err(), b.Err())
		}
		crossed := -oneWay < skew && skew < oneWay
		n := a.Counters().RSTs + b.Counters().RSTs
		if crossed != (n == 0) {
			t.Errorf("skew %v: %d resets", skew, n)
		}
		if crossed && !(a.Simultaneous() && b.Simultaneous()) {
			t.Errorf("skew %v: crossed, but simultaneous %v and %v", skew, a.Simultaneous(), b.Simultaneous())
		}
		// The later SYN, one way to the peer and one back, is what a crossing
		// takes; a missed window rarely costs more than two round trips.
		late := max(w.up[0], w.up[1]) - skew.Abs()
		if limit := 2*oneWay + 4*access + 10*oneWay; late > limit {
			t.Errorf("skew %v: established %v after the later SYN", skew, late)
		}
	}
}

// TestResetLoop: against a NAT that resets every SYN at once, the SYNs are
// bounded by Retries and the timer.
func TestResetLoop(t *testing.T) {
	for _, retries := range []int{-1, 0, 3} {
		h, _, err := pair(HandshakeConfig{Retries: retries}, HandshakeConfig{})
		if err != nil {
			t.Fatal(err)
		}
		now := testEpoch
		out := h.Start(now, nil)
		for h.State() == SynSent {
			now = now.Add(100 * time.Microsecond)
			for i := len(out); i > 0; i-- {
				rst := resetFor(&out[i-1])
				out = h.Receive(now, &rst, out[:0])
			}
			if at, ok := h.Deadline(); ok && len(out) == 0 {
				if at.Before(now) {
					t.Fatalf("the deadline %v is past", at)
				}
				now = at
				out = h.Tick(now, out)
			}
		}
		want := 4 + h.cfg.Retries // the first SYN, and the timer after 1, 3 and 7 s
		if n := h.Counters(); h.State() != Failed || n.SYNs != want || n.RSTs != want {
			t.Errorf("Retries %d: %v, %+v, want %d SYNs", retries, h.State(), n, want)
		}
	}
}

// TestBothStartedAnew: each end has taken a SYN from an earlier life of the
// other for the present one. They find each other, and do not exchange SYNs for
// ever.
func TestBothStartedAnew(t *testing.T) {
	a, b, err := pair(HandshakeConfig{}, HandshakeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{ends: [2]end{a, b}, path: [2]time.Duration{20 * time.Millisecond, 20 * time.Millisecond}}
	w.begin()
	for i, old := range []Segment{
		{Src: endpointB, Dst: endpointA, Flags: SYN, Seq: 555_555},
		{Src: endpointA, Dst: endpointB, Flags: SYN, Seq: 777_777},
	} {
		w.post(event{at: testEpoch.Add(10 * time.Millisecond), place: atHost, who: i, seg: old})
	}
	w.until(time.Minute)
	if !w.bothEstablished() || a.Transfer(w.now).PeerISN != b.cfg.ISN || b.Transfer(w.now).PeerISN != a.cfg.ISN {
		t.Fatalf("%v (%v), %v (%v)", a.State(), a.Err(), b.State(), b.Err())
	}
	if limit := 120 * time.Millisecond; w.up[0] > limit || w.up[1] > limit || w.sent > 20 {
		t.Errorf("established after %v and %v with %d packets", w.up[0], w.up[1], w.sent)
	}
}

// reopening is a program that calls connect() again, on the same port, when it
// was refused: what the engines park and connect do.
type reopening struct {
	*stockTCP
	lives int
}

func (r *reopening) Receive(now time.Time, s *Segment, out []Segment) []Segment {
	out = r.stockTCP.Receive(now, s, out)
	if r.State() == Failed && r.lives > 0 {
		r.lives--
		cfg := r.cfg
		cfg.ISN += 64_000 // RFC 6528: a quarter of a second later
		r.stockTCP = newStockTCP(cfg)
		out = r.Start(now, out)
	}
	return out
}

// TestPeerReopens: a Handshake meets a stock TCP that is refused now and then
// and opens the port again with another ISN.
func TestPeerReopens(t *testing.T) {
	for _, before2024 := range []bool{false, true} {
		for skew := -130 * time.Millisecond; skew <= 130*time.Millisecond; skew += 500 * time.Microsecond {
			a, _, err := pair(HandshakeConfig{}, HandshakeConfig{})
			if err != nil {
				t.Fatal(err)
			}
			b := &reopening{newStockTCP(stockConfig{Local: endpointB, Remote: endpointA, ISN: 5, Before2024: before2024, Send: make([]byte, 100)}), 60}
			w := &wire{
				ends:   [2]end{a, b},
				nat:    [2]*testNAT{{answer: answerRST}, {answer: answerRST}},
				path:   [2]time.Duration{20 * time.Millisecond, 20 * time.Millisecond},
				access: [2]time.Duration{time.Millisecond, time.Millisecond},
				start:  [2]time.Duration{max(-skew, 0), max(skew, 0)},
			}
			w.run(time.Minute)
			tr := a.Transfer(w.now)
			if !w.bothEstablished() || tr.PeerISN != b.cfg.ISN || !b.delivered() || len(tr.Data) != 100 {
				t.Fatalf("skew %v: %v (%v), %v", skew, a.State(), a.Err(), b)
			}
		}
	}
}
