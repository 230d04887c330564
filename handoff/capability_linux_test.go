package handoff_test

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/internal/testenv"
	"github.com/synpunch/synpunch/rawtcp"
)

// without calls fn on a thread of its own that lacks capabilities.
func without(fn func() error, capabilities ...uint) error {
	return withCapabilities(fn, func(have uint32) uint32 { return have &^ bits(capabilities) })
}

// withOnly calls fn on a thread of its own that has no other capabilities.
func withOnly(fn func() error, capabilities ...uint) error {
	return withCapabilities(fn, func(have uint32) uint32 { return have & bits(capabilities) })
}

func bits(capabilities []uint) (b uint32) {
	for _, c := range capabilities {
		b |= 1 << c
	}
	return b
}

func withCapabilities(fn func() error, change func(uint32) uint32) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData // 64 capabilities; those that matter here are below 32
		if err := unix.Capget(&hdr, &data[0]); err != nil {
			done <- err
			return
		}
		data[0].Effective = change(data[0].Effective)
		data[1].Effective = change(0)
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

// Each way to a socket, its guard included, with no more capabilities than the
// documentation asks for.
func TestCapabilities(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	w := newWire(t)
	for _, f := range families {
		l := w.listen(t, f.v6)
		remote := addrPort(l.Addr())
		for _, c := range []struct {
			name  string
			needs []uint
			open  func(local netip.AddrPort) (*net.TCPConn, error)
		}{
			{"connect", nil, func(local netip.AddrPort) (*net.TCPConn, error) {
				c, err := handoff.PrepareConnect(local, remote, nil)
				if err != nil {
					return nil, err
				}
				if err := errors.Join(c.Start(), c.Wait(testContext(t))); err != nil {
					return nil, err
				}
				return c.Conn()
			}},
			{"park", []uint{unix.CAP_NET_RAW}, func(local netip.AddrPort) (*net.TCPConn, error) {
				p, err := handoff.Park(testContext(t), local, remote, nil)
				if err != nil {
					return nil, err
				}
				if err := p.Release(); err != nil {
					return nil, err
				}
				syn := p.SYN()
				if err := errors.Join(sendRaw(&syn), p.Wait(testContext(t))); err != nil {
					return nil, err
				}
				return p.Conn()
			}},
			{"repair", []uint{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN}, func(local netip.AddrPort) (*net.TCPConn, error) {
				r, err := handoff.PrepareRepair(local, remote, nil)
				if err != nil {
					return nil, err
				}
				o, err := openerFor(rawtcp.HandshakeConfig{Local: local, Remote: remote})
				if err != nil {
					return nil, err
				}
				defer o.close()
				if err := errors.Join(o.start(), o.finish()); err != nil {
					return nil, err
				}
				return r.Install(o.hs.Transfer(time.Now()), o.late)
			}},
		} {
			t.Run(c.name+", "+f.name, func(t *testing.T) {
				local := w.local(t, f.v6)
				var conn *net.TCPConn
				err := withOnly(func() error {
					guard, err := handoff.OpenGuard(local, nil)
					if err != nil {
						return err
					}
					defer guard.Close()
					conn, err = c.open(local)
					return err
				}, c.needs...)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				peer := accept(t, l)
				defer peer.Close()
				if err := exchange(conn, peer, 10000, nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
