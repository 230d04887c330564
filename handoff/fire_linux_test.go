package handoff_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// The hardest case: segments arrive without a pause while Install runs, from a
// peer that never sends anything again, so that whatever is lost stays lost.
func TestInstallUnderFire(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	rounds := map[int]int{}
	flows := 120
	if testing.Short() {
		flows = 30
	}
	for i := range flows {
		size := []int{1, 110, 1460 - 60}[i%3] // bytes a segment
		count := min(600, 64240/size)         // all of the window, at most
		gap := time.Duration(i%16) * time.Microsecond
		rounds[underFire(t, w, i%2 == 1, size, count, i*7%200, gap)]++
	}
	t.Logf("rounds of the filter: %v", rounds)
}

func underFire(t *testing.T, w *wire, v6 bool, size, count, head int, gap time.Duration) int {
	p := newRawPair(t, w, v6, uint8(head%15))
	defer p.close()
	want := pattern(size*count, 9)
	fire := func(from, to int) error {
		next := time.Now()
		for i := from; i < to; i++ {
			// The gaps let late come to an end, so that the filter goes while more is coming.
			for next = next.Add(gap); time.Now().Before(next); {
				continue
			}
			if err := p.say(i*size, want[i*size:(i+1)*size]); err != nil {
				return err
			}
		}
		return nil
	}
	if err := fire(0, min(head, count)); err != nil {
		t.Fatal(err)
	}
	fired := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		fired <- fire(min(head, count), count)
	}()
	conn, err := p.r.Install(p.a.hs.Transfer(time.Now()), p.a.late)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := <-fired; err != nil {
		t.Fatal(err)
	}
	expect(t, conn, want, p.r.Rounds())
	return p.r.Rounds()
}

// expect reads what was sent.
func expect(t *testing.T, conn *net.TCPConn, want []byte, rounds int) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	n, err := io.ReadFull(conn, got)
	if err != nil {
		t.Fatalf("read %d of %d bytes after %d rounds: %v", n, len(want), rounds, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("other bytes than were sent, after %d rounds", rounds)
	}
}

// rawPair is a flow between a, ready for Install, and b, where no kernel socket
// but the test says what there is to say, and nothing twice.
type rawPair struct {
	a, b           *opener
	r              *handoff.Repair
	guardA, guardB *handoff.Guard
	at             rawtcp.Transfer // of b
	tsval          uint32
}

func newRawPair(t *testing.T, w *wire, v6 bool, shift uint8) *rawPair {
	t.Helper()
	local, remote := w.local(t, v6), netip.AddrPortFrom(w.addrB(v6), 7000)
	p := &rawPair{tsval: uint32(time.Now().UnixMilli()) + 1000}
	var err error
	if err = w.b.Do(func() (err error) {
		p.guardB, err = handoff.OpenGuard(remote, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if p.guardA, err = handoff.OpenGuard(local, nil); err != nil {
		t.Fatal(err)
	}
	if p.r, err = handoff.PrepareRepair(local, remote, nil); err != nil {
		t.Fatal(err)
	}
	p.a = newOpener(t, rawtcp.HandshakeConfig{Local: local, Remote: remote, WScale: shift})
	p.a.tap.keep = true
	p.b = w.newOpenerB(t, rawtcp.HandshakeConfig{Local: remote, Remote: local, WScale: 7})
	if err := errors.Join(p.a.start(), p.b.start()); err != nil { // they cross in the queues
		t.Fatal(err)
	}
	finished := make(chan error, 1)
	go func() { finished <- p.b.finish() }()
	if err := errors.Join(p.a.finish(), <-finished); err != nil {
		t.Fatal(err)
	}
	p.at = p.b.hs.Transfer(time.Now())
	return p
}

// say sends data of b's, offset bytes after the beginning.
func (p *rawPair) say(offset int, data []byte) error {
	return p.b.send([]rawtcp.Segment{{
		Src: p.at.Local, Dst: p.at.Remote, Seq: p.at.SndNxt.Add(offset), Ack: p.at.RcvNxt, Flags: rawtcp.ACK | rawtcp.PSH, Window: 500,
		Options: rawtcp.Options{HasTimestamps: true, TSVal: p.tsval},
		Payload: data,
	}})
}

func (p *rawPair) close() {
	p.a.close()
	p.b.close()
	p.r.Close()
	p.guardA.Close()
	p.guardB.Close()
}

// The rarest case, made by hand: a segment gets past the filter while Install
// believes the queue to stand still, so that its bytes go into the wrong place.
func TestInstallStartsAnew(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			p := newRawPair(t, w, f.v6, 7)
			defer p.close()
			want := pattern(3000, 4)
			one, two, three := want[:1000], want[1000:2000], want[2000:]
			if err := p.say(0, one); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(10 * time.Second)
			for p.a.hs.Counters().DataBytes < len(one) {
				s, ok := p.a.tap.next(deadline)
				if !ok {
					t.Fatal("the first segment did not come")
				}
				if err := p.a.feed(&s); err != nil {
					t.Fatal(err)
				}
			}
			tr := p.a.hs.Transfer(time.Now()) // with the first segment
			calls := 0
			conn, err := p.r.Install(tr, func(from rawtcp.Seq) []byte {
				calls++
				switch calls {
				case 1: // the second comes while the filter is on
					if err := p.say(len(one), two); err != nil {
						t.Error(err)
					}
					return nil
				case 2, 3:
					for {
						if data := p.a.late(from); len(data) == len(two) || time.Now().After(deadline) {
							return data
						}
					}
				case 4: // the filter is on again, and it slips through all the same
					data := p.a.late(from)
					if err := p.r.Unfiltered(from.Add(len(two)), func() error { return p.say(len(one), two) }); err != nil {
						t.Error(err)
					}
					return data
				}
				return p.a.late(from)
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if p.r.Rounds() != 2 || calls < 5 {
				t.Errorf("%d rounds, %d calls of late", p.r.Rounds(), calls)
			}
			if err := p.say(2000, three); err != nil {
				t.Fatal(err)
			}
			expect(t, conn, want, p.r.Rounds())
			if _, err := conn.Write([]byte("answer")); err != nil {
				t.Fatal(err)
			}
			for p.a.tap.log[len(p.a.tap.log)-1].seg.PayloadLen != len("answer") {
				if _, ok := p.a.tap.next(deadline); !ok {
					t.Fatal("no answer")
				}
			}
			if last := p.a.tap.log[len(p.a.tap.log)-1]; last.seg.Seq != tr.SndNxt || last.seg.Ack != p.at.SndNxt.Add(len(want)) {
				t.Errorf("the answer: %v", &last.seg)
			}
			checkStamps(t, p.a, true)
			checkWindow(t, p.a.tap.log, 7)
		})
	}
}
