package handoff_test

import (
	"net"
	"testing"
	"time"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

func TestInstall(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, c := range []struct {
		name string
		v6   bool
		cfg  rawtcp.HandshakeConfig
	}{
		{name: "ip4"},
		{name: "ip6", v6: true},
		{name: "no options", cfg: rawtcp.HandshakeConfig{NoWScale: true, NoTimestamps: true, NoSACK: true}},
		{name: "small segments", cfg: rawtcp.HandshakeConfig{MSS: 600, WScale: 3}},
	} {
		for _, early := range []int{0, 1, 3000, 60000} {
			t.Run(c.name, func(t *testing.T) { testInstall(t, w, c.v6, c.cfg, early) })
		}
	}
}

func testInstall(t *testing.T, w *wire, v6 bool, cfg rawtcp.HandshakeConfig, early int) {
	l := w.listen(t, v6)
	cfg.Local, cfg.Remote = w.local(t, v6), addrPort(l.Addr())
	accepted := make(chan net.Conn, 1)
	first := pattern(early, 3)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		c.Write(first) // in the same instant as the handshake's last ACK
		accepted <- c
	}()
	guard, err := handoff.OpenGuard(cfg.Local, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer guard.Close()
	r, err := handoff.PrepareRepair(cfg.Local, cfg.Remote, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	o := newOpener(t, cfg)
	o.open(t)
	began := time.Now()
	conn, err := r.Install(o.hs.Transfer(time.Now()), o.late(t))
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	defer conn.Close()
	peer := <-accepted
	if peer == nil {
		t.Fatal("no accept")
	}
	defer peer.Close()
	info, err := handoff.Info(conn)
	if err != nil {
		t.Fatal(err)
	}
	pinfo, _ := handoff.Info(peer.(*net.TCPConn))
	t.Logf("took %v, %+v\n%+v", took, info, pinfo)
	if err := exchange(conn, peer, 1<<20, first); err != nil {
		t.Fatal(err)
	}
	info, _ = handoff.Info(conn)
	pinfo, _ = handoff.Info(peer.(*net.TCPConn))
	t.Logf("%+v\n%+v", info, pinfo)
}
