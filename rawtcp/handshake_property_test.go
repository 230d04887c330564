package rawtcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// watched is a Handshake that checks after every call what must always hold.
// The first violation is kept.
type watched struct {
	*Handshake
	violation error

	acked    bool // a segment came that acknowledges our SYN
	edge     Seq  // the largest right edge of the windows advertised in ESTABLISHED
	edgeSet  bool
	rcvNxt   Seq
	tsSeen   uint32
	tsAny    bool
	content  func(offset int) byte // what the peer sends; nil: anything
	previous State
}

func watch(h *Handshake) *watched { return &watched{Handshake: h} }

func (w *watched) Start(now time.Time, out []Segment) []Segment {
	return w.check(now, "Start", w.Handshake.Start(now, out), len(out), 1)
}

func (w *watched) Receive(now time.Time, s *Segment, out []Segment) []Segment {
	if s.Src == w.cfg.Remote && s.Dst == w.cfg.Local && s.Flags&(ACK|RST) == ACK && s.Ack == w.cfg.ISN+1 {
		w.acked = true
	}
	return w.check(now, "Receive", w.Handshake.Receive(now, s, out), len(out), 2)
}

func (w *watched) ReceiveICMP(now time.Time, e *ICMPError, out []Segment) []Segment {
	return w.check(now, "ReceiveICMP", w.Handshake.ReceiveICMP(now, e, out), len(out), 1)
}

func (w *watched) Tick(now time.Time, out []Segment) []Segment {
	before := len(out)
	out = w.check(now, "Tick", w.Handshake.Tick(now, out), before, 2)
	return out
}

func (w *watched) failf(format string, args ...any) {
	if w.violation == nil {
		w.violation = fmt.Errorf(format, args...)
	}
}

func (w *watched) check(now time.Time, call string, out []Segment, before, most int) []Segment {
	state := w.State()
	if len(out)-before > most {
		w.failf("%s sent %d segments", call, len(out)-before)
	}
	if state == Established && !w.acked {
		w.failf("%s: established without an acknowledgment of our SYN", call)
	}
	if w.previous == Established && state != Established && state != Failed {
		w.failf("%s: from %v to %v", call, w.previous, state)
	}
	if w.previous == Failed && state != Failed {
		w.failf("%s: %v after a failure", call, state)
	}
	if (state == Failed) != (w.Err() != nil) {
		w.failf("%s: %v with error %v", call, state, w.Err())
	}
	if at, ok := w.Deadline(); ok && call == "Tick" && !at.After(now) && len(out) == before {
		w.failf("Tick did nothing and is due again")
	} else if ok && w.resend && w.state == Established {
		w.failf("a resend waits in ESTABLISHED")
	}
	t := w.Transfer(now)
	for i := before; i < len(out); i++ {
		w.checkSegment(&out[i], &t)
	}
	if t.TSVal&1 != 0 || w.tsAny && int32(t.TSVal-w.tsSeen) < 0 {
		w.failf("%s: Transfer.TSVal %d, sent was %d", call, t.TSVal, w.tsSeen)
	}
	if state == Established {
		n := int(t.RcvNxt.Sub(t.PeerISN)) - 1
		switch {
		case len(t.Data) != n || w.Counters().DataBytes != n:
			w.failf("%s: %d bytes of data up to RCV.NXT %d, counted %d", call, len(t.Data), n, w.Counters().DataBytes)
		case n > 65535+1<<maxWScale:
			w.failf("%s: %d bytes of data, more than a window", call, n)
		case w.previous == Established && t.RcvNxt.Less(w.rcvNxt):
			w.failf("%s: RCV.NXT went back", call)
		case t.RcvNxt.Less(t.RcvWup) || t.SndNxt != t.ISN+1 || t.SndUna != t.SndNxt:
			w.failf("%s: %+v", call, t)
		}
		if w.content != nil {
			for i, b := range t.Data {
				if b != w.content(i) {
					w.failf("%s: byte %d of the data is wrong", call, i)
					break
				}
			}
		}
		w.rcvNxt = t.RcvNxt
	}
	w.previous = state
	return out
}

func (w *watched) checkSegment(s *Segment, t *Transfer) {
	if _, err := s.Append(nil); err != nil {
		w.failf("sent %v: %v", s.String(), err)
	}
	switch s.Flags {
	case SYN, SYN | ACK:
		if s.Seq != w.cfg.ISN || s.Window != w.cfg.Window {
			w.failf("sent %v", s.String())
		}
	case ACK:
		if s.Seq != w.cfg.ISN+1 || s.Ack != t.RcvNxt {
			w.failf("sent %v, RCV.NXT is %d", s.String(), t.RcvNxt)
		}
		edge := s.Ack.Add(int(s.Window) << t.RcvWScale)
		if w.State() == Established {
			if w.edgeSet && int(w.edge.Sub(edge)) >= 1<<t.RcvWScale { // RFC 7323 section 2.4
				w.failf("the window shrank: %v", s.String())
			}
			if !w.edgeSet || w.edge.Less(edge) {
				w.edge, w.edgeSet = edge, true
			}
		}
	case RST:
	default:
		w.failf("sent %v", s.String())
	}
	if s.Options.HasTimestamps {
		if w.tsAny && int32(s.Options.TSVal-w.tsSeen) < 0 {
			w.failf("TSval ran back from %d: %v", w.tsSeen, s.String())
		}
		w.tsSeen, w.tsAny = s.Options.TSVal, true
	}
}

// drawConfig is any configuration of the end at local.
func drawConfig(t *rapid.T, name string) HandshakeConfig {
	isns := []Seq{1, 1000, 0x7fffffff, 0xfffffff0, 0xfffffffe}
	return HandshakeConfig{
		Local: endpointA, Remote: endpointB,
		ISN:          rapid.SampledFrom(isns).Draw(t, name+" ISN"),
		WScale:       uint8(rapid.IntRange(0, 14).Draw(t, name+" wscale")),
		NoWScale:     rapid.Bool().Draw(t, name+" no wscale"),
		NoTimestamps: rapid.Bool().Draw(t, name+" no timestamps"),
		NoSACK:       rapid.Bool().Draw(t, name+" no SACK"),
		TSBase:       rapid.SampledFrom([]uint32{0, 1, 0xfffffff0}).Draw(t, name+" TSBase"),
	}
}

// TestHandshakeAnything throws segments at a Handshake that are close enough to
// right to do something: any flags, sequence numbers around the ISNs, steps of
// the clock in both directions.
func TestHandshakeAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t, "our")
		policies := rapid.SampledFrom([]Policy{PolicyRetry, PolicyFail, PolicyIgnore})
		cfg.OnReset, cfg.OnICMP = policies.Draw(t, "OnReset"), policies.Draw(t, "OnICMP")
		cfg.Window = rapid.SampledFrom([]uint16{0, 1, 100, 65535}).Draw(t, "window")
		cfg.Early = rapid.Bool().Draw(t, "early")
		h, err := NewHandshake(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w := watch(h)
		irs := rapid.SampledFrom([]Seq{0, 5000, 0xffffffff}).Draw(t, "IRS")
		w.content = nil
		now := testEpoch
		out := w.Start(now, nil)
		near := rapid.SampledFrom([]int{0, 1, 1, 1, 2, 10, 11, 100, -1, 60000, 70000, 1 << 30})
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(-10, 800).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				out = w.Tick(now, out[:0])
			case 1:
				e := ICMPError{Type: uint8(rapid.IntRange(1, 12).Draw(t, "type")), Src: h.cfg.Local, Dst: h.cfg.Remote,
					Seq: h.cfg.ISN.Add(near.Draw(t, "quoted"))}
				out = w.ReceiveICMP(now, &e, out[:0])
			default:
				flags := rapid.SampledFrom([]Flags{SYN, SYN | ACK, ACK, ACK, ACK | PSH, ACK | FIN, RST, RST | ACK, FIN, SYN | RST, 0xff, 0})
				s := Segment{Src: h.cfg.Remote, Dst: h.cfg.Local, Flags: flags.Draw(t, "flags"),
					Seq:    irs.Add(near.Draw(t, "seq")),
					Ack:    h.cfg.ISN.Add(near.Draw(t, "ack")),
					Window: uint16(rapid.IntRange(0, 65535).Draw(t, "win"))}
				s.Options.HasTimestamps = rapid.Bool().Draw(t, "ts")
				s.Options.TSVal = uint32(near.Draw(t, "tsval"))
				s.Options.HasWScale, s.Options.WScale = rapid.Bool().Draw(t, "ws"), uint8(rapid.IntRange(0, 255).Draw(t, "scale"))
				s.Payload = make([]byte, rapid.SampledFrom([]int{0, 0, 1, 10, 90}).Draw(t, "len"))
				s.PayloadLen = len(s.Payload) + rapid.SampledFrom([]int{0, 0, 0, 5}).Draw(t, "cut")
				out = w.Receive(now, &s, out[:0])
			}
			if w.violation != nil {
				t.Fatal(w.violation)
			}
		}
	})
}

// receiverOracle is the receiver by the letter: a byte at a time.
type receiverOracle struct {
	got map[int]byte
	nxt int
}

func (o *receiverOracle) take(from int, data []byte, edge int) {
	for i, b := range data {
		if at := from + i; at >= o.nxt && at < edge {
			o.got[at] = b
		}
	}
	for {
		if _, ok := o.got[o.nxt]; !ok {
			return
		}
		o.nxt++
	}
}

// TestReceiver compares the receiver with the oracle on pieces in any order,
// with overlaps that say the same.
func TestReceiver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.SampledFrom([]int{50, 1000, 65535}).Draw(t, "window")
		irs := rapid.SampledFrom([]Seq{7, 0xffffffff, 0xffffff80}).Draw(t, "IRS")
		var r receiver
		r.open(irs, uint16(window))
		o := receiverOracle{got: map[int]byte{}}
		for range rapid.IntRange(1, maxSpans).Draw(t, "pieces") {
			from := rapid.IntRange(-20, window+20).Draw(t, "from")
			if rapid.Bool().Draw(t, "near") {
				from = o.nxt + rapid.IntRange(-5, 30).Draw(t, "near from")
			}
			data := make([]byte, rapid.IntRange(0, 60).Draw(t, "len"))
			for i := range data {
				data[i] = byte((from + i) * 7)
			}
			s := Segment{Seq: irs.Add(1 + from), Flags: ACK, Payload: data, PayloadLen: len(data)}
			if r.acceptable(&s) {
				r.take(&s)
				o.take(from, data, window)
			}
			if got := int(r.nxt.Sub(irs)) - 1; got != o.nxt {
				t.Fatalf("after [%d, %d): RCV.NXT is %d, want %d", from, from+len(data), got, o.nxt)
			}
			want := make([]byte, o.nxt)
			for i := range want {
				want[i] = o.got[i]
			}
			if !bytes.Equal(r.inOrder(), want) {
				t.Fatalf("after [%d, %d): the data differs", from, from+len(data))
			}
			if rapid.Bool().Draw(t, "ack") {
				r.window(0)
			}
		}
	})
}

// TestReceiverManyHoles makes more holes than are remembered.
func TestReceiverManyHoles(t *testing.T) {
	var r receiver
	r.open(0, 65535)
	take := func(from, n int) {
		s := Segment{Seq: Seq(1 + from), Payload: scriptData(from, n)}
		r.take(&s)
	}
	const pieces = 2 * maxSpans
	for i := range pieces {
		take(1+10*i, 5)
	}
	if len(r.gaps) != maxSpans {
		t.Fatalf("%d pieces remembered, want %d", len(r.gaps), maxSpans)
	}
	for i := range pieces {
		take(10*i, 10) // the peer sends it all again
	}
	if got := r.inOrder(); !bytes.Equal(got, scriptData(0, 10*pieces)) || len(r.gaps) != 0 {
		t.Errorf("%d bytes in order, want %d; %d pieces left", len(got), 10*pieces, len(r.gaps))
	}
}

// TestStorm lets a Handshake open a connection while an attacker who knows both
// endpoints, but no sequence number, sends whatever he likes, and the network
// loses, doubles and reorders the first packets.
func TestStorm(t *testing.T) {
	const payloadLen = 3000
	rapid.Check(t, func(t *rapid.T) {
		cfg := drawConfig(t, "our")
		cfg.Timeout = time.Minute // the first SYNs may all be lost
		ha, err := NewHandshake(cfg)
		if err != nil {
			t.Fatal(err)
		}
		a := watch(ha)
		a.content = func(i int) byte { return byte(i % 251) }
		w := &wire{faults: map[int]fault{}, trace: new(strings.Builder)}
		w.ends[0] = a
		peerISN := rapid.SampledFrom([]Seq{77, 0xfffffff5}).Draw(t, "peer ISN")
		victims := 1
		switch kind := rapid.SampledFrom([]string{"machine", "stock", "old", "listener"}).Draw(t, "peer"); kind {
		case "machine":
			peer := drawConfig(t, "peer")
			peer.Local, peer.Remote, peer.ISN = endpointB, endpointA, peerISN
			peer.Timeout = cfg.Timeout
			hb, err := NewHandshake(peer)
			if err != nil {
				t.Fatal(err)
			}
			w.ends[1] = watch(hb)
			victims = 2
		default:
			payload := make([]byte, payloadLen)
			for i := range payload {
				payload[i] = a.content(i)
			}
			w.ends[1] = newStockTCP(stockConfig{Local: endpointB, Remote: endpointA, ISN: peerISN,
				Listen: kind == "listener", Before2024: kind == "old", Send: payload})
		}
		if _, ok := w.ends[1].(*stockTCP); !ok || rapid.Bool().Draw(t, "NATs") {
			w.nat = [2]*testNAT{{}, {}}
		}
		if s, ok := w.ends[1].(*stockTCP); ok && s.cfg.Listen {
			w.nat = [2]*testNAT{}
		}
		ms := func(name string, from, to int) time.Duration {
			return time.Duration(rapid.IntRange(from, to).Draw(t, name)) * time.Millisecond
		}
		w.path = [2]time.Duration{ms("there", 0, 50), ms("back", 0, 50)}
		if w.nat[0] != nil {
			w.start[rapid.IntRange(0, 1).Draw(t, "later")] = ms("skew", 0, 200)
		}
		for range rapid.IntRange(0, 6).Draw(t, "faults") {
			w.faults[rapid.IntRange(1, 16).Draw(t, "packet")] = fault(rapid.IntRange(1, 3).Draw(t, "fault"))
		}
		w.begin()
		for range rapid.IntRange(0, 40).Draw(t, "attacks") {
			drawAttack(t, w, rapid.IntRange(0, victims-1).Draw(t, "victim"), ms("when", 0, 400))
		}
		silent := w.until(300 * time.Second)
		for _, e := range w.ends {
			if h, ok := e.(*watched); ok && h.violation != nil {
				t.Fatalf("%v\n%s", h.violation, w.trace)
			}
		}
		tr := a.Transfer(w.now)
		if !silent || !w.bothEstablished() {
			t.Fatalf("%v (%v) and %v\n%s", a.State(), a.Err(), w.ends[1].State(), w.trace)
		}
		if tr.PeerISN != peerISN {
			t.Fatalf("established with somebody else\n%s", w.trace)
		}
		if s, ok := w.ends[1].(*stockTCP); ok && (len(tr.Data) != payloadLen || !s.delivered()) {
			t.Fatalf("%d of %d bytes arrived; %v\n%s", len(tr.Data), payloadLen, s, w.trace)
		}
	})
}

// drawAttack puts a forged packet in front of a victim. It says the wrong
// numbers: a right one is a guess of 32 bits, one in the window a guess of 16.
func drawAttack(t *rapid.T, w *wire, who int, at time.Duration) {
	local, remote := endpointA, endpointB
	if who == 1 {
		local, remote = remote, local
	}
	wrong := func(name string) Seq {
		for {
			guess := Seq(rapid.Uint32().Draw(t, name))
			right := false
			for _, e := range w.ends {
				isn := Seq(0)
				switch e := e.(type) {
				case *watched:
					isn = e.cfg.ISN
				case *stockTCP:
					isn = e.cfg.ISN
				}
				// Not the ISNs, nor anything within two windows of them.
				right = right || guess.InWindow(isn-1<<18, 1<<19)
			}
			if !right {
				return guess
			}
		}
	}
	e := event{at: testEpoch.Add(at), place: atHost, who: who}
	s := &e.seg
	s.Src, s.Dst = remote, local
	s.Seq, s.Ack = wrong("forged seq"), wrong("forged ack")
	s.Window = uint16(rapid.Uint32().Draw(t, "forged window"))
	kind := rapid.SampledFrom([]string{"SYN", "SYN", "SYN-ACK", "ACK", "PSH-ACK", "RST", "RST-ACK", "FIN-ACK", "ICMP"}).Draw(t, "attack")
	if _, stock := w.ends[1].(*stockTCP); stock && w.nat[1] != nil && kind == "SYN" {
		// A forged SYN in SYN-SENT gets a SYN-ACK from any TCP. It goes to the
		// true peer, and a kernel in SYN-SENT answers with a reset, which
		// closes its own NAT; no SYN of its own opens that again.
		kind = "RST"
	}
	if kind == "ICMP" {
		e.icmp = &ICMPError{Type: icmpUnreachable, Code: 3, Src: local, Dst: remote, Seq: wrong("forged quote")}
	} else if err := s.Flags.UnmarshalText([]byte(kind)); err != nil {
		t.Fatal(err)
	}
	if s.Flags&ACK == 0 {
		s.Ack = 0
	}
	if strings.HasPrefix(kind, "PSH") {
		s.Payload = []byte("forged")
	}
	w.post(e)
}

// TestChaos loses, doubles and reorders more than any network does. Nobody need
// be connected in the end, but both ends must agree, or know.
func TestChaos(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ca, cb := drawConfig(t, "A"), drawConfig(t, "B")
		ca.Timeout, cb.Timeout = 8*time.Second, 8*time.Second
		ca.ISN = 1000
		ha, hb, err := pair(ca, cb)
		if err != nil {
			t.Fatal(err)
		}
		a, b := watch(ha), watch(hb)
		answers := rapid.SampledFrom([]answer{answerNothing, answerRST, answerICMP})
		w := &wire{
			ends:   [2]end{a, b},
			nat:    [2]*testNAT{{answer: answers.Draw(t, "NAT A")}, {answer: answers.Draw(t, "NAT B")}},
			path:   [2]time.Duration{time.Duration(rapid.IntRange(0, 50).Draw(t, "there")) * time.Millisecond, 20 * time.Millisecond},
			access: [2]time.Duration{time.Millisecond, 3 * time.Millisecond},
			faults: map[int]fault{},
			trace:  new(strings.Builder),
		}
		w.start[1] = time.Duration(rapid.IntRange(0, 100).Draw(t, "skew")) * time.Millisecond
		for range rapid.IntRange(0, 40).Draw(t, "faults") {
			w.faults[rapid.IntRange(1, 60).Draw(t, "packet")] = fault(rapid.IntRange(1, 3).Draw(t, "fault"))
		}
		if !w.run(time.Minute) {
			t.Fatalf("still busy\n%s", w.trace)
		}
		if err := errors.Join(a.violation, b.violation); err != nil {
			t.Fatalf("%v\n%s", err, w.trace)
		}
		for _, h := range []*watched{a, b} {
			if h.State() != Established && h.State() != Failed {
				t.Fatalf("%v in the end\n%s", h.State(), w.trace)
			}
		}
		// The last word may be lost, the reset of the end whose time is up.
		if a.State() == Established && b.State() == Failed && w.last[1] == deliver ||
			b.State() == Established && a.State() == Failed && w.last[0] == deliver {
			t.Fatalf("A %v (%v), B %v (%v)\n%s", a.State(), a.Err(), b.State(), b.Err(), w.trace)
		}
	})
}

// FuzzHandshake feeds a Handshake with parsed packets and checks what must
// always hold. A record of the input is two bytes of time in milliseconds, one
// of length and that many bytes of packet; what does not parse as a segment is
// tried as an ICMP error. Addresses and ports are made right, and with an odd
// length the numbers are made relative to the ISNs, so that the fuzzer gets
// further than an off-path attacker.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte{})
	for _, segments := range [][]Segment{
		{{Flags: SYN, Options: Options{MSS: 1460, HasTimestamps: true, TSVal: 5, HasWScale: true}}, {Flags: SYN | ACK, Ack: 1}, {Flags: ACK, Seq: 1, Ack: 1, Payload: []byte("data")}},
		{{Flags: SYN | ACK, Ack: 1}, {Flags: ACK, Seq: 3, Ack: 1, Payload: []byte("data")}, {Flags: ACK | FIN, Seq: 1, Ack: 1, Payload: []byte("da")}, {Flags: RST, Seq: 7}},
		{{Flags: RST | ACK, Ack: 1}, {Flags: SYN}, {Flags: RST, Seq: 1}, {Flags: SYN, Seq: 5000}, {Flags: SYN | ACK, Ack: 1}},
	} {
		var input []byte
		for _, s := range segments {
			s.Src, s.Dst = endpointB, endpointA
			packet, err := s.Append(nil)
			if err != nil {
				f.Fatal(err)
			}
			input = append(input, 0, 20, byte(len(packet)|1)) // one byte too long: relative numbers
			input = append(append(input, packet...), make([]byte, len(packet)|1-len(packet))...)
		}
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		cfg := HandshakeConfig{Local: endpointA, Remote: endpointB, ISN: 0xfffffffe, WScale: 7, TSBase: 0xfffffff0}
		if len(input) > 0 {
			cfg.OnReset, cfg.OnICMP = Policy(input[0]%3), Policy(input[0]/3%3)
		}
		h, err := NewHandshake(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w := watch(h)
		now := testEpoch
		out := w.Start(now, nil)
		for len(input) >= 3 && w.violation == nil {
			now = now.Add(time.Duration(binary.BigEndian.Uint16(input)) * time.Millisecond)
			n := min(int(input[2]), len(input)-3)
			relative := input[2]&1 != 0
			packet := input[3 : 3+n]
			input = input[3+n:]
			for range 20 { // a Tick does one thing at a time
				if at, ok := w.Deadline(); !ok || at.After(now) {
					break
				}
				out = w.Tick(now, out[:0])
			}
			if s, err := Parse(packet); err == nil {
				s.Src, s.Dst = cfg.Remote, cfg.Local
				if relative {
					s.Ack += cfg.ISN
				}
				out = w.Receive(now, &s, out[:0])
			} else if e, err := ParseICMP(packet); err == nil {
				e.Src, e.Dst = cfg.Local, cfg.Remote
				if relative {
					e.Seq = cfg.ISN
				}
				out = w.ReceiveICMP(now, &e, out[:0])
			}
		}
		if w.violation != nil {
			t.Fatal(w.violation)
		}
	})
}
