package rawtcp

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	lossDelay   = 20 * time.Millisecond  // between the NATs, each way
	lossAccess  = 200 * time.Microsecond // host to NAT
	lossPackets = 8                      // the packets that faults happen to
	lossTimeout = 10 * time.Second       // of a Handshake
)

// lossScenario is two ends on a wire before anything goes wrong.
type lossScenario struct {
	name string
	wire func() *wire
	// fragile: the stock end may be refused by the machine's NAT when packets
	// are disturbed; dies: it is when they are not.
	fragile, dies bool
}

func lossScenarios(t *testing.T) []lossScenario {
	payload := make([]byte, 5000)
	for i := range payload {
		payload[i] = byte(i % 251)
	}
	machine := func(local, remote int) *Handshake {
		endpoints := [2]HandshakeConfig{{Local: endpointA, ISN: 0xfffffff0}, {Local: endpointB, ISN: 900_000}}
		cfg := endpoints[local]
		cfg.Remote = endpoints[remote].Local
		cfg.Timeout = lossTimeout
		cfg.WScale = 7
		h, err := NewHandshake(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	stock := func(listen, before2024 bool) *stockTCP {
		return newStockTCP(stockConfig{
			Local: endpointB, Remote: endpointA, ISN: 0xffffff00, TSBase: 77,
			Listen: listen, Before2024: before2024, Send: payload,
		})
	}
	peers := []struct {
		name   string
		make   func() end
		listen bool
		stock  bool
	}{
		{"machine", func() end { return machine(1, 0) }, false, false},
		{"stock", func() end { return stock(false, false) }, false, true},
		{"stock-before-2024", func() end { return stock(false, true) }, false, true},
		{"listener", func() end { return stock(true, false) }, true, true},
	}
	nats := []struct {
		name   string
		answer answer
		none   bool
	}{
		{"public", 0, true}, {"silent", answerNothing, false}, {"rst", answerRST, false}, {"icmp", answerICMP, false},
	}
	var all []lossScenario
	for _, peer := range peers {
		for _, nat := range nats {
			if peer.listen && !nat.none || peer.stock && nat.none && !peer.listen {
				// A listener needs no NAT to be punched. A stock peer without
				// one answers a SYN that comes before its connect() with RST,
				// which the NATs' answers cover.
				continue
			}
			skews := []time.Duration{0, 7 * time.Millisecond, -19 * time.Millisecond, 30 * time.Millisecond, -50 * time.Millisecond}
			if peer.listen {
				skews = skews[:1]
			}
			for _, skew := range skews {
				if skew.Abs() >= lossDelay && nat.none && !peer.listen {
					continue
				}
				all = append(all, lossScenario{
					name:    fmt.Sprintf("%s/%s/%v", peer.name, nat.name, skew),
					fragile: peer.stock && (nat.answer != answerNothing),
					dies:    peer.stock && skew <= -lossDelay && nat.answer != answerNothing,
					wire: func() *wire {
						w := &wire{
							ends:   [2]end{machine(0, 1), peer.make()},
							path:   [2]time.Duration{lossDelay, lossDelay},
							access: [2]time.Duration{lossAccess, lossAccess},
						}
						w.start = [2]time.Duration{max(-skew, 0), max(skew, 0)}
						if !nat.none {
							w.nat = [2]*testNAT{{answer: nat.answer}, {answer: nat.answer}}
						}
						return w
					},
				})
			}
		}
	}
	return all
}

// faultSets returns every way to disturb the first packets: each alone and in
// pairs with every kind of fault, and each triple lost.
func faultSets() []map[int]fault {
	kinds := []fault{lose, duplicate, overtaken}
	sets := []map[int]fault{{}}
	for i := 1; i <= lossPackets; i++ {
		for _, f := range kinds {
			sets = append(sets, map[int]fault{i: f})
			for j := i + 1; j <= lossPackets; j++ {
				for _, g := range kinds {
					sets = append(sets, map[int]fault{i: f, j: g})
				}
			}
		}
		for j := i + 1; j <= lossPackets; j++ {
			for k := j + 1; k <= lossPackets; k++ {
				sets = append(sets, map[int]fault{i: lose, j: lose, k: lose})
			}
		}
	}
	return sets
}

// TestLoss disturbs the first packets of every scenario in every way and asks
// that both ends are established in the end, or that both know that they are
// not, within the timeout; and that data sent at once arrives whole.
func TestLoss(t *testing.T) {
	sets := faultSets()
	for _, sc := range lossScenarios(t) {
		t.Run(sc.name, func(t *testing.T) {
			var worst time.Duration
			refused := 0
			for _, faults := range sets {
				w := sc.wire()
				w.faults = faults
				err := checkLoss(w)
				if errors.Is(err, errRefused) && sc.fragile && (sc.dies || len(faults) > 0) {
					refused++
					err = nil
				} else if err == nil && sc.dies && len(faults) == 0 {
					err = errors.New("established although the stock end must have been refused")
				}
				if err != nil {
					w := sc.wire()
					w.faults = faults
					w.trace = new(strings.Builder)
					w.run(200 * time.Second)
					t.Fatalf("faults %v: %v\n%s", faults, err, w.trace)
				}
				worst = max(worst, w.up[0], w.up[1])
			}
			t.Logf("%d fault sets, %d refused as a kernel is, else established after %v at the latest", len(sets), refused, worst)
		})
	}
}

// errRefused: nobody is established and the stock end knows why.
var errRefused = errors.New("the stock end was refused")

func checkLoss(w *wire) error {
	if !w.run(200 * time.Second) {
		return errors.New("still busy after 200 s")
	}
	a := w.ends[0].(*Handshake)
	for i, e := range w.ends {
		if h, ok := e.(*Handshake); ok && h.State() != Established && h.State() != Failed {
			return fmt.Errorf("end %d hangs in %v", i, h.State())
		}
	}
	if !w.bothEstablished() {
		if w.ends[0].State() == Established || w.ends[1].State() == Established {
			return fmt.Errorf("the ends disagree: %v (%v), %v", a.State(), a.Err(), w.ends[1].State())
		}
		if s, ok := w.ends[1].(*stockTCP); ok && s.Err() != nil {
			return errRefused
		}
		return fmt.Errorf("not established: %v; %v", a.Err(), w.ends[1])
	}
	if gap := (w.up[0] - w.up[1]).Abs(); gap > lossTimeout {
		return fmt.Errorf("one end was established %v before the other", gap)
	}
	ta := a.Transfer(w.now)
	switch b := w.ends[1].(type) {
	case *Handshake:
		tb := b.Transfer(w.now)
		if ta.ISN != tb.PeerISN || tb.ISN != ta.PeerISN || ta.RcvNxt != tb.SndNxt || tb.RcvNxt != ta.SndNxt {
			return fmt.Errorf("the ends disagree about the sequence numbers: %+v, %+v", ta, tb)
		}
	case *stockTCP:
		if !b.delivered() || !bytes.Equal(ta.Data, b.cfg.Send) {
			return fmt.Errorf("%d of %d bytes arrived; %v", len(ta.Data), len(b.cfg.Send), b)
		}
		if ta.PeerISN != b.cfg.ISN || ta.RcvNxt != b.sndNxt || b.rcvNxt != ta.SndNxt {
			return fmt.Errorf("the ends disagree about the sequence numbers: %+v, %v", ta, b)
		}
	}
	return nil
}
