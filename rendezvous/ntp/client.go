package ntp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"time"

	"github.com/synpunch/synpunch/internal/datagram"
	"github.com/synpunch/synpunch/timing"
)

// Config says how to measure. Nil and the zero value are good for public servers.
type Config struct {
	// Samples is how many exchanges are made; 0 means 8, the length of RFC 5905's
	// clock filter.
	Samples int
	// Interval is the time from one request to the next; 0 means 250 ms. Public servers
	// refuse clients that ask much more often.
	Interval time.Duration
	// Timeout is how long one answer is waited for; 0 means 1 s.
	Timeout time.Duration
	// Tolerance is how fast the two clocks may drift apart, in ppm; 0 means DefaultTolerance.
	Tolerance float64
	// Progress is called after each exchange; nil means nobody.
	Progress func(done, of int)
}

func (c *Config) defaults() {
	if c.Samples <= 0 {
		c.Samples = 8
	}
	if c.Interval <= 0 {
		c.Interval = 250 * time.Millisecond
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Second
	}
	if c.Tolerance <= 0 {
		c.Tolerance = DefaultTolerance
	}
	if c.Progress == nil {
		c.Progress = func(int, int) {}
	}
}

// Measurement is what several exchanges with one server say.
type Measurement struct {
	Server netip.AddrPort `json:"server"`
	// Offset is the server's clock against the local one at At: see Filter.
	Offset timing.Offset `json:"offset"`
	At     time.Time     `json:"at"` // on the local clock
	// Delay is the least time that a packet spent on the way there and back.
	Delay time.Duration `json:"delay_ns"`
	// Jitter is the root mean square of what the other samples' offsets differ from that of the
	// sample with the least delay (RFC 5905, section 10); 0 for a single sample.
	Jitter  time.Duration `json:"jitter_ns"`
	Samples int           `json:"samples"` // exchanges that count
	Lost    int           `json:"lost"`    // requests without an answer
	Strange int           `json:"strange"` // packets that were passed over: not the answer, or a broken one
	// Stamped says that all answers carried this kernel's receive stamp.
	Stamped bool `json:"stamped"`
	// What the server says about its own clock. Root is half of its root delay
	// plus its root dispersion: how far it may be from the true time.
	Synchronised bool          `json:"synchronised"`
	Stratum      uint8         `json:"stratum"`
	RefID        string        `json:"refid"`
	Leap         uint8         `json:"leap"`
	Root         time.Duration `json:"root_ns"`
	// Kissed is the kiss o' death that ended the measurement early, "" when none did.
	Kissed string `json:"kissed,omitempty"`
}

// UTC is the true time against the local clock at At, as far as the server can be
// believed; ok is false when it says that its clock is not synchronised.
func (m *Measurement) UTC() (o timing.Offset, ok bool) {
	o = m.Offset
	o.Bound += m.Root
	return o, m.Synchronised
}

// giveUp is how many requests in vain it takes to believe that nobody is there.
const giveUp = 3

// ErrNoAnswer says that the server answered no request.
var ErrNoAnswer = errors.New("no answer from the NTP server")

// KissError is a kiss o' death (RFC 5905, section 7.4): the server wants to be
// left alone. DENY and RSTR are for good, RATE for some time.
type KissError struct{ Code string }

func (e *KissError) Error() string {
	switch e.Code {
	case "RATE":
		return "the NTP server says RATE: it was asked too often; wait a minute"
	case "DENY", "RSTR":
		return "the NTP server says " + e.Code + ": it does not serve this host"
	}
	return "the NTP server says " + e.Code
}

// Measure asks a server several times, from a port of its own. The error wraps ErrNoAnswer, ErrClockSet,
// an error of the system (ECONNREFUSED and its like), the context's, or is a *KissError. An answer that was had
// before a kiss counts.
func Measure(ctx context.Context, server netip.AddrPort, cfg *Config) (*Measurement, error) {
	var c Config
	if cfg != nil {
		c = *cfg
	}
	c.defaults()
	conn, err := datagram.Dial(ctx, server)
	if err != nil {
		return nil, fmt.Errorf("ask the time: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a := asker{cfg: &c, conn: conn, m: &Measurement{Server: server, Stamped: true}}
	err = a.run(ctx)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("ask %v the time: %w", server, err)
	}
	return a.m, nil
}

type asker struct {
	cfg     *Config
	conn    *datagram.Conn
	m       *Measurement
	samples []Sample
	last    Packet // the best sample's answer is as good as any: the root grows slowly
	failed  error  // of the last exchange that failed
	buf     [maxRequest]byte
}

func (a *asker) run(ctx context.Context) error {
	tick := time.NewTicker(a.cfg.Interval)
	defer tick.Stop()
	for i := range a.cfg.Samples {
		if i > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := a.exchange(ctx)
		a.cfg.Progress(i+1, a.cfg.Samples)
		var kiss *KissError
		if errors.As(err, &kiss) {
			if len(a.samples) == 0 {
				return err
			}
			a.m.Kissed = kiss.Code
			break
		}
		switch {
		case ctx.Err() != nil, errors.Is(err, ErrClockSet):
			return err
		case err != nil:
			a.failed = err
			if a.m.Lost++; a.m.Lost == giveUp && len(a.samples) == 0 {
				return a.finish()
			}
		}
	}
	return a.finish()
}

// exchange sends one request and waits for its answer.
func (a *asker) exchange(ctx context.Context) error {
	var random [8]byte
	rand.Read(random[:])
	nonce := Timestamp(binary.BigEndian.Uint64(random[:]) | 1) // 0 would mean 'none'
	req := Packet{Version: version, Mode: modeClient, Transmit: nonce}
	b := req.Append(nil)
	// The clock is read before the call, so that the error can only lengthen the
	// delay, and with it the bound.
	sent := time.Now()
	if err := a.conn.Write(b, netip.Addr{}, a.m.Server); err != nil {
		return err
	}
	a.conn.SetReadDeadline(sent.Add(a.cfg.Timeout))
	for ctx.Err() == nil {
		in, err := a.conn.Read(a.buf[:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ErrNoAnswer
		}
		if err != nil {
			return err
		}
		back := time.Now()
		var p Packet
		if p.Parse(in.Data) != nil || p.Mode != modeServer || p.Origin != nonce {
			a.m.Strange++
			continue
		}
		if err := a.take(&p, sent, back, in); err != nil {
			if !errors.Is(err, ErrMalformed) {
				return err
			}
			a.m.Strange++ // nobody but the server can have sent it, and it is used up
			return err
		}
		return nil
	}
	return ctx.Err()
}

// stepped is how far the wall clock may run from the monotonic one during an
// exchange: more is a step.
const stepped = time.Millisecond

// take uses the answer to a request.
func (a *asker) take(p *Packet, sent, back time.Time, in datagram.Packet) error {
	if code := refWords(0, p.RefID); p.Stratum == 0 && (code == "RATE" || code == "DENY" || code == "RSTR") {
		return &KissError{code}
	}
	if p.Transmit == 0 || p.Receive == 0 {
		return fmt.Errorf("%w: an answer without timestamps", ErrMalformed)
	}
	if d := back.Round(0).Sub(sent.Round(0)) - back.Sub(sent); d.Abs() > stepped {
		return fmt.Errorf("%w: the local one, by %v", ErrClockSet, d)
	}
	if in.Stamped && in.At.After(back.Round(0)) || !in.Stamped {
		in.At, in.Stamped = back, false
	}
	o, err := timing.FromExchange(sent, p.Receive.Time(sent), p.Transmit.Time(sent), in.At)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	// Two clocks were read to what the server calls its precision, and two timestamps rounded to
	// a nanosecond.
	o.Bound += time.Duration(math.Ceil(min(math.Ldexp(1e9, int(p.Precision)), 1e9))) + 2
	a.samples = append(a.samples, Sample{At: in.At.Round(0), Offset: o, Delay: in.At.Round(0).Sub(sent.Round(0)) - p.Transmit.Time(sent).Sub(p.Receive.Time(sent))})
	a.last = *p
	a.m.Stamped = a.m.Stamped && in.Stamped
	return nil
}

// finish makes the measurement out of the samples.
func (a *asker) finish() error {
	m := a.m
	if m.Samples = len(a.samples); m.Samples == 0 {
		if errors.Is(a.failed, ErrNoAnswer) {
			return a.failed
		}
		return fmt.Errorf("%w: %w", ErrNoAnswer, a.failed)
	}
	m.At = a.samples[m.Samples-1].At
	var best int
	var err error
	if m.Offset, best, err = Filter(a.samples, m.At, a.cfg.Tolerance); err != nil {
		return err
	}
	least := a.samples[best]
	m.Delay = least.Delay
	if m.Samples > 1 {
		sum := 0.0
		for _, s := range a.samples {
			d := float64(s.Offset.Offset - least.Offset.Offset)
			sum += d * d
		}
		m.Jitter = time.Duration(math.Sqrt(sum / float64(m.Samples-1)))
	}
	p := &a.last
	m.Stratum, m.RefID, m.Leap = p.Stratum, refWords(p.Stratum, p.RefID), p.Leap
	m.Root = p.RootDelay/2 + p.RootDispersion
	m.Synchronised = p.Leap != leapUnknown && p.Stratum > 0 && p.Stratum < maxStratum && m.Root < maxDistance
	return nil
}
