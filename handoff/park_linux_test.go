package handoff_test

import (
	"net"
	"testing"
	"time"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

func TestPark(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, v6 := range []bool{false, true} {
		name := "ip4"
		if v6 {
			name = "ip6"
		}
		t.Run(name, func(t *testing.T) {
			l := w.listen(t, v6)
			local, remote := w.local(t, v6), addrPort(l.Addr())
			tp := newTap(t, local, remote)
			tp.keep = true
			guard, err := handoff.OpenGuard(local, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer guard.Close()
			p, err := handoff.Park(testContext(t), local, remote, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			syn := p.SYN()
			t.Log(&syn)
			if err := p.Release(); err != nil {
				t.Fatal(err)
			}
			network := "ip4"
			if v6 {
				network = "ip6"
			}
			raw, err := rawtcp.Open(network, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			pkt, err := syn.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := raw.Send(pkt); err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(testContext(t)); err != nil {
				t.Fatal(err)
			}
			conn, err := p.Conn()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			peer, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			info, _ := handoff.Info(conn)
			pinfo, _ := handoff.Info(peer.(*net.TCPConn))
			t.Logf("%+v\n%+v", info, pinfo)
			if err := exchange(conn, peer, 1<<20, nil); err != nil {
				t.Fatal(err)
			}
			tp.drain()
			for _, s := range tp.log[:min(8, len(tp.log))] {
				t.Log(s.at.Format(time.StampMicro), s.out, &s.seg)
			}
			info, _ = handoff.Info(conn)
			pinfo, _ = handoff.Info(peer.(*net.TCPConn))
			t.Logf("%+v\n%+v", info, pinfo)
			c2, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(remote))
			if err != nil {
				t.Fatal(err)
			}
			info, _ = handoff.Info(c2)
			t.Logf("plain %+v", info)
		})
	}
}
