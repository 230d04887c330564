package handoff_test

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// TestInstallAnyPort prepares for a port and continues a flow to another.
func TestInstallAnyPort(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, v6 := range []bool{false, true} {
		l := w.listen(t, v6)
		defer l.Close()
		remote := addrPort(l.Addr())
		likely := netip.AddrPortFrom(remote.Addr(), remote.Port()^1)
		cfg := rawtcp.HandshakeConfig{Local: w.local(t, v6), Remote: remote, WScale: 7}
		guard, err := handoff.OpenGuard(cfg.Local, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer guard.Close()
		strict, err := handoff.PrepareRepair(cfg.Local, likely, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer strict.Close()
		r, err := handoff.PrepareRepair(cfg.Local, likely, &handoff.RepairConfig{AnyPort: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		o := newOpener(t, cfg)
		o.open(t)
		tr := o.hs.Transfer(time.Now())
		if _, err := strict.Install(tr, nil); err == nil || !strings.Contains(err.Error(), "another flow") {
			t.Errorf("without AnyPort: %v", err)
		}
		elsewhere := tr
		elsewhere.Remote = netip.AddrPortFrom(remote.Addr().Next(), remote.Port())
		if _, err := r.Install(elsewhere, nil); err == nil || !strings.Contains(err.Error(), "another flow") {
			t.Errorf("another address: %v", err)
		}
		conn, err := r.Install(tr, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := addrPort(conn.RemoteAddr()); got != remote {
			t.Errorf("RemoteAddr is %v, want %v", got, remote)
		}
		peer, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		for from, to := range map[*net.TCPConn]*net.TCPConn{conn: peer, peer: conn} {
			if _, err := io.WriteString(from, "hello"); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 5)
			if _, err := io.ReadFull(to, got); err != nil || string(got) != "hello" {
				t.Errorf("got %q, %v", got, err)
			}
		}
	}
}
