package rawtcp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A script plays one peer against a Handshake, a line for each segment:
//
//	config wscale 7 reset fail       what HandshakeConfig says; see scriptConfig
//	0.000 > S seq 0 win 64240        the machine sends this, at this time exactly
//	0.040 < S. seq 0 ack 1 mss 1460  the peer's segment comes
//	0.040 < icmp 3/1 seq 0           an ICMP error comes, type 3 code 1
//	0.040 ! abort                    the caller calls Abort
//	0.040 = ESTABLISHED data 10      state and what else is known; see scriptFacts
//
// Times are seconds from Start; "0.04..0.08 >" is between the two. Sequence numbers are relative to the ISN of
// their sender, as packetdrill has it. Flags are tcpdump's: S F R P and a dot
// for ACK, "-" for none. A field that is left out is not looked at in a segment
// that is sent; in one that comes it has its default: seq 0 with SYN and 1
// otherwise, ack 1 with ACK, win 65535, no data, no options. "!ts" and the like
// want an option absent. Everything that the machine sends must be in the
// script.
//
// Data is named by its length ("len 100"); what it holds follows from its
// sequence number, so that any order of arrival can be checked.
type script struct {
	h     *Handshake
	cfg   HandshakeConfig
	irs   Seq // what the peer's sequence numbers are relative to
	start time.Time
	queue []sentSegment
	out   []Segment
}

type sentSegment struct {
	at  time.Duration
	seg Segment
}

// Both ISNs are so close to the end that sequence numbers wrap in every script.
const (
	scriptISN = Seq(0xfffffffe)
	scriptIRS = Seq(0xffffffff)
)

func runScript(text string) error {
	s := &script{irs: scriptIRS, start: testEpoch}
	s.cfg = HandshakeConfig{Local: endpointA, Remote: endpointB, ISN: scriptISN - 1, TSBase: 1000, WScale: 7}
	s.cfg.ISN = scriptISN
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := s.line(words); err != nil {
			return fmt.Errorf("line %d, %q: %w", n+1, strings.TrimSpace(line), err)
		}
	}
	return s.settled("at the end of the script")
}

func (s *script) line(words []string) error {
	if words[0] == "config" {
		return scriptConfig(&s.cfg, words[1:])
	}
	if s.h == nil {
		h, err := NewHandshake(s.cfg)
		if err != nil {
			return err
		}
		s.h = h
		s.sent(0, h.Start(s.start, s.out[:0]))
	}
	if len(words) < 2 {
		return errors.New("want a time and a sign")
	}
	first, last, _ := strings.Cut(words[0], "..")
	from, err := scriptTime(first)
	if err != nil {
		return err
	}
	at := from
	if last != "" {
		if at, err = scriptTime(last); err != nil {
			return err
		}
	}
	now := s.start.Add(at)
	for {
		due, ok := s.h.Deadline()
		if !ok || due.After(now) {
			break
		}
		s.sent(due.Sub(s.start), s.h.Tick(due, s.out[:0]))
		if again, ok := s.h.Deadline(); ok && !again.After(due) {
			return fmt.Errorf("the deadline stays at %v", due.Sub(s.start))
		}
	}
	if words[1] == ">" {
		if len(s.queue) == 0 {
			return errors.New("nothing was sent")
		}
		got := s.queue[0]
		s.queue = s.queue[1:]
		if got.at < from || got.at > at {
			return fmt.Errorf("sent at %v: %v", got.at, got.seg.String())
		}
		if err := s.match(&got.seg, words[2:]); err != nil {
			return fmt.Errorf("%w; sent was %v", err, got.seg.String())
		}
		return nil
	}
	if err := s.settled("before this line"); err != nil {
		return err
	}
	switch words[1] {
	case "<":
		if words[2] == "icmp" {
			e, err := s.icmp(words[3:])
			if err != nil {
				return err
			}
			s.sent(at, s.h.ReceiveICMP(now, &e, s.out[:0]))
			return nil
		}
		seg, err := s.segment(words[2:])
		if err != nil {
			return err
		}
		s.sent(at, s.h.Receive(now, &seg, s.out[:0]))
	case "!":
		s.sent(at, s.h.Abort(now, s.out[:0]))
	case "=":
		return s.facts(now, words[2:])
	default:
		return fmt.Errorf("no such sign: %q", words[1])
	}
	return nil
}

func scriptTime(word string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(word, 64)
	return time.Duration(seconds*1e6+0.5) * time.Microsecond, err
}

func (s *script) sent(at time.Duration, out []Segment) {
	s.out = out
	for _, seg := range out {
		s.queue = append(s.queue, sentSegment{at, seg})
	}
}

func (s *script) settled(when string) error {
	if len(s.queue) > 0 {
		return fmt.Errorf("%s, sent at %v and not in the script: %v", when, s.queue[0].at, s.queue[0].seg.String())
	}
	return nil
}

// fields reads "key value" pairs and single words.
func fields(words []string, set func(key string, value func() int) error) error {
	for len(words) > 0 {
		key := words[0]
		words = words[1:]
		var err error
		value := func() int {
			if len(words) == 0 {
				err = fmt.Errorf("%s without a value", key)
				return 0
			}
			var v int
			v, err = strconv.Atoi(words[0])
			words = words[1:]
			return v
		}
		if e := set(key, value); e != nil {
			return e
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func scriptConfig(c *HandshakeConfig, words []string) error {
	policies := map[string]Policy{"retry": PolicyRetry, "fail": PolicyFail, "ignore": PolicyIgnore}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch word {
		case "nots":
			c.NoTimestamps = true
			continue
		case "nowscale":
			c.NoWScale = true
			continue
		case "nosack":
			c.NoSACK = true
			continue
		case "early":
			c.Early = true
			continue
		case "ipv6":
			c.Local = netip.MustParseAddrPort("[2001:db8::1]:40001")
			c.Remote = netip.MustParseAddrPort("[2001:db8::2]:40002")
			continue
		}
		arg := words[0]
		words = words[1:]
		n, err := strconv.Atoi(arg)
		policy, isPolicy := policies[arg]
		if err != nil && !isPolicy {
			return err
		}
		switch word {
		case "reset":
			c.OnReset = policy
		case "icmp":
			c.OnICMP = policy
		case "retries":
			c.Retries = n
		case "wscale":
			c.WScale = uint8(n)
		case "mss":
			c.MSS = uint16(n)
		case "window":
			c.Window = uint16(n)
		case "timeout":
			c.Timeout = time.Duration(n) * time.Second
		case "maxrto":
			c.MaxRTO = time.Duration(n) * time.Second
		case "ttl":
			c.TTL = uint8(n)
		default:
			return fmt.Errorf("no such setting: %q", word)
		}
	}
	return nil
}

var scriptFlags = map[rune]Flags{'S': SYN, 'F': FIN, 'R': RST, 'P': PSH, '.': ACK, 'U': URG, '-': 0}

func parseFlags(word string) (Flags, error) {
	var f Flags
	for _, c := range word {
		bit, ok := scriptFlags[c]
		if !ok {
			return 0, fmt.Errorf("no such flag: %q", c)
		}
		f |= bit
	}
	return f, nil
}

// segment is one that comes from the peer.
func (s *script) segment(words []string) (Segment, error) {
	f, err := parseFlags(words[0])
	seg := Segment{Src: s.cfg.Remote, Dst: s.cfg.Local, Flags: f, Window: 65535}
	seq, ack, length, cut := 1, 1, 0, 0
	if f&SYN != 0 {
		seq = 0
	}
	if err != nil {
		return seg, err
	}
	err = fields(words[1:], func(key string, value func() int) error {
		o := &seg.Options
		switch key {
		case "seq":
			seq = value()
		case "ack":
			ack = value()
		case "win":
			seg.Window = uint16(value())
		case "len":
			length = value()
		case "cut": // the capture kept so much of the data only
			cut = value()
		case "mss":
			o.MSS = uint16(value())
		case "wscale":
			o.HasWScale, o.WScale = true, uint8(value())
		case "sackOK":
			o.SACKPermitted = true
		case "ts":
			o.HasTimestamps, o.TSVal = true, uint32(value())
		case "ecr":
			o.TSEcr = uint32(value())
		case "stranger":
			seg.Src = netip.AddrPortFrom(s.cfg.Remote.Addr(), 9)
		default:
			return fmt.Errorf("no such field: %q", key)
		}
		return nil
	})
	seg.Seq = s.irs.Add(seq)
	if f&ACK != 0 {
		seg.Ack = s.cfg.ISN.Add(ack)
	}
	seg.Payload, seg.PayloadLen = scriptData(seq, length), length
	if cut > 0 {
		seg.Payload = seg.Payload[:cut]
	}
	return seg, err
}

// scriptData is the data that begins at a relative sequence number.
func scriptData(seq, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((seq + i) % 251)
	}
	return b
}

func (s *script) icmp(words []string) (ICMPError, error) {
	e := ICMPError{From: netip.MustParseAddr("203.0.113.9"), Src: s.cfg.Local, Dst: s.cfg.Remote, Seq: s.cfg.ISN, V6: s.cfg.Local.Addr().Is6()}
	kind, code, ok := strings.Cut(words[0], "/")
	if !ok {
		return e, errors.New("want type/code")
	}
	t, err := strconv.Atoi(kind)
	c, err2 := strconv.Atoi(code)
	e.Type, e.Code = uint8(t), uint8(c)
	return e, errors.Join(err, err2, fields(words[1:], func(key string, value func() int) error {
		switch key {
		case "seq":
			e.Seq = s.cfg.ISN.Add(value())
		case "stranger":
			e.Dst = netip.AddrPortFrom(e.Dst.Addr(), 9)
		default:
			return fmt.Errorf("no such field: %q", key)
		}
		return nil
	}))
}

// match compares what was sent with what the script says of it.
func (s *script) match(seg *Segment, words []string) error {
	f, err := parseFlags(words[0])
	if err != nil {
		return err
	}
	if seg.Flags != f {
		return fmt.Errorf("flags %v, want %v", seg.Flags, f)
	}
	if seg.Src != s.cfg.Local || seg.Dst != s.cfg.Remote || seg.TTL != s.cfg.TTL || !seg.DF || len(seg.Payload) != 0 {
		return errors.New("wrong endpoints, TTL, DF or payload")
	}
	if f&ACK == 0 && seg.Ack != 0 {
		return errors.New("an acknowledgment number without ACK")
	}
	if _, err := seg.Append(nil); err != nil {
		return err
	}
	return fields(words[1:], func(key string, value func() int) error {
		o := &seg.Options
		is := func(got int) error {
			if want := value(); got != want {
				return fmt.Errorf("%s %d, want %d", key, got, want)
			}
			return nil
		}
		has := func(ok bool) error {
			if !ok {
				return fmt.Errorf("want %s", key)
			}
			return nil
		}
		switch key {
		case "seq":
			return is(int(seg.Seq.Sub(s.cfg.ISN)))
		case "ack":
			return is(int(seg.Ack.Sub(s.irs)))
		case "win":
			return is(int(seg.Window))
		case "mss":
			return is(int(o.MSS))
		case "wscale":
			return errors.Join(has(o.HasWScale), is(int(o.WScale)))
		case "ts":
			return errors.Join(has(o.HasTimestamps), is(int(o.TSVal)))
		case "ecr":
			return errors.Join(has(o.HasTimestamps), is(int(o.TSEcr)))
		case "sackOK":
			return has(o.SACKPermitted)
		case "!mss":
			return has(o.MSS == 0)
		case "!wscale":
			return has(!o.HasWScale && o.WScale == 0)
		case "!ts":
			return has(!o.HasTimestamps && o.TSVal == 0 && o.TSEcr == 0)
		case "!sackOK":
			return has(!o.SACKPermitted)
		}
		return fmt.Errorf("no such field: %q", key)
	})
}

// facts checks the state and what Transfer and Counters say.
func (s *script) facts(now time.Time, words []string) error {
	if got := s.h.State().String(); got != words[0] {
		return fmt.Errorf("state %v (%v)", got, s.h.Err())
	}
	t, n := s.h.Transfer(now), s.h.Counters()
	if t.TSVal&1 != 0 {
		return fmt.Errorf("TSVal %d is odd", t.TSVal)
	}
	return fields(words[1:], func(key string, value func() int) error {
		is := func(got int) error {
			if want := value(); got != want {
				return fmt.Errorf("%s %d, want %d", key, got, want)
			}
			return nil
		}
		has := func(ok bool) error {
			if !ok {
				return fmt.Errorf("want %s; error is %v", key, s.h.Err())
			}
			return nil
		}
		switch key {
		case "simultaneous":
			return has(s.h.Simultaneous() && t.Simultaneous)
		case "!simultaneous":
			return has(!s.h.Simultaneous() && !t.Simultaneous)
		case "ready":
			return has(s.h.Ready())
		case "!ready":
			return has(!s.h.Ready())
		case "fin":
			return has(t.PeerFIN)
		case "!fin":
			return has(!t.PeerFIN)
		case "sack":
			return has(t.SACK)
		case "!sack":
			return has(!t.SACK)
		case "ts":
			return has(t.Timestamps)
		case "!ts":
			return has(!t.Timestamps && t.TSRecent == 0)
		case "wscale":
			return has(t.WScaleOK)
		case "!wscale":
			return has(!t.WScaleOK && t.SndWScale == 0 && t.RcvWScale == 0)
		case "refused":
			return has(errors.Is(s.h.Err(), ErrRefused))
		case "unreachable":
			return has(errors.Is(s.h.Err(), ErrUnreachable))
		case "timeout":
			return has(errors.Is(s.h.Err(), ErrTimeout))
		case "closed":
			return has(errors.Is(s.h.Err(), ErrPeerClosed))
		case "aborted":
			return has(errors.Is(s.h.Err(), ErrAborted))
		case "fine":
			return has(s.h.Err() == nil)
		case "data":
			n := value()
			if !bytes.Equal(t.Data, scriptData(1, n)) {
				return fmt.Errorf("%d bytes of data, want %d: %v", len(t.Data), n, t.Data)
			}
			if t.RcvNxt != t.PeerISN.Add(1+n) {
				return fmt.Errorf("RcvNxt %d does not follow %d bytes after %d", t.RcvNxt, n, t.PeerISN)
			}
			return nil
		case "irs":
			return is(int(t.PeerISN.Sub(s.irs)))
		case "rcvnxt":
			return is(int(t.RcvNxt.Sub(s.irs)))
		case "sndnxt":
			return is(int(t.SndNxt.Sub(s.cfg.ISN)))
		case "snduna":
			return is(int(t.SndUna.Sub(s.cfg.ISN)))
		case "mss":
			return is(int(t.PeerMSS))
		case "ourmss":
			return is(int(t.OurMSS))
		case "sndscale":
			return is(int(t.SndWScale))
		case "rcvscale":
			return is(int(t.RcvWScale))
		case "sndwnd":
			return is(int(t.SndWnd))
		case "maxwnd":
			return is(int(t.MaxWnd))
		case "wl1":
			return is(int(t.SndWl1.Sub(s.irs)))
		case "rcvwnd":
			return is(int(t.RcvWnd))
		case "wup":
			return is(int(t.RcvWup.Sub(s.irs)))
		case "tsval":
			return is(int(t.TSVal))
		case "tsrecent":
			return is(int(t.TSRecent))
		case "syns":
			return is(n.SYNs)
		case "synacks":
			return is(n.SYNACKs)
		case "retransmissions":
			return is(n.Retransmissions)
		case "resends":
			return is(n.Resends)
		case "rsts":
			return is(n.RSTs)
		case "rstsignored":
			return is(n.RSTsIgnored)
		case "icmps":
			return is(n.ICMPs)
		case "icmpsignored":
			return is(n.ICMPsIgnored)
		case "challengessent":
			return is(n.ChallengesSent)
		case "challengesseen":
			return is(n.ChallengesSeen)
		case "restarts":
			return is(n.Restarts)
		case "duplicates":
			return is(n.Duplicates)
		case "dropped":
			return is(n.Dropped)
		}
		return fmt.Errorf("no such fact: %q", key)
	})
}

func TestScripts(t *testing.T) {
	for _, tc := range scripts {
		t.Run(tc.name, func(t *testing.T) {
			if err := runScript(tc.text); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestScriptNotices makes sure that a script that does not fit is an error.
func TestScriptNotices(t *testing.T) {
	for name, text := range map[string]string{
		"extra segment": "0 > S\n0.1 < S\n0.2 = SYN-RECEIVED",
		"missing":       "0 > S\n0.1 > S",
		"wrong time":    "0 > S\n1.5 > S",
		"wrong flags":   "0 > S.",
		"wrong field":   "0 > S mss 1",
		"absent option": "0 > S !ts",
		"wrong state":   "0 > S\n0.1 = ESTABLISHED",
		"unknown fact":  "0 > S\n0.1 = SYN-SENT nonsense",
		"at the end":    "0 > S\n0.1 < S",
	} {
		if runScript(text) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
