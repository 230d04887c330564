package handoff

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/testenv"
)

// An error left on the socket could make Go's poller refuse the connection.
func TestDisconnectLeavesNoError(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	r, err := PrepareRepair(netip.MustParseAddrPort("127.0.0.1:4001"), netip.MustParseAddrPort("127.0.0.1:4002"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := errors.Join(r.pretend(r.fd), disconnect(r.fd)); err != nil {
		t.Fatal(err)
	}
	if errno, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || errno != 0 {
		t.Errorf("SO_ERROR is %v, %v", unix.Errno(errno), err)
	}
}
