package rawtcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Chosen by us.
const (
	blastBatch = 128              // SYNs per system call: what more saves is not measurable
	blastPause = time.Millisecond // when the device's queue is full
	blastStall = time.Second      // with no SYN accepted the device is given up
)

// volley is how a batch of packets leaves.
type volley interface {
	// room returns where the next packets go, each a copy of the template; fewer
	// than wanted, or none, if those before have not left. fire must follow.
	room(want int) [][]byte
	// fire sends them and returns how many left. After ENOBUFS and EAGAIN the
	// device has too much to do.
	fire() (int, error)
	close() error
}

type blast struct {
	fan   *Fan
	way   Path
	pace  pace
	syn   synTemplate
	out   volley
	timer *time.Timer
}

func openBlast(ctx context.Context, fan *Fan, cfg *BlastConfig) (*Blast, error) {
	if cfg == nil {
		cfg = &BlastConfig{}
	}
	b := &Blast{blast{fan: fan, way: cfg.Path, timer: time.NewTimer(time.Hour)}}
	b.timer.Stop()
	switch {
	case cfg.Path > PathXDP:
		return nil, fmt.Errorf("rawtcp: blast: no such path: %v", cfg.Path)
	case cfg.Rate < Unpaced || cfg.Burst < 0:
		return nil, fmt.Errorf("rawtcp: blast: rate %d, burst %d: negative", cfg.Rate, cfg.Burst)
	case cfg.Rate == 0:
		b.pace = newPace(DefaultRate, uint64(cfg.Burst))
	case cfg.Rate > 0:
		b.pace = newPace(uint64(cfg.Rate), uint64(cfg.Burst))
	}
	if err := b.open(ctx, cfg); err != nil {
		return nil, fmt.Errorf("rawtcp: blast to %v: %w", fan.cfg.Remote.Addr(), err)
	}
	return b, nil
}

// errNotEthernet: the device has no Ethernet addresses, so a packet socket has no
// header to write.
var errNotEthernet = errors.New("the device has no Ethernet addresses")

// open finds the way, for PathAuto one after the other.
func (b *blast) open(ctx context.Context, cfg *BlastConfig) error {
	if cfg.Path == PathRaw {
		return b.openRaw(cfg)
	}
	to, err := b.hop(ctx, cfg)
	if cfg.Path == PathAuto && errors.Is(err, errNotEthernet) {
		b.way = PathRaw
		return b.openRaw(cfg)
	}
	if err != nil {
		return err
	}
	if b.syn, err = newSYNTemplate(b.fan, to.header(b.fan.cfg.Remote.Addr().Is6())); err != nil {
		return err
	}
	if cfg.Path == PathXDP {
		b.out, err = openXDP(to.index, b.syn.pkt)
		return err
	}
	b.way = PathPacket
	b.out, err = openPacket(to.index, b.syn.pkt)
	return err
}

func (b *blast) openRaw(cfg *BlastConfig) error {
	var err error
	if b.syn, err = newSYNTemplate(b.fan, nil); err != nil {
		return err
	}
	conn := cfg.Conn
	if cfg.Interface != "" {
		conn.Interface = cfg.Interface
	}
	b.out, err = openRawVolley(b.fan.cfg.Remote.Addr(), &conn, b.syn.pkt)
	return err
}

func (b *blast) send(ctx context.Context, first, n uint64) (sent uint64, err error) {
	var stalled time.Time
	for sent < n {
		if err := ctx.Err(); err != nil {
			return sent, err
		}
		now := time.Now()
		k, wait := b.pace.take(now, min(n-sent, blastBatch))
		left := 0
		if k > 0 {
			b.fill(b.out.room(int(k)), now, first+sent)
			left, err = b.out.fire()
			sent += uint64(left)
			b.pace.giveBack(k - uint64(left))
		}
		switch {
		case left > 0:
			stalled = time.Time{}
			continue
		case err != nil && !busy(err):
			return sent, fmt.Errorf("rawtcp: blast to %v: %w", b.fan.cfg.Remote.Addr(), err)
		case wait > 0:
		case stalled.IsZero():
			stalled, wait = now, blastPause
		case now.Sub(stalled) > blastStall:
			return sent, fmt.Errorf("rawtcp: blast to %v: the device has taken nothing for %v: %w", b.fan.cfg.Remote.Addr(), blastStall, unix.ENOBUFS)
		default:
			wait = blastPause
		}
		b.sleep(ctx, wait)
	}
	return sent, nil
}

// busy reports whether an error passes by itself.
func busy(err error) bool {
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EBUSY)
}

// fill writes SYNs from number first on.
func (b *blast) fill(slots [][]byte, now time.Time, first uint64) {
	tsval := b.fan.tsval(now)
	for i, pkt := range slots {
		l, r := b.fan.flow(first + uint64(i))
		b.syn.write(pkt, l, r, b.fan.isn(l, r), tsval)
	}
}

func (b *blast) sleep(ctx context.Context, d time.Duration) {
	b.timer.Reset(d)
	select {
	case <-ctx.Done():
		b.timer.Stop()
	case <-b.timer.C:
	}
}

func (b *blast) close() error {
	if err := b.out.close(); err != nil {
		return fmt.Errorf("rawtcp: close a blast: %w", err)
	}
	return nil
}

// hop is the next hop on Ethernet.
type hop struct {
	index    int
	from, to net.HardwareAddr
}

// header is the Ethernet header of what goes there.
func (h *hop) header(v6 bool) []byte {
	b := append(append(make([]byte, 0, 14), h.to...), h.from...)
	if v6 {
		return append(b, unix.ETH_P_IPV6>>8, unix.ETH_P_IPV6&0xff)
	}
	return append(b, unix.ETH_P_IP>>8, unix.ETH_P_IP&0xff)
}
