package rawtcp

import (
	"context"
	"time"
)

type blast struct {
	fan  *Fan
	way  Path
	conn *Conn
}

func openBlast(fan *Fan, cfg *BlastConfig) (*Blast, error) {
	if cfg == nil {
		cfg = &BlastConfig{}
	}
	network := "ip4"
	if fan.cfg.Local.Addr().Is6() {
		network = "ip6"
	}
	conn, err := Open(network, &cfg.Conn)
	if err != nil {
		return nil, err
	}
	return &Blast{blast{fan: fan, way: PathRaw, conn: conn}}, nil
}

func (b *blast) send(ctx context.Context, first, n uint64) (uint64, error) {
	buf := make([]byte, 0, MaxHeader)
	for i := range n {
		if err := ctx.Err(); err != nil {
			return i, err
		}
		s := b.fan.SYN(time.Now(), first+i)
		pkt, err := s.Append(buf)
		if err == nil {
			err = b.conn.Send(pkt)
		}
		if err != nil {
			return i, err
		}
	}
	return n, nil
}

func (b *blast) close() error { return b.conn.Close() }
