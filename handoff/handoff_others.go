//go:build !linux

package handoff

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"

	"github.com/synpunch/synpunch/rawtcp"
)

func unsupported(what string) error {
	return fmt.Errorf("%s on %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}

func closeFD(*int) error { return nil }

func openGuard(netip.AddrPort, *GuardConfig) (*Guard, error) {
	return nil, unsupported("a guard on a port")
}

// files is a share in the limit on open files, which is left alone here.
type files struct{}

func (files) raise(int) error { return unsupported("guards on ports") }

func (files) giveBack() error { return nil }

type repairSocket struct{ conn *net.TCPConn }

func (r *Repair) prepare() error { return unsupported("TCP_REPAIR") }

func (r *Repair) warm() error { return unsupported("TCP_REPAIR") }

func (r *Repair) install(*rawtcp.Transfer, func(rawtcp.Seq) []byte) (*net.TCPConn, error) {
	return nil, unsupported("TCP_REPAIR")
}

func probeRepair() error { return unsupported("TCP_REPAIR") }

func (p *Parked) prepare() error { return unsupported("a parked socket") }

func (p *Parked) park(context.Context) error { return unsupported("a parked socket") }

func (p *Parked) release() error { return unsupported("a parked socket") }

func (c *Connect) prepare() error { return unsupported("a prepared connect") }

func (c *Connect) start() error { return unsupported("a prepared connect") }

type pending struct{ fd int }

func (p *pending) poll() (bool, error) { return false, unsupported("a pending socket") }

func (p *pending) wait(context.Context) error { return unsupported("a pending socket") }

func (p *pending) conn() (*net.TCPConn, error) { return nil, unsupported("a pending socket") }

func (p *pending) abort() error { return nil }

func readInfo(*net.TCPConn) (TCPInfo, error) { return TCPInfo{}, unsupported("TCP_INFO") }

func execCommand(*net.TCPConn, []string, *ExecConfig) (*exec.Cmd, error) {
	return nil, unsupported("passing a socket to a program")
}

func replace(*net.TCPConn, []string, *ExecConfig) error {
	return unsupported("passing a socket to a program")
}

func serveUnix(context.Context, *net.TCPConn, string, func()) error {
	return unsupported("passing a descriptor")
}

func receiveUnix(context.Context, string) (*net.TCPConn, error) {
	return nil, unsupported("passing a descriptor")
}

// notConnected: other systems tell it in the other direction too, but which
// error it is here differs.
func notConnected(err error) bool { return err != nil }
